//! One call of an upstream: what it says becomes events, and these are stored, as it says them. One append is in flight at
//! a time; what arrives meanwhile goes into the next.

use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::appender::Stopped;
use super::batcher::Batcher;
use super::builder::{EventBuilder, Finished};
use super::worker::{Attempt, Broken, Interrupt, Over, Worker, away, interrupted};
use crate::domain::event::Event;
use crate::domain::reply::Reply;
use crate::llm::delta::UpstreamError;
use crate::llm::{DeltaStream, Started};
use crate::log::peers::Command;

type InFlight<'a> = Option<Pin<Box<dyn Future<Output = Result<(), Stopped>> + Send + 'a>>>;

impl Worker {
    /// Stores what an upstream says, as it says it.
    pub(super) async fn listen(
        &mut self,
        Started { continuation, mut deltas, server }: Started,
        reply: &Reply,
    ) -> Result<Attempt, Stopped> {
        self.start_speech();
        let mut builder = EventBuilder::new(self.options(), reply, continuation);
        let mut batcher = Batcher::default();
        let mut events = Vec::new();
        let mut in_flight: InFlight<'_> = None;
        let mut last_append = Instant::now();
        let mut progressed = false;
        let outcome = loop {
            let waits = in_flight.is_none() && !batcher.is_empty();
            if waits && let Some(ended) = take_ready(&mut deltas, &mut builder, &mut batcher) {
                break ended;
            }
            let delay = if waits { batcher.delay(self.workers.running.len()) } else { Duration::ZERO };
            if waits && (delay.is_zero() || last_append.elapsed() >= delay) {
                last_append = Instant::now();
                progressed = true;
                in_flight = Some(Box::pin(self.appender.append(batcher.take())));
            }
            tokio::select! {
                biased;
                stored = flight(&mut in_flight), if in_flight.is_some() => {
                    in_flight = None;
                    stored?;
                }
                delta = deltas.next() => match delta {
                    Some(Ok(delta)) => {
                        builder.push(delta, &mut events);
                        if in_flight.is_some() { batcher.push(&mut events) } else { batcher.keep(&mut events) }
                    }
                    Some(Err(error)) => break Err(error),
                    None => break Ok(None),
                },
                () = tokio::time::sleep_until(last_append + delay), if !delay.is_zero() && in_flight.is_none() => {}
                interrupt = interrupted(&mut self.commands, &self.workers.leave, &self.appender) => break Ok(Some(interrupt)),
            }
        };
        if in_flight.is_some() {
            flight(&mut in_flight).await?;
        }
        drop(in_flight);
        drop(deltas);
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
            (Ok(Some(_)), Finished::Broken) => {
                self.flush(&mut batcher).await?;
                self.hand_over(&self.appender.reply().await).await.map(Attempt::Over)
            }
            (outcome, Finished::Broken) => {
                progressed |= self.flush(&mut batcher).await?;
                progressed &= builder.has_answered();
                let error = outcome.err().unwrap_or_else(|| away("it ended without saying how"));
                Ok(Attempt::Broken(Broken { error, server, progressed }))
            }
        }
    }

    /// Stores what was gathered. Whether that was anything.
    async fn flush(&self, batcher: &mut Batcher) -> Result<bool, Stopped> {
        let any = !batcher.is_empty();
        while !batcher.is_empty() {
            self.appender.append(batcher.take()).await?;
        }
        Ok(any)
    }

    /// Stores what does not fit one record; gives the rest.
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

/// Takes what the upstream has said already: all of it goes into the next append. Each delta stays an event of its own.
/// Gives how the upstream ended, if it has.
fn take_ready(
    deltas: &mut DeltaStream,
    builder: &mut EventBuilder,
    batcher: &mut Batcher,
) -> Option<Result<Option<Interrupt>, UpstreamError>> {
    let mut events = Vec::new();
    while !batcher.is_full()
        && let Some(next) = deltas.next().now_or_never()
    {
        match next {
            Some(Ok(delta)) => {
                builder.push(delta, &mut events);
                batcher.keep(&mut events);
            }
            Some(Err(error)) => return Some(Err(error)),
            None => return Some(Ok(None)),
        }
    }
    None
}

/// Waits for the append in flight.
async fn flight(in_flight: &mut InFlight<'_>) -> Result<(), Stopped> {
    match in_flight {
        Some(append) => append.await,
        None => Ok(()),
    }
}
