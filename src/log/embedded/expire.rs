//! Expiry: drops whole segments. What is still needed of one is written again first: the reply logs that run.
//!
//! Transcripts wait for the store as long as it takes, and for webhooks, which are no part of what is promised, for an hour
//! beyond that.
//!
//! So that old records lie in segments of their own, the open ones are closed at a quarter of the retention,
//! also where little is written. A record is stored for up to that much longer than it has to be.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::heads::Known;
use super::segment::{Family, Name};
use super::{Shared, blobs, index};
use crate::domain::ids::ReplyId;
use crate::log::{Position, millis, now_ms};

/// An open segment is closed after this part of the retention.
const PARTS: u64 = 4;

/// How long old records that are in the store wait for webhooks that have not read them yet: a server that was off for long
/// carries them within seconds.
const WEBHOOKS: Duration = Duration::from_hours(1);

/// A blob is stored at most this long before the record that refers to it; in milliseconds.
const MARGIN_MS: u64 = 10_000;

/// How far webhooks were carried.
#[derive(Debug)]
pub(super) struct Carried {
    position: AtomicU64,
    /// Since when something waits for them that nothing else needs.
    waits_since: Mutex<Option<Instant>>,
}

impl Default for Carried {
    fn default() -> Self {
        Self { position: AtomicU64::new(u64::MAX), waits_since: Mutex::default() }
    }
}

impl Carried {
    pub(super) fn set(&self, position: Position) {
        self.position.store(position, Ordering::Relaxed);
    }

    /// Of old segments those that may go: `carried` of them wait for nobody, and the rest only for webhooks, at most for `most`.
    fn release(&self, mut old: Vec<Name>, carried: usize, most: Duration) -> Vec<Name> {
        let mut since = self.waits_since.lock();
        if carried == old.len() {
            *since = None;
        } else if since.get_or_insert_with(Instant::now).elapsed() < most {
            old.truncate(carried);
        } else {
            tracing::error!(
                segments = old.len() - carried,
                "the log does not wait for webhooks any longer: it drops ends of replies that are not told (LOG_RETENTION)"
            );
        }
        old
    }
}

impl Shared {
    /// The ages at which open segments are closed, in milliseconds: transcripts, reply logs.
    pub(super) fn ages(retention: Duration, replay_window: Duration) -> [u64; 2] {
        [retention, replay_window].map(|retained| millis(retained) / PARTS)
    }

    /// Segments of reply logs whose records are all older than `replay_window`, oldest first.
    pub(super) fn old_reply_logs(&self, replay_window: Duration) -> io::Result<Vec<Name>> {
        let before = now_ms().saturating_sub(millis(replay_window));
        self.old(Family::Chains, |summary| summary.last_at < before)
    }

    /// Segments of transcripts whose records are all older than `retention`, in the store, and read by webhooks, unless they have
    /// waited for these for long.
    pub(super) fn old_transcripts(&self, retention: Duration) -> io::Result<Vec<Name>> {
        self.old_transcripts_after(retention, WEBHOOKS)
    }

    fn old_transcripts_after(&self, retention: Duration, webhooks: Duration) -> io::Result<Vec<Name>> {
        let before = now_ms().saturating_sub(millis(retention));
        let projected = self.projected();
        let (position, mut carried) = (self.carried.position.load(Ordering::Relaxed), 0);
        let old = self.old(Family::Transcripts, |summary| {
            let is_old = summary.last_at < before && summary.last_position <= projected;
            carried += usize::from(is_old && summary.last_position <= position);
            is_old
        })?;
        Ok(self.carried.release(old, carried, webhooks))
    }

    fn old(&self, family: Family, mut is_old: impl FnMut(index::Summary) -> bool) -> io::Result<Vec<Name>> {
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

    /// Erases blobs that were last stored before `retention`, unless what refers to them may not be in the store yet.
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

#[cfg(test)]
mod tests;
