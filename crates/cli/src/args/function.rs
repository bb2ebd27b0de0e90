//! Functions.

#![allow(
    rustdoc::broken_intra_doc_links,
    clippy::doc_markdown,
    reason = "these comments are the help, where [X] stands for an optional X"
)]

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hearth_domain::{DriverKind, MemoryMib, Runtime, Vcpus};

use super::value::{Tail, driver, duration_ms, memory, one_of, secret_file, secret_use, share, since, tail, vcpus};
use hearth_api::{SecretUse, TrafficShare};

#[derive(Debug, Subcommand)]
pub(crate) enum FunctionCommand {
    /// Deploy a function from an image or a folder; again, for its next version
    Deploy(Box<DeployArgs>),
    /// List functions
    #[command(alias = "list")]
    Ls,
    /// Show functions in full, as JSON
    Inspect {
        /// Names
        #[arg(required = true)]
        functions: Vec<String>,
    },
    /// Call a function and print its answer
    #[command(visible_alias = "call")]
    Invoke(InvokeArgs),
    /// Show what a function wrote
    Logs(FunctionLogsArgs),
    /// Remove functions and all that is theirs
    #[command(alias = "remove")]
    Rm {
        /// Names
        #[arg(required = true)]
        functions: Vec<String>,
    },
    /// List a function's versions
    Versions {
        /// Name
        function: String,
    },
    /// Names for versions
    #[command(subcommand)]
    Alias(AliasCommand),
    /// Share a function's calls out among versions
    Traffic {
        /// Name
        function: String,
        /// Versions with their share in hundredths, as VERSION=PERCENT; a version alone gets all
        #[arg(required = true, value_name = "VERSION=PERCENT", value_parser = share)]
        shares: Vec<TrafficShare>,
    },
    /// Let calls go where they went before the last change
    Rollback {
        /// Name
        function: String,
        /// To this version [default: what was called before the last change]
        version: Option<u32>,
    },
    /// Show who may call a function and how many instances it has, or change it
    Config {
        /// Name
        function: String,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// List a function's instances
    Instances {
        /// Name
        function: String,
    },
    /// List calls that nobody waits for: those that wait, run, were answered or are dead
    Invocations {
        /// Only those of this function
        function: Option<String>,
        /// Only those in this state
        #[arg(long, value_name = "STATE", value_parser = ["queued", "running", "succeeded", "dead"])]
        state: Option<String>,
    },
    /// Print what a call was answered
    Result {
        /// ID of the call
        invocation: String,
    },
    /// Try calls anew that ended
    Replay {
        /// IDs of calls
        #[arg(required = true)]
        invocations: Vec<String>,
    },
    /// What calls a function by the clock
    #[command(subcommand)]
    Trigger(TriggerCommand),
}

#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true),
    override_usage = "hearth fn deploy NAME --source DIR --runtime python3|node|provided --handler MODULE.FUNCTION [OPTIONS]\n       hearth fn deploy NAME --image REF [OPTIONS] [-- CMD...]"
)]
pub(crate) struct DeployArgs {
    /// Name
    pub(crate) name: String,
    /// Image that the node has; it is pulled if it has not
    #[arg(long, value_name = "REF", group = "what")]
    pub(crate) image: Option<String>,
    /// Folder with the program; what its .hearthignore names is left out
    #[arg(long, value_name = "DIR", group = "what", requires = "runtime")]
    pub(crate) source: Option<PathBuf>,
    /// What runs the source: python3, node, or provided (its own program, bootstrap)
    #[arg(long, value_parser = one_of::<Runtime>(&["python3", "node", "provided"]), requires = "source")]
    pub(crate) runtime: Option<Runtime>,
    /// What of the source is called
    #[arg(long, value_name = "MODULE.FUNCTION")]
    pub(crate) handler: Option<String>,
    /// How an image is called: http (it listens on $PORT) or lambda (it asks for events) [default: http]
    #[arg(long, value_parser = ["http", "lambda"], conflicts_with = "source")]
    pub(crate) contract: Option<String>,
    /// Port at which the image listens [default: 8080]
    #[arg(long, conflicts_with = "source")]
    pub(crate) port: Option<u16>,
    /// Replaces the image's entrypoint
    #[arg(long, value_name = "PROGRAM", conflicts_with = "source")]
    pub(crate) entrypoint: Option<String>,
    /// Variables of its environment
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Secrets for its environment
    #[arg(long = "secret", value_name = "SECRET[=VARIABLE]", value_parser = secret_use)]
    pub(crate) secrets: Vec<SecretUse>,
    /// Secrets as files [default file: /run/secrets/SECRET]
    #[arg(long = "secret-file", value_name = "SECRET[=/run/secrets/FILE]", value_parser = secret_file)]
    pub(crate) secret_files: Vec<SecretUse>,
    /// Virtual CPUs of an instance [default: 1]
    #[arg(long, value_parser = vcpus)]
    pub(crate) cpus: Option<Vcpus>,
    /// Memory of an instance, such as 512m [default: 256m]
    #[arg(short, long, value_parser = memory)]
    pub(crate) memory: Option<MemoryMib>,
    /// How long a call may take, such as 30s [default: 30s]
    #[arg(long, value_parser = duration_ms)]
    pub(crate) timeout: Option<u64>,
    /// What runs instances [default: the node's]
    #[arg(long, value_parser = driver())]
    pub(crate) driver: Option<DriverKind>,
    /// What is to be remembered of this version
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) description: String,
    /// Leave the calls where they are; the new version is reached by its number
    #[arg(long)]
    pub(crate) no_traffic: bool,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    /// Replaces the image's command
    #[arg(last = true, conflicts_with = "source")]
    pub(crate) cmd: Vec<String>,
}

