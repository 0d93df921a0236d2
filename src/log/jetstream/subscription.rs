//! Records of a subject as they are stored, without gaps.
//!
//! A core subscription to what the stream republishes. Each message names the one before it in its subject: a gap is
//! read from the stream. A gap at the end, after which nothing comes, is found by [`super::gap_detector`].

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt;

use super::JetStream;
use super::gap_detector::Listening;
use super::names::STORED;
use super::wire::{self, StreamMessage};
use crate::log::{ReadError, Stored, Subject};

/// See the module.
pub struct Subscription {
    log: JetStream,
    subject: Subject,
    messages: Subscriber,
    listening: Listening,
    ready: VecDeque<Stored>,
    /// Something was missed that has to be read.
    is_behind: bool,
}

/// When what was missed could not be read, it is tried again after this.
const AGAIN: Duration = Duration::from_millis(200);

impl Subscription {
    pub(super) async fn open(log: JetStream, subject: Subject) -> Result<Self, ReadError> {
        let client = &log.shared.connections.read;
        let name = format!("{STORED}.{}", log.shared.names.subject(subject));
        // First the subscription, then the last record before it: so nothing falls between them.
        let messages = client.subscribe(name).await.map_err(wire::read_error)?;
        let seen = log.last(subject).await?.map_or(0, |last| last.sequence);
        let listening = log.shared.gap_detector.listen(subject, seen);
        Ok(Self { log, subject, messages, listening, ready: VecDeque::new(), is_behind: false })
    }

    /// See [`crate::log::Subscription::next`]. While the stream cannot be read it waits; it goes on from what it has seen.
    pub async fn next(&mut self) -> Option<Stored> {
        loop {
            if let Some(stored) = self.ready.pop_front() {
                return Some(stored);
            }
            if self.is_behind {
                if !self.catch_up().await {
                    tokio::time::sleep(AGAIN).await;
                }
                continue;
            }
            tokio::select! {
                message = self.messages.next() => {
                    let Ok(message) = StreamMessage::of_direct(message?) else { continue };
                    self.take(message);
                }
                () = self.listening.watched.behind.notified() => self.is_behind = true,
            }
        }
    }

    fn take(&mut self, message: StreamMessage) {
        let seen = self.seen();
        if message.sequence <= seen {
            return;
        }
        let previous = wire::number(&message.headers, "Nats-Last-Sequence");
        // The one before may have been erased or have expired: then a look shows nothing but this one.
        // One that is too long for a message is put together by a read.
        if previous.is_some_and(|previous| previous > seen) || message.is_in_pieces() {
            self.is_behind = true;
            return;
        }
        self.see(message.sequence);
        self.ready.push_back(message.into());
    }

    /// Reads what was missed. `false`: it cannot be read now.
    async fn catch_up(&mut self) -> bool {
        let Ok(missed) = self.log.read(self.subject, self.seen()).await else { return false };
        if let Some(last) = missed.last() {
            self.see(last.sequence);
        }
        self.ready.extend(missed);
        self.is_behind = false;
        true
    }

    fn seen(&self) -> u64 {
        self.listening.watched.seen.load(Ordering::Relaxed)
    }

    fn see(&self, sequence: u64) {
        self.listening.watched.seen.store(sequence, Ordering::Relaxed);
    }
}
