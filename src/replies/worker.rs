//! The task of one reply: calls the upstream, turns its output into events, stores them, and ends the reply.
//!
//! One call after another: an upstream that breaks off is called again, or the next one is, to continue the output.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

mod attempt;
mod compacting;
mod ending;

use super::admission::queue_of;
use super::appender::{Appender, Fence, Finished, Stopped};
use super::builder::{Generated, Options, Plan};
use super::context::{context_before, context_items};
use super::measured::Chunks;
use super::remote::Remote;
use super::retry::{Failure, Retries};
use super::running::{Commands, Registration, Running};
use super::size::Size;
use super::speech::Speaking;
use super::stages::Stages;
use super::threads::Threads;
use super::{Config, Error, Result};
use crate::domain::event::{ErrorCode, ReplyError, Usage};
use crate::domain::ids::{ThreadId, random_u64};
use crate::domain::params::{Params, Truncation};
use crate::domain::record::{Accepted, Begins};
use crate::domain::reply::Reply;
use crate::limits::{Limits, Reservation};
use crate::llm::call::{Call, ContextItem, Prefix};
use crate::llm::delta::{UpstreamError, UpstreamErrorKind};
use crate::llm::truncate::{self, Cuts};
use crate::llm::{Failed, NoSlot, Slot, Tried, Upstream};
use crate::log::now_ms;
use crate::log::peers::Command;
use crate::services::{MaxWait, Refused};
use crate::speech::Speech;
use crate::speech::hearing::Hearing;
use crate::telemetry::Metrics;
use crate::telemetry::spans::reply_span;

/// Between two tries to read what a reply answers to, while log or store are away.
const CONTEXT_RETRY: Duration = Duration::from_millis(500);

/// What all workers of this instance share.
pub(super) struct Workers {
    pub(super) config: Config,
    pub(super) threads: Threads,
    pub(super) upstream: Upstream,
    pub(super) speech: Speech,
    pub(super) hearing: Hearing,
    pub(super) metrics: Arc<Metrics>,
    pub(super) running: Arc<Running>,
    /// Has room for one reply that is suspected of killing its instances.
    pub(super) quarantine: Arc<Semaphore>,
    pub(super) remote: Remote,
    pub(super) limits: Limits,
    pub(super) tasks: TaskTracker,
    /// Hand over what runs, accept nothing.
    pub(super) leave: CancellationToken,
}

impl Workers {
    /// A slot for another call for a reply that was accepted. It waits as long as the reply may.
    async fn slot_again(
        &self,
        accepted: &Accepted,
        continues: bool,
        tried: &Tried,
        deadline: Instant,
    ) -> Result<Slot, Failed> {
        let queue = queue_of(&accepted.owner, &accepted.params);
        let slot = self.upstream.slot(&accepted.params.model, continues, tried, queue, MaxWait::Unlimited);
        let late = |_| Err(NoSlot::Busy(Refused::Late));
        let slot = tokio::time::timeout_at(deadline, slot).await.unwrap_or_else(late);
        slot.map_err(|refused| Failed { error: refused.into_error(), server: None })
    }

    /// What came before a reply that was accepted, as its thread has it.
    async fn context(&self, accepted: &Accepted) -> Result<Vec<ContextItem>> {
        let known = self.threads.read(accepted.reply.thread()).await?;
        Ok(context_items(context_before(&known.thread, accepted)))
    }

    /// The call that generates a reply, or continues it.
    async fn call(
        &self,
        thread: ThreadId,
        params: &Arc<Params>,
        mut context: Vec<ContextItem>,
        prefix: Option<Prefix>,
        max_bytes: usize,
    ) -> Result<Call> {
        for item in &mut context {
            self.threads.attach_images(thread, std::slice::from_mut(&mut item.item)).await?;
        }
        Ok(Call { params: Arc::clone(params), context, prefix, max_bytes })
    }
}

