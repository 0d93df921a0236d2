//! The embedded log: records in segment files below `DATA_DIR`, for one instance.
//!
//! - **Append-only.** Records go to the end of one of two open segments (transcripts; replies' reply logs), with a
//!   checksum each, linked to the record before them in their subject. See `frame` for their form.
//! - **One writer.** A thread takes what has collected in its queue, checks the fences, writes all of it at once, hands
//!   it to the operating system, and only then acknowledges: a record that was acknowledged survives `kill -9` (with
//!   `LOG_SYNC=always` also a power cut). Small records do not go through the thread while the disk is quick (see
//!   `shortcut`). A write that fails leaves nothing behind.
//! - **Memory** holds the last records of the subjects in the open segments and of the replies that run (`heads`). A
//!   segment that is full gets an index of its own on disk (`index`). Neither memory nor a start grows with what is
//!   retained.
//! - **Expiry** drops whole segments (`expire`); **deletion** overwrites records where they stand (`erase`).
//!
//! Sequences of a subject count from 1 without gaps.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot, watch};

use super::{AppendError, Concluded, Identity, Position, ReadError, Scanned, Stored, Subject};
use crate::domain::ids::{InstanceId, ReplyId, ThreadId};
use crate::telemetry::LogUsage;

mod backup;
mod blobs;
mod checkpoint;
mod damage;
mod erase;
mod expire;
mod forward;
mod frame;
mod heads;
mod index;
mod inspect;
mod lookup;
mod op;
mod open;
mod pack;
mod progress;
mod recover;
mod scan;
mod segment;
mod shortcut;
mod space;
mod stage;
mod subscription;
mod tail;
mod verify;
mod walk;
mod writer;

pub(crate) use backup::copy_file;
pub use backup::{Copied, copy};
pub use damage::Lost;
pub use inspect::{Inspection, inspect};
pub use progress::{HOPELESS, Progress, STALLED};
pub use subscription::Subscription;
pub use verify::{Verified, verify};

use blobs::Blobs;
use damage::Damage;
use erase::Erasure;
use frame::{Key, Location};
use heads::Heads;
use op::{Op, Written};
use segment::Segments;
use shortcut::{Shortcut, Turn};
use space::Space;
use subscription::Subscribers;
use writer::Command;

/// Writes that may wait for the writing thread.
const QUEUE: usize = 8192;

/// The file that a running server has locked.
const LOCK: &str = "lock";

/// The length at which a segment is followed by a new one, in bytes.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// How the embedded log is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it lives.
    pub dir: PathBuf,
    /// Whether an acknowledged record survives a power cut, and not only the end of the process.
    pub sync_always: bool,
    /// Free bytes on the disk below which nothing new is accepted; what runs may use them to end.
    pub min_free_disk: u64,
    /// The length at which a segment is followed by a new one; [`SEGMENT_BYTES`] but for tests.
    pub segment_bytes: u64,
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
    /// The log was written by a version that stored it in a database.
    #[error(
        "{dir} holds a log in the form of an older version of rejoinder, which this one does not read. What had ended is in \
         the store and stays. Let the older version end what still runs (start it, wait until /healthz tells 0 running \
         replies and no lag of the store, stop it), then move the directory away: mv {dir} {dir}.old"
    )]
    OlderForm {
        /// Which.
        dir: PathBuf,
    },
    /// The log is of another program, or of a later version.
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

/// What readers, the writing thread and the cleaner share.
struct Shared {
    config: Config,
    identity: u64,
    segments: Segments,
    heads: RwLock<Heads>,
    /// Erasures that are announced and not complete.
    erasing: Mutex<BTreeMap<Location, Erasure>>,
    /// Held by the one that overwrites or removes.
    cleaning: Mutex<()>,
    blobs: Blobs,
    last_position: AtomicU64,
    moved: watch::Sender<Position>,
    projected: AtomicU64,
    /// How far webhooks were carried.
    carried: expire::Carried,
    /// Where the last scan ended.
    scanned: Mutex<Option<scan::Cursor>>,
    subscribers: Subscribers,
    space: Space,
    damage: Damage,
    progress: Arc<Progress>,
    lock: File,
}

impl Embedded {
    /// See [`super::Records::append`].
    pub async fn append(&self, subject: Subject, expected: u64, payload: Bytes) -> Result<u64, AppendError> {
        self.store(subject, Some(expected), payload, None, false).await
    }

    /// See [`super::Records::append_deletion`].
    pub async fn append_deletion(&self, subject: Subject, expected: u64, payload: Bytes) -> Result<u64, AppendError> {
        self.store(subject, Some(expected), payload, None, true).await
    }

    /// See [`super::Records::begin`].
    pub async fn begin(&self, subject: Subject, payload: Bytes) -> Result<u64, AppendError> {
        self.store(subject, None, payload, None, false).await
    }

    /// See [`super::Records::accept`].
    pub async fn accept(
        &self,
        instance: InstanceId,
        reply: ReplyId,
        expected: Option<u64>,
        payload: Bytes,
    ) -> Result<u64, AppendError> {
        self.store(Subject::Transcript(reply.thread()), expected, payload, Some((instance, reply)), false).await
    }

