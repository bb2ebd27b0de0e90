//! Templates of sandboxes: their names, and which build each tag means.

use std::collections::HashSet;

use hearth_ids::{BuildId, ProjectId, SandboxId, TemplateId};
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use thiserror::Error;

use super::build::BUILDS_MAX;
use crate::{
    Store, StoreError,
    read::{Columns, signed},
};

/// The tag that is meant where none is named.
pub const DEFAULT_TAG: &str = "default";
/// Templates that a project may have.
pub const TEMPLATES_MAX: u64 = 1_000;
/// Tags that a template may have: each may keep a snapshot.
pub const TEMPLATE_TAGS_MAX: usize = 100;

/// A template as it is stored. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateRow {
    /// Its identity.
    pub id: TemplateId,
    /// Whose it is.
    pub project: ProjectId,
    /// Whether others may make sandboxes of it.
    pub public: bool,
    /// The sandbox that its first snapshot is of, if it is made of snapshots.
    pub sandbox: Option<SandboxId>,
    /// When it was made.
    pub created_unix_ms: u64,
    /// When it was last built or changed.
    pub updated_unix_ms: u64,
    /// When a sandbox was last made of it.
    pub last_unix_ms: Option<u64>,
    /// How many sandboxes were.
    pub spawned: u64,
    /// What it is called in its project, in order.
    pub names: Vec<String>,
}

/// A template to be inserted.
#[derive(Debug, Clone)]
pub struct NewTemplate {
    /// Its identity.
    pub id: TemplateId,
    /// Whose it is.
    pub project: ProjectId,
    /// What it is called, if it is called anything.
    pub name: Option<String>,
    /// Whether others may make sandboxes of it.
    pub public: bool,
    /// The sandbox that its first snapshot is of, if it is made of snapshots.
    pub sandbox: Option<SandboxId>,
    /// Now.
    pub created_unix_ms: u64,
}

/// What a tag means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRow {
    /// The tag.
    pub tag: String,
    /// Which build.
    pub build: BuildId,
    /// Since when, in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
}

