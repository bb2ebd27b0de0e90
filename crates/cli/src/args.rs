//! The command line, as a person who knows docker would expect it.

#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "these comments are the help, where [X] stands for an optional X"
)]

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use clap_complete::Shell;
use hearth_client::{DEFAULT_SOCKET, Endpoint};
use hearth_domain::{
    DiskMib, DriverKind, MachineName, MemoryMib, NetworkMode, PortMapping, RestartPolicy, Vcpus, parse_size_mib,
};
use hearth_driver_qemu::AccelChoice;
use ipnet::Ipv4Net;

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
/// Where help shows what all commands have.
const GLOBAL: &str = "Global options";
/// Where the daemon keeps everything.
pub(crate) const DEFAULT_STATE_DIR: &str = "/var/lib/hearth";

/// Machines, each behind its own kernel, from OCI images.
#[derive(Debug, Parser)]
#[command(name = "hearth", version, max_term_width = 100, arg_required_else_help = true)]
pub(crate) struct Cli {
    // Not by clap's `env`: what stands in the environment would count as written, in usages and in what is missing.
    /// Unix socket of the daemon [env: HEARTH_SOCKET] [default: /run/hearth/hearth.sock]
    #[arg(long, global = true, help_heading = GLOBAL, conflicts_with = "host")]
    socket: Option<PathBuf>,
    /// Address of the daemon on TCP, instead of its socket [env: HEARTH_HOST]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "ADDR:PORT")]
    host: Option<SocketAddr>,
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
        if let Some(address) = self.host {
            return Ok(Endpoint::Tcp(address));
        }
        match variable("HEARTH_HOST").filter(|_| self.socket.is_none()) {
            None => Ok(Endpoint::Unix(self.socket())),
            Some(text) => {
                let address = text.to_str().and_then(|text| text.parse().ok()).map(Endpoint::Tcp);
                address.ok_or_else(|| format!("HEARTH_HOST {} is not valid: write ADDR:PORT", text.display()))
            }
        }
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
    /// Stop machines' vCPUs
    Pause(MachinesArgs),
    /// Let paused machines go on
    #[command(visible_alias = "unpause")]
    Resume(MachinesArgs),
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
    /// Images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Kernels
    #[command(subcommand)]
    Kernel(KernelCommand),
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

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Folder for everything that the daemon keeps
    #[arg(long, env = "HEARTH_STATE_DIR", default_value = DEFAULT_STATE_DIR)]
    pub(crate) state_dir: PathBuf,
    /// Also listen on TCP, on loopback only: there is no authentication yet, so every user of this host gets in
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Return once the daemon answers, and leave it running
    #[arg(long, short = 'd')]
    pub(crate) detach: bool,
    /// Driver of machines that name none [default: firecracker where KVM works, else qemu]
    #[arg(long, env = "HEARTH_DRIVER", value_parser = driver())]
    pub(crate) driver: Option<DriverKind>,
    /// Virtual CPUs given out for each CPU
    #[arg(long, default_value_t = 16.0, value_parser = ratio)]
    pub(crate) cpu_overcommit: f64,
    /// Guest memory given out for each byte of memory
    #[arg(long, default_value_t = 1.0, value_parser = ratio)]
    pub(crate) memory_overcommit: f64,
    /// Size of machines' own disks given out for each byte that is free where they lie
    #[arg(long, default_value_t = 1.0, value_parser = ratio)]
    pub(crate) disk_overcommit: f64,
    #[command(flatten)]
    pub(crate) vmm: VmmArgs,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// Registries spoken to without TLS, as HOST[:PORT]; those on loopback are anyway
    #[arg(long = "insecure-registry", value_name = "HOST[:PORT]")]
    pub(crate) insecure_registries: Vec<String>,
    /// A further certificate authority for registries, as a PEM file
    #[arg(long = "registry-ca", value_name = "FILE")]
    pub(crate) registry_ca: Vec<PathBuf>,
    /// Log lines as JSON
    #[arg(long, env = "HEARTH_LOG_JSON")]
    pub(crate) log_json: bool,
}

