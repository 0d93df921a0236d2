//! The migrations of a store: which there are, which were applied, and how to apply the others before a server does.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::migrate::Migrator;

use super::{Config, OpenError, Sqlite, Store, Tables, postgres, sqlite};

/// A step in the history of the store's tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Its place in the order of all.
    pub version: i64,
    /// What it does.
    pub description: String,
    /// Whether the database has it.
    pub applied: bool,
}

/// What is found of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The database server and its version; `None`: it needs none.
    pub server: Option<String>,
    /// All migrations, in order.
    pub migrations: Vec<Migration>,
    /// It is a file that an earlier version made, and [`Store::migrate`] writes it anew.
    pub is_old: bool,
}

/// Those that a database has: version and checksum.
pub(super) type Applied = BTreeMap<i64, Vec<u8>>;

impl Store {
    /// All migrations and their state. Changes nothing: a store that is not there has none of them, and is not made.
    /// A database that [`Store::open`] would refuse for its history is an error here as well, as is one that could not
    /// be written.
    pub async fn history(config: &Config) -> Result<History, OpenError> {
        match config {
            Config::Sqlite(path) => sqlite::migrations::of(path).await,
            Config::Postgres(config) => postgres::migrations::of(config).await,
        }
    }

    /// Whether a file could be written, or made. Blocks, and changes nothing.
    pub fn try_to_write(config: &Config) -> Result<(), OpenError> {
        match config {
            Config::Sqlite(path) => sqlite::migrations::try_to_write(path),
            Config::Postgres(_) => Ok(()),
        }
    }

    /// Applies what is missing, and makes the store if it is not there, as [`Store::open`] does. A file that an earlier
    /// version made is written anew.
    pub async fn migrate(config: &Config) -> Result<(), OpenError> {
        match config {
            Config::Sqlite(path) => {
                if sqlite::migrations::of(path).await?.is_old {
                    sqlite::old::renew(path).await?;
                }
                Sqlite::open(path, Tables::Migrate).await?.close().await;
            }
            Config::Postgres(config) => postgres::migrations::prepare(config, Tables::Migrate).await?,
        }
        Ok(())
    }
}

impl Store {
    /// Copies a store's file to a place where there is none, while a server may be writing it.
    pub async fn backup(path: &Path, to: &Path) -> Result<(), OpenError> {
        sqlite::backup::backup(path, to).await
    }
}

impl History {
    /// How many migrations are missing.
    pub fn pending(&self) -> usize {
        self.migrations.iter().filter(|migration| !migration.applied).count()
    }
}

/// Holds what a database has against what this version knows; the error says what does not fit.
pub(super) fn compare(all: &Migrator, applied: &Applied) -> Result<Vec<Migration>, String> {
    if let Some(version) = applied.keys().find(|version| !all.version_exists(**version)) {
        return Err(format!("it has migration {version}, which this version of rejoinder does not know: it is newer"));
    }
    let state = |migration: &sqlx::migrate::Migration| {
        let checksum = applied.get(&migration.version);
        if checksum.is_some_and(|checksum| **checksum != *migration.checksum) {
            return Err(format!("its migration {} is not the one that this version knows", migration.version));
        }
        let description = migration.description.to_string();
        Ok(Migration { version: migration.version, description, applied: checksum.is_some() })
    };
    all.iter().map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_of_another_version_is_refused_in_words() {
        for all in [&sqlite::migrations::ALL, &postgres::migrations::ALL] {
            let known = all.iter().next().unwrap();
            let same = Applied::from([(known.version, known.checksum.to_vec())]);
            assert!(compare(all, &same).unwrap()[0].applied && !compare(all, &Applied::new()).unwrap()[0].applied);
            let newer = Applied::from([(9_999, Vec::new())]);
            assert!(compare(all, &newer).unwrap_err().contains("9999"));
            let other = Applied::from([(known.version, b"another".to_vec())]);
            assert!(compare(all, &other).unwrap_err().contains("not the one"));
        }
    }
}
