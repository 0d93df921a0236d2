//! Reads all transcripts in their one order, for the projection.

use std::io;

use super::Shared;
use super::damage::Lost;
use super::forward::{Forward, Step};
use super::frame::{Header, Key, Location};
use super::index;
use super::segment::Name;
use crate::log::{Position, Scanned, Stored};

/// Bytes of records that one scan gives, about: a batch of them has to fit into a small machine.
const MOST_BYTES: usize = 8 << 20;

/// Where a scan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    after: Position,
    segment: u32,
    offset: u64,
}

impl Shared {
    /// Records of all transcripts after a position, at most `limit`.
    pub(super) fn scan(&self, after: Position, limit: usize) -> io::Result<Vec<Scanned>> {
        let mut scan = Scan { shared: self, after, limit, bytes: 0, found: Vec::new(), cursor: None };
        let known = (*self.scanned.lock()).filter(|cursor| cursor.after == after);
        for name in self.segments.beginning_at(after + 1) {
            let from = match known {
                Some(cursor) if cursor.segment == name.number => cursor.offset,
                Some(cursor) if cursor.segment > name.number => continue,
                _ => self.begin_of(name, after)?,
            };
            if scan.segment(name, from)? {
                break;
            }
        }
        if let Some(cursor) = scan.cursor {
            *self.scanned.lock() = Some(cursor);
        }
        Ok(scan.found)
    }

    /// Where to begin in a segment, to see all after a position.
    fn begin_of(&self, name: Name, after: Position) -> io::Result<u64> {
        if after < name.first_position {
            return Ok(0);
        }
        if let Some(offset) = self.heads.read().mark(name.number, after) {
            return Ok(u64::from(offset));
        }
        let Some(index) = self.index(name)? else { return Ok(0) };
        Ok(u64::from(index::mark(&index, after)?))
    }
}

struct Scan<'a> {
    shared: &'a Shared,
    after: Position,
    limit: usize,
    bytes: usize,
    found: Vec<Scanned>,
    cursor: Option<Cursor>,
}

impl Scan<'_> {
    /// Whether it is enough.
    fn segment(&mut self, name: Name, from: u64) -> io::Result<bool> {
        let Some(file) = self.shared.segments.file(name.number)? else { return Ok(false) };
        let end = match self.shared.heads.read().length(name.number) {
            Some(length) => length,
            None => file.metadata()?.len(),
        };
        let mut forward = Forward::new(file, from, end);
        while let Some(step) = forward.next()? {
            match step {
                Step::Record { offset, header, payload } => {
                    let end = u64::from(offset) + header.frame();
                    let Some((thread, position)) = header.position().filter(|(_, position)| *position > self.after)
                    else {
                        continue;
                    };
                    self.take(thread, position, &header, &payload, Location { segment: name.number, offset });
                    self.cursor = Some(Cursor { after: position, segment: name.number, offset: end });
                    if self.found.len() >= self.limit || self.bytes >= MOST_BYTES {
                        return Ok(true);
                    }
                }
                Step::Damage { from, to } => self.shared.damage.found(&Lost::bytes(from, to, name.number)),
                Step::Torn { from } => self.shared.damage.found(&Lost::bytes(from, end, name.number)),
            }
        }
        Ok(false)
    }

    fn take(
        &mut self,
        thread: crate::domain::ids::ThreadId,
        position: Position,
        header: &Header,
        payload: &bytes::Bytes,
        location: Location,
    ) {
        let key = Key::Transcript(thread);
        let sequence = header.link(&key).map_or(0, |link| link.sequence);
        match header.record(&key, payload) {
            Ok(Some(payload)) => {
                self.bytes += payload.len();
                let record = Stored { sequence, at: header.at, payload };
                self.found.push(Scanned { position, thread, record });
            }
            Ok(None) => {}
            Err(_) => self.shared.damage.found(&Lost::record(&key, sequence, location)),
        }
    }
}
