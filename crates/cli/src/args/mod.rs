//! The command line, as a person who knows docker would expect it.

#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "these comments are the help, where [X] stands for an optional X"
)]

mod daemon;
mod function;
mod image;
mod kernel;
mod machine;
mod mcp;
mod project;
#[cfg(test)]
mod reference;
mod sandbox;
mod snapshot;
mod template;
mod value;

use std::{ffi::OsString, path::PathBuf};

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use hearth_client::{Client, DEFAULT_SOCKET, Endpoint};

pub(crate) use self::{
    daemon::{DoctorArgs, NodeCommand, UpArgs, VmmArgs},
    function::{
        AliasCommand, DeployArgs, FunctionCommand, FunctionLogsArgs, InvokeArgs, SettingsArgs, TriggerArgs,
        TriggerCommand,
    },
    image::{ImageCommand, ImageImportArgs, ImportKindArg},
    kernel::{KernelCommand, KernelImportArgs},
    machine::{
        AttachArgs, CpArgs, EventsArgs, ExecArgs, KillArgs, LogsArgs, MachinesArgs, PsArgs, RmArgs, RunArgs, StatsArgs,
        StopArgs,
    },
    mcp::McpArgs,
    project::{AuditArgs, KeyCommand, ProjectCommand, QuotaArgs, SecretCommand},
    sandbox::{CreateArgs as CreateSandboxArgs, FilesCommand, ListArgs as ListSandboxesArgs, SandboxCommand},
    snapshot::{ForkArgs, PauseArgs, RestoreArgs, RollbackArgs, SnapshotCommand},
    template::{BuildArgs as BuildTemplateArgs, TemplateCommand},
    value::Tail,
};

/// Where help shows what all commands have.
const GLOBAL: &str = "Global options";

/// Machines, each behind its own kernel, from OCI images.
#[derive(Debug, Parser)]
#[command(name = "hearth", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    // Not by clap's `env`: what stands in the environment would count as written, in usages and in what is missing.
    /// Unix socket of the daemon [env: HEARTH_SOCKET] [default: /run/hearth/hearth.sock]
    #[arg(long, global = true, help_heading = GLOBAL, conflicts_with = "host")]
    socket: Option<PathBuf>,
    /// Where the daemon is, instead of on its socket: https://HOST:PORT, http://127.0.0.1:PORT or unix:///PATH [env: HEARTH_HOST]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "URL")]
    host: Option<Endpoint>,
    /// Project that is meant [env: HEARTH_PROJECT] [default: default, or the key's]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "NAME")]
    project: Option<String>,
    /// Print JSON instead of tables and words, failures included
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// The daemon's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        let named = self
            .socket
            .clone()
            .or_else(|| variable("HEARTH_SOCKET").map(PathBuf::from));
        named.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET))
    }

    /// Where the daemon is. What is written goes before what stands in the environment.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, String> {
        if let Some(host) = &self.host {
            return Ok(host.clone());
        }
        match variable("HEARTH_HOST").filter(|_| self.socket.is_none()) {
            None => Ok(Endpoint::Unix(self.socket())),
            Some(text) => {
                let text = text.to_string_lossy();
                text.parse()
                    .map_err(|error: hearth_client::InvalidEndpoint| format!("HEARTH_HOST is not valid: {error}"))
            }
        }
    }
}