    /// See [`super::Records::conclude`].
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
        lease: Option<(InstanceId, ReplyId)>,
        deletes: bool,
    ) -> Result<u64, AppendError> {
        self.write(Op::Append { subject, expected, payload, lease, deletes }).await.map(|written| written.sequence)
    }

    /// See [`super::Records::read`].
    pub async fn read(&self, subject: Subject, after: u64) -> Result<Vec<Stored>, ReadError> {
        if let Some(recent) = self.shared.read_recent(&subject.into(), after) {
            return Ok(recent);
        }
        self.blocking(move |shared| shared.read(&subject.into(), after)).await
    }

    /// See [`super::Records::last`].
    pub async fn last_record(&self, subject: Subject) -> Result<Option<Stored>, ReadError> {
        self.blocking(move |shared| shared.last(&subject.into())).await
    }

    /// See [`super::Records::subscribe`].
    pub fn subscribe(&self, subject: Subject) -> Subscription {
        self.shared.subscribers.subscribe(subject, self.clone())
    }

    /// See [`super::Records::erase`].
    pub async fn erase(&self, subject: Subject, sequences: Vec<u64>) -> Result<(), AppendError> {
        if sequences.is_empty() {
            return Ok(());
        }
        self.erase_announced(Erasure::records(subject, sequences)).await
    }

    /// See [`super::Records::erase_before`].
    pub async fn erase_before(&self, subject: Subject, sequence: u64) -> Result<(), AppendError> {
        self.erase_announced(Erasure::before(subject, sequence)).await
    }

    async fn erase_announced(&self, erasure: Erasure) -> Result<(), AppendError> {
        let announced = self.write(Op::Erase(erasure)).await?.location;
        self.complete(announced).await
    }

    /// Completes an erasure that is announced there.
    async fn complete(&self, announced: Location) -> Result<(), AppendError> {
        let Some(erasure) = self.shared.erasing.lock().get(&announced).cloned() else { return Ok(()) };
        self.blocking_write(move |shared| shared.erase(&erasure)).await?;
        // Nobody waits for it: if it is lost, the erasure is made again, which changes nothing.
        let _ = self.queue.try_send(Command { op: Op::Erased(announced), done: None });
        Ok(())
    }

    /// See [`super::Records::scan`].
    pub async fn scan(&self, after: Position, limit: usize) -> Result<Vec<Scanned>, ReadError> {
        self.blocking(move |shared| shared.scan(after, limit)).await
    }

    /// See [`super::Records::wait_after`].
    pub async fn wait_after(&self, after: Position) {
        let mut moved = self.shared.moved.subscribe();
        // The sender lives in `shared`, as long as this handle.
        let _ = moved.wait_for(|last| *last > after).await;
    }

    /// See [`super::Records::last_position`].
    pub fn last_position(&self) -> Position {
        self.shared.last_position()
    }

    /// See [`super::Records::identity`].
    pub fn identity(&self) -> Identity {
        Identity { id: format!("{:016x}", self.shared.identity) }
    }

    /// See [`super::Records::carried`].
    pub fn carried(&self, position: Position) {
        self.shared.carried.set(position);
    }

    /// See [`super::Records::projected`].
    pub fn projected(&self, position: Position) {
        self.shared.projected.fetch_max(position, Ordering::Relaxed);
    }

    /// See [`super::Snapshots::put`].
    pub async fn put_snapshot(&self, reply: ReplyId, snapshot: Bytes) -> Result<(), AppendError> {
        self.write(Op::Snapshot { reply, snapshot }).await.map(|_| ())
    }

    /// See [`super::Snapshots::get`].
    pub async fn snapshot(&self, reply: ReplyId) -> Result<Option<Stored>, ReadError> {
        let snapshot = self.blocking(move |shared| shared.snapshot(reply)).await?;
        Ok(snapshot.map(|(at, payload)| Stored { sequence: 0, at, payload }))
    }

    /// See [`super::Snapshots::erase`].
    pub async fn erase_snapshot(&self, reply: ReplyId) -> Result<(), AppendError> {
        self.put_snapshot(reply, Bytes::new()).await
    }

    /// See [`super::Snapshots::seal`].
    pub async fn seal_snapshot(&self, reply: ReplyId) -> Result<(), AppendError> {
        let there = self.blocking(move |shared| Ok(shared.head(&Key::Snapshot(reply))?.is_some())).await;
        match there {
            Ok(false) => Ok(()),
            Ok(true) => self.erase_announced(Erasure::snapshots(reply)).await,
            Err(ReadError(error)) => Err(AppendError::Unavailable(error)),
        }
    }

    /// See [`super::Leases::acquire`].
    pub async fn hold(&self, instance: InstanceId, reply: ReplyId) -> Result<(), AppendError> {
        self.write(Op::Hold { instance, reply }).await.map(|_| ())
    }

    /// See [`super::Leases::release`].
    pub fn release(&self, reply: ReplyId) {
        // Nobody waits for it, and it is found again if it is lost: a full queue may drop it.
        let op = Op::Release(reply);
        if let Some(turn) = self.turn(&op) {
            let _ = turn.write(&op);
        } else {
            let _ = self.queue.try_send(Command { op, done: None });
        }
    }

    /// See [`super::Leases::of`].
    pub fn tickets(&self) -> Vec<(InstanceId, ReplyId)> {
        self.shared.heads.read().leases.iter().map(|(reply, lease)| (lease.instance, *reply)).collect()
    }

    /// See [`super::Blobs::put`].
    pub async fn put_blob(&self, thread: ThreadId, hash: [u8; 32], blob: Bytes) -> Result<(), AppendError> {
        self.blocking_write(move |shared| shared.blobs.put(thread, hash, &blob)).await
    }

    /// See [`super::Blobs::get`].
    pub async fn blob(&self, thread: ThreadId, hash: [u8; 32]) -> Result<Option<Bytes>, ReadError> {
        self.blocking(move |shared| shared.blobs.get(thread, hash)).await
    }

    /// See [`super::Blobs::erase`].
    pub async fn erase_blobs(&self, thread: ThreadId, hashes: HashSet<[u8; 32]>) -> Result<(), AppendError> {
        self.blocking_write(move |shared| shared.blobs.erase(thread, &hashes)).await
    }

    /// See [`super::Log::expire`].
    pub async fn expire(&self, retention: Duration, replay_window: Duration) -> Result<(), AppendError> {
        self.write(Op::Roll(Shared::ages(retention, replay_window))).await?;
        for name in self.blocking_write(move |shared| shared.old_reply_logs(replay_window)).await? {
            for reply in self.shared.running_in(name) {
                let copies = self.write(Op::Move(reply)).await?.location;
                self.complete(copies).await?;
            }
            self.blocking_write(move |shared| shared.drop_segment(name)).await?;
        }
        for name in self.blocking_write(move |shared| shared.old_transcripts(retention)).await? {
            self.blocking_write(move |shared| shared.drop_segment(name)).await?;
        }
        self.blocking_write(move |shared| shared.expire_blobs(retention)).await
    }

    /// See [`super::Log::admits`].
    pub fn admits(&self) -> Result<(), AppendError> {
        if let Some(reason) = self.shared.progress.is_fatal() {
            return Err(AppendError::Unavailable(reason.to_string()));
        }
        if self.shared.progress.writer.stalled() >= STALLED {
            return Err(AppendError::Unavailable("a write does not come to an end".to_owned()));
        }
        self.shared.space.admits()
    }

    /// See [`super::Log::check_space`].
    pub async fn check_space(&self) {
        let shared = Arc::clone(&self.shared);
        let _ = tokio::task::spawn_blocking(move || shared.check_space()).await;
    }

    /// Whether it makes progress, and can go on.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.shared.progress)
    }

    /// What it keeps, in numbers.
    pub fn usage(&self) -> LogUsage {
        let heads = self.shared.heads.read();
        let subjects = heads.open.iter().map(|open| open.heads.len()).sum::<usize>()
            + heads.sealing.iter().map(|sealing| sealing.heads.len()).sum::<usize>();
        LogUsage {
            segments: self.shared.segments.len() as u64,
            open_files: self.shared.segments.open_files() as u64,
            subjects_in_memory: subjects as u64,
            damaged: self.shared.damage.count(),
            free_bytes: self.shared.space.free(),
            ..LogUsage::default()
        }
    }

    async fn write(&self, op: Op) -> Result<Written, AppendError> {
        if let Some(turn) = self.turn(&op) {
            return turn.write(&op);
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
        read: impl FnOnce(&Shared) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, ReadError> {
        let shared = Arc::clone(&self.shared);
        let result = tokio::task::spawn_blocking(move || read(&shared)).await;
        result.map_err(|error| ReadError(error.to_string()))?.map_err(|error| ReadError(error.to_string()))
    }

    /// Changes files beside the open segments.
    async fn blocking_write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Shared) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, AppendError> {
        let shared = Arc::clone(&self.shared);
        let changed = tokio::task::spawn_blocking(move || change(&shared)).await;
        changed.map_err(|_| closed())?.map_err(|error| match tail::TailError::from(error) {
            tail::TailError::Full => AppendError::Full,
            tail::TailError::Io(error) => AppendError::Unavailable(error.to_string()),
        })
    }
}

fn closed() -> AppendError {
    AppendError::Unavailable("the log was closed".to_owned())
}

impl Shared {
    fn last_position(&self) -> Position {
        self.last_position.load(Ordering::Acquire)
    }

    fn projected(&self) -> Position {
        self.projected.load(Ordering::Relaxed)
    }

    /// The last position is this one now.
    fn move_to(&self, last: Position) {
        if self.last_position.swap(last, Ordering::Release) != last {
            self.moved.send_replace(last);
        }
    }

    /// Looks whether the disk has the space that it should, and is still there.
    fn check_space(&self) {
        if let Err(reason) = self.space.look(self.segments.dir(), &self.lock, self.config.min_free_disk) {
            self.progress.fatal(&reason);
        }
    }
}

#[cfg(test)]
mod tests;
