//! Stops replies: cancellation, which keeps what was said, and deletion, which does not.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::follow::owner;
use super::{Generation, Order};
use crate::api::ApiError;
use crate::conversation::ids::{ReplyId, random_u64};
use crate::conversation::record::{Accepted, ChainEntry, ChainRecord, VERSION};
use crate::conversation::thread::ReplyEntry;
use crate::log::chain::{Chain, ChainError};
use crate::log::feed::Feed;
use crate::log::{AppendError, Life, Subject, peers};
use crate::threads::{Found, Unavailable};

/// How long a stop may take before its client is told to come back.
const PATIENCE: Duration = Duration::from_secs(10);

/// After so long without an end a stop is ordered again.
const AGAIN: Duration = Duration::from_secs(1);

/// Between two orders of a stop, where the reply is not said here any more.
const PAUSE: Duration = Duration::from_millis(20);

impl Generation {
    /// Stops a reply, and its speech with it. One that has ended stays as it is.
    pub(super) async fn cancel_reply(&self, reply: ReplyId) -> Result<Arc<Feed>, ApiError> {
        self.stop(reply, Order::Cancel).await
    }

    /// Deletes a reply, running or not.
    pub(super) async fn delete_reply(&self, reply: ReplyId) -> Result<(), ApiError> {
        let threads = &self.inner.threads;
        let was_there = threads.read(reply.thread()).await?.thread.reply(reply).is_some();
        match self.stop(reply, Order::Delete).await {
            Ok(_) => {}
            // Somebody else deletes it just now; who of us is first makes no difference to whoever asked.
            Err(error) if error.status == 404 && was_there => {}
            Err(error) => return Err(error),
        }
        // The ticket brings the deletion to its end after a crash in the middle. On a full disk the transcript's record does.
        match threads.log().hold(self.inner.instance, reply).await {
            Ok(()) | Err(AppendError::Full) => {}
            Err(error) => return Err(Unavailable::from(error).into()),
        }
        threads.feeds().forget(reply);
        threads.delete_reply(reply).await?;
        threads.log().release(reply);
        Ok(())
    }

    /// Asks the instance that says a reply to end it; one that does not answer is not waited for.
    async fn stop_elsewhere(&self, reply: ReplyId, order: Order) -> Result<(), ApiError> {
        let threads = &self.inner.threads;
        let known = threads.read(reply.thread()).await?;
        let goes_on = |entry: &&ReplyEntry| entry.ended.as_ref().is_none_or(|ended| ended.speaking);
        let Some(entry) = known.thread.reply(reply).filter(goes_on) else { return Ok(()) };
        let chain = Chain::read(threads.log(), &entry.accepted).await;
        let chain = chain.map_err(|error| Unavailable::Away(error.to_string()))?;
        if chain.end.is_some() {
            return Ok(());
        }
        let asked = if order == Order::Delete { peers::Order::Delete } else { peers::Order::Cancel };
        let obeys = match owner(&chain, &entry.accepted) {
            Some(owner) => self.inner.peers.order(owner, reply, asked).await,
            None => false,
        };
        if !obeys {
            self.wrest_reply(&entry.accepted).await?;
            self.order(reply, order);
        }
        Ok(())
    }

    async fn find_or_adopt(&self, reply: ReplyId, order: Order) -> Result<Arc<Feed>, ApiError> {
        match self.inner.threads.find(reply).await? {
            Some(Found::Feed(feed)) => Ok(feed),
            Some(Found::Orphan(accepted)) if order == Order::Delete && self.delete_orphan(&accepted).await? => {
                Err(ApiError::response_not_found(&reply.to_string()))
            }
            Some(Found::Orphan(accepted)) => self.adopt_reply(&accepted).await,
            None => Err(ApiError::response_not_found(&reply.to_string())),
        }
    }

    /// Ends the chain of a reply that nobody says, for its deletion: it need not be taken over for that, and can be deleted
    /// also on a full disk. `false`: somebody may say it.
    async fn delete_orphan(&self, accepted: &Arc<Accepted>) -> Result<bool, ApiError> {
        let (reply, log) = (accepted.reply, self.inner.threads.log());
        let _alone = self.inner.adoptions.of(reply).await;
        let chain = match Chain::read(log, accepted).await {
            Ok(chain) => chain,
            Err(ChainError::Damaged { readable, .. }) => *readable,
            Err(error) => return Err(Unavailable::Away(error.to_string()).into()),
        };
        let is_ours = |owner| owner == self.inner.instance || self.inner.peers.life(owner) == Life::Dead;
        if self.is_running(reply) || chain.end.is_some() || !owner(&chain, accepted).is_none_or(is_ours) {
            return Ok(false);
        }
        let record = ChainRecord { v: VERSION, epoch: chain.epoch, nonce: random_u64(), entry: ChainEntry::Deleted };
        match log.append_deletion(Subject::Chain(reply), chain.last, record.encode().into()).await {
            Ok(_) => Ok(true),
            Err(AppendError::Conflict { .. }) => Ok(false),
            Err(error) => Err(Unavailable::from(error).into()),
        }
    }

    /// Orders whoever says a reply to end it, and waits until it has. Again, when it does not: an instance may die with
    /// its order, and another go on with the reply.
    async fn stop(&self, reply: ReplyId, order: Order) -> Result<Arc<Feed>, ApiError> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let feed = self.find_or_adopt(reply, order).await?;
            if order == Order::Delete {
                feed.give_up();
            }
            // No task here: it has just ended, and its feed says so, or it is said elsewhere.
            if !feed.is_closed() && !self.order(reply, order) {
                self.stop_elsewhere(reply, order).await?;
            }
            match tokio::time::timeout(AGAIN, feed.wait_closed()).await {
                Ok(Ok(_)) => return Ok(feed),
                // Broken off here: it is being taken over, or written by another.
                Ok(Err(_)) => tokio::time::sleep(PAUSE).await,
                Err(_) => {}
            }
        }
        Err(ApiError::busy("The reply could not be stopped yet; try again.", Duration::from_secs(1)))
    }
}
