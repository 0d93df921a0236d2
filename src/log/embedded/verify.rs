//! Reads a whole log and reports what of it is damaged. Changes nothing; a server may run on it meanwhile.

use std::io;
use std::path::Path;
use std::time::Instant;

use super::damage::Lost;
use super::forward::{Forward, Step};
use super::frame::Location;
use super::index;
use super::recover::DIRECTORY;
use super::segment::{Family, Name, Segments};
use crate::log::Position;

/// Damaged places that are listed one by one; more are counted.
const MAX_LISTED: usize = 100;

/// What a whole log holds.
#[derive(Debug, Default)]
pub struct Verified {
    /// Segment files.
    pub segments: usize,
    /// Records that can be read.
    pub records: u64,
    /// Bytes of these segments.
    pub bytes: u64,
    /// Segment files for which there was no time.
    pub unread: usize,
    /// What cannot be read, up to some number.
    pub lost: Vec<Lost>,
    /// How much that is in all.
    pub damaged: u64,
    /// Bytes at the ends of the open segments that were not written whole: the next start cuts them.
    pub torn: u64,
    /// The highest position of a transcript's record that cannot be read; what the store has up to there is not lost.
    pub last_lost: Option<Position>,
}

/// Reads the log in this `DATA_DIR`, the newest segments first, as far as it comes `until` then. `is_in_use`: the end of an
/// open segment may be on its way. Blocks.
pub fn verify(data_dir: &Path, is_in_use: bool, until: Option<Instant>) -> io::Result<Verified> {
    let segments = Segments::look(&data_dir.join(DIRECTORY))?;
    let mut verified = Verified::default();
    for family in Family::BOTH {
        let names = segments.of(family);
        for name in names.iter().rev() {
            if until.is_some_and(|until| Instant::now() >= until) {
                verified.unread += 1;
                continue;
            }
            verified.read(&segments, *name, Some(name) == names.last(), is_in_use)?;
        }
    }
    Ok(verified)
}

impl Verified {
    fn read(&mut self, segments: &Segments, name: Name, is_open: bool, is_in_use: bool) -> io::Result<()> {
        // It may expire while others are read.
        let Some(file) = segments.file(name.number)? else { return Ok(()) };
        let end = file.metadata()?.len();
        (self.segments, self.bytes) = (self.segments + 1, self.bytes + end);
        let mut forward = Forward::new(file, 0, end);
        let (mut position, mut unreadable) = (name.first_position, Vec::new());
        // Records after this position, which cannot be known.
        let next = |position: Position| (name.family == Family::Transcripts).then_some(position + 1);
        while let Some(step) = forward.next()? {
            match step {
                Step::Record { offset, header, payload } => {
                    let is_known = header.position().map(|(_, position)| position);
                    position = is_known.unwrap_or(position);
                    for (key, link) in header.links() {
                        let before = link.previous;
                        if before.segment == name.number && unreadable.contains(&before.offset) {
                            self.name(Lost::record(&key, link.sequence.saturating_sub(1), before));
                        }
                    }
                    if header.is_intact(&payload) {
                        self.records += 1;
                        continue;
                    }
                    let place = Location { segment: name.number, offset };
                    for (key, link) in header.links().filter(|(key, _)| header.record(key, &payload).is_err()) {
                        self.add(Lost::record(&key, link.sequence, place), is_known);
                    }
                    if header.links().next().is_none() {
                        self.add(Lost::other("a record of the log's own, which others repeat", place), None);
                    }
                }
                Step::Damage { from, to } => {
                    unreadable.push(u32::try_from(from).unwrap_or(u32::MAX));
                    self.add(Lost::bytes(from, to, name.number), next(position));
                }
                Step::Torn { .. } if is_open && is_in_use => {}
                Step::Torn { from } if is_open => self.torn += end - from,
                Step::Torn { from } => self.add(Lost::bytes(from, end, name.number), next(position)),
            }
        }
        // Cut between two records, it looks whole.
        if !is_open && let Some(index) = segments.index(name)?.filter(|index| index::is_intact(index).unwrap_or(false))
        {
            let length = index::length(&index)?;
            if length > end {
                self.add(Lost::bytes(end, length, name.number), next(position));
            }
        }
        Ok(())
    }

    fn add(&mut self, lost: Lost, position: Option<Position>) {
        self.damaged += 1;
        self.last_lost = self.last_lost.max(position);
        self.name(lost);
    }

    fn name(&mut self, lost: Lost) {
        if self.lost.len() < MAX_LISTED {
            self.lost.push(lost);
        }
    }
}
