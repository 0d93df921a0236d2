//! The shared buffer of a reply on one instance, as domain events: every follower is a cursor into it.
//!
//! What is pushed was stored before. How events look on the wire is not known here: a [`Follower`] reads a [`Rendition`],
//! which encodes each event once per protocol and format that is followed, outside the feed's lock. A slow follower holds
//! its socket and its position, and nothing else. A reply that nobody follows costs no encoding.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::domain::event::Event;
use crate::domain::ids::ReplyId;
use crate::domain::record::{Accepted, Ended};
use crate::domain::reply::Reply;

mod listener;
mod rendition;
mod stored;
mod window;
#[cfg(test)]
mod tests;

pub(crate) use listener::{Heard, Listener};
pub(crate) use rendition::{Encoder, Follower, Frame, Protocol, Rendition, Stage};

use stored::StoredEvents;

/// The buffer of one reply.
pub(crate) struct Feed {
    accepted: Arc<Accepted>,
    state: Mutex<State>,
    /// What is followed, by protocol and format.
    renditions: Mutex<Vec<Weak<Rendition>>>,
    /// The reply is to be deleted: its writer does not wait for a log that cannot be written.
    unwanted: AtomicBool,
    home: Option<Weak<Table>>,
}

struct State {
    /// What was stored.
    events: StoredEvents,
    /// The reply as of so many events.
    reply: Reply,
    folded: u64,
    close: Option<Close>,
    /// The end of the text, while speech goes on.
    text_end: Option<Arc<Ended>>,
    /// Of the waiting followers. One that left leaves a gap.
    wakers: Vec<Option<Waker>>,
    /// The gaps among them.
    gaps: Vec<usize>,
    /// Counts the times that all wakers were taken.
    wakes: u64,
}

#[derive(Clone)]
enum Close {
    Ended(Arc<Ended>),
    BrokenOff,
}

/// The reply is no longer generated on this instance, and its continuation is not known here: the client has to come
/// back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reply is broken off here; rejoin it")]
pub(crate) struct BrokenOff;

impl Feed {
    /// The buffer of a reply whose events so far are `events`.
    pub(crate) fn new(accepted: Arc<Accepted>, events: Vec<Event>) -> Self {
        let mut state = State {
            events: StoredEvents::default(),
            reply: Reply::new(accepted.reply),
            folded: 0,
            close: None,
            text_end: None,
            wakers: Vec::new(),
            gaps: Vec::new(),
            wakes: 0,
        };
        state.events.extend(events);
        let (state, unwanted) = (Mutex::new(state), AtomicBool::new(false));
        Self { accepted, state, renditions: Mutex::default(), unwanted, home: None }
    }

    /// The same buffer, of a reply whose text ended in this way; if it has.
    #[must_use]
    pub(crate) fn with_text_end(self, text_end: Option<Arc<Ended>>) -> Self {
        self.state.lock().text_end = text_end;
        self
    }

    /// The buffer of a reply that has ended.
    pub(crate) fn ended(accepted: Arc<Accepted>, events: Vec<Event>, ended: Arc<Ended>) -> Self {
        let feed = Self::new(accepted, events);
        feed.state.lock().close = Some(Close::Ended(ended));
        feed
    }

    /// The reply.
    pub(crate) fn id(&self) -> ReplyId {
        self.accepted.reply
    }

    /// The request, as it was accepted.
    pub(crate) const fn accepted(&self) -> &Arc<Accepted> {
        &self.accepted
    }

    /// The writer of the reply is not to wait for a log that cannot be written: the reply is to be deleted.
    pub(crate) fn give_up(&self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }

