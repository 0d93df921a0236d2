//! Where to go on: the store's position, if it is one in this log.

use std::time::Duration;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::PassError;
use crate::log::{Log, Shard, millis, now_ms};
use crate::store::{BEHIND, Position, Store};

/// Where the projection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProjectionPosition {
    /// The position in the log up to which the store has everything.
    pub(super) position: u64,
    /// What stands in the store.
    pub(super) stored: Option<Position>,
    /// Until when, in milliseconds of Unix time, the log may lack what the store has of a thread. 0: it does not.
    pub(super) behind_until: u64,
}

impl ProjectionPosition {
    /// The identity that goes into the store with the next position: it also shows the next start that the log is
    /// behind.
    pub(super) fn identity(&self, log: &str) -> String {
        match self.behind_until {
            0 => log.to_owned(),
            until => format!("{log}{BEHIND}{until}"),
        }
    }
}

/// Reads the store's position, and compares it with the log. A log that is not the one that the store was filled from,
/// or that lost its end (a backup was restored, the power was cut), may lack the last turns of threads whose first it
/// has, until `retention` has passed: so long threads are read from both.
pub(super) async fn find(
    log: &Log,
    store: &Store,
    shard: Shard,
    retention: Duration,
) -> Result<ProjectionPosition, PassError> {
    let Some(stored) = store.position(shard).await? else {
        return Ok(ProjectionPosition { position: 0, stored: None, behind_until: 0 });
    };
    let known = stored.identity.split_once(BEHIND).and_then(|(_, until)| until.parse().ok());
    let mut behind_until = known.filter(|until| *until > now_ms()).unwrap_or(0);
    let position = if is_of(&stored, log, shard).await? {
        stored.position
    } else {
        tracing::warn!(
            position = stored.position,
            "the store was filled from another log, or from more of this one; projecting it from its start"
        );
        behind_until = now_ms().saturating_add(millis(retention));
        0
    };
    Ok(ProjectionPosition { position, stored: Some(stored), behind_until })
}

/// Whether the log is the one that the store was filled from, and still has what it had.
async fn is_of(stored: &Position, log: &Log, shard: Shard) -> Result<bool, PassError> {
    if stored.log() != log.records().identity(shard).id {
        return Ok(false);
    }
    // What is known here of the last position is old, where others write, too.
    if stored.position > log.records().last_position(shard)
        && stored.position > log.records().look_last_position(shard).await?
    {
        return Ok(false);
    }
    let Some(before) = stored.position.checked_sub(1) else { return Ok(true) };
    let there = log.records().scan(shard, before, 1).await?;
    // A record that is not there any more expired or was erased: that is no sign of another log.
    let there = there.first().filter(|one| one.position == stored.position && !one.record.payload.is_empty());
    Ok(there.is_none_or(|one| digest(&one.record.payload) == stored.last_record))
}

/// A digest that distinguishes one record from another.
pub(super) fn digest(payload: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(payload)[..16])
}
