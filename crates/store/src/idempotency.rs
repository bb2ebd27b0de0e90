//! Keys that make a create safe to repeat.

use std::{fmt, str::FromStr};

use hearth_ids::{MachineId, ProjectId, SnapshotId};
use sqlx::SqliteConnection;

use crate::{Store, StoreError, read::Columns, read::signed};

/// How many keys are kept; the oldest go first.
pub const IDEMPOTENCY_KEYS_MAX: u64 = 10_000;

/// A client's key, and the digest of what it sent with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key.
    pub key: String,
    /// Digest of the request.
    pub fingerprint: String,
}

/// A key that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedKey {
    /// Digest of the request that it came with.
    pub fingerprint: String,
    /// What was made.
    pub made: Made,
    /// If that was a fork: how long its source stood still, in microseconds.
    pub paused_us: Option<u64>,
}

/// What a create made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// A machine.
    Machine(MachineId),
    /// A snapshot; of a fork, its transient one.
    Snapshot(SnapshotId),
}

impl Made {
    /// Its ID, as text.
    pub(crate) fn id(self) -> String {
        match self {
            Self::Machine(id) => id.to_string(),
            Self::Snapshot(id) => id.to_string(),
        }
    }
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(id) => write!(f, "machine {id}"),
            Self::Snapshot(id) => write!(f, "snapshot {id}"),
        }
    }
}

impl FromStr for Made {
    type Err = <SnapshotId as FromStr>::Err;

    /// By the ID alone, which says of what it is.
    fn from_str(id: &str) -> Result<Self, Self::Err> {
        id.parse()
            .map(Self::Machine)
            .or_else(|_| id.parse().map(Self::Snapshot))
    }
}

impl Store {
    /// What was made with a project's key.
    pub async fn used_key(&self, project: ProjectId, key: &str) -> Result<Option<UsedKey>, StoreError> {
        let row = sqlx::query("SELECT * FROM idempotency_keys WHERE project = $1 AND key_text = $2")
            .bind(project.to_string())
            .bind(key)
            .fetch_optional(&self.readers)
            .await
            .map_err(StoreError::query("look up an idempotency key"))?;
        let Some(row) = row else { return Ok(None) };
        let columns = Columns::new(&row, "key_text")?;
        Ok(Some(UsedKey {
            fingerprint: columns.get("fingerprint")?,
            made: columns.parse("made")?,
            paused_us: columns.optional_unsigned("paused_us")?,
        }))
    }
}

/// Notes a key. `false` if it is there already.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    project: ProjectId,
    key: &IdempotencyKey,
    made: Made,
    now_unix_ms: u64,
) -> Result<bool, StoreError> {
    let failed = StoreError::query("note an idempotency key");
    let inserted = sqlx::query(
        "INSERT INTO idempotency_keys (project, key_text, fingerprint, made, created_unix_ms) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
    )
    .bind(project.to_string())
    .bind(&key.key)
    .bind(&key.fingerprint)
    .bind(made.id())
    .bind(signed(now_unix_ms))
    .execute(&mut *connection)
    .await
    .map_err(&failed)?;
    sqlx::query(
        "DELETE FROM idempotency_keys WHERE created_unix_ms < \
         (SELECT created_unix_ms FROM idempotency_keys ORDER BY created_unix_ms DESC LIMIT 1 OFFSET $1)",
    )
    .bind(signed(IDEMPOTENCY_KEYS_MAX))
    .execute(connection)
    .await
    .map_err(&failed)?;
    Ok(inserted.rows_affected() == 1)
}