/// What may change without a new version. What is not given stays as it is.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SettingsArgs {
    /// Calls that an instance is given at a time [default: 16; 1 for sources and the contract lambda]
    #[arg(long, value_name = "CALLS")]
    pub(crate) concurrency: Option<u32>,
    /// Instances at least [default: 0]
    #[arg(long, value_name = "INSTANCES")]
    pub(crate) min: Option<u32>,
    /// Instances at most [default: 10]
    #[arg(long, value_name = "INSTANCES")]
    pub(crate) max: Option<u32>,
    /// How long an instance without calls is kept, such as 90s [default: 1m]
    #[arg(long, value_name = "TIME", value_parser = duration_ms)]
    pub(crate) idle: Option<u64>,
    /// Whoever reaches the gateway may call it
    #[arg(long, conflicts_with = "private")]
    pub(crate) public: bool,
    /// A key is needed to call it (the usual)
    #[arg(long)]
    pub(crate) private: bool,
}

impl SettingsArgs {
    /// As the API takes them.
    pub(crate) fn settings(&self) -> hearth_api::FunctionSettings {
        hearth_api::FunctionSettings {
            public: match (self.public, self.private) {
                (true, _) => Some(true),
                (false, true) => Some(false),
                (false, false) => None,
            },
            min: self.min,
            max: self.max,
            concurrency: self.concurrency,
            idle_ms: self.idle,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct InvokeArgs {
    /// Name
    pub(crate) function: String,
    /// The event, or the request's body: text, @FILE, or - for standard input [default: none]
    #[arg(short, long, value_name = "TEXT|@FILE|-")]
    pub(crate) data: Option<String>,
    /// Alias, or version by its number [default: live]
    #[arg(short, long)]
    pub(crate) qualifier: Option<String>,
    /// Path, for functions that are called by HTTP [default: /]
    #[arg(long)]
    pub(crate) path: Option<String>,
    /// Do not wait for the answer: print the call's ID, by which the result is found later
    #[arg(long = "async")]
    pub(crate) later: bool,
    /// With --async: of calls with the same key only one is made
    #[arg(long, value_name = "KEY", requires = "later")]
    pub(crate) idempotency_key: Option<String>,
    /// Print the answer's status and headers as well
    #[arg(short, long)]
    pub(crate) include: bool,
}

#[derive(Debug, Args)]
pub(crate) struct FunctionLogsArgs {
    /// Name
    pub(crate) function: String,
    /// Go on with what is written later
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only what was written from then on: a time, or an age such as 10m
    #[arg(long, value_name = "TIME|AGE", value_parser = since)]
    pub(crate) since: Option<jiff::Timestamp>,
    /// Only the last so many lines of what is there, or all
    #[arg(short = 'n', long, value_name = "LINES", value_parser = tail)]
    pub(crate) tail: Option<Tail>,
    /// Only what this version wrote
    #[arg(long)]
    pub(crate) version: Option<u32>,
    /// Only what was written for this call, by its request ID or invocation ID
    #[arg(long, value_name = "ID")]
    pub(crate) invocation: Option<String>,
    /// Show time, version and instance before each line
    #[arg(short, long)]
    pub(crate) timestamps: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AliasCommand {
    /// List a function's aliases
    #[command(alias = "list")]
    Ls {
        /// Name
        function: String,
    },
    /// Let an alias lead to a version, or to several by weight
    Set {
        /// Name of the function
        function: String,
        /// Name of the alias
        alias: String,
        /// Versions with their share in hundredths, as VERSION=PERCENT; a version alone gets all
        #[arg(required = true, value_name = "VERSION[=PERCENT]", value_parser = share)]
        shares: Vec<TrafficShare>,
    },
    /// Remove an alias
    #[command(alias = "remove")]
    Rm {
        /// Name of the function
        function: String,
        /// Name of the alias
        alias: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TriggerCommand {
    /// List a function's triggers
    #[command(alias = "list")]
    Ls {
        /// Name
        function: String,
    },
    /// Call a function by the clock
    Set(TriggerArgs),
    /// Remove a trigger
    #[command(alias = "remove")]
    Rm {
        /// Name of the function
        function: String,
        /// Name of the trigger
        trigger: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct TriggerArgs {
    /// Name of the function
    pub(crate) function: String,
    /// Name of the trigger
    pub(crate) trigger: String,
    /// When: minute, hour, day of the month, month, day of the week, such as "30 2 * * MON-FRI"
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) cron: String,
    /// Time zone, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub(crate) time_zone: Option<String>,
    /// Make up, by one run, for those that were missed while the daemon was down
    #[arg(long)]
    pub(crate) catch_up: bool,
    /// Alias or version to call [default: live]
    #[arg(short, long)]
    pub(crate) qualifier: Option<String>,
    /// The event, or the request's body
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) data: Option<String>,
    /// Keep it, but do not run it
    #[arg(long)]
    pub(crate) disabled: bool,
}
