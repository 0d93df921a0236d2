//! Acceptance. It has one commit point: a reply is accepted exactly when its `accepted` record is in the transcript.
//!
//! The ticket, that record and the call of the upstream are in flight at once; nothing goes into the chain, and
//! nothing to a client, before the record is acknowledged.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::place::{Located, join};
use super::prompt::context_items;
use super::worker::Work;
use super::{Generation, Order};
use crate::conversation::event::Event;
use crate::conversation::ids::{ReplyId, random_u64};
use crate::conversation::params::Params;
use crate::conversation::record::Accepted;
use crate::conversation::thread::{ReplyEntry, Thread, Told};
use crate::replies::appender::Appender;
use crate::replies::chain::Chain;
use crate::replies::command::{IdempotencyKey, Joined, NewReply, Place};
use crate::replies::feed::Feed;
use crate::replies::threads::{Fence, Known, now_ms};
use crate::replies::{Busy, Error, Missing, Result};
use crate::upstream::Slot;

/// How often an acceptance is tried again when somebody else changed the thread meanwhile.
const MOST_TRIES: usize = 16;

impl Generation {
    /// Accepts a reply that was admitted, to be said by this model.
    pub(super) async fn accept_reply(self, new: NewReply, model: String, slot: Slot) -> Result<Joined> {
        let mut admitted = Some(slot);
        let params = Arc::new(Params { model, ..new.params.clone() });
        let (reply, nonce) = (new.choose_id(), random_u64());
        for tries in 0..MOST_TRIES {
            let Located { known, reply } = self.locate(&new, reply, tries).await?;
            if let Some(entry) = known.thread.any_reply(reply) {
                return self.join_reply(entry, nonce, new.key.as_ref()).await;
            }
            // Its records are erased; that it was there is known.
            if known.thread.was_deleted(reply) {
                return Err(Missing::Reply(reply).into());
            }
            let Some(told) = self.told_before(&new, &known.thread).await? else { continue };
            let own = self.own_items(&new, &known.thread, reply).await?;
            let all = join(told, &own, &known.thread.droppable_calls())?;
            let accepted = self.record(&new, reply, nonce, own, &params);
            let slot = match admitted.take() {
                Some(slot) => slot,
                // The one that it had went with the prompt that was not right any more.
                None => self.wait_for_slot(&params.model, &new.caller, &params).await?,
            };
            if !params.store {
                return Ok(self.say_unstored(accepted, all, slot));
            }
            let spoken = spoken_before(&new, &known.thread);
            if let Some(joined) = self.try_accept(known, accepted, all, slot).await? {
                self.hush(spoken);
                return Ok(joined);
            }
        }
        Err(Busy::Contention.into())
    }

    /// A new turn ends the speech of what it answers. Nobody waits for that.
    fn hush(&self, spoken: Vec<ReplyId>) {
        for reply in spoken {
            let generation = self.clone();
            self.inner.tasks.spawn(async move { generation.cancel_reply(reply).await.map(drop) });
        }
    }

    /// The reply that was accepted under the same key, if there is one.
    pub(super) async fn join_known(&self, new: &NewReply) -> Result<Option<Joined>> {
        if new.key.is_none() {
            return Ok(None);
        }
        let (reply, nonce) = (new.choose_id(), random_u64());
        let Located { known, reply } = self.locate(new, reply, 0).await?;
        match known.thread.any_reply(reply) {
            Some(entry) => self.join_reply(entry, nonce, new.key.as_ref()).await.map(Some),
            None => Ok(None),
        }
    }

    fn record(&self, new: &NewReply, reply: ReplyId, nonce: u64, own: Vec<Told>, params: &Arc<Params>) -> Accepted {
        let (previous, in_conversation) = match new.place {
            Place::Fresh => (None, false),
            Place::After(parent) => (Some(parent), false),
            Place::In(_) => (None, true),
        };
        let mut input = Vec::with_capacity(own.len());
        let mut kept = std::collections::BTreeMap::new();
        for (index, (item, value)) in own.into_iter().enumerate() {
            input.push(item);
            if let (Some(value), Ok(index)) = (value, u32::try_from(index)) {
                kept.insert(index, value);
            }
        }
        Accepted {
            reply,
            in_conversation,
            previous,
            created_at: now_ms() / 1000,
            caller: new.caller.clone(),
            instance: self.inner.instance,
            nonce,
            digest: new.key.as_ref().map(|key| key.digest.clone()),
            input,
            kept,
            params: Arc::clone(params),
        }
    }

