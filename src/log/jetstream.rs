//! The log in NATS JetStream, for any number of instances.
//!
//! - **Sequences** are those of the stream: they grow within a subject, with gaps.
//! - **Fences** are the server's: a publication names the last sequence that it expects its subject to have.
//! - **Ambiguity.** A publication that was not answered may have been stored. It is [`AppendError::Unavailable`], and
//!   the same one, tried again, meets either an empty place or a conflict behind which its own record stands.
//! - **Reading** that decides something asks the stream's leader, since other replicas may lag. A thread is read by the
//!   sequences that its last record lists, never by a scan.
//! - **Following** is a subscription to what the server republishes once it is stored. It may miss some: the numbers
//!   show it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::object_store::ObjectStore;
use async_nats::{Client, HeaderMap, connection};
use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;

use super::recent::Recent;
use super::{AppendError, Concluded, Identity, Position, ReadError, Scanned, Shard, Stored, Subject, millis};
use crate::domain::ids::{InstanceId, ReplyId, ThreadId};
use crate::telemetry::LogUsage;

mod append;
mod blobs;
mod connect;
mod inspect;
mod login;
mod names;
mod open_error;
mod pieces;
pub mod presence;
mod read;
pub(super) mod failure_detector;
mod fit;
mod gap_detector;
mod streams;
mod subscription;
mod tickets;
mod wire;

pub use crate::config::nats::{Api, Login, Servers};
use connect::{Asking, Connections};
pub use connect::{Config, Waits};
use gap_detector::GapDetector;
pub use inspect::{Inspection, inspect};
use names::Names;
pub use open_error::OpenError;
use pieces::Pieces;
use presence::Presence;
pub use streams::prepare;
pub use subscription::Subscription;
use tickets::Tickets;
use wire::StreamMessage;

/// Threads whose lists are remembered, in each of two generations.
const LISTS: usize = 8 * 1024;

/// Records that are fetched at once.
const AT_ONCE: usize = 32;

/// How often the server is asked for the last transcript's record, where nothing is written from here.
const LOOK: Duration = Duration::from_millis(250);

/// Bytes of records that one scan gives, about: a batch of them has to fit into a small machine.
const SCANNED_BYTES: usize = 8 << 20;

/// The sequences that a record of a transcript lists.
type List = Arc<Vec<u64>>;

/// A handle to the log in JetStream.
#[derive(Clone)]
pub struct JetStream {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    waits: Waits,
    connections: Connections,
    names: Names,
    shards: Vec<OfShard>,
    blobs: ObjectStore,
    pieces: Pieces,
    tickets: Tickets,
    gap_detector: GapDetector,
    /// Of threads: the last sequence, and those that a record after it lists.
    lists: Mutex<Recent<ThreadId, (u64, List)>>,
    /// Streams that had no space, and the size of the smallest record that each refused, in bytes: each is full by itself.
    refused: Mutex<HashMap<String, usize>>,
    /// There are some.
    is_full: AtomicBool,
}

/// What is known of a shard.
struct OfShard {
    identity: Identity,
    last_position: watch::Sender<Position>,
    /// What was before this has expired, as far as was looked.
    first_position: AtomicU64,
}

