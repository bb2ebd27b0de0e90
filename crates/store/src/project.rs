//! Projects.

use hearth_domain::{Holding, ProjectName, QuotaExceeded, Quotas};
use hearth_ids::ProjectId;
use serde::{Deserialize, Serialize};
use sqlx::{SqliteConnection, sqlite::SqliteRow};
use thiserror::Error;

use crate::{
    InsertError, Store, StoreError,
    read::{Columns, signed, to_json},
    snapshot,
};

/// A project as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectRow {
    /// Its identity.
    pub id: ProjectId,
    /// Its name.
    pub name: ProjectName,
    /// What it may hold.
    pub quotas: Quotas,
    /// Snapshots that it may have; `None` is without bound.
    pub snapshots_max: Option<u32>,
    /// When it was made, in milliseconds since the Unix epoch; 0 for the one that was always there.
    pub created_unix_ms: u64,
}

/// Why a project was not made, renamed or removed.
#[derive(Debug, Error)]
pub enum ProjectError {
    /// Another one has the name.
    #[error("there is a project {0} already; choose another name")]
    NameTaken(ProjectName),
    /// It owns things.
    #[error("project {name} still owns {what}; remove them first")]
    InUse {
        /// Its name.
        name: ProjectName,
        /// What, in words.
        what: String,
    },
    /// It is not there.
    #[error("there is no such project")]
    NotFound,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A project's quotas as they are stored, in one JSON object.
#[derive(Debug, Default, Serialize, Deserialize)]
struct StoredQuotas {
    #[serde(flatten)]
    quotas: Quotas,
    #[serde(default)]
    snapshots: Option<u32>,
}

/// The tables whose rows belong to projects, and what their rows are called.
const OWNED: [(&str, &str); 6] = [
    ("SELECT COUNT(*) FROM machines WHERE project = $1", "machines"),
    ("SELECT COUNT(*) FROM snapshots WHERE project = $1", "snapshots"),
    ("SELECT COUNT(*) FROM sandbox_templates WHERE project = $1", "templates"),
    ("SELECT COUNT(*) FROM functions WHERE project = $1", "functions"),
    ("SELECT COUNT(*) FROM secrets WHERE project = $1", "secrets"),
    ("SELECT COUNT(*) FROM volumes WHERE project = $1", "volumes"),
];

impl Store {
    /// All projects, by name.
    pub async fn projects(&self) -> Result<Vec<ProjectRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM projects ORDER BY name")
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("list projects"))?;
        rows.iter().map(read).collect()
    }

    /// The project of an ID.
    pub async fn project(&self, id: ProjectId) -> Result<Option<ProjectRow>, StoreError> {
        self.project_where("SELECT * FROM projects WHERE id = $1", &id.to_string())
            .await
    }

    /// The project of a name or an ID.
    pub async fn find_project(&self, text: &str) -> Result<Option<ProjectRow>, StoreError> {
        self.project_where("SELECT * FROM projects WHERE id = $1 OR name = $1", text)
            .await
    }

    async fn project_where(&self, sql: &'static str, text: &str) -> Result<Option<ProjectRow>, StoreError> {
        let row = sqlx::query(sql)
            .bind(text)
            .fetch_optional(&self.readers)
            .await
            .map_err(StoreError::query("read a project"))?;
        row.as_ref().map(read).transpose()
    }

    /// Makes a project.
    pub async fn insert_project(&self, project: &ProjectRow) -> Result<(), ProjectError> {
        let inserted = sqlx::query(
            "INSERT INTO projects (id, name, quotas, created_unix_ms) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(project.id.to_string())
        .bind(project.name.as_str())
        .bind(quotas_json(project.quotas, project.snapshots_max))
        .bind(signed(project.created_unix_ms))
        .execute(&self.writer)
        .await
        .map_err(StoreError::query("make a project"))?;
        if inserted.rows_affected() == 1 {
            Ok(())
        } else {
            Err(ProjectError::NameTaken(project.name.clone()))
        }
    }

    /// Sees to it that there is a project of this ID: one that was lost with an older store comes back under a name
    /// made of its ID.
    pub async fn ensure_project(&self, id: ProjectId, now_unix_ms: u64) -> Result<(), StoreError> {
        if self.project(id).await?.is_some() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO projects (id, name, quotas, created_unix_ms) VALUES ($1, $1, '{}', $2) ON CONFLICT DO NOTHING",
        )
        .bind(id.to_string())
        .bind(signed(now_unix_ms))
        .execute(&self.writer)
        .await
        .map_err(StoreError::query("bring back a project"))?;
        Ok(())
    }

    /// Changes what a project may hold. `false` if it is not there.
    pub async fn set_quotas(
        &self,
        id: ProjectId,
        quotas: &Quotas,
        snapshots_max: Option<u32>,
    ) -> Result<bool, StoreError> {
        let changed = sqlx::query("UPDATE projects SET quotas = $2 WHERE id = $1")
            .bind(id.to_string())
            .bind(quotas_json(*quotas, snapshots_max))
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("change a project"))?;
        Ok(changed.rows_affected() == 1)
    }

    /// Removes a project with its keys, unless it owns anything else.
    pub async fn remove_project(&self, id: ProjectId) -> Result<(), ProjectError> {
        let failed = StoreError::query("remove a project");
        let Some(project) = self.project(id).await? else {
            return Err(ProjectError::NotFound);
        };
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        let owned = owned(&mut transaction, id).await?;
        if !owned.is_empty() {
            return Err(ProjectError::InUse {
                name: project.name,
                what: owned.join(", "),
            });
        }
        for sql in [
            "DELETE FROM access_keys WHERE project = $1",
            "DELETE FROM projects WHERE id = $1",
        ] {
            let done = sqlx::query(sql).bind(id.to_string()).execute(&mut *transaction).await;
            done.map_err(|error| match error.as_database_error() {
                // A table that this one knows nothing of.
                Some(database) if database.is_foreign_key_violation() => ProjectError::InUse {
                    name: project.name.clone(),
                    what: "functions".to_owned(),
                },
                _ => failed(error).into(),
            })?;
        }
        transaction.commit().await.map_err(&failed)?;
        self.known_keys.forget_all();
        Ok(())
    }

    /// What a project's machines hold, at rest or not.
    pub async fn holding(&self, id: ProjectId) -> Result<Holding, StoreError> {
        let failed = StoreError::query("add up what a project holds");
        let mut connection = self.readers.acquire().await.map_err(failed)?;
        holding(&mut connection, id).await
    }
}

