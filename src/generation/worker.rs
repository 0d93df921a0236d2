//! The task of one reply: calls the upstream, turns what it says into events, stores them, and ends the reply.
//!
//! One call after another: an upstream that breaks off is called again, or the next one is, to go on from what was said.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::admit::queue_of;
use super::mapper::{Mapper, Options, Plan};
use super::retry::{Failure, Retries};
use super::{Generation, Order};
use crate::conversation::event::{ErrorCode, Event, Outcome, ReplyError, Usage};
use crate::conversation::ids::random_u64;
use crate::conversation::params::Truncation;
use crate::conversation::record::Accepted;
use crate::conversation::reply::Reply;
use crate::log::appender::{Appender, Finished, Stopped};
use crate::threads::command::Speaking;
use crate::threads::{Fence, now_ms};
use crate::upstream::call::{Call, ContextItem, Continuation};
use crate::upstream::delta::{UpstreamError, UpstreamErrorKind};
use crate::upstream::service::{Patience, Refused};
use crate::upstream::truncate::drop_oldest_turn;
use crate::upstream::{Failed, NoSlot, Slot, Tried};

/// A reply that is to be said, or gone on with.
pub(super) struct Work {
    pub(super) generation: Generation,
    pub(super) accepted: Arc<Accepted>,
    pub(super) context: Vec<ContextItem>,
    pub(super) appender: Arc<Appender>,
    /// Speaks the reply, where that was asked for.
    pub(super) speech: Option<Speaking>,
    pub(super) orders: watch::Receiver<Order>,
    /// Opens when the reply is accepted; before, nothing is written. Dropped: it is not.
    pub(super) gate: Option<oneshot::Receiver<Fence>>,
    /// The right to the first call. Later ones wait for theirs, and are not refused.
    pub(super) slot: Option<Slot>,
    /// Tokens of the attempts so far.
    pub(super) usage: Option<Usage>,
    /// Where the end goes in the transcript, if nothing comes between.
    pub(super) fence: Option<Fence>,
}

/// How the work on a reply ended here.
pub(super) enum Over {
    Ended(Finished),
    /// Its deletion goes on with whoever ordered it.
    Deleted,
    /// It was never accepted.
    Abandoned,
    /// Another instance, or this one after its restart, goes on.
    LeftToAnother,
}

/// What one call of an upstream came to.
pub(super) enum Attempt {
    Over(Over),
    /// Nothing of it is in flight or gathered any more.
    Broken(Broken),
}

/// A call that failed.
pub(super) struct Broken {
    pub(super) error: UpstreamError,
    /// Whose it was, by its place in the list of upstreams.
    pub(super) server: Option<usize>,
    /// Whether it brought something before.
    pub(super) progressed: bool,
}

/// What interrupts an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) enum Interrupt {
    Order(Order),
    Leave,
    /// Another instance writes the reply.
    Fenced,
}

impl Work {
    /// Works until the reply is over, or somebody else's.
    pub(super) async fn run(mut self) {
        let reply = self.accepted.reply;
        let mut over = self.say().await;
        if let Err(Stopped::Log(_)) = &over
            && self.appender.feed().is_unwanted()
        {
            over = self.delete_unwritten().await;
        }
        match over {
            Ok(Over::Ended(ended)) => self.end(ended).await,
            Ok(Over::Deleted) => {}
            Ok(Over::Abandoned) => self.appender.feed().break_off(),
            Ok(Over::LeftToAnother) => return self.pass_on(),
            Err(Stopped::Fenced) => {
                tracing::warn!(%reply, "another instance says the reply now");
                return self.pass_on();
            }
            Err(stopped) => {
                tracing::warn!(%reply, reason = %stopped, "the reply is not said here any more");
                self.appender.feed().break_off();
            }
        }
        self.retire();
    }

