//! A new file: made beside its place with all its tables, and put there as a whole.
//!
//! Made in place, each step would be synced by itself; ten syncs are most of the time to the first answer of a new server. Nothing
//! is lost with a file that nobody has seen yet: one sync before it gets its name is enough.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use super::migrations;

/// Why there is no new file.
#[derive(Debug, thiserror::Error)]
pub(super) enum CreateError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Migration(#[from] sqlx::migrate::MigrateError),
}

/// Makes the file, unless it is there. Of several that do so at once, one makes it.
pub(super) async fn create(path: &Path) -> Result<(), CreateError> {
    if path.try_exists()? {
        return Ok(());
    }
    let unfinished = Unfinished::beside(path);
    make(&unfinished.0).await?;
    File::open(&unfinished.0)?.sync_all()?;
    // A link, unlike a new name, never replaces a file that somebody else has made and opened meanwhile.
    match fs::hard_link(&unfinished.0, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

async fn make(path: &Path) -> Result<(), CreateError> {
    let options = super::layout(super::options(path)).synchronous(SqliteSynchronous::Off);
    let pool = super::pool(1).connect_with(options.clone().journal_mode(SqliteJournalMode::Off)).await?;
    let migrated = migrations::ALL.run(&pool).await;
    pool.close().await;
    migrated?;
    // The mode is a mark in the file. The write-ahead log goes with its last connection.
    options.connect().await?.close().await?;
    Ok(())
}

/// A file under a name of its own, which goes when it is dropped.
struct Unfinished(PathBuf);

impl Unfinished {
    fn beside(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".new-{}", std::process::id()));
        let unfinished = Self(name.into());
        // What a process of the same number left behind.
        unfinished.remove();
        unfinished
    }

    fn remove(&self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_several_that_make_a_file_one_does_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        create(&path).await.unwrap();
        let made = fs::read(&path).unwrap();
        // The format versions for writing and reading: 2 is a write-ahead log.
        assert_eq!(made[18..20], [2, 2]);
        fs::write(&path, b"of another").unwrap();
        create(&path).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"of another");
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["store.db"]);
    }
}
