//! The shared buffer of a reply on one instance: every follower is a cursor into it.
//!
//! What is pushed was stored before. An event is encoded once, when the first follower comes to it; a slow follower
//! holds its socket and its place, and nothing else. A reply that nobody follows costs no encoding.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::api::wire::Envelope;
use crate::conversation::event::Event;
use crate::conversation::ids::ReplyId;
use crate::conversation::record::Ended;
use crate::conversation::reply::Reply;

mod listener;

pub use listener::{Heard, Listener};

/// The buffer of one reply.
pub struct Feed {
    id: ReplyId,
    envelope: Envelope,
    state: Mutex<State>,
    /// The reply is to be deleted: its writer is not to wait for a log that cannot be written.
    unwanted: AtomicBool,
    home: Option<Weak<Table>>,
}

struct State {
    /// The reply as of the last frame.
    reply: Reply,
    /// Encoded events: the index is the sequence number.
    frames: Vec<Frame>,
    /// Events that nobody has come to yet.
    waiting: Vec<(Event, Instant)>,
    close: Option<Close>,
    /// The end of the text, while speech goes on.
    said: Option<Arc<Ended>>,
    wakers: Vec<Waker>,
    /// Counts the times that all wakers were taken.
    wakes: u64,
}

#[derive(Clone)]
enum Close {
    Ended(Arc<Ended>),
    BrokenOff,
}

/// An event, encoded.
#[derive(Clone)]
pub struct Frame {
    /// `event: <type>\ndata: <json>\n\n`.
    sse: Bytes,
    /// Where the JSON begins in it.
    json: usize,
    /// The type of the event on the wire.
    pub kind: &'static str,
    /// When it was stored.
    pub stored: Instant,
    /// Whether nothing comes after it.
    pub is_last: bool,
}

/// The reply is no longer said on this instance, and it is not known how it goes on: the client has to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reply is broken off here; rejoin it")]
pub struct BrokenOff;

impl Frame {
    /// The event for an SSE stream of the API.
    pub fn sse(&self) -> Bytes {
        self.sse.clone()
    }

    /// The event's JSON and a line feed.
    pub fn json_line(&self) -> Bytes {
        self.sse.slice(self.json..self.sse.len() - 1)
    }

    /// The event's JSON.
    pub fn json(&self) -> Bytes {
        self.sse.slice(self.json..self.sse.len() - 2)
    }
}

impl Feed {
    /// The buffer of a reply whose events so far are `events`.
    pub fn new(id: ReplyId, envelope: Envelope, events: Vec<Event>) -> Self {
        let reply = Reply::new(id);
        let now = Instant::now();
        let state = State {
            reply,
            frames: Vec::new(),
            waiting: events.into_iter().map(|event| (event, now)).collect(),
            close: None,
            said: None,
            wakers: Vec::new(),
            wakes: 0,
        };
        Self { id, envelope, state: Mutex::new(state), unwanted: AtomicBool::new(false), home: None }
    }

    /// The same buffer, of a reply whose text ended so; if it has.
    #[must_use]
    pub fn with_said(self, said: Option<Arc<Ended>>) -> Self {
        self.state.lock().said = said;
        self
    }

    /// The buffer of a reply that has ended.
    pub fn ended(envelope: Envelope, events: Vec<Event>, ended: Arc<Ended>) -> Self {
        let feed = Self::new(ended.reply, envelope, events);
        feed.state.lock().close = Some(Close::Ended(ended));
        feed
    }

    /// The reply.
    pub const fn id(&self) -> ReplyId {
        self.id
    }

    /// Tells the writer of the reply not to wait for a log that cannot be written: the reply is to be deleted.
    pub fn give_up(&self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }

    /// Whether the reply is to be deleted.
    pub fn is_unwanted(&self) -> bool {
        self.unwanted.load(Ordering::Relaxed)
    }

    /// Whether more can come, or all has come.
    pub fn is_whole(&self) -> bool {
        !matches!(self.state.lock().close, Some(Close::BrokenOff))
    }

