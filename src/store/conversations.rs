//! Conversations in a list: whose they are and when something last happened in them stands in a table of its own; what a list
//! shows of each is read from its first records.

use std::collections::HashMap;

use super::Error;
use super::read::{decode, signed, unsigned};
use crate::domain::ids::ThreadId;
use crate::domain::record::TranscriptRecord;

/// Which conversations are listed.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Whose, as records hold it.
    pub owner: String,
    /// Those after this place; `None`: from the beginning on.
    pub after: Option<(u64, ThreadId)>,
    /// The longest idle ones first.
    pub ascending: bool,
    /// The most of them.
    pub limit: usize,
}

/// A conversation in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub thread: ThreadId,
    /// Whom it belongs to, as records hold it.
    pub owner: String,
    /// When something last happened in it, in milliseconds of Unix time.
    pub active_at: u64,
    /// The first of its replies that was not deleted.
    pub first_reply: Option<String>,
}

/// What is known of the beginning of conversations: the records that create them and set their metadata, their first added
/// items and their first reply.
pub type Beginnings = HashMap<ThreadId, Vec<TranscriptRecord>>;

/// A row of the table, as the database gives it.
pub(super) type ListedRow = (String, String, i64, Option<String>);

/// A row of a record, with its thread or its reply.
pub(super) type BeginningRow = (String, i64, String);

impl Listing {
    /// The place before the first, as the statements want it.
    pub(super) fn start(&self) -> (i64, String) {
        match (&self.after, self.ascending) {
            (Some((active_at, thread)), _) => (signed(*active_at), thread.to_string()),
            (None, true) => (-1, String::new()),
            (None, false) => (i64::MAX, "~".to_owned()),
        }
    }
}

impl Listed {
    /// From a row. `None`: of an id that no version made.
    pub(super) fn of((thread, owner, active_at, first_reply): ListedRow) -> Option<Self> {
        Some(Self { thread: thread.parse().ok()?, owner, active_at: unsigned(active_at), first_reply })
    }
}

/// Reads rows; the place of a reply's id begins with its thread's.
pub(super) fn beginnings(rows: Vec<BeginningRow>) -> Result<Beginnings, Error> {
    let mut found = Beginnings::new();
    for (place, _, record) in rows.into_iter().filter(|row| !row.2.is_empty()) {
        let place = place.strip_prefix("resp_").unwrap_or(&place);
        let Some(thread) = place.get(..26).and_then(|thread| thread.parse().ok()) else { continue };
        found.entry(thread).or_default().push(decode(thread, &record)?);
    }
    for records in found.values_mut() {
        records.sort_by_key(|record| record.ordinal);
    }
    Ok(found)
}
