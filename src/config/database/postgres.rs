//! How a Postgres is reached, and how long it may take. The password is in here, and is never shown.

use std::fmt;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use url::Url;

use super::InvalidUrl;
use crate::config::values::Secret;

/// Parameters of a URL that mean something. Others are refused: a mistyped one would be passed over in silence, and its
/// value, which may be a secret, logged.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
];

/// A Postgres database.
#[derive(Clone)]
pub struct Config {
    url: Secret,
    options: Box<PgConnectOptions>,
    /// How much may be asked of it.
    pub limits: Limits,
    /// What a connection is there.
    pub pool_mode: PoolMode,
}

/// What a connection is in the database, in the words of `PgBouncer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// To be found out.
    Auto,
    /// A session, which keeps what is set in it: the database itself, or a pooler that gives each client one.
    Session,
    /// One that is another's after each transaction: a pooler between shares a few among many.
    Transaction,
}

/// How many connections, and how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once, at most.
    pub connections: u32,
    /// For one of them to be free.
    pub acquire: Duration,
    /// For a new one.
    pub connect: Duration,
    /// For the answer to a statement.
    pub statement: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connections: 8, acquire: seconds(5), connect: seconds(3), statement: seconds(30) }
    }
}

impl Config {
    /// Reads a URL of the form `postgres://user:password@host:port/database?sslmode=…`.
    pub fn from_url(text: &str, limits: Limits) -> Result<Self, InvalidUrl> {
        // What a parser says of a URL may quote it.
        let parsed = Url::parse(text).map_err(|_| invalid("in a password, write / ? # @ as %2F %3F %23 %40"))?;
        for (name, _) in parsed.query_pairs() {
            let is_known = PARAMETERS.contains(&&*name) || name.starts_with("options[");
            if !is_known {
                return Err(invalid(&format!("{name} is no parameter of it; {} are", PARAMETERS.join(", "))));
            }
        }
        // A password that stands at the wrong place would be taken for a part of the database's name, and shown.
        let path = parsed.path().trim_start_matches('/');
        if !text.contains("://") || path.contains(['/', '@', ':']) {
            return Err(invalid("user and password stand before @, and after it host and database"));
        }
        let has_database = !path.is_empty() || parsed.query_pairs().any(|(name, _)| name == "dbname");
        if !has_database {
            return Err(invalid("it names no database"));
        }
        let options = PgConnectOptions::from_url(&parsed).map_err(|_| {
            invalid(
                "a parameter has a value that it cannot have, such as another sslmode than disable, \
                 allow, prefer, require, verify-ca, verify-full",
            )
        })?;
        let options = Box::new(options.disable_statement_logging().extra_float_digits(None));
        Ok(Self { url: Secret::new(text), options, limits, pool_mode: PoolMode::Auto })
    }

    /// The URL without secrets: where, as whom, and which database.
    pub fn url(&self) -> String {
        let (user, database) = (self.options.get_username(), self.options.get_database().unwrap_or_default());
        if let Some((host, port)) = self.address() {
            return format!("postgres://{user}@{host}:{port}/{database}");
        }
        let socket = self.options.get_socket().map(|socket| socket.display().to_string());
        let socket = socket.unwrap_or_else(|| self.options.get_host().to_owned());
        format!("postgres://{user}@/{database}?host={socket}")
    }

    /// The same, with other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The same, where it is known what a connection is.
    #[must_use]
    pub fn with_pool_mode(self, pool_mode: PoolMode) -> Self {
        Self { pool_mode, ..self }
    }

    /// Where it listens; `None`: at a socket of this machine.
    pub fn address(&self) -> Option<(&str, u16)> {
        let is_socket = self.options.get_socket().is_some() || self.options.get_host().starts_with('/');
        (!is_socket).then(|| (self.options.get_host(), self.options.get_port()))
    }

    /// How to connect, to be told from others by its name.
    pub(crate) fn options(&self) -> PgConnectOptions {
        let options = PgConnectOptions::clone(&self.options);
        if options.get_application_name().is_some() { options } else { options.application_name("rejoinder") }
    }
}

fn invalid(reason: &str) -> InvalidUrl {
    InvalidUrl(format!("postgres://user:password@host:5432/database ({reason})"))
}

impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        (&self.url, self.limits, self.pool_mode) == (&other.url, other.limits, other.pool_mode)
    }
}

impl Eq for Config {}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &self.url())
            .field("limits", &self.limits)
            .field("pool_mode", &self.pool_mode)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Config, InvalidUrl> {
        Config::from_url(url, Limits::default())
    }

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("postgres://me:s3cret@db.example/chat", "postgres://me@db.example:5432/chat"),
            ("postgresql://me:s3cret@[::1]:7/chat?sslmode=require", "postgres://me@[::1]:7/chat"),
            ("postgres://me@db/chat?password=s3cret", "postgres://me@db:5432/chat"),
            ("postgres://me:s3cret@%2Frun%2Fpg/chat", "postgres://me@/chat?host=/run/pg"),
            ("postgres:///chat?host=/run/pg&user=me&password=s3cret", "postgres://me@/chat?host=/run/pg"),
        ] {
            let config = read(url).unwrap();
            assert_eq!(config.url(), shown);
            assert!(!format!("{config:?}").contains("s3cret"), "{config:?}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_in_words_and_not_quoted() {
        for (url, words) in [
            ("postgres://me:s3/cret@db/chat", "in a password"),
            ("postgres://me:s3cret@db:x/chat", "in a password"),
            ("postgres:me:s3cret@db/chat", "stand before @"),
            ("postgres:///me:s3cret@db/chat", "stand before @"),
            ("postgres://me:s3cret@db", "names no database"),
            ("postgres://me:s3cret@db/chat?sslmode=s3cret", "another sslmode"),
            ("postgres://me@db/chat?passwort=s3cret", "passwort is no parameter"),
        ] {
            let error = read(url).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("s3"), "{error}");
        }
    }

    #[test]
    fn two_configurations_are_the_same_if_everything_is() {
        let same = read("postgres://me:a@db/chat").unwrap();
        assert_eq!(same, read("postgres://me:a@db/chat").unwrap());
        assert_ne!(same, read("postgres://me:b@db/chat").unwrap());
    }
}
