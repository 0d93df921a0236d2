//! Reads the transcripts of a shard for ends of replies, and has them told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::board::{Board, Step};
use super::courier::put_aside;
use super::queue::Fresh;
use super::registry::Registry;
use super::tracker::Tracker;
use crate::domain::caller::Owner;
use crate::domain::event::Outcome;
use crate::domain::ids::ReplyId;
use crate::domain::record::read_json;
use crate::domain::webhook::{EventType, WebhookEvent};
use crate::log::{Log, Position, ReadError, Scanned, Shard};
use crate::replies::{self, End, Ends};
use crate::store;

/// Records that are read at once.
const SLICE: usize = 256;
/// For so long records gather.
const GATHER: Duration = Duration::from_millis(5);
/// Where others write, too, the log is looked at so often.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is looked whether there is an endpoint at all.
const IDLE: Duration = Duration::from_secs(1);
/// Between two tries when log or store are away.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest that the store is waited for.
const TIMEOUT: Duration = Duration::from_secs(10);
/// After so long a reply of which nothing can be found out is passed over.
const PASSED_OVER: Duration = Duration::from_mins(10);
/// Replies that are remembered from their acceptance to their end, at least.
const REMEMBERED: usize = 20_000;

/// Reads one shard.
pub(super) struct Reader {
    pub(super) log: Log,
    pub(super) shard: Shard,
    pub(super) ends: Ends,
    pub(super) registry: Arc<Registry>,
    pub(super) tracker: Tracker,
    /// One for each delivery that may be under way.
    pub(super) permits: Arc<Semaphore>,
    /// Endpoints were changed here.
    pub(super) changed: Arc<Notify>,
    pub(super) board: Board,
    /// How long the log keeps what was not read.
    pub(super) retention: Duration,
    pub(super) known: Replies,
}

/// What is known of replies from their records.
#[derive(Debug, Default)]
pub(super) struct Replies {
    young: HashMap<ReplyId, Known>,
    old: HashMap<ReplyId, Known>,
    /// Replies of which nothing can be found out are not waited for any more.
    passes_over: bool,
}

#[derive(Debug, Clone, Default)]
struct Known {
    owner: Option<Owner>,
    /// The trace of its request.
    trace: Option<String>,
    /// How it ended; its speech may go on.
    end: Option<EventType>,
    is_told: bool,
}

/// Why what comes next could not be read.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Replies(#[from] replies::Error),
    #[error("the store does not answer")]
    Late,
}

impl Reader {
    /// Reads from this position on, until `stop`.
    pub(super) async fn read(mut self, mut after: Position, stop: CancellationToken) {
        let (mut failing_since, mut lacks) = (None::<Instant>, false);
        while !stop.is_cancelled() {
            // (Boxed: a look at a thread is a large future.)
            let Some(passed) = stop.run_until_cancelled(Box::pin(self.pass(after))).await else { return };
            match passed {
                Ok(position) => {
                    after = position;
                    (failing_since, lacks) = (None, false);
                    self.board.goes_on(Step::Read(self.shard));
                    self.known.passes_over = false;
                }
                Err(error) => {
                    let cause = crate::telemetry::causes::chain(&error);
                    if self.board.waits(Step::Read(self.shard), || cause.clone()) {
                        tracing::warn!(cause, "webhooks wait: what they are about cannot be read");
                    }
                    let since = *failing_since.get_or_insert_with(Instant::now);
                    self.known.passes_over = since.elapsed() > PASSED_OVER;
                    self.tell_of_loss(since, &mut lacks);
                    stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
                }
            }
        }
    }

    /// Says once that the log does not wait any longer. (The embedded log waits, and says itself when it does not.)
    fn tell_of_loss(&self, failing_since: Instant, lacks: &mut bool) {
        if self.log.is_shared() && failing_since.elapsed() > self.retention && !std::mem::replace(lacks, true) {
            tracing::error!(
                shard = self.shard,
                "webhooks could not be read for LOG_RETENTION: the log does not wait for them any longer, and what ended \
                 before that is not told"
            );
        }
    }

    async fn refresh(&self) -> Result<(), PassError> {
        let refreshed = tokio::time::timeout(TIMEOUT, self.registry.refresh()).await;
        Ok(refreshed.map_err(|_| PassError::Late)??)
    }

