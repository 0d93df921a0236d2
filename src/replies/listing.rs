//! Conversations in a list, merged from log and store: the rows of the store, and what the log holds that has not
//! been projected yet. A thread of which the log holds something newer is read from the log; all others from the store.

use std::collections::HashMap;

use super::threads::tail::Seen;
use super::{Missing, Replies, Result};
use crate::domain::caller::Caller;
use crate::domain::ids::ThreadId;
use crate::domain::params::Metadata;
use crate::domain::record::TranscriptRecord;
use crate::domain::thread::Thread;
use crate::store::{Listed, Listing};

/// Conversations that are looked at together.
const AT_ONCE: usize = 128;

/// Which conversations a client asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The most of them.
    pub(crate) limit: usize,
    /// The longest idle ones first, rather than those in which something happened last.
    pub(crate) ascending: bool,
    /// Those after this one.
    pub(crate) after: Option<ThreadId>,
    /// Those with all of these.
    pub(crate) metadata: Metadata,
}

/// A conversation as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Which.
    pub(crate) id: ThreadId,
    /// When it was created, in Unix seconds.
    pub(crate) created_at: u64,
    /// When an item or a reply last came, in milliseconds of Unix time.
    pub(crate) active_at: u64,
    /// What it is called.
    pub(crate) title: Option<String>,
    /// The client's notes.
    pub(crate) metadata: Metadata,
}

/// Conversations, and whether there are more after them.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) conversations: Vec<Summary>,
    pub(crate) has_more: bool,
}

/// A place in the list.
type Placement = (u64, ThreadId);

/// Those in which something happened that the store does not know yet, in the order of the list, the next one last.
type Fresh = Vec<Placement>;

impl Replies {
    /// The caller's conversations, by when something last happened in them.
    pub(crate) async fn conversations(&self, caller: &Caller, wanted: &Wanted) -> Result<Page> {
        let seen = self.threads.tail().await?;
        let fresh = self.fresh(caller, &seen).await?;
        let mut after = match wanted.after {
            None => None,
            Some(id) => Some(self.place(caller, id, &fresh).await?),
        };
        let mut waiting = in_order(fresh.iter().map(|(id, at)| (*at, *id)), wanted.ascending, after);
        let mut found = Vec::new();
        let mut is_over = false;
        let limit = if wanted.metadata.is_empty() { wanted.limit + 1 } else { AT_ONCE };
        while found.len() <= wanted.limit && !(is_over && waiting.is_empty()) {
            let listing =
                Listing { owner: caller.owner().as_str().to_owned(), after, ascending: wanted.ascending, limit };
            let listed = if is_over { Vec::new() } else { self.threads.list(&listing).await? };
            is_over = listed.len() < limit;
            after = listed.last().map(|last| (last.active_at, last.thread)).or(after);
            let until = after.filter(|_| !is_over);
            let stored = listed.into_iter().filter(|listed| !fresh.contains_key(&listed.thread)).collect();
            let next = take_until(&mut waiting, wanted.ascending, until);
            let mut some = self.summaries(stored).await?;
            for (active_at, id) in next {
                some.extend(summary(&self.threads.read(id).await?.thread, active_at, caller));
            }
            some.sort_by_key(|one| (one.active_at, one.id));
            if !wanted.ascending {
                some.reverse();
            }
            found.extend(some.into_iter().filter(|one| has_all(&one.metadata, &wanted.metadata)));
        }
        let has_more = found.len() > wanted.limit;
        found.truncate(wanted.limit);
        Ok(Page { conversations: found, has_more })
    }

    /// Conversations of the caller of which the log holds what the store does not know, and when something last happened in
    /// each.
    async fn fresh(&self, caller: &Caller, seen: &HashMap<ThreadId, Seen>) -> Result<HashMap<ThreadId, u64>> {
        if seen.is_empty() {
            return Ok(HashMap::new());
        }
        let threads: Vec<_> = seen.keys().copied().collect();
        let mut known = HashMap::new();
        for threads in threads.chunks(AT_ONCE) {
            let listed = self.threads.listed(threads).await?;
            known.extend(listed.into_iter().map(|listed| (listed.thread, listed)));
        }
        let own = caller.owner().as_str();
        let fresh = seen.iter().filter_map(|(id, seen)| {
            let known: Option<&Listed> = known.get(id);
            let owner = seen.owner.as_deref().or_else(|| known.map(|known| known.owner.as_str()))?;
            (owner == own).then(|| (*id, seen.at.max(known.map_or(0, |known| known.active_at))))
        });
        Ok(fresh.collect())
    }

    /// The place of a conversation that a client has.
    async fn place(&self, caller: &Caller, id: ThreadId, fresh: &HashMap<ThreadId, u64>) -> Result<Placement> {
        if let Some(active_at) = fresh.get(&id) {
            return Ok((*active_at, id));
        }
        let listed = self.threads.listed(&[id]).await?;
        let own = listed.into_iter().find(|listed| listed.owner == caller.owner().as_str());
        own.map(|listed| (listed.active_at, id)).ok_or_else(|| Missing::Conversation(id).into())
    }

    /// What the store knows of these.
    async fn summaries(&self, listed: Vec<Listed>) -> Result<Vec<Summary>> {
        if listed.is_empty() {
            return Ok(Vec::new());
        }
        let mut beginnings = self.threads.beginnings(&listed).await?;
        let summary = |listed: Listed| {
            let records = beginnings.remove(&listed.thread)?;
            let thread = folded(listed.thread, &records);
            let title = thread.title();
            let known = thread.conversation()?;
            let (id, active_at) = (listed.thread, listed.active_at);
            Some(Summary { id, created_at: known.created_at, active_at, title, metadata: known.metadata.clone() })
        };
        Ok(listed.into_iter().filter_map(summary).collect())
    }
}

fn folded(id: ThreadId, records: &[TranscriptRecord]) -> Thread {
    let mut thread = Thread::new(id);
    for record in records {
        thread.apply(record);
    }
    thread
}

fn summary(thread: &Thread, active_at: u64, caller: &Caller) -> Option<Summary> {
    let known = thread.conversation().filter(|known| known.owner == *caller.owner())?;
    let (id, title) = (thread.id(), thread.title());
    Some(Summary { id, created_at: known.created_at, active_at, title, metadata: known.metadata.clone() })
}

fn has_all(metadata: &Metadata, wanted: &Metadata) -> bool {
    wanted.iter().all(|(name, value)| metadata.get(name) == Some(value))
}

/// The places after this one, so that the next is the last.
fn in_order(places: impl Iterator<Item = Placement>, ascending: bool, after: Option<Placement>) -> Fresh {
    let mut places: Vec<_> = places
        .filter(|place| after.is_none_or(|after| if ascending { *place > after } else { *place < after }))
        .collect();
    places.sort_unstable();
    if ascending {
        places.reverse();
    }
    places
}

/// Takes those up to a place, or all.
fn take_until(waiting: &mut Fresh, ascending: bool, until: Option<Placement>) -> Fresh {
    let Some(until) = until else { return std::mem::take(waiting) };
    let first = waiting.iter().position(|place| if ascending { *place <= until } else { *place >= until });
    first.map_or_else(Vec::new, |first| waiting.split_off(first))
}
