//! A log in memory for several simulated instances, and unkind on purpose: acknowledgements are lost, writes are stored after
//! they were given up, replicas lag, subscriptions miss records, the leader is away, there is no space.
//!
//! What it promises is what the log in JetStream promises, see [`super::jetstream`]: sequences are those of a stream, a subject
//! that is emptied begins anew, a conclusion leaves the end in the transcript to its caller. Only with the feature `simulation`.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{AppendError, Concluded, Identity, Log, Position, ReadError, Scanned, Stored, Subject, Watch, surely};
use crate::domain::ids::{InstanceId, ReplyId, ThreadId};
use crate::simulation::{Dice, Fault, Process, clock_ahead};

mod build;
pub mod presence;
mod streams;
mod subscription;
mod tickets;

pub use build::Build;
use presence::{Members, Presence};
use streams::{Ages, Streams};
use subscription::Subscribers;
pub use subscription::{Subscription, Watched};
use tickets::Held;

/// How long a request is waited for, as by the client of JetStream.
const TIMEOUT: Duration = Duration::from_secs(1);

/// How late a write may be stored, in milliseconds after its request was sent.
const LATE_MS: std::ops::Range<u64> = 1..4000;

/// What all instances share. A handle: cheap to clone.
#[derive(Clone)]
pub struct Cluster(Arc<Shared>);

struct Shared {
    dice: Arc<Dice>,
    streams: Mutex<Streams>,
    subscribers: Subscribers,
    members: Members,
    /// Until when there is no leader.
    leaderless: Mutex<Instant>,
    is_full: AtomicBool,
    /// The longest message that is taken; what is longer is stored and read in pieces.
    longest: AtomicUsize,
    last_position: watch::Sender<Position>,
    observer: Mutex<Option<Observer>>,
}

/// Is told of every record that is stored.
type Observer = Box<dyn FnMut(Subject, &Stored) + Send>;

/// A process' handle to the log.
#[derive(Clone)]
pub struct Simulated {
    cluster: Cluster,
    process: Process,
    build: Build,
    held: Arc<Held>,
    /// What was written last found no space.
    was_full: Arc<AtomicBool>,
    /// The last position that is known here.
    known: Arc<AtomicU64>,
}

impl Cluster {
    /// An empty log, whose transcripts are kept for `retention` and whose reply logs for `replay_window`.
    pub fn new(dice: Arc<Dice>, retention: Duration, replay_window: Duration) -> Self {
        Self(Arc::new(Shared {
            dice,
            streams: Mutex::new(Streams::new(Ages { retention, replay_window })),
            subscribers: Subscribers::default(),
            members: Members::default(),
            leaderless: Mutex::new(Instant::now()),
            is_full: AtomicBool::new(false),
            longest: AtomicUsize::new(usize::MAX),
            last_position: watch::Sender::new(0),
            observer: Mutex::default(),
        }))
    }

    /// The log, as a process of this program reaches it.
    pub fn log(&self, process: Process) -> Log {
        self.log_of(process, Build::This)
    }

    /// The log, as a process of some build reaches it.
    pub fn log_of(&self, process: Process, build: Build) -> Log {
        Log::Simulated(Simulated {
            cluster: self.clone(),
            process,
            build,
            held: Arc::default(),
            was_full: Arc::default(),
            known: Arc::default(),
        })
    }

    /// Has somebody be told of every record that is stored.
    pub fn observe(&self, observer: impl FnMut(Subject, &Stored) + Send + 'static) {
        *self.0.observer.lock() = Some(Box::new(observer));
    }

    /// Takes the leader away for so long.
    pub fn lose_leader(&self, away: Duration) {
        *self.0.leaderless.lock() = Instant::now() + away;
    }

    /// Takes the space away, or gives it back.
    pub fn fill(&self, is_full: bool) {
        self.0.is_full.store(is_full, Ordering::Relaxed);
    }

    /// Takes no message that is longer (`max_payload`).
    pub fn limit(&self, longest: usize) {
        self.0.longest.store(longest, Ordering::Relaxed);
    }

    /// How many subscriptions there are of processes that were not killed.
    pub fn subscriptions(&self) -> usize {
        self.0.subscribers.count()
    }

