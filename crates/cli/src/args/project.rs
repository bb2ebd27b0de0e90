//! Projects, keys, secrets, and the log of changes.

#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "these comments are the help, where [X] stands for an optional X"
)]

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hearth_domain::{MemoryMib, ProjectName, Role, SecretName};

use super::value::{lifetime_s, memory, one_of, since};

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectCommand {
    /// Make a project
    Create {
        /// Its name: lower-case letters, digits and dashes
        name: ProjectName,
        #[command(flatten)]
        quotas: QuotaArgs,
    },
    /// List projects
    #[command(alias = "list")]
    Ls,
    /// Show projects in full, as JSON
    Inspect {
        /// Names or IDs
        #[arg(required = true, value_name = "PROJECT")]
        projects: Vec<String>,
    },
    /// Change what a project may hold; what is not named stays
    Set {
        /// Name or ID
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        quotas: QuotaArgs,
        /// Take bounds away: machines, cpus, memory, functions, snapshots or requests
        #[arg(long = "unlimited", value_name = "QUOTA", value_parser = ["machines", "cpus", "memory", "functions", "snapshots", "requests"])]
        unlimited: Vec<String>,
    },
    /// Remove projects that own nothing, with their keys
    #[command(alias = "remove")]
    Rm {
        /// Names or IDs
        #[arg(required = true, value_name = "PROJECT")]
        projects: Vec<String>,
    },
}

/// What a project may hold.
#[derive(Debug, Args)]
pub(crate) struct QuotaArgs {
    /// Machines at most, at rest or not
    #[arg(long = "max-machines", value_name = "COUNT")]
    pub(crate) machines: Option<u32>,
    /// Virtual CPUs of all machines at most
    #[arg(long = "max-cpus", value_name = "COUNT")]
    pub(crate) cpus: Option<u32>,
    /// Memory of all machines at most, such as 16g
    #[arg(long = "max-memory", value_name = "SIZE", value_parser = memory)]
    pub(crate) memory: Option<MemoryMib>,
    /// Functions at most
    #[arg(long = "max-functions", value_name = "COUNT")]
    pub(crate) functions: Option<u32>,
    /// Snapshots of machines at most
    #[arg(long = "max-snapshots", value_name = "COUNT")]
    pub(crate) snapshots: Option<u32>,
    /// Requests by keys in a second at most
    #[arg(long = "max-requests", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) requests: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key of the project, and print it this once
    Create {
        /// What it may do
        #[arg(long, default_value = "developer", value_parser = one_of::<Role>(&["admin", "developer", "invoker", "viewer"]))]
        role: Role,
        /// Its name [default: made up]
        #[arg(long)]
        name: Option<String>,
        /// For how long it is one, such as 12h or 30d [default: without end]
        #[arg(long, value_name = "SPAN", value_parser = lifetime_s)]
        expires: Option<u64>,
    },
    /// List keys of the project
    #[command(alias = "list")]
    Ls,
    /// Revoke keys of the project
    #[command(alias = "remove", alias = "revoke")]
    Rm {
        /// Names or IDs
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Set a secret of the project, to what is on standard input
    #[command(after_help = "One line feed at the end of standard input is left out; a file is taken as it is.")]
    Set {
        /// Its name
        name: SecretName,
        /// Take the value from a file
        #[arg(long, value_name = "FILE", conflicts_with = "value")]
        from_file: Option<PathBuf>,
        /// The value itself, which others on this host can then see in the list of processes
        #[arg(long)]
        value: Option<String>,
    },
    /// List secrets of the project, without their values
    #[command(alias = "list")]
    Ls,
    /// Remove secrets of the project
    #[command(alias = "remove")]
    Rm {
        /// Names
        #[arg(required = true, value_name = "SECRET")]
        secrets: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Of all projects
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only since a time or an age (10m, 2h)
    #[arg(long, value_parser = since)]
    pub(crate) since: Option<jiff::Timestamp>,
    /// Only by this key (ID or name) or user (unix:UID)
    #[arg(long)]
    pub(crate) actor: Option<String>,
    /// Only of this operation, such as create_machine
    #[arg(long)]
    pub(crate) operation: Option<String>,
    /// At most so many
    #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
}
