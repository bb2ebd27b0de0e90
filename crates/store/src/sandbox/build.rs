//! Builds of templates, and what they say meanwhile.
//!
//! ```text
//! waiting ──► building ──► ready
//!    └───────────┴───────► error
//! ```

use hearth_domain::{BuildPlan, BuildReason};
use hearth_ids::{BuildId, ProjectId, SnapshotId, TemplateId};
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::template::{self, NewTemplate, TemplateError, TemplateRow};
use crate::{
    Store, StoreError,
    read::{Columns, signed, to_json},
};

/// Builds of a project that wait to be started or are under way: each has a plan, and the server holds it until it is over.
pub const BUILDS_MAX: u64 = 20;
/// How long one that was not started keeps its place among them while others ask for it, in milliseconds.
const PATIENCE_MS: u64 = 60 * 60 * 1000;

/// How far a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BuildState {
    /// It is not started.
    Waiting,
    /// It is under way.
    Building,
    /// Sandboxes can be made of it.
    Ready,
    /// It failed.
    Error,
}

/// A build as it is stored. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRow {
    /// Its identity.
    pub id: BuildId,
    /// Of which template.
    pub template: TemplateId,
    /// How far it is.
    pub state: BuildState,
    /// How it is built.
    pub plan: BuildPlan,
    /// Why it failed.
    pub reason: Option<BuildReason>,
    /// What came of it.
    pub snapshot: Option<SnapshotId>,
    /// When it was asked for.
    pub created_unix_ms: u64,
    /// When it ended.
    pub finished_unix_ms: Option<u64>,
}

impl BuildState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Building, Self::Ready, Self::Error];

    /// The word, as the E2B API has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Building => "building",
            Self::Ready => "ready",
            Self::Error => "error",
        }
    }
}

impl Store {
    /// Notes a build that waits to be started, and its template, if its project has none of the name. Refuses one more than
    /// [`BUILDS_MAX`]; those that nobody has started for an hour go first.
    pub async fn book_build(
        &self,
        new: &NewTemplate,
        id: BuildId,
        plan: BuildPlan,
    ) -> Result<(TemplateRow, BuildRow), TemplateError> {
        let failed = StoreError::query("note a build");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        admit(&mut transaction, new.project, new.created_unix_ms).await?;
        let template = template::upsert(&mut transaction, new).await?;
        template::admit_tags(&mut transaction, template, &plan.tags).await?;
        let build = BuildRow {
            id,
            template,
            state: BuildState::Waiting,
            plan,
            reason: None,
            snapshot: None,
            created_unix_ms: new.created_unix_ms,
            finished_unix_ms: None,
        };
        insert(&mut transaction, &build).await?;
        transaction.commit().await.map_err(&failed)?;
        Ok((self.written_template(template).await?, build))
    }

