//! The tables of the simulated store: the same as a database has, and changed in the same way.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::domain::erase::ItemErasure;
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::record::TranscriptRecord;
use crate::domain::usage::{Day, Used};
use crate::store::conversations::BeginningRow;
use crate::store::erase::{all_text, encode, item_of_reply};
use crate::store::pages::ReplyRow;
use crate::store::read::{decode, signed};
use crate::store::rows::{self, Activity, Erasure, Rows, text};
use crate::store::usage::{Raw, UsageQuery, numbers};
use crate::store::{Applied, Batch, Error, Listed, Listing, Position};

/// All tables.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) positions: BTreeMap<u32, Position>,
    pub(super) replies: BTreeMap<String, Reply>,
    pub(super) blobs: BTreeMap<(ThreadId, [u8; 32]), Bytes>,
    changes: BTreeMap<(ThreadId, u64), Change>,
    conversations: BTreeMap<ThreadId, Conversation>,
    usage: BTreeMap<(String, Day, String), Used>,
}

/// A reply's row.
pub(super) struct Reply {
    pub(super) ordinal: u64,
    pub(super) accepted: String,
    /// Its ordinal, and the record.
    pub(super) ended: Option<(u64, String)>,
    pub(super) is_deleted: bool,
    thread: ThreadId,
    owner: String,
    model: String,
    in_conversation: bool,
}

struct Change {
    kind: String,
    record: String,
}

struct Conversation {
    owner: String,
    active_at: u64,
    first_reply: Option<String>,
    is_deleted: bool,
}

impl Tables {
    /// Applies a batch, all of it or nothing.
    pub(super) fn apply(&mut self, batch: &Batch, rows: &Rows) -> Result<Applied, Error> {
        if self.positions.get(&batch.shard) != batch.expected.as_ref() {
            return Err(Error::Moved);
        }
        self.positions.insert(batch.shard, batch.position.clone());
        self.count(rows);
        rows.replies.iter().for_each(|row| self.accept(row));
        rows.ends.iter().for_each(|row| self.end(row));
        for (reply, ordinal) in rows.places() {
            let known = self.replies.get(&reply.to_string());
            let has = |row: &Reply| row.ordinal == ordinal || row.ended.as_ref().is_some_and(|(at, _)| *at == ordinal);
            if !known.is_some_and(has) {
                self.change((reply.thread(), ordinal), "superseded", "");
            }
        }
        for row in &rows.changes {
            self.change((row.thread, row.ordinal), &row.kind, text(&row.record));
        }
        rows.activities.iter().for_each(|(thread, activity)| self.happens(*thread, activity));
        for erasure in &rows.erasures {
            self.erase(erasure)?;
        }
        Ok(Applied { replies: rows.reply_count(), changes: rows.changes.len(), unreadable: rows.unreadable })
    }

    fn count(&mut self, rows: &Rows) {
        for row in rows.usage() {
            let known = self.replies.get(&row.id.to_string());
            let counts = known.is_none_or(|known| known.ended.is_none() && !known.is_deleted);
            let whose = match known {
                Some(known) => Some((known.owner.clone(), known.model.clone())),
                None => row.accepted.map(|(owner, model)| (owner.to_owned(), model.to_owned())),
            };
            if let Some((owner, model)) = whose.filter(|_| counts) {
                self.use_up(&owner, row.day, &model, Used { replies: 1, ..row.used });
            }
        }
    }

    /// Adds to what somebody used.
    pub(super) fn use_up(&mut self, owner: &str, day: Day, model: &str, used: Used) {
        let sum = self.usage.entry((owner.to_owned(), day, model.to_owned())).or_default();
        sum.replies += used.replies;
        sum.input += used.input;
        sum.cached += used.cached;
        sum.output += used.output;
        sum.reasoning += used.reasoning;
    }

