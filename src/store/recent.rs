//! The last turns of a thread, read without those before them. What belongs to the whole thread comes with them: whose it
//! is, and what was deleted.

use super::Error;
use super::pages::{PAGE, ReplyRow};
use super::read::{decode, unsigned};
use crate::domain::ids::ThreadId;
use crate::domain::record::TranscriptRecord;

/// The replies that are read: with what was said between them, a page of the longest list that a client may ask for.
pub(super) const TURNS: i64 = PAGE;

/// What the store knows of the end of a thread.
#[derive(Debug, Clone, Default)]
pub struct StoredRecent {
    /// The last ordinal of the thread's last turns. What came after it is newer, or ends a reply that was accepted long
    /// before. 0: the thread is not known.
    pub last: u64,
    /// From this ordinal on the records are complete; of those before there are only the ones that concern the whole
    /// thread.
    pub first: u64,
    /// The records, in order.
    pub records: Vec<TranscriptRecord>,
}

impl StoredRecent {
    /// What these rows say: some replies of the thread, the last one first, and its other changes.
    pub(super) fn of(
        thread: ThreadId,
        last: Option<i64>,
        replies: Vec<ReplyRow>,
        changes: Vec<(i64, String)>,
    ) -> Result<Self, Error> {
        let first = first(&replies);
        let last = last.map_or(0, unsigned);
        let mut records = Vec::with_capacity(2 * replies.len() + changes.len());
        let mut push = |ordinal: i64, record: &str| {
            if unsigned(ordinal) <= last && !record.is_empty() {
                records.push(decode(thread, record)?);
            }
            Ok::<_, Error>(())
        };
        for (_, ordinal, accepted, ended_ordinal, ended) in replies {
            push(ordinal, &accepted)?;
            if let (Some(ordinal), Some(ended)) = (ended_ordinal, ended) {
                push(ordinal, &ended)?;
            }
        }
        for (ordinal, record) in changes {
            push(ordinal, &record)?;
        }
        records.sort_by_key(|record: &TranscriptRecord| record.ordinal);
        Ok(Self { last, first: unsigned(first), records })
    }
}

/// From which ordinal on everything is read, where these are the last replies: 0 where there are no others.
pub(super) fn first(replies: &[ReplyRow]) -> i64 {
    let is_all = replies.len() < usize::try_from(TURNS).unwrap_or(usize::MAX);
    if is_all { 0 } else { replies.last().map_or(0, |(_, ordinal, ..)| *ordinal) }
}
