//! Why the store could not do something.

use std::path::PathBuf;

use hearth_domain::QuotaExceeded;
use thiserror::Error;

use crate::Made;

/// A failed read or write.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database cannot be opened.
    #[error("cannot open the store {path}: check that its folder exists and can be written")]
    Open {
        /// Its file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
    /// It was written by a newer Hearth.
    #[error(
        "the store {path} has schema version {found} but this Hearth knows only up to {known}; use the newer Hearth, or another state folder"
    )]
    TooNew {
        /// Its file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// It is no database, or a damaged one.
    #[error(
        "the store {path} is damaged: {detail}; move it away to start with an empty one (machines that still run are then removed), or put back a copy"
    )]
    Damaged {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Its schema cannot be brought up to date.
    #[error("cannot bring the schema of the store {path} up to date")]
    Migrate {
        /// Its file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// A query failed.
    #[error("cannot {action} in the store")]
    Query {
        /// What was being done.
        action: &'static str,
        /// Why not.
        #[source]
        source: sqlx::Error,
    },
    /// A row is not as it was written.
    #[error("cannot read {column} {value:?} of {id} in the store")]
    BadRow {
        /// Which column.
        column: &'static str,
        /// What it holds.
        value: String,
        /// Whose.
        id: String,
    },
}

/// Why a machine or a snapshot was not inserted.
#[derive(Debug, Error)]
pub enum InsertError {
    /// Another one has the name.
    #[error("the name {name:?} is taken by {holder}; remove that one, or choose another name")]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        holder: Made,
    },
    /// The project may not hold so much.
    #[error(transparent)]
    Quota(#[from] QuotaExceeded),
    /// The idempotency key was used before; what was made with it is told.
    #[error("the idempotency key was used for {0}")]
    KeyUsed(Made),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why the store cannot be written, though nothing is wrong with it: somebody has to see to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Hindrance {
    /// There is no room.
    #[error("its disk is full; make room where the state folder lies")]
    DiskFull,
    /// Nothing may be written.
    #[error("its file system is read-only; the host's kernel log may say why")]
    ReadOnly,
    /// Reads and writes fail.
    #[error("its disk fails, or has become read-only; the host's kernel log may say why")]
    DiskFails,
}

impl StoreError {
    /// For `map_err`: a query that failed, with what was being done.
    pub(crate) fn query(action: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |source| {
            metrics::counter!("hearth_store_errors_total").increment(1);
            Self::Query { action, source }
        }
    }

    /// What of the host keeps the store from being written, if that is what is wrong.
    pub fn hindrance(&self) -> Option<Hindrance> {
        match self {
            Self::Query { source, .. } => crate::sqlite::hindrance(source),
            _ => None,
        }
    }
}
