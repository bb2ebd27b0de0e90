//! Triggers: what calls a function when nobody does.

use hearth_ids::{FunctionId, ProjectId, TriggerId};
use sqlx::sqlite::SqliteRow;

use crate::{
    Store, StoreError,
    read::{Columns, signed},
};

/// A trigger as it is stored. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerRow {
    /// Its identity.
    pub id: TriggerId,
    /// Whose.
    pub project: ProjectId,
    /// What it calls.
    pub function: FunctionId,
    /// What people call it; unique in a function.
    pub name: String,
    /// When and with what, as JSON.
    pub spec: String,
    /// Whether it runs.
    pub enabled: bool,
    /// All up to then was run or left out.
    pub handled_unix_ms: u64,
    /// The scheduled time of its last run.
    pub last_unix_ms: Option<u64>,
    /// When it was made.
    pub created_unix_ms: u64,
}

impl Store {
    /// Makes a trigger, or replaces the one of the same function and name, which keeps its identity. What ran before
    /// the change is not run again.
    pub async fn put_trigger(&self, trigger: &TriggerRow) -> Result<TriggerRow, StoreError> {
        let row = sqlx::query(
            "INSERT INTO triggers (id, project, function, name, spec, enabled, handled_unix_ms, created_unix_ms) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (function, name) DO UPDATE SET \
             spec = $5, enabled = $6, handled_unix_ms = $7 RETURNING *",
        )
        .bind(trigger.id.to_string())
        .bind(trigger.project.to_string())
        .bind(trigger.function.to_string())
        .bind(&trigger.name)
        .bind(&trigger.spec)
        .bind(trigger.enabled)
        .bind(signed(trigger.handled_unix_ms))
        .bind(signed(trigger.created_unix_ms))
        .fetch_one(&self.writer)
        .await
        .map_err(StoreError::query("keep a trigger"))?;
        read(&row)
    }

    /// Notes up to when a trigger's runs were made or left out, and the scheduled time of the last one made, if one was.
    pub async fn set_trigger_handled(
        &self,
        id: TriggerId,
        handled_unix_ms: u64,
        last_unix_ms: Option<u64>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE triggers SET handled_unix_ms = MAX(handled_unix_ms, $2), last_unix_ms = COALESCE($3, last_unix_ms) WHERE id = $1",
        )
        .bind(id.to_string())
        .bind(signed(handled_unix_ms))
        .bind(last_unix_ms.map(signed))
        .execute(&self.writer)
        .await
        .map_err(StoreError::query("note a trigger's run"))?;
        Ok(())
    }

    /// Removes a trigger; says whether there was one.
    pub async fn remove_trigger(&self, function: FunctionId, name: &str) -> Result<bool, StoreError> {
        let removed = sqlx::query("DELETE FROM triggers WHERE function = $1 AND name = $2")
            .bind(function.to_string())
            .bind(name)
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("remove a trigger"))?;
        Ok(removed.rows_affected() > 0)
    }

    /// Triggers of a function, or of all, by name.
    pub async fn triggers(&self, function: Option<FunctionId>) -> Result<Vec<TriggerRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM triggers WHERE $1 IS NULL OR function = $1 ORDER BY function, name")
            .bind(function.map(|id| id.to_string()))
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("list triggers"))?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &SqliteRow) -> Result<TriggerRow, StoreError> {
    let columns = Columns::new(row, "id")?;
    Ok(TriggerRow {
        id: columns.parse("id")?,
        project: columns.parse("project")?,
        function: columns.parse("function")?,
        name: columns.get("name")?,
        spec: columns.get("spec")?,
        enabled: columns.get("enabled")?,
        handled_unix_ms: columns.unsigned("handled_unix_ms")?,
        last_unix_ms: columns.optional_unsigned("last_unix_ms")?,
        created_unix_ms: columns.unsigned("created_unix_ms")?,
    })
}
