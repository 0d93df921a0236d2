//! The store in a Postgres database: for those who have one, and for several servers that share it.
//!
//! It may be away: it is connected to when something is asked of it, also long after the start, and its tables are made
//! ready before the first write. Everything that is asked has an end in time, whatever the database does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sqlx::Row;
use tokio::sync::OnceCell;

use self::connections::Connections;
use super::pages::{NextPage, PAGE, ReplyRow, ThreadPages};
use super::read::{signed, texts, unsigned};
use super::recent::{self, StoredRecent, TURNS};
use super::{Applied, Batch, Blob, Error, OpenError, Position, StoredReply, Tables};
use crate::domain::ids::{ReplyId, ThreadId};

mod connections;
mod conversations;
mod erase;
mod failure;
pub(super) mod migrations;
mod statements;
mod usage;
mod write;

pub use crate::config::database::postgres::{Config, Limits, PoolMode};

/// What a database that works has more time than its own limit of a statement for: it ends its statements itself, and
/// says so. One that does not is given up after this.
const GRACE: Duration = Duration::from_secs(1);

/// A Postgres store. A handle: cheap to clone.
#[derive(Debug, Clone)]
pub struct Postgres {
    config: Arc<Config>,
    tables: Tables,
    connections: Connections,
    /// Set once its tables are as they are to be.
    prepared: Arc<OnceCell<()>>,
}

impl Postgres {
    /// Connects, and brings its tables up to date. If it is away, it is opened all the same: that is done later.
    pub async fn open(config: &Config, tables: Tables) -> Result<Self, OpenError> {
        let connections = Connections::new(config);
        let store = Self { config: Arc::new(config.clone()), tables, connections, prepared: Arc::default() };
        match store.prepare().await {
            Err(error) if error.away => {
                let OpenError { url, reason, change, .. } = error;
                tracing::warn!(%url, %reason, change, "store unavailable; the log keeps everything until it is back");
            }
            prepared => prepared?,
        }
        Ok(store)
    }

    /// Makes its tables ready, if that was not done yet.
    async fn prepare(&self) -> Result<(), OpenError> {
        self.prepared.get_or_try_init(|| migrations::prepare(&self.config, self.tables)).await.copied()
    }

    /// Whether it was reached once and its tables were made ready.
    pub fn is_prepared(&self) -> bool {
        self.prepared.initialized()
    }

    /// See [`super::Store::position`]. Before the first one the tables are made ready.
    pub async fn position(&self, shard: u32) -> Result<Option<Position>, Error> {
        self.prepare().await?;
        self.ask(async {
            let mut connection = self.connections.take().await?;
            let row = sqlx::query("SELECT identity, position, last_record FROM positions WHERE shard = $1")
                .bind(i64::from(shard))
                .persistent(connection.is_session())
                .fetch_optional(&mut *connection)
                .await?;
            connection.finish().await?;
            let Some(row) = row else { return Ok(None) };
            let (identity, last_record) = (row.try_get(0)?, row.try_get(2)?);
            Ok(Some(Position { identity, position: unsigned(row.try_get(1)?), last_record }))
        })
        .await
    }

    /// See [`super::Store::apply`].
    pub async fn apply(&self, batch: &Batch) -> Result<Applied, Error> {
        write::apply(self, batch).await
    }

    /// See [`super::Store::put_blobs`].
    pub async fn put_blobs(&self, blobs: &[Blob]) -> Result<(), Error> {
        self.ask(write::put_blobs(self, blobs)).await
    }

    /// See [`super::Store::blob`].
    pub async fn blob(&self, thread: ThreadId, hash: [u8; 32]) -> Result<Option<Bytes>, Error> {
        self.ask(async {
            let mut connection = self.connections.take().await?;
            let content: Option<Vec<u8>> =
                sqlx::query_scalar("SELECT content FROM blobs WHERE thread = $1 AND hash = $2")
                    .bind(thread.to_string())
                    .bind(&hash[..])
                    .persistent(connection.is_session())
                    .fetch_optional(&mut *connection)
                    .await?;
            connection.finish().await?;
            Ok(content.map(Bytes::from))
        })
        .await
    }

