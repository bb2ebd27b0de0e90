//! Columns to types, and back.

use std::str::FromStr;

use hearth_domain::StateWord;
use serde::de::DeserializeOwned;
use sqlx::{ColumnIndex, Decode, Row as _, Sqlite, Type, sqlite::SqliteRow};

use crate::StoreError;

/// A row, with what is needed to name it in an error.
pub(crate) struct Columns<'r> {
    row: &'r SqliteRow,
    id: String,
}

impl<'r> Columns<'r> {
    /// `id_column` names the row in errors.
    pub(crate) fn new(row: &'r SqliteRow, id_column: &'static str) -> Result<Self, StoreError> {
        let id = row
            .try_get::<String, _>(id_column)
            .map_err(StoreError::query("read a row"))?;
        Ok(Self { row, id })
    }

    pub(crate) fn get<T>(&self, column: &'static str) -> Result<T, StoreError>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite>,
        &'static str: ColumnIndex<SqliteRow>,
    {
        self.row.try_get(column).map_err(StoreError::query("read a row"))
    }

    pub(crate) fn parse<T: FromStr>(&self, column: &'static str) -> Result<T, StoreError> {
        let text: String = self.get(column)?;
        text.parse().map_err(|_| self.bad(column, &text))
    }

    pub(crate) fn optional_parse<T: FromStr>(&self, column: &'static str) -> Result<Option<T>, StoreError> {
        let text: Option<String> = self.get(column)?;
        text.map(|text| text.parse().map_err(|_| self.bad(column, &text)))
            .transpose()
    }

    pub(crate) fn word<T: Copy>(
        &self,
        column: &'static str,
        all: &[T],
        word: impl Fn(T) -> &'static str,
    ) -> Result<T, StoreError> {
        let text: String = self.get(column)?;
        all.iter()
            .copied()
            .find(|value| word(*value) == text)
            .ok_or_else(|| self.bad(column, &text))
    }

    pub(crate) fn state(&self, column: &'static str) -> Result<StateWord, StoreError> {
        self.word(column, &StateWord::ALL, StateWord::as_str)
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, StoreError> {
        let text: String = self.get(column)?;
        serde_json::from_str(&text).map_err(|_| self.bad(column, &text))
    }

    pub(crate) fn optional_json<T: DeserializeOwned>(&self, column: &'static str) -> Result<Option<T>, StoreError> {
        match self.get::<Option<String>>(column)? {
            None => Ok(None),
            Some(text) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|_| self.bad(column, &text)),
        }
    }

    pub(crate) fn unsigned(&self, column: &'static str) -> Result<u64, StoreError> {
        let number: i64 = self.get(column)?;
        u64::try_from(number).map_err(|_| self.bad(column, &number.to_string()))
    }

    pub(crate) fn optional_unsigned(&self, column: &'static str) -> Result<Option<u64>, StoreError> {
        let number: Option<i64> = self.get(column)?;
        number
            .map(|number| u64::try_from(number).map_err(|_| self.bad(column, &number.to_string())))
            .transpose()
    }

    fn bad(&self, column: &'static str, value: &str) -> StoreError {
        StoreError::BadRow {
            column,
            value: value.chars().take(200).collect(),
            id: self.id.clone(),
        }
    }
}

/// SQL has no unsigned integers; ours are times and counts, far below the bound.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// JSON of our own types, whose maps have text keys, so that it cannot fail.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
