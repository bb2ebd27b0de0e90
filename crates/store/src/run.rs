//! When and where the last calls of functions ran. Nobody waits for these rows: they are written many at a time, and the
//! oldest go.

use std::collections::BTreeSet;

use hearth_ids::{FunctionId, MachineId};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, sqlite::SqliteRow};

use crate::{
    Store, StoreError,
    read::{Columns, signed},
};

/// Runs that are kept of a function.
pub const RUNS_PER_FUNCTION: u64 = 1_000;
/// Runs that are kept of all functions.
pub const RUNS_MAX: u64 = 200_000;
/// How long a run is kept at most, about: a week.
pub const RUNS_AGE_MAX_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// Rows in one statement: SQLite takes 32,766 values.
const ROWS: usize = 200;
/// Rows that are looked at for their age at a time.
const AGED: i64 = 1_000;

/// When and where a call ran. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// What was called.
    pub function: FunctionId,
    /// The request, by which the agent marks its lines, where it does.
    pub request: String,
    /// The kept call that it was a try of, if it was one.
    pub invocation: Option<String>,
    /// The instance.
    pub machine: MachineId,
    /// When it was given to the instance.
    pub from_unix_ms: u64,
    /// When it ended.
    pub to_unix_ms: u64,
}

impl Store {
    /// Keeps runs, oldest first, of functions that are there, in one transaction.
    pub async fn keep_runs(&self, runs: &[RunRow]) -> Result<(), StoreError> {
        let failed = StoreError::query("keep when calls ran");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        for runs in runs.chunks(ROWS) {
            insert(runs).build().execute(&mut *transaction).await.map_err(&failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Lets runs go that are too many of these functions or in all, and some that are too old.
    pub async fn sweep_runs(&self, functions: &BTreeSet<FunctionId>, now_unix_ms: u64) -> Result<(), StoreError> {
        let failed = StoreError::query("let go of when calls ran");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        for function in functions {
            sweep(&mut transaction, *function).await.map_err(&failed)?;
        }
        // Rows are counted, since a busy function uses up many more numbers than it keeps; and only where there may be too many.
        sqlx::query(
            "DELETE FROM call_runs WHERE (SELECT MAX(sequence) - MIN(sequence) FROM call_runs) >= $1 \
             AND sequence <= (SELECT sequence FROM call_runs ORDER BY sequence DESC LIMIT 1 OFFSET $1)",
        )
        .bind(signed(RUNS_MAX))
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        sqlx::query(
            "DELETE FROM call_runs WHERE sequence IN (SELECT sequence FROM call_runs ORDER BY sequence LIMIT $1) \
             AND to_unix_ms < $2",
        )
        .bind(AGED)
        .bind(signed(now_unix_ms.saturating_sub(RUNS_AGE_MAX_MS)))
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        transaction.commit().await.map_err(failed)
    }

    /// Where a function's call of this request ran, or each try of this kept call, oldest first.
    pub async fn runs(&self, function: FunctionId, id: &str) -> Result<Vec<RunRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM call_runs WHERE function = $1 AND (request = $2 OR invocation = $2) ORDER BY sequence",
        )
        .bind(function.to_string())
        .bind(id)
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::query("read when a call ran"))?;
        rows.iter().map(read).collect()
    }
}

fn insert(runs: &[RunRow]) -> QueryBuilder<Sqlite> {
    let mut query =
        QueryBuilder::new("WITH new (function, request, invocation, machine, from_unix_ms, to_unix_ms) AS (");
    query.push_values(runs, |mut row, run| {
        row.push_bind(run.function.to_string())
            .push_bind(run.request.clone())
            .push_bind(run.invocation.clone())
            .push_bind(run.machine.to_string())
            .push_bind(signed(run.from_unix_ms))
            .push_bind(signed(run.to_unix_ms));
    });
    query.push(
        ") INSERT INTO call_runs (function, request, invocation, machine, from_unix_ms, to_unix_ms) \
         SELECT * FROM new WHERE EXISTS (SELECT 1 FROM functions WHERE id = new.function)",
    );
    query
}

async fn sweep(connection: &mut SqliteConnection, function: FunctionId) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM call_runs WHERE function = $1 AND sequence <= \
         (SELECT sequence FROM call_runs WHERE function = $1 ORDER BY sequence DESC LIMIT 1 OFFSET $2)",
    )
    .bind(function.to_string())
    .bind(signed(RUNS_PER_FUNCTION))
    .execute(connection)
    .await
    .map(|_| ())
}

fn read(row: &SqliteRow) -> Result<RunRow, StoreError> {
    let columns = Columns::new(row, "request")?;
    Ok(RunRow {
        function: columns.parse("function")?,
        request: columns.get("request")?,
        invocation: columns.get("invocation")?,
        machine: columns.parse("machine")?,
        from_unix_ms: columns.unsigned("from_unix_ms")?,
        to_unix_ms: columns.unsigned("to_unix_ms")?,
    })
}
