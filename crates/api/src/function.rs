//! Functions.

use hearth_ids::{FunctionId, InvocationId, MachineId, TriggerId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{Driver, MachineState, Resources};

/// What a function shall be from now on: the function is made if there is none, and gets a new version unless its newest
/// is the same already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployFunction {
    /// Reference or ID of an image that the node has. Absent where a runtime is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "docker.io/library/hello:latest", max_length = 512)]
    pub image: Option<String>,
    /// What runs the source. Its contract is `lambda`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// Digest of the source, as the upload answered it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What of the source is called, as `module.function`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "main.handler", max_length = 128)]
    pub handler: Option<String>,
    /// How an instance is called; `http` if absent and no runtime is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<Contract>,
    /// Port at which the program listens, for contract `http`; 8080 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    pub port: Option<u16>,
    /// Replaces the image's entrypoint, and then its command, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Environment, each as `NAME=value`, added to the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Secrets of the project that the program gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretUse>,
    /// Virtual CPUs of an instance; 1 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 32)]
    pub cpus: Option<u64>,
    /// Memory of an instance in MiB; 256 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 16, maximum = 1_048_576)]
    pub memory_mib: Option<u64>,
    /// How long a call may take, in milliseconds; 30 s if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 900_000)]
    pub timeout_ms: Option<u64>,
    /// What starts instances; the node's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// What is to be remembered of this version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(max_length = 256)]
    pub description: String,
    /// Leaves the calls where they are: the new version is reached by its number, or once an alias leads to it.
    #[serde(default)]
    pub no_traffic: bool,
    /// How many instances there are, and who may call. What is absent stays as it is.
    #[serde(default)]
    pub settings: FunctionSettings,
}

/// What may change of a function without a new version. What is absent stays as it is, or is as usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FunctionSettings {
    /// Whether it may be called without a key; no if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public: Option<bool>,
    /// Instances at least; 0 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1000)]
    pub min: Option<u32>,
    /// Instances at most; 10 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub max: Option<u32>,
    /// Calls that an instance is given at a time; 1 for the contract `lambda` and 16 for `http` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub concurrency: Option<u32>,
    /// How long an instance without calls is kept, in milliseconds; a minute if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 86_400_000)]
    pub idle_ms: Option<u64>,
}

/// A secret that a program gets: as a variable, or as a file below `/run/secrets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretUse {
    /// Its name in the project.
    pub name: String,
    /// The variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// The file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// How an instance is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Contract {
    /// The program listens on `$PORT` and speaks HTTP.
    Http,
    /// The program asks for events by the Lambda Runtime API.
    Lambda,
}

/// What runs a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Python 3.
    Python3,
    /// Node.js.
    Node,
    /// The source's own `bootstrap`.
    Provided,
}

/// A function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Function {
    /// Identity.
    #[schema(value_type = String, example = "fnc01k9zs7m3q6ev2y8d4xw0abcde")]
    pub id: FunctionId,
    /// Name.
    pub name: String,
    /// Whether it may be called without a key.
    pub public: bool,
    /// How many instances each version has.
    pub scale: Scale,
    /// Where the calls go that name no alias and no version.
    pub traffic: Vec<TrafficShare>,
    /// Its newest version, whether it is called or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<FunctionVersion>,
    /// Where it is called.
    pub urls: Vec<String>,
    /// Instances that serve now, of all versions.
    pub instances: u32,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// How many instances there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Scale {
    /// At least.
    pub min: u32,
    /// At most.
    pub max: u32,
    /// Calls that an instance is given at a time.
    pub concurrency: u32,
    /// How long an instance without calls is kept, in milliseconds.
    pub idle_ms: u64,
}

/// A share of the calls that a version gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrafficShare {
    /// Which version.
    pub version: u32,
    /// In hundredths; all shares are 100 together.
    #[schema(maximum = 100)]
    pub percent: u32,
}

/// A version of a function. It never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionVersion {
    /// Its number, from 1.
    pub version: u32,
    /// The image as it was asked for.
    pub image: String,
    /// Digest of the image.
    pub image_id: String,
    /// Digest of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What runs the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// What of the source is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// How an instance is called.
    pub contract: Contract,
    /// At which port.
    pub port: u16,
    /// What an instance holds.
    pub resources: Resources,
    /// Environment that is added to the image's.
    pub env: Vec<String>,
    /// Secrets that the program gets.
    pub secrets: Vec<SecretUse>,
    /// How long a call may take, in milliseconds.
    pub timeout_ms: u64,
    /// What starts instances, if not the node's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// What is to be remembered of it.
    pub description: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// A deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    /// The function as it is now.
    pub function: Function,
    /// The version that was asked for.
    pub version: FunctionVersion,
    /// Whether it is new: one that is the same as the newest is not made again.
    pub new: bool,
}

/// A page of functions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionList {
    /// By name.
    pub functions: Vec<Function>,
    /// Asks for the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Which functions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListFunctionsQuery {
    /// How many at most; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// The versions of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionList {
    /// Newest first.
    pub versions: Vec<FunctionVersion>,
}

/// A name for a version, or for several by weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Alias {
    /// Its name; `live` is the one that is called when nobody says which.
    pub name: String,
    /// Where it leads.
    pub traffic: Vec<TrafficShare>,
    /// What is to be remembered of it.
    pub description: String,
    /// When it changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// The aliases of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AliasList {
    /// By name.
    pub aliases: Vec<Alias>,
}

