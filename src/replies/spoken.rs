//! A reply that is also spoken: its text ends first, and holds up nobody; its speech may go on, and the reply's last
//! event comes when both are over.
//!
//! The voices are not known here: [`Speech`](crate::speech::Speech) has them.

use std::sync::Arc;

use super::appender::Stopped;
use super::speech::speak;
use super::worker::{Interrupt, Over, Worker, interrupted};
use crate::domain::event::{Degraded, Event, Outcome};
use crate::domain::layout::Spoken;
use crate::log::now_ms;
use crate::log::peers::Command;

/// Why there is no more speech, if nothing more specific is known.
pub(super) fn broken_off() -> Arc<Degraded> {
    let reason = "The speech was broken off.".to_owned();
    Arc::new(Degraded { capability: "speech".to_owned(), reason })
}

impl Worker {
    /// Starts the reply's speech where its events end, if it was asked for. Not before the reply is accepted.
    pub(super) fn start_speech(&mut self) {
        if let Some(audio) = &self.accepted.params.audio
            && self.speech.is_none()
        {
            let appender = Arc::clone(&self.appender);
            self.speech = Some(speak(&self.workers.speech, audio.clone(), appender));
        }
    }

    /// Ends the reply with these events, of which the very last is its end. While it is being spoken, that is held back
    /// until the speech is over, too.
    pub(super) async fn conclude(&mut self, events: Vec<Event>) -> Result<Over, Stopped> {
        let outcome =
            events.last().and_then(|event| if let Event::End(end) = event { Some(&end.outcome) } else { None });
        let is_broken = matches!(outcome, Some(Outcome::Cancelled | Outcome::Failed(_)));
        match &mut self.speech {
            Some(speech) if !is_broken && !speech.is_over() => {
                self.end_text(events).await?;
                self.speak_on().await
            }
            _ => {
                self.stop_speech().await?;
                self.appender.finish(events, now_ms() / 1000, self.fence).await.map(Over::Ended)
            }
        }
    }

    /// Ends the text, here and in the transcript: the next turn need not wait for the speech.
    async fn end_text(&mut self, events: Vec<Event>) -> Result<(), Stopped> {
        let ended = self.appender.end_text(events, now_ms() / 1000).await?;
        if !self.accepted.params.store {
            return Ok(());
        }
        let threads = &self.workers.threads;
        let written = match self.fence.take() {
            Some(fence) => threads.end_at(fence, &ended).await,
            None => threads.end(&ended).await.map(drop),
        };
        if let Err(error) = written {
            tracing::warn!(reply = %ended.reply, %error, "the end of a reply is not yet in its transcript");
        }
        Ok(())
    }

    /// Waits for the speech of a reply whose text is over, and handles commands meanwhile.
    pub(super) async fn speak_on(&mut self) -> Result<Over, Stopped> {
        let deadline = self.deadline();
        let Some(speech) = &mut self.speech else { return self.end_speech(&[]).await };
        let interrupt = tokio::select! {
            biased;
            interrupt = interrupted(&mut self.registration.commands, &self.workers.leave, &self.appender) => Some(interrupt),
            () = speech.over() => None,
            () = tokio::time::sleep_until(deadline) => None,
        };
        match interrupt {
            Some(Interrupt::Fenced) => Err(Stopped::Fenced),
            Some(Interrupt::Command(Command::Delete)) => {
                let end = self.held_end().await;
                self.stop_speech().await?;
                self.appender.delete(end, now_ms() / 1000).await?;
                Ok(Over::Deleted)
            }
            Some(Interrupt::Leave) if self.accepted.params.store => {
                self.leave_speech().await;
                self.appender.hand_over().await?;
                Ok(Over::LeftToAnother)
            }
            Some(Interrupt::Leave | Interrupt::Command(_)) | None => {
                let end = self.held_end().await;
                self.end_speech(&end).await
            }
        }
    }

    /// Ends a reply of which only the speech was left.
    pub(super) async fn end_speech(&mut self, end: &[Event]) -> Result<Over, Stopped> {
        self.stop_speech().await?;
        let end = if end.is_empty() { self.held_end().await } else { end.to_vec() };
        self.appender.finish(end, now_ms() / 1000, None).await.map(Over::Ended)
    }

    /// The end that is held back.
    pub(super) async fn held_end(&self) -> Vec<Event> {
        let ended = self.appender.text_end().await;
        ended.iter().filter_map(|ended| ended.end()).cloned().map(Event::End).collect()
    }

    /// Ends the speech, if there is any, and appends the events that close it.
    pub(super) async fn stop_speech(&mut self) -> Result<(), Stopped> {
        let events = self.close_speech().await;
        if events.is_empty() { Ok(()) } else { self.appender.append(events).await }
    }

    /// Ends the speech; returns the events that close it, if any are missing.
    pub(super) async fn close_speech(&mut self) -> Vec<Event> {
        if self.accepted.params.audio.is_none() {
            return Vec::new();
        }
        let was_asked = match self.speech.take() {
            Some(mut speech) => {
                speech.stop_speech().await;
                true
            }
            None => false,
        };
        let spoken = self.appender.spoken().await;
        if self.appender.reply().await.speech_is_over() || (!was_asked && spoken == Spoken::default()) {
            return Vec::new();
        }
        // The speech task is gone without an end.
        let open = (!spoken.over).then(|| Event::AudioDone(Some(broken_off())));
        open.into_iter().chain([Event::TranscriptDone]).collect()
    }

    /// Leaves the speech to another instance, as it is.
    pub(super) async fn leave_speech(&mut self) {
        if let Some(mut speech) = self.speech.take() {
            speech.leave().await;
        }
    }
}
