//! One call of an upstream: its output becomes events, and these are stored as they come. One append is in flight at
//! a time; what arrives meanwhile goes into the next.

use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::appender::Stopped;
use super::batcher::Batcher;
use super::builder::{EventBuilder, Finished};
use super::measured::Chunks;
use super::size::Size;
use super::worker::{Attempt, Broken, Interrupt, Over, Worker, away, interrupted};
use crate::domain::event::Event;
use crate::domain::reply::Reply;
use crate::llm::delta::{Delta, FinishReason, UpstreamError};
use crate::llm::{DeltaStream, Started};
use crate::log::peers::Command;
use crate::telemetry::TakeoverStage;
use crate::telemetry::spans::first_chunk;

type InFlight<'a> = Option<Pin<Box<dyn Future<Output = Result<(), Stopped>> + Send + 'a>>>;

impl Worker {
    /// Stores an upstream's output as it comes.
    pub(super) async fn listen(
        &mut self,
        Started { continuation, mut deltas, server }: Started,
        reply: &Reply,
    ) -> Result<Attempt, Stopped> {
        if !self.compacting {
            self.start_speech();
        }
        let mut pending = Pending {
            builder: EventBuilder::new(self.options(), reply, continuation),
            batcher: Batcher::new(self.accepted.params.max_output_tokens.is_some()),
            size: Size::of(reply, self.workers.config.max_reply_bytes),
            events: Vec::new(),
            chunks: self.chunks,
        };
        let mut in_flight: InFlight<'_> = None;
        let mut last_append = Instant::now();
        let mut progressed = false;
        let outcome = loop {
            let waits = in_flight.is_none() && !pending.batcher.is_empty();
            if waits && let Some(ended) = pending.take_ready(&mut deltas) {
                break ended;
            }
            let delay = if waits { pending.batcher.delay(self.workers.running.len()) } else { Duration::ZERO };
            if waits && (delay.is_zero() || last_append.elapsed() >= delay) {
                last_append = Instant::now();
                progressed = true;
                in_flight = Some(Box::pin(self.appender.append(pending.batcher.take())));
            }
            tokio::select! {
                biased;
                stored = flight(&mut in_flight), if in_flight.is_some() => {
                    in_flight = None;
                    stored?;
                    // A reply that stores something does not kill its instance.
                    self.quarantine = None;
                    if let Some(mut stages) = self.stages.take() {
                        stages.ended(TakeoverStage::FirstEvent);
                    }
                    #[cfg(feature = "crash-points")]
                    crate::config::faults::panic_once();
                }
                // Where the log is slower than the upstream, the upstream's socket is not read.
                delta = deltas.next(), if !pending.batcher.is_full() => {
                    if let Some(ended) = pending.take(delta, Instant::now()) {
                        break ended;
                    }
                }
                () = tokio::time::sleep_until(last_append + delay), if !delay.is_zero() && in_flight.is_none() => {}
                interrupt = interrupted(&mut self.registration.commands, &self.workers.leave, &self.appender) => break Ok(Some(interrupt)),
            }
        };
        if in_flight.is_some() {
            flight(&mut in_flight).await?;
        }
        drop(in_flight);
        drop(deltas);
        self.chunks = pending.chunks;
        let Pending { mut builder, mut batcher, mut events, .. } = pending;
        let finished = match outcome {
            Ok(Some(Interrupt::Fenced)) => return Err(Stopped::Fenced),
            Ok(None) => builder.finish(true, &mut events),
            Ok(Some(Interrupt::Command(_))) => {
                builder.cancel(&mut events);
                Finished::Ended
            }
            Ok(Some(_)) | Err(_) => Finished::Broken,
        };
        batcher.push(&mut events);
        self.usage = builder.usage();
        match (outcome, finished) {
            (Ok(Some(Interrupt::Command(Command::Delete))), _) => {
                let last = self.drain(&mut batcher).await?;
                self.delete(last).await.map(Attempt::Over)
            }
            (_, Finished::Ended) => self.finish(&mut batcher).await.map(Attempt::Over),
            (_, Finished::Compacted) => {
                self.flush(&mut batcher).await?;
                Ok(Attempt::Compacted)
            }
            (Ok(Some(_)), Finished::Broken) => {
                self.flush(&mut batcher).await?;
                self.hand_over(&self.appender.reply().await).await.map(Attempt::Over)
            }
            (outcome, Finished::Broken) => {
                progressed |= self.flush(&mut batcher).await?;
                progressed &= builder.has_answered();
                let error = outcome.err().unwrap_or_else(|| away("it ended without a reason"));
                let thought = builder.has_only_thought();
                Ok(Attempt::Broken(Broken { error, server, progressed, thought }))
            }
        }
    }

    /// Stores what was batched. Returns whether there was anything.
    async fn flush(&self, batcher: &mut Batcher) -> Result<bool, Stopped> {
        let any = !batcher.is_empty();
        while !batcher.is_empty() {
            self.appender.append(batcher.take()).await?;
        }
        Ok(any)
    }

    /// Stores what does not fit one record; returns the rest.
    async fn drain(&self, batcher: &mut Batcher) -> Result<Vec<Event>, Stopped> {
        loop {
            let events = batcher.take();
            if batcher.is_empty() {
                return Ok(events);
            }
            self.appender.append(events).await?;
        }
    }

    async fn finish(&mut self, batcher: &mut Batcher) -> Result<Over, Stopped> {
        let last = self.drain(batcher).await?;
        self.conclude(last).await
    }
}

/// An upstream's output, on its way to the log.
struct Pending {
    builder: EventBuilder,
    batcher: Batcher,
    size: Size,
    /// Room that is used again.
    events: Vec<Event>,
    /// When the pieces came.
    chunks: Chunks,
}

/// How an upstream's answer ended.
type Ended = Result<Option<Interrupt>, UpstreamError>;

impl Pending {
    /// Takes the upstream's next delta; returns how it ended, if it has.
    fn take(&mut self, next: Option<Result<Delta, UpstreamError>>, now: Instant) -> Option<Ended> {
        let mut delta = match next {
            Some(Ok(delta)) => delta,
            Some(Err(error)) => return Some(Err(error)),
            None => return Some(Ok(None)),
        };
        if self.chunks.came(now) {
            first_chunk(&tracing::Span::current());
        }
        self.size.clip(&mut delta);
        self.builder.push(delta, &mut self.events);
        self.size.add(&self.events);
        let waiting = self.batcher.events();
        self.batcher.push(&mut self.events);
        self.size.count(self.batcher.events() - waiting);
        if !self.size.is_full() {
            return None;
        }
        self.builder.push(Delta::Finish(FinishReason::Length), &mut self.events);
        Some(Ok(None))
    }

    /// Takes what the upstream has sent already: all of it goes into the next append.
    fn take_ready(&mut self, deltas: &mut DeltaStream) -> Option<Ended> {
        // All of it came by now: the clock is read once.
        let now = Instant::now();
        while !self.batcher.is_full()
            && let Some(next) = deltas.next().now_or_never()
        {
            if let Some(ended) = self.take(next, now) {
                return Some(ended);
            }
        }
        None
    }
}

/// Waits for the append in flight.
async fn flight(in_flight: &mut InFlight<'_>) -> Result<(), Stopped> {
    match in_flight {
        Some(append) => append.await,
        None => Ok(()),
    }
}
