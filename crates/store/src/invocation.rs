//! Calls that nobody waits for: kept before they are answered for, until their result has been kept for its time.

mod turn;

use std::collections::{BTreeMap, HashMap};

use hearth_ids::{FunctionId, InvocationId, ProjectId};
use serde::{Deserialize, Serialize};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use crate::{
    Store, StoreError,
    read::{Columns, signed, to_json},
};

/// What a kept call is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InvocationState {
    /// It waits for its time.
    Queued,
    /// It runs.
    Running,
    /// It was answered.
    Succeeded,
    /// It failed for good: a dead letter.
    Dead,
}

impl InvocationState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Queued, Self::Running, Self::Succeeded, Self::Dead];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
        }
    }
}

/// Where a kept call came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InvocationSource {
    /// A request to the gateway or the API.
    Http,
    /// A cron trigger.
    Cron,
    /// Lambda's Invoke, of type Event.
    Lambda,
}

impl InvocationSource {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Http, Self::Cron, Self::Lambda];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Cron => "cron",
            Self::Lambda => "lambda",
        }
    }
}

/// What of a request stands before its body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHead {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers, in order.
    pub headers: Vec<(String, String)>,
}

/// A call to be kept.
#[derive(Debug, Clone)]
pub struct NewInvocation {
    /// Its identity.
    pub id: InvocationId,
    /// Whose function.
    pub project: ProjectId,
    /// Which.
    pub function: FunctionId,
    /// Alias or version; `live` if absent.
    pub qualifier: Option<String>,
    /// The caller's key and what its request was like: the same key with the same request is the same call.
    pub key: Option<String>,
    /// Of the request.
    pub fingerprint: String,
    /// Where it came from.
    pub source: InvocationSource,
    /// The request.
    pub head: RequestHead,
    /// Its body.
    pub body: Vec<u8>,
    /// When it is due, in milliseconds since the Unix epoch.
    pub due_unix_ms: u64,
    /// Now.
    pub created_unix_ms: u64,
}

/// What kept calls take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// How many there are.
    pub calls: u64,
    /// Bytes of their requests and answers.
    pub bytes: u64,
}

/// What became of a call that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is kept.
    New(InvocationId),
    /// It was kept before, by the same key.
    Before(InvocationId),
    /// Its key was used for another request.
    Mismatch,
}

/// A kept call as it is stored, without bodies. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvocationRow {
    /// Its identity.
    pub id: InvocationId,
    /// Whose function.
    pub project: ProjectId,
    /// Which.
    pub function: FunctionId,
    /// Alias or version.
    pub qualifier: Option<String>,
    /// Where it came from.
    pub source: InvocationSource,
    /// The request.
    pub head: RequestHead,
    /// What it is at.
    pub state: InvocationState,
    /// How often it was tried.
    pub attempts: u32,
    /// Whether it runs beside no other such call.
    pub alone: bool,
    /// When it is tried next.
    pub due_unix_ms: u64,
    /// When it was kept.
    pub created_unix_ms: u64,
    /// When it ended.
    pub finished_unix_ms: Option<u64>,
    /// Which version answered last.
    pub version: Option<u32>,
    /// The answer's status.
    pub status: Option<u16>,
    /// The answer's headers.
    pub answer_headers: BTreeMap<String, String>,
    /// Why it failed last.
    pub error: Option<String>,
}

/// How a try ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What the call is at now: queued again, succeeded or dead.
    pub state: InvocationState,
    /// When it is tried again.
    pub due_unix_ms: u64,
    /// When it ended, if it did.
    pub finished_unix_ms: Option<u64>,
    /// Which version answered.
    pub version: Option<u32>,
    /// The answer's status.
    pub status: Option<u16>,
    /// The answer's headers.
    pub answer_headers: BTreeMap<String, String>,
    /// The answer's body.
    pub answer_body: Vec<u8>,
    /// Why it failed.
    pub error: Option<String>,
    /// Whether no instance ever had the request, so that the try does not count.
    pub uncounted: bool,
}

/// What becomes of a call that ran when the last process died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// Which call.
    pub id: InvocationId,
    /// What it is at now: queued again, or dead.
    pub state: InvocationState,
    /// How many of its tries count.
    pub attempts: u32,
    /// Whether it runs beside no other such call from now on.
    pub alone: bool,
    /// When it is tried again.
    pub due_unix_ms: u64,
    /// When it ended, if it did.
    pub finished_unix_ms: Option<u64>,
    /// Why its try failed.
    pub error: String,
}