    /// Whether anything was shown: the feed of a reply that is not accepted yet is empty, and may stay so.
    fn has_begun(&self) -> bool {
        let state = self.state.lock();
        !state.frames.is_empty() || !state.waiting.is_empty()
    }

    /// What every response object of the reply repeats.
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// How the reply ended, if it has: its text. Its speech may go on.
    pub fn end(&self) -> Option<Arc<Ended>> {
        self.state.lock().end().cloned()
    }

    /// Whether the reply has ended and no event comes any more.
    pub fn is_closed(&self) -> bool {
        matches!(self.state.lock().close, Some(Close::Ended(_)))
    }

    /// The reply as it is now.
    pub fn reply(&self) -> Reply {
        let state = self.state.lock();
        let mut reply = state.reply.clone();
        for (event, _) in &state.waiting {
            // What was stored was checked.
            let _ = reply.apply(event);
        }
        state.date(&mut reply);
        if reply.end().is_none()
            && let Some(said) = state.end()
            && let Some(end) = said.end()
        {
            reply.conclude(end.clone(), said.said.ended_at.unwrap_or_default());
        }
        reply
    }

    /// Shows the end of the text, of a reply whose speech goes on.
    pub fn end_text(&self, events: Vec<Event>, ended: Arc<Ended>) {
        self.state.lock().said = Some(ended);
        self.push(events);
    }

    /// Shows events that were stored.
    pub fn push(&self, events: Vec<Event>) {
        self.update(events, None);
    }

    /// Shows the last events.
    pub fn finish(&self, events: Vec<Event>, ended: Arc<Ended>) {
        self.update(events, Some(Close::Ended(ended)));
    }

    /// Shows what is missing of the events that were stored so far, which are `all`; `said` is the end of the text, if
    /// that is over.
    pub fn catch_up(&self, all: Vec<Event>, said: Option<Arc<Ended>>) {
        self.state.lock().said = said;
        self.update_from(all, None);
    }

    /// Shows what is missing of a reply that has ended, whose events are `all`.
    pub fn complete(&self, all: Vec<Event>, ended: Arc<Ended>) {
        self.update_from(all, Some(Close::Ended(ended)));
    }

