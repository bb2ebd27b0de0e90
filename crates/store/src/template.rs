//! Templates of functions that the node may have. All else about one is with the node, which does not tell of one that is
//! damaged; so this is how that is found.

use hearth_ids::SnapshotId;

use crate::{Store, StoreError, read::Columns};

impl Store {
    /// Notes a template, before the node is asked to make it. Idempotent.
    pub async fn note_template(&self, id: SnapshotId) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO templates (id) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(id.to_string())
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("note a template"))?;
        Ok(())
    }

    /// Forgets a template that the node has not. Idempotent.
    pub async fn forget_template(&self, id: SnapshotId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM templates WHERE id = $1")
            .bind(id.to_string())
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("forget a template"))?;
        Ok(())
    }

    /// The templates that the node may have, oldest first.
    pub async fn templates(&self) -> Result<Vec<SnapshotId>, StoreError> {
        let rows = sqlx::query("SELECT id FROM templates ORDER BY id")
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("list templates"))?;
        rows.iter().map(|row| Columns::new(row, "id")?.parse("id")).collect()
    }
}
