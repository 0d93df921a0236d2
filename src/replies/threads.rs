//! Threads as they are known here: the transcript of the log, and what is older from the store.
//!
//! Reads a thread, changes it under its fence, and finds a reply wherever it is. Does not generate.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::appender::Fence;
use super::feed::{Feed, Table};
use super::reply_log::{ReplyLog, ReplyLogEnd};
use super::{Busy, Error, Result};
use crate::domain::caller::Caller;
use crate::domain::erase::ItemErasure;
use crate::domain::ids::{InstanceId, ReplyId, ThreadId};
use crate::domain::items::Item;
use crate::domain::layout::expand;
use crate::domain::record::{Accepted, Change, Ended, TranscriptRecord, VERSION};
use crate::domain::remains::restore;
use crate::domain::thread::{ContextEntry, ReplyEntry, Thread};
use crate::log::{AppendError, Log, Stored, Subject, now_ms};
use crate::offload::offload;
use crate::store::{Store, StoredThread};

pub(crate) mod blobs;
mod current;
pub(crate) mod delete;
mod delete_item;
mod delete_thread;
mod entry;
mod reading;
pub(crate) mod recent;
pub(crate) mod tail;

use reading::Reading;

/// How often a change is tried again when another writer changed the thread meanwhile.
const MOST_TRIES: usize = 64;

/// Reads and changes threads. A handle: cheap to clone.
#[derive(Clone)]
pub(crate) struct Threads {
    log: Log,
    store: Reading,
    feeds: Arc<Table>,
    /// The longest record that a request may make, in bytes.
    max_record: usize,
    /// Until when the log may lack what the store has, in milliseconds of Unix time.
    behind_until: Arc<AtomicU64>,
}

/// A thread, and the fence under which it can be changed.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// What it is.
    pub(crate) thread: Thread,
    fence: Option<u64>,
}

/// The records of a thread.
struct Transcript {
    records: Vec<TranscriptRecord>,
    /// Up to this ordinal some may be missing, which are empty by now.
    watermark: u64,
    /// The sequence of the last one in the log.
    fence: u64,
}

/// The record that accepts a reply, and where it goes.
pub(crate) struct Acceptance {
    reply: ReplyId,
    fence: Fence,
    record: Bytes,
}

/// A reply as it is found.
pub(crate) enum Found {
    /// It is generated or followed here, or has ended: everything is in the feed.
    Feed(Arc<Feed>),
    /// It was accepted, has not ended (or is still spoken), and no task here generates it.
    Orphan(Arc<Accepted>),
}

impl Known {
    /// Where the thread's next record goes.
    pub(crate) const fn fence(&self) -> Fence {
        Fence { sequence: self.fence, ordinal: self.thread.last_ordinal() + 1 }
    }
}

impl Threads {
    /// Threads of this log and store.
    pub(crate) fn new(log: Log, store: Store, feeds: Arc<Table>, max_record: usize) -> Self {
        Self { log, store: Reading::new(store), feeds, max_record, behind_until: Arc::default() }
    }

    /// Whether the store is asked for what the log does not hold: it answered lately, or nothing else is known.
    pub(crate) fn asks_store(&self) -> bool {
        self.store.is_asked()
    }

    /// Until then threads are read from log and store together: the log may lack what the store has.
    pub(crate) fn ask_store_until(&self, until: u64) {
        self.behind_until.fetch_max(until, Ordering::Relaxed);
    }

    /// Watches a store that does not answer, so that it is asked again as soon as it does. Runs until `stop`.
    pub(crate) async fn watch_store(self, stop: CancellationToken) {
        self.store.watch(&stop).await;
    }

    /// The log.
    pub(crate) const fn log(&self) -> &Log {
        &self.log
    }

    /// The replies that are generated or followed here.
    pub(crate) const fn feeds(&self) -> &Arc<Table> {
        &self.feeds
    }

