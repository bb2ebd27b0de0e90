//! Sandboxes.

#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "these comments are the help, where [X] stands for an optional X"
)]

use clap::{Args, Subcommand, ValueEnum};
use hearth_api::{OnTimeout, SandboxNetwork, SandboxState};
use hearth_domain::{DiskMib, MemoryMib, RecoverPolicy, Vcpus};

use super::{
    machine::{ExecArgs, LogsArgs, StatsArgs},
    value::{disk, memory, pair, recover, timeout_s, vcpus},
};

#[derive(Debug, Subcommand)]
pub(crate) enum SandboxCommand {
    /// Make a sandbox of a template, and print its ID once it runs
    Create(CreateArgs),
    /// List sandboxes
    #[command(alias = "list")]
    Ls(ListArgs),
    /// Show sandboxes in full, as JSON, with what opens them
    #[command(visible_alias = "inspect")]
    Get(SandboxesArgs),
    /// Run a command in a sandbox
    Exec(ExecArgs),
    /// Open a shell in a sandbox; one that is paused is resumed
    Connect {
        /// User, by name or number [default: the template's]
        #[arg(short, long)]
        user: Option<String>,
        /// The sandbox's ID, or a beginning of it
        sandbox: String,
    },
    /// List, show, copy and remove a sandbox's files
    #[command(subcommand)]
    Files(FilesCommand),
    /// Let sandboxes stand still: they hold no memory then, and do not end
    Pause {
        /// Keep their disks alone; they boot when they are resumed
        #[arg(long)]
        no_memory: bool,
        #[command(flatten)]
        sandboxes: SandboxesArgs,
    },
    /// Let paused sandboxes go on
    Resume {
        /// Boot them from their disks; what they had in memory alone is lost
        #[arg(long)]
        no_memory: bool,
        /// How long they last from now on: 90s, 10m, 2h or 1d [default: as when they were made]
        #[arg(long, value_name = "SPAN", value_parser = timeout_s)]
        timeout: Option<i64>,
        #[command(flatten)]
        sandboxes: SandboxesArgs,
    },
    /// Make copies of a sandbox that go on where it is, and print their IDs
    Fork {
        /// How many
        #[arg(short = 'n', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
        count: u32,
        /// How long they last: 90s, 10m, 2h or 1d [default: as the sandbox when it was made]
        #[arg(long, value_name = "SPAN", value_parser = timeout_s)]
        timeout: Option<i64>,
        /// The sandbox's ID, or a beginning of it
        sandbox: String,
    },
    /// Make a template of a sandbox as it is now, and print its ID; the sandbox goes on
    Snapshot {
        /// The template's name; of one that there is, this is a further build
        #[arg(long)]
        name: Option<String>,
        /// Keep its disk alone: sandboxes of the template boot
        #[arg(long)]
        no_memory: bool,
        /// The sandbox's ID, or a beginning of it
        sandbox: String,
    },
    /// Say what a sandbox may reach from now on; without options, all
    Network {
        #[command(flatten)]
        rules: NetworkArgs,
        /// The sandbox's ID, or a beginning of it
        sandbox: String,
    },
    /// Say how long a sandbox lasts from now on
    Timeout {
        /// The sandbox's ID, or a beginning of it
        sandbox: String,
        /// 90s, 10m, 2h or 1d; 0 ends it at once
        #[arg(value_name = "SPAN", value_parser = timeout_s)]
        timeout: i64,
    },
    /// Remove sandboxes with everything of them
    #[command(visible_alias = "rm")]
    Kill(SandboxesArgs),
    /// Show what a sandbox's machine wrote
    Logs(LogsArgs),
    /// Show what sandboxes use
    #[command(visible_alias = "stats")]
    Metrics(StatsArgs),
    /// Print where a port of a sandbox is
    Url {
        /// The sandbox's ID, or a beginning of it
        sandbox: String,
        /// The port
        #[arg(value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Set a variable for its commands; KEY alone takes its value from the environment here
    #[arg(short, long = "env", value_name = "KEY[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Pin a text to it, by which it is found again
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) metadata: Vec<(String, String)>,
    /// How long it lasts: 90s, 10m, 2h or 1d [default: 5m]
    #[arg(long, value_name = "SPAN", value_parser = timeout_s)]
    pub(crate) timeout: Option<i64>,
    /// What becomes of it then
    #[arg(long, value_enum, default_value = "kill")]
    pub(crate) on_timeout: OnTimeoutArg,
    /// Resume it when a port of it is asked for something
    #[arg(long)]
    pub(crate) auto_resume: bool,
    /// Put its end off whenever a port of it is asked for something
    #[arg(long)]
    pub(crate) keep_alive: bool,
    /// Have its ports ask for a token
    #[arg(long)]
    pub(crate) private: bool,
    /// Go on from the last of the snapshots made every INTERVAL if the VMM or the node dies: no or snapshot[:INTERVAL] (5m)
    #[arg(long, default_value = "no", value_name = "POLICY", value_parser = recover)]
    pub(crate) recover: RecoverPolicy,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// Virtual CPUs [default: the template's, as for memory and disk; with another size it boots, with the template's disk]
    #[arg(long, value_parser = vcpus)]
    pub(crate) cpus: Option<Vcpus>,
    /// Memory, such as 512m or 2g
    #[arg(short, long, value_parser = memory)]
    pub(crate) memory: Option<MemoryMib>,
    /// Disk, such as 8g; not less than the template's
    #[arg(long, value_parser = disk)]
    pub(crate) disk: Option<DiskMib>,
    /// The template: NAME, NAME:TAG, PROJECT/NAME:TAG or an ID; or a snapshot of a sandbox
    #[arg(default_value = "base")]
    pub(crate) template: String,
}

