//! Public wire types and problems (RFC 9457).
//!
//! Server and clients share these types; nothing deeper inside uses them. Requests refuse fields that they do not
//! know, so that a misspelt one is not silently ignored; responses may grow fields, so clients ignore what they do
//! not know. Times are RFC 3339 in UTC; units stand at the end of names.
//!
//! Three shapes of answer:
//! - plain JSON;
//! - streams of JSON lines ([`NDJSON`]) whose every line has a `type`; one of `type` `problem` is the last;
//! - web sockets for attach and exec, in binary messages as [`frame`] defines them.

mod deployment;
mod event;
pub mod frame;
mod function;
mod function_log;
mod image;
mod invocation;
mod kernel;
mod log;
mod machine;
mod node;
mod problem;
mod project;
mod query;
mod sandbox;
mod session;
mod snapshot;
mod stats;
mod template;
mod trigger;

pub use deployment::{Contract, DeployFunction, Deployment, FunctionSettings, FunctionSource, Runtime, SecretUse};
pub use event::{Event, EventKind, EventLine, ProblemLine};
pub use function::{
    Alias, AliasList, Function, FunctionInstance, FunctionList, FunctionVersion, InstanceList, ListFunctionsQuery,
    PutAlias, Rollback, Scale, TrafficShare, VersionList,
};
pub use function_log::{FunctionLogLine, FunctionLogRecord, FunctionLogsQuery};
pub use image::{
    Image, ImageConfig, ImageLine, ImageList, ImagePhase, ImageProgress, PruneResult, PullImage, PullPolicy,
    RegistryAuth,
};
pub use invocation::{
    Invocation, InvocationAccepted, InvocationList, InvocationState, InvokeQuery, ListInvocationsQuery,
};
pub use kernel::{ImportKernel, Kernel, KernelLine, KernelList, KernelPhase, KernelProgress};
pub use log::{LogLine, LogRecord, LogStream};
pub use machine::{
    CreateMachine, Driver, ExitStatus, Machine, MachineList, MachineState, NetworkMode, PortMapping, Protocol,
    RecoverPolicy, RecoverWord, Resources, RestartPolicy, RestartWord, Transition, WaitResult,
};
pub use node::{Amount, Check, CheckList, CheckOutcome, DriverInfo, NodeInfo, Readiness, ReadyPart, Version};
pub use problem::{Problem, ProblemCode};
pub use project::{
    AuditEntry, AuditList, AuditQuery, CreateKey, CreateProject, Holding, Key, KeyList, NewKey, Project, ProjectList,
    Quotas, Role, Secret, SecretList, SetSecret, UpdateProject,
};
pub use query::{
    ArchiveQuery, AttachQuery, EventsQuery, ImportImageQuery, ImportKind, KillQuery, ListMachinesQuery,
    ListSnapshotsQuery, LogFormat, LogsQuery, PauseMode, PauseQuery, PruneQuery, RemoveQuery, StatsQuery, StopQuery,
    WaitCondition, WaitQuery,
};
pub use sandbox::{
    CreateSandbox, ForkSandbox, ListSandboxesQuery, OnTimeout, PauseSandbox, ResumeSandbox, Sandbox, SandboxFork,
    SandboxList, SandboxNetwork, SandboxState, SetSandboxTimeout, SnapshotSandbox,
};
pub use session::{ExecRequest, PathKind, PathStat, TerminalSize};
pub use snapshot::{
    CreateSnapshot, Fork, ForkMachine, RollbackMachine, Snapshot, SnapshotList, SnapshotPart, SnapshotState,
};
pub use stats::{Stats, StatsLine};
pub use template::{
    BuildLogLine, BuildQuery, BuildState, BuildTemplate, PrunedLayers, StepKind, Template, TemplateBuild,
    TemplateFiles, TemplateList, TemplateStage, TemplateStep, TemplateTag, UpdateTemplate,
};
pub use trigger::{MissedRuns, PutTrigger, Trigger, TriggerList};

/// Media type of streams of JSON lines.
pub const NDJSON: &str = "application/x-ndjson";
/// Media type of problems.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// Media type of archives.
pub const TAR: &str = "application/x-tar";
/// Header of each answer that names the request, for logs and reports.
pub const REQUEST_ID_HEADER: &str = "x-request-id";
/// Header of a create that makes it safe to repeat.
pub const IDEMPOTENCY_KEY_HEADER: &str = "idempotency-key";
/// Header of each request that says in which project; `default` if absent, or the key's own.
pub const PROJECT_HEADER: &str = "x-hearth-project";
/// Header of an archive that tells what lies at the path: a [`PathStat`] as JSON in base 64.
pub const PATH_STAT_HEADER: &str = "x-hearth-path-stat";
/// The version of this API, the first part of its paths.
pub const API_VERSION: &str = "v1";
