//! `rejoinder migrate`, on files that are there and files that are not, and on a Postgres.

use std::path::Path;

use futures_util::future::join_all;

use crate::run::{Ran, rejoinder_in};
use crate::support::{
    postgres::{PASSWORD, shared},
    server::Server,
    until,
};

async fn migrate(directory: &Path, words: &str) -> Ran {
    rejoinder_in(directory, &[], words).await
}

/// What it printed, with one space between columns.
fn table(ran: &Ran) -> String {
    ran.out.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn files(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

#[tokio::test]
async fn a_dry_run_on_nothing_tells_what_would_be_done_and_makes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let ran = migrate(directory.path(), "migrate --dry-run").await;
    assert!(ran.code == 0 && ran.out.contains("sqlite:./data/rejoinder.db\n"), "{ran:?}");
    assert!(table(&ran).contains("0001 transcripts to be applied"), "{ran:?}");
    assert_eq!(files(directory.path()), 0);
}

#[tokio::test]
async fn migrations_are_applied_once() {
    let directory = tempfile::tempdir().unwrap();
    let first = migrate(directory.path(), "migrate").await;
    assert!(first.code == 0 && table(&first).contains("transcripts applied now"), "{first:?}");
    assert!(directory.path().join("data/rejoinder.db").is_file());
    for words in ["migrate", "migrate --dry-run"] {
        let again = migrate(directory.path(), words).await;
        assert!(again.code == 0 && table(&again).contains("transcripts already applied"), "{again:?}");
        // A look leaves no write-ahead log behind.
        assert_eq!(files(&directory.path().join("data")), 1, "{words}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_migrations_of_one_postgres_at_once_make_its_tables_once() {
    let (directory, database) = (tempfile::tempdir().unwrap(), shared().database());
    let url = shared().url(&database);
    let postgres = [("DATABASE_URL", &*url)];
    let dry = rejoinder_in(directory.path(), &postgres, "migrate --dry-run").await;
    assert!(dry.code == 0 && table(&dry).contains("transcripts to be applied"), "{dry:?}");
    assert_eq!(shared().sql(&database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");

    let ten = join_all((0..10).map(|_| rejoinder_in(directory.path(), &postgres, "migrate"))).await;
    for ran in &ten {
        assert!(ran.code == 0 && !ran.out.contains(PASSWORD) && ran.err.is_empty(), "{ran:?}");
    }
    assert_eq!(shared().sql(&database, "SELECT count(*) FROM _sqlx_migrations"), all().to_string());
    let again = rejoinder_in(directory.path(), &postgres, "migrate").await;
    assert!(again.code == 0 && table(&again).contains("transcripts already applied"), "{again:?}");
    assert_eq!(files(directory.path()), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_to_leave_the_tables_alone_does_not_start_before_they_are_made() {
    for url in [None, Some(shared().url(&shared().database()))] {
        let config = Server::bare().env("MIGRATE", "off").env("DATABASE_URL", url.as_deref().unwrap_or_default());
        let ended = config.clone().try_start().await.expect_err("its tables are missing");
        assert!(!ended.status.success());
        until("the reason", async || {
            let output = config.output();
            (output.contains(&format!("{} of its migrations are pending", all()))
                && output.contains("rejoinder migrate"))
            .then_some(())
        })
        .await;
        let set: Vec<_> = url.iter().map(|url| ("DATABASE_URL", url.as_str())).collect();
        let checked = rejoinder_in(config.data_dir(), &[&set[..], &[("MIGRATE", "off")]].concat(), "check").await;
        assert!(checked.code == 1 && checked.out.contains("MIGRATE=off"), "{checked:?}");
        assert_eq!(rejoinder_in(config.data_dir(), &set, "migrate").await.code, 0);
        let server = config.start().await;
        assert_eq!(server.api().get("/readyz").await.status, 200);
    }
}

#[tokio::test]
async fn the_store_of_a_running_server_can_be_looked_at() {
    let config = Server::bare();
    let directory = config.data_dir().to_owned();
    let server = config.start().await;
    let ran = migrate(&directory, "migrate --dry-run").await;
    assert!(ran.code == 0 && ran.out.contains("already applied"), "{ran:?}");
    assert_eq!(server.api().get("/healthz").await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_done_is_said_with_its_cause() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "no database, but long enough to be looked at ".repeat(20)).unwrap();
    for (url, cause) in [("sqlite:file/below.db", "Not a directory"), ("sqlite:file", "not a database")] {
        for words in ["migrate", "migrate --dry-run"] {
            let ran = rejoinder_in(directory.path(), &[("DATABASE_URL", url)], words).await;
            assert!(ran.code == 1 && ran.out.is_empty() && ran.err.contains(cause), "{ran:?}");
            assert!(ran.err.contains(url), "{ran:?}");
        }
    }
    let wrong = [("DATABASE_URL", "mysql://x"), ("PORT", "http")];
    for words in ["migrate", "serve"] {
        let ran = rejoinder_in(directory.path(), &wrong, words).await;
        assert!(ran.code == 1 && ran.err.contains("DATABASE_URL") && ran.err.contains("PORT=http"), "{ran:?}");
    }
    assert_eq!(migrate(directory.path(), "migrate --dry").await.code, 2);
}

/// How many migrations there are, of either store.
fn all() -> usize {
    std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres")).unwrap().count()
}
