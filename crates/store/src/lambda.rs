//! What the Lambda API was told of functions and Hearth has no field for. The API server alone knows what it means.

use std::collections::BTreeMap;

use hearth_ids::FunctionId;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Store, StoreError,
    read::{Columns, signed, to_json},
};

/// The number under which facts of the function itself are kept; versions count from 1.
pub const OF_FUNCTION: u32 = 0;

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
        sqlx::query(
            "INSERT INTO lambda_facts (function, number, facts) VALUES ($1, $2, $3) \
             ON CONFLICT (function, number) DO UPDATE SET facts = $3",
        )
        .bind(function.to_string())
        .bind(i64::from(number))
        .bind(to_json(facts))
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(())
    }
}
