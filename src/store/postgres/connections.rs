//! The connections to a Postgres: a few, opened when they are needed.
//!
//! Why not the pool that sqlx has: while the database refuses, that one tries again until its timeout, and then
//! tells neither soon nor why; it asks every connection whether it lives, before and after each use; and one whose
//! question was given up stays taken until the database answers. Here a connection that did not answer is let go at
//! once, and a failure is told as it is.
//!
//! Where a pooler in transaction mode stands between (`PgBouncer`, as hosters put it before their databases), a connection is
//! another one after each transaction. There is no session then: nothing is set at the start of a connection but in each
//! transaction, everything is asked within one, and statements have no names.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parking_lot::Mutex;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::database::postgres::{Config, Limits, PoolMode};
use crate::domain::ids::random_u64;

/// After so long without use a connection is asked whether it lives: a database that was restarted has cut it.
const FRESH: Duration = Duration::from_secs(1);
/// After so long without use it is closed.
const LONGEST_IDLE: Duration = Duration::from_mins(5);
/// The setting that marks a session.
const MARK: &str = "rejoinder.session";
/// The longest that saying goodbye takes.
const GOODBYE: Duration = Duration::from_secs(1);

/// The connections to one database. A handle: cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    pub(super) limits: Limits,
    permits: Arc<Semaphore>,
    home: Arc<Home>,
}

#[derive(Debug)]
struct Home {
    /// Of a session, with what is set in it.
    session: PgConnectOptions,
    /// Of one that is shared.
    shared: PgConnectOptions,
    /// How a transaction begins on one that is shared.
    begin: String,
    /// Set in a session: whoever does not find it there has none.
    mark: String,
    mode: Mutex<PoolMode>,
    /// Nobody said what it is.
    is_guessed: bool,
    /// Those that were used last stand last.
    idle: Mutex<Vec<(Instant, PgConnection)>>,
}

/// A connection in use. Dropped, it is cut: whoever drops it may have left in the middle of an answer.
#[derive(Debug)]
pub(super) struct Lease {
    connection: PgConnection,
    /// It is a session. If not, it is in a transaction that was begun for what is asked.
    is_session: bool,
    home: Arc<Home>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    /// Opens none yet.
    pub(super) fn new(config: &Config) -> Self {
        let limits = config.limits;
        let settings = [
            // A statement that hangs (a lock, a disk) fails there, and not only here.
            ("statement_timeout", milliseconds(limits.statement)),
            ("idle_in_transaction_session_timeout", milliseconds(limits.statement)),
            // A commit does not wait for the disk. What a crash of the database takes back, it takes back together with
            // the position, which stands in the same transaction: then it is projected again from the log.
            ("synchronous_commit", "off".to_owned()),
        ];
        let in_transaction = settings.iter().map(|(name, value)| format!("; SET LOCAL {name} = {value}"));
        let (begin, mark) = (format!("BEGIN{}", in_transaction.collect::<String>()), format!("{:x}", random_u64()));
        let home = Home {
            session: config.options().options(settings).options([(MARK, &mark)]),
            shared: config.options().statement_cache_capacity(0),
            begin,
            mark,
            mode: Mutex::new(config.pool_mode),
            is_guessed: config.pool_mode == PoolMode::Auto,
            idle: Mutex::default(),
        };
        Self { limits, permits: Arc::new(Semaphore::new(limits.connections as usize)), home: Arc::new(home) }
    }

    /// Takes one that is idle, or opens one.
    pub(super) async fn take(&self) -> Result<Lease, sqlx::Error> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = within(self.limits.acquire, "no connection was free (DATABASE_POOL)", async {
            permit.await.map_err(|_| sqlx::Error::PoolClosed)
        });
        let permit = permit.await?;
        let mut connection = match self.idle().await {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let is_session = self.mode() != PoolMode::Transaction;
        if !is_session {
            // All that is set is a number or a word of ours.
            sqlx::raw_sql(AssertSqlSafe(self.home.begin.clone())).execute(&mut connection).await?;
        }
        Ok(Lease { connection, is_session, home: Arc::clone(&self.home), _permit: permit })
    }

    fn mode(&self) -> PoolMode {
        *self.home.mode.lock()
    }

