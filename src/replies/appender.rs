//! The one writer of a reply: stores its events in the reply log, one append in flight, and shows them to the followers
//! on this instance only after that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Mutex;

use super::builder::Generated;
use super::feed::Feed;
use super::reply_log::ReplyLog;
use crate::domain::event::Event;
use crate::domain::ids::{InstanceId, ReplyId, random_u64};
use crate::domain::items::Item;
use crate::domain::layout::{OutputLayout, Spoken};
use crate::domain::record::{
    Begins, Change, Done, Ended, ReplyLogEntry, ReplyLogRecord, Snapshot, TranscriptRecord, VERSION,
};
use crate::domain::reply::Reply;
use crate::log::{AppendError, Concluded, Log, ReadError, Subject, Watch, now_ms};
use crate::offload::offload;
use crate::telemetry::Metrics;

/// A snapshot is written when this many records came since the last, and their text exceeds a quarter of it.
const SNAPSHOT_RECORDS: usize = 64;

/// The longest pause between tries of an append while the log cannot be written.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often it is looked meanwhile whether the reply is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// Where a thread's next record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fence {
    /// The sequence that is expected to be the last. `None`: the thread is new, and its id nobody else's.
    pub(crate) sequence: Option<u64>,
    /// The ordinal of the next record.
    pub(crate) ordinal: u64,
}

/// A reply that is over.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its end.
    pub(crate) ended: Arc<Ended>,
    /// Whether the end is in the transcript, and the ticket gone; otherwise both are the caller's to do.
    pub(crate) in_transcript: bool,
}

/// Why a generator has to stop.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    /// Somebody else writes this reply now, or ended it.
    #[error("another writer has the reply")]
    Fenced,
    /// The log could not be written for longer than the reply may wait.
    #[error("the log cannot be written: {0}")]
    Log(String),
    /// The events do not follow the events before them.
    #[error("the events are out of order")]
    OutOfOrder,
}

/// How long an append is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// While the log cannot be written.
    pub(crate) away: Duration,
    /// While it has no space, if what is to be stored was generated already.
    pub(crate) full: Duration,
}

/// Writes a reply.
pub(crate) struct Appender {
    log: Option<Log>,
    feed: Arc<Feed>,
    metrics: Arc<Metrics>,
    nonce: u64,
    timeouts: Timeouts,
    watch: Option<Watch>,
    state: Mutex<State>,
}

struct State {
    reply: Reply,
    layout: OutputLayout,
    /// The end of the text, while speech goes on.
    text_end: Option<Arc<Ended>>,
    last: u64,
    /// Its last record is written, or was tried: nothing comes after it.
    closed: bool,
    /// The reply's id was just made at random: no other instance can have written.
    is_new: bool,
    epoch: u32,
    claimant: Option<InstanceId>,
    tail_records: usize,
    tail_bytes: usize,
    /// The sequence of the last snapshot.
    snapshot: u64,
    snapshot_bytes: usize,
}

impl Appender {
    /// The writer of a reply that continues from what its reply log holds. Without a log nothing is stored (`store:
    /// false`).
    pub(crate) fn new(
        log: Option<Log>,
        reply_log: ReplyLog,
        feed: Arc<Feed>,
        metrics: Arc<Metrics>,
        timeouts: Timeouts,
    ) -> Self {
        let watch = log.as_ref().and_then(|log| log.records().watch(Subject::ReplyLog(reply_log.reply.id())));
        if let Some(watch) = &watch {
            watch.saw(reply_log.last);
        }
        let state = State {
            reply: reply_log.reply,
            layout: reply_log.layout,
            text_end: reply_log.text_end,
            last: reply_log.last,
            closed: false,
            is_new: reply_log.is_new,
            epoch: reply_log.epoch,
            claimant: reply_log.claimant,
            tail_records: 0,
            tail_bytes: 0,
            snapshot: reply_log.snapshot,
            // One that was taken over may have one.
            snapshot_bytes: usize::from(reply_log.epoch > 1),
        };
        Self { log, feed, metrics, nonce: random_u64(), timeouts, watch, state: Mutex::new(state) }
    }

    /// Where followers on this instance see what was stored.
    pub(crate) const fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// Waits until another instance has written the reply. Appends notice it, too; but without output there are none.
    pub(crate) async fn fenced(&self) {
        let (Some(log), Some(watch)) = (&self.log, &self.watch) else { return std::future::pending().await };
        loop {
            watch.behind().await;
            // Not while an append of our own is on its way.
            let state = self.state.lock().await;
            let more = log.records().read(Subject::ReplyLog(state.reply.id()), state.last).await;
            if more.is_ok_and(|more| !more.is_empty()) {
                return;
            }
        }
    }

