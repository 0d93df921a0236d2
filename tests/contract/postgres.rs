//! The store in a Postgres: the contract, and what is true of it only.

use rejoinder::domain::ids::ThreadId;
use rejoinder::store::postgres::{Limits, PoolMode};
use rejoinder::store::{Config, Store, Tables};
use tokio::task::JoinSet;

use crate::postgres_server::pgbouncer::PgBouncer;
use crate::postgres_server::{Cluster, PASSWORD, shared};

fn config(url: &str) -> Config {
    Config::from_url(url, Limits::default()).expect("a URL")
}

async fn open(url: &str) -> Store {
    Store::open(&config(url), Tables::Migrate).await.expect("a store")
}

/// A new store in a database of its own, which stays until the server goes.
async fn fresh() -> (Store, ()) {
    let store = open(&shared().url(&shared().database())).await;
    assert!(store.was_reached());
    (store, ())
}

crate::store_contract_tests!(fresh);
crate::store_contract_tests!(users: fresh);
crate::store_contract_tests!(webhooks: fresh);

#[tokio::test]
async fn a_closed_store_opens_again_with_everything_in_it() {
    let url = shared().socket_url(&shared().database());
    let store = open(&url).await;
    crate::store_contract::a_reply_reads_back_as_it_was(store.clone()).await;
    store.close().await;
    assert!(store.ping().await.is_err(), "it is closed");
    assert_eq!(open(&url).await.position(0).await.unwrap().expect("a position").position, 2);
}

#[tokio::test]
async fn rows_say_whom_they_belong_to_and_older_ones_nobody() {
    use sqlx::Connection;
    let database = shared().database();
    let url = shared().url(&database);
    // As the version before owners left it.
    let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
    let all = sqlx::migrate!("migrations/postgres");
    let first = sqlx::migrate::Migrator::with_migrations(all.iter().take(1).cloned().collect());
    first.run(&mut connection).await.unwrap();
    let old = "INSERT INTO replies (id, ordinal, in_conversation, created_at, status, model, accepted) \
               VALUES ('resp_old', 1, false, 0, 'completed', 'echo', '')";
    shared().sql(&database, old);
    let store = open(&url).await;
    crate::store_contract::project_what_is_owned(&store).await;
    let owners = "SELECT string_agg(owner, ',' ORDER BY id) FROM (SELECT id, owner FROM replies \
                  UNION ALL SELECT kind, owner FROM changes WHERE owner <> '') AS owned";
    let mut owners: Vec<_> = shared().sql(&database, owners).split(',').map(str::to_owned).collect();
    owners.sort();
    assert_eq!(owners, ["", "acme/alice", "acme/alice", "acme/alice"]);
}

#[tokio::test]
async fn conversations_from_before_there_was_a_list_are_in_it() {
    let database = shared().database();
    let url = shared().url(&database);
    let listed = crate::store_contract::project_conversations(&open(&url).await).await;
    shared().sql(&database, "DROP TABLE conversations; DELETE FROM _sqlx_migrations WHERE version = 4");
    let found = crate::store_contract::alices(&open(&url).await).await;
    assert_eq!((found.len(), &found), (2, &listed));
}

#[tokio::test]
async fn ten_that_open_at_once_make_the_tables_once() {
    let database = shared().database();
    let mut opening = JoinSet::new();
    for _ in 0..10 {
        let url = shared().url(&database);
        opening.spawn(async move { open(&url).await.ping().await });
    }
    for opened in opening.join_all().await {
        opened.unwrap();
    }
    let all = sqlx::migrate!("migrations/postgres").iter().count().to_string();
    assert_eq!(shared().sql(&database, "SELECT count(*) FROM _sqlx_migrations"), all);
}

#[tokio::test]
async fn a_connection_that_was_cut_is_replaced() {
    let database = shared().database();
    let store = open(&shared().url(&database)).await;
    store.ping().await.unwrap();
    let cut = "SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity WHERE application_name = 'rejoinder' \
               AND datname = current_database()";
    assert_eq!(shared().sql(&database, cut), "t");
    // It may have been used too shortly before to be asked whether it lives; that costs one question.
    let _ = store.ping().await;
    store.ping().await.unwrap();
}