    /// Reads what comes next, and has it told. Gives how far it came.
    async fn pass(&mut self, after: Position) -> Result<Position, PassError> {
        if self.registry.is_empty() {
            return self.skip(after).await;
        }
        let waiting = self.log.records().wait_after(self.shard, after);
        if self.log.is_shared() {
            let _ = tokio::time::timeout(LOOK, waiting).await;
        } else {
            tokio::select! {
                () = waiting => {}
                () = self.changed.notified() => {}
                () = tokio::time::sleep(IDLE) => {}
            }
        }
        tokio::time::sleep(GATHER).await;
        let scanned = self.log.records().scan(self.shard, after, SLICE).await?;
        let Some(last) = scanned.last().map(|last| last.position) else { return Ok(after) };
        // What was made before these records were stored is known after this.
        self.refresh().await?;
        for one in &scanned {
            self.take(one).await?;
        }
        self.tracker.read_to(last);
        Ok(last)
    }

    /// Nobody is to be told of what there is so far.
    async fn skip(&self, after: Position) -> Result<Position, PassError> {
        // In this order: an endpoint that is made in between is told of what comes after.
        let last = self.log.records().last_position(self.shard).max(after);
        self.refresh().await?;
        if !self.registry.is_empty() {
            return Ok(after);
        }
        self.tracker.read_to(last);
        tokio::select! {
            () = self.changed.notified() => {}
            () = tokio::time::sleep(IDLE) => {}
        }
        Ok(last)
    }

    async fn take(&mut self, one: &Scanned) -> Result<(), PassError> {
        match Glance::at(&one.record.payload) {
            Glance { accepted: Some(accepted), .. } => {
                self.known.set(accepted.reply, |known| {
                    (known.owner, known.trace) = (Some(accepted.caller.clone()), accepted.trace.clone());
                });
            }
            Glance { ended: Some(ended), at, .. } => {
                let Some(end) = ended.said.end else { return Ok(()) };
                let event_type = EventType::from(&end.outcome);
                self.known.set(ended.reply, |known| _ = known.end.get_or_insert(event_type));
                // What is spoken ends with its speech.
                if !ended.speaking {
                    self.tell(ended.reply, at, one.position).await?;
                }
            }
            Glance { spoken: Some(spoken), at, .. } => self.tell(spoken.reply, at, one.position).await?,
            _ => {}
        }
        Ok(())
    }

    /// Tells of the end of a reply, the first time that it is met.
    async fn tell(&mut self, reply: ReplyId, at: u64, position: Position) -> Result<(), PassError> {
        let mut known = self.known.get(reply);
        if known.is_told {
            return Ok(());
        }
        if known.owner.is_none() || known.end.is_none() {
            // It was accepted long ago, or before this instance read.
            let found = match self.ends.of(reply).await {
                // Its thread is damaged: all others do not wait for it for ever.
                Err(error) if self.known.passes_over => {
                    let cause = crate::telemetry::causes::chain(&error);
                    tracing::error!(%reply, cause, "it cannot be found out whose a reply is: its end is not told");
                    return Ok(());
                }
                found => found?,
            };
            let Some(End { owner, outcome: end, trace }) = found else { return Ok(()) };
            (known.owner, known.trace) = (Some(owner), trace);
            known.end = known.end.or_else(|| end.as_ref().map(EventType::from));
        }
        let (Some(owner), Some(event_type)) = (&known.owner, known.end) else { return Ok(()) };
        let event = WebhookEvent { event_type, reply, at };
        for queue in self.registry.wanting(&event, owner) {
            let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| closed())?;
            let fresh = Fresh { event, trace: known.trace.clone(), ticket: self.tracker.begin(position, permit) };
            if let Err(fresh) = queue.push(fresh) {
                put_aside(&queue, &self.registry.tools().scribe, fresh);
            }
        }
        self.known.set(reply, |known| known.is_told = true);
        Ok(())
    }
}

fn closed() -> ReadError {
    ReadError("deliveries have ended".to_owned())
}

impl Replies {
    fn get(&self, reply: ReplyId) -> Known {
        self.young.get(&reply).or_else(|| self.old.get(&reply)).cloned().unwrap_or_default()
    }