    /// A reply that is there keeps what it has, and gains its end. One that was deleted stays so.
    fn accept(&mut self, row: &rows::ReplyRow) {
        let end = row.end.as_ref().map(|end| (end.ordinal, text(&end.ended).to_owned()));
        let new = || Reply {
            ordinal: row.ordinal,
            accepted: text(&row.accepted).to_owned(),
            ended: None,
            is_deleted: false,
            thread: row.id.thread(),
            owner: row.owner.clone(),
            model: row.model.clone(),
            in_conversation: row.in_conversation,
        };
        let known = self.replies.entry(row.id.to_string()).or_insert_with(new);
        if !known.is_deleted && known.ended.is_none() {
            known.ended = end;
        }
    }

    fn end(&mut self, row: &rows::EndRow) {
        let known = self.replies.get_mut(&row.id.to_string());
        if let Some(known) = known.filter(|known| !known.is_deleted && known.ended.is_none()) {
            known.ended = Some((row.ordinal, text(&row.ended).to_owned()));
        }
    }

    fn change(&mut self, place: (ThreadId, u64), kind: &str, record: &str) {
        let new = || Change { kind: kind.to_owned(), record: record.to_owned() };
        self.changes.entry(place).or_insert_with(new);
    }

    fn happens(&mut self, thread: ThreadId, activity: &Activity) {
        let first_reply = activity.first_reply.map(|reply| reply.to_string());
        match (self.conversations.get_mut(&thread), &activity.owner) {
            (Some(known), owner) => {
                known.active_at = known.active_at.max(activity.at);
                if owner.is_some() && known.first_reply.is_none() {
                    known.first_reply = first_reply;
                }
            }
            (None, Some(owner)) => {
                let owner = owner.clone();
                let new = Conversation { owner, active_at: activity.at, first_reply, is_deleted: false };
                self.conversations.insert(thread, new);
            }
            (None, None) => {}
        }
    }

    fn erase(&mut self, erasure: &Erasure) -> Result<(), Error> {
        match erasure {
            Erasure::Reply(reply) => self.erase_reply(*reply),
            Erasure::Conversation { thread, before } => {
                if let Some(known) = self.conversations.get_mut(thread) {
                    known.is_deleted = true;
                }
                self.rewrite(*thread, *before, |record| {
                    all_text(record);
                    true
                })?;
            }
            Erasure::Item { thread, before, item } => {
                let erasure = ItemErasure::of(item);
                self.rewrite(*thread, *before, |record| erasure.apply(record))?;
                self.rewrite_replies(*thread, &erasure)?;
                let first = self.conversations.get(thread).and_then(|known| known.first_reply.clone());
                let is_of_first = |first: &String| first.len() > 5 && item.contains(&format!("{}i", &first[5..]));
                if let Some(first) = first.filter(is_of_first) {
                    self.find_first_reply(*thread, self.replies.get(&first).map_or(0, |first| first.ordinal));
                }
            }
        }
        self.drop_unused_blobs(erasure.thread());
        Ok(())
    }

    fn erase_reply(&mut self, reply: ReplyId) {
        let (id, thread) = (reply.to_string(), reply.thread());
        if let Some(row) = self.replies.get_mut(&id) {
            (row.accepted, row.ended, row.is_deleted) = (String::new(), None, true);
        }
        if self.conversations.get(&thread).is_some_and(|known| known.first_reply.as_ref() == Some(&id)) {
            self.find_first_reply(thread, 0);
        }
    }

    /// What a conversation is called by: its first reply after this ordinal.
    fn find_first_reply(&mut self, thread: ThreadId, after: u64) {
        let of = self.replies.iter().filter(|(_, row)| row.thread == thread);
        let in_it = of.filter(|(_, row)| row.in_conversation && !row.is_deleted && row.ordinal > after);
        let first = in_it.min_by_key(|(_, row)| row.ordinal).map(|(id, _)| id.clone());
        if let Some(known) = self.conversations.get_mut(&thread) {
            known.first_reply = first;
        }
    }

    fn rewrite(
        &mut self,
        thread: ThreadId,
        before: u64,
        erase: impl Fn(&mut TranscriptRecord) -> bool,
    ) -> Result<(), Error> {
        const KINDS: [&str; 4] = ["conversation_created", "metadata_set", "items_added", "spoken"];
        let of_thread = self.changes.range_mut((thread, 0)..(thread, before));
        for (_, change) in of_thread.filter(|(_, change)| KINDS.contains(&change.kind.as_str())) {
            let mut record = decode(thread, &change.record)?;
            if erase(&mut record) {
                change.record = encode(&record);
            }
        }
        Ok(())
    }

