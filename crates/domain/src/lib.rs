//! Pure model: specs, states, transitions, planners.
//!
//! Nothing here does I/O, reads a clock or knows tokio; whatever time or fact a decision needs comes in as an
//! argument. So each rule can be tested by itself, and crash recovery can ask the same rule as the happy path.

mod access;
mod capacity;
mod cron;
mod egress;
mod error;
mod function;
mod idempotency;
mod name;
mod project;
mod rate;
mod recover;
mod resources;
mod restart;
mod retry;
mod sandbox;
mod scale;
mod signal;
mod spec;
mod state;
mod traffic;
mod warm;
mod world;

pub use access::{Action, InvalidRole, Role};
pub use capacity::{Allocation, Capacity, DiskRoom, Overcommit, Refusal, admit, admit_disk, room_for};
pub use cron::{CronPlan, CronSpec, InvalidCron, MissedRuns, ON_TIME_MS, SKIPPED_MAX, plan_cron};
pub use egress::{
    DomainPattern, EGRESS_ENTRIES_MAX, EgressList, EgressRules, EgressTarget, InvalidDomain, InvalidEgress,
};
pub use error::{chain, one_line};
pub use function::{
    CONCURRENCY_MAX, Contract, DEFAULT_PORT, FunctionName, FunctionSpec, Handler, IDLE_MAX_MS, INSTANCES_MAX,
    InvalidFunction, Runtime, ScaleRule, SecretRef, TIMEOUT_MAX_MS, VersionSpec,
};
pub use idempotency::{IDEMPOTENCY_KEY_MAX, InvalidIdempotencyKey, parse_idempotency_key};
pub use name::{InvalidName, MachineName};
pub use project::{Holding, InvalidLabel, ProjectName, QuotaExceeded, Quotas, SecretName};
pub use rate::{RetryAfterMs, TokenBucket};
pub use recover::{InvalidInterval, RECOVER_INTERVAL_DEFAULT_S, RECOVER_INTERVAL_MAX_S, RecoverPolicy};
pub use resources::{DiskMib, InvalidSize, MemoryMib, Vcpus, parse_size_mib};
pub use restart::{RestartPlan, plan_restart};
pub use retry::{CutOff, GiveUp, Retry, RetryRule, plan_cut_off, plan_retry};
pub use sandbox::{
    BuildFrom, BuildPlan, BuildReason, BuildStage, BuildStep, Metadata, OnTimeout, SandboxNetwork, SandboxSettings,
    SandboxState, SandboxVolume, put_off,
};
pub use scale::{COOLDOWN_MAX_MS, SPARE_MIN_MS, ScaleFacts, ScaleMemory, ScalePlan, plan_scale};
pub use signal::{SIGNAL_MAX, parse_signal};
pub use spec::{
    DriverKind, InvalidSpec, MachineOwner, MachineSpec, NetworkMode, PortMapping, Protocol, Resources, RestartPolicy,
    SealedSecret, SecretTarget, VolumeMount, Workload,
};
pub use state::{ExitStatus, MachineEvent, MachineState, StateWord, TransitionRefused};
pub use traffic::{InvalidTraffic, TRAFFIC_MAX, Traffic, TrafficShare};
pub use warm::WarmPool;
pub use world::{is_world, not_the_world, world_v6};