    fn set(&mut self, reply: ReplyId, change: impl FnOnce(&mut Known)) {
        let mut known = self.get(reply);
        change(&mut known);
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(reply, known);
    }
}

/// What is read of a record: a fraction of what may be in it.
#[derive(Debug, Default)]
struct Glance {
    at: u64,
    accepted: Option<Accepted>,
    ended: Option<Ended>,
    spoken: Option<Spoken>,
}

#[derive(Deserialize)]
struct Record {
    at: u64,
    change: Change,
}

#[derive(Deserialize)]
struct Change {
    accepted: Option<Accepted>,
    ended: Option<Ended>,
    spoken: Option<Spoken>,
}

#[derive(Debug, Deserialize)]
struct Accepted {
    reply: ReplyId,
    #[serde(default)]
    caller: Owner,
    #[serde(default)]
    trace: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Ended {
    reply: ReplyId,
    said: Said,
    #[serde(default)]
    speaking: bool,
}

#[derive(Debug, Deserialize)]
struct Said {
    end: Option<EndHead>,
}

#[derive(Debug, Deserialize)]
struct EndHead {
    outcome: Outcome,
}

#[derive(Debug, Deserialize)]
struct Spoken {
    reply: ReplyId,
}

impl Glance {
    /// What a record says of acceptances and ends. Of other records, and of erased ones: nothing.
    fn at(payload: &[u8]) -> Self {
        /// What a record changes stands near its beginning.
        const HEAD: usize = 128;
        let head = &payload[..payload.len().min(HEAD)];
        let may_be = |name: &[u8]| memchr::memmem::find(head, name).is_some();
        if !may_be(b"\"accepted\"") && !may_be(b"\"ended\"") && !may_be(b"\"spoken\"") {
            return Self::default();
        }
        match read_json::<Record>(payload) {
            Ok(Record { at, change: Change { accepted, ended, spoken } }) => Self { at, accepted, ended, spoken },
            // The projection tells of records that cannot be read.
            Err(_) => Self::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::ids::ThreadId;

    #[test]
    fn a_glance_finds_acceptances_and_ends_and_nothing_else() {
        let reply = ReplyId::random(ThreadId::random());
        let glance = |change: serde_json::Value| {
            Glance::at(json!({"v": 1, "ordinal": 3, "at": 7, "change": change, "more": [1]}).to_string().as_bytes())
        };
        let accepted = glance(json!({"accepted": {"reply": reply, "caller": "acme/alice", "input": [{"x": 1}]}}));
        assert_eq!(accepted.accepted.unwrap().caller, Owner::new("acme", Some("alice")));
        let end = json!({"outcome": {"failed": {"code": "server_error", "message": "x"}}, "usage": null});
        let ended = glance(json!({"ended": {"reply": reply, "said": {"output": [], "end": end}, "skeleton": {}}}));
        assert_eq!(
            (ended.at, EventType::from(&ended.ended.unwrap().said.end.unwrap().outcome)),
            (7, EventType::Failed)
        );
        assert_eq!(glance(json!({"spoken": {"reply": reply, "skeleton": {}}})).spoken.unwrap().reply, reply);
        for other in [json!({"metadata_set": {"metadata": {"ended": "x"}}}), json!({"unknown": {}}), json!(3)] {
            let glance = glance(other);
            assert!(glance.accepted.is_none() && glance.ended.is_none() && glance.spoken.is_none());
        }
        assert_eq!(Glance::at(b"").at, 0, "an erased record");
    }

    #[test]
    fn what_is_known_of_a_reply_outlives_many_others() {
        let mut replies = Replies::default();
        let thread = ThreadId::random();
        let first = ReplyId::random(thread);
        replies.set(first, |known| known.owner = Some(Owner::anonymous()));
        for _ in 0..REMEMBERED {
            replies.set(ReplyId::random(thread), |_| {});
        }
        assert_eq!(replies.get(first).owner, Some(Owner::anonymous()));
        replies.set(first, |known| known.is_told = true);
        assert!(replies.get(first).owner.is_some() && replies.get(first).is_told);
        assert!(replies.young.len() <= REMEMBERED && replies.old.len() <= REMEMBERED);
    }
}