    /// Opens one, and finds out whether it is a session.
    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        let (home, limit) = (&self.home, self.limits.connect);
        match self.mode() {
            PoolMode::Session => return connect(&home.session, limit).await,
            PoolMode::Transaction => return connect(&home.shared, limit).await,
            PoolMode::Auto => {}
        }
        match connect(&home.session, limit).await {
            Ok(mut connection) => {
                if within(limit, "no answer", is_marked(&mut connection, &home.mark)).await? {
                    *home.mode.lock() = PoolMode::Session;
                    return Ok(connection);
                }
                let _ = timeout(GOODBYE, connection.close()).await;
            }
            Err(error) if is_refused_option(&error) => {}
            Err(error) => return Err(error),
        }
        let connection = connect(&home.shared, limit).await?;
        self.share("what is set at the start of a session does not reach the database");
        Ok(connection)
    }

    /// From now on a connection is taken for one that others have, too.
    fn share(&self, why: &str) {
        let mode = std::mem::replace(&mut *self.home.mode.lock(), PoolMode::Transaction);
        self.home.idle.lock().clear();
        if mode != PoolMode::Transaction {
            tracing::info!(
                why,
                "a pooler stands before the store: each question has a transaction (DATABASE_POOL_MODE)"
            );
        }
    }

    /// Looks whether a failure is one of a session that is none. A pooler that hands on what is set at the start of one
    /// shows itself by statements that are another's.
    pub(super) fn heed(&self, error: &sqlx::Error) {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        if self.mode() == PoolMode::Session
            && self.home.is_guessed
            && code.is_some_and(|code| ["42P05", "26000"].contains(&&*code))
        {
            self.share("statements are not where they were prepared");
        }
    }

    /// One that was open already, if there is one and it lives.
    async fn idle(&self) -> Option<PgConnection> {
        let (since, mut connection) = {
            let mut idle = self.home.idle.lock();
            let old = idle.partition_point(|(since, _)| since.elapsed() > LONGEST_IDLE);
            idle.drain(..old);
            idle.pop()?
        };
        if since.elapsed() > FRESH && !matches!(timeout(self.limits.connect, connection.ping()).await, Ok(Ok(()))) {
            // What cut this one cut the others.
            self.home.idle.lock().clear();
            return None;
        }
        Some(connection)
    }

    /// Opens no more, and closes those that are idle.
    pub(super) async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *self.home.idle.lock());
        let _ = timeout(GOODBYE, join_all(idle.into_iter().map(|(_, connection)| connection.close()))).await;
    }
}

impl Lease {
    /// Whether a statement that is given a name is found again.
    pub(super) const fn is_session(&self) -> bool {
        self.is_session
    }

    /// Gives it back, after everything that was asked was answered. What was written is so from then on.
    pub(super) async fn finish(mut self) -> Result<(), sqlx::Error> {
        if !self.is_session {
            sqlx::raw_sql("COMMIT").execute(&mut self.connection).await?;
        }
        // One that was taken for a session may have turned out to be none.
        if self.is_session == (*self.home.mode.lock() != PoolMode::Transaction) {
            self.home.idle.lock().push((Instant::now(), self.connection));
        }
        Ok(())
    }
}

impl Deref for Lease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

/// As Postgres reads it: 0 would mean that there is no limit, and it counts no further than this.
fn milliseconds(duration: Duration) -> String {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX).max(1).to_string()
}

/// Whether what was set at the start of a session stands in it.
async fn is_marked(connection: &mut PgConnection, mark: &str) -> Result<bool, sqlx::Error> {
    let row = sqlx::raw_sql("SELECT current_setting('rejoinder.session', true)").fetch_one(connection).await?;
    Ok(row.try_get::<Option<String>, _>(0)?.as_deref() == Some(mark))
}

/// Whether something between does not take what is set at the start of a session. `PgBouncer` says “unsupported startup
/// parameter” under the code of everything that it does not like.
fn is_refused_option(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else { return false };
    let code = error.code().is_some_and(|code| ["0A000", "42704", "22023"].contains(&&*code));
    code || error.message().contains("startup parameter")
}

/// A connection of its own.
pub(super) async fn connect(options: &PgConnectOptions, limit: Duration) -> Result<PgConnection, sqlx::Error> {
    // Boxed: it is large, seldom, and would make every request's future as large.
    within(limit, "no connection (DATABASE_CONNECT_TIMEOUT)", Box::pin(options.connect())).await
}

/// What `work` gives, if it does within this time.
pub(super) async fn within<T>(
    limit: Duration,
    late: &str,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        let text = format!("{late} within {limit:?}");
        Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text)))
    })
}
