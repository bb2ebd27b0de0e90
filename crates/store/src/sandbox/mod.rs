//! Sandboxes. What one is doing is its machine's to say; here stands whose it is, what it should be, and until when.

mod build;
mod layer;
mod log;
mod template;

pub use build::{BUILDS_MAX, BuildRow, BuildState};
pub use layer::LayerRow;
pub(crate) use layer::is_layer;
pub use log::{BUILD_LOG_MAX, BuildLogLine, BuildLogQuery};
pub use template::{DEFAULT_TAG, NewTemplate, TEMPLATE_TAGS_MAX, TEMPLATES_MAX, TagRow, TemplateError, TemplateRow};

use hearth_domain::{Metadata, SandboxSettings, SandboxState};
use hearth_ids::{MachineId, ProjectId, SandboxId};
use sqlx::sqlite::SqliteRow;

use crate::{
    EventRecord, IdempotencyKey, InsertError, Made, NewMachine, Store, StoreError, idempotency, machine,
    read::{Columns, signed, to_json},
};

/// A sandbox as it is stored. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxRow {
    /// Its identity.
    pub id: SandboxId,
    /// Whose it is.
    pub project: ProjectId,
    /// The machine that it is.
    pub machine: MachineId,
    /// ID of the template or the snapshot that it was made of.
    pub template: String,
    /// The name that this was asked for by.
    pub alias: Option<String>,
    /// What its maker pinned to it.
    pub metadata: Metadata,
    /// What was asked for besides.
    pub settings: SandboxSettings,
    /// What it should be.
    pub state: SandboxState,
    /// How long it lasts after traffic resumed it, in milliseconds.
    pub timeout_ms: u64,
    /// When it was made, or last resumed.
    pub started_unix_ms: u64,
    /// When its time is over.
    pub ends_unix_ms: u64,
}

impl Store {
    /// Inserts a sandbox and its machine, which is pending, and notes the machine's event.
    pub async fn insert_sandbox(&self, row: &SandboxRow, new: &NewMachine) -> Result<EventRecord, InsertError> {
        let failed = StoreError::query("insert a sandbox");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        machine::refuse_taken_name(&mut transaction, &new.spec).await?;
        if let Some(key) = &new.key {
            self.refuse_used_key(&mut transaction, row.project, key, new).await?;
        }
        if new.within_quotas {
            machine::admit(&mut transaction, row.project, machine::wanted(&new.spec)).await?;
        }
        let event = machine::insert(&mut transaction, new).await?;
        sqlx::query(
            "INSERT INTO sandboxes (id, project, machine, template, alias, metadata, settings, state, timeout_ms, \
             started_unix_ms, ends_unix_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(row.id.to_string())
        .bind(row.project.to_string())
        .bind(row.machine.to_string())
        .bind(&row.template)
        .bind(&row.alias)
        .bind(to_json(&row.metadata))
        .bind(to_json(&row.settings))
        .bind(row.state.as_str())
        .bind(signed(row.timeout_ms))
        .bind(signed(row.started_unix_ms))
        .bind(signed(row.ends_unix_ms))
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        transaction.commit().await.map_err(&failed)?;
        Ok(event)
    }

    async fn refuse_used_key(
        &self,
        connection: &mut sqlx::SqliteConnection,
        project: ProjectId,
        key: &IdempotencyKey,
        new: &NewMachine,
    ) -> Result<(), InsertError> {
        let made = Made::Machine(new.spec.id);
        if idempotency::insert(connection, project, key, made, new.created_unix_ms).await? {
            return Ok(());
        }
        let used = self.used_key(project, &key.key).await?;
        Err(InsertError::KeyUsed(used.map_or(made, |used| used.made)))
    }

    /// One sandbox.
    pub async fn sandbox(&self, id: SandboxId) -> Result<Option<SandboxRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM sandboxes WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(StoreError::query("read a sandbox"))?;
        row.as_ref().map(read).transpose()
    }

    /// The sandbox that a machine is.
    pub async fn sandbox_of(&self, machine: MachineId) -> Result<Option<SandboxRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM sandboxes WHERE machine = $1")
            .bind(machine.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(StoreError::query("read a machine's sandbox"))?;
        row.as_ref().map(read).transpose()
    }

