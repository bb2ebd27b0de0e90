//! What is the same for all that has an ID: finding it as people name it, and changing all that is written of it.

use std::fmt::Display;

use hearth_ids::ProjectId;
use sqlx::{SqliteConnection, sqlite::SqliteRow};

use crate::{MachineRow, Store, StoreError};

/// What a text names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup<T = MachineRow> {
    /// One thing.
    One(Box<T>),
    /// None.
    None,
    /// More than one.
    Ambiguous,
}

/// How things of a kind are found in a project, which is `$1`.
pub(crate) struct Finding<T> {
    /// What is being done, for an error.
    pub(crate) action: &'static str,
    /// Those of which the text `$2` is the ID or the name, that of the ID first.
    pub(crate) exact: &'static str,
    /// Those whose IDs lie from `$2` to before `$3`, two of them.
    pub(crate) between: &'static str,
    /// Reads a row.
    pub(crate) read: fn(&SqliteRow) -> Result<T, StoreError>,
}

impl Store {
    /// A project's thing of a name, an ID, or a beginning of an ID that only one has. A name goes before a beginning.
    pub(crate) async fn find<T>(
        &self,
        finding: &Finding<T>,
        project: ProjectId,
        text: &str,
    ) -> Result<Lookup<T>, StoreError> {
        let failed = StoreError::query(finding.action);
        let exact = sqlx::query(finding.exact)
            .bind(project.to_string())
            .bind(text)
            .fetch_optional(&self.readers)
            .await
            .map_err(&failed)?;
        if let Some(row) = exact {
            return Ok(Lookup::One(Box::new((finding.read)(&row)?)));
        }
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            return Ok(Lookup::None);
        }
        // Of the characters of an ID none sorts after 'z', and '{' is the next.
        let rows = sqlx::query(finding.between)
            .bind(project.to_string())
            .bind(text)
            .bind(format!("{text}{{"))
            .fetch_all(&self.readers)
            .await
            .map_err(&failed)?;
        match rows.as_slice() {
            [] => Ok(Lookup::None),
            [row] => Ok(Lookup::One(Box::new((finding.read)(row)?))),
            _ => Ok(Lookup::Ambiguous),
        }
    }

    /// Runs statements whose `$1` is an ID: all of them, or none.
    pub(crate) async fn change_all(
        &self,
        action: &'static str,
        id: impl Display,
        statements: &[&'static str],
    ) -> Result<(), StoreError> {
        let failed = StoreError::query(action);
        let mut transaction = self.writer.begin().await.map_err(&failed)?;
        run_all(&mut transaction, action, id, statements).await?;
        transaction.commit().await.map_err(&failed)
    }
}

/// Runs statements whose `$1` is an ID, within a transaction of the caller's.
pub(crate) async fn run_all(
    connection: &mut SqliteConnection,
    action: &'static str,
    id: impl Display,
    statements: &[&'static str],
) -> Result<(), StoreError> {
    let (failed, id) = (StoreError::query(action), id.to_string());
    for sql in statements {
        sqlx::query(*sql)
            .bind(&id)
            .execute(&mut *connection)
            .await
            .map_err(&failed)?;
    }
    Ok(())
}