const COLUMNS: &str = "id, project, function, qualifier, source, head, state, attempts, alone, due_unix_ms, \
                       created_unix_ms, finished_unix_ms, version, status, answer_head, error";

impl Store {
    /// Keeps calls, all or none, and returns when they are on the disk, whatever becomes of the host. For each says
    /// what became of it.
    pub async fn keep_invocations(&self, calls: &[NewInvocation]) -> Result<Vec<Kept>, StoreError> {
        let failed = StoreError::query("keep a call");
        let mut connection = self.writer.acquire().await.map_err(&failed)?;
        crate::sqlite::sync_fully(&mut connection, true).await?;
        let kept = keep_all(&mut connection, calls).await;
        // What is kept is kept, whether this works or not: the next commits are only slower.
        let _ = crate::sqlite::sync_fully(&mut connection, false).await;
        kept
    }

    /// Takes calls that are due, at most `limit`, and marks them as running. No function gets more than `per_function`
    /// that run at a time, and no project more than `per_project`: whoever has many waits for those of its own. At most one
    /// that runs alone runs at a time, and of these the one of whose project's took the least time lately goes first.
    pub async fn take_invocations(
        &self,
        now_unix_ms: u64,
        limit: u32,
        per_function: u32,
        per_project: u32,
    ) -> Result<Vec<InvocationRow>, StoreError> {
        let failed = StoreError::query("take calls that are due");
        // It reads all that are due, beside whoever writes.
        let due: Vec<String> = sqlx::query_scalar(turn::CHOOSE)
            .bind(signed(now_unix_ms))
            .bind(i64::from(limit))
            .bind(i64::from(per_function))
            .bind(i64::from(per_project))
            .fetch_all(&self.readers)
            .await
            .map_err(&failed)?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        let mut rows = Vec::with_capacity(due.len());
        for id in due {
            let row = sqlx::query(sqlx::AssertSqlSafe(format!(
                "UPDATE invocations SET state = 'running', attempts = attempts + 1 WHERE id = $1 AND state = 'queued' \
                 RETURNING {COLUMNS}"
            )))
            .bind(id)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(&failed)?;
            let Some(row) = row else { continue };
            let columns = Columns::new(&row, "id")?;
            if columns.get("alone")? {
                turn::begin(&mut transaction, &columns.get::<String>("project")?, now_unix_ms).await?;
            }
            rows.push(row);
        }
        transaction.commit().await.map_err(&failed)?;
        let mut taken = Vec::with_capacity(rows.len());
        for row in &rows {
            match read(row) {
                Ok(call) => taken.push(call),
                // It must not keep the others from running.
                Err(error) => self.bury_unreadable(row, &error).await?,
            }
        }
        Ok(taken)
    }