/// The programs that run machines.
#[derive(Debug, Args)]
pub(crate) struct VmmArgs {
    /// QEMU's program [default: qemu-system-x86_64 on PATH]
    #[arg(long, value_name = "FILE")]
    pub(crate) qemu: Option<PathBuf>,
    /// Firecracker's program [default: on PATH]
    #[arg(long, value_name = "FILE")]
    pub(crate) firecracker: Option<PathBuf>,
    /// Firecracker's jailer [default: beside firecracker, or on PATH]
    #[arg(long, value_name = "FILE")]
    pub(crate) jailer: Option<PathBuf>,
    /// Further settings of Firecracker, as JSON: see the handbook
    #[arg(long, value_name = "FILE")]
    pub(crate) firecracker_config: Option<PathBuf>,
    /// Hardware virtualisation: auto (if it works when it is tried), kvm (whatever the trial says) or tcg (never, for QEMU)
    #[arg(long, default_value = "auto", value_name = "auto|kvm|tcg")]
    pub(crate) accel: AccelChoice,
}

/// Where guests are plugged in.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// Network slots that are kept ready
    #[arg(long, default_value_t = 4)]
    pub(crate) warm_slots: u32,
    /// Network slots at most, and so machines that run at a time
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=i64::from(hearth_network::MAX_CAPACITY)))]
    pub(crate) max_slots: u32,
    /// Network of the slots' addresses on this host [default: a free part of 100.64.0.0/10]
    #[arg(long, value_name = "NETWORK/BITS")]
    pub(crate) slot_network: Option<Ipv4Net>,
    /// Bridge of machines with --network bridge; made if need be
    #[arg(long, default_value = "fc-bridge0", value_name = "NAME", value_parser = interface_name)]
    pub(crate) bridge: String,
    /// Network of that bridge, which gets the first address
    #[arg(long, default_value = "172.16.0.0/24", value_name = "NETWORK/BITS")]
    pub(crate) bridge_subnet: Ipv4Net,
    /// Name servers for guests [default: the host's]
    #[arg(long = "dns", value_name = "ADDR")]
    pub(crate) dns: Vec<std::net::IpAddr>,
}

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

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Fetch an image from a registry
    Pull {
        /// Reference, such as debian:12 or registry.example.com/team/app@sha256:…
        reference: String,
    },
    /// Bring in an OCI layout (folder or tar), a docker archive, or a root file system as a tar
    Import(ImageImportArgs),
    /// List images
    #[command(alias = "list")]
    Ls {
        /// Only IDs
        #[arg(short, long)]
        quiet: bool,
    },
    /// Show an image in full, as JSON
    Inspect {
        /// Names or IDs
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Remove images
    #[command(alias = "remove")]
    Rm {
        /// Names or IDs
        #[arg(required = true)]
        images: Vec<String>,
        /// Remove all of an image's names
        #[arg(short, long)]
        force: bool,
    },
    /// Remove what nothing refers to
    Prune {
        /// Also images that have a name, if no machine uses them
        #[arg(short, long)]
        all: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ImageImportArgs {
    /// File or folder; - is standard input
    pub(crate) source: PathBuf,
    /// Name for the image
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// What it is: oci, docker or root [default: found out]
    #[arg(long)]
    pub(crate) kind: Option<ImportKindArg>,
    /// Command of the image, where the source has none
    #[arg(long, value_name = "COMMAND LINE")]
    pub(crate) cmd: Option<String>,
    /// Change to the image, as in a Dockerfile: CMD, ENTRYPOINT, ENV, LABEL, STOPSIGNAL, USER or WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum ImportKindArg {
    Oci,
    Docker,
    Root,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KernelCommand {
    /// Bring in a kernel: a Debian package, or a vmlinuz with its modules
    Import(KernelImportArgs),
    /// Build a small kernel for quick boots from Debian's source package; takes minutes
    Build {
        /// Source tar [default: /usr/src/linux-source-*.tar.xz]
        #[arg(long)]
        source: Option<PathBuf>,
        /// Compilers at once [default: one a CPU]
        #[arg(short, long)]
        jobs: Option<u32>,
    },
    /// List kernels
    #[command(alias = "list")]
    Ls,
    /// Remove kernels
    #[command(alias = "remove")]
    Rm {
        /// IDs or versions
        #[arg(required = true)]
        kernels: Vec<String>,
    },
    /// Show the default kernel, or choose it
    Default {
        /// ID or version
        kernel: Option<String>,
    },
}

#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("kernel").required(true),
    override_usage = "hearth kernel import --deb FILE\n       hearth kernel import --vmlinuz FILE [--modules FOLDER]"
)]
pub(crate) struct KernelImportArgs {
    /// A linux-image-….deb
    #[arg(long, value_name = "FILE", group = "kernel", conflicts_with = "modules")]
    pub(crate) deb: Option<PathBuf>,
    /// A bzImage
    #[arg(long, value_name = "FILE", group = "kernel")]
    pub(crate) vmlinuz: Option<PathBuf>,
    /// The folder of its modules (lib/modules/VERSION) [default: none; everything is built in]
    #[arg(long, value_name = "FOLDER", requires = "vmlinuz")]
    pub(crate) modules: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Show what the node is, has and holds
    Info,
}

#[derive(Debug, Args)]
#[command(after_help = "The exit code is 1 if something fails that machines need.")]
pub(crate) struct DoctorArgs {
    /// Folder of the daemon that is to be; one that runs knows its own
    #[arg(long, env = "HEARTH_STATE_DIR", default_value = DEFAULT_STATE_DIR)]
    pub(crate) state_dir: PathBuf,
    #[command(flatten)]
    pub(crate) vmm: VmmArgs,
}

/// One of some words, which completion offers.
fn one_of<T>(words: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| word.parse())
}

