//! From rows to what is read of them, the same for every database. No I/O.

use std::sync::Arc;

use super::{Error, StoredThread};
use crate::domain::ids::ThreadId;
use crate::domain::record::{Accepted, Change, Ended, TranscriptRecord};

/// What a reply says, and how it ended.
pub(super) type Texts = (Arc<Accepted>, Option<Arc<Ended>>);

impl StoredThread {
    /// Takes in the next row of a thread, in order. Rows without a record still say how far the thread is known.
    pub(super) fn push(&mut self, thread: ThreadId, ordinal: i64, record: Option<&str>) -> Result<(), Error> {
        self.watermark = unsigned(ordinal);
        if let Some(record) = record.filter(|record| !record.is_empty()) {
            self.records.push(decode(thread, record)?);
        }
        Ok(())
    }
}

/// The records of a reply, read.
pub(super) fn texts(thread: ThreadId, accepted: &str, ended: Option<&str>) -> Result<Texts, Error> {
    let Change::Accepted(accepted) = decode(thread, accepted)?.change else {
        return Err(Error::damaged(thread, "expected an accepted record"));
    };
    let ended = ended.map(|ended| match decode(thread, ended)?.change {
        Change::Ended(ended) => Ok(ended),
        _ => Err(Error::damaged(thread, "expected an ended record")),
    });
    Ok((accepted, ended.transpose()?))
}

/// A record as a row holds it.
pub(super) fn decode(thread: ThreadId, record: &str) -> Result<TranscriptRecord, Error> {
    TranscriptRecord::decode(record.as_bytes()).map_err(|error| Error::damaged(thread, error))
}

/// Databases have signed integers only. Ordinals and positions stay far below the difference.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The other way round.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