/// The task of a reply that is to be generated, or continued.
pub(super) struct Worker {
    pub(super) workers: Arc<Workers>,
    pub(super) accepted: Arc<Accepted>,
    /// The model's context. Given away with the first call, if it can be read again for another: a running reply
    /// does not hold a conversation's whole text.
    pub(super) context: Option<Vec<ContextItem>>,
    pub(super) appender: Arc<Appender>,
    /// The reply's speech, if it was asked for.
    pub(super) speech: Option<Speaking>,
    /// Its place among the replies that run here.
    pub(super) registration: Registration,
    /// Opens when the reply is accepted; before, nothing is written. Dropped: it is not.
    pub(super) gate: Option<oneshot::Receiver<Go>>,
    /// The right to the first call. Later ones wait for theirs, and are not refused.
    pub(super) slot: Option<Slot>,
    /// What was taken of the caller's limits for it. `None`: it was accepted elsewhere.
    pub(super) reserved: Option<Reservation>,
    /// To be noted when it has its turn at the model. `None`: nothing is, or that was done.
    pub(super) begins: Option<Begins>,
    /// Held by a suspect until it has stored an event.
    pub(super) quarantine: Option<OwnedSemaphorePermit>,
    /// Tokens of the attempts so far.
    pub(super) usage: Option<Usage>,
    /// When the pieces of the answer to the last call came.
    pub(super) chunks: Chunks,
    /// The same, by the reply's events.
    pub(super) generated: Generated,
    /// What is generated is the summary that the reply begins with.
    pub(super) compacting: bool,
    /// Tokens that this summary took.
    pub(super) usage_of_summary: Option<Usage>,
    /// Measures the takeover, until the first event is stored.
    pub(super) stages: Option<Stages>,
    /// Where the end goes in the transcript, if nothing comes between.
    pub(super) fence: Option<Fence>,
}

/// A reply is accepted.
pub(super) struct Go {
    /// Where its end goes in the transcript, if nothing comes between.
    pub(super) fence: Fence,
    pub(super) reserved: Reservation,
}

/// How the work on a reply ended here.
pub(super) enum Over {
    Ended(Finished),
    /// The task that ordered its deletion completes it.
    Deleted,
    /// It was never accepted.
    Abandoned,
    /// Another instance, or this one after its restart, continues.
    LeftToAnother,
}

/// What one call of an upstream came to.
pub(super) enum Attempt {
    Over(Over),
    /// The summary that the reply begins with is made; the reply continues from it.
    Compacted,
    /// Nothing of it is in flight or batched any more.
    Broken(Broken),
}

/// A call that failed.
pub(super) struct Broken {
    pub(super) error: UpstreamError,
    /// The upstream's place in the list.
    pub(super) server: Option<usize>,
    /// Whether it brought something before.
    pub(super) progressed: bool,
    /// Whether it brought thoughts, and nothing else.
    pub(super) thought: bool,
}

/// What interrupts an attempt.
#[derive(Debug, Clone, Copy)]
pub(super) enum Interrupt {
    Command(Command),
    Leave,
    /// Another instance writes the reply.
    Fenced,
}

impl Worker {
    /// Works until the reply is over, or another instance's.
    pub(super) fn run(self) -> impl Future<Output = ()> {
        let span = reply_span(self.accepted.trace.as_deref(), &self.accepted.reply, self.stages.is_some());
        // Boxed: it is kilobytes, and is moved more than once on its way.
        Box::pin(self.work()).instrument(span)
    }

    async fn work(mut self) {
        let reply = self.accepted.reply;
        let mut over = self.generate().await;
        if let Err(Stopped::Log(_)) = &over
            && self.appender.feed().is_unwanted()
        {
            over = self.delete_unwritten().await;
        }
        match over {
            Ok(Over::Ended(ended)) => self.end(ended).await,
            Ok(Over::Deleted) => self.settle_deleted().await,
            Ok(Over::Abandoned) => self.appender.feed().break_off(),
            Ok(Over::LeftToAnother) => return self.hand_to_remote(),
            Err(Stopped::Fenced) => {
                tracing::warn!(%reply, "another instance generates the reply now");
                return self.hand_to_remote();
            }
            Err(stopped) => {
                tracing::warn!(%reply, reason = %stopped, "generation stopped on this instance");
                // With its work undone: it is looked for again.
                return;
            }
        }
        self.retire();
    }

    /// Lets go of the reply, and has its followers here see how another continues it.
    fn hand_to_remote(self) {
        let (remote, accepted) = (self.workers.remote.clone(), Arc::clone(&self.accepted));
        let feed = Arc::clone(self.appender.feed());
        self.registration.hand_over();
        remote.take_on(accepted, feed);
    }

