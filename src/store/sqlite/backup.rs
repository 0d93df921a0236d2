//! A copy of a file, while a server may be writing it: as it was at one moment, written anew.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::{BUSY_TIMEOUT, cannot_open};
use crate::store::OpenError;

/// Copies the file to a place where there is none.
pub(in crate::store) async fn backup(path: &Path, to: &Path) -> Result<(), OpenError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let written = async {
        let mut connection = options.connect().await?;
        let copied =
            sqlx::query("VACUUM INTO ?").bind(to.to_string_lossy().into_owned()).execute(&mut connection).await;
        connection.close().await?;
        copied.map(drop)
    };
    written.await.map_err(|error: sqlx::Error| cannot_open(path, format!("it cannot be copied: {error}")))
}