    /// A reply of this id is in the transcript already: our own, of which the acknowledgement was lost, or the one
    /// that another request with the same key made.
    async fn join_reply(&self, entry: &ReplyEntry, nonce: u64, key: Option<&IdempotencyKey>) -> Result<Joined> {
        let accepted = &entry.accepted;
        let is_ours = accepted.instance == self.inner.instance && accepted.nonce == nonce;
        if !is_ours && key.map(|key| &key.digest) != accepted.digest.as_ref() {
            return Err(Error::KeyReused);
        }
        if entry.deleted {
            return Err(Missing::Reply(accepted.reply).into());
        }
        let feed = match (&entry.ended, self.inner.threads.feeds().get(accepted.reply)) {
            (_, Some(feed)) => feed,
            (Some(ended), None) if !ended.speaking => self.inner.threads.ended_feed(accepted, ended).await?,
            (_, None) => self.adopt_reply(accepted).await?,
        };
        Ok(Joined { feed, leash: None })
    }

    /// Writes the ticket and the record, while the upstream is called. `None`: somebody else changed the thread.
    async fn try_accept(
        &self,
        known: Known,
        mut accepted: Accepted,
        told: Vec<Told>,
        slot: Slot,
    ) -> Result<Option<Joined>> {
        let reply = accepted.reply;
        self.inner.threads.detach(reply.thread(), &mut accepted.input).await?;
        let accepted = Arc::new(accepted);
        let Some(orders) = self.enter(reply) else {
            self.wait_accepted(reply).await;
            return Ok(None);
        };
        let feed = Feed::new(Arc::clone(&accepted), Vec::new());
        let feed = self.inner.threads.feeds().begin(feed);
        let (gate, opened) = oneshot::channel();
        let work = self.work(&accepted, told, Arc::clone(&feed), orders, (Some(opened), slot));
        self.inner.tasks.spawn(work.run());

        match self.inner.threads.accept(&known, self.inner.instance, &accepted).await {
            Ok(Some(fence)) => {
                self.inner.metrics.replies_accepted.inc();
                feed.push(Event::opening(accepted.params.background).to_vec());
                let _ = gate.send(fence);
                Ok(Some(Joined { feed, leash: None }))
            }
            // The gate is dropped, and with it the call of the upstream: its prompt may be another now.
            Ok(None) => {
                feed.break_off();
                Ok(None)
            }
            Err(unavailable) => {
                // If its ticket was written after all, it is found to mean nothing.
                feed.break_off();
                Err(unavailable)
            }
        }
    }

    /// Another request under the same key is being accepted here: waits until it is, or is not.
    async fn wait_accepted(&self, reply: ReplyId) {
        match self.inner.threads.feeds().pending(reply) {
            Some(feed) => drop(feed.wait_begun().await),
            None => tokio::task::yield_now().await,
        }
    }

    /// Says a reply that touches neither log nor disk, and that stops with its client.
    fn say_unstored(&self, accepted: Accepted, told: Vec<Told>, slot: Slot) -> Joined {
        let accepted = Arc::new(accepted);
        let opening = Event::opening(false).to_vec();
        let feed = Arc::new(Feed::new(Arc::clone(&accepted), opening));
        let orders = self.enter(accepted.reply).expect("the id of a reply that is not stored is new");
        let work = self.work(&accepted, told, Arc::clone(&feed), orders, (None, slot));
        self.inner.tasks.spawn(work.run());
        self.inner.metrics.replies_accepted.inc();
        let leash = CancellationToken::new();
        let generation = self.clone();
        let gone = leash.clone();
        self.inner.tasks.spawn(async move {
            tokio::select! {
                () = gone.cancelled() => drop(generation.order(accepted.reply, Order::Cancel)),
                () = generation.inner.leave.cancelled() => {}
            }
        });
        Joined { feed, leash: Some(leash.drop_guard()) }
    }

    fn work(
        &self,
        accepted: &Arc<Accepted>,
        told: Vec<Told>,
        feed: Arc<Feed>,
        orders: watch::Receiver<Order>,
        (gate, slot): (Option<oneshot::Receiver<Fence>>, Slot),
    ) -> Work {
        let log = accepted.params.store.then(|| self.inner.threads.log().clone());
        let chain = Chain::opened(accepted, accepted.digest.is_none());
        let metrics = Arc::clone(&self.inner.metrics);
        let appender = Appender::new(log, chain, feed, metrics, self.inner.config.log_patience);
        Work {
            generation: self.clone(),
            accepted: Arc::clone(accepted),
            context: context_items(told),
            appender: Arc::new(appender),
            speech: None,
            orders,
            gate,
            slot: Some(slot),
            usage: None,
            fence: None,
        }
    }
}

/// The replies before a new one whose text is over, and whose speech goes on.
fn spoken_before(new: &NewReply, thread: &Thread) -> Vec<ReplyId> {
    let speaks = |entry: &&ReplyEntry| entry.ended.as_ref().is_some_and(|ended| ended.speaking);
    let comes_before = |entry: &&ReplyEntry| match new.place {
        Place::Fresh => false,
        Place::After(parent) => entry.accepted.reply == parent,
        Place::In(_) => entry.accepted.in_conversation,
    };
    thread.replies().filter(speaks).filter(comes_before).map(|entry| entry.accepted.reply).collect()
}
