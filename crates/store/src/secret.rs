//! Secrets of projects, closed. Nothing here can open them.

use hearth_domain::{Metadata, SecretName};
use hearth_ids::ProjectId;
use sqlx::{Sqlite, Transaction, sqlite::SqliteRow};

use crate::{
    Store, StoreError,
    read::{Columns, signed, to_json},
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
    /// Texts that are pinned to it.
    pub metadata: Metadata,
    /// When it was first set.
    pub created_unix_ms: u64,
    /// When it was last set.
    pub updated_unix_ms: u64,
}

/// What became of a secret that was to be new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewSecret {
    /// It is there.
    Made(SecretRow),
    /// Another one has the name.
    Taken,
    /// The project has [`SECRETS_MAX`].
    Full,
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
        if others(&mut transaction, project, name).await? >= SECRETS_MAX {
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

    /// Makes a secret that is not there yet.
    pub async fn create_secret(
        &self,
        project: ProjectId,
        name: &SecretName,
        sealed: &str,
        metadata: &Metadata,
        now_unix_ms: u64,
    ) -> Result<NewSecret, StoreError> {
        let failed = StoreError::query("make a secret");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        if others(&mut transaction, project, name).await? >= SECRETS_MAX {
            return Ok(NewSecret::Full);
        }
        let row = sqlx::query(
            "INSERT INTO secrets (project, name, version, sealed, metadata, created_unix_ms, updated_unix_ms) \
             VALUES ($1, $2, 1, $3, $4, $5, $5) ON CONFLICT (project, name) DO NOTHING RETURNING *",
        )
        .bind(project.to_string())
        .bind(name.as_str())
        .bind(sealed)
        .bind(to_json(metadata))
        .bind(signed(now_unix_ms))
        .fetch_optional(&mut *transaction)
        .await
        .map_err(&failed)?;
        let Some(row) = row.as_ref().map(read).transpose()? else {
            return Ok(NewSecret::Taken);
        };
        transaction.commit().await.map_err(&failed)?;
        self.settle().await?;
        Ok(NewSecret::Made(row))
    }

    /// Sets a secret that is there, and what is pinned to it if that is given. `None` if it is not there.
    pub async fn update_secret(
        &self,
        project: ProjectId,
        name: &SecretName,
        sealed: &str,
        metadata: Option<&Metadata>,
        now_unix_ms: u64,
    ) -> Result<Option<SecretRow>, StoreError> {
        let row = sqlx::query(
            "UPDATE secrets SET version = version + 1, sealed = $3, metadata = COALESCE($4, metadata), updated_unix_ms = $5 \
             WHERE project = $1 AND name = $2 RETURNING *",
        )
        .bind(project.to_string())
        .bind(name.as_str())
        .bind(sealed)
        .bind(metadata.map(to_json))
        .bind(signed(now_unix_ms))
        .fetch_optional(&self.writer)
        .await
        .map_err(StoreError::query("set a secret"))?;
        let row = row.as_ref().map(read).transpose()?;
        self.settle().await?;
        Ok(row)
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

/// How many secrets a project has beside one of a name.
async fn others(
    transaction: &mut Transaction<'_, Sqlite>,
    project: ProjectId,
    name: &SecretName,
) -> Result<u64, StoreError> {
    let others: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM secrets WHERE project = $1 AND name <> $2")
        .bind(project.to_string())
        .bind(name.as_str())
        .fetch_one(&mut **transaction)
        .await
        .map_err(StoreError::query("count secrets"))?;
    Ok(others.unsigned_abs())
}

fn read(row: &SqliteRow) -> Result<SecretRow, StoreError> {
    let columns = Columns::new(row, "name")?;
    Ok(SecretRow {
        name: columns.parse("name")?,
        version: u32::try_from(columns.unsigned("version")?).unwrap_or(u32::MAX),
        sealed: columns.get("sealed")?,
        metadata: columns.json("metadata")?,
        created_unix_ms: columns.unsigned("created_unix_ms")?,
        updated_unix_ms: columns.unsigned("updated_unix_ms")?,
    })
}