    /// Everything that is known of a thread.
    pub(crate) async fn read(&self, id: ThreadId) -> Result<Known> {
        let Transcript { records, watermark, fence } = self.transcript(id).await?;
        let mut thread = Thread::new(id);
        let (older, newer) = records.split_at(records.partition_point(|record| record.ordinal <= watermark));
        for record in older {
            thread.apply(record);
        }
        thread.skip_to(watermark);
        for record in newer {
            thread.apply(record);
        }
        Ok(Known { thread, fence: Some(fence) })
    }

    /// As [`Threads::read`], of a thread whose id was made from an `Idempotency-Key`. It is new, or as old as the key: where
    /// the log has nothing of it and the store does not answer, it counts as new. So a key is remembered, also while the
    /// store is away, for as long as the log keeps transcripts; and requests with a key are not refused meanwhile.
    pub(crate) async fn read_keyed(&self, id: ThreadId) -> Result<Known> {
        match self.read(id).await {
            Err(Error::Unavailable(_)) if self.log.records().last(Subject::Transcript(id)).await?.is_none() => {
                Ok(Known { thread: Thread::new(id), fence: Some(0) })
            }
            result => result,
        }
    }

    /// A thread as its clients know it: a reply whose end they may have seen has ended, also while that is still on its
    /// way into the transcript. To be shown, not to be changed.
    pub(crate) async fn look(&self, id: ThreadId) -> Result<Thread> {
        let mut thread = self.read(id).await?.thread;
        self.add_ends(&mut thread).await?;
        Ok(thread)
    }

    /// Ends the replies of a thread whose ends are still on their way into the transcript.
    async fn add_ends(&self, thread: &mut Thread) -> Result<()> {
        let is_open = |entry: &&ReplyEntry| entry.ended.is_none();
        let open: Vec<_> = thread.replies().filter(is_open).map(|entry| Arc::clone(&entry.accepted)).collect();
        for accepted in open {
            if let Some(ended) = self.ended_meanwhile(&accepted).await? {
                thread.end(&ended);
            }
        }
        Ok(())
    }

    /// Writes the ends that clients may have seen, and that the transcript does not have yet.
    pub(crate) async fn write_ends(&self, thread: &Thread) -> Result<()> {
        for open in thread.replies().filter(|entry| entry.ended.is_none()) {
            if let Some(ended) = self.ended_meanwhile(&open.accepted).await? {
                self.end(&ended).await?;
            }
        }
        Ok(())
    }

    /// The end of a reply that its transcript does not have yet. Its reply log has it, whichever instance generated the
    /// reply.
    async fn ended_meanwhile(&self, accepted: &Arc<Accepted>) -> Result<Option<Arc<Ended>>> {
        let feed = self.feeds.get(accepted.reply);
        if let Some(ended) = feed.and_then(|feed| feed.end()) {
            return Ok(Some(ended));
        }
        let reply_log = ReplyLog::read(&self.log, accepted).await?;
        match reply_log.end {
            Some(ReplyLogEnd::Done(ended)) => Ok(Some(ended)),
            _ => Ok(reply_log.text_end),
        }
    }

    /// The records of a thread after the ordinal `after`, in order, but for those that were erased.
    pub(crate) async fn records(&self, id: ThreadId, after: u64) -> Result<Vec<TranscriptRecord>> {
        let mut records = self.transcript(id).await?.records;
        records.retain(|record| record.ordinal > after);
        Ok(records)
    }

    /// What the log has of a thread.
    async fn logged(&self, id: ThreadId) -> Result<Logged> {
        let stored = self.log.records().read(Subject::Transcript(id), 0).await?;
        let fence = stored.last().map_or(0, |record| record.sequence);
        let size = stored.iter().map(|stored| stored.payload.len()).sum();
        let decoded = offload(size, || decode(&stored))?;
        let lost = lost(&stored, &decoded);
        let records: Vec<_> = decoded.into_iter().map(|(_, record)| record).collect();
        let is_behind = self.behind_until.load(Ordering::Relaxed) > now_ms();
        let is_whole = lost.is_empty() && is_complete(&records) && !is_behind;
        Ok(Logged { records, lost, fence, is_behind, is_whole })
    }