impl JetStream {
    /// Connects, and makes the streams that are missing.
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        Self::open_telling(config, Arc::new(|_| {})).await
    }

    /// The same. `waits` is called with the reason each time it is tried again later.
    pub async fn open_telling(config: &Config, waits: Waits) -> Result<Self, OpenError> {
        let names = Names::new(config.shards);
        let (connections, blobs, transcripts) = connect::start(config, &names, &waits).await?;
        let shard = |transcript: streams::Transcript| OfShard {
            identity: Identity { id: transcript.identity },
            last_position: watch::Sender::new(transcript.last),
            first_position: AtomicU64::new(0),
        };
        let pieces = Pieces::new(connections.clone(), names.clone());
        let inner = Shared {
            config: config.clone(),
            waits,
            tickets: Tickets::start(pieces.clone()),
            pieces,
            gap_detector: GapDetector::start(connections.read.clone(), names.clone()),
            connections,
            names,
            blobs,
            lists: Mutex::new(Recent::new(LISTS)),
            refused: Mutex::default(),
            is_full: AtomicBool::new(false),
            shards: transcripts.into_iter().map(shard).collect(),
        };
        Ok(Self { shared: Arc::new(inner) })
    }

    /// See [`super::Membership::join`].
    pub async fn join(&self, instance: InstanceId) -> Result<Presence, OpenError> {
        let Shared { config, waits, connections, .. } = &*self.shared;
        let presence = async || Presence::start(config.clone(), instance, Client::clone(&connections.read)).await;
        connect::patiently(presence, waits).await
    }

    /// How it is reached, in numbers.
    pub fn usage(&self) -> LogUsage {
        let connects = self.shared.connections.read.statistics().connects.load(Ordering::Relaxed);
        let (gaps_closed, reconnects) = (self.shared.gap_detector.closed(), connects.saturating_sub(1));
        LogUsage { gaps_closed, reconnects, ..LogUsage::default() }
    }

    /// Whether a record found no space, and none of its size was taken since where it belongs.
    pub fn is_full(&self) -> bool {
        self.shared.is_full.load(Ordering::Relaxed)
    }

    /// See [`super::Records::subscribe`].
    pub async fn subscribe(&self, subject: Subject) -> Result<Subscription, ReadError> {
        Subscription::open(self.clone(), subject).await
    }

    /// See [`super::Records::watch`].
    pub fn watch(&self, subject: Subject) -> Watched {
        Watched { listening: self.shared.gap_detector.listen(subject, 0) }
    }

    /// See [`super::Records::erase`].
    pub async fn erase(&self, subject: Subject, sequences: Vec<u64>) -> Result<(), AppendError> {
        for some in sequences.chunks(AT_ONCE) {
            for erased in join_all(some.iter().map(|sequence| self.erase_one(subject, *sequence))).await {
                erased?;
            }
        }
        // What was meant to be a record and did not become one. What is on its way into one is younger.
        let records = self.messages(subject, 0).await.map_err(unavailable)?;
        let last = records.last().map_or(0, |last| last.at);
        let before = last.saturating_sub(millis(pieces::UNUSED_AFTER));
        self.shared.pieces.erase_unused(&self.shared.names.subject(subject), &records, before).await
    }

    /// See [`super::Records::erase_before`].
    pub async fn erase_before(&self, subject: Subject, sequence: u64) -> Result<(), AppendError> {
        let records = self.messages(subject, 0).await.map_err(unavailable)?;
        let before = records.iter().map(|record| record.sequence).filter(|other| *other < sequence);
        self.erase(subject, before.collect()).await?;
        // Nobody writes there any more.
        let left = self.messages(subject, 0).await.map_err(unavailable)?;
        self.shared.pieces.erase_unused(&self.shared.names.subject(subject), &left, u64::MAX).await
    }

    /// Erases the pieces of a record, then the record.
    async fn erase_one(&self, subject: Subject, sequence: u64) -> Result<(), AppendError> {
        let Connections { append, read, .. } = &self.shared.connections;
        let stream = self.shared.names.stream(subject);
        if let Some(message) = wire::at(read, stream, sequence).await.map_err(unavailable)? {
            self.shared.pieces.erase_of(&message).await?;
        }
        wire::erase(append, stream, sequence).await
    }

    /// See [`super::Records::shards`].
    pub fn shards(&self) -> Shard {
        self.shared.names.count()
    }

    fn shard(&self, shard: Shard) -> &OfShard {
        &self.shared.shards[usize::try_from(shard).expect("32 bits")]
    }

    /// See [`super::Records::scan`].
    pub async fn scan(&self, shard: Shard, after: Position, limit: usize) -> Result<Vec<Scanned>, ReadError> {
        let (client, stream) = (&self.shared.connections.read, &self.shared.names.of(shard).transcript);
        let found = wire::some(client, stream, ">", after + 1, limit, SCANNED_BYTES).await?;
        if let Some(last) = found.last() {
            self.moved(shard, last.sequence);
        }
        let (mut scanned, mut bytes) = (Vec::with_capacity(found.len()), 0);
        for message in found {
            let Some(thread) = names::thread_of(&message.subject) else { continue };
            let record = self.shared.pieces.whole(message).await?;
            bytes += record.payload.len();
            scanned.push(Scanned { position: record.sequence, thread, record });
            if bytes >= SCANNED_BYTES {
                break;
            }
        }
        Ok(scanned)
    }

    /// See [`super::Records::wait_after`].
    pub async fn wait_after(&self, shard: Shard, after: Position) {
        let mut moved = self.shard(shard).last_position.subscribe();
        let stream = &self.shared.names.of(shard).transcript;
        loop {
            if *moved.borrow_and_update() > after {
                return;
            }
            // Others write, too.
            if tokio::time::timeout(LOOK, moved.changed()).await.is_err()
                && let Ok(Some(last)) = wire::last(&self.shared.connections.read, stream, ">").await
            {
                self.moved(shard, last.sequence);
            }
        }
    }

    fn moved(&self, shard: Shard, position: Position) {
        self.shard(shard).last_position.send_if_modified(|last| {
            let moves = position > *last;
            *last = position.max(*last);
            moves
        });
    }

    /// See [`super::Records::last_position`].
    pub fn last_position(&self, shard: Shard) -> Position {
        *self.shard(shard).last_position.borrow()
    }

    /// See [`super::Records::look_last_position`].
    pub async fn look_last_position(&self, shard: Shard) -> Result<Position, ReadError> {
        let stream = &self.shared.names.of(shard).transcript;
        // Not of its last message: that may have been erased, or have expired.
        let last = wire::last_sequence(&self.shared.connections.read, stream).await?;
        self.moved(shard, last);
        Ok(last)
    }

    /// See [`super::Records::identity`].
    pub fn identity(&self, shard: Shard) -> Identity {
        self.shard(shard).identity.clone()
    }

    /// See [`super::Snapshots::put`].
    pub async fn put_snapshot(&self, reply: ReplyId, expected: u64, snapshot: Bytes) -> Result<u64, AppendError> {
        let name = self.shared.names.snapshot(reply);
        let length = snapshot.len();
        let sequence = self.shared.pieces.publish(&name, expected, HeaderMap::new(), snapshot).await?;
        if self.shared.pieces.is_cut(length) {
            // What this fails for goes with its age, or with the reply.
            let stream = &self.shared.names.of_thread(reply.thread()).snapshot;
            let _ = self.shared.pieces.erase_replaced(stream, &name).await;
        }
        Ok(sequence)
    }

    /// See [`super::Snapshots::seal`]. An empty one takes the place of the last, and moves the fence.
    pub async fn seal_snapshot(&self, reply: ReplyId) -> Result<(), AppendError> {
        let name = self.shared.names.snapshot(reply);
        wire::put(&self.shared.connections.append, &name, HeaderMap::new(), Bytes::new()).await?;
        self.shared.pieces.erase_unused(&name, &[], u64::MAX).await
    }

    /// See [`super::Snapshots::get`].
    pub async fn snapshot(&self, reply: ReplyId) -> Result<Option<Stored>, ReadError> {
        let (client, names) = (&self.shared.connections.read, &self.shared.names);
        let stream = &names.of_thread(reply.thread()).snapshot;
        let mut known = 0;
        loop {
            let Some(message) = wire::last(client, stream, &names.snapshot(reply)).await? else { return Ok(None) };
            let (sequence, is_in_pieces) = (message.sequence, message.is_in_pieces());
            let stored = self.shared.pieces.whole(message).await?;
            // Its pieces go when another takes its place.
            if !is_in_pieces || !stored.payload.is_empty() || sequence == known {
                return Ok(Some(stored));
            }
            known = sequence;
        }
    }

    /// See [`super::Snapshots::erase`].
    pub async fn erase_snapshot(&self, reply: ReplyId) -> Result<(), AppendError> {
        let names = &self.shared.names;
        let request = json!({"filter": names.snapshot(reply)});
        let purge = format!("STREAM.PURGE.{}", names.of_thread(reply.thread()).snapshot);
        let purged = wire::change(&self.shared.connections.append, &purge, &request).await;
        purged.map_err(unavailable)?;
        self.shared.pieces.erase_unused(&names.snapshot(reply), &[], u64::MAX).await
    }

    /// See [`super::Leases::acquire`].
    pub async fn hold(&self, instance: InstanceId, reply: ReplyId) -> Result<(), AppendError> {
        self.shared.tickets.hold(instance, reply).await
    }

    /// See [`super::Leases::release`].
    pub fn release(&self, reply: ReplyId) {
        self.shared.tickets.release(reply);
    }

    /// See [`super::Leases::retire`].
    pub async fn retire(&self, instance: InstanceId, replies: Vec<ReplyId>) -> Result<(), AppendError> {
        let (client, name) = (&self.shared.connections.append, names::tickets(instance));
        let stream = names::TICKETS_STREAM;
        let message = wire::next(client, stream, &name, 1, usize::MAX).await.map_err(unavailable)?;
        let message = self.shared.pieces.put_together(message).await.map_err(unavailable)?;
        let last = wire::last(client, stream, &name).await.map_err(unavailable)?.map_or(0, |last| last.sequence);
        let mut headers = HeaderMap::new();
        let record = if message.last().is_some_and(|message| message.sequence == last) {
            // The rest, in place of all before: every sweep reads the sets of all instances that ever were.
            headers.insert(tickets::ROLLUP.0, tickets::ROLLUP.1);
            tickets::left(&message, &replies)
        } else {
            tickets::dropped(replies)
        };
        self.shared.pieces.publish(&name, last, headers, record).await.map(|_| ())
    }

    /// See [`super::Leases::of`].
    pub async fn tickets(&self, wanted: impl Fn(InstanceId) -> bool) -> Result<Vec<(InstanceId, ReplyId)>, ReadError> {
        tickets::read(&self.shared.connections.read, &self.shared.pieces, wanted).await
    }

    /// See [`super::Blobs::put`].
    pub async fn put_blob(&self, thread: ThreadId, hash: [u8; 32], blob: Bytes) -> Result<(), AppendError> {
        let how = (self.shared.pieces.longest(), self.shared.config.retention / 2);
        let size = blob.len();
        let put = blobs::put(&self.shared.blobs, &names::blob(thread, &hash), blob, how).await;
        self.note_space(names::BLOBS, size, &put);
        put
    }

    /// See [`super::Blobs::get`].
    pub async fn blob(&self, thread: ThreadId, hash: [u8; 32]) -> Result<Option<Bytes>, ReadError> {
        blobs::get(&self.shared.blobs, &names::blob(thread, &hash)).await
    }

    /// See [`super::Blobs::erase`].
    pub async fn erase_blobs(&self, thread: ThreadId, hashes: HashSet<[u8; 32]>) -> Result<(), AppendError> {
        for hash in hashes {
            blobs::erase(&self.shared.blobs, &names::blob(thread, &hash), &self.shared.connections).await?;
        }
        Ok(())
    }

    /// See [`super::Log::is_connected`].
    pub fn is_connected(&self) -> bool {
        let Connections { append, read, .. } = &self.shared.connections;
        [append as &Asking, read].into_iter().all(|client| client.connection_state() == connection::State::Connected)
    }

    /// See [`super::Log::admits`].
    pub fn admits(&self) -> Result<(), AppendError> {
        match self.shared.connections.append.connection_state() {
            connection::State::Connected => Ok(()),
            state => Err(AppendError::Unavailable(format!("NATS: {state}"))),
        }
    }
}

/// See [`crate::log::Watch`].
pub struct Watched {
    listening: gap_detector::Listening,
}

impl Watched {
    /// See [`crate::log::Watch::saw`].
    pub fn saw(&self, sequence: u64) {
        self.listening.watched.seen.store(sequence, Ordering::Relaxed);
    }

    /// See [`crate::log::Watch::behind`].
    pub async fn behind(&self) {
        self.listening.watched.behind.notified().await;
    }
}

impl From<StreamMessage> for Stored {
    fn from(message: StreamMessage) -> Self {
        Self { sequence: message.sequence, at: message.at, payload: message.payload }
    }
}

fn unavailable(ReadError(error): ReadError) -> AppendError {
    AppendError::Unavailable(error)
}