/// What a sandbox may reach.
#[derive(Debug, Args)]
pub(crate) struct NetworkArgs {
    /// Let it reach nothing but what is allowed
    #[arg(long)]
    pub(crate) no_internet: bool,
    /// Let it reach an address, a network or a domain all the same; may be given often
    #[arg(long, value_name = "WHAT")]
    pub(crate) allow: Vec<String>,
    /// Keep it from an address or a network; may be given often
    #[arg(long, value_name = "NETWORK")]
    pub(crate) deny: Vec<String>,
}

impl From<NetworkArgs> for SandboxNetwork {
    fn from(args: NetworkArgs) -> Self {
        Self {
            internet: !args.no_internet,
            allow_out: args.allow,
            deny_out: args.deny,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only those in this state
    #[arg(long, value_enum)]
    pub(crate) state: Option<StateArg>,
    /// Only those of this template, by ID or name
    #[arg(long)]
    pub(crate) template: Option<String>,
    /// Only those to which this is pinned
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(crate) metadata: Vec<(String, String)>,
    /// Only IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SandboxesArgs {
    /// IDs, or beginnings of them
    #[arg(required = true, value_name = "SANDBOX")]
    pub(crate) sandboxes: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FilesCommand {
    /// List a folder
    Ls {
        /// The sandbox's ID, or a beginning of it
        sandbox: String,
        /// The folder
        #[arg(default_value = ".")]
        path: String,
    },
    /// Print a file
    Cat {
        /// The sandbox's ID, or a beginning of it
        sandbox: String,
        /// The file
        path: String,
    },
    /// Copy a file or a folder into a sandbox; - is a tar on standard input
    Put {
        /// The sandbox's ID, or a beginning of it
        sandbox: String,
        /// Here
        source: String,
        /// There: an absolute path
        target: String,
    },
    /// Copy a file or a folder out of a sandbox; - is a tar on standard output
    Get {
        /// The sandbox's ID, or a beginning of it
        sandbox: String,
        /// There: an absolute path
        source: String,
        /// Here
        #[arg(default_value = ".")]
        target: String,
    },
    /// Remove files
    Rm {
        /// Folders with all that is in them, too
        #[arg(short, long)]
        recursive: bool,
        /// The sandbox's ID, or a beginning of it
        sandbox: String,
        /// Files
        #[arg(required = true)]
        paths: Vec<String>,
    },
}

/// What becomes of a sandbox when its time is over.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum OnTimeoutArg {
    /// It is gone
    Kill,
    /// It is paused with its memory
    Pause,
    /// Its disk is kept, its memory is not
    PauseDisk,
}

impl From<OnTimeoutArg> for OnTimeout {
    fn from(value: OnTimeoutArg) -> Self {
        match value {
            OnTimeoutArg::Kill => Self::Kill,
            OnTimeoutArg::Pause => Self::Pause,
            OnTimeoutArg::PauseDisk => Self::PauseDisk,
        }
    }
}

/// Whether a sandbox runs.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum StateArg {
    /// It runs
    Running,
    /// It is paused with its memory
    Paused,
    /// It is paused without
    Stopped,
}

impl From<StateArg> for SandboxState {
    fn from(value: StateArg) -> Self {
        match value {
            StateArg::Running => Self::Running,
            StateArg::Paused => Self::Paused,
            StateArg::Stopped => Self::Stopped,
        }
    }
}
