//! The migrations of a store: which there are, which were applied, and how to apply the others before a server does.
//!
//! One that only adds what builds before it need not know (a table, an index, a column with a default) has a name that ends in
//! `_additive`: a build that does not know it works with the store all the same, so that an upgrade can be taken back. Any
//! other that it does not know is refused.

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

/// Those that a database has, by their versions.
pub(super) type Applied = BTreeMap<i64, AppliedMigration>;

/// A migration that a database has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AppliedMigration {
    pub(super) checksum: Vec<u8>,
    /// Its name, without underscores.
    pub(super) description: String,
}

impl AppliedMigration {
    /// Whether builds before it need not know it.
    fn is_additive(&self) -> bool {
        self.description.split(' ').next_back() == Some("additive")
    }
}

/// Rows of the table of those that were applied: version, checksum, description.
pub(super) fn applied(rows: Vec<(i64, Vec<u8>, String)>) -> Applied {
    let one = |(version, checksum, description)| (version, AppliedMigration { checksum, description });
    rows.into_iter().map(one).collect()
}

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
    let unknown = applied.iter().filter(|(version, _)| !all.version_exists(**version));
    if let Some((version, _)) = unknown.into_iter().find(|(_, one)| !one.is_additive()) {
        return Err(format!("it has migration {version}, which this version of rejoinder does not know: it is newer"));
    }
    let state = |migration: &sqlx::migrate::Migration| {
        let checksum = applied.get(&migration.version);
        if checksum.is_some_and(|known| *known.checksum != *migration.checksum) {
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
        let applied = |version: i64, checksum: &[u8], description: &str| {
            applied(vec![(version, checksum.to_vec(), description.to_owned())])
        };
        for all in [&*sqlite::migrations::ALL, &postgres::migrations::ALL] {
            let known = all.iter().next().unwrap();
            let same = applied(known.version, &known.checksum, &known.description);
            assert!(compare(all, &same).unwrap()[0].applied && !compare(all, &Applied::new()).unwrap()[0].applied);
            for name in ["users", "additive users", "not_additive"] {
                assert!(compare(all, &applied(9_999, &[], name)).unwrap_err().contains("9999"), "{name}");
            }
            let newer = compare(all, &applied(9_999, &[], "users additive")).unwrap();
            assert_eq!(newer.len(), all.iter().count(), "what it does not know is not told of");
            let other = applied(known.version, b"another", &known.description);
            assert!(compare(all, &other).unwrap_err().contains("not the one"));
        }
    }
}