async fn owned(connection: &mut SqliteConnection, id: ProjectId) -> Result<Vec<String>, StoreError> {
    let mut owned = Vec::new();
    for (sql, what) in OWNED {
        let count: i64 = sqlx::query_scalar(sql)
            .bind(id.to_string())
            .fetch_one(&mut *connection)
            .await
            .map_err(StoreError::query("look at what a project owns"))?;
        if count > 0 {
            owned.push(format!("{count} {what}"));
        }
    }
    Ok(owned)
}

/// What a project's machines hold.
pub(crate) async fn holding(connection: &mut SqliteConnection, id: ProjectId) -> Result<Holding, StoreError> {
    let row = sqlx::query(
        "SELECT $1 AS id, COUNT(*) AS machines, COALESCE(SUM(vcpus), 0) AS vcpus, \
         COALESCE(SUM(memory_mib), 0) AS memory_mib FROM machines WHERE project = $1",
    )
    .bind(id.to_string())
    .fetch_one(connection)
    .await
    .map_err(StoreError::query("add up what a project holds"))?;
    let columns = Columns::new(&row, "id")?;
    Ok(Holding {
        machines: columns.unsigned("machines")?,
        vcpus: columns.unsigned("vcpus")?,
        memory_mib: columns.unsigned("memory_mib")?,
    })
}

fn quotas_json(quotas: Quotas, snapshots: Option<u32>) -> String {
    to_json(&StoredQuotas { quotas, snapshots })
}

/// What a project may hold; nothing is bounded for one that is not there, which the database then refuses.
pub(crate) async fn quotas(connection: &mut SqliteConnection, id: ProjectId) -> Result<Quotas, StoreError> {
    let row = in_transaction(connection, id).await?;
    Ok(row.map(|project| project.quotas).unwrap_or_default())
}

/// Refuses one more snapshot than the project may have.
pub(crate) async fn admit_snapshot(connection: &mut SqliteConnection, id: ProjectId) -> Result<(), InsertError> {
    let row = in_transaction(connection, id).await?;
    let Some(limit) = row.and_then(|project| project.snapshots_max) else {
        return Ok(());
    };
    let (limit, held) = (u64::from(limit), snapshot::held(connection, id).await?);
    if held < limit {
        return Ok(());
    }
    Err(InsertError::Quota(QuotaExceeded {
        what: "snapshots",
        field: "snapshots",
        limit,
        held,
        wanted: 1,
    }))
}

async fn in_transaction(connection: &mut SqliteConnection, id: ProjectId) -> Result<Option<ProjectRow>, StoreError> {
    let row = sqlx::query("SELECT * FROM projects WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await
        .map_err(StoreError::query("read a project"))?;
    row.as_ref().map(read).transpose()
}

pub(crate) fn read(row: &SqliteRow) -> Result<ProjectRow, StoreError> {
    let columns = Columns::new(row, "id")?;
    let StoredQuotas {
        quotas,
        snapshots: snapshots_max,
    } = columns.json("quotas")?;
    Ok(ProjectRow {
        id: columns.parse("id")?,
        name: columns.parse("name")?,
        quotas,
        snapshots_max,
        created_unix_ms: columns.unsigned("created_unix_ms")?,
    })
}
