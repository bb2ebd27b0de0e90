//! Keys that make a create safe to repeat.

use hearth_ids::{MachineId, ProjectId};
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
    pub machine: MachineId,
}

impl Store {
    /// What was made with a project's key.
    pub async fn used_key(&self, project: ProjectId, key: &str) -> Result<Option<UsedKey>, StoreError> {
        let row = sqlx::query(
            "SELECT key_text, fingerprint, machine_id FROM idempotency_keys WHERE project = $1 AND key_text = $2",
        )
        .bind(project.to_string())
        .bind(key)
        .fetch_optional(&self.readers)
        .await
        .map_err(StoreError::query("look up an idempotency key"))?;
        let Some(row) = row else { return Ok(None) };
        let columns = Columns::new(&row, "key_text")?;
        Ok(Some(UsedKey {
            fingerprint: columns.get("fingerprint")?,
            machine: columns.parse("machine_id")?,
        }))
    }
}

/// Notes a key. `false` if it is there already.
pub(crate) async fn insert(
    connection: &mut SqliteConnection,
    project: ProjectId,
    key: &IdempotencyKey,
    machine: MachineId,
    now_unix_ms: u64,
) -> Result<bool, StoreError> {
    let failed = StoreError::query("note an idempotency key");
    let inserted = sqlx::query(
        "INSERT INTO idempotency_keys (project, key_text, fingerprint, machine_id, created_unix_ms) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
    )
    .bind(project.to_string())
    .bind(&key.key)
    .bind(&key.fingerprint)
    .bind(machine.to_string())
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
