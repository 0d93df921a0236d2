//! The connections to a Postgres: a few, opened when they are needed.
//!
//! Why not the pool that sqlx has: while the database refuses, that one tries again until its patience ends, and then
//! tells neither soon nor why; it asks every connection whether it lives, before and after each use; and one whose
//! question was given up stays taken until the database answers. Here a connection that did not answer is let go at
//! once, and a failure is told as it is.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parking_lot::Mutex;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::database::postgres::{Config, Limits};

/// After so long without use a connection is asked whether it lives: a database that was restarted has cut it.
const FRESH: Duration = Duration::from_secs(1);
/// After so long without use it is closed.
const LONGEST_IDLE: Duration = Duration::from_mins(5);
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
    options: PgConnectOptions,
    /// Those that were used last stand last.
    idle: Mutex<Vec<(Instant, PgConnection)>>,
}

/// A connection in use. Dropped, it is cut: whoever drops it may have left in the middle of an answer.
#[derive(Debug)]
pub(super) struct Lease {
    connection: PgConnection,
    home: Arc<Home>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    /// Opens none yet.
    pub(super) fn new(config: &Config) -> Self {
        let limits = config.limits;
        let options = config.options().options([
            // A statement that hangs (a lock, a disk) fails there, and not only here.
            ("statement_timeout", milliseconds(limits.statement)),
            ("idle_in_transaction_session_timeout", milliseconds(limits.statement)),
            // A commit does not wait for the disk. What a crash of the database takes back, it takes back together with
            // the position, which stands in the same transaction: then it is projected again from the log.
            ("synchronous_commit", "off".to_owned()),
        ]);
        let permits = Arc::new(Semaphore::new(limits.connections as usize));
        Self { limits, permits, home: Arc::new(Home { options, idle: Mutex::default() }) }
    }

    /// Takes one that is idle, or opens one.
    pub(super) async fn take(&self) -> Result<Lease, sqlx::Error> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = within(self.limits.acquire, "no connection was free (DATABASE_POOL)", async {
            permit.await.map_err(|_| sqlx::Error::PoolClosed)
        });
        let permit = permit.await?;
        let connection = match self.idle().await {
            Some(connection) => connection,
            None => connect(&self.home.options, self.limits.connect).await?,
        };
        Ok(Lease { connection, home: Arc::clone(&self.home), _permit: permit })
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
    /// Gives it back, after everything that was asked was answered.
    pub(super) fn keep(self) {
        self.home.idle.lock().push((Instant::now(), self.connection));
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

/// A connection of its own.
pub(super) async fn connect(options: &PgConnectOptions, patience: Duration) -> Result<PgConnection, sqlx::Error> {
    // Boxed: it is large, seldom, and would make every request's future as large.
    within(patience, "no connection (DATABASE_CONNECT_TIMEOUT)", Box::pin(options.connect())).await
}

/// What `work` gives, if it does within this time.
pub(super) async fn within<T>(
    patience: Duration,
    late: &str,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    timeout(patience, work).await.unwrap_or_else(|_| {
        let text = format!("{late} within {patience:?}");
        Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text)))
    })
}
