//! Takes over orphaned replies: after a crash, after a hand-over, or when a request finds one.
//!
//! A takeover continues, it never starts again: the reply is folded from its reply log, and the upstream is asked to
//! continue.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::adoptions::Adoptions;
use super::appender::{Appender, Stopped, void};
use super::builder::Generated;
use super::context::{context_before, context_items};
use super::empty_sets::EmptySets;
use super::feed::Feed;
use super::measured::Chunks;
use super::remote::{Remote, owner};
use super::reply_log::{ReplyLog, ReplyLogEnd, ReplyLogError, Suspicion};
use super::running::Running;
use super::stages::Stages;
use super::threads::Threads;
use super::worker::{Worker, Workers};
use super::{Error, Missing, Result};
use crate::domain::event::{End, Event, Outcome, ReplyError};
use crate::domain::ids::{InstanceId, ReplyId};
use crate::domain::record::{Accepted, Begins, Ended};
use crate::domain::thread::Thread;
use crate::log::{Life, Peers, now_ms};
use crate::telemetry::TakeoverStage;

#[cfg(test)]
mod tests;

/// How often tickets are looked through. What is met by a client is taken over at once.
const SWEEP: Duration = Duration::from_secs(10);

/// After which they are looked through again where one could not be taken up.
const SWEEP_AGAIN: Duration = Duration::from_secs(1);

/// Replies that one sweep takes over at once. A dead instance may have generated hundreds.
const AT_ONCE: usize = 64;

/// Sweeps at once: one may wait long for a reply that cannot be taken up now, and another instance die meanwhile.
const MOST_SWEEPS: usize = 4;

/// What came of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Swept {
    Wholly,
    /// Something has to be tried again.
    Partly,
}

/// Whether a reply may be taken from this instance.
type MayTake = fn(&Peers, InstanceId) -> bool;

/// Takes over replies that were left.
pub(super) struct Takeover {
    workers: Arc<Workers>,
    threads: Threads,
    running: Arc<Running>,
    remote: Remote,
    instance: InstanceId,
    peers: Peers,
    pub(super) adoptions: Adoptions,
    empty: EmptySets,
}

impl Takeover {
    /// On this instance.
    pub(super) fn new(workers: Arc<Workers>, instance: InstanceId, peers: Peers) -> Self {
        let (threads, running, remote) =
            (workers.threads.clone(), Arc::clone(&workers.running), workers.remote.clone());
        let (adoptions, empty) = (Adoptions::default(), EmptySets::new(std::time::Instant::now()));
        Self { workers, threads, running, remote, instance, peers, adoptions, empty }
    }

    /// Takes over the replies that were left, now and then again, until this instance leaves.
    pub(super) async fn sweep(self: Arc<Self>, stop: CancellationToken) {
        let mut deaths = self.peers.deaths();
        let mut sweeps = JoinSet::new();
        let mut next = Instant::now();
        loop {
            let soon = Instant::now() + SWEEP_AGAIN;
            tokio::select! {
                // What they have begun they bring to its end.
                () = stop.cancelled() => return sweeps.detach_all(),
                () = death(&mut deaths) => next = Instant::now(),
                // Not at once: what breaks each time must not be tried without a pause.
                () = self.running.abandoned() => next = next.min(soon),
                Some(swept) = sweeps.join_next() => {
                    if !matches!(swept, Ok(Swept::Wholly)) {
                        next = next.min(soon);
                    }
                }
                () = tokio::time::sleep_until(next), if sweeps.len() < MOST_SWEEPS => {
                    let takeover = Arc::clone(&self);
                    sweeps.spawn(async move { takeover.sweep_once().await });
                    next = Instant::now() + SWEEP;
                }
            }
        }
    }

    async fn sweep_once(self: &Arc<Self>) -> Swept {
        // What lives is not read: with many instances that would be most of it.
        let reading = self.empty.begin(std::time::Instant::now());
        let wants = |owner| self.is_gone(owner) && reading.wants(owner, self.peers.dead_since(owner));
        let tickets = match self.threads.log().leases().of(wants).await {
            Ok(tickets) => {
                reading.found(&tickets);
                tickets
            }
            Err(error) => {
                tracing::warn!(%error, "cannot read leases");
                return Swept::Partly;
            }
        };
        let left = tickets
            .into_iter()
            .filter(|(owner, reply)| !self.running.contains(*reply) && self.falls_to_us(*owner, *reply));
        let taken = stream::iter(left).map(async |(owner, reply)| {
            if self.workers.leave.is_cancelled() {
                return Ok(None);
            }
            match self.handle(reply).await {
                Ok(()) => Ok((owner != self.instance).then_some((owner, reply))),
                Err(error) => {
                    tracing::warn!(%reply, %error, "an orphaned reply cannot be taken over yet");
                    Err(error)
                }
            }
        });
        let taken: Vec<_> = taken.buffer_unordered(AT_ONCE).collect().await;
        let swept = if taken.iter().all(Result::is_ok) { Swept::Wholly } else { Swept::Partly };
        let mut owners: HashMap<u64, Vec<ReplyId>> = HashMap::new();
        for (owner, reply) in taken.into_iter().flatten().flatten() {
            owners.entry(owner.number()).or_default().push(reply);
        }
        for (owner, replies) in owners {
            // What this fails for is found again, and has been taken up.
            let _ = self.threads.log().leases().retire(InstanceId::from_number(owner), replies).await;
        }
        swept
    }

