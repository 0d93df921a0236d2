//! What the log holds of conversations that the store does not know yet.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::{Error, Result};
use super::Threads;
use crate::domain::ids::ThreadId;
use crate::domain::record::read_json;
use crate::offload::offload;
use crate::store::{Beginnings, Listed, Listing};

/// Records that are read at once.
const SCANNED: usize = 1024;

/// The most records that are read: if the store lacks more, the rest is left to the projection.
const MOST: usize = 16 * SCANNED;

/// What happened in a thread.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Its owner; `None`: no record that was read has it.
    pub(crate) owner: Option<String>,
    /// When an item or a reply last came, in milliseconds of Unix time; 0: none did.
    pub(crate) at: u64,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(default)]
    at: u64,
    #[serde(borrow)]
    change: ChangeHead<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum ChangeHead<'a> {
    #[serde(borrow)]
    Accepted(AcceptedHead<'a>),
    #[serde(borrow)]
    ConversationCreated(CreatedHead<'a>),
    ItemsAdded(IgnoredAny),
    MetadataSet(IgnoredAny),
    ItemDeleted(IgnoredAny),
    ReplyDeleted(IgnoredAny),
    ConversationDeleted(IgnoredAny),
    Ended(IgnoredAny),
    Spoken(IgnoredAny),
}

#[derive(Deserialize)]
struct AcceptedHead<'a> {
    #[serde(default)]
    in_conversation: bool,
    #[serde(default)]
    chat: bool,
    #[serde(borrow, default, rename = "caller")]
    owner: Cow<'a, str>,
}

#[derive(Deserialize)]
struct CreatedHead<'a> {
    #[serde(borrow, default, rename = "caller")]
    owner: Cow<'a, str>,
}

impl Threads {
    /// What happened in conversations since the store was written to. Read this first, and the store after it: so nothing is
    /// missed.
    pub(crate) async fn tail(&self) -> Result<HashMap<ThreadId, Seen>> {
        let mut seen = HashMap::new();
        let mut count = 0;
        let records = self.log.records();
        for shard in 0..records.shards() {
            let stored = self.store.position(shard).await?;
            let of_this_log = stored.filter(|stored| stored.log() == records.identity(shard).id);
            let mut after = of_this_log.map_or(0, |stored| stored.position);
            let last = records.look_last_position(shard).await?;
            while after < last {
                let some = records.scan(shard, after, SCANNED).await?;
                let Some(position) = some.last().map(|last| last.position) else { break };
                after = position;
                count += some.len();
                if count > MOST {
                    return Err(Error::unavailable("the store lacks too much of what the log has"));
                }
                let size = some.iter().map(|one| one.record.payload.len()).sum();
                offload(size, || some.iter().for_each(|one| note(&mut seen, one.thread, &one.record.payload)));
            }
        }
        Ok(seen)
    }

    /// What the store has of a list.
    pub(crate) async fn list(&self, listing: &Listing) -> Result<Vec<Listed>> {
        self.store.conversations(listing).await
    }

    /// Which of these threads the store knows as conversations.
    pub(crate) async fn listed(&self, threads: &[ThreadId]) -> Result<Vec<Listed>> {
        self.store.listed(threads).await
    }

    /// The beginnings of conversations, as the store has them.
    pub(crate) async fn beginnings(&self, of: &[Listed]) -> Result<Beginnings> {
        self.store.beginnings(of).await
    }
}

fn note(seen: &mut HashMap<ThreadId, Seen>, thread: ThreadId, payload: &[u8]) {
    // The projection reports what cannot be read.
    let Ok(Head { at, change }) = read_json::<Head<'_>>(payload) else { return };
    let (owner, at) = match change {
        ChangeHead::Accepted(head) if head.in_conversation || head.chat => (Some(head.owner), at),
        ChangeHead::ConversationCreated(head) => (Some(head.owner), at),
        ChangeHead::ItemsAdded(_) => (None, at),
        ChangeHead::MetadataSet(_)
        | ChangeHead::ItemDeleted(_)
        | ChangeHead::ReplyDeleted(_)
        | ChangeHead::ConversationDeleted(_) => (None, 0),
        ChangeHead::Accepted(_) | ChangeHead::Ended(_) | ChangeHead::Spoken(_) => return,
    };
    let known = seen.entry(thread).or_default();
    known.at = known.at.max(at);
    known.owner = known.owner.take().or_else(|| owner.map(Cow::into_owned));
}
