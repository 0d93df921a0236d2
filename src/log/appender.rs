//! The one writer of a reply: stores its events in the chain, one append in flight, and shows them to the followers
//! on this instance only after that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Mutex;

use super::chain::Chain;
use super::feed::Feed;
use super::{AppendError, Log, Subject};
use crate::conversation::event::Event;
use crate::conversation::ids::{InstanceId, ReplyId, random_u64};
use crate::conversation::record::{ChainEntry, ChainRecord, Done, Ended, Snapshot, VERSION};
use crate::conversation::reply::Reply;
use crate::conversation::skeleton::Skeleton;
use crate::telemetry::Metrics;

/// A snapshot is written when this many records came since the last, and their text exceeds a quarter of it.
const SNAPSHOT_RECORDS: usize = 64;

/// The longest pause between tries of an append while the log cannot be written.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Why a generator has to stop.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// Somebody else writes this reply now, or ended it.
    #[error("another writer has the reply")]
    Fenced,
    /// The log could not be written for longer than the reply may wait.
    #[error("the log cannot be written: {0}")]
    Log(String),
    /// The events do not follow what was said.
    #[error("the events are out of order")]
    OutOfOrder,
}

/// Writes a reply.
pub struct Appender {
    log: Option<Log>,
    feed: Arc<Feed>,
    metrics: Arc<Metrics>,
    nonce: u64,
    patience: Duration,
    state: Mutex<State>,
}

struct State {
    reply: Reply,
    skeleton: Skeleton,
    last: u64,
    /// The reply's id was just made at random: nobody else can have written.
    is_new: bool,
    epoch: u32,
    tail_records: usize,
    tail_bytes: usize,
    snapshot_bytes: usize,
}

impl Appender {
    /// The writer of a reply that goes on from what `chain` holds. Without a log nothing is stored (`store: false`).
    /// `patience` is how long an append is tried again while the log cannot be written.
    pub fn new(log: Option<Log>, chain: Chain, feed: Arc<Feed>, metrics: Arc<Metrics>, patience: Duration) -> Self {
        let state = State {
            reply: chain.reply,
            skeleton: chain.skeleton,
            last: chain.last,
            is_new: chain.is_new,
            epoch: chain.epoch,
            tail_records: 0,
            tail_bytes: 0,
            // One that was taken over may have one.
            snapshot_bytes: usize::from(chain.epoch > 1),
        };
        Self { log, feed, metrics, nonce: random_u64(), patience, state: Mutex::new(state) }
    }

    /// Where followers on this instance see what was stored.
    pub const fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// What was said so far.
    pub async fn reply(&self) -> Reply {
        self.state.lock().await.reply.clone()
    }

    /// Whether the log may hold a snapshot of the reply.
    pub async fn has_snapshot(&self) -> bool {
        self.state.lock().await.snapshot_bytes > 0
    }

    /// Stores events, then shows them.
    pub async fn append(&self, events: Vec<Event>) -> Result<(), Stopped> {
        let mut state = self.state.lock().await;
        let first = state.reply.next_sequence();
        let entry = ChainEntry::Events { first, events };
        let size = self.store(&mut state, &entry).await?;
        let ChainEntry::Events { events, .. } = entry else { unreachable!("made above") };
        state.take(&events)?;
        state.tail_records += 1;
        state.tail_bytes += size;
        self.feed.push(events);
        self.keep_snapshot(&mut state).await;
        Ok(())
    }

    /// Stores the last events, of which the very last is the end, then shows them. What it gives back belongs into the
    /// transcript.
    pub async fn finish(&self, events: Vec<Event>, now_seconds: u64) -> Result<Arc<Ended>, Stopped> {
        let mut state = self.state.lock().await;
        let first = state.reply.next_sequence();
        // If the end cannot be stored, nothing more can be: what is taken into the state here is then of no use.
        state.take(&events)?;
        state.reply.set_ended_at(now_seconds);
        let ended = Arc::new(state.ended());
        let done = Done { first, ended: Arc::clone(&ended) };
        self.store(&mut state, &ChainEntry::Done(done)).await?;
        self.feed.finish(events, Arc::clone(&ended));
        Ok(ended)
    }

