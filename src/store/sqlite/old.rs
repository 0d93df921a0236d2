//! Files that an earlier version made: their free pages are used again, but never given back, and what was deleted before
//! may still stand in them. Writing such a file anew is for the operator to ask for: it takes a while, and space.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection};

use super::{BUSY_TIMEOUT, cannot_open, layout};
use crate::store::OpenError;

/// Whether the file is of such a version.
pub(super) async fn is_old(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let mode: i64 = sqlx::query_scalar("PRAGMA auto_vacuum").fetch_one(&mut *connection).await?;
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(connection).await?;
    Ok(mode == 0 && pages > 0)
}

/// Writes a file of such a version anew. Nobody else may have it open.
pub(in crate::store) async fn renew(path: &Path) -> Result<(), OpenError> {
    // Only without a write-ahead log can a file get pages of another size.
    let options = layout(SqliteConnectOptions::new())
        .filename(path)
        .journal_mode(SqliteJournalMode::Delete)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let written = async {
        let mut connection = options.connect().await?;
        sqlx::query("VACUUM").execute(&mut connection).await?;
        connection.close().await
    };
    written.await.map_err(|error: sqlx::Error| {
        cannot_open(path, format!("it cannot be written anew: {error}"))
            .change("stop rejoinder serve, if it runs, and have twice the file's size free")
    })
}
