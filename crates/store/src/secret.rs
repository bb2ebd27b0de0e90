//! Secrets of projects, closed. Nothing here can open them.

use hearth_domain::SecretName;
use hearth_ids::ProjectId;
use sqlx::sqlite::SqliteRow;

use crate::{
    Store, StoreError,
    read::{Columns, signed},
};

/// Secrets that a project may have.
pub const SECRETS_MAX: u64 = 1_000;

/// A secret as it is stored. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRow {
    /// Its name, unique in its project.
    pub name: SecretName,
    /// How often it was set, counting from 1.
    pub version: u32,
    /// The closed box.
    pub sealed: String,
    /// When it was first set.
    pub created_unix_ms: u64,
    /// When it was last set.
    pub updated_unix_ms: u64,
}

impl Store {
    /// A project's secrets, by name; at most [`SECRETS_MAX`].
    pub async fn secrets(&self, project: ProjectId) -> Result<Vec<SecretRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM secrets WHERE project = $1 ORDER BY name")
            .bind(project.to_string())
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("list secrets"))?;
        rows.iter().map(read).collect()
    }

    /// One secret.
    pub async fn secret(&self, project: ProjectId, name: &SecretName) -> Result<Option<SecretRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM secrets WHERE project = $1 AND name = $2")
            .bind(project.to_string())
            .bind(name.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(StoreError::query("read a secret"))?;
        row.as_ref().map(read).transpose()
    }

    /// Sets a secret, new or not. `None` if the project has too many.
    pub async fn set_secret(
        &self,
        project: ProjectId,
        name: &SecretName,
        sealed: &str,
        now_unix_ms: u64,
    ) -> Result<Option<SecretRow>, StoreError> {
        let failed = StoreError::query("keep a secret");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        let others: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM secrets WHERE project = $1 AND name <> $2")
            .bind(project.to_string())
            .bind(name.as_str())
            .fetch_one(&mut *transaction)
            .await
            .map_err(&failed)?;
        if others.unsigned_abs() >= SECRETS_MAX {
            return Ok(None);
        }
        let row = sqlx::query(
            "INSERT INTO secrets (project, name, version, sealed, created_unix_ms, updated_unix_ms) \
             VALUES ($1, $2, 1, $3, $4, $4) ON CONFLICT (project, name) DO UPDATE SET \
             version = secrets.version + 1, sealed = $3, updated_unix_ms = $4 RETURNING *",
        )
        .bind(project.to_string())
        .bind(name.as_str())
        .bind(sealed)
        .bind(signed(now_unix_ms))
        .fetch_one(&mut *transaction)
        .await
        .map_err(&failed)?;
        let row = read(&row)?;
        transaction.commit().await.map_err(&failed)?;
        self.settle().await?;
        Ok(Some(row))
    }

    /// Removes a secret. `false` if it is not there. Machines that were given it keep it.
    pub async fn remove_secret(&self, project: ProjectId, name: &SecretName) -> Result<bool, StoreError> {
        let removed = sqlx::query("DELETE FROM secrets WHERE project = $1 AND name = $2")
            .bind(project.to_string())
            .bind(name.as_str())
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("remove a secret"))?;
        Ok(removed.rows_affected() == 1)
    }
}

fn read(row: &SqliteRow) -> Result<SecretRow, StoreError> {
    let columns = Columns::new(row, "name")?;
    Ok(SecretRow {
        name: columns.parse("name")?,
        version: u32::try_from(columns.unsigned("version")?).unwrap_or(u32::MAX),
        sealed: columns.get("sealed")?,
        created_unix_ms: columns.unsigned("created_unix_ms")?,
        updated_unix_ms: columns.unsigned("updated_unix_ms")?,
    })
}
