//! Keys of projects. Only digests of their secrets are stored; a revoked key has no row.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use hearth_domain::Role;
use hearth_ids::{KeyId, ProjectId};
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use thiserror::Error;

use crate::{
    Store, StoreError,
    read::{Columns, signed},
};

/// Keys that a project may have.
pub const KEYS_MAX: u64 = 1_000;
/// Keys that are known at once.
const KNOWN_MAX: usize = 10_000;
/// The mark that the host's first key was made.
const FIRST_KEY: &str = "first_key";

/// A key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its identity; no secret.
    pub id: KeyId,
    /// Whose it is.
    pub project: ProjectId,
    /// What people call it; unique in its project.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// SHA-256 of its secret, in hexadecimal.
    pub secret_sha256: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
    /// From when on it is no key any more.
    pub expires_unix_ms: Option<u64>,
}

/// Why a key was not made.
#[derive(Debug, Error)]
pub enum KeyError {
    /// Another one has the name.
    #[error("there is a key {0:?} already; choose another name")]
    NameTaken(String),
    /// There are enough.
    #[error("the project has {KEYS_MAX} keys; revoke some first")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Keeps a key.
    pub async fn insert_key(&self, key: &KeyRow) -> Result<(), KeyError> {
        let failed = StoreError::query("keep a key");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM access_keys WHERE project = $1")
            .bind(key.project.to_string())
            .fetch_one(&mut *transaction)
            .await
            .map_err(&failed)?;
        if count.unsigned_abs() >= KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        if !insert(&mut transaction, key).await? {
            return Err(KeyError::NameTaken(key.name.clone()));
        }
        transaction.commit().await.map_err(failed)?;
        let settled = self.settle().await;
        // Somebody may have asked for it before it was there.
        self.known_keys.forget_all();
        Ok(settled?)
    }

    /// Keeps the host's first key, once for all times: `false` if it was made before, whatever became of it.
    pub async fn insert_first_key(&self, key: &KeyRow) -> Result<bool, StoreError> {
        let failed = StoreError::query("keep the first key");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        let marked = sqlx::query("INSERT INTO marks (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(FIRST_KEY)
            .bind(key.id.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        if marked.rows_affected() == 0 || !insert(&mut transaction, key).await? {
            return Ok(false);
        }
        transaction.commit().await.map_err(failed)?;
        let settled = self.settle().await;
        self.known_keys.forget_all();
        settled?;
        Ok(true)
    }

    /// The key of an ID, expired or not. What is known, or known to be none, costs no query.
    pub async fn key(&self, id: KeyId) -> Result<Option<KeyRow>, StoreError> {
        let generation = match self.known_keys.get(id) {
            Ok(row) => return Ok(row),
            Err(generation) => generation,
        };
        let row = self.read_key(id).await?;
        self.known_keys.learn(generation, id, row.clone());
        Ok(row)
    }

    async fn read_key(&self, id: KeyId) -> Result<Option<KeyRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM access_keys WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(StoreError::query("read a key"))?;
        row.as_ref().map(read).transpose()
    }

    /// A project's key of a name or an ID.
    pub async fn find_key(&self, project: ProjectId, text: &str) -> Result<Option<KeyRow>, StoreError> {
        let row = sqlx::query(
            "SELECT * FROM access_keys WHERE project = $1 AND (id = $2 OR name = $2) ORDER BY id = $2 DESC LIMIT 1",
        )
        .bind(project.to_string())
        .bind(text)
        .fetch_optional(&self.readers)
        .await
        .map_err(StoreError::query("look up a key"))?;
        row.as_ref().map(read).transpose()
    }

    /// A project's keys, oldest first; at most [`KEYS_MAX`].
    pub async fn keys(&self, project: ProjectId) -> Result<Vec<KeyRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM access_keys WHERE project = $1 ORDER BY id")
            .bind(project.to_string())
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("list keys"))?;
        rows.iter().map(read).collect()
    }

    /// Revokes a key. `false` if it is gone.
    pub async fn remove_key(&self, id: KeyId) -> Result<bool, StoreError> {
        let removed = sqlx::query("DELETE FROM access_keys WHERE id = $1")
            .bind(id.to_string())
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("revoke a key"))?;
        self.known_keys.forget_all();
        self.settle().await?;
        Ok(removed.rows_affected() == 1)
    }
}

