//! SQL: what should be, and what was last seen.
//!
//! Invariants:
//! - A machine's name is unique among the machines of its project that are there; the database says so, not a check before.
//! - News about a machine is numbered; what is older than what is stored is dropped, so news may come twice or late.
//! - A machine that is removed leaves a tombstone with its last state, for whoever still waits for it.
//! - A snapshot's row is there before the node is asked to make it, and until the node has removed it; so is a template's.
//! - Events, tombstones and idempotency keys are bounded in number; the oldest go.
//!
//! All SQL is `$n`-numbered and plain, so that PostgreSQL reads it as well; what only SQLite knows is in `sqlite`.

mod audit;
mod by_id;
mod error;
mod event;
mod function;
mod idempotency;
mod invocation;
mod key;
mod lambda;
mod machine;
mod project;
mod read;
mod run;
mod sandbox;
mod secret;
mod snapshot;
mod sqlite;
mod template;
mod trigger;
mod volume;
mod watch;

use std::{path::Path, sync::Arc};

pub use audit::{AUDIT_AGE_MAX_MS, AUDIT_MAX, AUDIT_REFUSED_MAX, AuditFilter, AuditRow};
pub use by_id::Lookup;
pub use error::{Hindrance, InsertError, StoreError};
pub use event::{EVENTS_MAX, EventFilter, EventKind, EventRecord};
pub use function::{AliasRow, FunctionError, FunctionRow, LIVE, ROLLOUTS_MAX, Served, VERSIONS_MAX, VersionRow};
pub use idempotency::{IDEMPOTENCY_KEYS_MAX, IdempotencyKey, Made, UsedKey};
pub use invocation::{
    Held, InvocationRow, InvocationSource, InvocationState, Kept, NewInvocation, Outcome, RequestHead, Resumed,
};
pub use key::{KEYS_MAX, KeyError, KeyRow};
pub use lambda::{LambdaFacts, OF_FUNCTION};
pub use machine::{Desired, MachineRow, NewMachine, Observation, TOMBSTONES_MAX, Tombstone};
pub use project::{ProjectError, ProjectRow};
pub use run::{RUNS_AGE_MAX_MS, RUNS_MAX, RUNS_PER_FUNCTION, RunRow};
pub use sandbox::{
    BUILD_LOG_MAX, BUILDS_MAX, BuildLogLine, BuildLogQuery, BuildRow, BuildState, DEFAULT_TAG, LayerRow, NewTemplate,
    SandboxRow, TEMPLATE_TAGS_MAX, TEMPLATES_MAX, TagRow, TemplateError, TemplateRow,
};
pub use secret::{NewSecret, SECRETS_MAX, SecretRow};
pub use snapshot::{NewFork, NewSnapshot, PartFacts, SnapshotFacts, SnapshotFilter, SnapshotRow, SnapshotState};
pub use trigger::TriggerRow;
pub use volume::{NewVolumeError, VOLUMES_MAX, VolumeRow};

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    /// Of one connection: SQLite has one writer at a time, and waiting here is fair where its locks are not.
    writer: sqlx::SqlitePool,
    readers: sqlx::SqlitePool,
    known_keys: Arc<key::KnownKeys>,
}

impl Store {
    /// Opens the database at `path`, makes it if there is none, and brings its schema up to date.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let (writer, readers) = sqlite::open(path).await?;
        let mut connection = writer
            .acquire()
            .await
            .map_err(StoreError::query("read what machines hold"))?;
        machine::read_holdings(&mut connection).await?;
        drop(connection);
        Ok(Self {
            writer,
            readers,
            known_keys: Arc::default(),
        })
    }

    /// Whether it can be written, by a write that changes nothing.
    pub async fn check_writable(&self) -> Result<(), StoreError> {
        sqlite::check_writable(&self.writer).await
    }

    /// Returns when what was committed is on the disk, whatever becomes of the host. For what nobody else knows: functions,
    /// keys, secrets. What machines do is found again from their folders.
    pub(crate) async fn settle(&self) -> Result<(), StoreError> {
        sqlite::settle(&self.writer).await
    }

    /// Writes everything to the database's own file and closes it.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// The newest version of the schema that this program knows, which is the one in use.
    pub fn schema_version() -> i64 {
        sqlite::schema_version()
    }
}