impl Cli {
    /// What speaks to the daemon: its place, the key, the project, and who vouches for it.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let endpoint = self.endpoint().map_err(anyhow::Error::msg)?;
        let text = |name: &str| {
            variable(name)
                .map(|value| value.into_string().map_err(|_| anyhow::anyhow!("{name} is not text")))
                .transpose()
        };
        // It says who calls; the kernel does that on the socket.
        let key = match &endpoint {
            Endpoint::Unix(_) => None,
            Endpoint::Tcp(_) | Endpoint::Tls { .. } => text("HEARTH_KEY")?,
        };
        let project = match &self.project {
            Some(project) => Some(project.clone()),
            None => text("HEARTH_PROJECT")?,
        };
        let needs_trust = matches!(endpoint, Endpoint::Tls { .. });
        let client = Client::new(endpoint).with_key(key).in_project(project);
        if !needs_trust {
            return Ok(client);
        }
        let ca_file = variable("HEARTH_CA_FILE").map(PathBuf::from);
        Ok(client.trusting(ca_file.as_deref())?)
    }
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon
    Up(UpArgs),
    /// Run a program from an image in a machine of its own
    Run(RunArgs),
    /// List machines
    #[command(alias = "ls", alias = "list")]
    Ps(PsArgs),
    /// Show machines in full, as JSON
    Inspect(MachinesArgs),
    /// Join a running machine's program: its output from now on, and its input
    Attach(AttachArgs),
    /// Run one more command in a running machine
    Exec(ExecArgs),
    /// Show what a machine wrote
    Logs(LogsArgs),
    /// Copy files between a machine and here (MACHINE:PATH)
    Cp(CpArgs),
    /// Start machines that are at rest
    Start(MachinesArgs),
    /// Stop machines: ask the guest, then press its power button, then kill it
    Stop(StopArgs),
    /// Send a signal to machines' programs; KILL ends the whole machine
    Kill(KillArgs),
    /// Let machines stand still: on disk, where they hold no memory and outlast a restart of the host
    Pause(PauseArgs),
    /// Let paused machines go on
    #[command(visible_alias = "unpause")]
    Resume(MachinesArgs),
    /// Make other machines that go on where one is, and print their names
    Fork(ForkArgs),
    /// Take a machine back to where a snapshot was made of it; what it did since is lost
    Rollback(RollbackArgs),
    /// Stop and start machines
    Restart(StopArgs),
    /// Remove machines and all that is theirs
    Rm(RmArgs),
    /// Wait until machines are at rest, and print their exit codes
    Wait(MachinesArgs),
    /// Show what machines use
    Stats(StatsArgs),
    /// Show what happens
    Events(EventsArgs),
    /// Snapshots of machines, which others go on from
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Sandboxes: machines of templates, which run commands for a time
    #[command(subcommand)]
    Sandbox(SandboxCommand),
    /// Templates, which sandboxes are made of
    #[command(subcommand)]
    Template(TemplateCommand),
    /// Serve sandboxes as tools to an agent, by the Model Context Protocol
    Mcp(McpArgs),
    /// Functions
    #[command(subcommand, name = "fn", visible_alias = "function")]
    Function(FunctionCommand),
    /// Images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Kernels
    #[command(subcommand)]
    Kernel(KernelCommand),
    /// Projects, which own machines, functions, keys and secrets
    #[command(subcommand)]
    Project(ProjectCommand),
    /// Keys, which prove from afar who calls
    #[command(subcommand)]
    Key(KeyCommand),
    /// Secrets, which programs are given and nobody is shown
    #[command(subcommand)]
    Secret(SecretCommand),
    /// Show who changed what
    Audit(AuditArgs),
    /// The node
    #[command(subcommand)]
    Node(NodeCommand),
    /// Check, by use, what machines need of this host, and say how to mend it; with a daemon or without
    Doctor(DoctorArgs),
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: Shell,
    },
}

