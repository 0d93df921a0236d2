//! Goes on with replies that were left: after a crash, after a hand-over, or because somebody met one.
//!
//! A takeover continues, it never starts again: the reply is folded from its chain, and the upstream is asked to go on.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Generation;
use super::prompt::context_items;
use super::worker::Work;
use crate::api::ApiError;
use crate::conversation::event::{Event, ReplyError};
use crate::conversation::ids::ReplyId;
use crate::conversation::record::{Accepted, Ended};
use crate::conversation::skeleton::expand;
use crate::conversation::thread::{Thread, Told};
use crate::log::appender::{Appender, void};
use crate::log::chain::{Chain, ChainEnd};
use crate::log::feed::Feed;
use crate::threads::{Unavailable, envelope, now_ms};

/// How often tickets are looked through. What is met by a client is taken up at once.
const SWEEP: Duration = Duration::from_secs(10);

/// Claims in a row without an event: the reply kills its hosts.
const MOST_IDLE_CLAIMS: u32 = 5;

impl Generation {
    /// Takes up the replies that were left, now and then again, until this instance leaves.
    pub async fn sweep(self, stop: CancellationToken) {
        loop {
            self.sweep_once().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP) => {}
            }
        }
    }

    async fn sweep_once(&self) {
        let tickets = match self.inner.threads.log().tickets().await {
            Ok(tickets) => tickets,
            Err(error) => return tracing::warn!(%error, "the tickets cannot be read"),
        };
        for (_, reply) in tickets {
            if self.inner.leave.is_cancelled() {
                return;
            }
            if self.inner.running.lock().contains_key(&reply) {
                continue;
            }
            if let Err(error) = self.take_up(reply).await {
                tracing::warn!(%reply, %error, "a reply that was left cannot be taken up yet");
            }
        }
    }

    /// Does what a ticket calls for.
    async fn take_up(&self, reply: ReplyId) -> Result<(), ApiError> {
        let threads = &self.inner.threads;
        let known = threads.read(reply.thread()).await?;
        match known.thread.any_reply(reply) {
            // A ticket without a reply means nothing; but its owner must not start one any more.
            None if known.thread.was_deleted(reply) => threads.delete_reply(reply).await?,
            None => void(threads.log(), reply).await.map_err(Unavailable::from)?,
            Some(entry) if entry.deleted => threads.delete_reply(reply).await?,
            Some(entry) if entry.ended.is_some() => {
                threads.log().erase_snapshot(reply).await.map_err(Unavailable::from)?;
            }
            Some(entry) => {
                self.adopt_reply(&entry.accepted).await?;
                // Its own task releases the ticket.
                return Ok(());
            }
        }
        if !self.inner.running.lock().contains_key(&reply) {
            threads.log().release(reply);
        }
        Ok(())
    }

    /// Goes on with a reply, or ends it if it is over. Gives where to follow it.
    pub(super) async fn adopt_reply(&self, accepted: &Arc<Accepted>) -> Result<Arc<Feed>, ApiError> {
        let reply = accepted.reply;
        let threads = &self.inner.threads;
        let _alone = self.inner.adoption.lock().await;
        if let Some(feed) = threads.feeds().get(reply) {
            return Ok(feed);
        }
        // It may have ended since it was met.
        let known = threads.read(reply.thread()).await?;
        let not_found = || ApiError::response_not_found(&reply.to_string());
        let entry = known.thread.reply(reply).ok_or_else(not_found)?;
        if let Some(ended) = &entry.ended {
            return Ok(threads.ended_feed(&entry.accepted, ended)?);
        }
        let chain = Chain::read(threads.log(), &entry.accepted).await;
        let chain = chain.map_err(|error| Unavailable::Away(error.to_string()))?;
        match chain.end {
            Some(ChainEnd::Done(ended)) => {
                threads.end(&ended).await?;
                threads.log().release(reply);
                Ok(threads.ended_feed(&entry.accepted, &ended)?)
            }
            Some(ChainEnd::Deleted) => {
                threads.delete_reply(reply).await?;
                threads.log().release(reply);
                Err(not_found())
            }
            Some(ChainEnd::Void) => self.end_voided(&entry.accepted, chain).await,
            None => self.claim(&known.thread, &entry.accepted, chain).await,
        }
    }

    /// A reply whose ticket was found before its acceptance was: it was kept from starting, and fails.
    async fn end_voided(&self, accepted: &Arc<Accepted>, chain: Chain) -> Result<Arc<Feed>, ApiError> {
        let mut reply = chain.reply;
        let error = ReplyError::server("The reply could not be started.");
        let outcome = crate::conversation::event::Outcome::Failed(error.clone());
        let end = crate::conversation::event::End { outcome, usage: None };
        for event in [Event::Error(error), Event::End(end)] {
            reply.apply(&event).map_err(|_| ApiError::internal())?;
        }
        reply.set_ended_at(now_ms() / 1000);
        let ended = Arc::new(Ended { reply: accepted.reply, said: reply.into_said(), skeleton: chain.skeleton });
        self.inner.threads.end(&ended).await?;
        self.inner.threads.log().release(accepted.reply);
        Ok(self.inner.threads.ended_feed(accepted, &ended)?)
    }

    /// Takes a reply over: first the ticket, then the claim, and only then the upstream.
    async fn claim(&self, thread: &Thread, accepted: &Arc<Accepted>, chain: Chain) -> Result<Arc<Feed>, ApiError> {
        let reply = accepted.reply;
        let threads = &self.inner.threads;
        let events = expand(accepted.params.background, chain.reply.said(), &chain.skeleton);
        let events = events.map_err(|error| Unavailable::Away(error.to_string()))?;
        let idle_claims = chain.idle_claims;
        threads.log().hold(self.inner.instance, reply).await.map_err(Unavailable::from)?;
        let orders = self.enter(reply).ok_or_else(|| Unavailable::Away("the reply is being said".to_owned()))?;
        let feed = threads.feeds().share(Feed::new(reply, envelope(accepted), events));
        let metrics = Arc::clone(&self.inner.metrics);
        let log = Some(threads.log().clone());
        let appender = Appender::new(log, chain, Arc::clone(&feed), metrics, self.inner.config.log_patience);
        appender.claim(self.inner.instance).await.map_err(|stopped| {
            feed.break_off();
            Unavailable::Away(stopped.to_string())
        })?;
        self.inner.metrics.takeovers.inc();
        tracing::info!(%reply, "a reply that was left is taken up");
        let work = Work {
            generation: self.clone(),
            accepted: Arc::clone(accepted),
            context: context_items(told_before(thread, accepted)),
            appender,
            orders,
            gate: None,
            usage: None,
            fence: None,
        };
        let kills = idle_claims >= MOST_IDLE_CLAIMS;
        self.inner.tasks.spawn(async move { if kills { work.give_up().await } else { work.run().await } });
        Ok(feed)
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