    /// Sandboxes of a project, or of all, the oldest first.
    pub async fn sandboxes(&self, project: Option<ProjectId>) -> Result<Vec<SandboxRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM sandboxes WHERE $1 IS NULL OR project = $1 ORDER BY started_unix_ms, id")
            .bind(project.map(|id| id.to_string()))
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("list sandboxes"))?;
        rows.iter().map(read).collect()
    }

    /// Notes what a sandbox should be. One that is to be gone is not called back. `false` if it is not there.
    pub async fn set_sandbox_state(&self, id: SandboxId, state: SandboxState) -> Result<bool, StoreError> {
        let noted = sqlx::query("UPDATE sandboxes SET state = $2 WHERE id = $1 AND state <> 'killed'")
            .bind(id.to_string())
            .bind(state.as_str())
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("change what a sandbox should be"))?;
        Ok(noted.rows_affected() == 1)
    }

    /// Notes that a sandbox runs again, until then.
    pub async fn note_sandbox_resumed(
        &self,
        id: SandboxId,
        started_unix_ms: u64,
        ends_unix_ms: u64,
    ) -> Result<bool, StoreError> {
        let noted = sqlx::query(
            "UPDATE sandboxes SET state = 'running', started_unix_ms = $2, ends_unix_ms = $3 \
             WHERE id = $1 AND state <> 'killed'",
        )
        .bind(id.to_string())
        .bind(signed(started_unix_ms))
        .bind(signed(ends_unix_ms))
        .execute(&self.writer)
        .await
        .map_err(StoreError::query("note that a sandbox runs again"))?;
        Ok(noted.rows_affected() == 1)
    }

    /// Notes when a sandbox's time is over.
    pub async fn set_sandbox_end(&self, id: SandboxId, ends_unix_ms: u64) -> Result<bool, StoreError> {
        let noted = sqlx::query("UPDATE sandboxes SET ends_unix_ms = $2 WHERE id = $1 AND state <> 'killed'")
            .bind(id.to_string())
            .bind(signed(ends_unix_ms))
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("change a sandbox's end"))?;
        Ok(noted.rows_affected() == 1)
    }

    /// Puts a sandbox's end off, unless somebody has changed it meanwhile.
    pub async fn put_off_sandbox_end(&self, row: &SandboxRow, ends_unix_ms: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE sandboxes SET ends_unix_ms = $3 WHERE id = $1 AND ends_unix_ms = $2 AND state = 'running'")
            .bind(row.id.to_string())
            .bind(signed(row.ends_unix_ms))
            .bind(signed(ends_unix_ms))
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("put a sandbox's end off"))?;
        Ok(())
    }

    /// Changes what was asked for besides the template.
    pub async fn set_sandbox_settings(&self, id: SandboxId, settings: &SandboxSettings) -> Result<bool, StoreError> {
        let noted = sqlx::query("UPDATE sandboxes SET settings = $2 WHERE id = $1 AND state <> 'killed'")
            .bind(id.to_string())
            .bind(to_json(settings))
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("change a sandbox"))?;
        Ok(noted.rows_affected() == 1)
    }

    /// Forgets a sandbox. Idempotent.
    pub async fn forget_sandbox(&self, id: SandboxId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM sandboxes WHERE id = $1")
            .bind(id.to_string())
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("forget a sandbox"))?;
        Ok(())
    }
}

fn read(row: &SqliteRow) -> Result<SandboxRow, StoreError> {
    let columns = Columns::new(row, "id")?;
    Ok(SandboxRow {
        id: columns.parse("id")?,
        project: columns.parse("project")?,
        machine: columns.parse("machine")?,
        template: columns.get("template")?,
        alias: columns.get("alias")?,
        metadata: columns.json("metadata")?,
        settings: columns.json("settings")?,
        state: columns.word("state", &SandboxState::ALL, SandboxState::as_str)?,
        timeout_ms: columns.unsigned("timeout_ms")?,
        started_unix_ms: columns.unsigned("started_unix_ms")?,
        ends_unix_ms: columns.unsigned("ends_unix_ms")?,
    })
}
