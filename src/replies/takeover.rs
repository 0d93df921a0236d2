//! Goes on with replies that were left: after a crash, after a hand-over, or because somebody met one.
//!
//! A takeover continues, it never starts again: the reply is folded from its chain, and the upstream is asked to go on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Generation;
use super::follow::owner;
use super::prompt::context_items;
use super::worker::Work;
use crate::conversation::event::{Event, ReplyError};
use crate::conversation::ids::{InstanceId, ReplyId};
use crate::conversation::record::{Accepted, Ended};
use crate::conversation::thread::{Thread, Told};
use crate::log::Life;
use crate::replies::appender::{Appender, Stopped, void};
use crate::replies::chain::{Chain, ChainEnd};
use crate::replies::feed::Feed;
use crate::replies::threads::now_ms;
use crate::replies::{Error, Missing, Result};

/// How often tickets are looked through. What is met by a client is taken up at once.
const SWEEP: Duration = Duration::from_secs(10);

/// After which they are looked through again where one could not be taken up.
const SWEEP_AGAIN: Duration = Duration::from_secs(1);

/// Claims in a row without an event: the reply kills its hosts.
const MOST_IDLE_CLAIMS: u32 = 5;

/// Replies that one sweep takes up at once. A dead instance may have said hundreds.
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