/// Why a template was not made or changed.
#[derive(Debug, Error)]
pub enum TemplateError {
    /// The project has too many.
    #[error("the project has {TEMPLATES_MAX} templates already; delete some first")]
    TooMany,
    /// The name is that of the other kind: a snapshot of a sandbox, or a template that is built.
    #[error("{name:?} is {is}; take another name, or delete it first")]
    OtherKind {
        /// The name.
        name: String,
        /// What it names.
        is: &'static str,
    },
    /// The project has too many builds that are not over.
    #[error(
        "the project has {BUILDS_MAX} builds that wait or are under way; let some end first, or delete their templates"
    )]
    TooManyBuilds,
    /// The template would have too many tags.
    #[error("the template would have more than {TEMPLATE_TAGS_MAX} tags; take some off first")]
    TooManyTags,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// The template of this name in its project: the one that is there, or this new one. One without a name is new. Snapshots of
    /// sandboxes and templates that are built have no names in common.
    pub async fn upsert_template(&self, new: &NewTemplate) -> Result<TemplateRow, TemplateError> {
        let failed = StoreError::query("make a template");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        let id = upsert(&mut transaction, new).await?;
        transaction.commit().await.map_err(&failed)?;
        Ok(self.written_template(id).await?)
    }

    /// A template that was written just now.
    pub(super) async fn written_template(&self, id: TemplateId) -> Result<TemplateRow, StoreError> {
        let row = self.template_on(id, &self.writer).await?;
        row.ok_or_else(|| StoreError::query("make a template")(sqlx::Error::RowNotFound))
    }

    /// The template of an ID.
    pub async fn template(&self, id: TemplateId) -> Result<Option<TemplateRow>, StoreError> {
        self.template_on(id, &self.readers).await
    }

    async fn template_on(&self, id: TemplateId, pool: &sqlx::SqlitePool) -> Result<Option<TemplateRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM sandbox_templates WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(pool)
            .await
            .map_err(StoreError::query("read a template"))?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(TemplateRow {
            names: names_of(pool, id).await?,
            ..read(&row)?
        }))
    }

    /// The template of this name in a project.
    pub async fn template_named(&self, project: ProjectId, name: &str) -> Result<Option<TemplateRow>, StoreError> {
        let id: Option<String> =
            sqlx::query_scalar("SELECT template FROM template_names WHERE project = $1 AND name = $2")
                .bind(project.to_string())
                .bind(name)
                .fetch_optional(&self.readers)
                .await
                .map_err(StoreError::query("look up a template"))?;
        match id.and_then(|id| id.parse().ok()) {
            Some(id) => self.template(id).await,
            None => Ok(None),
        }
    }

    /// Templates of a project, the oldest first; at most [`TEMPLATES_MAX`].
    pub async fn templates_of(&self, project: ProjectId) -> Result<Vec<TemplateRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM sandbox_templates WHERE project = $1 ORDER BY id")
            .bind(project.to_string())
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("list templates"))?;
        let mut templates = Vec::with_capacity(rows.len());
        for row in &rows {
            let row = read(row)?;
            templates.push(TemplateRow {
                names: names_of(&self.readers, row.id).await?,
                ..row
            });
        }
        Ok(templates)
    }

    /// Says whether others may make sandboxes of a template.
    pub async fn publish_template(&self, id: TemplateId, public: bool, now_unix_ms: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE sandbox_templates SET public = $2, updated_unix_ms = $3 WHERE id = $1")
            .bind(id.to_string())
            .bind(public)
            .bind(signed(now_unix_ms))
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("change a template"))?;
        Ok(())
    }

    /// Counts a sandbox that was made of a template.
    pub async fn note_template_used(&self, id: TemplateId, now_unix_ms: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE sandbox_templates SET spawned = spawned + 1, last_unix_ms = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(signed(now_unix_ms))
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("count a template's sandboxes"))?;
        Ok(())
    }

    /// Forgets a template, with its names, tags and builds. The snapshots of these are to be removed before.
    pub async fn remove_template(&self, id: TemplateId) -> Result<(), StoreError> {
        let failed = StoreError::query("remove a template");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        for sql in [
            "DELETE FROM template_build_logs WHERE build IN (SELECT id FROM template_builds WHERE template = $1)",
            "DELETE FROM template_builds WHERE template = $1",
            "DELETE FROM template_tags WHERE template = $1",
            "DELETE FROM template_names WHERE template = $1",
            "DELETE FROM sandbox_templates WHERE id = $1",
        ] {
            sqlx::query(sql)
                .bind(id.to_string())
                .execute(&mut *transaction)
                .await
                .map_err(&failed)?;
        }
        transaction.commit().await.map_err(&failed)
    }

    /// Has tags of a template mean a build from now on. Refuses more than [`TEMPLATE_TAGS_MAX`] of them.
    pub async fn tag_build(
        &self,
        template: TemplateId,
        build: BuildId,
        tags: &[String],
        now_unix_ms: u64,
    ) -> Result<(), TemplateError> {
        let failed = StoreError::query("tag a build");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        tag(&mut transaction, template, build, tags, now_unix_ms).await?;
        Ok(transaction.commit().await.map_err(&failed)?)
    }

    /// Takes tags off a template. Those that it has not are no error.
    pub async fn untag(&self, template: TemplateId, tags: &[String]) -> Result<(), StoreError> {
        for tag in tags {
            sqlx::query("DELETE FROM template_tags WHERE template = $1 AND tag = $2")
                .bind(template.to_string())
                .bind(tag)
                .execute(&self.writer)
                .await
                .map_err(StoreError::query("take a tag off a template"))?;
        }
        Ok(())
    }

    /// The tags of a template, by name.
    pub async fn tags(&self, template: TemplateId) -> Result<Vec<TagRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM template_tags WHERE template = $1 ORDER BY tag")
            .bind(template.to_string())
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("list a template's tags"))?;
        let read = |row| {
            let columns = Columns::new(row, "tag")?;
            Ok(TagRow {
                tag: columns.get("tag")?,
                build: columns.parse("build")?,
                created_unix_ms: columns.unsigned("created_unix_ms")?,
            })
        };
        rows.iter().map(read).collect()
    }
}

/// The template of this name in its project, which is made if there is none, within a transaction of the caller's.
pub(super) async fn upsert(connection: &mut SqliteConnection, new: &NewTemplate) -> Result<TemplateId, TemplateError> {
    let there = sqlx::query(
        "SELECT id, sandbox IS NOT NULL AS is_snapshot FROM sandbox_templates \
         WHERE id = (SELECT template FROM template_names WHERE project = $1 AND name = $2)",
    )
    .bind(new.project.to_string())
    .bind(new.name.as_deref())
    .fetch_optional(&mut *connection)
    .await
    .map_err(StoreError::query("make a template"))?;
    let Some(row) = there else {
        return insert(connection, new).await;
    };
    let columns = Columns::new(&row, "id")?;
    let is_snapshot: bool = columns.get("is_snapshot")?;
    if is_snapshot == new.sandbox.is_some() {
        return Ok(columns.parse("id")?);
    }
    Err(TemplateError::OtherKind {
        name: new.name.clone().unwrap_or_default(),
        is: if is_snapshot {
            "a snapshot of a sandbox"
        } else {
            "a template that is built"
        },
    })
}

