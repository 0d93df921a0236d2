//! What is done to the file beside the batches: the write-ahead log is carried to it and emptied, what was erased is
//! overwritten where it still stands, and free pages are given back.
//!
//! `SQLite` would carry the log by itself, but never empty it while reads overlap, and leave [`super::remains`] behind.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnection, SqlitePool};
use sqlx::{AssertSqlSafe, Connection};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::remains::{DatabaseFile, Pages};
use super::space;

/// A write-ahead log of this size is carried to the file: the pages at the end of the tables and indexes are then carried
/// once for many changes.
const LARGE_LOG: u64 = 16 << 20;
/// Between two times that the log is emptied, at least: many deletions in a second share one.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two tries, at least and at most.
const RETRY: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];
/// How long batches wait, in one try, for reads that began before.
const PATIENCE: Duration = Duration::from_millis(100);
/// After this time without success somebody is told.
const LONG: Duration = Duration::from_secs(10);

/// Looks after the file while the store is open.
#[derive(Debug)]
pub(super) struct Maintenance {
    /// Closed after all connections.
    _file: Arc<DatabaseFile>,
    log: PathBuf,
    wanted: Arc<Notify>,
    stop: CancellationToken,
    tasks: TaskTracker,
    _ends_with_the_store: DropGuard,
}

/// The task, and what it works on.
struct Keeper {
    file: Arc<DatabaseFile>,
    log: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    wanted: Arc<Notify>,
    gives_space_back: bool,
}

/// Why the log could not be emptied. Trying again is safe and may help.
#[derive(Debug, thiserror::Error)]
enum Unfinished {
    #[error("a read that began before does not end; if no other program has the file open, this is a fault")]
    Reader,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    File(#[from] io::Error),
}

impl Maintenance {
    /// Begins with what a process that was killed left behind.
    pub(super) fn start(
        path: &Path,
        file: Arc<DatabaseFile>,
        (writer, readers): (SqlitePool, SqlitePool),
        gives_space_back: bool,
    ) -> Self {
        let (log, wanted) = (super::migrations::write_ahead_log(path), Arc::new(Notify::new()));
        let keeper = Keeper {
            file: Arc::clone(&file),
            log: log.clone(),
            writer,
            readers,
            wanted: Arc::clone(&wanted),
            gives_space_back,
        };
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(keeper.run(stop.clone()));
        tasks.close();
        Self { _file: file, log, wanted, tasks, _ends_with_the_store: stop.clone().drop_guard(), stop }
    }

    /// To be called after each transaction; `erased` if it took text out of rows.
    pub(super) fn written(&self, erased: bool) {
        if erased || length(&self.log).is_ok_and(|length| length >= LARGE_LOG) {
            self.wanted.notify_one();
        }
    }

    /// Empties the log once more, and ends.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Keeper {
    async fn run(self, stop: CancellationToken) {
        let mut retry = Retry::default();
        loop {
            let pause = match self.empty_log().await {
                Ok(()) => {
                    self.give_space_back(&stop).await;
                    retry = Retry::default();
                    PAUSE
                }
                Err(error) => {
                    self.wanted.notify_one();
                    retry.pause(&error)
                }
            };
            if stop.is_cancelled() {
                return;
            }
            let wanted = async {
                tokio::time::sleep(pause).await;
                self.wanted.notified().await;
            };
            stop.run_until_cancelled(wanted).await;
        }
    }

    /// Carries the log to the file, overwrites what remains there, and empties the log: in this order, so that all of it
    /// is done again when the process is killed in between.
    async fn empty_log(&self) -> Result<(), Unfinished> {
        if length(&self.log)? == 0 {
            return Ok(());
        }
        let mut writer = self.writer.acquire().await?;
        // Nobody writes meanwhile, and nobody, not even another program, carries a newer page to the file.
        let transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
        self.carry().await?;
        let (file, log) = (Arc::clone(&self.file), self.log.clone());
        let erase = move || Pages::of_log(&log)?.map_or(Ok(0), |pages| file.erase_remains(&pages));
        let pages = tokio::task::spawn_blocking(erase).await.map_err(io::Error::other)??;
        transaction.rollback().await?;
        if pages > 0 {
            // It has those pages as they were, and would write them again.
            sqlx::query("PRAGMA shrink_memory").execute(&mut *writer).await?;
        }
        truncate(&mut writer).await
    }

    /// Carries all pages of the log to the file. They come as far as the oldest read that is under way lets them.
    async fn carry(&self) -> Result<(), Unfinished> {
        let begun = Instant::now();
        loop {
            let mut reader = self.readers.acquire().await?;
            let (busy, pages, carried) = checkpoint(&mut reader, "PASSIVE").await?;
            drop(reader);
            if busy == 0 && pages == carried {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(Unfinished::Reader);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn give_space_back(&self, stop: &CancellationToken) {
        if !self.gives_space_back {
            return;
        }
        match space::give_back(&self.writer, stop).await {
            // It is given back when the log is emptied.
            Ok(pages) if pages > 0 => self.wanted.notify_one(),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "free pages of the store cannot be given back"),
        }
    }
}

/// Empties a log that was carried to the file.
async fn truncate(writer: &mut SqliteConnection) -> Result<(), Unfinished> {
    let patience = |time: Duration| AssertSqlSafe(format!("PRAGMA busy_timeout = {}", time.as_millis()));
    sqlx::query(patience(PATIENCE)).execute(&mut *writer).await?;
    let truncated = checkpoint(writer, "TRUNCATE").await;
    sqlx::query(patience(super::BUSY_TIMEOUT)).execute(&mut *writer).await?;
    match truncated? {
        (0, ..) => Ok(()),
        _ => Err(Unfinished::Reader),
    }
}

/// Whether it was kept from ending, pages of the log, and how many of them were carried.
async fn checkpoint(connection: &mut SqliteConnection, mode: &str) -> Result<(i64, i64, i64), sqlx::Error> {
    sqlx::query_as(AssertSqlSafe(format!("PRAGMA wal_checkpoint({mode})"))).fetch_one(connection).await
}

fn length(log: &Path) -> io::Result<u64> {
    match std::fs::metadata(log) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Tries that failed, one after the other.
#[derive(Default)]
struct Retry {
    since: Option<Instant>,
    told: bool,
    last: Duration,
}

impl Retry {
    /// How long to wait before the next try: twice as long each time.
    fn pause(&mut self, error: &Unfinished) -> Duration {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() > LONG && !std::mem::replace(&mut self.told, true) {
            tracing::warn!(%error, "the store's write-ahead log cannot be emptied; it grows and may hold deleted text");
        }
        let [least, most] = RETRY;
        self.last = (self.last * 2).clamp(least, most);
        self.last
    }
}
