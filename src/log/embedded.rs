//! The embedded log: records in `DATA_DIR`, in fjall, for one instance.
//!
//! There is one writer. A thread takes what has gathered in its queue, checks the fences, commits all of it as one
//! atomic batch, hands it to the operating system, and only then acknowledges: a record that was acknowledged survives
//! `kill -9` (with `LOG_SYNC=always` also a power cut). Small records do not go through the thread while the disk is
//! quick (see `shortcut`).
//!
//! Sequences of a subject count from 1 without gaps, so that a fence is two point look-ups at most.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use super::{AppendError, Concluded, Identity, Position, ReadError, Scanned, Stored, Subject};
use crate::conversation::ids::{InstanceId, ReplyId, ThreadId};
use crate::disk;

mod expire;
mod inspect;
mod op;
mod shortcut;
mod subscription;
mod tables;
mod writer;

pub use inspect::{Inspection, inspect};
use op::{Op, Written};
use shortcut::{Shortcut, Turn};
use subscription::Subscribers;
pub use subscription::Subscription;
use tables::Tables;
use writer::{Command, Writer};

/// Writes that may wait for the writing thread.
const QUEUE: usize = 8192;

/// How the embedded log is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it lives.
    pub dir: PathBuf,
    /// Whether an acknowledged record survives a power cut, and not only the end of the process.
    pub sync_always: bool,
    /// Free bytes on the disk below which nothing new is accepted; what runs may use them to end.
    pub min_free_disk: u64,
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{0} is in use by another process; one instance runs on one DATA_DIR")]
    InUse(PathBuf),
    /// The directory cannot be made or written.
    #[error("cannot write to {dir} (DATA_DIR): {source}")]
    Unwritable {
        /// Which.
        dir: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The files are damaged, or of another program.
    #[error("cannot open the log in {dir} (DATA_DIR): {message}")]
    Damaged {
        /// Where.
        dir: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// A handle to the embedded log.
#[derive(Clone)]
pub struct Embedded {
    shared: Arc<Shared>,
    shortcut: Arc<Shortcut>,
    queue: mpsc::Sender<Command>,
}

/// What readers and the writing thread share.
struct Shared {
    tables: Tables,
    config: Config,
    identity: Identity,
    last_position: AtomicU64,
    moved: watch::Sender<Position>,
    projected: AtomicU64,
    subscribers: Subscribers,
    full: AtomicBool,
    broken: AtomicBool,
}

impl Embedded {
    /// Opens the log, or makes it. Blocks; to be called before anything else runs.
    pub fn open(config: Config) -> Result<Self, OpenError> {
        let tables = Tables::open(&config.dir)?;
        let damaged = |error: fjall::Error| OpenError::Damaged { dir: config.dir.clone(), message: error.to_string() };
        let identity = tables.identity().map_err(damaged)?;
        let last_position = tables.last_position().map_err(damaged)?;
        let (queue, commands) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            tables,
            config,
            identity,
            last_position: AtomicU64::new(last_position),
            moved: watch::Sender::new(last_position),
            projected: AtomicU64::new(0),
            subscribers: Subscribers::default(),
            full: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        });
        shared.check_space();
        let writer = Arc::new(Mutex::new(Writer::new(Arc::clone(&shared))));
        let shortcut = Arc::new(Shortcut::new(Arc::clone(&writer), shared.config.sync_always));
        std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || Writer::run(&writer, commands))
            .map_err(|source| OpenError::Unwritable { dir: shared.config.dir.clone(), source })?;
        Ok(Self { shared, shortcut, queue })
    }

    /// See [`super::Log::append`].
    pub async fn append(&self, subject: Subject, expected: u64, payload: Bytes) -> Result<u64, AppendError> {
        self.store(subject, Some(expected), payload, None).await
    }

    /// See [`super::Log::begin`].
    pub async fn begin(&self, subject: Subject, payload: Bytes) -> Result<u64, AppendError> {
        self.store(subject, None, payload, None).await
    }

    /// See [`super::Log::accept`].
    pub async fn accept(
        &self,
        instance: InstanceId,
        reply: ReplyId,
        expected: Option<u64>,
        payload: Bytes,
    ) -> Result<u64, AppendError> {
        self.store(Subject::Transcript(reply.thread()), expected, payload, Some((instance, reply))).await
    }

    /// See [`super::Log::conclude`].
    pub async fn conclude(
        &self,
        reply: ReplyId,
        expected: Option<u64>,
        done: Bytes,
        ended: Option<(u64, Bytes)>,
    ) -> Result<Concluded, AppendError> {
        self.write(Op::Conclude { reply, expected, done, ended }).await.map(Concluded::from)
    }

    async fn store(
        &self,
        subject: Subject,
        expected: Option<u64>,
        payload: Bytes,
        ticket: Option<(InstanceId, ReplyId)>,
    ) -> Result<u64, AppendError> {
        self.write(Op::Append { subject, expected, payload, ticket }).await.map(|written| written.sequence)
    }

    /// See [`super::Log::read`].
    pub async fn read(&self, subject: Subject, after: u64) -> Result<Vec<Stored>, ReadError> {
        self.blocking(move |tables| tables.read(subject, after)).await
    }

    /// See [`super::Log::last`].
    pub async fn last_record(&self, subject: Subject) -> Result<Option<Stored>, ReadError> {
        let last = move |tables: &Tables| {
            let last = tables.last_sequence(subject)?;
            Ok(tables.read(subject, last.saturating_sub(1))?.pop())
        };
        self.blocking(last).await
    }

    /// See [`super::Log::subscribe`].
    pub fn subscribe(&self, subject: Subject) -> Subscription {
        self.shared.subscribers.subscribe(subject, self.clone())
    }

    /// See [`super::Log::erase`].
    pub async fn erase(&self, subject: Subject, sequences: Vec<u64>) -> Result<(), AppendError> {
        self.write(Op::Erase { subject, sequences }).await.map(|_| ())
    }

    /// See [`super::Log::scan`].
    pub async fn scan(&self, after: Position, limit: usize) -> Result<Vec<Scanned>, ReadError> {
        self.blocking(move |tables| tables.scan(after, limit)).await
    }

    /// See [`super::Log::wait_after`].
    pub async fn wait_after(&self, after: Position) {
        let mut moved = self.shared.moved.subscribe();
        // The sender lives in `shared`, as long as this handle.
        let _ = moved.wait_for(|last| *last > after).await;
    }

    /// See [`super::Log::last_position`].
    pub fn last_position(&self) -> Position {
        self.shared.last_position.load(Ordering::Acquire)
    }

    /// See [`super::Log::identity`].
    pub fn identity(&self) -> Identity {
        self.shared.identity.clone()
    }

    /// See [`super::Log::projected`].
    pub fn projected(&self, position: Position) {
        self.shared.projected.fetch_max(position, Ordering::Relaxed);
    }

    /// See [`super::Log::put_snapshot`].
    pub async fn put_snapshot(&self, reply: ReplyId, snapshot: Bytes) -> Result<(), AppendError> {
        self.write(Op::PutSnapshot { reply, snapshot }).await.map(|_| ())
    }

    /// See [`super::Log::snapshot`].
    pub async fn snapshot(&self, reply: ReplyId) -> Result<Option<Stored>, ReadError> {
        let snapshot = self.blocking(move |tables| tables.snapshot(reply)).await?;
        Ok(snapshot.map(|(at, payload)| Stored { sequence: 0, at, payload }))
    }

    /// See [`super::Log::erase_snapshot`].
    pub async fn erase_snapshot(&self, reply: ReplyId) -> Result<(), AppendError> {
        self.write(Op::EraseSnapshot(reply)).await.map(|_| ())
    }

    /// See [`super::Log::hold`].
    pub async fn hold(&self, instance: InstanceId, reply: ReplyId) -> Result<(), AppendError> {
        self.write(Op::Hold { instance, reply }).await.map(|_| ())
    }

    /// See [`super::Log::release`].
    pub fn release(&self, reply: ReplyId) {
        // Nobody waits for it, and it is found again if it is lost: a full queue may drop it.
        let op = Op::Release(reply);
        if let Some(turn) = self.turn(&op) {
            let _ = turn.write(op);
        } else {
            let _ = self.queue.try_send(Command { op, done: None });
        }
    }

    /// See [`super::Log::tickets`].
    pub async fn tickets(&self) -> Result<Vec<(InstanceId, ReplyId)>, ReadError> {
        self.blocking(Tables::all_tickets).await
    }

    /// See [`super::Log::put_blob`].
    pub async fn put_blob(&self, thread: ThreadId, hash: [u8; 32], blob: Bytes) -> Result<(), AppendError> {
        self.write(Op::PutBlob { thread, hash, blob }).await.map(|_| ())
    }

    /// See [`super::Log::blob`].
    pub async fn blob(&self, thread: ThreadId, hash: [u8; 32]) -> Result<Option<Bytes>, ReadError> {
        self.blocking(move |tables| tables.blob(thread, hash)).await
    }

    /// See [`super::Log::erase_blobs`].
    pub async fn erase_blobs(&self, thread: ThreadId, hashes: HashSet<[u8; 32]>) -> Result<(), AppendError> {
        self.write(Op::EraseBlobs { thread, hashes }).await.map(|_| ())
    }

    /// See [`super::Log::expire`].
    pub async fn expire(&self, retention: Duration, replay_window: Duration) -> Result<(), AppendError> {
        let shared = Arc::clone(&self.shared);
        let found = tokio::task::spawn_blocking(move || expire::find(&shared, retention, replay_window));
        let found = found.await.map_err(|_| closed())?;
        for op in found.map_err(|error| AppendError::Unavailable(error.to_string()))? {
            self.write(op).await?;
        }
        Ok(())
    }

    /// See [`super::Log::admits`].
    pub fn admits(&self) -> Result<(), AppendError> {
        if self.shared.broken.load(Ordering::Relaxed) {
            return Err(AppendError::Unavailable("a write failed; restart the server".to_owned()));
        }
        if self.shared.full.load(Ordering::Relaxed) {
            return Err(AppendError::Full);
        }
        Ok(())
    }

    /// See [`super::Log::check_space`].
    pub async fn check_space(&self) {
        let shared = Arc::clone(&self.shared);
        let _ = tokio::task::spawn_blocking(move || shared.check_space()).await;
    }

    async fn write(&self, op: Op) -> Result<Written, AppendError> {
        if let Some(turn) = self.turn(&op) {
            return turn.write(op);
        }
        let (done, result) = oneshot::channel();
        self.queue.send(Command { op, done: Some(done) }).await.map_err(|_| closed())?;
        result.await.map_err(|_| closed())?
    }

    /// The right to write at once, unless others wait.
    fn turn(&self, op: &Op) -> Option<Turn<'_>> {
        let nobody_waits = self.queue.capacity() == self.queue.max_capacity();
        if nobody_waits { self.shortcut.turn(op) } else { None }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Tables) -> fjall::Result<T> + Send + 'static,
    ) -> Result<T, ReadError> {
        let shared = Arc::clone(&self.shared);
        let result = tokio::task::spawn_blocking(move || read(&shared.tables)).await;
        result.map_err(|error| ReadError(error.to_string()))?.map_err(|error| ReadError(error.to_string()))
    }
}

fn closed() -> AppendError {
    AppendError::Unavailable("the log was closed".to_owned())
}

impl Shared {
    /// Looks whether the disk has the space that it should.
    fn check_space(&self) {
        let Ok(free) = disk::free_bytes(&self.config.dir) else { return };
        let full = free < self.config.min_free_disk;
        if full != self.full.swap(full, Ordering::Relaxed) {
            if full {
                tracing::error!(dir = %self.config.dir.display(), "the disk is nearly full: nothing new is accepted");
            } else {
                tracing::info!("there is space on the disk again");
            }
        }
    }
}
