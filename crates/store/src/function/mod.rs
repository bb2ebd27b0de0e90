//! Functions: what stays the same for all their versions, and all that is served of them.

mod alias;
mod version;

use hearth_domain::{FunctionSpec, QuotaExceeded, VersionSpec};
use hearth_ids::{FunctionId, ProjectId};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection, sqlite::SqliteRow};
use thiserror::Error;

pub use alias::{AliasRow, LIVE, ROLLOUTS_MAX};
pub use version::{VERSIONS_MAX, VersionRow};

use crate::{
    LambdaFacts, ProjectRow, Store, StoreError,
    by_id::run_all,
    project,
    read::{Columns, signed, to_json},
};

/// A function as it is stored. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionRow {
    /// What stays the same for all versions.
    pub spec: FunctionSpec,
    /// Number of the newest version there ever was; 0 if there was none.
    pub latest: u32,
    /// When it was made.
    pub created_unix_ms: u64,
    /// When it, its aliases or its versions changed.
    pub updated_unix_ms: u64,
}

/// All that is served, as it was at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    /// Projects, in no order.
    pub projects: Vec<ProjectRow>,
    /// Functions of all projects, in no order.
    pub functions: Vec<FunctionRow>,
    /// Their versions, by function.
    pub versions: Vec<VersionRow>,
    /// Their aliases, by function.
    pub aliases: Vec<AliasRow>,
}

/// Why a function was not changed.
#[derive(Debug, Error)]
pub enum FunctionError {
    /// Another one has the name, or one that is spelt nearly the same.
    #[error("function {holder:?} has this name, or one with the same host name; choose another")]
    NameTaken {
        /// Whose it is.
        holder: String,
    },
    /// There is no such function any more, or no such project.
    #[error("the function, or its project, is gone")]
    Gone,
    /// An alias still leads to the version.
    #[error("alias {alias:?} leads to version {version}; let it lead elsewhere first")]
    InUse {
        /// Which version.
        version: u32,
        /// Which alias.
        alias: String,
    },
    /// There is no such version.
    #[error("there is no version {0}")]
    NoVersion(u32),
    /// The project's quota.
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// It has as many versions as it may.
    #[error("the function has {VERSIONS_MAX} versions; remove some")]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Inserts a function and its first version, to which `live` leads, with what is noted of them: all or nothing. Gives
    /// the version as stored.
    pub async fn insert_function(
        &self,
        spec: &FunctionSpec,
        first: VersionSpec,
        noted: &LambdaFacts,
        now_unix_ms: u64,
    ) -> Result<VersionRow, FunctionError> {
        let failed = StoreError::query("insert a function");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        if !insert(&mut transaction, spec, now_unix_ms).await? {
            drop(transaction);
            return Err(match self.function_by_label(spec.project, &spec.name.label()).await? {
                Some(row) => FunctionError::NameTaken {
                    holder: row.spec.name.into(),
                },
                None => FunctionError::Gone,
            });
        }
        noted.note_function(&mut transaction, spec.id).await?;
        let first = version::insert(&mut transaction, first, true, noted, now_unix_ms).await?;
        transaction.commit().await.map_err(failed)?;
        self.settle().await?;
        Ok(first)
    }

    /// Changes what stays the same for all versions. The name and the project cannot change.
    pub async fn update_function(&self, spec: &FunctionSpec, now_unix_ms: u64) -> Result<(), FunctionError> {
        let updated = sqlx::query("UPDATE functions SET spec = $2, updated_unix_ms = $3 WHERE id = $1")
            .bind(spec.id.to_string())
            .bind(to_json(spec))
            .bind(signed(now_unix_ms))
            .execute(&self.writer)
            .await
            .map_err(StoreError::query("change a function"))?;
        if updated.rows_affected() == 0 {
            return Err(FunctionError::Gone);
        }
        self.settle().await?;
        Ok(())
    }

    /// Removes a function with its versions, aliases, triggers and kept calls; says whether there was one.
    pub async fn remove_function(&self, function: FunctionId) -> Result<bool, StoreError> {
        let failed = StoreError::query("remove a function");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        let statements = [
            "DELETE FROM function_versions WHERE function = $1",
            "DELETE FROM function_aliases WHERE function = $1",
            "DELETE FROM function_rollouts WHERE function = $1",
            "DELETE FROM invocations WHERE function = $1",
            "DELETE FROM triggers WHERE function = $1",
            "DELETE FROM lambda_facts WHERE function = $1",
            "DELETE FROM call_runs WHERE function = $1",
        ];
        run_all(&mut transaction, "remove a function", function, &statements).await?;
        let removed = sqlx::query("DELETE FROM functions WHERE id = $1")
            .bind(function.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        transaction.commit().await.map_err(failed)?;
        self.settle().await?;
        Ok(removed.rows_affected() > 0)
    }

    /// The function of an ID.
    pub async fn function(&self, id: FunctionId) -> Result<Option<FunctionRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM functions WHERE id = $1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await
            .map_err(StoreError::query("read a function"))?;
        row.as_ref().map(read_function).transpose()
    }