    /// Whether an instance is dead, or this one: of which it is known what it works on.
    fn is_gone(&self, owner: InstanceId) -> bool {
        owner == self.instance || self.peers.life(owner) == Life::Dead
    }

    /// Whether a ticket is one of ours, or one of a dead instance that falls to us.
    fn falls_to_us(&self, owner: InstanceId, reply: ReplyId) -> bool {
        owner == self.instance || self.peers.is_ours(reply)
    }

    /// Does what a ticket calls for.
    async fn handle(self: &Arc<Self>, reply: ReplyId) -> Result<()> {
        let threads = &self.threads;
        let known = threads.read(reply.thread()).await?;
        match known.thread.any_reply(reply) {
            // A ticket without a reply means nothing; but its owner must not start one any more.
            None if known.thread.was_deleted(reply) => threads.delete_reply(reply).await?,
            None => void(threads.log(), reply).await?,
            Some(entry) if entry.deleted => threads.delete_reply(reply).await?,
            Some(entry) if !entry.runs() => {
                threads.log().snapshots().erase(reply).await?;
            }
            Some(entry) => {
                self.adopt(&entry.accepted).await?;
                // Its own task releases the ticket.
                return Ok(());
            }
        }
        if !self.running.contains(reply) {
            threads.log().leases().release(reply);
        }
        Ok(())
    }

    /// Takes over a reply that nobody generates, or ends it if it is over. Returns where to follow it.
    pub(super) async fn adopt(self: &Arc<Self>, accepted: &Arc<Accepted>) -> Result<Arc<Feed>> {
        self.detached(accepted, |peers, owner| peers.life(owner) == Life::Dead).await
    }

    /// Takes a reply over, also from an owner that may live: it does not answer, and the claim fences it off.
    pub(super) async fn force(self: &Arc<Self>, accepted: &Arc<Accepted>) -> Result<Arc<Feed>> {
        self.detached(accepted, |_, _| true).await
    }

    /// Runs to its end even if the caller goes away: a claim that has begun must be completed.
    async fn detached(self: &Arc<Self>, accepted: &Arc<Accepted>, may_take: MayTake) -> Result<Arc<Feed>> {
        let (takeover, accepted) = (Arc::clone(self), Arc::clone(accepted));
        let adoption = async move { takeover.adopt_from(&accepted, may_take).await };
        self.workers.tasks.spawn(adoption).await.unwrap_or(Err(Error::Internal))
    }

    async fn adopt_from(&self, accepted: &Arc<Accepted>, may_take: MayTake) -> Result<Arc<Feed>> {
        let reply = accepted.reply;
        let threads = &self.threads;
        let _alone = self.adoptions.of(reply).await;
        if self.running.contains(reply) {
            return self.remote.follow(accepted).await;
        }
        // It may have ended since it was met.
        let known = threads.read(reply.thread()).await?;
        let not_found = || Missing::Reply(reply).into();
        let entry = known.thread.reply(reply).ok_or_else(not_found)?;
        if let Some(ended) = entry.final_end() {
            return threads.ended_feed(&entry.accepted, ended).await;
        }
        let (reply_log, is_damaged) = match ReplyLog::read(threads.log(), &entry.accepted).await {
            Ok(reply_log) => (reply_log, false),
            Err(ReplyLogError::Damaged { sequence, message, readable, .. }) => {
                tracing::error!(%reply, sequence, message, "the events of a reply are damaged; it ends with what can be read");
                (*readable, true)
            }
            Err(error) => return Err(error.into()),
        };
        match reply_log.end {
            Some(ReplyLogEnd::Done(ended)) => {
                threads.end(&ended).await?;
                threads.log().leases().release(reply);
                threads.ended_feed(&entry.accepted, &ended).await
            }
            Some(ReplyLogEnd::Deleted) => {
                threads.delete_reply(reply).await?;
                threads.log().leases().release(reply);
                Err(not_found())
            }
            Some(ReplyLogEnd::Void) => self.end_voided(&entry.accepted, reply_log).await,
            None if let Some(known) = entry.ended.as_ref().filter(|_| reply_log.text_end.is_none()) => {
                // Its reply log has expired, and its speech with it.
                let ended = known.spoken(known.layout.clone(), Some(super::spoken::broken_off()));
                self.end_as(&entry.accepted, ended).await
            }
            None => match owner(&reply_log, &entry.accepted) {
                Some(owner) if owner != self.instance && !may_take(&self.peers, owner) => {
                    self.remote.follow(&entry.accepted).await
                }
                _ => match self.claim(&known.thread, &entry.accepted, reply_log, is_damaged).await? {
                    Some(feed) => Ok(feed),
                    None => self.remote.follow(&entry.accepted).await,
                },
            },
        }
    }