    /// See [`super::Store::read_page`].
    pub async fn read_page(&self, pages: &mut ThreadPages) -> Result<(), Error> {
        let thread = pages.thread;
        let (first, last) = (ThreadPages::first_id(thread), ThreadPages::last_id(thread));
        self.ask(async {
            let mut connection = self.connections.take().await?;
            let is_session = connection.is_session();
            match pages.place.clone() {
                NextPage::Watermark => {
                    let ordinal = sqlx::query_scalar(
                        "SELECT max(ordinal) FROM ( \
                             SELECT max(ordinal) AS ordinal FROM replies WHERE id >= $2 AND id < $3 \
                             UNION ALL SELECT max(ended_ordinal) FROM replies WHERE id >= $2 AND id < $3 \
                             UNION ALL SELECT max(ordinal) FROM changes WHERE thread = $1) AS known",
                    );
                    let ordinal = ordinal.bind(thread.to_string()).bind(first).bind(last).persistent(is_session);
                    pages.take_watermark(ordinal.fetch_one(&mut *connection).await?);
                }
                NextPage::Replies(after) => {
                    let rows = sqlx::query_as(
                        "SELECT id, ordinal, accepted, ended_ordinal, ended FROM replies WHERE id > $1 AND id < $2 \
                         ORDER BY id LIMIT $3",
                    );
                    let rows = rows.bind(after).bind(last).bind(PAGE).persistent(is_session);
                    pages.take_replies(rows.fetch_all(&mut *connection).await?)?;
                }
                NextPage::Changes(after) => {
                    let rows = sqlx::query_as(
                        "SELECT ordinal, record FROM changes WHERE thread = $1 AND ordinal > $2 ORDER BY ordinal LIMIT $3",
                    );
                    let rows = rows.bind(thread.to_string()).bind(after).bind(PAGE).persistent(is_session);
                    pages.take_changes(rows.fetch_all(&mut *connection).await?)?;
                }
                NextPage::End => {}
            }
            connection.finish().await?;
            Ok(())
        })
        .await
    }

    /// See [`super::Store::recent`].
    pub async fn recent(&self, thread: ThreadId, until: u64) -> Result<StoredRecent, Error> {
        self.ask(async {
            let mut connection = self.connections.take().await?;
            let is_session = connection.is_session();
            let first = ThreadPages::first_id(thread);
            let last = sqlx::query_scalar(
                "SELECT max(ordinal) FROM ( \
                     SELECT max(ordinal) AS ordinal FROM changes WHERE thread = $1 \
                     UNION ALL SELECT greatest(ordinal, ended_ordinal) FROM ( \
                         SELECT ordinal, ended_ordinal FROM replies WHERE left(id, 31) = $2 \
                         ORDER BY ordinal DESC LIMIT $3) AS newest) AS known",
            );
            let last = last.bind(thread.to_string()).bind(first.clone()).bind(TURNS).persistent(is_session);
            let last = last.fetch_one(&mut *connection).await?;
            let replies = sqlx::query_as(
                "SELECT id, ordinal, accepted, ended_ordinal, ended FROM replies WHERE left(id, 31) = $1 AND ordinal <= $2 \
                 ORDER BY ordinal DESC LIMIT $3",
            );
            let replies = replies.bind(first).bind(signed(until)).bind(TURNS).persistent(is_session);
            let replies: Vec<ReplyRow> = replies.fetch_all(&mut *connection).await?;
            let changes = sqlx::query_as(
                "SELECT ordinal, record FROM changes WHERE thread = $1 \
                 AND (ordinal >= $2 OR kind NOT IN ('items_added', 'spoken', 'superseded')) ORDER BY ordinal",
            );
            let changes = changes.bind(thread.to_string()).bind(recent::first(&replies));
            let changes = changes.persistent(is_session).fetch_all(&mut *connection).await?;
            connection.finish().await?;
            StoredRecent::of(thread, last, replies, changes)
        })
        .await
    }

    /// See [`super::Store::projected_reply`].
    pub async fn projected_reply(&self, reply: ReplyId) -> Result<Option<StoredReply>, Error> {
        let row = self
            .ask(async {
                let mut connection = self.connections.take().await?;
                let row = sqlx::query("SELECT ordinal, deleted, accepted, ended FROM replies WHERE id = $1")
                    .bind(reply.to_string())
                    .persistent(connection.is_session())
                    .fetch_optional(&mut *connection)
                    .await?;
                connection.finish().await?;
                Ok(row)
            })
            .await?;
        let Some(row) = row else { return Ok(None) };
        let is_deleted: bool = row.try_get(1)?;
        let texts = if is_deleted { None } else { Some(texts(reply.thread(), row.try_get(2)?, row.try_get(3)?)?) };
        Ok(Some(StoredReply { ordinal: unsigned(row.try_get(0)?), texts }))
    }

    /// See [`super::Store::ping`].
    pub async fn ping(&self) -> Result<(), Error> {
        self.ask(async {
            let mut connection = self.connections.take().await?;
            let ping = sqlx::query("SELECT 1 FROM positions LIMIT 1").persistent(connection.is_session());
            ping.fetch_optional(&mut *connection).await?;
            connection.finish().await?;
            Ok(())
        })
        .await
    }

    /// See [`super::Store::close`].
    pub async fn close(&self) {
        self.connections.close().await;
    }

    /// Waits for an answer, but no longer than for a connection and a statement: a database that hangs, or a network
    /// that swallows everything, is given up. The connection is cut, and with it what was begun.
    async fn ask<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let limits = self.connections.limits;
        let limit = limits.acquire + limits.connect + limits.statement + GRACE;
        let answer = tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            let text = format!("no answer within {limit:?} (DATABASE_STATEMENT_TIMEOUT)");
            Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, text)).into())
        });
        if let Err(Error::Unavailable(error)) = &answer {
            self.connections.heed(error);
        }
        answer
    }
}