    /// Takes the reply over: whoever wrote it before is fenced off.
    pub async fn claim(&self, instance: InstanceId) -> Result<(), Stopped> {
        let mut state = self.state.lock().await;
        state.epoch += 1;
        self.store(&mut state, &ChainEntry::Claim { instance }).await.map(|_| ())
    }

    /// Leaves the reply, in good order, for another instance.
    pub async fn hand_over(&self) -> Result<(), Stopped> {
        let mut state = self.state.lock().await;
        self.store(&mut state, &ChainEntry::HandedOver).await.map(|_| ())
    }

    /// Ends the chain of a reply that is deleted. Followers see it cancelled: `events` are those of that end.
    pub async fn delete(&self, events: Vec<Event>, now_seconds: u64) -> Result<(), Stopped> {
        let mut state = self.state.lock().await;
        self.store(&mut state, &ChainEntry::Deleted).await?;
        state.take(&events)?;
        state.reply.set_ended_at(now_seconds);
        self.feed.finish(events, Arc::new(state.ended()));
        Ok(())
    }

    /// Appends to the chain; gives the record's size in bytes. An append that may or may not have been stored is
    /// tried again with the same expectation.
    async fn store(&self, state: &mut State, entry: &ChainEntry) -> Result<usize, Stopped> {
        let Some(log) = &self.log else { return Ok(0) };
        let subject = Subject::Chain(state.reply.id());
        let record = Bytes::from(ChainRecord::encode_parts(VERSION, state.epoch, self.nonce, entry));
        let size = record.len();
        let begun = Instant::now();
        let mut pause = Duration::from_millis(20);
        loop {
            let appended = match state.last {
                0 if state.is_new => log.begin(subject, record.clone()).await,
                last => log.append(subject, last, record.clone()).await,
            };
            match appended {
                Ok(sequence) => {
                    state.last = sequence;
                    state.is_new = false;
                    self.metrics.append_latency.observe(begun.elapsed());
                    return Ok(size);
                }
                Err(AppendError::Conflict { .. }) => {
                    state.last = self.find_own(log, subject, state.last, &record).await?;
                    return Ok(size);
                }
                Err(error) if begun.elapsed() + pause > self.patience => {
                    return Err(Stopped::Log(error.to_string()));
                }
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// After a conflict: if the record after `expected` is our own, its acknowledgement was lost, and it is stored.
    async fn find_own(&self, log: &Log, subject: Subject, expected: u64, record: &Bytes) -> Result<u64, Stopped> {
        let stored = log.read(subject, expected).await.map_err(|error| Stopped::Log(error.to_string()))?;
        match stored.first() {
            Some(first) if first.payload == record && stored.len() == 1 => Ok(first.sequence),
            _ => Err(Stopped::Fenced),
        }
    }

    /// Writes a snapshot when one is due. Its loss is no harm: a failure is left to the next append to tell.
    async fn keep_snapshot(&self, state: &mut State) {
        let Some(log) = &self.log else { return };
        if state.tail_records <= SNAPSHOT_RECORDS || state.tail_bytes <= state.snapshot_bytes / 4 {
            return;
        }
        let snapshot = Snapshot {
            v: VERSION,
            chain_sequence: state.last,
            epoch: state.epoch,
            said: state.reply.said().clone(),
            skeleton: state.skeleton.clone(),
        };
        let bytes = snapshot.encode();
        state.snapshot_bytes = bytes.len();
        state.tail_records = 0;
        state.tail_bytes = 0;
        let _ = log.put_snapshot(state.reply.id(), bytes.into()).await;
    }
}

impl State {
    fn ended(&self) -> Ended {
        Ended { reply: self.reply.id(), said: self.reply.said().clone(), skeleton: self.skeleton.clone() }
    }

    fn take(&mut self, events: &[Event]) -> Result<(), Stopped> {
        for event in events {
            self.reply.apply(event).map_err(|_| Stopped::OutOfOrder)?;
            self.skeleton.push(event);
        }
        Ok(())
    }
}

/// Keeps a reply from ever starting: for a ticket without an accepted record.
pub async fn void(log: &Log, reply: ReplyId) -> Result<(), AppendError> {
    let record = ChainRecord { v: VERSION, epoch: 1, nonce: random_u64(), entry: ChainEntry::Void };
    match log.append(Subject::Chain(reply), 0, record.encode().into()).await {
        Ok(_) | Err(AppendError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
