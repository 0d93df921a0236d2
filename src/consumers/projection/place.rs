//! Where to go on: the store's position, if it is one in this log.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::PassError;
use crate::log::{Log, Shard};
use crate::store::{Position, Store};

/// Where the projection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The position in the log up to which the store has everything.
    pub(super) position: u64,
    /// What stands in the store.
    pub(super) stored: Option<Position>,
}

/// Reads the store's position, and holds it against the log.
pub(super) async fn find(log: &Log, store: &Store, shard: Shard) -> Result<Place, PassError> {
    let Some(stored) = store.position(shard).await? else { return Ok(Place { position: 0, stored: None }) };
    let position = if is_of(&stored, log, shard).await? {
        stored.position
    } else {
        tracing::warn!(
            position = stored.position,
            "the store was filled from another log; projecting this one from its start"
        );
        0
    };
    Ok(Place { position, stored: Some(stored) })
}

/// Whether the log is the one that the store was filled from, and still has what it had.
async fn is_of(stored: &Position, log: &Log, shard: Shard) -> Result<bool, PassError> {
    if stored.identity != log.records().identity(shard).id {
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

/// Tells one record from another.
pub(super) fn digest(payload: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(payload)[..16])
}
