//! Volumes: whose they are, and what they are called. What is in them lies in folders.

use hearth_ids::{ProjectId, VolumeId};
use sqlx::sqlite::SqliteRow;
use thiserror::Error;

use crate::{
    Store, StoreError,
    read::{Columns, signed},
};

/// Volumes that a project may have.
pub const VOLUMES_MAX: u64 = 1_000;

/// A volume as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRow {
    /// Its identity.
    pub id: VolumeId,
    /// Whose it is.
    pub project: ProjectId,
    /// What people call it; unique in its project.
    pub name: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
}

/// Why a volume was not made.
#[derive(Debug, Error)]
pub enum NewVolumeError {
    /// Another one of the project has the name.
    #[error("there is a volume {0:?} already; choose another name, or remove that one")]
    NameTaken(String),
    /// The project has as many as it may.
    #[error("the project has {VOLUMES_MAX} volumes, which is as many as it may have; remove one")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Inserts a volume.
    pub async fn insert_volume(&self, row: &VolumeRow) -> Result<(), NewVolumeError> {
        let failed = StoreError::query("insert a volume");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        let there: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM volumes WHERE project = $1")
            .bind(row.project.to_string())
            .fetch_one(&mut *transaction)
            .await
            .map_err(&failed)?;
        if there.unsigned_abs() >= VOLUMES_MAX {
            return Err(NewVolumeError::TooMany);
        }
        let inserted = sqlx::query(
            "INSERT INTO volumes (id, project, name, created_unix_ms) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (project, name) DO NOTHING",
        )
        .bind(row.id.to_string())
        .bind(row.project.to_string())
        .bind(&row.name)
        .bind(signed(row.created_unix_ms))
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        if inserted.rows_affected() == 0 {
            return Err(NewVolumeError::NameTaken(row.name.clone()));
        }
        transaction.commit().await.map_err(&failed)?;
        Ok(self.settle().await?)
    }

    /// One volume, whosever it is.
    pub async fn volume(&self, id: VolumeId) -> Result<Option<VolumeRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM volumes WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(StoreError::query("read a volume"))?;
        row.as_ref().map(read).transpose()
    }

    /// A project's volume of a name.
    pub async fn volume_named(&self, project: ProjectId, name: &str) -> Result<Option<VolumeRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM volumes WHERE project = $1 AND name = $2")
            .bind(project.to_string())
            .bind(name)
            .fetch_optional(&self.readers)
            .await
            .map_err(StoreError::query("read a volume"))?;
        row.as_ref().map(read).transpose()
    }

    /// Volumes of a project, or of all, the oldest first.
    pub async fn volumes(&self, project: Option<ProjectId>) -> Result<Vec<VolumeRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM volumes WHERE $1 IS NULL OR project = $1 ORDER BY id")
            .bind(project.map(|id| id.to_string()))
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("list volumes"))?;
        rows.iter().map(read).collect()
    }

    /// Forgets a volume. `false` if it is not there.
    pub async fn forget_volume(&self, id: VolumeId) -> Result<bool, StoreError> {
        let forgotten = sqlx::query("DELETE FROM volumes WHERE id = $1")
            .bind(id.to_string())
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("forget a volume"))?;
        self.settle().await?;
        Ok(forgotten.rows_affected() == 1)
    }
}

fn read(row: &SqliteRow) -> Result<VolumeRow, StoreError> {
    let columns = Columns::new(row, "id")?;
    Ok(VolumeRow {
        id: columns.parse("id")?,
        project: columns.parse("project")?,
        name: columns.get("name")?,
        created_unix_ms: columns.unsigned("created_unix_ms")?,
    })
}