    async fn bury_unreadable(&self, row: &SqliteRow, error: &StoreError) -> Result<(), StoreError> {
        let id: String = Columns::new(row, "id")?.get("id")?;
        sqlx::query("UPDATE invocations SET state = 'dead', finished_unix_ms = due_unix_ms, error = $2 WHERE id = $1")
            .bind(id)
            .bind(error.to_string())
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("set an unreadable call aside"))?;
        Ok(())
    }

    /// When the next call is due, of those that are not due at `now_unix_ms`.
    pub async fn next_invocation_due(&self, now_unix_ms: u64) -> Result<Option<u64>, StoreError> {
        let due: Option<i64> =
            sqlx::query_scalar("SELECT MIN(due_unix_ms) FROM invocations WHERE state = 'queued' AND due_unix_ms > $1")
                .bind(signed(now_unix_ms))
                .fetch_one(&self.readers)
                .await
                .map_err(StoreError::query("look for calls that are due"))?;
        Ok(due.and_then(|due| u64::try_from(due).ok()))
    }

    /// Calls that run; after a start, those that ran when the last process died.
    pub async fn running_invocations(&self) -> Result<Vec<InvocationRow>, StoreError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM invocations WHERE state = 'running'"
        )))
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::query("look for calls that were cut off"))?;
        let mut running = Vec::with_capacity(rows.len());
        for row in &rows {
            match read(row) {
                Ok(call) => running.push(call),
                Err(error) => self.bury_unreadable(row, &error).await?,
            }
        }
        Ok(running)
    }

    /// Notes what becomes of calls that ran when the last process died, of all or of none.
    pub async fn resume_invocations(&self, calls: &[Resumed]) -> Result<(), StoreError> {
        let failed = StoreError::query("take up calls again");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        for call in calls {
            sqlx::query(
                "UPDATE invocations SET state = $2, attempts = $3, alone = $4, due_unix_ms = $5, \
                 finished_unix_ms = $6, error = $7 WHERE id = $1 AND state = 'running'",
            )
            .bind(call.id.to_string())
            .bind(call.state.as_str())
            .bind(i64::from(call.attempts))
            .bind(call.alone)
            .bind(signed(call.due_unix_ms))
            .bind(call.finished_unix_ms.map(signed))
            .bind(&call.error)
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Lets calls that still run be tried again by the next process, as if they had not been tried now; gives how many.
    pub async fn give_back_invocations(&self, now_unix_ms: u64) -> Result<u64, StoreError> {
        let given_back = sqlx::query(
            "UPDATE invocations SET state = 'queued', attempts = attempts - 1, due_unix_ms = $1 WHERE state = 'running'",
        )
        .bind(signed(now_unix_ms))
        .execute(&self.writer)
        .await
        .map_err(StoreError::query("give calls back"))?;
        Ok(given_back.rows_affected())
    }

    /// Notes how a try ended.
    pub async fn finish_invocation(&self, id: InvocationId, outcome: &Outcome) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE invocations SET state = $2, due_unix_ms = $3, finished_unix_ms = $4, version = $5, status = $6, \
             answer_head = $7, answer_body = $8, error = $9, attempts = attempts - $10, \
             body = CASE WHEN $2 = 'succeeded' THEN x'' ELSE body END WHERE id = $1 AND state = 'running'",
        )
        .bind(id.to_string())
        .bind(outcome.state.as_str())
        .bind(signed(outcome.due_unix_ms))
        .bind(outcome.finished_unix_ms.map(signed))
        .bind(outcome.version.map(i64::from))
        .bind(outcome.status.map(i64::from))
        .bind(to_json(&outcome.answer_headers))
        .bind(&outcome.answer_body)
        .bind(&outcome.error)
        .bind(i64::from(outcome.uncounted))
        .execute(&self.writer)
        .await
        .map_err(StoreError::query("note how a call ended"))?;
        Ok(())
    }

    /// Lets a dead call be tried anew, from its first attempt; says whether it was dead.
    pub async fn replay_invocation(&self, id: InvocationId, now_unix_ms: u64) -> Result<bool, StoreError> {
        let replayed = sqlx::query(
            "UPDATE invocations SET state = 'queued', attempts = 0, alone = FALSE, due_unix_ms = $2, finished_unix_ms = NULL, \
             error = NULL WHERE id = $1 AND state = 'dead'",
        )
        .bind(id.to_string())
        .bind(signed(now_unix_ms))
        .execute(&self.writer)
        .await
        .map_err(StoreError::query("try a call anew"))?;
        Ok(replayed.rows_affected() > 0)
    }

    /// One kept call of a project.
    pub async fn invocation(&self, project: ProjectId, id: InvocationId) -> Result<Option<InvocationRow>, StoreError> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM invocations WHERE id = $1 AND project = $2"
        )))
        .bind(id.to_string())
        .bind(project.to_string())
        .fetch_optional(&self.readers)
        .await
        .map_err(StoreError::query("read a call"))?;
        row.as_ref().map(read).transpose()
    }

    /// The body of a kept call's request.
    pub async fn invocation_body(&self, id: InvocationId) -> Result<Vec<u8>, StoreError> {
        self.blob("SELECT body FROM invocations WHERE id = $1", id).await
    }

    /// The body of a kept call's answer.
    pub async fn invocation_answer(&self, id: InvocationId) -> Result<Vec<u8>, StoreError> {
        self.blob("SELECT answer_body FROM invocations WHERE id = $1", id).await
    }

    async fn blob(&self, sql: &'static str, id: InvocationId) -> Result<Vec<u8>, StoreError> {
        let blob: Option<Option<Vec<u8>>> = sqlx::query_scalar(sql)
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(StoreError::query("read a call's body"))?;
        Ok(blob.flatten().unwrap_or_default())
    }

    /// Kept calls of a project, newest first, of those older than `before`.
    pub async fn invocations(
        &self,
        project: ProjectId,
        function: Option<FunctionId>,
        state: Option<InvocationState>,
        before: Option<InvocationId>,
        limit: u32,
    ) -> Result<Vec<InvocationRow>, StoreError> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM invocations WHERE project = $1 AND ($2 IS NULL OR function = $2) \
             AND ($3 IS NULL OR state = $3) AND ($4 IS NULL OR id < $4) ORDER BY id DESC LIMIT $5"
        )))
        .bind(project.to_string())
        .bind(function.map(|id| id.to_string()))
        .bind(state.map(InvocationState::as_str))
        .bind(before.map(|id| id.to_string()))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::query("list calls"))?;
        rows.iter().map(read).collect()
    }

    /// What the kept calls of each project take, ended or not.
    pub async fn invocations_held(&self) -> Result<HashMap<ProjectId, Held>, StoreError> {
        let rows = sqlx::query(
            "SELECT project, COUNT(*) AS calls, \
             SUM(LENGTH(body) + LENGTH(head) + COALESCE(LENGTH(answer_body), 0)) AS bytes FROM invocations GROUP BY project",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::query("add up kept calls"))?;
        rows.iter()
            .map(|row| {
                let columns = Columns::new(row, "project")?;
                let held = Held {
                    calls: columns.unsigned("calls")?,
                    bytes: columns.unsigned("bytes")?,
                };
                Ok((columns.parse("project")?, held))
            })
            .collect()
    }

    /// Forgets calls that ended before `before_unix_ms`; gives how many.
    pub async fn forget_invocations(&self, before_unix_ms: u64) -> Result<u64, StoreError> {
        let forgotten = sqlx::query("DELETE FROM invocations WHERE finished_unix_ms < $1")
            .bind(signed(before_unix_ms))
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("forget old calls"))?;
        Ok(forgotten.rows_affected())
    }
}