    /// Lets go of the reply, and has its followers here see how another goes on with it.
    fn pass_on(self) {
        let (generation, accepted) = (self.generation.clone(), Arc::clone(&self.accepted));
        let feed = Arc::clone(self.appender.feed());
        self.retire();
        // Not among the tasks that an end of this instance waits for.
        tokio::spawn(async move { generation.pass_on(&accepted, &feed).await });
    }

    /// Lets go of the reply.
    fn retire(self) {
        let Self { generation, accepted, orders, .. } = self;
        drop(orders);
        generation.leave(accepted.reply);
    }

    /// Ends a reply that cannot be gone on with: it has killed too many of those who said it, or is damaged.
    pub(super) async fn give_up(mut self, why: &'static str) {
        let over = if self.appender.said().await.is_some() {
            self.end_speech(&[]).await
        } else {
            let reply = self.appender.reply().await;
            self.fail(&reply, ReplyError::server(why)).await
        };
        match over {
            Ok(Over::Ended(ended)) => self.end(ended).await,
            _ => self.appender.feed().break_off(),
        }
        self.retire();
    }

    /// Notes the end in the transcript. The reply is over already: its chain says so.
    async fn end(&self, Finished { ended, in_transcript }: Finished) {
        let inner = &self.generation.inner;
        if let Some(end) = ended.end() {
            inner.metrics.replies_ended(end.outcome.status().as_str());
            if let Outcome::Failed(error) = &end.outcome {
                tracing::warn!(reply = %ended.reply, code = error.code.as_str(), "a reply failed");
            }
        }
        if !self.accepted.params.store {
            return;
        }
        let written = match self.fence {
            _ if in_transcript => Ok(()),
            Some(fence) => inner.threads.end_at(fence, &ended).await,
            None => inner.threads.end(&ended).await.map(|_| ()),
        };
        match written {
            Ok(()) => {
                if self.appender.has_snapshot().await {
                    let _ = inner.threads.log().erase_snapshot(ended.reply).await;
                }
                if !in_transcript {
                    inner.threads.log().release(ended.reply);
                }
            }
            // The ticket stays: the end is written from the chain when it is found.
            Err(error) => {
                tracing::warn!(reply = %ended.reply, %error, "the end of a reply is not in its transcript yet");
            }
        }
    }

    async fn say(&mut self) -> Result<Over, Stopped> {
        if self.appender.said().await.is_some() {
            self.start_speech();
            return self.speak_on().await;
        }
        let (mut retries, mut tried) = (Retries::default(), Tried::default());
        loop {
            let reply = self.appender.reply().await;
            if self.deadline() <= Instant::now() {
                return self.fail(&reply, ReplyError::server("The reply took longer than it may.")).await;
            }
            let prefix = match Plan::of(&reply) {
                Plan::EndCompleted => return self.complete(&reply).await,
                Plan::Start => None,
                Plan::Continue(_) if !self.generation.inner.config.continues => {
                    return self.fail(&reply, ReplyError::server("The reply was broken off.")).await;
                }
                Plan::Continue(prefix) => Some(prefix),
            };
            let thread = self.accepted.reply.thread();
            let call = self.generation.call(thread, &self.accepted.params, &self.context, prefix).await;
            let attempt = match call {
                Ok(call) => self.attempt(call, &reply, &tried).await?,
                Err(unavailable) => {
                    Attempt::Broken(Broken { error: away(&unavailable.to_string()), server: None, progressed: false })
                }
            };
            let broken = match attempt {
                Attempt::Over(over) => return Ok(over),
                Attempt::Broken(broken) => broken,
            };
            tracing::info!(reply = %self.accepted.reply, cause = %broken.error.cause, "the upstream did not say a reply to its end");
            let Some(pause) = self.pause_before_retry(&broken, &mut retries, &mut tried).await else {
                let reply = self.appender.reply().await;
                return self.fail(&reply, broken.error.error).await;
            };
            if let Some(interrupt) = self.pause(pause).await {
                let reply = self.appender.reply().await;
                return self.obey(interrupt, &reply).await;
            }
        }
    }

