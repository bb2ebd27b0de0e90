//! What only SQLite knows: opening, pragmas, migrations, what its errors mean.

use std::{path::Path, time::Duration};

use sqlx::{
    ConnectOptions as _, Connection as _, Error, SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{Hindrance, StoreError};

static MIGRATOR: Migrator = sqlx::migrate!();

/// How long a write waits for another process's, which there should not be.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 3;
/// Pages that a connection keeps in memory, in KiB (negative by SQLite's rule).
const CACHE_KIB: &str = "-1024";

pub(crate) fn schema_version() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// The pool that writes and the one that reads.
pub(crate) async fn open(path: &Path) -> Result<(SqlitePool, SqlitePool), StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A commit survives the death of the process at once, and that of the host but for the last moments; what
        // those lose is found again from the machines' folders.
        .synchronous(SqliteSynchronous::Normal)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("cache_size", CACHE_KIB)
        .disable_statement_logging();
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_release(|connection, _| Box::pin(async move { Ok(can_write(connection).await) }))
        .connect_with(options.clone())
        .await
        .map_err(|error| opening(path, error))?;
    check(&writer, path).await?;
    migrate(&writer, path).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .max_lifetime(None)
        .connect_with(options.read_only(true).create_if_missing(false))
        .await
        .map_err(|error| opening(path, error))?;
    Ok((writer, readers))
}

/// Whether a connection that comes back can serve the next writer; else it is closed, and another one opened. After a
/// write that failed, for want of room or because the disk did, it may be left within a transaction: then whatever followed
/// would be part of that, and never be committed. One that was opened while the file system was read-only stays so.
async fn can_write(connection: &mut SqliteConnection) -> bool {
    let begun = sqlx::raw_sql("BEGIN IMMEDIATE; ROLLBACK")
        .execute(&mut *connection)
        .await;
    // What SQLite undid by itself is still counted here.
    begun.is_ok() && !connection.is_in_transaction()
}

/// Whether the commits that follow on this connection are on the disk when they return, and not only in the kernel's
/// memory. To be switched back once they are.
pub(crate) async fn sync_fully(connection: &mut SqliteConnection, fully: bool) -> Result<(), StoreError> {
    let pragma = if fully {
        "PRAGMA synchronous = FULL"
    } else {
        "PRAGMA synchronous = NORMAL"
    };
    sqlx::query(pragma)
        .execute(connection)
        .await
        .map_err(StoreError::query("set how the store is written"))?;
    Ok(())
}

/// Writes the page that holds the user's version, which nobody uses, as it is.
pub(crate) async fn check_writable(writer: &SqlitePool) -> Result<(), StoreError> {
    sqlx::query("PRAGMA user_version = 0")
        .execute(writer)
        .await
        .map_err(StoreError::query("try to write the store"))?;
    Ok(())
}

/// Brings what was committed onto the disk: a checkpoint syncs the log before it reads it.
pub(crate) async fn settle(writer: &SqlitePool) -> Result<(), StoreError> {
    sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
        .execute(writer)
        .await
        .map_err(StoreError::query("bring the store onto the disk"))?;
    Ok(())
}

async fn check(pool: &SqlitePool, path: &Path) -> Result<(), StoreError> {
    let verdict: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(pool)
        .await
        .map_err(|error| opening(path, error))?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(StoreError::Damaged {
            path: path.to_owned(),
            detail: verdict,
        })
    }
}

async fn migrate(pool: &SqlitePool, path: &Path) -> Result<(), StoreError> {
    let known = schema_version();
    MIGRATOR.run(pool).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) if found > known => StoreError::TooNew {
            path: path.to_owned(),
            found,
            known,
        },
        MigrateError::Execute(error) if is_damage(&error) => opening(path, error),
        source => StoreError::Migrate {
            path: path.to_owned(),
            source,
        },
    })
}

fn opening(path: &Path, source: Error) -> StoreError {
    let path = path.to_owned();
    if is_damage(&source) {
        StoreError::Damaged {
            path,
            detail: source.to_string(),
        }
    } else {
        StoreError::Open { path, source }
    }
}

/// `SQLITE_CORRUPT` with its extensions, and `SQLITE_NOTADB`.
fn is_damage(error: &Error) -> bool {
    const CORRUPT: u32 = 11;
    const NOT_A_DATABASE: u32 = 26;
    matches!(code(error), Some(CORRUPT | NOT_A_DATABASE))
}

/// What keeps the store from being written, if the error says that something of the host does.
pub(crate) fn hindrance(error: &Error) -> Option<Hindrance> {
    const READ_ONLY: u32 = 8;
    const IO: u32 = 10;
    const FULL: u32 = 13;
    const CANNOT_OPEN: u32 = 14;
    match code(error)? {
        FULL => Some(Hindrance::DiskFull),
        READ_ONLY => Some(Hindrance::ReadOnly),
        IO | CANNOT_OPEN => Some(Hindrance::DiskFails),
        _ => None,
    }
}

/// SQLite's code for an error, without what extends it.
fn code(error: &Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?.parse::<u32>().ok()?;
    Some(code & 0xff)
}
