//! What is counted for whoever watches.

use crate::{InvocationState, Store, StoreError};

impl Store {
    /// How many calls are kept, by what they are at; those that there are none of are absent.
    pub async fn count_invocations(&self) -> Result<Vec<(InvocationState, u64)>, StoreError> {
        let counts: Vec<(String, i64)> = sqlx::query_as("SELECT state, COUNT(*) FROM invocations GROUP BY state")
            .fetch_all(&self.readers)
            .await
            .map_err(StoreError::query("count calls"))?;
        let known = counts.into_iter().filter_map(|(word, count)| {
            let state = InvocationState::ALL.into_iter().find(|state| state.as_str() == word)?;
            Some((state, u64::try_from(count).unwrap_or_default()))
        });
        Ok(known.collect())
    }
}