    /// How long to wait before an upstream is called again. `None`: none is.
    async fn pause_before_retry(
        &mut self,
        broken: &Broken,
        retries: &mut Retries,
        tried: &mut Tried,
    ) -> Option<Duration> {
        if broken.error.kind == UpstreamErrorKind::ContextLength {
            let truncates = self.accepted.params.truncation == Some(Truncation::Auto);
            return (truncates && drop_oldest_turn(&mut self.context)).then_some(Duration::ZERO);
        }
        if broken.progressed {
            tried.forget();
        }
        if let Some(server) = broken.server {
            tried.failed(server);
        }
        let continues = matches!(Plan::of(&self.appender.reply().await), Plan::Continue(prefix) if !prefix.is_empty());
        let next = self.generation.inner.upstream.next(&self.accepted.params.model, continues, tried);
        let failure = Failure {
            kind: if broken.error.is_ours() { UpstreamErrorKind::Credentials } else { broken.error.kind },
            server: broken.server,
            progressed: broken.progressed,
        };
        let left = self.deadline().saturating_duration_since(Instant::now());
        retries.again(failure, next, left, chance())
    }

    /// Waits; gives what interrupted it.
    async fn pause(&mut self, pause: Duration) -> Option<Interrupt> {
        if pause.is_zero() {
            return None;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => None,
            interrupt = interrupted(&mut self.orders, &self.generation, &self.appender) => Some(interrupt),
        }
    }

    /// When the reply has to be over.
    pub(super) fn deadline(&self) -> Instant {
        // Acceptance is noted in whole seconds: no reply gets less time than it should.
        let accepted = Duration::from_secs(self.accepted.created_at + 1);
        let over = accepted + self.generation.inner.config.reply_deadline;
        Instant::now() + over.saturating_sub(Duration::from_millis(now_ms()))
    }

    /// Calls an upstream once, and says what it says.
    async fn attempt(&mut self, call: Call, reply: &Reply, tried: &Tried) -> Result<Attempt, Stopped> {
        let deadline = self.deadline();
        let (generation, accepted) = (self.generation.clone(), Arc::clone(&self.accepted));
        let slot = self.slot.take();
        let start = async {
            let slot = match slot {
                Some(slot) => slot,
                None => generation.slot_again(&accepted, call.continues(), tried, deadline).await?,
            };
            generation.inner.upstream.start(slot, call, deadline).await
        };
        let mut starting = std::pin::pin!(start);
        let started = loop {
            tokio::select! {
                biased;
                opened = open(&mut self.gate, &mut self.fence), if self.gate.is_some() => {
                    if !opened {
                        return Ok(Attempt::Over(Over::Abandoned));
                    }
                }
                interrupt = interrupted(&mut self.orders, &self.generation, &self.appender), if self.gate.is_none() => {
                    return self.obey(interrupt, reply).await.map(Attempt::Over);
                }
                started = &mut starting => break started,
            }
        };
        if !open(&mut self.gate, &mut self.fence).await {
            return Ok(Attempt::Over(Over::Abandoned));
        }
        match started {
            Ok(started) => self.listen(started, reply).await,
            Err(Failed { error, server }) => Ok(Attempt::Broken(Broken { error, server, progressed: false })),
        }
    }

    pub(super) fn options(&self) -> Options {
        Options { usage_before: self.usage, ..Options::of(&self.accepted.params) }
    }

    pub(super) async fn delete(&mut self, last: Vec<Event>) -> Result<Over, Stopped> {
        self.silence().await?;
        self.appender.delete(last, now_ms() / 1000).await?;
        Ok(Over::Deleted)
    }

    /// Deletes a reply whose last write was given up for that. What it held, its followers have not seen.
    async fn delete_unwritten(&mut self) -> Result<Over, Stopped> {
        let mut events = self.close_speech().await;
        let mut shown = self.appender.feed().reply();
        if self.appender.feed().end().is_some() {
            events.extend(self.held_end().await);
        } else {
            for event in &events {
                shown.apply(event).map_err(|_| Stopped::OutOfOrder)?;
            }
            Mapper::new(self.options(), &shown, Continuation::Fresh).cancel(&mut events);
        }
        self.appender.delete(events, now_ms() / 1000).await?;
        Ok(Over::Deleted)
    }