/// Keys as they were read: calls of functions ask for the same ones again and again. All are forgotten, before whoever
/// asked for it is answered, when one is revoked or made.
#[derive(Debug, Default)]
pub(crate) struct KnownKeys(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Counts how often all were forgotten.
    generation: u64,
    /// None for IDs that are no key's.
    rows: HashMap<KeyId, Option<KeyRow>>,
}

impl KnownKeys {
    /// The key, or that there is none; or which generation it is that does not know it.
    fn get(&self, id: KeyId) -> Result<Option<KeyRow>, u64> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.rows.get(&id).cloned().ok_or(known.generation)
    }

    /// Learns what was read, unless something was forgotten since it was asked for: it may have been read before that.
    fn learn(&self, generation: u64, id: KeyId, row: Option<KeyRow>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.generation != generation {
            return;
        }
        if known.rows.len() >= KNOWN_MAX {
            known.rows.clear();
        }
        known.rows.insert(id, row);
    }

    pub(crate) fn forget_all(&self) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.generation += 1;
        known.rows.clear();
    }
}

/// `false` if the name is taken.
async fn insert(connection: &mut SqliteConnection, key: &KeyRow) -> Result<bool, StoreError> {
    let inserted = sqlx::query(
        "INSERT INTO access_keys (id, project, name, role, secret_sha256, created_unix_ms, expires_unix_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
    )
    .bind(key.id.to_string())
    .bind(key.project.to_string())
    .bind(&key.name)
    .bind(key.role.as_str())
    .bind(&key.secret_sha256)
    .bind(signed(key.created_unix_ms))
    .bind(key.expires_unix_ms.map(signed))
    .execute(connection)
    .await
    .map_err(StoreError::query("keep a key"))?;
    Ok(inserted.rows_affected() == 1)
}

fn read(row: &SqliteRow) -> Result<KeyRow, StoreError> {
    let columns = Columns::new(row, "id")?;
    Ok(KeyRow {
        id: columns.parse("id")?,
        project: columns.parse("project")?,
        name: columns.get("name")?,
        role: columns.word("role", &Role::ALL, Role::as_str)?,
        secret_sha256: columns.get("secret_sha256")?,
        created_unix_ms: columns.unsigned("created_unix_ms")?,
        expires_unix_ms: columns.optional_unsigned("expires_unix_ms")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> KeyRow {
        KeyRow {
            id: KeyId::new(),
            project: ProjectId::DEFAULT,
            name: "ci".into(),
            role: Role::Invoker,
            secret_sha256: String::new(),
            created_unix_ms: 0,
            expires_unix_ms: None,
        }
    }

    #[test]
    fn what_was_read_before_a_revocation_is_not_learnt_after_it() {
        let (known, key) = (KnownKeys::default(), row());
        let before = known.get(key.id).unwrap_err();
        known.learn(before, key.id, Some(key.clone()));
        assert_eq!(known.get(key.id), Ok(Some(key.clone())));
        known.forget_all();
        known.learn(before, key.id, Some(key.clone()));
        assert!(known.get(key.id).is_err());
    }

    #[tokio::test]
    async fn what_was_no_key_is_one_once_it_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("hearth.db")).await.unwrap();
        let key = row();
        assert_eq!(store.key(key.id).await.unwrap(), None);
        assert_eq!(store.known_keys.get(key.id), Ok(None), "asking again costs no query");
        store.insert_key(&key).await.unwrap();
        assert_eq!(store.key(key.id).await.unwrap(), Some(key));
    }
}