    /// The reply so far.
    pub(crate) async fn reply(&self) -> Reply {
        self.state.lock().await.reply.clone()
    }

    /// How many tokens were generated so far, by the events.
    pub(crate) async fn generated(&self) -> Generated {
        let state = self.state.lock().await;
        let tokens = state.layout.tokens();
        // A summary that the reply has gone on from was another call's.
        let is_compacted = state.reply.is_compacted();
        let mut generated = Generated::default();
        for (item, tokens) in state.reply.output().iter().zip(&tokens) {
            if item.is_compaction() && is_compacted {
                generated.summary += tokens;
                continue;
            }
            generated.all += tokens;
            if let Item::Message(_) = item {
                generated.text += tokens;
            }
        }
        generated
    }

    /// How the text ended, if it has; then only speech may follow.
    pub(crate) async fn text_end(&self) -> Option<Arc<Ended>> {
        self.state.lock().await.text_end.clone()
    }

    /// How far the reply was spoken.
    pub(crate) async fn spoken(&self) -> Spoken {
        self.state.lock().await.layout.spoken()
    }

    /// Whether the log may hold a snapshot of the reply.
    pub(crate) async fn has_snapshot(&self) -> bool {
        self.state.lock().await.snapshot_bytes > 0
    }

    /// Stores events, then shows them.
    pub(crate) async fn append(&self, events: Vec<Event>) -> Result<(), Stopped> {
        let mut state = self.state.lock().await;
        let first = state.reply.next_sequence();
        let entry = ReplyLogEntry::Events { first, events, begins: None };
        let size = self.store(&mut state, &entry).await?;
        let ReplyLogEntry::Events { events, .. } = entry else { unreachable!("made above") };
        state.take(&events)?;
        // A snapshot holds no speech, and does not replace the reading of it.
        if !events.first().is_some_and(Event::is_speech) {
            state.tail_records += 1;
            state.tail_bytes += size;
        }
        self.feed.push(events);
        self.keep_snapshot(&mut state).await;
        Ok(())
    }

    /// Notes that the reply, which was taken over, has its turn at the model.
    pub(crate) async fn begin(&self, begins: Begins) -> Result<(), Stopped> {
        let mut state = self.state.lock().await;
        let first = state.reply.next_sequence();
        let entry = ReplyLogEntry::Events { first, events: Vec::new(), begins: Some(begins) };
        self.store(&mut state, &entry).await.map(drop)
    }

    /// Stores the last events of the text, then shows them; its speech goes on. The very last event, which is the end, is
    /// shown by [`Appender::finish`]. What this gives belongs into the transcript.
    pub(crate) async fn end_text(&self, mut events: Vec<Event>, now_seconds: u64) -> Result<Arc<Ended>, Stopped> {
        let mut state = self.state.lock().await;
        let Some(Event::End(end)) = events.pop() else { return Err(Stopped::OutOfOrder) };
        let first = state.reply.next_sequence();
        state.take(&events)?;
        let mut reply = state.reply.clone();
        reply.conclude(end, now_seconds);
        let (reply, content, layout) = (reply.id(), reply.into_content(), state.layout.clone());
        let ended = Arc::new(Ended { reply, content, layout, speaking: true });
        let entry = ReplyLogEntry::TextEnded { first, events, ended: Arc::clone(&ended) };
        self.store(&mut state, &entry).await?;
        let ReplyLogEntry::TextEnded { events, .. } = entry else { unreachable!("made above") };
        state.text_end = Some(Arc::clone(&ended));
        self.feed.end_text(events, Arc::clone(&ended));
        Ok(ended)
    }

    /// Stores the last events, of which the very last is the end, then shows them. The end belongs into the transcript,
    /// too: at `fence`, if nothing came between.
    pub(crate) async fn finish(
        &self,
        events: Vec<Event>,
        now_seconds: u64,
        fence: Option<Fence>,
    ) -> Result<Finished, Stopped> {
        let mut state = self.state.lock().await;
        let first = state.reply.next_sequence();
        // If the end cannot be stored, nothing more can be: what is taken into the state here is then of no use.
        state.take(&events)?;
        state.date(now_seconds);
        let ended = Arc::new(state.ended());
        let done = Done { first, ended: Arc::clone(&ended) };
        let encode = |fence: Fence| offload(state.cost(), || fence.end(&ended).encode().into());
        let end = fence.and_then(|fence| Some((fence.sequence?, encode(fence))));
        let stored = self.store_with(&mut state, &ReplyLogEntry::Done(done), end).await?;
        self.feed.finish(events, Arc::clone(&ended));
        Ok(Finished { ended, in_transcript: stored.in_transcript })
    }

