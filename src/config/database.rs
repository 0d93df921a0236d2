//! Which store, as a `DATABASE_URL` names it.

use std::path::{Path, PathBuf};

pub(crate) mod postgres;

/// Which store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// A `SQLite` database in this file.
    Sqlite(PathBuf),
    /// A Postgres database.
    Postgres(postgres::Config),
}

/// What is done about tables that are not up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tables {
    /// They are brought up to date.
    Migrate,
    /// They are left as they are, and the store is not opened.
    Leave,
}

/// A `DATABASE_URL` that names no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct InvalidUrl(String);

impl InvalidUrl {
    const FORMS: &str = "sqlite:<path of a file> or postgres://user:password@host:5432/database";

    /// What was expected.
    pub fn expected(&self) -> &str {
        &self.0
    }
}

impl Config {
    /// The store when none is named: a file in the data directory.
    pub fn in_dir(data_dir: &Path) -> Self {
        Self::Sqlite(data_dir.join("rejoinder.db"))
    }

    /// Reads a `DATABASE_URL`: `sqlite:<path>`, `sqlite://<path>`, or `postgres://…` with these limits.
    pub fn from_url(url: &str, limits: postgres::Limits) -> Result<Self, InvalidUrl> {
        match url.split_once(':') {
            Some(("sqlite", rest)) => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                let path = path.split_once('?').map_or(path, |(path, _)| path);
                if path.is_empty() || path.contains(":memory:") {
                    return Err(InvalidUrl("sqlite:<path of a file> (a store in memory would forget)".to_owned()));
                }
                Ok(Self::Sqlite(PathBuf::from(path)))
            }
            Some(("postgres" | "postgresql", _)) => postgres::Config::from_url(url, limits).map(Self::Postgres),
            _ => Err(InvalidUrl(InvalidUrl::FORMS.to_owned())),
        }
    }

    /// The store's URL, without secrets.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            Self::Postgres(config) => config.url(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Config, InvalidUrl> {
        Config::from_url(url, postgres::Limits::default())
    }

    #[test]
    fn a_url_names_a_file() {
        let file = |path: &str| Ok(Config::Sqlite(PathBuf::from(path)));
        assert_eq!(read("sqlite:data/x.db"), file("data/x.db"));
        assert_eq!(read("sqlite:///var/x.db?mode=rwc"), file("/var/x.db"));
        assert_eq!(Config::in_dir(Path::new("data")).url(), "sqlite:data/rejoinder.db");
    }

    #[test]
    fn other_urls_are_refused_in_words() {
        assert!(read("sqlite::memory:").unwrap_err().to_string().contains("forget"));
        for url in ["", "sqlite:", "mysql://x", "data/x.db", "postgres"] {
            assert!(read(url).unwrap_err().to_string().contains("sqlite:<path"), "{url}");
        }
    }
}