    async fn transcript(&self, id: ThreadId) -> Result<Transcript> {
        let Logged { mut records, lost, fence, is_whole, .. } = self.logged(id).await?;
        if is_whole {
            restore(&mut records);
            return Ok(Transcript { records, watermark: 0, fence });
        }
        let StoredThread { watermark, records: mut all } = self.store.thread(id).await?;
        if !is_bridged(&records, watermark, &lost) {
            return Err(Error::unavailable("the store lags behind what the log still holds"));
        }
        all.extend(records.into_iter().filter(|record| record.ordinal > watermark));
        // The store may lack what a deletion carries that it does not know yet.
        restore(&mut all);
        Ok(Transcript { records: all, watermark, fence })
    }

    /// A thread that was never named before: nothing is read.
    pub(crate) fn fresh(id: ThreadId) -> Known {
        Known { thread: Thread::new(id), fence: None }
    }

    /// Makes one change, if no other writer has changed the thread since it was read. `false`: one has.
    pub(crate) async fn append(&self, known: &mut Known, change: Change) -> Result<bool> {
        let fence = known.fence();
        let record = TranscriptRecord { v: VERSION, ordinal: fence.ordinal, at: now_ms(), change };
        let Some(sequence) = self.append_at(known.thread.id(), fence, &record).await? else { return Ok(false) };
        known.fence = Some(sequence);
        known.thread.apply(&record);
        Ok(true)
    }

    /// The record that accepts a reply, if it may be stored.
    pub(crate) fn acceptance(&self, known: &Known, accepted: &Arc<Accepted>) -> Result<Acceptance> {
        let fence = known.fence();
        let change = Change::Accepted(Arc::clone(accepted));
        let record = TranscriptRecord { v: VERSION, ordinal: fence.ordinal, at: now_ms(), change };
        let record = Bytes::from(record.encode());
        self.check_length(record.len())?;
        Ok(Acceptance { reply: accepted.reply, fence, record })
    }

    fn check_length(&self, length: usize) -> Result<()> {
        let most = self.max_record;
        if length > most { Err(Error::TooLarge { length, most }) } else { Ok(()) }
    }