async fn insert(connection: &mut SqliteConnection, new: &NewTemplate) -> Result<TemplateId, TemplateError> {
    let failed = StoreError::query("make a template");
    let held: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sandbox_templates WHERE project = $1")
        .bind(new.project.to_string())
        .fetch_one(&mut *connection)
        .await
        .map_err(&failed)?;
    if held.unsigned_abs() >= TEMPLATES_MAX {
        return Err(TemplateError::TooMany);
    }
    sqlx::query(
        "INSERT INTO sandbox_templates (id, project, public, sandbox, created_unix_ms, updated_unix_ms, spawned) \
         VALUES ($1, $2, $3, $4, $5, $5, 0)",
    )
    .bind(new.id.to_string())
    .bind(new.project.to_string())
    .bind(new.public)
    .bind(new.sandbox.map(|id| id.to_string()))
    .bind(signed(new.created_unix_ms))
    .execute(&mut *connection)
    .await
    .map_err(&failed)?;
    let Some(name) = &new.name else {
        return Ok(new.id);
    };
    sqlx::query("INSERT INTO template_names (project, name, template) VALUES ($1, $2, $3)")
        .bind(new.project.to_string())
        .bind(name)
        .bind(new.id.to_string())
        .execute(&mut *connection)
        .await
        .map_err(&failed)?;
    Ok(new.id)
}

async fn names_of(pool: &sqlx::SqlitePool, id: TemplateId) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar("SELECT name FROM template_names WHERE template = $1 ORDER BY name")
        .bind(id.to_string())
        .fetch_all(pool)
        .await
        .map_err(StoreError::query("list a template's names"))
}

fn read(row: &SqliteRow) -> Result<TemplateRow, StoreError> {
    let columns = Columns::new(row, "id")?;
    Ok(TemplateRow {
        id: columns.parse("id")?,
        project: columns.parse("project")?,
        public: columns.get("public")?,
        sandbox: columns.optional_parse("sandbox")?,
        created_unix_ms: columns.unsigned("created_unix_ms")?,
        updated_unix_ms: columns.unsigned("updated_unix_ms")?,
        last_unix_ms: columns.optional_unsigned("last_unix_ms")?,
        spawned: columns.unsigned("spawned")?,
        names: Vec::new(),
    })
}

/// Refuses tags with which a template would have too many. Those that it has already cost nothing.
pub(super) async fn admit_tags(
    connection: &mut SqliteConnection,
    template: TemplateId,
    tags: &[String],
) -> Result<(), TemplateError> {
    let held: Vec<String> = sqlx::query_scalar("SELECT tag FROM template_tags WHERE template = $1")
        .bind(template.to_string())
        .fetch_all(connection)
        .await
        .map_err(StoreError::query("count a template's tags"))?;
    let held: HashSet<_> = held.iter().collect();
    let new: HashSet<_> = tags.iter().filter(|tag| !held.contains(tag)).collect();
    if new.is_empty() || held.len() + new.len() <= TEMPLATE_TAGS_MAX {
        return Ok(());
    }
    Err(TemplateError::TooManyTags)
}

/// Has tags of a template mean a build, within a transaction of the caller's.
pub(super) async fn tag(
    connection: &mut SqliteConnection,
    template: TemplateId,
    build: BuildId,
    tags: &[String],
    now_unix_ms: u64,
) -> Result<(), TemplateError> {
    let failed = StoreError::query("tag a build");
    admit_tags(connection, template, tags).await?;
    for tag in tags {
        sqlx::query(
            "INSERT INTO template_tags (template, tag, build, created_unix_ms) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (template, tag) DO UPDATE SET build = $3, created_unix_ms = $4",
        )
        .bind(template.to_string())
        .bind(tag)
        .bind(build.to_string())
        .bind(signed(now_unix_ms))
        .execute(&mut *connection)
        .await
        .map_err(&failed)?;
    }
    sqlx::query("UPDATE sandbox_templates SET updated_unix_ms = $2 WHERE id = $1")
        .bind(template.to_string())
        .bind(signed(now_unix_ms))
        .execute(&mut *connection)
        .await
        .map_err(&failed)?;
    Ok(())
}
