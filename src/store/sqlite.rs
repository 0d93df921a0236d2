//! The store in a `SQLite` file: one connection writes, a few read beside it (write-ahead log).
//!
//! A commit reaches the operating system, not the disk: what a power cut takes back is projected again from the log.
//! What is deleted stands in none of its files a moment later, see `maintenance`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Row};

use self::maintenance::Maintenance;
use self::multi::Statements;
use self::remains::DatabaseFile;
use super::pages::{NextPage, PAGE, ReplyRow, ThreadPages};
use super::read::{signed, texts, unsigned};
use super::recent::{self, StoredRecent, TURNS};
use super::{Applied, Batch, Blob, Error, OpenError, Position, StoredReply, Tables};
use crate::domain::ids::{ReplyId, ThreadId};

pub(in crate::store) mod backup;
mod conversations;
mod create;
mod erase;
mod maintenance;
pub(super) mod migrations;
mod multi;
pub(super) mod old;
mod remains;
mod space;
pub(super) mod statements;
mod usage;
mod write;

/// Connections that read. Reads take fractions of a millisecond: more would only hold memory.
const READERS: u32 = 4;
/// The same for each of those that read: what they read, the operating system has, too.
const READER_CACHE_KIB: &str = "-2000";
/// Memory for pages, in KiB (negative, as `SQLite` wants it).
const CACHE_KIB: &str = "-16000";
/// Bytes of a page in a new file. A reply with its JSON takes 1 to 4 KB: on smaller pages much room stays empty beside it.
const PAGE_SIZE: u32 = 8192;
/// How long one connection waits for another's lock. Only a second process could hold one for long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the connection that writes may take to open: on a busy disk the first sync takes seconds, and a server that
/// gave up would only be started again.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// A `SQLite` store that is open.
#[derive(Debug, Clone)]
pub struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
    statements: Arc<Statements>,
    maintenance: Arc<Maintenance>,
    #[cfg(feature = "crash-points")]
    delay: Duration,
}