    /// Notes a build of somebody who is at it, whatever else the project has under way.
    pub async fn insert_build(&self, row: &BuildRow) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await.map_err(StoreError::query("note a build"))?;
        insert(&mut connection, row).await
    }

    /// Starts a build that waits, by this plan. `false` if it was started before.
    pub async fn start_build(&self, id: BuildId, plan: &BuildPlan) -> Result<bool, StoreError> {
        let started =
            sqlx::query("UPDATE template_builds SET state = 'building', plan = $2 WHERE id = $1 AND state = 'waiting'")
                .bind(id.to_string())
                .bind(to_json(plan))
                .execute(&self.writer)
                .await
                .map_err(StoreError::query("start a build"))?;
        Ok(started.rows_affected() == 1)
    }

    /// Notes that a build is done, and its snapshot. Its plan's tags mean it from the same moment on. `false` if it is not under way
    /// any more: its template was removed meanwhile.
    pub async fn finish_build(
        &self,
        row: &BuildRow,
        snapshot: SnapshotId,
        now_unix_ms: u64,
    ) -> Result<bool, TemplateError> {
        let failed = StoreError::query("note that a build is done");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        let done = sqlx::query(
            "UPDATE template_builds SET state = 'ready', snapshot = $2, finished_unix_ms = $3 \
             WHERE id = $1 AND state = 'building'",
        )
        .bind(row.id.to_string())
        .bind(snapshot.to_string())
        .bind(signed(now_unix_ms))
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        template::tag(&mut transaction, row.template, row.id, &row.plan.tags, now_unix_ms).await?;
        transaction.commit().await.map_err(&failed)?;
        Ok(true)
    }

    /// Forgets a build, with its log. Its snapshot is to be removed before.
    pub async fn forget_build(&self, id: BuildId) -> Result<(), StoreError> {
        let failed = StoreError::query("forget a build");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        for sql in [
            "DELETE FROM template_build_logs WHERE build = $1",
            "DELETE FROM template_builds WHERE id = $1",
        ] {
            sqlx::query(sql)
                .bind(id.to_string())
                .execute(&mut *transaction)
                .await
                .map_err(&failed)?;
        }
        transaction.commit().await.map_err(&failed)
    }

    /// Snapshots that builds of a template are, whether they went well or not; those of layers, which are the project's, left out.
    pub async fn snapshots_of_template(&self, id: TemplateId) -> Result<Vec<SnapshotId>, StoreError> {
        let rows = sqlx::query(
            "SELECT s.id FROM snapshots s JOIN template_builds b ON b.id = s.build \
             WHERE b.template = $1 AND s.id NOT IN (SELECT snapshot FROM template_layers)",
        )
        .bind(id.to_string())
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::query("list a template's snapshots"))?;
        rows.iter().map(|row| Columns::new(row, "id")?.parse("id")).collect()
    }

    /// Snapshots of builds that came to nothing: neither a build's nor a layer's.
    pub async fn stray_snapshots(&self) -> Result<Vec<SnapshotId>, StoreError> {
        let rows = sqlx::query(
            "SELECT id FROM snapshots WHERE build IS NOT NULL \
             AND id NOT IN (SELECT snapshot FROM template_builds WHERE snapshot IS NOT NULL) \
             AND id NOT IN (SELECT snapshot FROM template_layers)",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::query("look for snapshots that are nobody's"))?;
        rows.iter().map(|row| Columns::new(row, "id")?.parse("id")).collect()
    }

    /// Builds of a template that nobody needs, the newest first: those that went well and that no tag means, but for the last of
    /// them, and those that failed, but for the last so many.
    pub async fn superseded_builds(
        &self,
        template: TemplateId,
        failed_kept: u32,
    ) -> Result<Vec<(BuildId, Option<SnapshotId>)>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM (SELECT id, snapshot FROM template_builds WHERE template = $1 AND state = 'ready' \
             AND id NOT IN (SELECT build FROM template_tags WHERE template = $1) ORDER BY id DESC LIMIT -1 OFFSET 1) \
             UNION ALL SELECT * FROM (SELECT id, snapshot FROM template_builds WHERE template = $1 AND state = 'error' \
             ORDER BY finished_unix_ms DESC, id DESC LIMIT -1 OFFSET $2)",
        )
        .bind(template.to_string())
        .bind(i64::from(failed_kept))
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::query("look for builds that nobody needs"))?;
        let read = |row| {
            let columns = Columns::new(row, "id")?;
            Ok((columns.parse("id")?, columns.optional_parse("snapshot")?))
        };
        rows.iter().map(read).collect()
    }

    /// Forgets builds that nobody has started since they were asked for before then. Gives how many there were.
    pub async fn forget_waiting_builds(&self, before_unix_ms: u64) -> Result<u64, StoreError> {
        let gone = sqlx::query("DELETE FROM template_builds WHERE state = 'waiting' AND created_unix_ms < $1")
            .bind(signed(before_unix_ms))
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("forget builds that nobody starts"))?;
        Ok(gone.rows_affected())
    }

    /// Notes that a build failed, and why.
    pub async fn fail_build(&self, id: BuildId, reason: &BuildReason, now_unix_ms: u64) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE template_builds SET state = 'error', reason = $2, finished_unix_ms = $3 \
             WHERE id = $1 AND state <> 'ready'",
        )
        .bind(id.to_string())
        .bind(to_json(reason))
        .bind(signed(now_unix_ms))
        .execute(&self.writer)
        .await
        .map_err(StoreError::query("note that a build failed"))?;
        Ok(())
    }

    /// Notes that all builds that are under way failed, and why. Gives how many there were.
    pub async fn fail_builds_under_way(&self, reason: &BuildReason, now_unix_ms: u64) -> Result<u64, StoreError> {
        let noted = sqlx::query(
            "UPDATE template_builds SET state = 'error', reason = $1, finished_unix_ms = $2 WHERE state = 'building'",
        )
        .bind(to_json(reason))
        .bind(signed(now_unix_ms))
        .execute(&self.writer)
        .await
        .map_err(StoreError::query("note that builds failed"))?;
        Ok(noted.rows_affected())
    }

    /// Notes that a template's builds that are not over failed, and why.
    pub async fn fail_builds_of(
        &self,
        template: TemplateId,
        reason: &BuildReason,
        now_unix_ms: u64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE template_builds SET state = 'error', reason = $2, finished_unix_ms = $3 \
             WHERE template = $1 AND state IN ('waiting', 'building')",
        )
        .bind(template.to_string())
        .bind(to_json(reason))
        .bind(signed(now_unix_ms))
        .execute(&self.writer)
        .await
        .map_err(StoreError::query("note that a template's builds failed"))?;
        Ok(())
    }

    /// One build.
    pub async fn build(&self, id: BuildId) -> Result<Option<BuildRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM template_builds WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(StoreError::query("read a build"))?;
        row.as_ref().map(read).transpose()
    }

    /// The build that a snapshot came of.
    pub async fn build_of(&self, snapshot: SnapshotId) -> Result<Option<BuildRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM template_builds WHERE snapshot = $1 ORDER BY id LIMIT 1")
            .bind(snapshot.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(StoreError::query("read a snapshot's build"))?;
        row.as_ref().map(read).transpose()
    }

    /// Builds of a template, the newest first.
    pub async fn builds(&self, template: TemplateId) -> Result<Vec<BuildRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM template_builds WHERE template = $1 ORDER BY id DESC LIMIT 1000")
            .bind(template.to_string())
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("list builds"))?;
        rows.iter().map(read).collect()
    }

    /// Templates that were made for snapshots of sandboxes which were not: all of their builds failed.
    pub async fn snapshots_that_failed(&self) -> Result<Vec<TemplateId>, StoreError> {
        let rows = sqlx::query(
            "SELECT id FROM sandbox_templates WHERE sandbox IS NOT NULL \
             AND id NOT IN (SELECT template FROM template_builds WHERE state <> 'error')",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::query("look for templates of nothing"))?;
        rows.iter().map(|row| Columns::new(row, "id")?.parse("id")).collect()
    }

    /// Whether all builds of a template failed.
    pub async fn has_only_failed(&self, template: TemplateId) -> Result<bool, StoreError> {
        sqlx::query_scalar("SELECT NOT EXISTS (SELECT 1 FROM template_builds WHERE template = $1 AND state <> 'error')")
            .bind(template.to_string())
            .fetch_one(&self.readers)
            .await
            .map_err(StoreError::query("look at a template's builds"))
    }
}

