//! Reads a segment from front to back, over damaged places.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::frame::{Body, Header, LONGEST_HEADER, NoHeader};

/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;

/// Reads records in order.
pub(super) struct Forward {
    file: Arc<File>,
    offset: u64,
    end: u64,
    chunk: Bytes,
    chunk_at: u64,
}

/// What stands next in a segment.
pub(super) enum Step {
    Record {
        offset: u32,
        header: Header,
        /// Empty, where all of it was erased.
        payload: Bytes,
    },
    /// Bytes that are no record; good ones come after.
    Damage { from: u64, to: u64 },
    /// Bytes at the end that are no record, or only the beginning of one.
    Torn { from: u64 },
}

impl Forward {
    /// The records of this file that begin at `offset` or after, before `end`.
    pub(super) fn new(file: Arc<File>, offset: u64, end: u64) -> Self {
        Self { file, offset, end, chunk: Bytes::new(), chunk_at: 0 }
    }

    /// What comes next. `None`: the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Step>> {
        loop {
            let begin = self.offset;
            if begin >= self.end {
                return Ok(None);
            }
            let header = match Header::read(&self.bytes(begin, LONGEST_HEADER)?) {
                Ok(header) if begin + header.frame() <= self.end => header,
                Ok(_) | Err(NoHeader::Incomplete | NoHeader::Damaged) => return self.resync(begin).map(Some),
            };
            self.offset = begin + header.frame();
            if header.body == Body::Filler {
                continue;
            }
            let payload = if is_empty(&header) {
                Bytes::new()
            } else {
                let bytes = self.bytes(begin, usize::try_from(header.frame()).unwrap_or(usize::MAX))?;
                bytes.slice(header.length().min(bytes.len())..)
            };
            let offset = u32::try_from(begin).expect("segments are shorter");
            return Ok(Some(Step::Record { offset, header, payload }));
        }
    }

    /// Looks for the next record after bytes that are none.
    fn resync(&mut self, from: u64) -> io::Result<Step> {
        let mut at = from + 1;
        while at < self.end {
            let bytes = self.bytes(at, CHUNK)?;
            if bytes.is_empty() {
                break;
            }
            for candidate in memchr::memchr_iter(super::frame::MAGIC, &bytes) {
                let place = at + candidate as u64;
                let found = match Header::read(&bytes[candidate..]) {
                    Err(NoHeader::Incomplete) => Header::read(&self.bytes(place, LONGEST_HEADER)?),
                    found => found,
                };
                if found.is_ok_and(|header| place + header.frame() <= self.end) {
                    self.offset = place;
                    return Ok(Step::Damage { from, to: place });
                }
            }
            at += bytes.len() as u64;
        }
        self.offset = self.end;
        Ok(Step::Torn { from })
    }

    /// Up to `length` bytes from there; fewer at the end only.
    fn bytes(&mut self, from: u64, length: usize) -> io::Result<Bytes> {
        let length = length.min(usize::try_from(self.end - from).unwrap_or(usize::MAX));
        let known = from
            .checked_sub(self.chunk_at)
            .and_then(|start| usize::try_from(start).ok())
            .filter(|start| start.checked_add(length).is_some_and(|end| end <= self.chunk.len()));
        if let Some(start) = known {
            return Ok(self.chunk.slice(start..start + length));
        }
        let rest = usize::try_from(self.end - from).unwrap_or(usize::MAX);
        // Its memory serves again, if no reader holds a piece of it.
        let room = std::mem::take(&mut self.chunk).try_into_mut().map_or_else(|_| Vec::new(), Vec::from);
        self.chunk = read_into(room, &self.file, from, length.max(CHUNK).min(rest))?;
        self.chunk_at = from;
        Ok(self.chunk.slice(..length.min(self.chunk.len())))
    }
}

/// Whether nothing of a record's payload is left.
pub(super) fn is_empty(header: &Header) -> bool {
    match header.body {
        Body::Conclusion(_) => header.erased && header.transcript_erased,
        _ => header.erased,
    }
}

/// What the file has there, up to this many bytes.
pub(super) fn read_up_to(file: &File, from: u64, length: usize) -> io::Result<Bytes> {
    read_into(Vec::new(), file, from, length)
}

fn read_into(mut bytes: Vec<u8>, file: &File, from: u64, length: usize) -> io::Result<Bytes> {
    bytes.resize(length, 0);
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(Bytes::from(bytes))
}