/// A table that takes a minute for whatever it is asked.
fn slow_down(database: &str, table: &str) {
    let sql = format!(
        "ALTER TABLE {table} RENAME TO hidden; \
         CREATE VIEW {table} AS WITH slow AS MATERIALIZED (SELECT pg_sleep(60)) \
         SELECT * FROM hidden WHERE (SELECT count(*) FROM slow) = 1"
    );
    shared().sql(database, &sql);
}

#[tokio::test]
async fn a_question_that_was_given_up_holds_no_connection() {
    let database = shared().database();
    let limits = Limits { connections: 1, ..Limits::default() };
    let config = Config::from_url(&shared().url(&database), limits).unwrap();
    let store = Store::open(&config, Tables::Migrate).await.unwrap();
    slow_down(&database, "changes");
    for _ in 0..3 {
        let question = store.thread(ThreadId::random());
        let given_up = tokio::time::timeout(std::time::Duration::from_millis(50), question).await;
        assert!(given_up.is_err(), "it is slow");
        store.ping().await.unwrap();
    }
}

#[tokio::test]
async fn a_statement_that_hangs_ends() {
    let database = shared().database();
    let limits = Limits { statement: std::time::Duration::from_millis(50), ..Limits::default() };
    let config = Config::from_url(&shared().url(&database), limits).unwrap();
    let store = Store::open(&config, Tables::Migrate).await.unwrap();
    slow_down(&database, "positions");
    let error = store.position(0).await.unwrap_err();
    assert!(error.is_passing() && format!("{error:?}").contains("57014"), "{error:?}");
}

#[tokio::test]
async fn a_history_of_another_version_is_not_opened() {
    let database = shared().database();
    let url = shared().url(&database);
    open(&url).await.close().await;
    shared().sql(
        &database,
        "INSERT INTO _sqlx_migrations SELECT 9999, description, installed_on, success, checksum, 0 \
         FROM _sqlx_migrations WHERE version = 1",
    );
    let error = Store::open(&config(&url), Tables::Migrate).await.unwrap_err();
    assert!(error.reason.contains("9999") && !error.to_string().contains(PASSWORD), "{error}");
}

