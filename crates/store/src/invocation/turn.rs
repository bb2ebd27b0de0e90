//! Which of the calls that are due run next, and whose turn it is among projects with calls that run alone.
//!
//! Only one of those runs at a time, and may take as long as its function lets it. So projects take turns, by the time that
//! they took lately: each has a turn, which is a point in time, and the earliest comes first. Whoever ran goes back by a
//! multiple of what it took, so that others' calls are not each behind one of a project that has many long ones.

use hearth_ids::ProjectId;
use sqlx::SqliteConnection;

use crate::{Store, StoreError, read::signed};

/// Chooses among calls that are due: `$1` is now, `$2` how many, `$3` and `$4` how many of a function and of a project may
/// run at a time. Each function's first comes before any function's second. Of calls that run alone one is chosen if none
/// runs, of those that the limits let run; it comes before all others, so that nothing else can then keep it from running
/// and with it everybody's.
pub(super) const CHOOSE: &str = "\
    WITH of_function AS (SELECT function, COUNT(*) AS runs FROM invocations WHERE state = 'running' GROUP BY function), \
      of_project AS (SELECT project, COUNT(*) AS runs FROM invocations WHERE state = 'running' GROUP BY project), \
      chosen AS ( \
        SELECT waiting.id FROM invocations AS waiting \
        LEFT JOIN projects ON projects.id = waiting.project \
        LEFT JOIN of_function ON of_function.function = waiting.function \
        LEFT JOIN of_project ON of_project.project = waiting.project \
        WHERE waiting.alone AND waiting.state = 'queued' AND waiting.due_unix_ms <= $1 \
          AND COALESCE(of_function.runs, 0) < $3 AND COALESCE(of_project.runs, 0) < $4 \
          AND NOT EXISTS (SELECT 1 FROM invocations WHERE alone AND state = 'running') \
        ORDER BY COALESCE(projects.alone_turn_unix_ms, 0), waiting.due_unix_ms, waiting.id LIMIT 1) \
    SELECT due.id FROM ( \
      SELECT id, function, project, alone, due_unix_ms, \
        ROW_NUMBER() OVER (PARTITION BY function ORDER BY alone DESC, due_unix_ms, id) AS place, \
        ROW_NUMBER() OVER (PARTITION BY project ORDER BY alone DESC, due_unix_ms, id) AS place_in_project \
      FROM invocations WHERE state = 'queued' AND due_unix_ms <= $1 AND (NOT alone OR id = (SELECT id FROM chosen))) AS due \
    LEFT JOIN of_function ON of_function.function = due.function \
    LEFT JOIN of_project ON of_project.project = due.project \
    WHERE due.place + COALESCE(of_function.runs, 0) <= $3 AND due.place_in_project + COALESCE(of_project.runs, 0) <= $4 \
    ORDER BY due.place, due.alone DESC, due.due_unix_ms, due.id LIMIT $2";

/// By how many times what it took a project goes back. As long as fewer projects than this contend, each has the same
/// time; of more, whoever ran longest ago is next.
const TIMES: u64 = 10;
/// How far a project goes back at most, in milliseconds.
const BACK_MAX_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// What a call takes at least, in milliseconds: all that is known of one that kills the process.
const LEAST_MS: u64 = 1000;

impl Store {
    /// Notes from when to when a project's call ran that ran alone. [`take_invocations`](Self::take_invocations) has noted
    /// already that it began.
    pub async fn ran_alone(&self, project: ProjectId, from_unix_ms: u64, to_unix_ms: u64) -> Result<(), StoreError> {
        let failed = StoreError::query("note how long a call ran alone");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        go_back(&mut transaction, &project.to_string(), from_unix_ms, to_unix_ms).await?;
        transaction.commit().await.map_err(failed)
    }
}

/// Notes that a project's call begins to run alone.
pub(super) async fn begin(
    connection: &mut SqliteConnection,
    project: &str,
    now_unix_ms: u64,
) -> Result<(), StoreError> {
    go_back(connection, project, now_unix_ms, now_unix_ms.saturating_add(LEAST_MS)).await
}

async fn go_back(connection: &mut SqliteConnection, project: &str, from: u64, to: u64) -> Result<(), StoreError> {
    let failed = StoreError::query("note whose turn it was");
    let turn: Option<i64> = sqlx::query_scalar("SELECT alone_turn_unix_ms FROM projects WHERE id = $1")
        .bind(project)
        .fetch_optional(&mut *connection)
        .await
        .map_err(&failed)?;
    let turn = turn.and_then(|turn| u64::try_from(turn).ok()).unwrap_or_default();
    sqlx::query("UPDATE projects SET alone_turn_unix_ms = $2 WHERE id = $1")
        .bind(project)
        .bind(signed(next_turn(turn, from, to)))
        .execute(connection)
        .await
        .map_err(&failed)?;
    Ok(())
}

fn next_turn(turn: u64, from: u64, to: u64) -> u64 {
    let took = to.saturating_sub(from);
    let back = turn.max(from).saturating_add(took.saturating_mul(TIMES));
    back.min(to.saturating_add(BACK_MAX_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_goes_back_by_what_it_took_and_not_for_ever() {
        assert_eq!(next_turn(0, 1000, 1500), 6000);
        assert_eq!(next_turn(6000, 2000, 2100), 7000);
        assert_eq!(next_turn(u64::MAX, 1000, 1500), 1500 + BACK_MAX_MS);
        // The clock was set back meanwhile.
        assert_eq!(next_turn(0, 1500, 1000), 1500);
    }
}