    fn update_from(&self, all: Vec<Event>, close: Option<Close>) {
        let wakers = {
            let mut state = self.state.lock();
            let known = state.frames.len() + state.waiting.len();
            state.update(all.into_iter().skip(known).collect(), close)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Tells the followers that this is all they get here. Does nothing to a reply that has ended.
    pub fn break_off(&self) {
        self.update(Vec::new(), Some(Close::BrokenOff));
    }

    fn update(&self, events: Vec<Event>, close: Option<Close>) {
        let wakers = self.state.lock().update(events, close);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits until the reply has ended. Its speech may go on.
    pub async fn wait_end(&self) -> Result<Arc<Ended>, BrokenOff> {
        self.wait(State::end).await
    }

    /// Waits until the reply has ended, and its speech with it.
    pub async fn wait_closed(&self) -> Result<Arc<Ended>, BrokenOff> {
        self.wait(State::closed).await
    }

    async fn wait(&self, over: fn(&State) -> Option<&Arc<Ended>>) -> Result<Arc<Ended>, BrokenOff> {
        let mut place = Place::default();
        std::future::poll_fn(|cx| {
            let mut state = self.state.lock();
            match (over(&state), &state.close) {
                (Some(ended), _) => Poll::Ready(Ok(Arc::clone(ended))),
                (None, Some(Close::BrokenOff)) => Poll::Ready(Err(BrokenOff)),
                (None, _) => {
                    state.register(&mut place, cx);
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl State {
    const fn closed(&self) -> Option<&Arc<Ended>> {
        match &self.close {
            Some(Close::Ended(ended)) => Some(ended),
            _ => None,
        }
    }

    fn end(&self) -> Option<&Arc<Ended>> {
        self.closed().or(self.said.as_ref())
    }

    /// Takes what is new, unless the feed is closed. Gives who is to be told.
    fn update(&mut self, events: Vec<Event>, close: Option<Close>) -> Vec<Waker> {
        if self.close.is_some() {
            return Vec::new();
        }
        let now = Instant::now();
        self.waiting.extend(events.into_iter().map(|event| (event, now)));
        self.close = close;
        self.wakes += 1;
        std::mem::take(&mut self.wakers)
    }

    /// Encodes what waits.
    fn encode(&mut self, envelope: &Envelope) {
        if self.waiting.is_empty() {
            return;
        }
        let mut bytes = Vec::with_capacity(self.waiting.len() * 400);
        let mut cuts = Vec::with_capacity(self.waiting.len());
        let id = self.reply.id();
        let mut reply = std::mem::replace(&mut self.reply, Reply::new(id));
        for (event, stored) in std::mem::take(&mut self.waiting) {
            let sequence = reply.next_sequence();
            if reply.apply(&event).is_err() {
                tracing::error!(reply = %id, sequence, "an event is out of order and is not shown");
                continue;
            }
            if event.is_terminal() {
                self.date(&mut reply);
            }
            // The type comes before the JSON, and is known after it: leave room.
            bytes.resize(bytes.len() + HEADER, 0);
            let json = bytes.len();
            let kind = envelope.write_event(&mut bytes, &reply, &event, sequence);
            bytes.extend_from_slice(b"\n\n");
            let start = write_header(&mut bytes[json - HEADER..json], kind) + json - HEADER;
            cuts.push((start..bytes.len(), json - start, kind, stored, event.is_terminal()));
        }
        self.reply = reply;
        let bytes = Bytes::from(bytes);
        self.frames.extend(cuts.into_iter().map(|(range, json, kind, stored, is_last)| Frame {
            sse: bytes.slice(range),
            json,
            kind,
            stored,
            is_last,
        }));
    }

    /// Notes in `reply` when it ended.
    fn date(&self, reply: &mut Reply) {
        if let Some(Close::Ended(ended)) = &self.close
            && let Some(at) = ended.said.ended_at
        {
            reply.set_ended_at(at);
        }
    }

    fn register(&mut self, place: &mut Place, cx: &Context<'_>) {
        if place.wakes == Some(self.wakes)
            && let Some(waker) = self.wakers.get_mut(place.index)
        {
            waker.clone_from(cx.waker());
            return;
        }
        *place = Place { wakes: Some(self.wakes), index: self.wakers.len() };
        self.wakers.push(cx.waker().clone());
    }
}

/// Room for the lines before an event's JSON.
const HEADER: usize = 80;

/// Writes the lines before an event's JSON to the end of `room`; gives where they begin.
fn write_header(room: &mut [u8], kind: &str) -> usize {
    let (before, after) = (b"event: ", b"\ndata: ");
    let start = room.len() - before.len() - kind.len() - after.len();
    let header = &mut room[start..];
    header[..before.len()].copy_from_slice(before);
    header[before.len()..before.len() + kind.len()].copy_from_slice(kind.as_bytes());
    header[before.len() + kind.len()..].copy_from_slice(after);
    start
}

/// Where a waiter stands among the wakers.
#[derive(Default)]
struct Place {
    wakes: Option<u64>,
    index: usize,
}

/// A cursor into a feed.
pub struct Follower {
    feed: Arc<Feed>,
    next: usize,
    place: Place,
}

impl Follower {
    /// Follows from the event of sequence number `from` on.
    pub fn new(feed: Arc<Feed>, from: u64) -> Self {
        Self { feed, next: usize::try_from(from).unwrap_or(usize::MAX), place: Place::default() }
    }

    /// What it follows.
    pub const fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// The sequence number of the next event.
    pub const fn next_sequence(&self) -> u64 {
        self.next as u64
    }

    /// The next event, and how many more are there already. `None` after the last.
    pub fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<Result<(Frame, usize), BrokenOff>>> {
        let mut state = self.feed.state.lock();
        state.encode(&self.feed.envelope);
        if let Some(frame) = state.frames.get(self.next) {
            let behind = state.frames.len() - self.next - 1;
            self.next += 1;
            return Poll::Ready(Some(Ok((frame.clone(), behind))));
        }
        match state.close {
            Some(Close::Ended(_)) => Poll::Ready(None),
            Some(Close::BrokenOff) => Poll::Ready(Some(Err(BrokenOff))),
            None => {
                state.register(&mut self.place, cx);
                Poll::Pending
            }
        }
    }

    /// The next event, waited for.
    pub async fn next(&mut self) -> Option<Result<Frame, BrokenOff>> {
        let next = std::future::poll_fn(|cx| self.poll_next(cx)).await;
        next.map(|result| result.map(|(frame, _)| frame))
    }
}

/// The feeds of an instance: replies that are generated here or followed here.
#[derive(Default)]
pub struct Table {
    feeds: Mutex<HashMap<ReplyId, Weak<Feed>>>,
}

impl Table {
    /// The feed of a reply, if somebody here writes or follows it.
    pub fn get(&self, reply: ReplyId) -> Option<Arc<Feed>> {
        self.upgraded(reply).filter(|feed| feed.has_begun())
    }

    /// The feed of a reply that is being accepted here, if it is.
    pub fn pending(&self, reply: ReplyId) -> Option<Arc<Feed>> {
        self.upgraded(reply).filter(|feed| !feed.has_begun())
    }

    fn upgraded(&self, reply: ReplyId) -> Option<Arc<Feed>> {
        let feed = self.feeds.lock().get(&reply)?.upgrade();
        feed.filter(|feed| feed.is_whole())
    }

    /// Shares the feed that the writer of a reply fills. If the reply is followed here already, only the writer has this
    /// one: the other is filled from the log.
    pub fn begin(self: &Arc<Self>, mut feed: Feed) -> Arc<Feed> {
        feed.home = Some(Arc::downgrade(self));
        let feed = Arc::new(feed);
        let known;
        let mut feeds = self.feeds.lock();
        known = feeds.get(&feed.id()).and_then(Weak::upgrade);
        if known.as_ref().is_none_or(|known| !known.is_whole()) {
            feeds.insert(feed.id(), Arc::downgrade(&feed));
        }
        drop(feeds);
        drop(known);
        feed
    }

    /// Shares a feed, until its last user drops it. If there is one for the reply already, gives that. Also whether the
    /// feed is this new one: another has somebody who fills it.
    pub fn share(self: &Arc<Self>, mut feed: Feed) -> (Arc<Feed>, bool) {
        feed.home = Some(Arc::downgrade(self));
        let feed = Arc::new(feed);
        // Dropped after the lock: a feed that goes takes the lock itself.
        let known;
        let mut feeds = self.feeds.lock();
        known = feeds.get(&feed.id()).and_then(Weak::upgrade);
        if let Some(known) = &known
            && known.is_whole()
            && known.has_begun()
        {
            let known = Arc::clone(known);
            drop(feeds);
            return (known, false);
        }
        feeds.insert(feed.id(), Arc::downgrade(&feed));
        (feed, true)
    }

    /// Shows nobody any more what is left of a reply that is deleted.
    pub fn forget(&self, reply: ReplyId) {
        self.feeds.lock().remove(&reply);
    }

    /// How many replies are written or followed here.
    pub fn len(&self) -> usize {
        self.feeds.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let Some(table) = self.home.as_ref().and_then(Weak::upgrade) else { return };
        let mut feeds = table.feeds.lock();
        // Another feed of the reply may have taken the place.
        if feeds.get(&self.id()).is_some_and(|feed| feed.strong_count() == 0) {
            feeds.remove(&self.id());
        }
    }
}