    /// All that stands in it, as bytes: to look for what must not.
    pub fn contents(&self) -> Vec<Bytes> {
        self.0.streams.lock().contents()
    }

    /// The records of a subject, as they stand there.
    pub fn look(&self, subject: Subject) -> Vec<Stored> {
        self.0.streams.lock().read(subject, 0)
    }

    /// Whether somebody ever held a lease of a reply.
    pub fn was_leased(&self, reply: ReplyId) -> bool {
        self.0.streams.lock().tickets.was_held(reply)
    }

    /// Since when an instance runs, is connected and has not left. `None`: it does not, or is not.
    pub fn well_since(&self, instance: InstanceId) -> Option<Instant> {
        self.0.members.well_since(instance)
    }

    /// Replies that somebody holds a lease of.
    pub fn leases(&self) -> Vec<(InstanceId, ReplyId)> {
        self.0.streams.lock().tickets.all(false)
    }

    fn has_leader(&self) -> bool {
        *self.0.leaderless.lock() <= Instant::now()
    }

    /// Changes what is stored, and tells of it.
    fn change<T>(&self, apply: impl FnOnce(&mut Streams) -> T) -> T {
        let (done, appended, position) = {
            let mut streams = self.0.streams.lock();
            streams.expire(now_ms());
            let done = apply(&mut streams);
            (done, std::mem::take(&mut streams.appended), streams.last_position())
        };
        for appended in appended {
            if let Some(observer) = &mut *self.0.observer.lock() {
                observer(appended.subject, &appended.stored);
            }
            self.0.subscribers.tell(&self.0.dice, appended);
        }
        self.0.last_position.send_if_modified(|last| std::mem::replace(last, position) != position);
        done
    }
}

impl Simulated {
    /// Sends something: it has to be there, and connected.
    async fn send(&self) -> Result<(), String> {
        self.process.turn().await;
        if self.process.is_connected() && self.cluster.has_leader() {
            return Ok(());
        }
        tokio::time::sleep(TIMEOUT).await;
        self.process.turn().await;
        Err("timed out".to_owned())
    }

    /// Its answer is on the way.
    async fn answer(&self) -> Result<(), String> {
        // Most take no time that a clock of milliseconds could tell; all let others go first.
        match self.dice().number(0..16) {
            0 => tokio::time::sleep(self.dice().millis(1..30)).await,
            _ => tokio::task::yield_now().await,
        }
        if !self.process.is_connected() {
            tokio::time::sleep(TIMEOUT).await;
        }
        self.process.turn().await;
        if self.process.is_connected() { Ok(()) } else { Err("timed out".to_owned()) }
    }

    fn dice(&self) -> &Dice {
        &self.cluster.0.dice
    }

