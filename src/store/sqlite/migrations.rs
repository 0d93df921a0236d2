//! The migrations of a `SQLite` file, and how their state is read without changing the file.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqlitePool};
use sqlx::{ConnectOptions, Connection};

use super::old::is_old;
use super::{BUSY_TIMEOUT, cannot_open};
use crate::health::disk;
use crate::store::migrations::{Applied, applied as applied_of, compare};
use crate::store::{History, OpenError};

/// All of them. (Those that it does not know are looked at before it runs: see [`run`].)
pub(in crate::store) static ALL: LazyLock<Migrator> = LazyLock::new(|| {
    let mut all = sqlx::migrate!("migrations/sqlite");
    all.set_ignore_missing(true);
    all
});

/// Applies what is missing, where the history is one that this version can work with.
pub(super) async fn run(pool: &SqlitePool) -> Result<(), String> {
    let applied = async { read(&mut *pool.acquire().await?).await };
    let applied = applied.await.map_err(|error: sqlx::Error| error.to_string())?;
    compare(&ALL, &applied)?;
    ALL.run(pool).await.map_err(|error| error.to_string())
}

/// See [`crate::store::Store::history`].
pub(in crate::store) async fn of(path: &Path) -> Result<History, OpenError> {
    let failed = |reason| cannot_open(path, reason);
    let (applied, is_old) = applied(path).await.map_err(|error| failed(error.to_string()))?;
    Ok(History { server: None, migrations: compare(&ALL, &applied).map_err(failed)?, is_old })
}

/// See [`crate::store::Store::try_to_write`].
pub(in crate::store) fn try_to_write(path: &Path) -> Result<(), OpenError> {
    let writable = || {
        // Its directory, too: a write-ahead log is made beside it.
        let directory = std::path::absolute(path)?;
        disk::try_to_write(&disk::nearest(directory.parent().unwrap_or(&directory))?)?;
        if path.try_exists()? { OpenOptions::new().write(true).open(path).map(drop) } else { Ok(()) }
    };
    writable().map_err(|error: std::io::Error| cannot_open(path, error.to_string()))
}

async fn applied(path: &Path) -> Result<(Applied, bool), sqlx::Error> {
    // Only what is surely not there is not there: a directory that may not be looked into is an error.
    if !path.try_exists()? {
        return Ok((Applied::new(), false));
    }
    let options = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        // Without it a reader would leave a write-ahead log behind. Where there is one, somebody has the file open, or
        // was killed while they had.
        .immutable(!write_ahead_log(path).try_exists()?)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    let is_old = is_old(&mut connection).await?;
    let applied = read(&mut connection).await;
    connection.close().await?;
    Ok((applied?, is_old))
}

async fn read(connection: &mut SqliteConnection) -> Result<Applied, sqlx::Error> {
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    let known: i64 = sqlx::query_scalar(tables).fetch_one(&mut *connection).await?;
    if known == 0 {
        return Ok(Applied::new());
    }
    let rows = "SELECT version, checksum, description FROM _sqlx_migrations WHERE success ORDER BY version";
    Ok(applied_of(sqlx::query_as(rows).fetch_all(connection).await?))
}

/// Where `SQLite` puts the write-ahead log of a database.
pub(super) fn write_ahead_log(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Sqlite, Tables};

    #[tokio::test]
    async fn what_a_newer_build_only_added_is_no_hindrance_and_anything_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        Sqlite::open(&path, Tables::Migrate).await.unwrap().close().await;
        let note = async |sql| {
            let mut connection = SqliteConnectOptions::new().filename(&path).connect().await.unwrap();
            sqlx::query(sql).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        };
        note("INSERT INTO _sqlx_migrations VALUES (9999, 'things additive', 0, TRUE, x'00', 0)").await;
        for tables in [Tables::Migrate, Tables::Leave] {
            Sqlite::open(&path, tables).await.unwrap().close().await;
        }
        note("UPDATE _sqlx_migrations SET description = 'things' WHERE version = 9999").await;
        for tables in [Tables::Migrate, Tables::Leave] {
            let refused = Sqlite::open(&path, tables).await.unwrap_err();
            assert!(refused.to_string().contains("9999"), "{refused}");
        }
    }
}
