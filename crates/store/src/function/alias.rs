//! Aliases of functions: where calls go.

use hearth_domain::Traffic;
use hearth_ids::FunctionId;
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use super::{FunctionError, of_functions, touch};
use crate::{
    Store, StoreError,
    read::{Columns, signed, to_json},
};

/// The alias that is called when nobody says which.
pub const LIVE: &str = "live";
/// Steps of `live` that are remembered; the oldest go first.
pub const ROLLOUTS_MAX: u64 = 100;

/// An alias as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasRow {
    /// Of which function.
    pub function: FunctionId,
    /// Its name.
    pub name: String,
    /// Where it leads.
    pub traffic: Traffic,
    /// What its maker noted of it.
    pub description: String,
    /// When it changed, in milliseconds since the Unix epoch.
    pub updated_unix_ms: u64,
}

impl Store {
    /// Lets an alias lead to versions, which must be there. Idempotent. A step of `live` is remembered. A description
    /// that is absent stays as it was.
    pub async fn set_alias(
        &self,
        function: FunctionId,
        name: &str,
        traffic: &Traffic,
        description: Option<&str>,
        now_unix_ms: u64,
    ) -> Result<(), FunctionError> {
        let failed = StoreError::query("change an alias");
        let id = function.to_string();
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        touch(&mut transaction, &id, now_unix_ms).await?;
        for share in traffic.shares() {
            let found: i64 =
                sqlx::query_scalar("SELECT COUNT(*) FROM function_versions WHERE function = $1 AND number = $2")
                    .bind(&id)
                    .bind(i64::from(share.version))
                    .fetch_one(&mut *transaction)
                    .await
                    .map_err(&failed)?;
            if found == 0 {
                return Err(FunctionError::NoVersion(share.version));
            }
        }
        point(&mut transaction, &id, name, traffic, description, now_unix_ms).await?;
        transaction.commit().await.map_err(failed)?;
        self.settle().await?;
        Ok(())
    }

    /// Removes an alias; says whether there was one.
    pub async fn remove_alias(
        &self,
        function: FunctionId,
        name: &str,
        now_unix_ms: u64,
    ) -> Result<bool, FunctionError> {
        let failed = StoreError::query("remove an alias");
        let id = function.to_string();
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        touch(&mut transaction, &id, now_unix_ms).await?;
        let removed = sqlx::query("DELETE FROM function_aliases WHERE function = $1 AND name = $2")
            .bind(&id)
            .bind(name)
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        transaction.commit().await.map_err(failed)?;
        self.settle().await?;
        Ok(removed.rows_affected() > 0)
    }

    /// Aliases of a function, or of all, by name.
    pub async fn aliases(&self, function: Option<FunctionId>) -> Result<Vec<AliasRow>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM function_aliases WHERE $1 IS NULL OR function = $1 ORDER BY function, name")
                .bind(function.map(|id| id.to_string()))
                .fetch_all(&self.readers)
                .await
                .map_err(StoreError::query("list aliases"))?;
        rows.iter().map(read).collect()
    }

    /// The aliases `live` of some functions, those that have one.
    pub async fn live_aliases(&self, functions: &[FunctionId]) -> Result<Vec<AliasRow>, StoreError> {
        let rows = of_functions(
            "SELECT * FROM function_aliases WHERE name = 'live' AND function",
            functions,
        )
        .build()
        .fetch_all(&self.readers)
        .await
        .map_err(StoreError::query("list aliases"))?;
        rows.iter().map(read).collect()
    }

    /// What `live` led to, newest first; the first is what it leads to now.
    pub async fn rollouts(&self, function: FunctionId) -> Result<Vec<(Traffic, u64)>, StoreError> {
        let rows = sqlx::query("SELECT * FROM function_rollouts WHERE function = $1 ORDER BY sequence DESC")
            .bind(function.to_string())
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("list rollouts"))?;
        rows.iter()
            .map(|row| {
                let columns = Columns::new(row, "function")?;
                Ok((columns.json("traffic")?, columns.unsigned("at_unix_ms")?))
            })
            .collect()
    }
}

pub(super) async fn aliases(connection: &mut SqliteConnection, id: &str) -> Result<Vec<AliasRow>, StoreError> {
    let rows = sqlx::query("SELECT * FROM function_aliases WHERE function = $1")
        .bind(id)
        .fetch_all(connection)
        .await
        .map_err(StoreError::query("list aliases"))?;
    rows.iter().map(read).collect()
}

pub(super) async fn alias(
    connection: &mut SqliteConnection,
    id: &str,
    name: &str,
) -> Result<Option<AliasRow>, StoreError> {
    Ok(aliases(connection, id)
        .await?
        .into_iter()
        .find(|alias| alias.name == name))
}

pub(super) async fn point(
    connection: &mut SqliteConnection,
    id: &str,
    name: &str,
    traffic: &Traffic,
    description: Option<&str>,
    now_unix_ms: u64,
) -> Result<(), StoreError> {
    let failed = StoreError::query("change an alias");
    let before = alias(connection, id, name).await?;
    sqlx::query(
        "INSERT INTO function_aliases (function, name, traffic, description, updated_unix_ms) \
         VALUES ($1, $2, $3, COALESCE($4, ''), $5) ON CONFLICT (function, name) DO UPDATE SET \
         traffic = $3, description = COALESCE($4, function_aliases.description), updated_unix_ms = $5",
    )
    .bind(id)
    .bind(name)
    .bind(to_json(traffic))
    .bind(description)
    .bind(signed(now_unix_ms))
    .execute(&mut *connection)
    .await
    .map_err(&failed)?;
    if name != LIVE || before.is_some_and(|before| before.traffic == *traffic) {
        return Ok(());
    }
    sqlx::query("INSERT INTO function_rollouts (function, traffic, at_unix_ms) VALUES ($1, $2, $3)")
        .bind(id)
        .bind(to_json(traffic))
        .bind(signed(now_unix_ms))
        .execute(&mut *connection)
        .await
        .map_err(&failed)?;
    sqlx::query(
        "DELETE FROM function_rollouts WHERE function = $1 AND sequence <= \
         (SELECT sequence FROM function_rollouts WHERE function = $1 ORDER BY sequence DESC LIMIT 1 OFFSET $2)",
    )
    .bind(id)
    .bind(signed(ROLLOUTS_MAX))
    .execute(connection)
    .await
    .map_err(&failed)?;
    Ok(())
}

pub(super) fn read(row: &SqliteRow) -> Result<AliasRow, StoreError> {
    let columns = Columns::new(row, "function")?;
    Ok(AliasRow {
        function: columns.parse("function")?,
        name: columns.get("name")?,
        traffic: columns.json("traffic")?,
        description: columns.get("description")?,
        updated_unix_ms: columns.unsigned("updated_unix_ms")?,
    })
}
