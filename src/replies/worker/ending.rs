//! How the work on a reply ends: completed, stopped, failed, deleted, or left to another instance.

use super::{Interrupt, Over, Worker};
use crate::domain::event::{Event, Outcome, ReplyError};
use crate::domain::reply::Reply;
use crate::llm::call::Continuation;
use crate::log::now_ms;
use crate::log::peers::Command;
use crate::replies::appender::{Finished, Stopped};
use crate::replies::builder::EventBuilder;

impl Worker {
    /// Ends a reply that cannot be continued: it has killed too many of its instances, or is damaged.
    pub(in crate::replies) async fn give_up(mut self, why: &'static str) {
        let over = if self.appender.text_end().await.is_some() {
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

    /// Notes the end in the transcript. The reply is over already: its reply log has its end.
    pub(super) async fn end(&mut self, Finished { ended, in_transcript }: Finished) {
        let workers = &self.workers;
        if let Some(end) = ended.end() {
            workers.metrics.replies_ended(end.outcome.status().as_str());
            if let Outcome::Failed(error) = &end.outcome {
                tracing::warn!(reply = %ended.reply, code = error.code.as_str(), "a reply failed");
            }
        }
        self.settle(&ended).await;
        let workers = &self.workers;
        if !self.accepted.params.store {
            return;
        }
        let written = match self.fence {
            _ if in_transcript => Ok(()),
            Some(fence) => workers.threads.end_at(fence, &ended).await,
            None => workers.threads.end(&ended).await.map(|_| ()),
        };
        match written {
            Ok(()) => {
                if self.appender.has_snapshot().await {
                    let _ = workers.threads.log().snapshots().erase(ended.reply).await;
                }
                if !in_transcript {
                    workers.threads.log().leases().release(ended.reply);
                }
            }
            // The ticket stays: the end is written from the reply log when it is found.
            Err(error) => {
                tracing::warn!(reply = %ended.reply, %error, "the end of a reply is not yet in its transcript");
            }
        }
    }

    pub(in crate::replies) async fn delete(&mut self, last: Vec<Event>) -> Result<Over, Stopped> {
        self.stop_speech().await?;
        self.appender.delete(last, now_ms() / 1000).await?;
        Ok(Over::Deleted)
    }

    /// Deletes a reply whose last write was given up for that. What it held, its followers have not seen.
    pub(super) async fn delete_unwritten(&mut self) -> Result<Over, Stopped> {
        let mut events = self.close_speech().await;
        let mut shown = self.appender.feed().reply();
        if self.appender.feed().end().is_some() {
            events.extend(self.held_end().await);
        } else {
            for event in &events {
                shown.apply(event).map_err(|_| Stopped::OutOfOrder)?;
            }
            EventBuilder::new(self.options(), &shown, Continuation::Fresh).cancel(&mut events);
        }
        self.appender.delete(events, now_ms() / 1000).await?;
        Ok(Over::Deleted)
    }

    /// Handles an interrupt while no upstream generates.
    pub(super) async fn handle(&mut self, interrupt: Interrupt, reply: &Reply) -> Result<Over, Stopped> {
        let command = match interrupt {
            Interrupt::Leave => return self.hand_over(reply).await,
            Interrupt::Fenced => return Err(Stopped::Fenced),
            Interrupt::Command(command) => command,
        };
        let mut events = Vec::new();
        EventBuilder::new(self.options(), reply, Continuation::Fresh).cancel(&mut events);
        if command == Command::Delete {
            return self.delete(events).await;
        }
        self.conclude(events).await
    }

    /// Leaves the reply to another instance; one that is not stored cannot be continued.
    pub(in crate::replies) async fn hand_over(&mut self, reply: &Reply) -> Result<Over, Stopped> {
        if !self.accepted.params.store {
            let error = ReplyError::server("The server is shutting down, and the reply is not stored.");
            return self.fail(reply, error).await;
        }
        self.leave_speech().await;
        self.appender.hand_over().await?;
        Ok(Over::LeftToAnother)
    }

    pub(super) async fn complete(&mut self, reply: &Reply) -> Result<Over, Stopped> {
        let mut events = Vec::new();
        EventBuilder::new(self.options(), reply, Continuation::Fresh).complete(&mut events);
        self.start_speech();
        self.conclude(events).await
    }

    /// Ends a reply that is as long as it may be.
    pub(super) async fn stop_short(&mut self, reply: &Reply) -> Result<Over, Stopped> {
        let mut events = Vec::new();
        let mut builder = EventBuilder::new(self.options(), reply, Continuation::Fresh);
        let _ = builder.stop_short(Outcome::MaxOutputTokens, &mut events);
        self.start_speech();
        self.conclude(events).await
    }

    pub(super) async fn fail(&mut self, reply: &Reply, error: ReplyError) -> Result<Over, Stopped> {
        let mut events = Vec::new();
        EventBuilder::new(self.options(), reply, Continuation::Fresh).fail(error, &mut events);
        self.conclude(events).await
    }
}
