//! The migrations of a Postgres, and what else has to be so that it can be used.

use std::time::{Duration, Instant};

use sqlx::Connection;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnection;

use super::connections::{Connections, connect, within};
use super::failure::cannot_open;
use crate::config::database::postgres::Config;
use crate::store::migrations::{Applied, applied, compare};
use crate::store::{History, OpenError, Tables};

/// All of them.
pub(in crate::store) static ALL: Migrator = sqlx::migrate!("migrations/postgres");

/// The oldest Postgres that will do, as it numbers itself.
const OLDEST: i32 = 13_0000;

/// The factor of the advisory lock under which sqlx migrates a database: builds before took it so.
const LOCK: i64 = 0x3d32_ad9e;

/// The table of what was applied, as sqlx makes it.
const HISTORY: &str = "\
CREATE TABLE IF NOT EXISTS _sqlx_migrations ( \
    version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), \
    success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL)";

/// The longest that migrations take, with the wait for another server that is at it. A table of many millions of rows
/// takes its time; beyond that it hangs.
const LONGEST_MIGRATION: Duration = Duration::from_mins(30);

/// What is found of a database that can be used, perhaps once its tables are made.
struct Found {
    history: History,
    /// It cannot be written now: it follows another one.
    read_only: bool,
    /// The user may make tables where they would be made.
    may_create: bool,
}

/// See [`crate::store::Store::history`].
pub(in crate::store) async fn of(config: &Config) -> Result<History, OpenError> {
    let (connection, mut found) = look(config).await?;
    let _ = connection.close().await;
    if let Some(server) = &mut found.history.server
        && is_shared(config).await.map_err(|error| cannot_open(config, &error))?
    {
        server.push_str(" behind a pooler in transaction mode");
    }
    if found.read_only {
        return Err(OpenError::new(config.url(), "it is read-only: a standby, or told to be")
            .change("DATABASE_URL, to the primary"));
    }
    if found.history.pending() > 0 && !found.may_create {
        return Err(OpenError::new(config.url(), "this user may not make tables in it").change(
            "in that database: GRANT CREATE ON SCHEMA public TO the user; or have one who may run rejoinder migrate",
        ));
    }
    Ok(found.history)
}

/// Looks whether the database can be used, and brings its tables up to date if that is wanted. Of several servers that
/// start at once one does it, under an advisory lock, and the others wait for it.
pub(in crate::store) async fn prepare(config: &Config, tables: Tables) -> Result<(), OpenError> {
    let (mut connection, found) = look(config).await?;
    match (found.history.pending(), tables) {
        (0, _) => {}
        (count, Tables::Leave) => return Err(OpenError::pending(config.url(), count)),
        (count, Tables::Migrate) => {
            tracing::info!(store = config.url(), pending = count, "migrating the store");
            let migrated = within(LONGEST_MIGRATION, "the migrations did not come to their end", run(&mut connection));
            migrated.await.map_err(|error| cannot_open(config, &error))?;
        }
    }
    let _ = connection.close().await;
    Ok(())
}

/// Whether a connection is another's after each transaction.
async fn is_shared(config: &Config) -> Result<bool, sqlx::Error> {
    let connections = Connections::new(config);
    let lease = connections.take().await?;
    let is_session = lease.is_session();
    lease.finish().await?;
    connections.close().await;
    Ok(!is_session)
}

/// Applies what is missing, as [`Migrator::run`] would, in tables and under a lock that are the same. But that one takes the
/// lock for a session, and gives its statements names: both would stay in a connection that a pooler gives to another.
async fn run(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    let name: String =
        sqlx::query_scalar("SELECT current_database()").persistent(false).fetch_one(&mut *transaction).await?;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK * i64::from(crc32fast::hash(name.as_bytes())));
    lock.persistent(false).execute(&mut *transaction).await?;
    sqlx::raw_sql(HISTORY).execute(&mut *transaction).await?;
    let (_, applied) = read(&mut transaction).await?;
    for migration in ALL.iter().filter(|migration| !applied.contains_key(&migration.version)) {
        let begun = Instant::now();
        sqlx::raw_sql(migration.sql.clone()).execute(&mut *transaction).await?;
        sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES ($1, $2, TRUE, $3, $4)",
        )
        .bind(migration.version)
        .bind(&*migration.description)
        .bind(&*migration.checksum)
        .bind(i64::try_from(begun.elapsed().as_nanos()).unwrap_or(i64::MAX))
        .persistent(false)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await
}

/// Connects and looks. No longer than two connections may take: whoever starts a server waits for it.
async fn look(config: &Config) -> Result<(PgConnection, Found), OpenError> {
    let failed = |error| cannot_open(config, &error);
    let limit = config.limits.connect;
    let options = config.options().statement_cache_capacity(0);
    let mut connection = connect(&options, limit).await.map_err(failed)?;
    let looked = within(limit, "it takes connections, and gives no answer", async {
        // A pooler may have another connection for each transaction.
        let mut transaction = connection.begin().await?;
        let found = read(&mut transaction).await?;
        transaction.rollback().await?;
        Ok(found)
    });
    let looked = looked.await;
    let (found, applied) = looked.map_err(failed)?;
    let refused = |reason: String| OpenError::new(config.url(), reason);
    if found.version < OLDEST {
        let reason = format!("it is PostgreSQL {}; {} or newer is needed", found.version / 10_000, OLDEST / 10_000);
        return Err(refused(reason).change("the PostgreSQL server"));
    }
    if found.encoding != "UTF8" {
        let reason = format!("its encoding is {}, which cannot hold all texts", found.encoding);
        return Err(refused(reason).change("DATABASE_URL, to a database made with ENCODING 'UTF8' TEMPLATE template0"));
    }
    let migrations = compare(&ALL, &applied).map_err(refused)?;
    let history = History { server: Some(format!("PostgreSQL {}", found.name)), migrations, is_old: false };
    Ok((connection, Found { history, read_only: found.read_only, may_create: found.may_create }))
}

#[derive(sqlx::FromRow)]
struct State {
    version: i32,
    name: String,
    encoding: String,
    read_only: bool,
    has_history: bool,
    may_create: bool,
}

async fn read(connection: &mut PgConnection) -> Result<(State, Applied), sqlx::Error> {
    let state: State = sqlx::query_as(
        "SELECT current_setting('server_version_num')::int AS version, \
         split_part(current_setting('server_version'), ' ', 1) AS name, \
         current_setting('server_encoding') AS encoding, \
         current_setting('transaction_read_only')::bool AS read_only, \
         to_regclass('_sqlx_migrations') IS NOT NULL AS has_history, \
         coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create",
    )
    .persistent(false)
    .fetch_one(&mut *connection)
    .await?;
    if !state.has_history {
        return Ok((state, Applied::new()));
    }
    let rows = sqlx::query_as("SELECT version, checksum, description FROM _sqlx_migrations WHERE success");
    Ok((state, applied(rows.persistent(false).fetch_all(&mut *connection).await?)))
}