/// Where an alias shall lead.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutAlias {
    /// The versions and their shares.
    #[schema(min_items = 1, max_items = 8)]
    pub traffic: Vec<TrafficShare>,
    /// What is to be remembered of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    pub description: Option<String>,
}

/// Back to where the calls went before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// To this version; to what was called before the last change, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// A source that was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionSource {
    /// Its digest, for the deployment.
    pub source: String,
    /// Size of the image that it became, in bytes.
    pub size_bytes: u64,
}

/// An instance of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionInstance {
    /// Its machine.
    #[schema(value_type = String)]
    pub machine: MachineId,
    /// Which version it is.
    pub version: u32,
    /// What the machine is doing.
    pub state: MachineState,
    /// Whether calls reach it.
    pub serving: bool,
    /// When its machine started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
}

/// The instances of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceList {
    /// Oldest first.
    pub instances: Vec<FunctionInstance>,
}

/// How a call is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct InvokeQuery {
    /// Alias or number of a version; `live` if absent.
    pub qualifier: Option<String>,
    /// Answers at once with the call's ID, and makes the call afterwards.
    pub r#async: Option<bool>,
    /// Path at which a function of contract `http` is called; `/` if absent.
    pub path: Option<String>,
}

/// A call that was taken on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvocationAccepted {
    /// Its ID.
    #[schema(value_type = String)]
    pub invocation_id: InvocationId,
}

/// What a call is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum InvocationState {
    /// It waits for its time.
    Queued,
    /// It runs.
    Running,
    /// It was answered.
    Succeeded,
    /// It failed for good, and can be replayed.
    Dead,
}

/// A call that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invocation {
    /// Its ID.
    #[schema(value_type = String)]
    pub id: InvocationId,
    /// What it calls, by name.
    pub function: String,
    /// Alias or version that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualifier: Option<String>,
    /// Where it came from: `http`, `cron` or `lambda`.
    pub source: String,
    /// What it is at.
    pub state: InvocationState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was taken on.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it is tried, or was tried last.
    #[schema(value_type = String, format = DateTime)]
    pub due_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// Which version answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Status of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A page of calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InvocationList {
    /// Newest first.
    pub invocations: Vec<Invocation>,
    /// Asks for the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Which calls.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListInvocationsQuery {
    /// Only those of this function, by name.
    pub function: Option<String>,
    /// Only those in this state.
    pub state: Option<InvocationState>,
    /// How many at most; 100 if absent.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// When a function is called, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutTrigger {
    /// Five fields: minute, hour, day of the month, month, day of the week.
    #[schema(example = "*/5 * * * *")]
    pub cron: String,
    /// Time zone, such as `Europe/Berlin`; `UTC` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What becomes of runs whose time passed while Hearth was down.
    #[serde(default)]
    pub missed: MissedRuns,
    /// Alias or version that is called; `live` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualifier: Option<String>,
    /// Body of the call, or the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 262_144)]
    pub payload: Option<String>,
    /// Does not run for now.
    #[serde(default)]
    pub disabled: bool,
}

/// What becomes of missed runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MissedRuns {
    /// They are left out.
    #[default]
    Skip,
    /// One is made for all of them.
    RunOnce,
}

/// A trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trigger {
    /// Identity.
    #[schema(value_type = String)]
    pub id: TriggerId,
    /// Name.
    pub name: String,
    /// When and with what.
    #[serde(flatten)]
    pub spec: PutTrigger,
    /// When it ran last, by its plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_at: Option<Timestamp>,
    /// When it runs next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_at: Option<Timestamp>,
}

/// The triggers of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TriggerList {
    /// By name.
    pub triggers: Vec<Trigger>,
}

/// Which lines of a function's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FunctionLogsQuery {
    /// Goes on with what is written later.
    pub follow: Option<bool>,
    /// Only what was written from then on.
    #[param(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Only the last so many lines of what is there.
    pub tail: Option<u64>,
    /// Only those of this version.
    pub version: Option<u32>,
    /// Only those of this call, by its request ID.
    pub invocation: Option<String>,
}

/// A line of a function's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionLogRecord {
    /// When the instance wrote it.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Which version it is.
    pub version: u32,
    /// Which instance.
    #[schema(value_type = String)]
    pub machine: MachineId,
    /// Where it was written: `stdout` or `stderr`.
    pub stream: crate::LogStream,
    /// The line, without its end.
    pub line: String,
}

/// A line of the stream of a function's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FunctionLogLine {
    /// One that the function wrote.
    Line(FunctionLogRecord),
    /// What went wrong; the last line.
    Problem(crate::ProblemLine),
}

impl From<Runtime> for hearth_domain::Runtime {
    fn from(runtime: Runtime) -> Self {
        match runtime {
            Runtime::Python3 => Self::Python3,
            Runtime::Node => Self::Node,
            Runtime::Provided => Self::Provided,
        }
    }
}

impl From<hearth_domain::Runtime> for Runtime {
    fn from(runtime: hearth_domain::Runtime) -> Self {
        match runtime {
            hearth_domain::Runtime::Python3 => Self::Python3,
            hearth_domain::Runtime::Node => Self::Node,
            hearth_domain::Runtime::Provided => Self::Provided,
        }
    }
}
