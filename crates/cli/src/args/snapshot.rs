//! Snapshots, and what goes on from them.

#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "these comments are the help, where [X] stands for an optional X"
)]

use super::value::{memory, recover, vcpus};
use clap::{Args, Subcommand};
use hearth_domain::{MachineName, MemoryMib, PortMapping, RecoverPolicy, RestartPolicy, Vcpus};

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Make a snapshot of a machine that runs or is paused, and print its ID; one that runs goes on
    Create {
        /// Save its disk alone, also of one that is stopped; a machine that is made of that boots
        #[arg(long)]
        no_memory: bool,
        /// The snapshot's name [default: none]
        #[arg(long)]
        name: Option<MachineName>,
        /// The machine
        machine: String,
    },
    /// List snapshots
    #[command(alias = "list")]
    Ls {
        /// Only those of this machine, by name or ID; it may be gone
        #[arg(long)]
        machine: Option<String>,
        /// Only IDs
        #[arg(short, long)]
        quiet: bool,
    },
    /// Show snapshots in full, as JSON
    Inspect {
        /// Names, IDs, or beginnings of IDs
        #[arg(required = true, value_name = "SNAPSHOT")]
        snapshots: Vec<String>,
    },
    /// Remove snapshots; machines that began with them stay
    #[command(alias = "remove")]
    Rm {
        /// Names, IDs, or beginnings of IDs
        #[arg(required = true, value_name = "SNAPSHOT")]
        snapshots: Vec<String>,
    },
    /// Make another machine that goes on from a snapshot, or boots with its disk, and print its ID
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The machine's name [default: made up]
    #[arg(long)]
    pub(crate) name: Option<MachineName>,
    /// Publish a port: [HOST_IP:]HOST:GUEST[/udp]
    #[arg(short, long = "publish", value_name = "HOST:GUEST")]
    pub(crate) publish: Vec<PortMapping>,
    /// Remove the machine when it has stopped
    #[arg(long)]
    pub(crate) rm: bool,
    /// Start again when the program ends, by a boot: no, on-failure[:N] or always
    #[arg(long, default_value = "no")]
    pub(crate) restart: RestartPolicy,
    /// Go on from the last of the snapshots made every INTERVAL if the VMM or the node dies: no or snapshot[:INTERVAL] (5m)
    #[arg(long, default_value = "no", value_name = "POLICY", value_parser = recover)]
    pub(crate) recover: RecoverPolicy,
    /// Virtual CPUs, of a snapshot without memory [default: the snapshot's]
    #[arg(long, value_parser = vcpus)]
    pub(crate) cpus: Option<Vcpus>,
    /// Memory, such as 512m or 2g, of a snapshot without memory [default: the snapshot's]
    #[arg(short, long, value_parser = memory)]
    pub(crate) memory: Option<MemoryMib>,
    /// Name or ID of the snapshot
    pub(crate) snapshot: String,
}

#[derive(Debug, Args)]
pub(crate) struct ForkArgs {
    /// How many machines to make [default: one, or one a name]
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) count: Option<u32>,
    /// Name of a new machine; once for each [default: made up of the machine's]
    #[arg(long = "name", value_name = "NAME")]
    pub(crate) names: Vec<MachineName>,
    /// Remove each new machine when it has stopped
    #[arg(long)]
    pub(crate) rm: bool,
    /// The machine, which must run or be paused
    pub(crate) machine: String,
}

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// Leave them in memory, where they go on at once; otherwise they go to disk if their driver can do that
    #[arg(long)]
    pub(crate) memory: bool,
    /// Names, IDs, or beginnings of IDs
    #[arg(required = true, value_name = "MACHINE")]
    pub(crate) machines: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The machine
    pub(crate) machine: String,
    /// Name or ID of a snapshot of it
    pub(crate) snapshot: String,
}
