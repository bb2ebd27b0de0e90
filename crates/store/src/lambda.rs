//! What the Lambda API was told of functions and Hearth has no field for. The API server alone knows what it means.

use std::collections::{BTreeMap, HashMap};

use hearth_ids::FunctionId;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use crate::{
    Store, StoreError,
    function::of_functions,
    read::{Columns, signed, to_json},
};

/// The number under which facts of the function itself are kept; versions count from 1.
pub const OF_FUNCTION: u32 = 0;

/// What is noted of a version from its first moment, and of its function if that is made with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LambdaFacts {
    function: Option<String>,
    version: Option<String>,
}

impl LambdaFacts {
    /// Facts of a new version, and of its function if that may be new.
    pub fn new<F: Serialize, V: Serialize>(function: Option<&F>, version: &V) -> Self {
        Self {
            function: function.map(to_json),
            version: Some(to_json(version)),
        }
    }

    /// Notes those of the function.
    pub(crate) async fn note_function(
        &self,
        connection: &mut SqliteConnection,
        function: FunctionId,
    ) -> Result<(), StoreError> {
        note(connection, function, OF_FUNCTION, self.function.as_deref()).await
    }

    /// Notes those of the version.
    pub(crate) async fn note_version(
        &self,
        connection: &mut SqliteConnection,
        function: FunctionId,
        number: u32,
    ) -> Result<(), StoreError> {
        note(connection, function, number, self.version.as_deref()).await
    }
}

impl Store {
    /// What was noted of a version, or of the function itself ([`OF_FUNCTION`]).
    pub async fn lambda_facts<T: DeserializeOwned>(
        &self,
        function: FunctionId,
        number: u32,
    ) -> Result<Option<T>, StoreError> {
        let row = sqlx::query("SELECT * FROM lambda_facts WHERE function = $1 AND number = $2")
            .bind(function.to_string())
            .bind(i64::from(number))
            .fetch_optional(&self.readers)
            .await
            .map_err(StoreError::query("read what the Lambda API noted"))?;
        row.as_ref()
            .map(|row| Columns::new(row, "function")?.json("facts"))
            .transpose()
    }

    /// What was noted of all versions of a function, by their numbers.
    pub async fn lambda_facts_of_versions<T: DeserializeOwned>(
        &self,
        function: FunctionId,
    ) -> Result<BTreeMap<u32, T>, StoreError> {
        let rows = sqlx::query("SELECT * FROM lambda_facts WHERE function = $1 AND number > $2")
            .bind(function.to_string())
            .bind(i64::from(OF_FUNCTION))
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("read what the Lambda API noted"))?;
        rows.iter()
            .map(|row| {
                let columns = Columns::new(row, "function")?;
                let number = u32::try_from(columns.unsigned("number")?).unwrap_or(u32::MAX);
                Ok((number, columns.json("facts")?))
            })
            .collect()
    }

    /// What was noted of some functions themselves.
    pub async fn lambda_facts_of_functions<T: DeserializeOwned>(
        &self,
        functions: &[FunctionId],
    ) -> Result<HashMap<FunctionId, T>, StoreError> {
        self.facts_where(of_functions(
            "SELECT * FROM lambda_facts WHERE number = 0 AND function",
            functions,
        ))
        .await
    }

    /// What was noted of the newest version that is there of each of some functions.
    pub async fn lambda_facts_of_newest<T: DeserializeOwned>(
        &self,
        functions: &[FunctionId],
    ) -> Result<HashMap<FunctionId, T>, StoreError> {
        self.facts_where(of_functions(
            "SELECT * FROM lambda_facts AS noted WHERE number = \
             (SELECT MAX(number) FROM function_versions WHERE function = noted.function) AND function",
            functions,
        ))
        .await
    }

    async fn facts_where<T: DeserializeOwned>(
        &self,
        mut query: QueryBuilder<Sqlite>,
    ) -> Result<HashMap<FunctionId, T>, StoreError> {
        let rows = query
            .build()
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("read what the Lambda API noted"))?;
        rows.iter()
            .map(|row| {
                let columns = Columns::new(row, "function")?;
                Ok((columns.parse("function")?, columns.json("facts")?))
            })
            .collect()
    }

    /// Notes facts of a version or of the function itself, in place of those before. Nothing is noted of what is gone.
    pub async fn set_lambda_facts<T: Serialize>(
        &self,
        function: FunctionId,
        number: u32,
        facts: &T,
        now_unix_ms: u64,
    ) -> Result<(), StoreError> {
        let failed = StoreError::query("note what the Lambda API was told");
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        let touched = sqlx::query("UPDATE functions SET updated_unix_ms = $2 WHERE id = $1")
            .bind(function.to_string())
            .bind(signed(now_unix_ms))
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        if touched.rows_affected() == 0 {
            return Ok(());
        }
        note(&mut transaction, function, number, Some(&to_json(facts))).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(())
    }
}

async fn note(
    connection: &mut SqliteConnection,
    function: FunctionId,
    number: u32,
    facts: Option<&str>,
) -> Result<(), StoreError> {
    let Some(facts) = facts else { return Ok(()) };
    sqlx::query(
        "INSERT INTO lambda_facts (function, number, facts) VALUES ($1, $2, $3) \
         ON CONFLICT (function, number) DO UPDATE SET facts = $3",
    )
    .bind(function.to_string())
    .bind(i64::from(number))
    .bind(facts)
    .execute(connection)
    .await
    .map_err(StoreError::query("note what the Lambda API was told"))?;
    Ok(())
}
