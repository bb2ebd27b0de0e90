//! Machines.

#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "these comments are the help, where [X] stands for an optional X"
)]

use clap::Args;
use hearth_api::SecretUse;
use hearth_domain::{
    DiskMib, DriverKind, MachineName, MemoryMib, NetworkMode, PortMapping, RecoverPolicy, RestartPolicy, Vcpus,
};

use super::value::{Tail, disk, driver, memory, one_of, recover, secret_file, secret_use, since, tail, vcpus};

/// Docker's, wherever docker has one.
const RUN_EXIT_CODES: &str = "\
Exit codes:
  the program's own; 128 + N where signal N ended it
  127  the program was not found
  126  the program cannot be executed, or its working folder cannot be entered
  125  hearth could not do it: a wrong command line, no such image, no room, no such user in it,
       a machine that does not come up, or a daemon that went away";
const EXEC_EXIT_CODES: &str = "\
Exit codes:
  the command's own; 128 + N where signal N ended it
  127  the command was not found
  126  the command cannot be executed: no permission, no such user, no such working folder
  125  hearth could not do it: a wrong command line, no such machine, one that does not run, or a daemon that went away";

#[derive(Debug, Args)]
#[command(after_help = RUN_EXIT_CODES)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct RunArgs {
    /// Remove the machine when it has stopped
    #[arg(long)]
    pub(crate) rm: bool,
    /// Print the machine's ID and leave it running
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Forward standard input
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// The machine's name [default: made up]
    #[arg(long)]
    pub(crate) name: Option<MachineName>,
    /// Virtual CPUs [default: 1]
    #[arg(long, value_parser = vcpus)]
    pub(crate) cpus: Option<Vcpus>,
    /// Memory, such as 512m or 2g [default: 256m]
    #[arg(short, long, value_parser = memory)]
    pub(crate) memory: Option<MemoryMib>,
    /// A disk of its own, such as 10g [default: none; changes live in the guest's memory]
    #[arg(long, value_parser = disk)]
    pub(crate) disk: Option<DiskMib>,
    /// Set a variable; KEY alone takes its value from the environment here
    #[arg(short, long = "env", value_name = "KEY[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Give the program a secret of the project, as the variable of its name or another
    #[arg(long = "secret", value_name = "NAME[=VARIABLE]", value_parser = secret_use)]
    pub(crate) secrets: Vec<SecretUse>,
    /// Give the program a secret of the project, as a file in /run/secrets
    #[arg(long = "secret-file", value_name = "NAME[=/run/secrets/FILE]", value_parser = secret_file)]
    pub(crate) secret_files: Vec<SecretUse>,
    /// Working folder [default: the image's, else /]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// User, by name or number, with an optional :GROUP [default: the image's, else root]
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Replace the image's entrypoint; an empty one takes it away
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// How the machine is connected
    #[arg(long, default_value = "default", value_parser = one_of::<NetworkMode>(&["default", "none", "bridge"]))]
    pub(crate) network: NetworkMode,
    /// Publish a port: [HOST_IP:]HOST:GUEST[/udp]
    #[arg(short, long = "publish", value_name = "HOST:GUEST")]
    pub(crate) publish: Vec<PortMapping>,
    /// What runs the machine [default: the daemon's; see hearth node info]
    #[arg(long, value_parser = driver())]
    pub(crate) driver: Option<DriverKind>,
    /// Start again when the program ends: no, on-failure[:N] or always
    #[arg(long, default_value = "no")]
    pub(crate) restart: RestartPolicy,
    /// Go on from the last of the snapshots made every INTERVAL if the VMM or the node dies: no or snapshot[:INTERVAL] (5m)
    #[arg(long, default_value = "no", value_name = "POLICY", value_parser = recover)]
    pub(crate) recover: RecoverPolicy,
    /// Seconds that a stop waits before it kills [default: 10]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) stop_timeout: Option<u64>,
    /// Signal that asks the program to end [default: the image's, else TERM]
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// Kernel bundle, by ID or version [default: that of hearth kernel default]
    #[arg(long)]
    pub(crate) kernel: Option<String>,
    /// Image
    pub(crate) image: String,
    /// Program and arguments [default: the image's]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) cmd: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Also those at rest
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MachinesArgs {
    /// Names, IDs, or beginnings of IDs
    #[arg(required = true, value_name = "MACHINE")]
    pub(crate) machines: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Leave a program with a terminal by Ctrl-P Ctrl-Q; it goes on.
The exit code is the program's; 125 where hearth could not do it.")]
pub(crate) struct AttachArgs {
    /// Do not forward standard input
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// The machine
    pub(crate) machine: String,
}

#[derive(Debug, Args)]
#[command(after_help = EXEC_EXIT_CODES)]
pub(crate) struct ExecArgs {
    /// Forward standard input
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Set a variable; KEY alone takes its value from the environment here
    #[arg(short, long = "env", value_name = "KEY[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Working folder [default: the machine's]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// User, by name or number, with an optional :GROUP [default: the machine's]
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// The machine
    pub(crate) machine: String,
    /// Command and arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) cmd: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Go on with what is written later
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only what was written since: a time (2026-01-31T12:00:00Z) or an age (10m, 2h)
    #[arg(long, value_parser = since)]
    pub(crate) since: Option<jiff::Timestamp>,
    /// Only so many of the last lines [default: all]
    #[arg(short = 'n', long, value_name = "LINES", value_parser = tail)]
    pub(crate) tail: Option<Tail>,
    /// The machine
    pub(crate) machine: String,
}

#[derive(Debug, Args)]
pub(crate) struct CpArgs {
    /// Here, or in a machine as MACHINE:PATH; - is a tar on standard input
    pub(crate) source: String,
    /// Here, or in a machine as MACHINE:PATH; - is a tar on standard output
    pub(crate) target: String,
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Seconds to wait before it is killed [default: the machine's own]
    #[arg(short, long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Names, IDs, or beginnings of IDs
    #[arg(required = true, value_name = "MACHINE")]
    pub(crate) machines: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// Signal, by name or number
    #[arg(short, long, default_value = "KILL")]
    pub(crate) signal: String,
    /// Names, IDs, or beginnings of IDs
    #[arg(required = true, value_name = "MACHINE")]
    pub(crate) machines: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Kill those that run
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Names, IDs, or beginnings of IDs
    #[arg(required = true, value_name = "MACHINE")]
    pub(crate) machines: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Measure once, and do not go on
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Names, IDs, or beginnings of IDs [default: all that run]
    #[arg(value_name = "MACHINE")]
    pub(crate) machines: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Only what happened since: a time or an age; then goes on with what happens
    #[arg(long, value_parser = since)]
    pub(crate) since: Option<jiff::Timestamp>,
    /// Print what has happened, and do not go on
    #[arg(long)]
    pub(crate) no_follow: bool,
    /// Only of this machine
    #[arg(long)]
    pub(crate) machine: Option<String>,
}