    /// A reply whose ticket was found before its acceptance was: it was prevented from starting, and fails.
    async fn end_voided(&self, accepted: &Arc<Accepted>, reply_log: ReplyLog) -> Result<Arc<Feed>> {
        let mut reply = reply_log.reply;
        let error = ReplyError::server("The reply could not be started.");
        let outcome = Outcome::Failed(error.clone());
        let end = End { outcome, usage: None };
        for event in [Event::Error(error), Event::End(end)] {
            reply.apply(&event).map_err(|_| Error::Internal)?;
        }
        reply.set_ended_at(now_ms() / 1000);
        let (content, layout) = (reply.into_content(), reply_log.layout);
        self.end_as(accepted, Ended { reply: accepted.reply, content, layout, speaking: false }).await
    }

    async fn end_as(&self, accepted: &Arc<Accepted>, ended: Ended) -> Result<Arc<Feed>> {
        let ended = Arc::new(ended);
        self.threads.end(&ended).await?;
        self.threads.log().leases().release(accepted.reply);
        self.threads.ended_feed(accepted, &ended).await
    }

    /// Takes a reply over: first the lease, then the claim, and only then the upstream; one that is damaged only to end it.
    /// `None`: another instance was first.
    async fn claim(
        &self,
        thread: &Thread,
        accepted: &Arc<Accepted>,
        reply_log: ReplyLog,
        is_damaged: bool,
    ) -> Result<Option<Arc<Feed>>> {
        let reply = accepted.reply;
        let threads = &self.threads;
        let events = reply_log.events(accepted.params.background)?;
        let suspicion = reply_log.deaths.suspicion();
        let silence = owner(&reply_log, accepted).and_then(|owner| self.peers.silence(owner));
        let mut stages = Stages::begin(&self.workers.metrics, reply, silence);
        threads.log().leases().acquire(self.instance, reply).await?;
        let registration = self.running.enter(reply);
        let mut registration = registration.ok_or_else(|| Error::unavailable("the reply is being generated"))?;
        let feed = Feed::new(Arc::clone(accepted), events).with_text_end(reply_log.text_end.clone());
        // Clients that follow it here already are shown what is stored, whichever instance writes it.
        let followed = threads.feeds().get(reply);
        let feed = threads.feeds().begin(feed);
        registration.fills(&feed);
        let metrics = Arc::clone(&self.workers.metrics);
        let log = Some(threads.log().clone());
        let appender = Appender::new(log, reply_log, Arc::clone(&feed), metrics, self.workers.config.log_timeouts);
        if let Err(stopped) = appender.claim(self.instance).await {
            registration.leave();
            return match stopped {
                Stopped::Fenced => {
                    threads.log().leases().release(reply);
                    Ok(None)
                }
                // It may be ours: then the ticket leads back to it.
                other => Err(Error::unavailable(other)),
            };
        }
        stages.ended(TakeoverStage::Claim);
        self.workers.metrics.takeovers.inc();
        tracing::info!(%reply, "taking over orphaned reply");
        let worker = Worker {
            workers: Arc::clone(&self.workers),
            accepted: Arc::clone(accepted),
            context: Some(context_items(context_before(thread, accepted))),
            appender: Arc::new(appender),
            speech: None,
            registration,
            gate: None,
            slot: None,
            reserved: None,
            begins: Some(Begins { alone: suspicion == Suspicion::Suspect }),
            quarantine: None,
            usage: None,
            chunks: Chunks::begin(),
            generated: Generated::default(),
            compacting: false,
            usage_of_summary: None,
            stages: Some(stages),
            fence: None,
        };
        let why = if is_damaged {
            Some("A part of the reply was lost to a damaged disk.")
        } else {
            (suspicion == Suspicion::Certain).then_some("The reply was broken off too often.")
        };
        self.workers.tasks.spawn(async move {
            match why {
                Some(why) => worker.give_up(why).await,
                None => worker.run().await,
            }
        });
        Ok(Some(followed.unwrap_or(feed)))
    }
}

/// Waits until another instance dies or leaves.
async fn death(deaths: &mut Option<watch::Receiver<u64>>) {
    let Some(deaths) = deaths else { return std::future::pending().await };
    if deaths.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