#[tokio::test]
async fn tables_are_left_alone_where_that_is_wanted() {
    let database = shared().database();
    let url = shared().url(&database);
    let error = Store::open(&config(&url), Tables::Leave).await.unwrap_err();
    assert!(error.reason.contains("MIGRATE=off"), "{error}");
    assert_eq!(shared().sql(&database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
    open(&url).await.close().await;
    Store::open(&config(&url), Tables::Leave).await.unwrap();
}

#[tokio::test]
async fn a_database_that_cannot_hold_all_texts_is_refused() {
    let name = "latin";
    shared().sql(
        "postgres",
        "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    );
    let error = Store::open(&config(&shared().url(name)), Tables::Migrate).await.unwrap_err();
    assert!(error.reason.contains("LATIN1"), "{error}");
}

#[tokio::test]
async fn tls_is_spoken_and_the_certificate_is_looked_at() {
    let cluster = Cluster::new();
    let certificate = cluster.set_tls();
    let database = cluster.database();
    let url = cluster.url(&database).replace("127.0.0.1", "localhost");
    let store = open(&format!("{url}?sslmode=verify-full&sslrootcert={}", certificate.display())).await;
    assert!(store.was_reached());
    store.ping().await.unwrap();
    let over_tls = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                    WHERE application_name = 'rejoinder'";
    assert_eq!(cluster.sql(&database, over_tls), "t");
    let unknown = Store::history(&config(&format!("{url}?sslmode=verify-full"))).await.unwrap_err();
    assert!(unknown.reason.contains("certificate"), "{unknown}");
    assert!(unknown.change.as_ref().is_some_and(|change| change.contains("sslrootcert")), "{unknown}");
}

/// `cargo test --release --test contract -- --ignored --nocapture measure`
#[tokio::test]
#[ignore = "a measurement, of a release build"]
async fn measure_what_a_reply_costs() {
    use crate::store_contract::{Load, measure};
    let cluster = Cluster::new();
    cluster.set_safe();
    for (in_order, end_after) in [(false, 0), (false, 10), (true, 0), (true, 10)] {
        let store = open(&cluster.url(&cluster.database())).await;
        measure(store, Load { in_order, batch: 50, end_after, text: 100 }).await;
    }
}

/// The contract behind a pooler that has two connections for all, each another's after each transaction.
mod behind_a_pooler {
    use super::*;

    async fn fresh() -> (Store, PgBouncer) {
        let bouncer = PgBouncer::start(shared(), "");
        let store = open(&bouncer.url(&shared().database())).await;
        assert!(store.was_reached());
        (store, bouncer)
    }

    crate::store_contract_tests!(fresh);
}

/// What a pooler says to what is set at the start of a session.
const POOLERS: [&str; 2] = ["", "ignore_startup_parameters=extra_float_digits,options"];

#[tokio::test]
async fn many_use_two_connections_of_a_pooler_at_once_and_the_tables_are_made_once() {
    for more in POOLERS {
        let (bouncer, database) = (PgBouncer::start(shared(), more), shared().database());
        let mut opening = JoinSet::new();
        for _ in 0..10 {
            let url = bouncer.url(&database);
            opening.spawn(async move {
                let store = open(&url).await;
                for _ in 0..20 {
                    tokio::try_join!(store.position(0), store.blob(ThreadId::random(), [0; 32]))?;
                    store.ping().await?;
                }
                Ok::<_, rejoinder::store::Error>(())
            });
        }
        for opened in opening.join_all().await {
            opened.unwrap();
        }
        let migrations = std::fs::read_dir("migrations/postgres").unwrap().count();
        assert_eq!(shared().sql(&database, "SELECT count(*) FROM _sqlx_migrations"), migrations.to_string());
        let history = Store::history(&config(&bouncer.url(&database))).await.unwrap();
        assert!(history.server.is_some_and(|server| server.ends_with("behind a pooler in transaction mode")));
        let history = Store::history(&config(&shared().url(&database))).await.unwrap();
        assert!(history.server.is_some_and(|server| !server.contains("pooler")));
    }
}

#[tokio::test]
async fn behind_a_pooler_a_statement_that_hangs_ends_and_a_connection_that_was_idle_is_used_again() {
    let (bouncer, database) = (PgBouncer::start(shared(), ""), shared().database());
    let limits = Limits { statement: std::time::Duration::from_millis(50), ..Limits::default() };
    let config = Config::from_url(&bouncer.url(&database), limits).unwrap();
    let store = Store::open(&config, Tables::Migrate).await.unwrap();
    slow_down(&database, "positions");
    let error = store.position(0).await.unwrap_err();
    assert!(error.is_passing() && format!("{error:?}").contains("57014"), "{error:?}");
    let thread = ThreadId::random();
    store.blob(thread, [0; 32]).await.unwrap();
    // For so long that it is asked whether it lives.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    store.blob(thread, [0; 32]).await.unwrap();
}

/// A pooler may hand on what is set at the start of a session, and share it all the same: then statements show it.
#[tokio::test]
async fn a_session_that_turns_out_to_be_none_is_used_as_one_that_is_shared() {
    let (bouncer, database) = (PgBouncer::start(shared(), POOLERS[1]), shared().database());
    let postgres = |mode| match config(&bouncer.url(&database)) {
        Config::Postgres(postgres) => Config::Postgres(postgres.with_pool_mode(mode)),
        sqlite @ Config::Sqlite(_) => sqlite,
    };
    // The operator says that it is one: named statements of one are in the way of the next.
    let wrong = postgres(PoolMode::Session);
    let mut failed = false;
    for _ in 0..4 {
        let store = Store::open(&wrong, Tables::Migrate).await.unwrap();
        for _ in 0..4 {
            failed |= tokio::join!(store.position(0), store.ping()).1.is_err();
        }
    }
    assert!(failed, "a pooler in transaction mode takes no sessions");
    let store = Store::open(&postgres(PoolMode::Transaction), Tables::Migrate).await.unwrap();
    store.ping().await.unwrap();
}