/// Whether a command line that cannot be read asks for JSON all the same. What follows `--` is the program's.
pub(crate) fn asks_for_json(args: impl Iterator<Item = OsString>) -> bool {
    args.take_while(|arg| arg != "--").any(|arg| arg == "--json")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use hearth_domain::{MemoryMib, Vcpus};

    use super::{
        value::{since, tail},
        *,
    };

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_after_the_image_are_the_programs() {
        let cli =
            Cli::try_parse_from(["hearth", "run", "--rm", "-m", "1g", "busybox", "sh", "-c", "x", "--rm"]).unwrap();
        let Command::Run(run) = cli.command else {
            panic!("not a run")
        };
        assert_eq!(run.cmd, ["sh", "-c", "x", "--rm"]);
        assert_eq!(run.memory.unwrap().get(), 1024);
    }

    #[test]
    fn bad_values_name_the_field_and_the_way_out() {
        for (flag, value, hint) in [
            ("--cpus", "0", "1 to 32"),
            ("--memory", "1q", "512m"),
            ("--restart", "sometimes", "on-failure"),
            ("--publish", "99999:1", "HOST_PORT"),
            ("--network", "host", "default, none, bridge"),
            ("--driver", "xen", "firecracker, qemu]"),
        ] {
            let error = Cli::try_parse_from(["hearth", "run", flag, value, "x"])
                .unwrap_err()
                .to_string();
            assert!(error.contains(flag) && error.contains(hint), "{error}");
        }
    }

    #[test]
    fn a_fork_has_a_count_or_names() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["hearth", "fork"], args].concat());
        for good in [
            &["web"][..],
            &["-n", "100", "web"],
            &["--name", "a", "--name", "b", "--rm", "web"],
        ] {
            assert!(parse(good).is_ok(), "{good:?}");
        }
        for (bad, hint) in [
            (&["-n", "0", "web"][..], "1..=100"),
            (&["-n", "101", "web"], "1..=100"),
            (&["--name", "a/b", "web"], "not valid"),
            (&[], "<MACHINE>"),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
    }

    #[test]
    fn a_restored_machine_has_what_a_new_one_may_choose() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["hearth", "snapshot"], args].concat());
        let restored = parse(&["restore", "--name", "x", "-p", "8080:80", "--rm", "kept"]).unwrap();
        let Command::Snapshot(SnapshotCommand::Restore(args)) = restored.command else {
            panic!("not a restore")
        };
        assert_eq!((args.snapshot.as_str(), args.rm, args.publish.len()), ("kept", true, 1));
        let resized = parse(&["restore", "--cpus", "2", "--memory", "1g", "kept"]).unwrap();
        let Command::Snapshot(SnapshotCommand::Restore(args)) = resized.command else {
            panic!("not a restore")
        };
        assert_eq!(
            (args.cpus.map(Vcpus::get), args.memory.map(MemoryMib::get)),
            (Some(2), Some(1024))
        );
        assert!(parse(&["restore", "--cpus", "0", "kept"]).is_err());
        assert!(parse(&["create"]).unwrap_err().to_string().contains("<MACHINE>"));
        assert!(parse(&["ls", "--machine", "web", "-q"]).is_ok() && parse(&["rm"]).is_err());
        assert!(Cli::try_parse_from(["hearth", "rollback", "web"]).is_err());
    }

    #[test]
    fn sandboxes_are_asked_for_in_words() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["hearth", "sandbox"], args].concat());
        let made = parse(&[
            "create",
            "--metadata",
            "a=b=c",
            "--timeout",
            "1h",
            "--on-timeout",
            "pause_disk",
        ])
        .unwrap();
        let Command::Sandbox(SandboxCommand::Create(args)) = made.command else {
            panic!("not a create")
        };
        assert_eq!((args.template.as_str(), args.timeout), ("base", Some(3600)));
        assert_eq!(args.metadata, [("a".to_owned(), "b=c".to_owned())]);
        for good in [
            &["timeout", "x", "0"][..],
            &["url", "x", "80"],
            &["files", "get", "x", "/y"],
            &["connect", "x"],
        ] {
            assert!(parse(good).is_ok(), "{good:?}");
        }
        for (bad, hint) in [
            (&["create", "--timeout", "soon"][..], "90s, 10m"),
            (&["create", "--metadata", "x"], "NAME=VALUE"),
            (&["create", "--on-timeout", "sleep"], "pause_disk"),
            (&["url", "x", "0"], "1..=65535"),
            (&["ls", "--state", "gone"], "stopped"),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
        }
    }

    #[test]
    fn a_template_is_built_of_one_thing() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["hearth", "template", "build"], args].concat());
        for good in [
            &["web"][..],
            &["web:v1", "app", "-f", "x", "--build-arg", "A=1"],
            &[
                "web", "--image", "a", "--cpus", "2", "--memory", "1g", "--disk", "10g", "--tag", "x",
            ],
        ] {
            assert!(parse(good).is_ok(), "{good:?}");
        }
        for bad in [
            &["web", "--image", "a", "-f", "x"][..],
            &["web", "--image", "a", "--template", "b"],
            &[],
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    fn help_of(path: &[&str]) -> String {
        let mut command = Cli::command();
        command.build();
        let found = path
            .iter()
            .fold(&mut command, |command, name| command.find_subcommand_mut(name).unwrap());
        found.render_long_help().to_string()
    }

    #[test]
    fn help_tells_defaults_and_keeps_what_all_commands_have_apart() {
        let run = help_of(&["run"]);
        for default in ["1", "256m", "10", "the image's, else TERM", "default", "no"] {
            assert!(run.contains(&format!("[default: {default}]")), "{default}: {run}");
        }
        let (own, global) = run.split_once("Global options:").unwrap();
        assert!(global.contains("--socket") && global.contains("--host") && !own.contains("--socket"));
        assert!(help_of(&["exec"]).contains("KEY alone takes its value from the environment"));
        assert!(help_of(&["up"]).contains("without TLS on loopback only"));
    }

    #[test]
    fn what_is_written_goes_before_the_environment() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["hearth", "ps"], args].concat());
        let endpoint = |args: &[&str]| parse(args).unwrap().endpoint().unwrap();
        assert_eq!(endpoint(&["--socket", "/x"]), Endpoint::Unix("/x".into()));
        assert_eq!(
            endpoint(&["--host", "127.0.0.1:7"]),
            Endpoint::Tcp("127.0.0.1:7".parse().unwrap())
        );
        assert!(parse(&["--host", "127.0.0.1:7", "--socket", "/x"]).is_err());
        let plain = parse(&["--host", "http://192.0.2.1:7"]).unwrap_err().to_string();
        assert!(plain.contains("in the clear"), "{plain}");
    }

    #[test]
    fn a_tail_is_a_number_or_all() {
        assert!(matches!(tail("all"), Ok(Tail::All)) && matches!(tail("3"), Ok(Tail::Lines(3))));
        assert!(tail("x").unwrap_err().contains("all"));
    }

    #[test]
    fn a_kernel_is_a_package_or_files() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["hearth", "kernel", "import"], args].concat());
        assert!(parse(&["--deb", "x"]).is_ok());
        assert!(parse(&["--vmlinuz", "x", "--modules", "y"]).is_ok());
        for wrong in [&[][..], &["--modules", "y"], &["--deb", "x", "--modules", "y"]] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(
                error.contains("import --deb FILE\n") && !error.contains("<--modules"),
                "{error}"
            );
        }
    }

    #[test]
    fn json_is_asked_for_before_what_is_the_programs() {
        let asks = |line: &str| asks_for_json(line.split(' ').map(OsString::from));
        assert!(asks("hearth --json ps --nonsense") && asks("hearth ps --nonsense --json"));
        assert!(!asks("hearth exec --nonsense m -- x --json"));
    }

    #[test]
    fn since_takes_times_and_ages() {
        assert!(since("2026-01-31T12:00:00Z").is_ok());
        assert!(since("10m").unwrap() < jiff::Timestamp::now());
        assert!(since("yesterday-ish").is_err());
    }
}