async fn keep_all(connection: &mut SqliteConnection, calls: &[NewInvocation]) -> Result<Vec<Kept>, StoreError> {
    use sqlx::Connection as _;
    let failed = StoreError::query("keep a call");
    let mut transaction = connection.begin().await.map_err(&failed)?;
    let mut kept = Vec::with_capacity(calls.len());
    for call in calls {
        kept.push(keep(&mut transaction, call).await?);
    }
    transaction.commit().await.map_err(failed)?;
    Ok(kept)
}

async fn keep(connection: &mut SqliteConnection, call: &NewInvocation) -> Result<Kept, StoreError> {
    let failed = StoreError::query("keep a call");
    let inserted = sqlx::query(
        "INSERT INTO invocations (id, project, function, qualifier, key_text, fingerprint, source, head, body, state, \
         attempts, due_unix_ms, created_unix_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'queued', 0, $10, $11) \
         ON CONFLICT (function, key_text) DO NOTHING",
    )
    .bind(call.id.to_string())
    .bind(call.project.to_string())
    .bind(call.function.to_string())
    .bind(&call.qualifier)
    .bind(&call.key)
    .bind(&call.fingerprint)
    .bind(call.source.as_str())
    .bind(to_json(&call.head))
    .bind(&call.body)
    .bind(signed(call.due_unix_ms))
    .bind(signed(call.created_unix_ms))
    .execute(&mut *connection)
    .await
    .map_err(&failed)?;
    if inserted.rows_affected() == 1 {
        return Ok(Kept::New(call.id));
    }
    let row = sqlx::query("SELECT id, fingerprint FROM invocations WHERE function = $1 AND key_text = $2")
        .bind(call.function.to_string())
        .bind(&call.key)
        .fetch_one(connection)
        .await
        .map_err(&failed)?;
    let columns = Columns::new(&row, "id")?;
    if columns.get::<String>("fingerprint")? == call.fingerprint {
        Ok(Kept::Before(columns.parse("id")?))
    } else {
        Ok(Kept::Mismatch)
    }
}

fn read(row: &SqliteRow) -> Result<InvocationRow, StoreError> {
    let columns = Columns::new(row, "id")?;
    let small = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
    Ok(InvocationRow {
        id: columns.parse("id")?,
        project: columns.parse("project")?,
        function: columns.parse("function")?,
        qualifier: columns.get("qualifier")?,
        source: columns.word("source", &InvocationSource::ALL, InvocationSource::as_str)?,
        head: columns.json("head")?,
        state: columns.word("state", &InvocationState::ALL, InvocationState::as_str)?,
        attempts: u32::try_from(columns.unsigned("attempts")?).unwrap_or(u32::MAX),
        alone: columns.get("alone")?,
        due_unix_ms: columns.unsigned("due_unix_ms")?,
        created_unix_ms: columns.unsigned("created_unix_ms")?,
        finished_unix_ms: columns.optional_unsigned("finished_unix_ms")?,
        version: small(columns.optional_unsigned("version")?),
        status: small(columns.optional_unsigned("status")?).and_then(|status| u16::try_from(status).ok()),
        answer_headers: columns.optional_json("answer_head")?.unwrap_or_default(),
        error: columns.get("error")?,
    })
}