    fn rewrite_replies(&mut self, thread: ThreadId, item: &ItemErasure<'_>) -> Result<(), Error> {
        for row in self.replies.values_mut().filter(|row| row.thread == thread && !row.is_deleted) {
            let ended = row.ended.as_ref().map(|(_, ended)| ended.as_str());
            if let Some((accepted, ended)) = item_of_reply(thread, item, &row.accepted, ended)? {
                row.accepted = accepted;
                if let (Some((_, old)), Some(new)) = (&mut row.ended, ended) {
                    *old = new;
                }
            }
        }
        Ok(())
    }

    fn drop_unused_blobs(&mut self, thread: ThreadId) {
        let of_thread = self.contents().into_iter().filter(|(place, _)| place.contains(&thread.to_string()));
        let texts: Vec<_> = of_thread.map(|(_, text)| text).collect();
        self.blobs.retain(|(of, hash), _| {
            let name = format!("blob:{}", data_encoding::HEXLOWER.encode(hash));
            *of != thread || texts.iter().any(|text| text.contains(&name))
        });
    }

    /// All records, with their places.
    pub(super) fn contents(&self) -> Vec<(String, String)> {
        let replies = self.replies.iter().flat_map(|(id, row)| {
            let ended = row.ended.as_ref().map(|(_, ended)| (id.clone(), ended.clone()));
            std::iter::once((id.clone(), row.accepted.clone())).chain(ended)
        });
        let changes = self.changes.iter();
        let changes = changes.map(|((thread, ordinal), change)| (format!("{thread} {ordinal}"), change.record.clone()));
        replies.chain(changes).filter(|(_, text)| !text.is_empty()).collect()
    }

    pub(super) fn last_ordinal(&self, thread: ThreadId) -> Option<i64> {
        let replies = self.of_thread(thread).map(|(_, row)| row.last_ordinal());
        let changes = self.changes.range((thread, 0)..=(thread, u64::MAX)).map(|((_, ordinal), _)| *ordinal);
        replies.chain(changes).max().map(signed)
    }

    pub(super) fn replies_after(&self, thread: ThreadId, after: &str, limit: usize) -> Vec<ReplyRow> {
        let rows = self.of_thread(thread).filter(|(id, _)| id.as_str() > after);
        rows.take(limit).map(|(id, row)| row.read(id)).collect()
    }

    pub(super) fn changes_after(&self, thread: ThreadId, after: u64, limit: usize) -> Vec<(i64, String)> {
        let rows = self.changes.range((thread, after + 1)..=(thread, u64::MAX)).take(limit);
        rows.map(|((_, ordinal), change)| (signed(*ordinal), change.record.clone())).collect()
    }

    pub(super) fn last_of_turns(&self, thread: ThreadId, turns: usize) -> Option<i64> {
        let replies = self.last_rows(thread, u64::MAX, turns).into_iter().map(|(_, row)| row.last_ordinal());
        let changes = self.changes.range((thread, 0)..=(thread, u64::MAX)).map(|((_, ordinal), _)| *ordinal);
        replies.chain(changes).max().map(signed)
    }

    pub(super) fn last_replies(&self, thread: ThreadId, until: u64, turns: usize) -> Vec<ReplyRow> {
        self.last_rows(thread, until, turns).into_iter().map(|(id, row)| row.read(id)).collect()
    }

    pub(super) fn changes_for_recent(&self, thread: ThreadId, first: u64) -> Vec<(i64, String)> {
        const PASSED: [&str; 3] = ["items_added", "spoken", "superseded"];
        let rows = self.changes.range((thread, 0)..=(thread, u64::MAX));
        let kept = rows.filter(|((_, ordinal), change)| *ordinal >= first || !PASSED.contains(&change.kind.as_str()));
        kept.map(|((_, ordinal), change)| (signed(*ordinal), change.record.clone())).collect()
    }

