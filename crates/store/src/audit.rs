//! Who changed what. Bounded in number and age; the oldest go. Each project has room of its own, and in it what was refused
//! has, so that nobody pushes out what others did, nor by failing what came about.

use hearth_ids::ProjectId;
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use crate::{
    Store, StoreError,
    read::{Columns, signed},
};

/// About how many changes are kept of a project.
pub const AUDIT_MAX: u64 = 100_000;
/// About how many refusals are kept of a project.
pub const AUDIT_REFUSED_MAX: u64 = 10_000;
/// How long entries are kept, in milliseconds.
pub const AUDIT_AGE_MAX_MS: u64 = 400 * 24 * 3_600_000;
/// Old entries are removed once in so many.
const SWEEP_EVERY: u64 = 500;

/// One change, done or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number; grows. 0 before it is stored.
    pub sequence: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// In which project; none where the caller was not known.
    pub project: Option<ProjectId>,
    /// Who: a key's ID, `unix:` and a user's number, or `none`.
    pub actor: String,
    /// The key's name, or the user's.
    pub actor_name: String,
    /// From where: an address, or `unix`.
    pub origin: String,
    /// What: the operation's ID in the OpenAPI document.
    pub operation: String,
    /// On what, as the request named it.
    pub target: String,
    /// What it came to, as HTTP has it.
    pub status: u16,
    /// The request's ID, by which the log knows it.
    pub request_id: String,
}

/// Which entries to read.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Of this project; of all if absent.
    pub project: Option<ProjectId>,
    /// Before the one of this number.
    pub before: Option<u64>,
    /// From then on, in milliseconds since the Unix epoch.
    pub since_unix_ms: u64,
    /// By this actor.
    pub actor: Option<String>,
    /// Of this operation.
    pub operation: Option<String>,
    /// At most so many.
    pub limit: u32,
}

impl Store {
    /// Notes a change.
    pub async fn note_audit(&self, entry: &AuditRow) -> Result<(), StoreError> {
        let failed = StoreError::query("note a change in the audit log");
        let mut connection = self.writer.acquire().await.map_err(&failed)?;
        let sequence: i64 = sqlx::query_scalar(
            "INSERT INTO audit (at_unix_ms, project, actor, actor_name, origin, operation, target, status, request_id) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING sequence",
        )
        .bind(signed(entry.at_unix_ms))
        .bind(entry.project.map(|id| id.to_string()))
        .bind(&entry.actor)
        .bind(&entry.actor_name)
        .bind(&entry.origin)
        .bind(&entry.operation)
        .bind(&entry.target)
        .bind(i64::from(entry.status))
        .bind(&entry.request_id)
        .fetch_one(&mut *connection)
        .await
        .map_err(&failed)?;
        let sequence = sequence.unsigned_abs();
        if sequence.is_multiple_of(SWEEP_EVERY) {
            sqlx::query("DELETE FROM audit WHERE at_unix_ms < $1")
                .bind(signed(entry.at_unix_ms.saturating_sub(AUDIT_AGE_MAX_MS)))
                .execute(&mut *connection)
                .await
                .map_err(&failed)?;
            // Whoever writes most is here most often.
            sweep(&mut connection, entry.project, (AUDIT_MAX, AUDIT_REFUSED_MAX)).await?;
        }
        Ok(())
    }

    /// Entries, newest first.
    pub async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM audit WHERE ($1 IS NULL OR project = $1) AND ($2 IS NULL OR sequence < $2) \
             AND at_unix_ms >= $3 AND ($4 IS NULL OR actor = $4 OR actor_name = $4) \
             AND ($5 IS NULL OR operation = $5) ORDER BY sequence DESC LIMIT $6",
        )
        .bind(filter.project.map(|id| id.to_string()))
        .bind(filter.before.map(signed))
        .bind(signed(filter.since_unix_ms))
        .bind(&filter.actor)
        .bind(&filter.operation)
        .bind(i64::from(filter.limit))
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::query("read the audit log"))?;
        rows.iter().map(read).collect()
    }
}

/// Removes the oldest of a project: of changes and of refusals, as many as are beyond the first and the second bound.
async fn sweep(
    connection: &mut SqliteConnection,
    project: Option<ProjectId>,
    (done_max, refused_max): (u64, u64),
) -> Result<(), StoreError> {
    for (refused, max) in [(false, done_max), (true, refused_max)] {
        sqlx::query(
            "DELETE FROM audit WHERE project IS NOT DISTINCT FROM $1 AND (status >= 400) = $2 AND sequence <= \
             (SELECT sequence FROM audit WHERE project IS NOT DISTINCT FROM $1 AND (status >= 400) = $2 \
             ORDER BY sequence DESC LIMIT 1 OFFSET $3)",
        )
        .bind(project.map(|id| id.to_string()))
        .bind(refused)
        .bind(signed(max))
        .execute(&mut *connection)
        .await
        .map_err(StoreError::query("remove old entries of the audit log"))?;
    }
    Ok(())
}

fn read(row: &SqliteRow) -> Result<AuditRow, StoreError> {
    let columns = Columns::new(row, "request_id")?;
    Ok(AuditRow {
        sequence: columns.unsigned("sequence")?,
        at_unix_ms: columns.unsigned("at_unix_ms")?,
        project: columns.optional_parse("project")?,
        actor: columns.get("actor")?,
        actor_name: columns.get("actor_name")?,
        origin: columns.get("origin")?,
        operation: columns.get("operation")?,
        target: columns.get("target")?,
        status: u16::try_from(columns.unsigned("status")?).unwrap_or(0),
        request_id: columns.get("request_id")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_pushes_out_what_others_did_nor_by_failing_what_came_about() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("hearth.db")).await.unwrap();
        let (loud, quiet) = (ProjectId::new(), ProjectId::new());
        let entry = |project, status| AuditRow {
            sequence: 0,
            at_unix_ms: 1,
            project: Some(project),
            actor: "key".into(),
            actor_name: String::new(),
            origin: "unix".into(),
            operation: "create_machine".into(),
            target: String::new(),
            status,
            request_id: String::new(),
        };
        store.note_audit(&entry(quiet, 201)).await.unwrap();
        store.note_audit(&entry(loud, 201)).await.unwrap();
        for _ in 0..9 {
            store.note_audit(&entry(loud, 403)).await.unwrap();
        }
        for _ in 0..3 {
            store.note_audit(&entry(loud, 204)).await.unwrap();
        }
        let mut connection = store.writer.acquire().await.unwrap();
        sweep(&mut connection, Some(loud), (4, 2)).await.unwrap();
        drop(connection);
        let filter = AuditFilter {
            limit: 99,
            ..AuditFilter::default()
        };
        let left = store.audit(&filter).await.unwrap();
        let left: Vec<_> = left
            .iter()
            .map(|row| (row.project.unwrap() == loud, row.status))
            .collect();
        let kept = [
            (true, 204),
            (true, 204),
            (true, 204),
            (true, 403),
            (true, 403),
            (true, 201),
            (false, 201),
        ];
        assert_eq!(left, kept);
    }
}