    /// Lets go of the reply.
    fn retire(self) {
        self.registration.leave();
    }

    async fn generate(&mut self) -> Result<Over, Stopped> {
        if self.appender.text_end().await.is_some() {
            self.start_speech();
            return self.speak_on().await;
        }
        let (mut retries, mut tried, mut cuts) = (Retries::default(), Tried::default(), Cuts::default());
        if self.truncates()
            && let Some(context) = &mut self.context
        {
            self.workers.upstream.windows().cut(&self.accepted.params.model, context);
        }
        loop {
            let reply = self.appender.reply().await;
            self.generated = self.appender.generated().await;
            self.compacting = self.compacts(&reply);
            if self.deadline() <= Instant::now() {
                return self.fail(&reply, ReplyError::server("The reply took longer than it may.")).await;
            }
            let prefix = match Plan::of(&reply) {
                Plan::EndCompleted => return self.complete(&reply).await,
                Plan::Start => None,
                Plan::Continue(_) if !self.workers.config.continues => {
                    return self.fail(&reply, ReplyError::server("The reply was broken off.")).await;
                }
                Plan::Continue(prefix) => Some(prefix),
            };
            let size = Size::of(&reply, self.workers.config.max_reply_bytes);
            let tokens = self.tokens_left(prefix.as_ref());
            if size.is_full() || tokens == Some(0) {
                return self.stop_short(&reply).await;
            }
            let params = if self.compacting { self.for_summary() } else { limited(&self.accepted.params, tokens) };
            let call = self.call(&params, prefix, size.left(), &reply).await;
            let attempt = match call {
                Ok(call) => self.attempt(call, &reply, &tried).await?,
                // No model server was asked: log or store are awaited, for as long as the reply has.
                Err(Error::Unavailable(cause)) => {
                    tracing::info!(reply = %self.accepted.reply, %cause, "waiting for the context of a reply");
                    match self.pause(CONTEXT_RETRY).await {
                        Some(interrupt) => return self.handle(interrupt, &reply).await,
                        None => continue,
                    }
                }
                Err(unavailable) => Attempt::Broken(Broken {
                    error: away(&unavailable.to_string()),
                    server: None,
                    progressed: false,
                    thought: false,
                }),
            };
            let taken = !matches!(&attempt, Attempt::Broken(broken) if !broken.progressed);
            if taken
                && self.truncates()
                && !reply.is_compacted()
                && let Some(context) = &self.context
            {
                let size = truncate::size(context);
                self.workers.upstream.windows().fitted(&self.accepted.params.model, size);
            }
            let broken = match attempt {
                Attempt::Over(over) => return Ok(over),
                Attempt::Compacted => {
                    self.usage_of_summary = self.usage.take();
                    (retries, tried) = (Retries::default(), Tried::default());
                    continue;
                }
                Attempt::Broken(broken) => broken,
            };
            tracing::info!(reply = %self.accepted.reply, cause = %broken.error.cause, "the model server did not complete a reply");
            let pause = if broken.error.kind == UpstreamErrorKind::ContextLength {
                self.cut_context(&broken, &mut cuts).then_some(Duration::ZERO)
            } else {
                self.pause_before_retry(&broken, &mut retries, &mut tried).await
            };
            let Some(pause) = pause else {
                let reply = self.appender.reply().await;
                return self.fail(&reply, broken.error.error).await;
            };
            if let Some(interrupt) = self.pause(pause).await {
                let reply = self.appender.reply().await;
                return self.handle(interrupt, &reply).await;
            }
        }
    }

    /// Whether the oldest turns may be dropped if the context is too long.
    fn truncates(&self) -> bool {
        self.accepted.params.truncation == Some(Truncation::Auto)
    }

    /// The context is too long: leaves something out, if that is wanted and may help.
    fn cut_context(&mut self, broken: &Broken, cuts: &mut Cuts) -> bool {
        let windows = self.workers.upstream.windows();
        // What a summary is followed by is short; the context before it is not what was too long.
        let may_cut = self.truncates() && (self.compacting || self.accepted.params.compacts_with().is_none());
        let Some(context) = self.context.as_mut().filter(|_| may_cut) else {
            return false;
        };
        windows.refused(&self.accepted.params.model, truncate::size(context));
        cuts.cut(context, &broken.error.error.message)
    }

