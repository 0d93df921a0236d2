//! Records that are longer than a message may be ([`Pieces::publish`]): they are cut into pieces, which are stored first,
//! in a stream of their own, and which a header of the record's message names. Readers of the record put them
//! together again, so that no module above this one knows of it.
//!
//! Pieces are stored a little longer than any record, so that none outlives its pieces. A record that was not stored
//! after all leaves pieces that no record names: they go when the reply is deleted, or with their age.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use super::connect::Connections;
use super::names::{self, Names, PIECES};
use super::wire::{self, StreamMessage};
use crate::log::recent::Recent;
use crate::log::{AppendError, ReadError, Stored};

/// A message of so many bytes every server takes, see [`super::open_error::LEAST_PAYLOAD`].
const SHORT: usize = 16 << 10;

/// The longest message that is published, where the server takes it.
const LONGEST: usize = 512 << 10;

/// Records whose pieces are remembered, in each of two generations, for a publication that is tried again.
const REMEMBERED: usize = 64;

/// How long pieces are used again: far less than [`UNUSED_AFTER`].
const USABLE: Duration = Duration::from_secs(20);

/// Pieces that no record names and that are older than this are not on their way into one.
pub(super) const UNUSED_AFTER: Duration = Duration::from_mins(1);

/// Records whose pieces were stored: by their subject, length and hash, when that began, and which they are.
type Written = Recent<(String, usize, u64), (Instant, Arc<Vec<u64>>)>;

/// Stores and reads records of any length. A handle: cheap to clone.
#[derive(Clone)]
pub(super) struct Pieces {
    connections: Connections,
    names: Names,
    written: Arc<Mutex<Written>>,
    /// Distinguishes records of equal length: with a key of this process, which no one else knows.
    hasher: RandomState,
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pieces").finish_non_exhaustive()
    }
}

impl Pieces {
    pub(super) fn new(connections: Connections, names: Names) -> Self {
        Self { connections, names, written: Arc::new(Mutex::new(Recent::new(REMEMBERED))), hasher: RandomState::new() }
    }

    /// As [`wire::publish`], of a record of any length.
    pub(super) async fn publish(
        &self,
        subject: &str,
        expected: u64,
        mut headers: HeaderMap,
        payload: Bytes,
    ) -> Result<u64, AppendError> {
        let client = &self.connections.append;
        let Some(longest) = self.too_long(payload.len()) else {
            return wire::publish(client, subject, expected, headers, payload).await;
        };
        let pieces = self.store(subject, &payload, longest).await?;
        headers.insert(PIECES, listed(&pieces));
        wire::publish(client, subject, expected, headers, Bytes::new()).await
    }

    /// Whether something of this length stands in pieces.
    pub(super) fn is_cut(&self, length: usize) -> bool {
        self.too_long(length).is_some()
    }

    /// The longest piece, if something of this length has to be cut.
    fn too_long(&self, length: usize) -> Option<usize> {
        (length > SHORT).then(|| self.longest()).filter(|longest| length > *longest)
    }

    /// The longest message that is published. The server counts its headers, too: the rest of it is left to them.
    pub(super) fn longest(&self) -> usize {
        (self.connections.append.server_info().max_payload / 4 * 3).min(LONGEST)
    }

    /// Stores the pieces of a record of `subject`; those of a publication that is tried again are there.
    async fn store(&self, subject: &str, payload: &Bytes, longest: usize) -> Result<Arc<Vec<u64>>, AppendError> {
        let name = names::pieces(subject);
        let key = (name, payload.len(), self.hasher.hash_one(&payload[..]));
        if let Some((at, pieces)) = self.written.lock().get(&key)
            && at.elapsed() < USABLE
        {
            return Ok(pieces);
        }
        let begun = Instant::now();
        let mut pieces = Vec::with_capacity(payload.len() / longest + 1);
        let mut rest = payload.clone();
        while !rest.is_empty() {
            let piece = rest.split_to(longest.min(rest.len()));
            pieces.push(wire::put(&self.connections.append, &key.0, HeaderMap::new(), piece).await?);
        }
        let pieces = Arc::new(pieces);
        self.written.lock().set(key, (begun, Arc::clone(&pieces)));
        Ok(pieces)
    }

    /// A record as it was written. If a piece of it is gone, it is empty.
    pub(super) async fn whole(&self, message: StreamMessage) -> Result<Stored, ReadError> {
        let pieces = message.pieces();
        if pieces.is_empty() {
            return Ok(message.into());
        }
        let (client, stream) = (&self.connections.read, self.names.pieces_stream(&message.subject));
        let mut payload = BytesMut::new();
        for sequence in pieces {
            let piece = match wire::direct_at(client, stream, sequence).await? {
                // A replica that lags does not have it yet.
                None => wire::at(client, stream, sequence).await?,
                piece => piece,
            };
            let Some(piece) = piece else {
                tracing::warn!(subject = message.subject, sequence, "a piece of a record is gone");
                return Ok(Stored { payload: Bytes::new(), ..message.into() });
            };
            payload.extend_from_slice(&piece.payload);
        }
        Ok(Stored { payload: payload.freeze(), ..message.into() })
    }

