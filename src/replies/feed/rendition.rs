//! A reply in one protocol and format: each event encoded once, for all followers of it. Of a long reply only what
//! some follower has still to read is buffered; for late or slow followers there is a second rendition.

use std::ops::Range;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;

use super::stored::{Batch, text_bytes};
use super::window::{Reader, Window};
use super::{BrokenOff, Close, Feed, WakerSlot};
use crate::domain::event::{Event, Outcome};
use crate::domain::record::Accepted;
use crate::domain::reply::Reply;
use crate::offload::offload;

/// So many events are encoded at once …
const MOST_EVENTS: usize = 512;

/// … and so many bytes, unless a single event has more.
const MOST_BYTES: usize = 256 * 1024;

/// A protocol, in one of its formats.
pub(crate) trait Protocol {
    /// Its name, unique among all encoders.
    fn name(&self) -> &'static str;

    /// What writes the events of this reply.
    fn encoder(&self, accepted: &Accepted) -> Box<dyn Encoder>;
}

/// Writes the events of one reply, in order.
pub(crate) trait Encoder: Send {
    /// Appends what the wire carries for an event: nothing, if the format has nothing to show. `reply` is as the event
    /// left it.
    fn encode(&mut self, out: &mut Vec<u8>, reply: &Reply, event: &Event, sequence: u64);

    /// Another one, for the same reply from its first event on.
    fn anew(&self) -> Box<dyn Encoder>;
}

/// An event, encoded.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// What is sent.
    pub(crate) bytes: Bytes,
    /// When the event was stored.
    pub(crate) stored: Instant,
    /// The state of the reply after it.
    pub(crate) stage: Stage,
}

/// The state of a reply after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// More comes.
    Running,
    /// It is over.
    Ended,
    /// It is over: a client stopped it.
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

/// The encoded events of a reply, shared by all followers in one protocol and format.
pub(crate) struct Rendition {
    name: &'static str,
    state: Mutex<Rendered>,
}

struct Rendered {
    encoder: Box<dyn Encoder>,
    /// The reply as of the last frame.
    reply: Reply,
    window: Window,
    /// The text that was encoded.
    text_bytes: usize,
    /// Room that is used again.
    fresh: Vec<Arc<Batch>>,
    cuts: Vec<(Range<usize>, Instant, Stage)>,
    /// An event was out of order: what comes after it cannot be shown.
    broken: bool,
}

/// What came of a wish for more.
enum More {
    Encoded,
    /// That was the last.
    Ended,
    BrokenOff,
}

impl Feed {
    /// The reply in this protocol and format, with a place for a follower that reads from an event on: the rendition
    /// that others follow, if it still has that, or a new one.
    fn rendition(&self, name: &'static str, encoder: impl FnOnce() -> Box<dyn Encoder>, from: u64) -> Seat {
        let mut renditions = self.renditions.lock();
        renditions.retain(|rendition| rendition.strong_count() > 0);
        let known: Vec<_> = renditions.iter().filter_map(Weak::upgrade).filter(|known| known.name == name).collect();
        for rendition in &known {
            let mut rendered = rendition.state.lock();
            if rendered.window.serves(from) {
                let reader = rendered.window.enter(from);
                drop(rendered);
                return Seat { rendition: Arc::clone(rendition), reader };
            }
        }
        // Beside one that moves on there is one that keeps everything, however many come late.
        let mut window = Window::new(!known.is_empty());
        let reader = window.enter(from);
        let state = Rendered {
            encoder: encoder(),
            reply: Reply::new(self.id()),
            window,
            text_bytes: 0,
            fresh: Vec::new(),
            cuts: Vec::new(),
            broken: false,
        };
        let rendition = Arc::new(Rendition { name, state: Mutex::new(state) });
        // The one that moves on is looked at first.
        renditions.push(Arc::downgrade(&rendition));
        Seat { rendition, reader }
    }

    /// The rendition that moves on, for a late follower that has caught up with it as of this event. If there is none
    /// any more, `seat` becomes it.
    fn caught_up(&self, seat: &Seat, from: u64) -> Option<Seat> {
        let renditions = self.renditions.lock();
        let own = &seat.rendition;
        let is_other = |other: &Arc<Rendition>| other.name == own.name && !Arc::ptr_eq(other, own);
        let Some(other) = renditions.iter().filter_map(Weak::upgrade).find(is_other) else {
            own.state.lock().window.keeps_all = false;
            return None;
        };
        let mut rendered = other.state.lock();
        let reader = rendered.window.serves(from).then(|| rendered.window.enter(from))?;
        drop(rendered);
        Some(Seat { rendition: other, reader })
    }
}

#[cfg(test)]
impl Rendition {
    /// What it keeps.
    pub(super) fn bytes(&self) -> usize {
        self.state.lock().window.bytes()
    }
}

