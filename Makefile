# Hearth. `make demo` and `make test` are all that a newcomer needs; both install what is missing.

export CARGO_TARGET_DIR ?= $(HOME)/.cache/hearth/target
export HEARTH_TOOLS_DIR ?= $(HOME)/.cache/hearth/tools
export PATH := $(HEARTH_TOOLS_DIR)/bin:$(PATH):/usr/sbin:/sbin
export CARGO_TERM_PROGRESS_WHEN ?= never

PREFIX ?= /usr/local
UNITDIR ?= /etc/systemd/system
HEARTH := $(CARGO_TARGET_DIR)/release/hearth

.PHONY: help demo runtimes templates build test unit e2e lint bench fuzz dev install install-files tools-build tools-test

help: ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

demo: build ## A Python function in real microVMs: called, scaled to zero and back, broken, rolled back
	@scripts/demo "$(HEARTH)"

runtimes: tools-build ## Make the images that functions' sources run over, from Debian packages
	@scripts/runtimes

templates: tools-build ## Make the images of sandboxes' templates, from Debian and PyPI packages
	@scripts/templates

build: tools-build ## Build the release binary
	cargo build --release --locked -p hearth-cli

test: tools-test lint ## Everything that must hold: lint, unit, integration, real microVMs, leak check
	@scripts/test

lint: tools-test ## rustfmt, shellcheck, clippy, cargo-deny, rustdoc
	cargo fmt --all --check
	shellcheck --external-sources .ci/run $(filter-out scripts/e2b-compatibility,$(wildcard scripts/*)) templates/*/setup templates/code-interpreter/tests/run templates/code-interpreter/rootfs/opt/code-interpreter/start
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo deny --log-level error check bans licenses sources
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --workspace --no-deps --locked --document-private-items

e2e: tools-test ## Only the tests with real microVMs
	@scripts/test e2e

bench: build tools-test ## Print ratios against baselines taken in the same run
	cargo run --release --locked -p hearth-bench -- --hearth "$(HEARTH)"

fuzz: tools-test ## Run each fuzz target for FUZZ_SECONDS (default 60)
	@scripts/fuzz "$${FUZZ_SECONDS:-60}"

dev: tools-build ## Build and run a daemon, again on every change
	@scripts/dev

install: build ## Install the binary under PREFIX (/usr/local) and the unit under UNITDIR
	@$(MAKE) --no-print-directory install-files
	@echo "installed; start it with: systemctl daemon-reload && systemctl enable --now hearth"

install-files:
	install -D -m 0755 "$(HEARTH)" "$(DESTDIR)$(PREFIX)/bin/hearth"
	install -d "$(DESTDIR)$(UNITDIR)"
	sed 's|^ExecStart=/usr/local/bin/|ExecStart=$(PREFIX)/bin/|' deploy/hearth.service > "$(DESTDIR)$(UNITDIR)/hearth.service"
	chmod 0644 "$(DESTDIR)$(UNITDIR)/hearth.service"

tools-build:
	@scripts/tools build

tools-test:
	@scripts/tools test