    /// Whether the reply is to be deleted.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.unwanted.load(Ordering::Relaxed)
    }

    /// Whether more can come, or all has come.
    pub(crate) fn is_whole(&self) -> bool {
        !matches!(self.state.lock().close, Some(Close::BrokenOff))
    }

    /// Whether anything was shown: the feed of a reply that is not accepted yet is empty, and may stay so.
    fn has_begun(&self) -> bool {
        self.state.lock().events.next() > 0
    }

    /// How the reply ended, if it has: its text. Its speech may go on.
    pub(crate) fn end(&self) -> Option<Arc<Ended>> {
        self.state.lock().end().cloned()
    }

    /// Whether the reply has ended and no event comes any more.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state.lock().close, Some(Close::Ended(_)))
    }

    /// The sequence number of the next event.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.state.lock().events.next()
    }

    /// The reply as it is now.
    pub(crate) fn reply(&self) -> Reply {
        let mut state = self.state.lock();
        state.fold();
        let mut reply = state.reply.clone();
        if let Some(at) = state.ended_at() {
            reply.set_ended_at(at);
        }
        if reply.end().is_none()
            && let Some(ended) = state.end()
            && let Some(end) = ended.end()
        {
            reply.conclude(end.clone(), ended.content.ended_at.unwrap_or_default());
        }
        reply
    }

    /// Shows the end of the text, of a reply whose speech goes on.
    pub(crate) fn end_text(&self, events: Vec<Event>, ended: Arc<Ended>) {
        self.state.lock().text_end = Some(ended);
        self.push(events);
    }

    /// Shows events that were stored.
    pub(crate) fn push(&self, events: Vec<Event>) {
        self.update(events, None);
    }

    /// Shows the last events.
    pub(crate) fn finish(&self, events: Vec<Event>, ended: Arc<Ended>) {
        self.update(events, Some(Close::Ended(ended)));
    }

    /// Shows what is missing of the events that were stored so far, which are `all`; `text_end` is the end of the text,
    /// if that is over.
    pub(crate) fn catch_up(&self, all: Vec<Event>, text_end: Option<Arc<Ended>>) {
        self.state.lock().text_end = text_end;
        self.update_from(all, None);
    }

    /// Shows what is missing of a reply that has ended, whose events are `all`.
    pub(crate) fn complete(&self, all: Vec<Event>, ended: Arc<Ended>) {
        self.update_from(all, Some(Close::Ended(ended)));
    }

    fn update_from(&self, all: Vec<Event>, close: Option<Close>) {
        let wakers = {
            let mut state = self.state.lock();
            let known = usize::try_from(state.events.next()).unwrap_or(usize::MAX);
            state.update(all.into_iter().skip(known).collect(), close)
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Sends the followers away: they get no more here. Does nothing to a reply that has ended.
    pub(crate) fn break_off(&self) {
        self.update(Vec::new(), Some(Close::BrokenOff));
    }

    fn update(&self, events: Vec<Event>, close: Option<Close>) {
        let wakers = self.state.lock().update(events, close);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Waits until the reply has ended. Its speech may go on.
    pub(crate) async fn wait_end(&self) -> Result<Arc<Ended>, BrokenOff> {
        self.wait(|state| state.end().cloned()).await
    }

    /// Waits until the reply has ended, and its speech with it.
    pub(crate) async fn wait_closed(&self) -> Result<Arc<Ended>, BrokenOff> {
        self.wait(|state| state.closed().cloned()).await
    }

    /// Waits until there is an event.
    pub(crate) async fn wait_begun(&self) -> Result<(), BrokenOff> {
        self.wait(|state| (state.events.next() > 0).then_some(())).await
    }

    async fn wait<T>(&self, over: impl Fn(&State) -> Option<T>) -> Result<T, BrokenOff> {
        let mut waiting = Waiting { feed: self, place: WakerSlot::default() };
        std::future::poll_fn(|cx| {
            let mut state = self.state.lock();
            match (over(&state), &state.close) {
                (Some(over), _) => Poll::Ready(Ok(over)),
                (None, Some(Close::BrokenOff)) => Poll::Ready(Err(BrokenOff)),
                (None, _) => {
                    state.register(&mut waiting.place, cx);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The follower at this place does not wait any more.
    fn leave(&self, place: &WakerSlot) {
        self.state.lock().leave(place);
    }
}

/// A follower that waits for new events.
struct Waiting<'a> {
    feed: &'a Feed,
    place: WakerSlot,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.feed.leave(&self.place);
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
        self.closed().or(self.text_end.as_ref())
    }

    /// When the reply ended, if it has.
    fn ended_at(&self) -> Option<u64> {
        self.closed().and_then(|ended| ended.content.ended_at)
    }

    /// Takes new events, unless the feed is closed. Returns the followers to wake.
    fn update(&mut self, events: Vec<Event>, close: Option<Close>) -> Vec<Option<Waker>> {
        if self.close.is_some() {
            return Vec::new();
        }
        self.events.extend(events);
        self.close = close;
        self.wakes += 1;
        self.gaps.clear();
        std::mem::take(&mut self.wakers)
    }

    /// Brings the reply up to the last event. Most replies are never asked for here: a rendition folds its own.
    fn fold(&mut self) {
        for event in self.events.from(self.folded).iter().flat_map(|batch| batch.events(self.folded)) {
            // What was stored was checked.
            let _ = self.reply.apply(&event);
        }
        self.folded = self.events.next();
    }

    fn register(&mut self, place: &mut WakerSlot, cx: &Context<'_>) {
        if place.wakes == Some(self.wakes)
            && let Some(Some(waker)) = self.wakers.get_mut(place.index)
        {
            waker.clone_from(cx.waker());
            return;
        }
        let index = self.gaps.pop().unwrap_or(self.wakers.len());
        *place = WakerSlot { wakes: Some(self.wakes), index };
        let waker = Some(cx.waker().clone());
        match self.wakers.get_mut(index) {
            Some(gap) => *gap = waker,
            None => self.wakers.push(waker),
        }
    }

    fn leave(&mut self, place: &WakerSlot) {
        if place.wakes == Some(self.wakes)
            && let Some(waker) = self.wakers.get_mut(place.index)
            && waker.take().is_some()
        {
            self.gaps.push(place.index);
        }
    }
}

/// Where a waiter stands among the wakers.
#[derive(Default)]
struct WakerSlot {
    wakes: Option<u64>,
    index: usize,
}

/// A cursor into the events themselves.
pub(crate) struct Events {
    feed: Arc<Feed>,
    next: u64,
    place: WakerSlot,
}

impl Events {
    /// Reads from the first event on.
    pub(crate) fn new(feed: Arc<Feed>) -> Self {
        Self { feed, next: 0, place: WakerSlot::default() }
    }

    /// The next events, waited for. `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Result<Vec<Event>, BrokenOff>> {
        std::future::poll_fn(|cx| {
            let mut state = self.feed.state.lock();
            if let Some(batch) = state.events.from(self.next).first() {
                let events: Vec<_> = batch.events(self.next).map(Cow::into_owned).collect();
                self.next += events.len() as u64;
                return Poll::Ready(Some(Ok(events)));
            }
            match state.close {
                Some(Close::Ended(_)) => Poll::Ready(None),
                Some(Close::BrokenOff) => Poll::Ready(Some(Err(BrokenOff))),
                None => {
                    state.register(&mut self.place, cx);
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.feed.leave(&self.place);
    }
}

/// The feeds of an instance: replies that are generated here or followed here.
#[derive(Default)]
pub(crate) struct Table {
    feeds: Mutex<HashMap<ReplyId, Weak<Feed>>>,
}

impl Table {
    /// The feed of a reply, if it is written or followed here.
    pub(crate) fn get(&self, reply: ReplyId) -> Option<Arc<Feed>> {
        self.upgraded(reply).filter(|feed| feed.has_begun())
    }

    /// The feed of a reply that is being accepted here, if it is.
    pub(crate) fn pending(&self, reply: ReplyId) -> Option<Arc<Feed>> {
        self.upgraded(reply).filter(|feed| !feed.has_begun())
    }

    fn upgraded(&self, reply: ReplyId) -> Option<Arc<Feed>> {
        let feed = self.feeds.lock().get(&reply)?.upgrade();
        feed.filter(|feed| feed.is_whole())
    }

    /// Shares the feed that the writer of a reply fills. If the reply is followed here already, only the writer has this
    /// one: the other is filled from the log.
    pub(crate) fn begin(self: &Arc<Self>, mut feed: Feed) -> Arc<Feed> {
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

    /// Shares a feed, until its last user drops it. If there is one for the reply already, returns that. Also whether
    /// the feed is this new one: another is filled by someone else.
    pub(crate) fn share(self: &Arc<Self>, mut feed: Feed) -> (Arc<Feed>, bool) {
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

    /// How many there are.
    #[cfg(feature = "simulation")]
    pub(crate) fn len(&self) -> usize {
        self.feeds.lock().len()
    }

    /// Hides what is left of a reply that is deleted.
    pub(crate) fn forget(&self, reply: ReplyId) {
        self.feeds.lock().remove(&reply);
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
