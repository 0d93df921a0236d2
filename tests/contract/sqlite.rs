//! What is particular about a store in a `SQLite` file.

mod files;

use rejoinder::store::{Config, Store, Tables};
use tempfile::TempDir;

/// A new store, and what has to be kept for it to stay.
async fn fresh() -> (Store, TempDir) {
    let directory = TempDir::new().expect("a temporary directory");
    let store = Store::open(&Config::in_dir(directory.path()), Tables::Migrate).await.expect("a store");
    (store, directory)
}

crate::store_contract_tests!(fresh);
crate::store_contract_tests!(users: fresh);
crate::store_contract_tests!(webhooks: fresh);

#[tokio::test]
async fn a_closed_store_opens_again_with_everything_in_it() {
    let (store, directory) = fresh().await;
    crate::store_contract::a_reply_reads_back_as_it_was(store.clone()).await;
    store.close().await;
    let again = Store::open(&Config::in_dir(directory.path()), Tables::Migrate).await.expect("a store");
    assert_eq!(again.position(0).await.unwrap().expect("a position").position, 2);
}

#[tokio::test]
async fn rows_say_whom_they_belong_to_and_older_ones_nobody() {
    use sqlx::{ConnectOptions, Row};
    let directory = TempDir::new().expect("a temporary directory");
    let file = || sqlx::sqlite::SqliteConnectOptions::new().filename(directory.path().join("rejoinder.db"));
    // As the version before owners left it.
    let mut connection = file().create_if_missing(true).connect().await.unwrap();
    let all = sqlx::migrate!("migrations/sqlite");
    let first = sqlx::migrate::Migrator::with_migrations(all.iter().take(1).cloned().collect());
    first.run(&mut connection).await.unwrap();
    let old = "INSERT INTO replies (id, thread, ordinal, in_conversation, created_at, status, model, accepted) \
               VALUES ('resp_old', 'old', 1, false, 0, 'completed', 'echo', '')";
    sqlx::query(old).execute(&mut connection).await.unwrap();
    let store = Store::open(&Config::in_dir(directory.path()), Tables::Migrate).await.expect("a store");
    crate::store_contract::project_what_is_owned(&store).await;
    let owners = "SELECT owner FROM replies UNION ALL SELECT owner FROM changes WHERE owner <> '' ORDER BY owner";
    let rows = sqlx::query(owners).fetch_all(&mut connection).await.unwrap();
    let owners: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(owners, ["", "acme/alice", "acme/alice", "acme/alice"]);
}

#[tokio::test]
async fn conversations_from_before_there_was_a_list_are_in_it() {
    use sqlx::ConnectOptions;
    let directory = TempDir::new().expect("a temporary directory");
    let store = Store::open(&Config::in_dir(directory.path()), Tables::Migrate).await.expect("a store");
    let listed = crate::store_contract::project_conversations(&store).await;
    store.close().await;
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(directory.path().join("rejoinder.db"));
    let mut connection = file.connect().await.unwrap();
    for before in ["DROP TABLE conversations", "DELETE FROM _sqlx_migrations WHERE version = 4"] {
        sqlx::query(before).execute(&mut connection).await.unwrap();
    }
    let again = Store::open(&Config::in_dir(directory.path()), Tables::Migrate).await.expect("a store");
    let found = crate::store_contract::alices(&again).await;
    assert_eq!((found.len(), &found), (2, &listed));
}

#[tokio::test]
async fn a_path_that_cannot_be_a_file_is_refused_in_words() {
    let directory = TempDir::new().expect("a temporary directory");
    let error = Store::open(&Config::Sqlite(directory.path().to_owned()), Tables::Migrate).await.unwrap_err();
    assert!(error.to_string().contains("cannot be opened"), "{error}");
}

/// `cargo test --release --test contract -- --ignored --nocapture measure`
#[tokio::test]
#[ignore = "a measurement, of a release build"]
#[expect(clippy::print_stdout, reason = "the figures are its result")]
async fn measure_what_a_reply_costs() {
    use crate::store_contract::{Load, measure};
    // At 1,000 replies/s, in batches of 200 ms: of 20 words, at once or half a second long, and of 1 KB.
    let load = |in_order, end_after, text| Load { in_order, batch: 200, end_after, text };
    for load in [load(false, 0, 100), load(false, 3, 100), load(true, 0, 100), load(true, 3, 100), load(true, 0, 1000)]
    {
        let (store, directory) = fresh().await;
        let replies = measure(store, load).await as u64;
        let size = std::fs::metadata(directory.path().join("rejoinder.db")).unwrap().len();
        println!("    {} bytes of the disk", size / replies);
    }
}
