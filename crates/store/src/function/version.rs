//! Versions of functions. A version never changes.

use hearth_domain::{Traffic, VersionSpec};
use hearth_ids::FunctionId;
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{
    FunctionError, LIVE,
    alias::{alias, aliases, point},
    of_functions, touch,
};
use crate::{
    LambdaFacts, Store, StoreError,
    read::{Columns, signed, to_json},
};

/// Versions that a function may have.
pub const VERSIONS_MAX: u32 = 1_000;

/// A version as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRow {
    /// All about it.
    pub spec: VersionSpec,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_unix_ms: u64,
}

impl Store {
    /// Adds a version, whose number is the next, and lets `live` lead to it if `live` is told to, or leads nowhere yet.
    /// What is noted of it comes with it. Gives the version as stored.
    pub async fn insert_version(
        &self,
        spec: VersionSpec,
        live: bool,
        noted: &LambdaFacts,
        now_unix_ms: u64,
    ) -> Result<VersionRow, FunctionError> {
        let failed = StoreError::query("insert a version");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        let row = insert(&mut transaction, spec, live, noted, now_unix_ms).await?;
        transaction.commit().await.map_err(&failed)?;
        self.settle().await?;
        Ok(row)
    }

    /// Removes a version that no alias leads to.
    pub async fn remove_version(
        &self,
        function: FunctionId,
        number: u32,
        now_unix_ms: u64,
    ) -> Result<(), FunctionError> {
        let failed = StoreError::query("remove a version");
        let id = function.to_string();
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        touch(&mut transaction, &id, now_unix_ms).await?;
        for alias in aliases(&mut transaction, &id).await? {
            if alias.traffic.shares().iter().any(|share| share.version == number) {
                return Err(FunctionError::InUse {
                    version: number,
                    alias: alias.name,
                });
            }
        }
        let removed = sqlx::query("DELETE FROM function_versions WHERE function = $1 AND number = $2")
            .bind(&id)
            .bind(i64::from(number))
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        if removed.rows_affected() == 0 {
            return Err(FunctionError::NoVersion(number));
        }
        sqlx::query("DELETE FROM lambda_facts WHERE function = $1 AND number = $2")
            .bind(&id)
            .bind(i64::from(number))
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        transaction.commit().await.map_err(failed)?;
        self.settle().await?;
        Ok(())
    }

    /// One version.
    pub async fn version(&self, function: FunctionId, number: u32) -> Result<Option<VersionRow>, StoreError> {
        let row = sqlx::query("SELECT * FROM function_versions WHERE function = $1 AND number = $2")
            .bind(function.to_string())
            .bind(i64::from(number))
            .fetch_optional(&self.readers)
            .await
            .map_err(StoreError::query("read a version"))?;
        row.as_ref().map(read).transpose()
    }

    /// The newest version that is there of each of some functions.
    pub async fn newest_versions(&self, functions: &[FunctionId]) -> Result<Vec<VersionRow>, StoreError> {
        let rows = of_functions(
            "SELECT * FROM function_versions AS known WHERE number = \
             (SELECT MAX(number) FROM function_versions WHERE function = known.function) AND function",
            functions,
        )
        .build()
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::query("list newest versions"))?;
        rows.iter().map(read).collect()
    }

    /// Versions of a function, or of all, newest first.
    pub async fn versions(&self, function: Option<FunctionId>) -> Result<Vec<VersionRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM function_versions WHERE $1 IS NULL OR function = $1 ORDER BY function, number DESC",
        )
        .bind(function.map(|id| id.to_string()))
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::query("list versions"))?;
        rows.iter().map(read).collect()
    }
}

/// Inserts a version of a function that is there.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    mut spec: VersionSpec,
    live: bool,
    noted: &LambdaFacts,
    now_unix_ms: u64,
) -> Result<VersionRow, FunctionError> {
    let failed = StoreError::query("insert a version");
    let id = spec.function.to_string();
    let latest: Option<i64> = sqlx::query_scalar(
        "UPDATE functions SET latest = latest + 1, updated_unix_ms = $2 WHERE id = $1 RETURNING latest",
    )
    .bind(&id)
    .bind(signed(now_unix_ms))
    .fetch_optional(&mut *connection)
    .await
    .map_err(&failed)?;
    let latest = latest.ok_or(FunctionError::Gone)?;
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM function_versions WHERE function = $1")
        .bind(&id)
        .fetch_one(&mut *connection)
        .await
        .map_err(&failed)?;
    if count >= i64::from(VERSIONS_MAX) {
        return Err(FunctionError::TooMany);
    }
    spec.number = u32::try_from(latest).unwrap_or(u32::MAX);
    sqlx::query("INSERT INTO function_versions (function, number, spec, created_unix_ms) VALUES ($1, $2, $3, $4)")
        .bind(&id)
        .bind(latest)
        .bind(to_json(&spec))
        .bind(signed(now_unix_ms))
        .execute(&mut *connection)
        .await
        .map_err(&failed)?;
    noted.note_version(connection, spec.function, spec.number).await?;
    let leads = alias(connection, &id, LIVE).await?;
    if live || leads.is_none() {
        let traffic = Traffic::all_to(spec.number);
        point(connection, &id, LIVE, &traffic, None, now_unix_ms).await?;
    }
    Ok(VersionRow {
        spec,
        created_unix_ms: now_unix_ms,
    })
}

pub(super) fn read(row: &SqliteRow) -> Result<VersionRow, StoreError> {
    let columns = Columns::new(row, "function")?;
    Ok(VersionRow {
        spec: columns.json("spec")?,
        created_unix_ms: columns.unsigned("created_unix_ms")?,
    })
}