    /// Does what interrupts the reply while no upstream speaks.
    async fn obey(&mut self, interrupt: Interrupt, reply: &Reply) -> Result<Over, Stopped> {
        let order = match interrupt {
            Interrupt::Leave => return self.hand_over(reply).await,
            Interrupt::Fenced => return Err(Stopped::Fenced),
            Interrupt::Order(order) => order,
        };
        let mut events = Vec::new();
        Mapper::new(self.options(), reply, Continuation::Fresh).cancel(&mut events);
        if order == Order::Delete {
            return self.delete(events).await;
        }
        self.conclude(events).await
    }

    /// Leaves the reply to whoever goes on with it; one that is not stored cannot be gone on with.
    pub(super) async fn hand_over(&mut self, reply: &Reply) -> Result<Over, Stopped> {
        if !self.accepted.params.store {
            let error = ReplyError::server("The server is shutting down, and the reply is not stored.");
            return self.fail(reply, error).await;
        }
        self.leave_speech().await;
        self.appender.hand_over().await?;
        Ok(Over::LeftToAnother)
    }

    async fn complete(&mut self, reply: &Reply) -> Result<Over, Stopped> {
        let mut events = Vec::new();
        Mapper::new(self.options(), reply, Continuation::Fresh).complete(&mut events);
        self.start_speech();
        self.conclude(events).await
    }

    async fn fail(&mut self, reply: &Reply, error: ReplyError) -> Result<Over, Stopped> {
        let mut events = Vec::new();
        Mapper::new(self.options(), reply, Continuation::Fresh).fail(error, &mut events);
        self.conclude(events).await
    }
}

impl Generation {
    /// A slot for another call for a reply that was accepted. It waits as long as the reply may.
    async fn slot_again(
        &self,
        accepted: &Accepted,
        continues: bool,
        tried: &Tried,
        deadline: Instant,
    ) -> Result<Slot, Failed> {
        let queue = queue_of(&accepted.caller, &accepted.params);
        let slot = self.inner.upstream.slot(&accepted.params.model, continues, tried, queue, Patience::Endless);
        let late = |_| Err(NoSlot::Busy(Refused::Late));
        let slot = tokio::time::timeout_at(deadline, slot).await.unwrap_or_else(late);
        slot.map_err(|refused| Failed { error: refused.into_error(), server: None })
    }
}

/// A random number from 0 to 1.
fn chance() -> f64 {
    f64::from(u16::try_from(random_u64() & 0xffff).unwrap_or_default()) / f64::from(u16::MAX)
}

/// Waits for the gate. `false`: the reply was not accepted. An open gate is gone.
async fn open(gate: &mut Option<oneshot::Receiver<Fence>>, fence: &mut Option<Fence>) -> bool {
    let Some(waiting) = gate else { return true };
    let opened = waiting.await;
    *gate = None;
    *fence = opened.as_ref().ok().copied();
    opened.is_ok()
}

/// Waits for an order, for the end of this instance, or for another one that writes the reply.
pub(super) async fn interrupted(
    orders: &mut watch::Receiver<Order>,
    generation: &Generation,
    appender: &Appender,
) -> Interrupt {
    let order = async {
        let order = orders.wait_for(|order| *order != Order::GoOn).await.map(|order| *order);
        match order {
            Ok(order) => order,
            // Nobody can order anything any more.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        order = order => Interrupt::Order(order),
        () = generation.inner.leave.cancelled() => Interrupt::Leave,
        () = appender.fenced() => Interrupt::Fenced,
    }
}

pub(super) fn away(cause: &str) -> UpstreamError {
    UpstreamError {
        error: ReplyError { code: ErrorCode::ServerError, message: "The model server broke off.".to_owned() },
        cause: cause.to_owned(),
        kind: UpstreamErrorKind::Retry { after: None },
    }
}