    /// The function of a project whose name has this label.
    pub async fn function_by_label(&self, project: ProjectId, label: &str) -> Result<Option<FunctionRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM functions WHERE project = $1 AND label = $2")
            .bind(project.to_string())
            .bind(label)
            .fetch_optional(&self.readers)
            .await
            .map_err(StoreError::query("look up a function"))?;
        row.as_ref().map(read_function).transpose()
    }

    /// Functions by their labels, of one project or of all, after a label.
    pub async fn functions(
        &self,
        project: Option<ProjectId>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<FunctionRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM functions WHERE ($1 IS NULL OR project = $1) AND ($2 IS NULL OR label > $2) \
             ORDER BY label, id LIMIT $3",
        )
        .bind(project.map(|id| id.to_string()))
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::query("list functions"))?;
        rows.iter().map(read_function).collect()
    }

    /// How many functions a project has.
    pub async fn count_functions(&self, project: ProjectId) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM functions WHERE project = $1")
            .bind(project.to_string())
            .fetch_one(&self.readers)
            .await
            .map_err(StoreError::query("count functions"))?;
        Ok(count.unsigned_abs())
    }

    /// All that is served. Read in one transaction: an alias leads to a version that is there.
    pub async fn served(&self) -> Result<Served, StoreError> {
        let failed = StoreError::query("read what is served");
        let mut snapshot = self.readers.begin().await.map_err(&failed)?;
        let mut rows = async |sql: &'static str| sqlx::query(sql).fetch_all(&mut *snapshot).await.map_err(&failed);
        let projects = rows("SELECT * FROM projects").await?;
        let functions = rows("SELECT * FROM functions").await?;
        let versions = rows("SELECT * FROM function_versions ORDER BY function, number DESC").await?;
        let aliases = rows("SELECT * FROM function_aliases ORDER BY function, name").await?;
        Ok(Served {
            projects: projects.iter().map(project::read).collect::<Result<_, _>>()?,
            functions: functions.iter().map(read_function).collect::<Result<_, _>>()?,
            versions: versions.iter().map(version::read).collect::<Result<_, _>>()?,
            aliases: aliases.iter().map(alias::read).collect::<Result<_, _>>()?,
        })
    }

    /// All functions.
    pub async fn all_functions(&self) -> Result<Vec<FunctionRow>, StoreError> {
        let rows = sqlx::query("SELECT * FROM functions")
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("list functions"))?;
        rows.iter().map(read_function).collect()
    }
}

/// Inserts a function, if its project is there and has neither one of that name nor too many; says whether the first two
/// hold.
async fn insert(
    connection: &mut SqliteConnection,
    spec: &FunctionSpec,
    now_unix_ms: u64,
) -> Result<bool, FunctionError> {
    let failed = StoreError::query("insert a function");
    let inserted = sqlx::query(
        "INSERT INTO functions (id, project, name, label, spec, latest, created_unix_ms, updated_unix_ms) \
         SELECT $1, $2, $3, $4, $5, 0, $6, $6 WHERE EXISTS (SELECT 1 FROM projects WHERE id = $2) \
         ON CONFLICT DO NOTHING",
    )
    .bind(spec.id.to_string())
    .bind(spec.project.to_string())
    .bind(spec.name.as_str())
    .bind(spec.name.label())
    .bind(to_json(spec))
    .bind(signed(now_unix_ms))
    .execute(&mut *connection)
    .await
    .map_err(&failed)?;
    if inserted.rows_affected() == 0 {
        return Ok(false);
    }
    // It is counted with the others: one too many is undone.
    let held: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM functions WHERE project = $1")
        .bind(spec.project.to_string())
        .fetch_one(&mut *connection)
        .await
        .map_err(&failed)?;
    let quotas = project::quotas(connection, spec.project).await?;
    quotas.admit_function(held.unsigned_abs().saturating_sub(1))?;
    Ok(true)
}

/// Notes that a function changed; fails if it is gone.
async fn touch(connection: &mut SqliteConnection, id: &str, now_unix_ms: u64) -> Result<(), FunctionError> {
    let touched = sqlx::query("UPDATE functions SET updated_unix_ms = $2 WHERE id = $1")
        .bind(id)
        .bind(signed(now_unix_ms))
        .execute(connection)
        .await
        .map_err(StoreError::query("change a function"))?;
    if touched.rows_affected() == 0 {
        return Err(FunctionError::Gone);
    }
    Ok(())
}

/// A query on the rows of some functions: `beginning` ends with the column that has to be one of their IDs. Not of more
/// functions than a page has.
pub(crate) fn of_functions(beginning: &'static str, functions: &[FunctionId]) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::new(beginning);
    // Of no function there is no row.
    query.push(" IN (NULL");
    for function in functions {
        query.push(", ").push_bind(function.to_string());
    }
    query.push(")");
    query
}

fn read_function(row: &SqliteRow) -> Result<FunctionRow, StoreError> {
    let columns = Columns::new(row, "id")?;
    Ok(FunctionRow {
        spec: columns.json("spec")?,
        latest: u32::try_from(columns.unsigned("latest")?).unwrap_or(u32::MAX),
        created_unix_ms: columns.unsigned("created_unix_ms")?,
        updated_unix_ms: columns.unsigned("updated_unix_ms")?,
    })
}
