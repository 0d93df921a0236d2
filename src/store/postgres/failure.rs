//! What a failure of a Postgres means: whether it may pass, and what to change.

use sqlx::migrate::MigrateError;

use crate::config::database::postgres::Config;
use crate::store::OpenError;
use crate::telemetry::causes::chain;

/// Why a database cannot be used, in words and with all causes.
pub(super) fn cannot_open(config: &Config, error: &sqlx::Error) -> OpenError {
    OpenError {
        url: config.url(),
        reason: chain(error),
        change: change(error).map(str::to_owned),
        away: is_away(error),
    }
}

/// Whether it is no more than that nobody takes us in there now: that may pass without anything being changed here.
fn is_away(error: &sqlx::Error) -> bool {
    if let Some(code) = code(error) {
        // 08 connections, 28 who one is (a password may be about to change), 3D the database, 53 too much of something,
        // 57P an operator.
        return ["08", "28", "3D", "53", "57P"].iter().any(|class| code.starts_with(class));
    }
    let cause = if let sqlx::Error::Migrate(error) = error { of_migration(error) } else { Some(error) };
    cause.is_some_and(|cause| matches!(cause, sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)))
}

/// What usually has to be changed.
fn change(error: &sqlx::Error) -> Option<&'static str> {
    match code(error).as_deref() {
        Some("28P01" | "28000") => {
            return Some("the user or the password in DATABASE_URL, or the server's pg_hba.conf");
        }
        Some("3D000") => return Some("make the database (createdb), or name another one in DATABASE_URL"),
        Some("42501") => return Some("in that database: GRANT CREATE ON SCHEMA public TO the user"),
        Some("42P05" | "26000") => return Some("DATABASE_POOL_MODE=transaction: a pooler shares the connections"),
        Some("08P01") if message(error).contains("startup parameter") => {
            return Some(
                "DATABASE_POOL_MODE=transaction, or auto; and take the parameter out of DATABASE_URL if it stands there",
            );
        }
        Some("53300") => return Some("the server's max_connections, or a smaller DATABASE_POOL"),
        _ => {}
    }
    let tls = "sslmode or sslrootcert in DATABASE_URL, for example ?sslmode=verify-full&sslrootcert=/etc/ssl/db.crt";
    match error {
        sqlx::Error::Tls(_) => Some(tls),
        // What rustls makes of a certificate that it does not trust.
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => Some(tls),
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Some("DATABASE_URL, or start the server: nothing listens there")
        }
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            Some("DATABASE_URL, or look after the server: it does not answer")
        }
        _ => None,
    }
}

fn message(error: &sqlx::Error) -> String {
    error.as_database_error().map(|error| error.message().to_owned()).unwrap_or_default()
}

fn code(error: &sqlx::Error) -> Option<String> {
    let error = if let sqlx::Error::Migrate(error) = error { of_migration(error)? } else { error };
    Some(error.as_database_error()?.code()?.into_owned())
}

fn of_migration(error: &MigrateError) -> Option<&sqlx::Error> {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Some(error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::config::database::postgres::Limits;

    #[test]
    fn a_server_that_refuses_is_away_and_a_broken_history_is_not() {
        let config = Config::from_url("postgres://me:s3cret@db/chat", Limits::default()).unwrap();
        let of = |error| cannot_open(&config, &error);
        let refused = of(sqlx::Error::Io(io::Error::new(io::ErrorKind::ConnectionRefused, "Connection refused")));
        assert!(refused.away && refused.reason.contains("refused"), "{refused:?}");
        assert!(refused.change.as_ref().is_some_and(|change| change.contains("nothing listens")), "{refused:?}");
        assert!(!format!("{refused} {refused:?}").contains("s3cret"));
        let lost = sqlx::Error::Io(io::Error::new(io::ErrorKind::UnexpectedEof, "gone"));
        let lost = of(sqlx::Error::from(MigrateError::Execute(lost)));
        assert!(lost.away && lost.reason.ends_with("gone"), "{lost:?}");
        assert!(!of(sqlx::Error::from(MigrateError::Dirty(1))).away);
    }
}