impl Generation {
    /// Takes up the replies that were left, now and then again, until this instance leaves.
    pub async fn sweep(self, stop: CancellationToken) {
        let mut deaths = self.inner.peers.deaths();
        let mut sweeps = JoinSet::new();
        let mut pause = Duration::ZERO;
        loop {
            let due = async {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = death(&mut deaths) => {}
                    Some(Ok(Swept::Partly)) = sweeps.join_next() => tokio::time::sleep(SWEEP_AGAIN).await,
                }
                while sweeps.len() >= MOST_SWEEPS {
                    sweeps.join_next().await;
                }
            };
            if stop.run_until_cancelled(due).await.is_none() {
                // What they have begun they bring to its end.
                return sweeps.detach_all();
            }
            let generation = self.clone();
            sweeps.spawn(async move { generation.sweep_once().await });
            pause = SWEEP;
        }
    }

    async fn sweep_once(&self) -> Swept {
        let tickets = match self.inner.threads.log().tickets().await {
            Ok(tickets) => tickets,
            Err(error) => {
                tracing::warn!(%error, "the tickets cannot be read");
                return Swept::Partly;
            }
        };
        let left =
            tickets.into_iter().filter(|(owner, reply)| !self.is_running(*reply) && self.is_left(*owner, *reply));
        let taken = stream::iter(left).map(async |(owner, reply)| {
            if self.inner.leave.is_cancelled() {
                return Ok(None);
            }
            match self.take_up(reply).await {
                Ok(()) => Ok((owner != self.inner.instance).then_some((owner, reply))),
                Err(error) => {
                    tracing::warn!(%reply, %error, "a reply that was left cannot be taken up yet");
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
            let _ = self.inner.threads.log().retire(InstanceId::from_number(owner), replies).await;
        }
        swept
    }

    /// Whether a ticket is one of ours that nobody works on, or one of a dead instance that falls to us.
    fn is_left(&self, owner: InstanceId, reply: ReplyId) -> bool {
        let peers = &self.inner.peers;
        owner == self.inner.instance || (peers.life(owner) == Life::Dead && peers.falls_to_us(reply))
    }

    /// Does what a ticket calls for.
    async fn take_up(&self, reply: ReplyId) -> Result<()> {
        let threads = &self.inner.threads;
        let known = threads.read(reply.thread()).await?;
        match known.thread.any_reply(reply) {
            // A ticket without a reply means nothing; but its owner must not start one any more.
            None if known.thread.was_deleted(reply) => threads.delete_reply(reply).await?,
            None => void(threads.log(), reply).await?,
            Some(entry) if entry.deleted => threads.delete_reply(reply).await?,
            Some(entry) if entry.ended.as_ref().is_some_and(|ended| !ended.speaking) => {
                threads.log().erase_snapshot(reply).await?;
            }
            Some(entry) => {
                self.adopt_reply(&entry.accepted).await?;
                // Its own task releases the ticket.
                return Ok(());
            }
        }
        if !self.is_running(reply) {
            threads.log().release(reply);
        }
        Ok(())
    }

    /// Goes on with a reply if nobody does, or ends it if it is over. Gives where to follow it.
    pub(super) async fn adopt_reply(&self, accepted: &Arc<Accepted>) -> Result<Arc<Feed>> {
        self.adopt_from(accepted, |owner| self.inner.peers.life(owner) == Life::Dead).await
    }

    /// Takes a reply over, also from an owner that may live: it does not answer, and the claim fences it off.
    pub(super) async fn wrest_reply(&self, accepted: &Arc<Accepted>) -> Result<Arc<Feed>> {
        self.adopt_from(accepted, |_| true).await
    }

    async fn adopt_from(&self, accepted: &Arc<Accepted>, may_take: impl Fn(InstanceId) -> bool) -> Result<Arc<Feed>> {
        let reply = accepted.reply;
        let threads = &self.inner.threads;
        let _alone = self.inner.adoptions.of(reply).await;
        if self.is_running(reply) {
            return self.follow(accepted).await;
        }
        // It may have ended since it was met.
        let known = threads.read(reply.thread()).await?;
        let not_found = || Missing::Reply(reply).into();
        let entry = known.thread.reply(reply).ok_or_else(not_found)?;
        if let Some(ended) = entry.ended.as_ref().filter(|ended| !ended.speaking) {
            return threads.ended_feed(&entry.accepted, ended).await;
        }
        let chain = Chain::read(threads.log(), &entry.accepted).await?;
        match chain.end {
            Some(ChainEnd::Done(ended)) => {
                threads.end(&ended).await?;
                threads.log().release(reply);
                threads.ended_feed(&entry.accepted, &ended).await
            }
            Some(ChainEnd::Deleted) => {
                threads.delete_reply(reply).await?;
                threads.log().release(reply);
                Err(not_found())
            }
            Some(ChainEnd::Void) => self.end_voided(&entry.accepted, chain).await,
            None if let Some(said) = entry.ended.as_ref().filter(|_| chain.said.is_none()) => {
                // Its chain has expired: nobody can say any more what was spoken.
                let ended = said.spoken(said.skeleton.clone(), Some(super::spoken::broken_off()));
                self.end_as(&entry.accepted, ended).await
            }
            None => match owner(&chain, &entry.accepted) {
                Some(owner) if owner != self.inner.instance && !may_take(owner) => self.follow(&entry.accepted).await,
                _ => match self.claim(&known.thread, &entry.accepted, chain).await? {
                    Some(feed) => Ok(feed),
                    None => self.follow(&entry.accepted).await,
                },
            },
        }
    }

    /// A reply whose ticket was found before its acceptance was: it was kept from starting, and fails.
    async fn end_voided(&self, accepted: &Arc<Accepted>, chain: Chain) -> Result<Arc<Feed>> {
        let mut reply = chain.reply;
        let error = ReplyError::server("The reply could not be started.");
        let outcome = crate::conversation::event::Outcome::Failed(error.clone());
        let end = crate::conversation::event::End { outcome, usage: None };
        for event in [Event::Error(error), Event::End(end)] {
            reply.apply(&event).map_err(|_| Error::Internal)?;
        }
        reply.set_ended_at(now_ms() / 1000);
        let (said, skeleton) = (reply.into_said(), chain.skeleton);
        self.end_as(accepted, Ended { reply: accepted.reply, said, skeleton, speaking: false }).await
    }

    async fn end_as(&self, accepted: &Arc<Accepted>, ended: Ended) -> Result<Arc<Feed>> {
        let ended = Arc::new(ended);
        self.inner.threads.end(&ended).await?;
        self.inner.threads.log().release(accepted.reply);
        self.inner.threads.ended_feed(accepted, &ended).await
    }

    /// Takes a reply over: first the ticket, then the claim, and only then the upstream. `None`: somebody else was first.
    async fn claim(&self, thread: &Thread, accepted: &Arc<Accepted>, chain: Chain) -> Result<Option<Arc<Feed>>> {
        let reply = accepted.reply;
        let threads = &self.inner.threads;
        let events = chain.events(accepted.params.background)?;
        let idle_claims = chain.idle_claims;
        threads.log().hold(self.inner.instance, reply).await?;
        let orders = self.enter(reply).ok_or_else(|| Error::unavailable("the reply is being said"))?;
        let feed = Feed::new(Arc::clone(accepted), events).with_said(chain.said.clone());
        // Clients that follow it here already are shown what is stored, whoever writes it.
        let followed = threads.feeds().get(reply);
        let feed = threads.feeds().begin(feed);
        let metrics = Arc::clone(&self.inner.metrics);
        let log = Some(threads.log().clone());
        let appender = Appender::new(log, chain, Arc::clone(&feed), metrics, self.inner.config.log_patience);
        if let Err(stopped) = appender.claim(self.inner.instance).await {
            feed.break_off();
            drop(orders);
            self.leave(reply);
            return match stopped {
                Stopped::Fenced => {
                    threads.log().release(reply);
                    Ok(None)
                }
                // It may be ours: then the ticket leads back to it.
                other => Err(Error::unavailable(other)),
            };
        }
        self.inner.metrics.takeovers.inc();
        tracing::info!(%reply, "a reply that was left is taken up");
        let work = Work {
            generation: self.clone(),
            accepted: Arc::clone(accepted),
            context: context_items(told_before(thread, accepted)),
            appender: Arc::new(appender),
            speech: None,
            orders,
            gate: None,
            slot: None,
            usage: None,
            fence: None,
        };
        let kills = idle_claims >= MOST_IDLE_CLAIMS;
        self.inner.tasks.spawn(async move { if kills { work.give_up().await } else { work.run().await } });
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

/// What was said before a reply, with its own items: the same that it was accepted with.
fn told_before(thread: &Thread, accepted: &Accepted) -> Vec<Told> {
    let before = match accepted.previous {
        Some(parent) => thread.context_after(parent).unwrap_or_default(),
        None if accepted.in_conversation => thread.context_before(accepted.reply),
        None => Vec::new(),
    };
    let own = accepted.told();
    // It was accepted so: nothing to refuse.
    super::place::join(before.clone(), &own, &thread.droppable_calls()).unwrap_or_else(|_| {
        let mut all = before;
        all.extend(own);
        all
    })
}
