//! A reply in one protocol and format: each event encoded once, for all who follow it so.

use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Batch, BrokenOff, Close, Feed, MOST_EVENTS, WakerSlot};
use crate::domain::event::{Event, Outcome};
use crate::domain::record::Accepted;
use crate::domain::reply::Reply;
use crate::offload::offload;

/// The most text that is encoded at once, in bytes, unless a single batch has more.
const MOST_BYTES: usize = 256 * 1024;

/// A protocol, in one of its formats.
pub(crate) trait Protocol {
    /// Tells it from all others.
    fn name(&self) -> &'static str;

    /// What writes the events of this reply.
    fn encoder(&self, accepted: &Accepted) -> Box<dyn Encoder>;
}

/// Writes the events of one reply, in order.
pub(crate) trait Encoder: Send {
    /// Appends what the wire carries for an event: nothing, if the format has nothing to show. `reply` is as the event
    /// left it.
    fn encode(&mut self, out: &mut Vec<u8>, reply: &Reply, event: &Event, sequence: u64);
}

/// An event, encoded.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// What is sent.
    pub(crate) bytes: Bytes,
    /// When the event was stored.
    pub(crate) stored: Instant,
    /// Where the reply stands after it.
    pub(crate) stage: Stage,
}

/// Where a reply stands after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// More comes.
    Running,
    /// It is over.
    Ended,
    /// It is over: someone stopped it.
    Cancelled,
    /// It is over, and failed.
    Failed,
}

impl Stage {
    const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Completed | Outcome::MaxOutputTokens | Outcome::ContentFilter => Self::Ended,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::Failed(_) => Self::Failed,
        }
    }
}

/// The encoded events of a reply, shared by all who follow it in one protocol and format.
pub(crate) struct Rendition {
    state: Mutex<Rendered>,
}

struct Rendered {
    encoder: Box<dyn Encoder>,
    /// The reply as of the last frame.
    reply: Reply,
    /// The index is the sequence number.
    frames: Vec<Frame>,
    /// How many of the feed's batches are encoded.
    batches: usize,
    /// The text in them.
    text_bytes: usize,
    /// Room that is used again.
    fresh: Vec<Arc<Batch>>,
    cuts: Vec<(Range<usize>, Instant, Stage)>,
    /// An event was out of order: what comes after it cannot be shown.
    broken: bool,
}

impl Feed {
    /// The reply in this protocol and format: the one that others follow, or a new one.
    fn rendition(&self, protocol: &dyn Protocol) -> Arc<Rendition> {
        let mut renditions = self.renditions.lock();
        renditions.retain(|(_, rendition)| rendition.strong_count() > 0);
        let known = renditions.iter().find(|(name, _)| *name == protocol.name());
        if let Some(rendition) = known.and_then(|(_, rendition)| rendition.upgrade()) {
            return rendition;
        }
        let state = Rendered {
            encoder: protocol.encoder(&self.accepted),
            reply: Reply::new(self.id()),
            frames: Vec::new(),
            batches: 0,
            text_bytes: 0,
            fresh: Vec::new(),
            cuts: Vec::new(),
            broken: false,
        };
        let rendition = Arc::new(Rendition { state: Mutex::new(state) });
        renditions.push((protocol.name(), Arc::downgrade(&rendition)));
        rendition
    }
}