    /// Changes what is stored, if all goes well; otherwise perhaps, and perhaps later.
    async fn write<T: Send + 'static>(
        &self,
        length: usize,
        apply: impl FnOnce(&mut Streams) -> Result<T, AppendError> + Send + 'static,
    ) -> Result<T, AppendError> {
        self.send().await.map_err(AppendError::Unavailable)?;
        let lost = || AppendError::Unavailable("timed out".to_owned());
        if self.dice().strikes(Fault::WriteLate) {
            let (cluster, late) = (self.cluster.clone(), self.dice().millis(LATE_MS));
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                drop(cluster.change(apply));
            });
            tokio::time::sleep(TIMEOUT).await;
            self.process.turn().await;
            return Err(lost());
        }
        if length > 0 && self.cluster.0.is_full.load(Ordering::Relaxed) {
            self.answer().await.map_err(AppendError::Unavailable)?;
            self.was_full.store(true, Ordering::Relaxed);
            return Err(AppendError::Full);
        }
        let done = self.cluster.change(apply);
        if self.dice().strikes(Fault::AnswerLost) {
            tokio::time::sleep(TIMEOUT).await;
            self.process.turn().await;
            return Err(lost());
        }
        self.answer().await.map_err(AppendError::Unavailable)?;
        self.was_full.store(false, Ordering::Relaxed);
        done
    }

    /// As [`Simulated::write`], of what no fence refuses.
    async fn do_write(
        &self,
        length: usize,
        apply: impl FnOnce(&mut Streams) + Send + 'static,
    ) -> Result<(), AppendError> {
        let apply = move |streams: &mut Streams| {
            apply(streams);
            Ok(())
        };
        self.write(length, apply).await
    }

    async fn look<T>(&self, read: impl FnOnce(&Streams) -> T) -> Result<T, ReadError> {
        self.send().await.map_err(ReadError)?;
        if self.dice().strikes(Fault::ReadLost) {
            tokio::time::sleep(TIMEOUT).await;
            self.process.turn().await;
            return Err(ReadError("timed out".to_owned()));
        }
        let found = self.cluster.change(|streams| read(streams));
        self.answer().await.map_err(ReadError)?;
        Ok(found)
    }

    /// Stores what is too long for one message in pieces, but for the last; the record comes after them.
    async fn store_pieces(&self, length: usize) -> Result<(), AppendError> {
        let longest = self.cluster.0.longest.load(Ordering::Relaxed);
        for _ in 1..length.div_ceil(longest) {
            self.do_write(longest, |_| ()).await?;
        }
        Ok(())
    }

    /// Reads the pieces of what was too long for one message.
    async fn read_pieces<'a>(&self, records: impl IntoIterator<Item = &'a Stored>) -> Result<(), ReadError> {
        let longest = self.cluster.0.longest.load(Ordering::Relaxed);
        let pieces = records.into_iter().map(|record| record.payload.len().div_ceil(longest).saturating_sub(1));
        for _ in 0..pieces.sum() {
            self.look(|_| ()).await?;
        }
        Ok(())
    }

    pub(super) async fn append(&self, subject: Subject, expected: u64, payload: Bytes) -> Result<u64, AppendError> {
        let payload = self.build.write(payload);
        let length = payload.len();
        self.store_pieces(length).await?;
        let appended = self.write(length, move |streams| streams.append(subject, expected, payload)).await;
        if let (Ok(sequence), Subject::Transcript(_)) = (&appended, subject) {
            self.known.fetch_max(*sequence, Ordering::Relaxed);
        }
        appended
    }

    pub(super) async fn accept(
        &self,
        instance: InstanceId,
        reply: ReplyId,
        expected: Option<u64>,
        payload: Bytes,
    ) -> Result<u64, AppendError> {
        surely::accept(&Log::Simulated(self.clone()), instance, reply, expected.unwrap_or(0), payload).await
    }

    pub(super) async fn conclude(
        &self,
        reply: ReplyId,
        expected: Option<u64>,
        done: Bytes,
    ) -> Result<Concluded, AppendError> {
        let sequence = self.append(Subject::ReplyLog(reply), expected.unwrap_or(0), done).await?;
        Ok(Concluded { sequence, in_transcript: false })
    }

    pub(super) async fn read(&self, subject: Subject, after: u64) -> Result<Vec<Stored>, ReadError> {
        let read = self.look(move |streams| streams.read(subject, after)).await?;
        self.read_pieces(&read).await?;
        Ok(read.into_iter().map(|stored| self.build.read(stored)).collect())
    }

    pub(super) async fn last_record(&self, subject: Subject) -> Result<Option<Stored>, ReadError> {
        let last = self.look(move |streams| streams.last(subject)).await?;
        self.read_pieces(&last).await?;
        Ok(last.map(|stored| self.build.read(stored)))
    }

    pub(super) async fn subscribe(&self, subject: Subject) -> Result<Subscription, ReadError> {
        Subscription::open(self.clone(), subject).await
    }

    pub(super) fn watch(&self, subject: Subject) -> Watch {
        Watch::Simulated(Watched::new(self.clone(), subject))
    }

    pub(super) async fn erase(&self, subject: Subject, sequences: Vec<u64>) -> Result<(), AppendError> {
        for sequence in sequences {
            self.do_write(0, move |streams| streams.erase(subject, sequence)).await?;
        }
        Ok(())
    }

    pub(super) async fn erase_before(&self, subject: Subject, sequence: u64) -> Result<(), AppendError> {
        let before = self.read(subject, 0).await.map_err(|ReadError(error)| AppendError::Unavailable(error))?;
        let sequences = before.iter().map(|record| record.sequence).filter(|other| *other < sequence);
        self.erase(subject, sequences.collect()).await
    }

    pub(super) async fn scan(&self, after: Position, limit: usize) -> Result<Vec<Scanned>, ReadError> {
        let lag = if self.dice().strikes(Fault::ReadStale) { self.dice().number(1..4) } else { 0 };
        let mut found = self.look(move |streams| streams.scan(after, limit, lag)).await?;
        self.read_pieces(found.iter().map(|scanned| &scanned.record)).await?;
        for scanned in &mut found {
            scanned.record = self.build.read(scanned.record.clone());
        }
        if let Some(last) = found.last() {
            self.known.fetch_max(last.position, Ordering::Relaxed);
        }
        Ok(found)
    }

    pub(super) async fn wait_after(&self, after: Position) {
        let mut moved = self.cluster.0.last_position.subscribe();
        loop {
            // The sender lives as long as this handle.
            let _ = moved.wait_for(|last| *last > after).await;
            self.process.turn().await;
            if self.process.is_connected() {
                self.known.fetch_max(*moved.borrow(), Ordering::Relaxed);
                return;
            }
            tokio::time::sleep(TIMEOUT).await;
        }
    }

    pub(super) fn last_position(&self) -> Position {
        self.known.load(Ordering::Relaxed)
    }

    pub(super) async fn look_last_position(&self) -> Result<Position, ReadError> {
        let last = self.look(Streams::last_position).await?;
        self.known.fetch_max(last, Ordering::Relaxed);
        Ok(last)
    }

    pub(super) async fn put_snapshot(
        &self,
        reply: ReplyId,
        expected: u64,
        snapshot: Bytes,
    ) -> Result<u64, AppendError> {
        let snapshot = self.build.write(snapshot);
        let length = snapshot.len();
        self.store_pieces(length).await?;
        self.write(length, move |streams| streams.put_snapshot(reply, Some(expected), snapshot)).await
    }

    pub(super) async fn seal_snapshot(&self, reply: ReplyId) -> Result<(), AppendError> {
        self.write(0, move |streams| streams.put_snapshot(reply, None, Bytes::new()).map(drop)).await
    }

    pub(super) async fn snapshot(&self, reply: ReplyId) -> Result<Option<Stored>, ReadError> {
        let snapshot = self.look(move |streams| streams.snapshot(reply)).await?;
        self.read_pieces(&snapshot).await?;
        Ok(snapshot.map(|stored| self.build.read(stored)))
    }

    pub(super) async fn erase_snapshot(&self, reply: ReplyId) -> Result<(), AppendError> {
        self.do_write(0, move |streams| streams.erase_snapshot(reply)).await
    }

    pub(super) async fn put_blob(&self, thread: ThreadId, hash: [u8; 32], blob: Bytes) -> Result<(), AppendError> {
        let length = blob.len();
        self.do_write(length, move |streams| drop(streams.blobs.insert((thread, hash), (now_ms(), blob)))).await
    }

    pub(super) async fn blob(&self, thread: ThreadId, hash: [u8; 32]) -> Result<Option<Bytes>, ReadError> {
        self.look(move |streams| streams.blobs.get(&(thread, hash)).map(|(_, blob)| blob.clone())).await
    }

    pub(super) async fn erase_blobs(&self, thread: ThreadId, hashes: HashSet<[u8; 32]>) -> Result<(), AppendError> {
        for hash in hashes {
            self.do_write(0, move |streams| drop(streams.blobs.remove(&(thread, hash)))).await?;
        }
        Ok(())
    }

    pub(super) async fn join(&self, instance: InstanceId) -> Presence {
        self.process.turn().await;
        Presence::start(&self.cluster, instance, self.process.clone())
    }

    pub(super) fn identity() -> Identity {
        Identity { id: "simulated".to_owned() }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.process.is_connected()
    }

    pub(super) fn is_full(&self) -> bool {
        self.was_full.load(Ordering::Relaxed)
    }

    pub(super) fn admits(&self) -> Result<(), AppendError> {
        if self.process.is_connected() {
            return Ok(());
        }
        Err(AppendError::Unavailable("disconnected".to_owned()))
    }
}

/// The time as the log's own servers have it, whose clocks do not leap.
fn now_ms() -> u64 {
    super::now_ms().saturating_add_signed(-clock_ahead())
}
