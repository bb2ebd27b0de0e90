//! What the steps of builds left on the disk, for later builds that do the same.

use hearth_ids::{ProjectId, SnapshotId};
use sqlx::SqliteConnection;

use crate::{
    Store, StoreError,
    read::{Columns, signed},
};

/// A disk that steps of a build led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRow {
    /// SHA-256, in hexadecimal digits, of what was built on and of all steps up to there.
    pub key: String,
    /// Its snapshot, which has no memory.
    pub snapshot: SnapshotId,
}

impl Store {
    /// Notes a layer, in the place of one of the same key.
    pub async fn keep_layer(&self, project: ProjectId, layer: &LayerRow, now_unix_ms: u64) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO template_layers (project, key, snapshot, used_unix_ms) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (project, key) DO UPDATE SET snapshot = $3, used_unix_ms = $4",
        )
        .bind(project.to_string())
        .bind(&layer.key)
        .bind(layer.snapshot.to_string())
        .bind(signed(now_unix_ms))
        .execute(&self.writer)
        .await
        .map_err(StoreError::query("keep a layer"))?;
        Ok(())
    }

    /// A project's layer, which is used now.
    pub async fn use_layer(
        &self,
        project: ProjectId,
        key: &str,
        now_unix_ms: u64,
    ) -> Result<Option<SnapshotId>, StoreError> {
        let failed = StoreError::query("use a layer");
        let row = sqlx::query(
            "UPDATE template_layers SET used_unix_ms = $3 WHERE project = $1 AND key = $2 RETURNING key, snapshot",
        )
        .bind(project.to_string())
        .bind(key)
        .bind(signed(now_unix_ms))
        .fetch_optional(&self.writer)
        .await
        .map_err(failed)?;
        row.map(|row| Columns::new(&row, "key")?.parse("snapshot")).transpose()
    }

    /// A project's layers, those that were used last before the others.
    pub async fn layers(&self, project: ProjectId) -> Result<Vec<LayerRow>, StoreError> {
        let rows =
            sqlx::query("SELECT key, snapshot FROM template_layers WHERE project = $1 ORDER BY used_unix_ms DESC, key")
                .bind(project.to_string())
                .fetch_all(&self.readers)
                .await
                .map_err(StoreError::query("list layers"))?;
        let read = |row| {
            let columns = Columns::new(row, "key")?;
            Ok(LayerRow {
                key: columns.get("key")?,
                snapshot: columns.parse("snapshot")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// Forgets a layer. Its snapshot is to be removed before.
    pub async fn forget_layer(&self, project: ProjectId, layer: &LayerRow) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM template_layers WHERE project = $1 AND key = $2 AND snapshot = $3")
            .bind(project.to_string())
            .bind(&layer.key)
            .bind(layer.snapshot.to_string())
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("forget a layer"))?;
        Ok(())
    }
}

/// Whether a snapshot, made or not, is a layer's.
pub(crate) async fn is_layer(connection: &mut SqliteConnection, snapshot: SnapshotId) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM template_layers WHERE snapshot = $1)")
        .bind(snapshot.to_string())
        .fetch_one(connection)
        .await
        .map_err(StoreError::query("look for a layer"))
}