impl Rendered {
    /// Encodes what is new in the feed; if nothing is, tells how it stands, and has `cx` woken when something comes.
    fn poll_more(&mut self, feed: &Feed, place: &mut WakerSlot, cx: &Context<'_>) -> Poll<Option<BrokenOff>> {
        let ended_at = {
            let mut state = feed.state.lock();
            let (mut events, mut bytes) = (0, 0);
            let fits = |batch: &&Arc<Batch>| {
                let goes = events < MOST_EVENTS && bytes < MOST_BYTES;
                events += batch.events.len();
                bytes += batch.events.iter().map(text_bytes).sum::<usize>();
                goes
            };
            self.fresh.extend(state.batches[self.batches..].iter().take_while(fits).cloned());
            if self.fresh.is_empty() {
                return match state.close {
                    Some(Close::Ended(_)) => Poll::Ready(None),
                    Some(Close::BrokenOff) => Poll::Ready(Some(BrokenOff)),
                    None => {
                        state.register(place, cx);
                        Poll::Pending
                    }
                };
            }
            state.ended_at()
        };
        self.batches += self.fresh.len();
        let events = self.fresh.iter().flat_map(|batch| &batch.events);
        self.text_bytes += events.clone().map(text_bytes).sum::<usize>();
        // Events that close something repeat its text.
        let repeats = events.filter(|event| !matches!(event, Event::Delta { .. })).count();
        offload(self.text_bytes * repeats.min(4), || self.encode(ended_at));
        Poll::Ready(self.broken.then_some(BrokenOff))
    }

    fn encode(&mut self, ended_at: Option<u64>) {
        let count: usize = self.fresh.iter().map(|batch| batch.events.len()).sum();
        let mut bytes = Vec::with_capacity(count * 400);
        for batch in self.fresh.drain(..) {
            for event in &batch.events {
                let (sequence, start) = (self.reply.next_sequence(), bytes.len());
                if self.broken || self.reply.apply(event).is_err() {
                    tracing::error!(reply = %self.reply.id(), sequence, "event out of order: it is not shown");
                    self.broken = true;
                    break;
                }
                let mut stage = Stage::Running;
                if let Event::End(end) = event {
                    self.reply.set_ended_at(ended_at.unwrap_or_default());
                    stage = Stage::of(&end.outcome);
                }
                self.encoder.encode(&mut bytes, &self.reply, event, sequence);
                self.cuts.push((start..bytes.len(), batch.stored, stage));
            }
        }
        let bytes = Bytes::from(bytes);
        let frames = self.cuts.drain(..);
        self.frames.extend(frames.map(|(range, stored, stage)| Frame { bytes: bytes.slice(range), stored, stage }));
    }
}

/// The text that an event brings.
fn text_bytes(event: &Event) -> usize {
    match event {
        Event::Delta { text, .. } => text.len(),
        Event::Audio(audio) => audio.len(),
        _ => 0,
    }
}

/// A cursor into a reply, in one protocol and format.
pub(crate) struct Follower {
    feed: Arc<Feed>,
    rendition: Arc<Rendition>,
    next: usize,
    place: WakerSlot,
}

impl Follower {
    /// Follows from the event of sequence number `from` on.
    pub(crate) fn new(feed: Arc<Feed>, protocol: &dyn Protocol, from: u64) -> Self {
        let rendition = feed.rendition(protocol);
        Self { feed, rendition, next: usize::try_from(from).unwrap_or(usize::MAX), place: WakerSlot::default() }
    }

    /// The next event, and how many more are there already. `None` after the last.
    pub(crate) fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<Result<(Frame, usize), BrokenOff>>> {
        let mut rendered = self.rendition.state.lock();
        loop {
            if let Some(frame) = rendered.frames.get(self.next) {
                let behind = rendered.frames.len() - self.next - 1;
                self.next += 1;
                return Poll::Ready(Some(Ok((frame.clone(), behind))));
            }
            let known = rendered.batches;
            match rendered.poll_more(&self.feed, &mut self.place, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(broken)) => return Poll::Ready(Some(Err(broken))),
                Poll::Ready(None) if rendered.batches == known => return Poll::Ready(None),
                Poll::Ready(None) => {}
            }
        }
    }

    /// The next event, waited for.
    pub(crate) async fn next(&mut self) -> Option<Result<Frame, BrokenOff>> {
        let next = std::future::poll_fn(|cx| self.poll_next(cx)).await;
        next.map(|result| result.map(|(frame, _)| frame))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.feed.leave(&self.place);
    }
}
