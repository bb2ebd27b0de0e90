//! What builds say.

use hearth_ids::BuildId;
use sqlx::sqlite::SqliteRow;

use crate::{
    Store, StoreError,
    read::{Columns, signed, to_json},
};

/// Lines that are kept of one build; what comes after is not.
pub const BUILD_LOG_MAX: u64 = 20_000;

/// A line of a build's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildLogLine {
    /// When, in milliseconds since the Unix epoch.
    pub at_unix_ms: u64,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// At which step.
    pub step: Option<String>,
    /// What.
    pub message: String,
}

/// Which lines of a build's log are wanted.
#[derive(Debug, Clone)]
pub struct BuildLogQuery<'q> {
    /// Their levels.
    pub levels: &'q [&'q str],
    /// Not older, in milliseconds since the Unix epoch.
    pub from_unix_ms: u64,
    /// Not newer.
    pub until_unix_ms: u64,
    /// The newest first.
    pub backward: bool,
    /// So many of them are not wanted.
    pub skip: u64,
    /// At most.
    pub limit: u32,
}

impl Store {
    /// Adds to a build's log, up to [`BUILD_LOG_MAX`] lines. What one says that was forgotten meanwhile is nobody's.
    pub async fn log_build(&self, id: BuildId, lines: &[BuildLogLine]) -> Result<(), StoreError> {
        let failed = StoreError::query("keep a build's log");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM template_builds WHERE id = $1)")
            .bind(id.to_string())
            .fetch_one(&mut *transaction)
            .await
            .map_err(&failed)?;
        if !there {
            return Ok(());
        }
        let held: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM template_build_logs WHERE build = $1")
            .bind(id.to_string())
            .fetch_one(&mut *transaction)
            .await
            .map_err(&failed)?;
        let numbered = (held.unsigned_abs()..BUILD_LOG_MAX).zip(lines);
        for (sequence, line) in numbered {
            sqlx::query(
                "INSERT INTO template_build_logs (build, sequence, at_unix_ms, level, step, message) \
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(id.to_string())
            .bind(signed(sequence))
            .bind(signed(line.at_unix_ms))
            .bind(&line.level)
            .bind(&line.step)
            .bind(&line.message)
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        }
        transaction.commit().await.map_err(&failed)
    }

    /// A build's log, from a line on.
    pub async fn build_log(&self, id: BuildId, from: u64, limit: u32) -> Result<Vec<BuildLogLine>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM template_build_logs WHERE build = $1 AND sequence >= $2 ORDER BY sequence LIMIT $3",
        )
        .bind(id.to_string())
        .bind(signed(from))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::query("read a build's log"))?;
        rows.iter().map(read_line).collect()
    }

    /// Lines of a build's log of some levels, of a time, in either order.
    pub async fn find_in_build_log(
        &self,
        id: BuildId,
        wanted: &BuildLogQuery<'_>,
    ) -> Result<Vec<BuildLogLine>, StoreError> {
        let sql = if wanted.backward {
            "SELECT * FROM template_build_logs WHERE build = $1 AND level IN (SELECT value FROM json_each($2)) \
             AND at_unix_ms BETWEEN $3 AND $4 ORDER BY sequence DESC LIMIT $5 OFFSET $6"
        } else {
            "SELECT * FROM template_build_logs WHERE build = $1 AND level IN (SELECT value FROM json_each($2)) \
             AND at_unix_ms BETWEEN $3 AND $4 ORDER BY sequence LIMIT $5 OFFSET $6"
        };
        let rows = sqlx::query(sql)
            .bind(id.to_string())
            .bind(to_json(&wanted.levels))
            .bind(signed(wanted.from_unix_ms))
            .bind(signed(wanted.until_unix_ms))
            .bind(i64::from(wanted.limit))
            .bind(signed(wanted.skip))
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("look for lines of a build's log"))?;
        rows.iter().map(read_line).collect()
    }

    /// The last lines of a build's log that are of a step, in order.
    pub async fn build_log_end(&self, id: BuildId, step: &str, limit: u32) -> Result<Vec<BuildLogLine>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM template_build_logs WHERE build = $1 AND step = $2 ORDER BY sequence DESC LIMIT $3",
        )
        .bind(id.to_string())
        .bind(step)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::query("read the end of a build's log"))?;
        rows.iter().rev().map(read_line).collect()
    }
}

fn read_line(row: &SqliteRow) -> Result<BuildLogLine, StoreError> {
    let columns = Columns::new(row, "build")?;
    Ok(BuildLogLine {
        at_unix_ms: columns.unsigned("at_unix_ms")?,
        level: columns.get("level")?,
        step: columns.get("step")?,
        message: columns.get("message")?,
    })
}