impl Rendered {
    /// Encodes what is new in the feed; if nothing is, returns its state, and has `cx` woken when something comes.
    fn poll_more(&mut self, feed: &Feed, place: &mut WakerSlot, cx: &Context<'_>) -> Poll<More> {
        let next = self.reply.next_sequence();
        let ended_at = {
            let mut state = feed.state.lock();
            let (mut events, mut bytes) = (0, 0);
            let fits = |batch: &&Arc<Batch>| {
                let goes = events < MOST_EVENTS && bytes < MOST_BYTES;
                events += batch.len();
                bytes += batch.text_bytes();
                goes
            };
            self.fresh.extend(state.events.from(next).iter().take_while(fits).cloned());
            if self.fresh.is_empty() || self.broken {
                self.fresh.clear();
                return match state.close {
                    Some(Close::Ended(_)) if !self.broken => Poll::Ready(More::Ended),
                    Some(_) => Poll::Ready(More::BrokenOff),
                    None if self.broken => Poll::Ready(More::BrokenOff),
                    None => {
                        state.register(place, cx);
                        Poll::Pending
                    }
                };
            }
            state.ended_at()
        };
        // Events that close something repeat its text.
        let fresh: usize = self.fresh.iter().map(|batch| batch.text_bytes()).sum();
        let closes = self.fresh.iter().flat_map(|batch| batch.events(next)).any(|event| repeats_text(&event));
        offload(if closes { self.text_bytes + fresh } else { fresh }, || self.encode(ended_at));
        Poll::Ready(if self.broken { More::BrokenOff } else { More::Encoded })
    }

    /// Encodes of the fresh batches what is to be encoded at once.
    fn encode(&mut self, ended_at: Option<u64>) {
        let next = self.reply.next_sequence();
        let count: usize = self.fresh.iter().map(|batch| batch.len()).sum();
        let mut bytes = Vec::with_capacity(count.min(MOST_EVENTS) * 400);
        'all: for batch in self.fresh.drain(..) {
            for event in batch.events(next) {
                let (sequence, start) = (self.reply.next_sequence(), bytes.len());
                let repeats = if repeats_text(&event) { self.text_bytes } else { 0 };
                if start > 0 && start + repeats > MOST_BYTES {
                    // The rest when a follower has read this.
                    break 'all;
                }
                bytes.reserve(repeats);
                if self.reply.apply(&event).is_err() {
                    tracing::error!(reply = %self.reply.id(), sequence, "event out of order: it is not shown");
                    self.broken = true;
                    break 'all;
                }
                let mut stage = Stage::Running;
                if let Event::End(end) = &*event {
                    self.reply.set_ended_at(ended_at.unwrap_or_default());
                    stage = Stage::of(&end.outcome);
                }
                self.text_bytes += text_bytes(&event);
                self.encoder.encode(&mut bytes, &self.reply, &event, sequence);
                self.cuts.push((start..bytes.len(), batch.stored, stage));
            }
        }
        if bytes.capacity() > 2 * bytes.len() {
            bytes.shrink_to_fit();
        }
        let bytes = Bytes::from(bytes);
        let frames = self.cuts.drain(..);
        self.window.extend(frames.map(|(range, stored, stage)| Frame { bytes: bytes.slice(range), stored, stage }));
    }
}

/// Whether an event closes something, and so repeats its text.
const fn repeats_text(event: &Event) -> bool {
    matches!(event, Event::TextDone(_) | Event::PartDone(_) | Event::ItemDone { .. } | Event::End(_))
}

/// A place among the readers of a rendition.
struct Seat {
    rendition: Arc<Rendition>,
    reader: Reader,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.rendition.state.lock().window.leave(self.reader);
    }
}

/// A cursor into a reply, in one protocol and format.
pub(crate) struct Follower {
    feed: Arc<Feed>,
    seat: Seat,
    next: u64,
    place: WakerSlot,
}

/// What a rendition has for a reader.
enum Read {
    Frame(Frame, usize),
    End(Option<BrokenOff>),
    Pending,
    /// It has given up what would be next.
    GivenUp,
    /// Everything is read, of one that keeps everything.
    CaughtUp,
}

impl Follower {
    /// Follows from the event of sequence number `from` on.
    pub(crate) fn new(feed: Arc<Feed>, protocol: &dyn Protocol, from: u64) -> Self {
        let seat = feed.rendition(protocol.name(), || protocol.encoder(feed.accepted()), from);
        Self { feed, seat, next: from, place: WakerSlot::default() }
    }

    /// The next event, and how many more are there already. `None` after the last.
    pub(crate) fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<Result<(Frame, usize), BrokenOff>>> {
        loop {
            match self.read(cx) {
                Read::Frame(frame, behind) => return Poll::Ready(Some(Ok((frame, behind)))),
                Read::End(broken) => return Poll::Ready(broken.map(Err)),
                Read::Pending => return Poll::Pending,
                Read::GivenUp => {
                    let own = Arc::clone(&self.seat.rendition);
                    let encoder = || own.state.lock().encoder.anew();
                    self.seat = self.feed.rendition(own.name, encoder, self.next);
                }
                Read::CaughtUp => {
                    if let Some(seat) = self.feed.caught_up(&self.seat, self.next) {
                        self.seat = seat;
                    }
                }
            }
        }
    }

    fn read(&mut self, cx: &Context<'_>) -> Read {
        let mut rendered = self.seat.rendition.state.lock();
        loop {
            if !rendered.window.serves(self.next) {
                return Read::GivenUp;
            }
            if let Some((frame, behind)) = rendered.window.get(self.next) {
                let frame = frame.clone();
                self.next += 1;
                rendered.window.moved(self.seat.reader, self.next);
                return Read::Frame(frame, behind);
            }
            match rendered.poll_more(&self.feed, &mut self.place, cx) {
                Poll::Ready(More::Encoded) => {}
                Poll::Ready(More::Ended) => return Read::End(None),
                Poll::Ready(More::BrokenOff) => return Read::End(Some(BrokenOff)),
                Poll::Pending if rendered.window.keeps_all && self.next >= rendered.window.end() => {
                    return Read::CaughtUp;
                }
                Poll::Pending => return Read::Pending,
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