    /// Accepts a reply: writes its record and its ticket. `None`: another writer has changed the thread. Otherwise
    /// where the next record goes.
    pub(crate) async fn accept(&self, instance: InstanceId, acceptance: Acceptance) -> Result<Option<Fence>> {
        let Acceptance { reply, fence: Fence { sequence, ordinal }, record } = acceptance;
        match self.log.records().accept(instance, reply, sequence, record).await {
            Ok(sequence) => Ok(Some(Fence { sequence: Some(sequence), ordinal: ordinal + 1 })),
            Err(AppendError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The sequence of a record that was appended. `None`: the fence is somewhere else.
    async fn append_at(&self, thread: ThreadId, fence: Fence, record: &TranscriptRecord) -> Result<Option<u64>> {
        let (subject, payload) = (Subject::Transcript(thread), Bytes::from(record.encode()));
        if matches!(record.change, Change::ConversationCreated { .. } | Change::ItemsAdded { .. }) {
            self.check_length(payload.len())?;
        }
        let deletes = record.change.is_deletion();
        let appended = match fence.sequence {
            Some(sequence) if deletes => self.log.records().append_deletion(subject, sequence, payload).await,
            Some(sequence) => self.log.records().append(subject, sequence, payload).await,
            None => self.log.records().begin(subject, payload).await,
        };
        match appended {
            Ok(sequence) => Ok(Some(sequence)),
            Err(AppendError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a thread, asks `decide` what to change in it, changes it; again if another writer was first. `None` from
    /// `decide`: there is nothing to change.
    pub(crate) async fn change(
        &self,
        id: ThreadId,
        mut decide: impl FnMut(&Thread) -> Result<Option<Change>>,
    ) -> Result<Known> {
        for _ in 0..MOST_TRIES {
            let mut known = self.read(id).await?;
            let Some(change) = decide(&known.thread)? else { return Ok(known) };
            if self.append(&mut known, change).await? {
                return Ok(known);
            }
        }
        Err(Busy::Contention.into())
    }

    /// Writes a reply's end into its transcript right after its acceptance, without reading it; if something came
    /// between, as [`Threads::end`] does.
    pub(crate) async fn end_at(&self, fence: Fence, ended: &Arc<Ended>) -> Result<()> {
        let record = fence.end(ended);
        if self.append_at(ended.reply.thread(), fence, &record).await?.is_none() {
            self.end(ended).await?;
        }
        Ok(())
    }

    /// Writes a reply's end into its transcript, unless it is there; of one whose text is there, the end of its speech.
    pub(crate) async fn end(&self, ended: &Arc<Ended>) -> Result<Known> {
        let reply = ended.reply;
        let change = self.change(reply.thread(), |thread| {
            let entry = thread.any_reply(reply).filter(|entry| !entry.deleted);
            Ok(entry.and_then(|entry| missing_end(thread, entry, ended)))
        });
        change.await
    }

    /// An item that is stored, by its id, with its provider state. Its images are in it: they are stored for
    /// its own thread, and it goes into another.
    pub(crate) async fn context_entry(&self, caller: &Caller, id: &str) -> Result<Option<ContextEntry>> {
        let Ok(reply) = ReplyId::of_item(id) else { return Ok(None) };
        let thread = self.look(reply.thread()).await?;
        // What a client added to a conversation has the id of no reply.
        let owner = match thread.any_reply(reply) {
            Some(entry) => Some(&entry.accepted.owner),
            None => thread.conversation().map(|conversation| &conversation.owner),
        };
        let is_reached = owner.is_some_and(|owner| caller.may_reach(owner));
        let Some((mut item, provider_state)) = thread.context_entry(id).filter(|_| is_reached) else { return Ok(None) };
        self.attach(thread.id(), std::slice::from_mut(&mut item)).await?;
        Ok(Some((item, provider_state)))
    }

    /// Finds a reply. `None`: there is none of this id.
    pub(crate) async fn find(&self, reply: ReplyId) -> Result<Option<Found>> {
        self.find_where(reply, |_| true).await
    }

    /// Finds a reply that a caller may reach. `None`: there is none of this id. One that belongs to another owner is
    /// looked up like one that is not there, and nothing more is done about it.
    pub(crate) async fn find_of(&self, caller: &Caller, reply: ReplyId) -> Result<Option<Found>> {
        self.find_where(reply, |accepted| caller.may_reach(&accepted.owner)).await
    }

    async fn find_where(&self, reply: ReplyId, is_theirs: impl Fn(&Accepted) -> bool) -> Result<Option<Found>> {
        // One that has ended may have been deleted since, by another instance.
        if let Some(feed) = self.feeds.get(reply).filter(|feed| !(feed.is_closed() && self.log.is_shared())) {
            return Ok(is_theirs(feed.accepted()).then_some(Found::Feed(feed)));
        }
        let is_there = |entry: &ReplyEntry| !entry.deleted && is_theirs(&entry.accepted);
        let Some(entry) = self.entry(reply).await?.filter(is_there) else { return Ok(None) };
        let Some(ended) = entry.final_end() else {
            return Ok(Some(Found::Orphan(Arc::clone(&entry.accepted))));
        };
        self.ended_feed(&entry.accepted, ended).await.map(|feed| Some(Found::Feed(feed)))
    }

    /// The feed of a reply that has ended: all its events, replayed. Its speech is in the reply log, as long as that
    /// is stored; after that it is empty.
    pub(crate) async fn ended_feed(&self, accepted: &Arc<Accepted>, ended: &Arc<Ended>) -> Result<Arc<Feed>> {
        let expand = || expand(accepted.params.background, &ended.content, &ended.layout);
        let mut events = offload(ended.layout.cost(), expand)?;
        if accepted.params.audio.is_some() {
            let reply_log = ReplyLog::read(&self.log, accepted).await?;
            reply_log.speech.restore(&mut events);
        }
        let new = || Feed::ended(Arc::clone(accepted), events.clone(), Arc::clone(ended));
        let (mut feed, is_new) = self.feeds.share(new());
        if !is_new
            && self.log.is_shared()
            && feed.end().is_some_and(|known| known.content.output != ended.content.output)
        {
            // Another instance deleted an item of it since. Its followers have seen it.
            self.feeds.forget(accepted.reply);
            feed = self.feeds.share(new()).0;
        }
        // It may be followed here already, and have ended before its followers noticed.
        if !feed.is_closed() {
            feed.complete(events, Arc::clone(ended));
        }
        Ok(feed)
    }
}

/// What the transcript lacks of a reply's end.
fn missing_end(thread: &Thread, entry: &ReplyEntry, ended: &Arc<Ended>) -> Option<Change> {
    match &entry.ended {
        None => Some(Change::Ended(Arc::clone(ended))),
        Some(known) if known.speaking && !ended.speaking => {
            let mut ended = Arc::clone(ended);
            for item in known.content.output.iter().map(Item::id).filter(|id| thread.was_item_deleted(id)) {
                ItemErasure::of(item).apply_to_end(&mut ended);
            }
            let (layout, degraded) = (ended.layout.clone(), ended.content.degraded.clone());
            Some(Change::Spoken { reply: ended.reply, layout, degraded })
        }
        Some(_) => None,
    }
}

/// What the log has of a thread.
struct Logged {
    records: Vec<TranscriptRecord>,
    /// The ordinals of records that are damaged.
    lost: HashSet<u64>,
    fence: u64,
    /// The log may lack what the store has.
    is_behind: bool,
    /// It is the thread as a whole.
    is_whole: bool,
}

/// Records with their sequences. One that is damaged keeps its place in the log, and is left out here.
fn decode(stored: &[Stored]) -> Result<Vec<(u64, TranscriptRecord)>> {
    let whole = stored.iter().filter(|stored| !stored.payload.is_empty());
    let record = |stored: &Stored| Ok((stored.sequence, TranscriptRecord::decode(&stored.payload)?));
    whole.map(record).collect()
}

/// The ordinals of records that are damaged, derived from their neighbours': both count without gaps. They are lost,
/// unless the store has them; the rest of the thread is not refused because of them.
fn lost(stored: &[Stored], records: &[(u64, TranscriptRecord)]) -> HashSet<u64> {
    let damaged = stored.iter().filter(|stored| stored.payload.is_empty()).map(|stored| stored.sequence);
    let ordinal = |sequence: u64| {
        let after = records.partition_point(|(other, _)| *other < sequence);
        let before = after.checked_sub(1).and_then(|at| records.get(at));
        match (before, records.get(after)) {
            (Some((other, record)), _) => Some(record.ordinal + (sequence - other)),
            (None, Some((other, record))) => record.ordinal.checked_sub(other - sequence),
            (None, None) => None,
        }
    };
    damaged.filter_map(ordinal).collect()
}

/// Whether these are all records of a thread: from the first on, without gaps but those of deletions.
fn is_complete(records: &[TranscriptRecord]) -> bool {
    !records.is_empty() && is_bridged(records, 0, &HashSet::new())
}

/// Whether nothing is missing between the ordinal `from` and the last of these records, but what is lost. What a deletion
/// carries is not missing.
fn is_bridged(records: &[TranscriptRecord], from: u64, lost: &HashSet<u64>) -> bool {
    let carried = |record: &TranscriptRecord| {
        let left = record.change.left();
        let within = left.iter().flat_map(|left| left.change.erased().iter().copied().chain([left.ordinal]));
        record.change.erased().iter().copied().chain(within).collect::<Vec<_>>()
    };
    let erased: HashSet<u64> = records.iter().flat_map(carried).collect();
    let mut reached = from;
    for record in records.iter().filter(|record| record.ordinal > from) {
        if !(reached + 1..record.ordinal).all(|ordinal| erased.contains(&ordinal) || lost.contains(&ordinal)) {
            return false;
        }
        reached = record.ordinal;
    }
    true
}
