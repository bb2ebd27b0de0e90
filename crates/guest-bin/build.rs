//! Builds the agent for the guest: static, small, in a target folder of its own (the outer build holds the lock of its own one).
//!
//! `HEARTH_GUEST_BIN=/path/to/agent` takes a ready one instead.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";
const MAX_BYTES: u64 = 5 * 1024 * 1024;

/// Set by the outer build for its own compiler runs, and wrong for ours.
const NOT_INHERITED: [&str; 4] = [
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_TARGET",
    "RUSTDOCFLAGS",
];

fn main() -> Result<(), Box<dyn Error>> {
    let workspace = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?)
        .join("../..")
        .canonicalize()?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for input in [
        "crates/guest/src",
        "crates/guest/Cargo.toml",
        "crates/guest-api/src",
        "crates/guest-api/Cargo.toml",
        "crates/http/src",
        "crates/http/Cargo.toml",
        "Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={}", workspace.join(input).display());
    }
    for variable in ["HEARTH_GUEST_BIN", "CARGO_TARGET_DIR"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let built = match env::var_os("HEARTH_GUEST_BIN") {
        Some(ready) => PathBuf::from(ready),
        None => build(&workspace, &target_dir(&out))?,
    };
    fs::copy(&built, out.join("hearth-guest"))
        .map_err(|error| format!("cannot copy the guest agent {}: {error}", built.display()))?;
    let bytes = fs::metadata(&built)?.len();
    if bytes > MAX_BYTES {
        return Err(format!("the guest agent has {bytes} bytes, which is more than its {MAX_BYTES}").into());
    }
    Ok(())
}

/// Kept between builds where the outer target folder is known, so that only what changed is compiled again.
fn target_dir(out: &Path) -> PathBuf {
    let outer = env::var_os("CARGO_TARGET_DIR")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    outer.unwrap_or_else(|| out.to_owned()).join("guest-build")
}

fn build(workspace: &Path, target_dir: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let mut cargo = Command::new(env::var_os("CARGO").ok_or("CARGO is not set")?);
    cargo
        .current_dir(workspace)
        .args([
            "build",
            "--package",
            "hearth-guest",
            "--profile",
            "guest",
            "--target",
            TARGET,
        ])
        .arg("--target-dir")
        .arg(target_dir)
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    for variable in NOT_INHERITED {
        cargo.env_remove(variable);
    }
    let status = cargo
        .status()
        .map_err(|error| format!("cannot run cargo for the guest agent: {error}"))?;
    if !status.success() {
        return Err("building the guest agent failed; its messages are above".into());
    }
    Ok(target_dir.join(TARGET).join("guest/hearth-guest"))
}