impl Sqlite {
    /// Opens the file, makes it if it is not there, and brings its tables up to date.
    pub async fn open(path: &Path, tables: Tables) -> Result<Self, OpenError> {
        let failed = |reason| cannot_open(path, reason);
        if tables == Tables::Leave {
            let pending = migrations::of(path).await?.pending();
            if pending > 0 {
                return Err(OpenError::pending(url(path), pending));
            }
        }
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(|error| failed(error.to_string()))?;
        }
        if let Err(error) = create::create(path).await {
            // A file system without links, or one that takes nothing: what is wrong with it shows below.
            tracing::debug!(%error, path = %path.display(), "a new store is made in its place");
        }
        let file = DatabaseFile::open(path).map_err(|error| failed(error.to_string()))?;
        let for_reading = options(path).pragma("query_only", "on").pragma("cache_size", READER_CACHE_KIB);
        let for_writing = layout(options(path));
        let writer = pool(1)
            .acquire_timeout(OPEN_TIMEOUT)
            .connect_with(for_writing)
            .await
            .map_err(|error| failed(error.to_string()))?;
        migrations::run(&writer).await.map_err(failed)?;
        let readers = pool(READERS).connect_lazy_with(for_reading);
        let is_old = async { old::is_old(&mut *writer.acquire().await?).await };
        let is_old = is_old.await.map_err(|error: sqlx::Error| failed(error.to_string()))?;
        if is_old {
            tracing::info!(
                path = %path.display(),
                "the store's file was made by an earlier version and gives no space back; to have it written anew, stop \
                 the server and run rejoinder migrate"
            );
        }
        let maintenance = Maintenance::start(path, file.into(), (writer.clone(), readers.clone()), !is_old);
        Ok(Self {
            writer,
            readers,
            statements: Arc::new(Statements::new()),
            maintenance: Arc::new(maintenance),
            #[cfg(feature = "crash-points")]
            delay: crate::config::faults::store_delay(),
        })
    }

    /// See [`super::Store::position`].
    pub async fn position(&self, shard: u32) -> Result<Option<Position>, Error> {
        let row = sqlx::query("SELECT identity, position, last_record FROM positions WHERE shard = ?")
            .bind(shard)
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| {
            Ok(Position {
                identity: row.try_get(0)?,
                position: unsigned(row.try_get(1)?),
                last_record: row.try_get(2)?,
            })
        })
        .transpose()
    }

    /// See [`super::Store::apply`].
    pub async fn apply(&self, batch: &Batch) -> Result<Applied, Error> {
        let applied = write::apply(self, batch).await;
        if applied.as_ref().is_err_and(|error| !matches!(error, Error::Moved)) {
            self.renew_writer().await;
        }
        applied
    }

    /// Closes the connection that writes; the next write opens another. After an error of the disk `SQLite` ends the
    /// transaction by itself, and the connection would wait for an end that it cannot make any more.
    async fn renew_writer(&self) {
        if let Ok(connection) = self.writer.acquire().await {
            let _ = connection.close().await;
        }
    }

    /// See [`super::Store::put_blobs`].
    pub async fn put_blobs(&self, blobs: &[Blob]) -> Result<(), Error> {
        let put = self.try_to_put_blobs(blobs).await;
        if put.is_err() {
            self.renew_writer().await;
        }
        put
    }

    async fn try_to_put_blobs(&self, blobs: &[Blob]) -> Result<(), Error> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for blob in blobs {
            sqlx::query("INSERT INTO blobs (thread, hash, content) VALUES (?, ?, ?) ON CONFLICT DO NOTHING")
                .bind(blob.thread.to_string())
                .bind(blob.hash.to_vec())
                .bind(blob.content.to_vec())
                .execute(&mut *transaction)
                .await?;
        }
        self.delay().await;
        transaction.commit().await?;
        self.maintenance.written(false);
        Ok(())
    }

    /// See [`super::Store::blob`].
    pub async fn blob(&self, thread: ThreadId, hash: [u8; 32]) -> Result<Option<Bytes>, Error> {
        let content: Option<Vec<u8>> = sqlx::query_scalar("SELECT content FROM blobs WHERE thread = ? AND hash = ?")
            .bind(thread.to_string())
            .bind(hash.to_vec())
            .fetch_optional(&self.readers)
            .await?;
        Ok(content.map(Bytes::from))
    }

    /// See [`super::Store::read_page`].
    pub async fn read_page(&self, pages: &mut ThreadPages) -> Result<(), Error> {
        let thread = pages.thread;
        let (first, last) = (ThreadPages::first_id(thread), ThreadPages::last_id(thread));
        match pages.place.clone() {
            NextPage::Watermark => {
                let ordinal = sqlx::query_scalar(
                    "SELECT max(ordinal) FROM ( \
                         SELECT max(ordinal) AS ordinal FROM replies WHERE id >= ?2 AND id < ?3 \
                         UNION ALL SELECT max(ended_ordinal) FROM replies WHERE id >= ?2 AND id < ?3 \
                         UNION ALL SELECT max(ordinal) FROM changes WHERE thread = ?1)",
                );
                let ordinal = ordinal.bind(thread.to_string()).bind(first).bind(last);
                pages.take_watermark(ordinal.fetch_one(&self.readers).await?);
                Ok(())
            }
            NextPage::Replies(after) => {
                let rows = sqlx::query_as(
                    "SELECT id, ordinal, accepted, ended_ordinal, ended FROM replies WHERE id > ? AND id < ? \
                     ORDER BY id LIMIT ?",
                );
                pages.take_replies(rows.bind(after).bind(last).bind(PAGE).fetch_all(&self.readers).await?)
            }
            NextPage::Changes(after) => {
                let rows = sqlx::query_as(
                    "SELECT ordinal, record FROM changes WHERE thread = ? AND ordinal > ? ORDER BY ordinal LIMIT ?",
                );
                let rows = rows.bind(thread.to_string()).bind(after).bind(PAGE);
                pages.take_changes(rows.fetch_all(&self.readers).await?)
            }
            NextPage::End => Ok(()),
        }
    }

    /// See [`super::Store::recent`].
    pub async fn recent(&self, thread: ThreadId, until: u64) -> Result<StoredRecent, Error> {
        let last = sqlx::query_scalar(
            "SELECT max(ordinal) FROM ( \
                 SELECT max(ordinal) AS ordinal FROM changes WHERE thread = ?1 \
                 UNION ALL SELECT max(ordinal, coalesce(ended_ordinal, 0)) FROM ( \
                     SELECT ordinal, ended_ordinal FROM replies WHERE thread = ?1 ORDER BY ordinal DESC LIMIT ?2))",
        );
        let last = last.bind(thread.to_string()).bind(TURNS).fetch_one(&self.readers).await?;
        let replies = sqlx::query_as(
            "SELECT id, ordinal, accepted, ended_ordinal, ended FROM replies WHERE thread = ? AND ordinal <= ? \
             ORDER BY ordinal DESC LIMIT ?",
        );
        let replies = replies.bind(thread.to_string()).bind(signed(until)).bind(TURNS);
        let replies: Vec<ReplyRow> = replies.fetch_all(&self.readers).await?;
        let changes = sqlx::query_as(
            "SELECT ordinal, record FROM changes WHERE thread = ? \
             AND (ordinal >= ? OR kind NOT IN ('items_added', 'spoken', 'superseded')) ORDER BY ordinal",
        );
        let changes = changes.bind(thread.to_string()).bind(recent::first(&replies));
        StoredRecent::of(thread, last, replies, changes.fetch_all(&self.readers).await?)
    }

    /// See [`super::Store::projected_reply`].
    pub async fn projected_reply(&self, reply: ReplyId) -> Result<Option<StoredReply>, Error> {
        let row = sqlx::query("SELECT ordinal, deleted, accepted, ended FROM replies WHERE id = ?")
            .bind(reply.to_string())
            .fetch_optional(&self.readers)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let is_deleted: bool = row.try_get(1)?;
        let texts = if is_deleted { None } else { Some(texts(reply.thread(), row.try_get(2)?, row.try_get(3)?)?) };
        Ok(Some(StoredReply { ordinal: unsigned(row.try_get(0)?), texts }))
    }

    /// See [`super::Store::ping`].
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1 FROM positions LIMIT 1").fetch_optional(&self.readers).await?;
        Ok(())
    }

    /// See [`super::Store::close`].
    pub async fn close(&self) {
        self.maintenance.close().await;
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Makes every write as slow as a test wants it.
    #[cfg(feature = "crash-points")]
    async fn delay(&self) {
        tokio::time::sleep(self.delay).await;
    }

    #[cfg(not(feature = "crash-points"))]
    #[expect(clippy::unused_async, reason = "its twin in tests waits")]
    async fn delay(&self) {}
}

/// What a file is made with; on one that is there it changes nothing.
fn layout(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options.page_size(PAGE_SIZE).auto_vacuum(SqliteAutoVacuum::Incremental)
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("cache_size", CACHE_KIB)
        // What is deleted is overwritten, and does not linger in free pages or in temporary files.
        .pragma("secure_delete", "on")
        .pragma("temp_store", "memory")
        // The maintenance carries the log to the file.
        .pragma("wal_autocheckpoint", "0")
        .disable_statement_logging()
}

fn cannot_open(path: &Path, reason: String) -> OpenError {
    OpenError::new(url(path), reason)
}

fn url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// A pool that opens a connection when it is needed, and keeps it.
fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .acquire_timeout(BUSY_TIMEOUT)
}