    /// The next call.
    async fn call(
        &mut self,
        params: &Arc<Params>,
        prefix: Option<Prefix>,
        max_bytes: usize,
        reply: &Reply,
    ) -> Result<Call> {
        let mut context = match self.context.take() {
            Some(context) => context,
            None => self.workers.context(&self.accepted).await?,
        };
        // What is not stored cannot be read again; what was shortened would be long again.
        if !params.store || self.truncates() {
            self.context = Some(context.clone());
        }
        self.sum_up(&mut context, reply);
        self.workers.call(self.accepted.reply.thread(), params, context, prefix, max_bytes).await
    }

    /// How long to wait before an upstream is called again. `None`: none is.
    async fn pause_before_retry(
        &mut self,
        broken: &Broken,
        retries: &mut Retries,
        tried: &mut Tried,
    ) -> Option<Duration> {
        if broken.progressed {
            tried.forget();
        }
        if let Some(server) = broken.server {
            tried.failed(server);
        }
        let continues = matches!(Plan::of(&self.appender.reply().await), Plan::Continue(prefix) if !prefix.is_empty());
        let next = self.workers.upstream.next(&self.accepted.params.model, continues, tried);
        let failure = Failure {
            kind: if broken.error.is_ours() { UpstreamErrorKind::Credentials } else { broken.error.kind },
            server: broken.server,
            progressed: broken.progressed,
            thought: broken.thought,
        };
        let left = self.deadline().saturating_duration_since(Instant::now());
        retries.again(failure, next, left, chance())
    }

    /// The most tokens that the next call may generate. The client's limit is one of the whole reply; thoughts that are
    /// thought again do not count.
    fn tokens_left(&self, prefix: Option<&Prefix>) -> Option<u64> {
        let limit = self.accepted.params.max_output_tokens.filter(|_| !self.compacting)?;
        let before = prefix.filter(|prefix| !prefix.is_empty()).map_or(0, |_| self.options().output_before());
        Some(limit.saturating_sub(before))
    }

    /// Waits; returns what interrupted it.
    async fn pause(&mut self, pause: Duration) -> Option<Interrupt> {
        if pause.is_zero() {
            return None;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => None,
            interrupt = interrupted(&mut self.registration.commands, &self.workers.leave, &self.appender) => Some(interrupt),
        }
    }

    /// When the reply has to be over.
    pub(super) fn deadline(&self) -> Instant {
        // Acceptance is noted in whole seconds: no reply gets less time than it should.
        let accepted = Duration::from_secs(self.accepted.created_at + 1);
        let over = accepted + self.workers.config.reply_deadline;
        Instant::now() + over.saturating_sub(Duration::from_millis(now_ms()))
    }

    pub(super) fn options(&self) -> Options {
        let (usage_before, generated, compacting) = (self.usage, self.generated, self.compacting);
        let usage_of_summary = self.usage_of_summary();
        Options { compacting, usage_of_summary, usage_before, generated, ..Options::of(&self.accepted.params) }
    }
}

/// The parameters with another limit of output.
fn limited(params: &Arc<Params>, max_output_tokens: Option<u64>) -> Arc<Params> {
    if params.max_output_tokens == max_output_tokens {
        return Arc::clone(params);
    }
    Arc::new(Params { max_output_tokens, ..(**params).clone() })
}

/// A random number from 0 to 1.
fn chance() -> f64 {
    f64::from(u16::try_from(random_u64() & 0xffff).unwrap_or_default()) / f64::from(u16::MAX)
}

/// Waits for a command, for the end of this instance, or for another one that writes the reply.
pub(super) async fn interrupted(commands: &mut Commands, leave: &CancellationToken, appender: &Appender) -> Interrupt {
    let command = async {
        let command = commands.wait_for(Option::is_some).await.map(|command| *command);
        match command {
            Ok(Some(command)) => command,
            // Nobody can command anything any more.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        command = command => Interrupt::Command(command),
        () = leave.cancelled() => Interrupt::Leave,
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
