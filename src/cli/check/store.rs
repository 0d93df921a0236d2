//! The store: the way to its database, whether that can be used, and what a server would do to its tables.

use std::time::{Duration, Instant};

use url::Url;

use super::STEP;
use super::reach::{Names, reach};
use super::row::{Row, Status};
use crate::config::Config;
use crate::store::postgres::{self, Limits};
use crate::store::{self, History, OpenError, Store, Tables};

pub(super) const VARIABLES: &[&str] = &[
    "DATABASE_URL",
    "DATA_DIR",
    "DATABASE_POOL",
    "DATABASE_ACQUIRE_TIMEOUT",
    "DATABASE_CONNECT_TIMEOUT",
    "DATABASE_STATEMENT_TIMEOUT",
    "DATABASE_POOL_MODE",
    "MIGRATE",
];

const WHAT: &str = "store";

const NAMES: Names = Names {
    resolve: "store: resolve",
    connect: "store: connect",
    change: "DATABASE_URL, for example DATABASE_URL=postgres://user:password@localhost:5432/rejoinder",
};

pub(super) async fn probe(config: &Config) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut store = config.store.clone();
    if let store::Config::Postgres(postgres) = store {
        if let Some(url) = address(&postgres) {
            let reached = reach(&url, &NAMES).await;
            rows = reached.rows;
            if !reached.connected {
                return rows;
            }
        }
        let limits = Limits { connect: postgres.limits.connect.min(STEP), ..postgres.limits };
        store = store::Config::Postgres(postgres.with_limits(limits));
    }
    let begun = Instant::now();
    rows.push(match look(store).await {
        Ok(history) => row(&config.store.url(), &history, config.tables, begun.elapsed()),
        Err(error) => failure(config.store.url(), error),
    });
    rows
}

/// Where it listens, as [`reach`] wants it.
fn address(config: &postgres::Config) -> Option<Url> {
    let (host, port) = config.address()?;
    Url::parse(&format!("http://{host}:{port}")).ok()
}

async fn look(config: store::Config) -> Result<History, OpenError> {
    let history = Store::history(&config).await?;
    let writable = tokio::task::spawn_blocking(move || Store::try_to_write(&config)).await;
    writable.expect("a look does not panic").map(|()| history)
}

fn failure(url: String, error: OpenError) -> Row {
    let change = error.change.unwrap_or_else(|| {
        "DATABASE_URL, for example DATABASE_URL=sqlite:./data/rejoinder.db (or DATA_DIR, if it is not set)".to_owned()
    });
    Row::new(Status::Fail, WHAT, url, "cannot be opened").why(error.reason).change(change)
}

fn row(url: &str, history: &History, tables: Tables, took: Duration) -> Row {
    let pending = history.pending();
    let applied = history.migrations.len() - pending;
    let of_server = |text: String| history.server.iter().fold(text, |text, server| format!("{server}: {text}"));
    let row = |status, text: String| Row::new(status, WHAT, url, of_server(text));
    match (applied, pending, tables) {
        (_, 0, _) if history.is_old => {
            row(Status::Note, "its tables are up to date, its file is of an earlier version".to_owned())
                .took(took)
                .why("it gives no space back, and what was deleted before may still stand in it")
                .change("stop rejoinder serve and run rejoinder migrate: it writes the file anew")
        }
        (_, 0, _) => row(Status::Ok, "its tables are up to date".to_owned()).took(took),
        (_, _, Tables::Leave) => row(Status::Fail, format!("{pending} of its migrations pending"))
            .why("MIGRATE=off: rejoinder serve would not start")
            .change("run rejoinder migrate, or set MIGRATE=on"),
        (0, _, _) if history.server.is_none() => row(Status::Ok, "will be made".to_owned()),
        (0, _, _) => row(Status::Ok, "its tables will be made".to_owned()).took(took),
        _ => row(Status::Note, format!("{applied} of its migrations applied, {pending} pending"))
            .took(took)
            .change("nothing: rejoinder serve applies them when it starts, and rejoinder migrate before"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Migration;

    fn of(applied: &[bool], server: Option<&str>, tables: Tables) -> (Status, String) {
        let migration = |applied: &bool| Migration { version: 1, description: String::new(), applied: *applied };
        let migrations = applied.iter().map(migration).collect();
        let history = History { server: server.map(str::to_owned), migrations, is_old: false };
        let row = row("", &history, tables, Duration::ZERO);
        (row.status, row.detail)
    }

    #[test]
    fn what_is_pending_is_told_and_is_no_failure_unless_it_stays_so() {
        assert_eq!(of(&[false], None, Tables::Migrate), (Status::Ok, "will be made".to_owned()));
        let (status, detail) = of(&[true, false], None, Tables::Migrate);
        assert!(status == Status::Note && detail.contains("1 pending"), "{detail}");
        assert_eq!(of(&[true], None, Tables::Leave).0, Status::Ok);
        assert_eq!(of(&[true, false], None, Tables::Leave).0, Status::Fail);
        let (_, detail) = of(&[false], Some("PostgreSQL 15.1"), Tables::Migrate);
        assert_eq!(detail, "PostgreSQL 15.1: its tables will be made");
    }
}