    /// Takes the reply over: its earlier writers are fenced off.
    pub(crate) async fn claim(&self, instance: InstanceId) -> Result<(), Stopped> {
        let mut state = self.state.lock().await;
        state.epoch += 1;
        state.claimant = Some(instance);
        self.store(&mut state, &ReplyLogEntry::Claim { instance }).await.map(|_| ())
    }

    /// Leaves the reply, in good order, for another instance.
    pub(crate) async fn hand_over(&self) -> Result<(), Stopped> {
        let mut state = self.state.lock().await;
        self.store(&mut state, &ReplyLogEntry::HandedOver).await.map(|_| ())
    }

    /// Ends the reply log of a reply that is deleted. Followers see it cancelled: `events` are those of that end, after what
    /// they were shown. That can be less than was taken in here, if the last write found no space.
    pub(crate) async fn delete(&self, events: Vec<Event>, now_seconds: u64) -> Result<(), Stopped> {
        let mut state = self.state.lock().await;
        self.store(&mut state, &ReplyLogEntry::Deleted).await?;
        let mut reply = self.feed.reply();
        // While speech goes on, its text has ended already.
        if reply.end().is_none() {
            for event in &events {
                reply.apply(event).map_err(|_| Stopped::OutOfOrder)?;
            }
            reply.set_ended_at(now_seconds);
        }
        let (reply, content) = (reply.id(), reply.into_content());
        let ended = Ended { reply, content, layout: OutputLayout::default(), speaking: false };
        self.feed.finish(events, Arc::new(ended));
        Ok(())
    }

    /// Appends to the reply log; returns the record's size in bytes. An append that may or may not have been stored is
    /// tried again with the same expectation.
    async fn store(&self, state: &mut State, entry: &ReplyLogEntry) -> Result<usize, Stopped> {
        self.store_with(state, entry, None).await.map(|stored| stored.size)
    }

