//! A cursor into the text of a feed, for speech.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::{BrokenOff, Feed, WakerSlot};
use crate::domain::items::{Item, ItemStatus, Part};

/// Listens to the text of a reply's messages, as it is generated: what a person is to hear.
pub(crate) struct Listener {
    feed: Arc<Feed>,
    item: usize,
    part: usize,
    bytes: usize,
    place: WakerSlot,
}

/// What a [`Listener`] hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Text that continues where the last ended.
    Text(String),
    /// What comes next is another text.
    Close,
    /// There is no more.
    End,
}

impl Listener {
    /// Listens from the first word on.
    pub(crate) fn new(feed: Arc<Feed>) -> Self {
        Self { feed, item: 0, part: 0, bytes: 0, place: WakerSlot::default() }
    }

    /// What is heard next, waited for. Nothing is lost when the future is dropped before it is ready.
    pub(crate) async fn next(&mut self) -> Result<Heard, BrokenOff> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Result<Heard, BrokenOff>> {
        let feed = Arc::clone(&self.feed);
        let mut state = feed.state.lock();
        state.fold();
        while let Some(item) = state.reply.output().get(self.item) {
            let more_items = state.reply.output().len() > self.item + 1;
            let (parts, open): (&[Part], _) = match item {
                Item::Message(message) if !item.is_compaction() => {
                    (&message.content, message.status == ItemStatus::InProgress)
                }
                _ => (&[], false),
            };
            let Some(part) = parts.get(self.part) else {
                if open && !more_items {
                    break;
                }
                (self.item, self.part) = (self.item + 1, 0);
                continue;
            };
            if let Some(text) = part.text().get(self.bytes..).filter(|text| !text.is_empty()) {
                self.bytes += text.len();
                return Poll::Ready(Ok(Heard::Text(text.to_owned())));
            }
            if open && parts.len() == self.part + 1 && !more_items {
                break;
            }
            (self.part, self.bytes) = (self.part + 1, 0);
            return Poll::Ready(Ok(Heard::Close));
        }
        if state.end().is_some() {
            return Poll::Ready(Ok(Heard::End));
        }
        if state.close.is_some() {
            return Poll::Ready(Err(BrokenOff));
        }
        state.register(&mut self.place, cx);
        Poll::Pending
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.feed.leave(&self.place);
    }
}
