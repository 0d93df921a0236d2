//! Replies that are stored nowhere, held for as long as their connection lasts, so that the next can follow them.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::domain::compaction::{retold, summary_of};
use crate::domain::ids::ReplyId;
use crate::domain::items::{InputItem, Item, ItemStatus};
use crate::http::budget::{Budget, Share};
use crate::replies::command::Placement;
use crate::replies::feed::Feed;

/// The most replies that can be followed; older ones are forgotten.
const MOST: usize = 64;

/// The most replies of a line that are kept one by one; longer lines are kept in one piece.
const LONGEST_LINE: usize = 256;

type Told = (Item, Option<serde_json::Value>);

/// The replies of a connection.
pub(super) struct HeldReplies {
    budget: Arc<Budget>,
    newest: VecDeque<Arc<Held>>,
}

/// A reply that can be followed.
pub(super) struct Held {
    reply: ReplyId,
    /// What stands before the first of its line.
    place: Placement,
    before: Option<Arc<Held>>,
    /// How many come before it.
    depth: usize,
    /// What it was asked with, and what it said.
    own: Vec<Told>,
    _share: Share,
}

/// What a new reply follows, and what it takes over from it.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) place: Placement,
    pub(super) before: Option<Arc<Held>>,
}

impl HeldReplies {
    pub(super) const fn new(budget: Arc<Budget>) -> Self {
        Self { budget, newest: VecDeque::new() }
    }

    pub(super) fn get(&self, reply: ReplyId) -> Option<Arc<Held>> {
        self.newest.iter().find(|held| held.reply == reply).cloned()
    }

    /// What follows this reply failed: a client has to begin anew.
    pub(super) fn forget(&mut self, reply: ReplyId) {
        self.newest.retain(|held| held.reply != reply);
    }

    /// Holds a reply that has ended, if there is memory for it.
    pub(super) fn hold(&mut self, feed: &Feed, Line { place, before }: Line) {
        // A summary stands for all that was said before it.
        let (place, before, mut own) = if let Some(own) = summary(feed) {
            (Placement::Fresh, None, own)
        } else {
            let own = own(feed, before.as_deref());
            (place, before, own)
        };
        let mut depth = before.as_deref().map_or(0, |before| before.depth + 1);
        if depth > LONGEST_LINE {
            let earlier = before.as_deref().into_iter().flat_map(Held::line);
            own.splice(..0, earlier.cloned().collect::<Vec<_>>());
            depth = 0;
        }
        let before = before.filter(|_| depth > 0);
        let bytes = own.iter().map(|(item, _)| item.text_bytes()).sum();
        let mut share = self.budget.share();
        if share.try_grow(bytes).is_err() {
            return;
        }
        self.newest.push_back(Arc::new(Held { reply: feed.id(), place, before, depth, own, _share: share }));
        if self.newest.len() > MOST {
            self.newest.pop_front();
        }
    }

    /// An item of any reply that is held.
    pub(super) fn item(&self, id: &str) -> Option<InputItem> {
        let items = self.newest.iter().flat_map(|held| &held.own);
        let found = items.into_iter().find(|(item, _)| item.id() == id);
        found.map(|(item, kept)| InputItem::Item(item.clone(), kept.clone()))
    }
}

impl Held {
    pub(super) const fn place(&self) -> Placement {
        self.place
    }

    /// All that was said, up to and with this reply.
    pub(super) fn told(&self) -> Vec<InputItem> {
        self.line().map(|(item, kept)| InputItem::Item(item.clone(), kept.clone())).collect()
    }

    fn line(&self) -> impl Iterator<Item = &Told> {
        let mut line = vec![self];
        while let Some(before) = line.last().and_then(|held| held.before.as_deref()) {
            line.push(before);
        }
        line.into_iter().rev().flat_map(|held| &held.own)
    }
}

/// The summary that a reply is, if it is one.
fn summary(feed: &Feed) -> Option<Vec<Told>> {
    feed.accepted().params.compaction.as_ref()?;
    let reply = feed.reply();
    Some(reply.output().iter().filter_map(summary_of).map(|item| (item, None)).collect())
}

/// What a reply adds: of its input what it did not take over, and its output.
fn own(feed: &Feed, before: Option<&Held>) -> Vec<Told> {
    let accepted = feed.accepted();
    let input = accepted.context_entries().into_iter().skip(before.map_or(0, |before| before.line().count()));
    let reply = feed.reply();
    let content = reply.content();
    let output = content.output.iter().enumerate().filter_map(|(index, item)| {
        let kept = u32::try_from(index).ok().and_then(|index| content.provider_state.get(&index));
        Some((retold(item)?, kept.cloned()))
    });
    // A call that was broken off is nothing to answer.
    let is_whole = |(item, _): &Told| !matches!(item, Item::FunctionCall(call) if call.status != ItemStatus::Completed);
    input.chain(output.filter(is_whole)).collect()
}