    /// As [`Appender::store`], and with it, if it can be, the end of the reply in its transcript.
    async fn store_with(
        &self,
        state: &mut State,
        entry: &ReplyLogEntry,
        end: Option<(u64, Bytes)>,
    ) -> Result<Put, Stopped> {
        // A deletion may follow an end that found no space; if that was written after all, the fence shows it.
        if state.closed && !matches!(entry, ReplyLogEntry::Deleted) {
            return Err(Stopped::Fenced);
        }
        state.closed = matches!(entry, ReplyLogEntry::Done(_) | ReplyLogEntry::Deleted | ReplyLogEntry::HandedOver);
        let Some(log) = &self.log else { return Ok(Put { size: 0, in_transcript: false }) };
        let subject = Subject::ReplyLog(state.reply.id());
        let cost =
            if matches!(entry, ReplyLogEntry::Done(_) | ReplyLogEntry::TextEnded { .. }) { state.cost() } else { 0 };
        let encode = || Bytes::from(ReplyLogRecord::encode_parts(VERSION, state.epoch, self.nonce, entry));
        let record = offload(cost, encode);
        let size = record.len();
        let begun = Instant::now();
        let mut pause = Duration::from_millis(20);
        loop {
            let appended = if matches!(entry, ReplyLogEntry::Deleted) {
                let stored = log.records().append_deletion(subject, state.last, record.clone()).await;
                stored.map(|sequence| Concluded { sequence, in_transcript: false })
            } else {
                self.put(log, state, &record, end.clone()).await
            };
            match appended {
                Ok(Concluded { sequence, in_transcript }) => {
                    self.wrote(state, sequence);
                    self.metrics.append_latency.observe(begun.elapsed());
                    return Ok(Put { size, in_transcript });
                }
                Err(AppendError::Conflict { .. }) => match find_own(log, subject, state.last, &record).await {
                    Ok(None) => return Err(Stopped::Fenced),
                    Ok(Some(own)) => {
                        self.wrote(state, own);
                        return Ok(Put { size, in_transcript: false });
                    }
                    Err(error) => self.wait(begun, pause, self.timeouts.away, &error).await?,
                },
                Err(error) => self.wait(begun, pause, self.timeout_for(entry, &error), &error).await?,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One try of an append.
    async fn put(
        &self,
        log: &Log,
        state: &State,
        record: &Bytes,
        end: Option<(u64, Bytes)>,
    ) -> Result<Concluded, AppendError> {
        let reply = state.reply.id();
        let is_new = state.last == 0 && state.is_new;
        let expected = (!is_new).then_some(state.last);
        let sequence = match (end, expected) {
            (Some(end), expected) => return log.records().conclude(reply, expected, record.clone(), Some(end)).await,
            (None, Some(last)) => log.records().append(Subject::ReplyLog(reply), last, record.clone()).await?,
            (None, None) => log.records().begin(Subject::ReplyLog(reply), record.clone()).await?,
        };
        Ok(Concluded { sequence, in_transcript: false })
    }

    fn wrote(&self, state: &mut State, sequence: u64) {
        state.last = sequence;
        state.is_new = false;
        if let Some(watch) = &self.watch {
            watch.saw(sequence);
        }
    }

    /// How long an append of this is tried again after this error. Only what was generated already waits for
    /// space: a takeover fails at once.
    fn timeout_for(&self, entry: &ReplyLogEntry, error: &AppendError) -> Duration {
        match (error, entry) {
            (
                AppendError::Full,
                ReplyLogEntry::Events { .. } | ReplyLogEntry::TextEnded { .. } | ReplyLogEntry::Done(_),
            ) => self.timeouts.full,
            (AppendError::Full, ReplyLogEntry::Claim { .. }) => Duration::ZERO,
            _ => self.timeouts.away,
        }
    }

    /// Waits before the next try, if there is to be one. A reply that is to be deleted is not waited for.
    async fn wait(
        &self,
        begun: Instant,
        pause: Duration,
        timeout: Duration,
        cause: &impl ToString,
    ) -> Result<(), Stopped> {
        if begun.elapsed() + pause > timeout {
            return Err(Stopped::Log(cause.to_string()));
        }
        let over = Instant::now() + pause;
        while let Some(left) = over.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            tokio::time::sleep(left.min(LOOK)).await;
            if self.feed.is_unwanted() {
                return Err(Stopped::Log(cause.to_string()));
            }
        }
        Ok(())
    }

    /// Writes a snapshot when one is due. Losing one does no harm: a failure is left for the next append to report.
    async fn keep_snapshot(&self, state: &mut State) {
        let Some(log) = &self.log else { return };
        // Once its text is over there is nothing new to keep.
        if state.text_end.is_some()
            || state.tail_records <= SNAPSHOT_RECORDS
            || state.tail_bytes <= state.snapshot_bytes / 4
        {
            return;
        }
        let snapshot = || Snapshot {
            v: VERSION,
            chain_sequence: state.last,
            epoch: state.epoch,
            claimant: state.claimant,
            content: state.reply.content().clone(),
            layout: state.layout.clone(),
        };
        let bytes = offload(state.cost(), || snapshot().encode());
        state.snapshot_bytes = bytes.len();
        state.tail_records = 0;
        state.tail_bytes = 0;
        match log.snapshots().put(state.reply.id(), state.snapshot, bytes.into()).await {
            Ok(sequence) | Err(AppendError::Conflict { last: sequence, .. }) => state.snapshot = sequence,
            Err(_) => {}
        }
    }
}

/// After a conflict: if the record after `expected` is our own, its acknowledgement was lost, and it is stored.
async fn find_own(log: &Log, subject: Subject, expected: u64, record: &Bytes) -> Result<Option<u64>, ReadError> {
    let stored = log.records().read(subject, expected).await?;
    match stored.first() {
        Some(first) if first.payload == record && stored.len() == 1 => Ok(Some(first.sequence)),
        _ => Ok(None),
    }
}

/// A record is stored.
struct Put {
    /// In bytes.
    size: usize,
    in_transcript: bool,
}

impl Fence {
    /// The record of a reply's end here.
    pub(crate) fn end(self, ended: &Arc<Ended>) -> TranscriptRecord {
        TranscriptRecord { v: VERSION, ordinal: self.ordinal, at: now_ms(), change: Change::Ended(Arc::clone(ended)) }
    }
}

impl State {
    /// What it costs to encode the reply, as the bytes of text that take as long.
    fn cost(&self) -> usize {
        self.layout.cost() + self.reply.output().iter().map(Item::text_bytes).sum::<usize>()
    }

    fn ended(&self) -> Ended {
        let (content, layout) = (self.reply.content().clone(), self.layout.clone());
        Ended { reply: self.reply.id(), content, layout, speaking: false }
    }

    /// Notes when the reply ended: with its text.
    fn date(&mut self, now_seconds: u64) {
        let ended_at = self.text_end.as_ref().and_then(|ended| ended.content.ended_at);
        self.reply.set_ended_at(ended_at.unwrap_or(now_seconds));
    }

    fn take(&mut self, events: &[Event]) -> Result<(), Stopped> {
        for event in events {
            self.reply.apply(event).map_err(|_| Stopped::OutOfOrder)?;
            self.layout.push(event);
        }
        Ok(())
    }
}

/// Keeps a reply from ever starting: for a ticket without an accepted record.
pub(crate) async fn void(log: &Log, reply: ReplyId) -> Result<(), AppendError> {
    let record = ReplyLogRecord { v: VERSION, epoch: 1, nonce: random_u64(), entry: ReplyLogEntry::Void };
    match log.records().append(Subject::ReplyLog(reply), 0, record.encode().into()).await {
        Ok(_) | Err(AppendError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
