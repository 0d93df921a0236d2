//! Expiry: drops whole segments. What is still wanted of one is written again first: the reply logs that run.
//!
//! So that what is old lies in segments of its own, the open ones are closed at a quarter of the time that things are
//! kept, also where little is written. A record is kept for up to that much longer than it has to be.

use std::io;
use std::time::Duration;

use super::heads::Known;
use super::segment::{Family, Name};
use super::{Shared, blobs, index};
use crate::domain::ids::ReplyId;
use crate::log::now_ms;

/// The parts of the time that things are kept after which an open segment is closed.
const PARTS: u64 = 4;

/// A blob is kept so long before the record that refers to it, at most; in milliseconds.
const MARGIN_MS: u64 = 10_000;

impl Shared {
    /// The ages at which open segments are closed, in milliseconds: transcripts, reply logs.
    pub(super) fn ages(retention: Duration, replay_window: Duration) -> [u64; 2] {
        [retention, replay_window].map(|kept| millis(kept) / PARTS)
    }

    /// Segments of reply logs whose records are all older than `replay_window`, oldest first.
    pub(super) fn old_reply_logs(&self, replay_window: Duration) -> io::Result<Vec<Name>> {
        let before = now_ms().saturating_sub(millis(replay_window));
        self.old(Family::Chains, |summary| summary.last_at < before)
    }

    /// Segments of transcripts whose records are all older than `retention`, and in the store.
    pub(super) fn old_transcripts(&self, retention: Duration) -> io::Result<Vec<Name>> {
        let before = now_ms().saturating_sub(millis(retention));
        let projected = self.projected();
        self.old(Family::Transcripts, |summary| summary.last_at < before && summary.last_position <= projected)
    }

    fn old(&self, family: Family, is_old: impl Fn(index::Summary) -> bool) -> io::Result<Vec<Name>> {
        let mut old = Vec::new();
        for name in self.segments.of(family) {
            let summary = self.heads.read().unindexed_summary(name.number);
            let summary = match summary {
                Known::None => break,
                Known::Is(summary) | Known::Perhaps(_, summary) => summary,
                Known::Unknown => {
                    let Some(file) = self.index(name)? else { break };
                    index::summary(&file)?
                }
            };
            if !is_old(summary) {
                break;
            }
            old.push(name);
        }
        Ok(old)
    }

    /// Running replies that have something in this segment, or may have.
    pub(super) fn running_in(&self, name: Name) -> Vec<ReplyId> {
        let heads = self.heads.read();
        heads.leases.iter().filter(|(_, lease)| lease.may_be_in(name.number)).map(|(reply, _)| *reply).collect()
    }

    /// Erases blobs that were kept last before `retention`, unless what refers to them may not be in the store yet.
    pub(super) fn expire_blobs(&self, retention: Duration) -> io::Result<()> {
        let mut before = now_ms().saturating_sub(millis(retention));
        if let Some(first) = self.scan(self.projected(), 1)?.first() {
            before = before.min(first.record.at.saturating_sub(MARGIN_MS));
        }
        let _working = self.progress.cleaner.begin();
        self.blobs.expire(blobs::time_of(before))
    }

    /// Removes a segment.
    pub(super) fn drop_segment(&self, name: Name) -> io::Result<()> {
        let _alone = self.cleaning.lock();
        self.heads.write().sealing.retain(|sealing| sealing.name != name);
        self.segments.remove(name)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
