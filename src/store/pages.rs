//! A thread is read in pages: each is a short question of its own, so that a long thread takes long, and holds up nobody.
//!
//! First it is asked up to which ordinal the thread is known. Rows that come meanwhile lie after it, and are left out: what
//! is read is the thread as it was then, but for what was deleted since.

use super::read::{decode, unsigned};
use super::{Error, StoredThread};
use crate::domain::ids::ThreadId;
use crate::domain::record::TranscriptRecord;

/// Rows of a page. A reply is two records of some KB: a page is decoded in a few milliseconds.
pub(super) const PAGE: i64 = 128;

/// A thread that is being read.
#[derive(Debug)]
pub struct ThreadPages {
    pub(super) thread: ThreadId,
    pub(super) place: NextPage,
    watermark: u64,
    records: Vec<TranscriptRecord>,
}

/// What is read next.
#[derive(Debug, Clone)]
pub(super) enum NextPage {
    /// Up to which ordinal the thread is known.
    Watermark,
    /// Replies after this id.
    Replies(String),
    /// Other changes after this ordinal.
    Changes(i64),
    /// Nothing.
    End,
}

/// A row of a reply: its id, its two ordinals, and its two records.
pub(super) type ReplyRow = (String, i64, String, Option<i64>, Option<String>);

impl ThreadPages {
    /// From the first page on.
    pub(super) const fn new(thread: ThreadId) -> Self {
        Self { thread, place: NextPage::Watermark, watermark: 0, records: Vec::new() }
    }

    /// Whether there is nothing more to read.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.place, NextPage::End)
    }

    /// The ids of the thread's replies lie after this, and before the next.
    pub(super) fn first_id(thread: ThreadId) -> String {
        format!("resp_{thread}")
    }

    /// See [`ThreadPages::first_id`].
    pub(super) fn last_id(thread: ThreadId) -> String {
        format!("resp_{thread}~")
    }

    pub(super) fn take_watermark(&mut self, ordinal: Option<i64>) {
        self.watermark = ordinal.map_or(0, unsigned);
        self.place = if self.watermark == 0 { NextPage::End } else { NextPage::Replies(Self::first_id(self.thread)) };
    }

    pub(super) fn take_replies(&mut self, rows: Vec<ReplyRow>) -> Result<(), Error> {
        let is_last = rows.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        for (id, ordinal, accepted, ended_ordinal, ended) in rows {
            self.push(ordinal, &accepted)?;
            if let (Some(ordinal), Some(ended)) = (ended_ordinal, ended) {
                self.push(ordinal, &ended)?;
            }
            self.place = NextPage::Replies(id);
        }
        if is_last {
            self.place = NextPage::Changes(0);
        }
        Ok(())
    }

    pub(super) fn take_changes(&mut self, rows: Vec<(i64, String)>) -> Result<(), Error> {
        let is_last = rows.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        for (ordinal, record) in rows {
            self.push(ordinal, &record)?;
            self.place = NextPage::Changes(ordinal);
        }
        if is_last {
            self.place = NextPage::End;
        }
        Ok(())
    }

    /// Rows without a record still say how far the thread is known.
    fn push(&mut self, ordinal: i64, record: &str) -> Result<(), Error> {
        if unsigned(ordinal) <= self.watermark && !record.is_empty() {
            self.records.push(decode(self.thread, record)?);
        }
        Ok(())
    }

    /// What was read.
    pub fn finish(mut self) -> StoredThread {
        self.records.sort_by_key(|record| record.ordinal);
        StoredThread { watermark: self.watermark, records: self.records }
    }
}