/// A driver; that for tests is in no help.
fn driver() -> impl TypedValueParser<Value = DriverKind> {
    let fake = PossibleValue::new("fake").hide(true);
    PossibleValuesParser::new(["firecracker".into(), "qemu".into(), fake]).try_map(|word| word.parse())
}

fn vcpus(text: &str) -> Result<Vcpus, String> {
    let number: u64 = text.parse().map_err(|_| format!("{text:?} is not a whole number"))?;
    Vcpus::try_from(number).map_err(|error| error.to_string())
}

fn memory(text: &str) -> Result<MemoryMib, String> {
    parse_size_mib(text)
        .and_then(MemoryMib::try_from)
        .map_err(|error| error.to_string())
}

fn disk(text: &str) -> Result<DiskMib, String> {
    parse_size_mib(text)
        .and_then(DiskMib::try_from)
        .map_err(|error| error.to_string())
}

/// What the kernel takes for the name of an interface.
fn interface_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=15).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('.') {
        return Ok(text.to_owned());
    }
    Err("give 1 to 15 letters, digits, dashes, dots or underscores".to_owned())
}

fn ratio(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(ratio) if (0.1..=1000.0).contains(&ratio) => Ok(ratio),
        _ => Err("give a number from 0.1 to 1000".to_owned()),
    }
}

/// Whether a command line that cannot be read asks for JSON all the same. What follows `--` is the program's.
pub(crate) fn asks_for_json(args: impl Iterator<Item = OsString>) -> bool {
    args.take_while(|arg| arg != "--").any(|arg| arg == "--json")
}

/// How much of a log.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tail {
    All,
    Lines(u64),
}

fn tail(text: &str) -> Result<Tail, String> {
    if text == "all" {
        return Ok(Tail::All);
    }
    let lines = text.parse().map(Tail::Lines);
    lines.map_err(|_| format!("{text:?} is neither a number of lines nor \"all\""))
}

/// A time, or an age before now.
fn since(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time);
    }
    let age: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("{text:?} is neither a time (2026-01-31T12:00:00Z) nor an age (10m, 2h)"))?;
    jiff::Timestamp::now()
        .checked_sub(age)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

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
        assert!(help_of(&["up"]).contains("no authentication"));
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