    fn of_thread(&self, thread: ThreadId) -> impl Iterator<Item = (&String, &Reply)> {
        self.replies.iter().filter(move |(_, row)| row.thread == thread)
    }

    fn last_rows(&self, thread: ThreadId, until: u64, turns: usize) -> Vec<(&String, &Reply)> {
        let mut rows: Vec<_> = self.of_thread(thread).filter(|(_, row)| row.ordinal <= until).collect();
        rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.ordinal));
        rows.truncate(turns);
        rows
    }

    pub(super) fn list(&self, listing: &Listing) -> Vec<Listed> {
        let of_owner = self.conversations.iter().filter(|(_, known)| known.owner == listing.owner);
        let mut listed: Vec<_> = of_owner.filter_map(|(thread, _)| self.listed(*thread)).collect();
        listed.sort_by_key(|listed| (listed.active_at, listed.thread));
        if !listing.ascending {
            listed.reverse();
        }
        let comes = |listed: &Listed| match (&listing.after, listing.ascending) {
            (None, _) => true,
            (Some(after), true) => (listed.active_at, listed.thread) > *after,
            (Some(after), false) => (listed.active_at, listed.thread) < *after,
        };
        listed.into_iter().filter(comes).take(listing.limit).collect()
    }

    pub(super) fn listed(&self, thread: ThreadId) -> Option<Listed> {
        let known = self.conversations.get(&thread).filter(|known| !known.is_deleted)?;
        let (owner, active_at, first_reply) = (known.owner.clone(), known.active_at, known.first_reply.clone());
        Some(Listed { thread, owner, active_at, first_reply })
    }

    pub(super) fn beginnings(&self, of: &[Listed]) -> Vec<BeginningRow> {
        let mut rows = Vec::new();
        for listed in of {
            let mut has_items = false;
            for ((thread, ordinal), change) in self.changes.range((listed.thread, 0)..=(listed.thread, u64::MAX)) {
                let is_first_items = change.kind == "items_added" && !std::mem::replace(&mut has_items, true);
                if is_first_items || ["conversation_created", "metadata_set"].contains(&change.kind.as_str()) {
                    rows.push((thread.to_string(), signed(*ordinal), change.record.clone()));
                }
            }
            let first = listed.first_reply.as_ref().and_then(|id| Some((id, self.replies.get(id)?)));
            let first = first.filter(|(_, row)| !row.is_deleted);
            rows.extend(first.map(|(id, row)| (id.clone(), signed(row.ordinal), row.accepted.clone())));
        }
        rows
    }

    pub(super) fn usage(&self, query: &UsageQuery) -> Vec<Raw> {
        let ([whose, first, last], [from, to]) = query.parameters();
        let mut groups: BTreeMap<(String, i64, String), [i64; 5]> = BTreeMap::new();
        for ((owner, day, model), used) in &self.usage {
            let day = i64::from(day.number());
            if !(from..=to).contains(&day) || !(*owner == whose || (*owner >= first && *owner < last)) {
                continue;
            }
            let key = (
                if query.by.owner { owner.clone() } else { String::new() },
                if query.by.day { day } else { 0 },
                if query.by.model { model.clone() } else { String::new() },
            );
            let sums = groups.entry(key).or_default();
            sums.iter_mut().zip(numbers(used)).for_each(|(sum, number)| *sum += number);
        }
        let raw =
            |((owner, day, model), [replies, input, cached, output, reasoning]): ((String, i64, String), [i64; 5])| {
                (owner, day, model, replies, input, cached, output, reasoning)
            };
        groups.into_iter().map(raw).collect()
    }
}

impl Reply {
    fn last_ordinal(&self) -> u64 {
        self.ended.as_ref().map_or(self.ordinal, |(ended, _)| self.ordinal.max(*ended))
    }

    fn read(&self, id: &str) -> ReplyRow {
        let (ended_ordinal, ended) = self.ended.clone().unzip();
        (id.to_owned(), signed(self.ordinal), self.accepted.clone(), ended_ordinal.map(signed), ended)
    }
}