    /// Records as they were written.
    pub(super) async fn all_whole(&self, message: Vec<StreamMessage>) -> Result<Vec<Stored>, ReadError> {
        let mut all = Vec::with_capacity(message.len());
        for message in message {
            all.push(self.whole(message).await?);
        }
        Ok(all)
    }

    /// Messages with what was written as their payloads.
    pub(super) async fn put_together(&self, message: Vec<StreamMessage>) -> Result<Vec<StreamMessage>, ReadError> {
        let mut all = Vec::with_capacity(message.len());
        for mut message in message {
            if message.is_in_pieces() {
                message.payload = self.whole(message.clone()).await?.payload;
            }
            all.push(message);
        }
        Ok(all)
    }

    /// Erases the pieces of a record, before the record.
    pub(super) async fn erase_of(&self, message: &StreamMessage) -> Result<(), AppendError> {
        self.erase(self.names.pieces_stream(&message.subject), message.pieces()).await
    }

    /// Erases the pieces of a subject that none of these records names, and that are older than `before`, in milliseconds
    /// of Unix time.
    pub(super) async fn erase_unused(
        &self,
        subject: &str,
        records: &[StreamMessage],
        before: u64,
    ) -> Result<(), AppendError> {
        let (client, stream) = (&self.connections.read, self.names.pieces_stream(subject));
        let used: HashSet<u64> = records.iter().flat_map(StreamMessage::pieces).collect();
        let mut from = 1;
        loop {
            // Some at a time: they are long.
            let found = wire::some(client, stream, &names::pieces(subject), from, usize::MAX, LONGEST).await;
            let found = found.map_err(|error| AppendError::Unavailable(error.to_string()))?;
            let Some(last) = found.last() else { return Ok(()) };
            from = last.sequence + 1;
            let unused = found.iter().filter(|piece| piece.at < before && !used.contains(&piece.sequence));
            self.erase(stream, unused.map(|piece| piece.sequence).collect()).await?;
        }
    }

    /// Erases the pieces of what stood in a subject before its last record.
    pub(super) async fn erase_replaced(&self, stream: &str, subject: &str) -> Result<(), AppendError> {
        let unavailable = |error: ReadError| AppendError::Unavailable(error.to_string());
        let last = wire::last(&self.connections.read, stream, subject).await.map_err(unavailable)?;
        let Some(first) = last.as_ref().and_then(|last| last.pieces().into_iter().min()) else { return Ok(()) };
        let pieces = self.names.pieces_stream(subject);
        let first = wire::at(&self.connections.read, pieces, first).await.map_err(unavailable)?;
        let Some(first) = first else { return Ok(()) };
        self.erase_unused(subject, last.as_slice(), first.at).await
    }

    async fn erase(&self, stream: &str, sequences: Vec<u64>) -> Result<(), AppendError> {
        for sequence in sequences {
            wire::erase(&self.connections.append, stream, sequence).await?;
        }
        Ok(())
    }
}

/// Sequences as a header has them: the first, and how far each is from the one before.
fn listed(sequences: &[u64]) -> String {
    let mut last = 0;
    let distances = sequences.iter().map(|sequence| {
        let distance = sequence - std::mem::replace(&mut last, *sequence);
        distance.to_string()
    });
    distances.collect::<Vec<_>>().join(",")
}

impl StreamMessage {
    /// The pieces that the record stands in. None: it is in the message.
    pub(super) fn pieces(&self) -> Vec<u64> {
        let list = self.headers.get(PIECES).map_or("", |list| list.as_str());
        let distances = list.split(',').filter_map(|distance| distance.parse::<u64>().ok());
        distances
            .scan(0_u64, |last, distance| {
                *last = last.saturating_add(distance);
                Some(*last)
            })
            .collect()
    }

    /// Whether it has to be put together.
    pub(super) fn is_in_pieces(&self) -> bool {
        self.headers.get(PIECES).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_pieces_reads_back() {
        let sequences = [1_000_000, 1_000_001, 1_000_005];
        assert_eq!(listed(&sequences), "1000000,1,4");
        let mut headers = HeaderMap::new();
        headers.insert(PIECES, listed(&sequences));
        let message = StreamMessage { subject: String::new(), sequence: 1, at: 1, headers, payload: Bytes::new() };
        assert_eq!(message.pieces(), sequences);
    }
}
