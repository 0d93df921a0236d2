//! A new file: made in memory with all its tables, written beside its place, and put there as a whole.
//!
//! Made in place, each step would be synced by itself, and these syncs would be most of the time to the first answer of a new
//! server. Nothing is lost with a file that nobody has seen yet: one sync before it gets its name is enough.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use data_encoding::HEXUPPER;
use sqlx::migrate::Migrate;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::migrations;

/// Where the header of a file has its format versions for writing and for reading; see <https://sqlite.org/fileformat.html>.
const FORMAT_VERSIONS: std::ops::Range<usize> = 18..20;
/// Both, of a file with a write-ahead log. In memory there is none.
const WRITE_AHEAD_LOG: [u8; 2] = [2, 2];

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
    let image = image().await?;
    let unfinished = Unfinished::beside(path);
    let mut file = File::create_new(&unfinished.0)?;
    file.write_all(&image)?;
    file.sync_all()?;
    // A link, unlike a new name, never replaces a file that somebody else has made and opened meanwhile.
    match fs::hard_link(&unfinished.0, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

/// The bytes of a file that has all tables and no rows.
async fn image() -> Result<Vec<u8>, CreateError> {
    let options = super::layout(SqliteConnectOptions::new().in_memory(true)).disable_statement_logging();
    let mut memory = options.connect().await?;
    memory.ensure_migrations_table(&migrations::ALL.table_name).await?;
    sqlx::raw_sql(AssertSqlSafe(all_at_once())).execute(&mut memory).await?;
    let mut image = memory.serialize(None).await?.to_vec();
    memory.close().await?;
    if let Some(versions) = image.get_mut(FORMAT_VERSIONS) {
        versions.copy_from_slice(&WRITE_AHEAD_LOG);
    }
    Ok(image)
}

/// All migrations as one script, which notes them as the migrator does. One after the other they are some sixty statements, and each
/// goes to the thread of the connection and back.
fn all_at_once() -> String {
    let table = &migrations::ALL.table_name;
    let mut script = String::from("BEGIN;\n");
    for migration in migrations::ALL.iter() {
        let (version, description) = (migration.version, migration.description.replace('\'', "''"));
        let checksum = HEXUPPER.encode(&migration.checksum);
        script.push_str(migration.sql.as_str());
        let _ = write!(
            script,
            "\nINSERT INTO {table} (version, description, success, checksum, execution_time) \
             VALUES ({version}, '{description}', TRUE, X'{checksum}', 0);\n"
        );
    }
    script.push_str("COMMIT;");
    script
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
        assert_eq!(made[FORMAT_VERSIONS], WRITE_AHEAD_LOG);
        fs::write(&path, b"of another").unwrap();
        create(&path).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"of another");
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["store.db"]);
    }

    /// The statements of all tables and indexes, and the migrations that are noted.
    async fn schema(pool: &sqlx::SqlitePool) -> (Vec<(String, Option<String>)>, Vec<(i64, String, bool, Vec<u8>)>) {
        let tables = sqlx::query_as("SELECT name, sql FROM sqlite_schema ORDER BY name").fetch_all(pool).await;
        let noted = "SELECT version, description, success, checksum FROM _sqlx_migrations ORDER BY version";
        (tables.unwrap(), sqlx::query_as(noted).fetch_all(pool).await.unwrap())
    }

    #[tokio::test]
    async fn a_new_file_is_what_one_migration_after_the_other_makes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        create(&path).await.unwrap();
        let (made, migrated) = (super::super::pool(1), super::super::pool(1));
        let made = made.connect_with(super::super::options(&path)).await.unwrap();
        let migrated = migrated.connect_with(SqliteConnectOptions::new().in_memory(true)).await.unwrap();
        migrations::ALL.run(&migrated).await.unwrap();
        assert_eq!(schema(&made).await, schema(&migrated).await);
        // Nothing is left to be done.
        migrations::ALL.run(&made).await.unwrap();
        made.close().await;
    }
}