/// Refuses one more build than a project may have.
async fn admit(connection: &mut SqliteConnection, project: ProjectId, now_unix_ms: u64) -> Result<(), TemplateError> {
    let failed = StoreError::query("count builds");
    let held: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM template_builds WHERE state IN ('waiting', 'building') \
         AND template IN (SELECT id FROM sandbox_templates WHERE project = $1)",
    )
    .bind(project.to_string())
    .fetch_one(&mut *connection)
    .await
    .map_err(&failed)?;
    if held.unsigned_abs() < BUILDS_MAX {
        return Ok(());
    }
    let gone = sqlx::query(
        "DELETE FROM template_builds WHERE state = 'waiting' AND created_unix_ms < $2 \
         AND template IN (SELECT id FROM sandbox_templates WHERE project = $1)",
    )
    .bind(project.to_string())
    .bind(signed(now_unix_ms.saturating_sub(PATIENCE_MS)))
    .execute(&mut *connection)
    .await
    .map_err(&failed)?;
    if held.unsigned_abs() - gone.rows_affected() < BUILDS_MAX {
        return Ok(());
    }
    Err(TemplateError::TooManyBuilds)
}

async fn insert(connection: &mut SqliteConnection, row: &BuildRow) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO template_builds (id, template, state, plan, created_unix_ms) VALUES ($1, $2, $3, $4, $5)")
        .bind(row.id.to_string())
        .bind(row.template.to_string())
        .bind(row.state.as_str())
        .bind(to_json(&row.plan))
        .bind(signed(row.created_unix_ms))
        .execute(connection)
        .await
        .map_err(StoreError::query("note a build"))?;
    Ok(())
}

fn read(row: &SqliteRow) -> Result<BuildRow, StoreError> {
    let columns = Columns::new(row, "id")?;
    Ok(BuildRow {
        id: columns.parse("id")?,
        template: columns.parse("template")?,
        state: columns.word("state", &BuildState::ALL, BuildState::as_str)?,
        plan: columns.json("plan")?,
        reason: columns.optional_json("reason")?,
        snapshot: columns.optional_parse("snapshot")?,
        created_unix_ms: columns.unsigned("created_unix_ms")?,
        finished_unix_ms: columns.optional_unsigned("finished_unix_ms")?,
    })
}
