//! Finds the last record of a subject: in memory, else in the indexes of the sealed segments, newest first.

use std::io;
use std::sync::Arc;

use super::Shared;
use super::forward::read_up_to;
use super::frame::{Header, Key, LONGEST_HEADER, Location};
use super::heads::{Head, Known, Sealing};
use super::index::{self, RecordLocation};
use super::recover;
use super::segment::{Family, Name};

impl Shared {
    /// The last record of a subject. `None`: it is empty.
    pub(super) fn head(&self, key: &Key) -> io::Result<Option<Head>> {
        let mut known = [None; 2];
        match self.heads.read().known(key) {
            Known::Is(head) => return Ok(Some(head)),
            Known::None => return Ok(None),
            Known::Perhaps(family, head) => known[family.index()] = Some(head),
            Known::Unknown => {}
        }
        let last = |family: Family| match known[family.index()] {
            Some(head) => Ok(Some(head)),
            None => self.sealed_head(key, family),
        };
        match key {
            Key::Transcript(_) => last(Family::Transcripts),
            Key::Snapshot(_) => last(Family::Chains),
            // A reply log ends among the transcripts, if it ends as it should; what was written again stands among the reply logs.
            Key::ReplyLog(_) => Ok(Head::later(last(Family::Transcripts)?, last(Family::Chains)?)),
        }
    }

    /// The last record of a subject in the segments of a family that take no more records.
    fn sealed_head(&self, key: &Key, family: Family) -> io::Result<Option<Head>> {
        for name in self.segments.of(family).into_iter().rev() {
            match self.heads.read().unindexed(name.number, key) {
                Known::Is(head) | Known::Perhaps(_, head) => return Ok(Some(head)),
                Known::None => continue,
                Known::Unknown => {}
            }
            if let Some(head) = self.indexed_head(name, key)? {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    /// The last record of a subject in a segment, as its index has it.
    pub(super) fn indexed_head(&self, name: Name, key: &Key) -> io::Result<Option<Head>> {
        for place in self.places(name, key)? {
            if let Some(head) = self.head_at(name, key, place)? {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    /// The record there, if it is of this subject. One whose header cannot be read is taken for it: its hash matches.
    fn head_at(&self, name: Name, key: &Key, place: RecordLocation) -> io::Result<Option<Head>> {
        let Some(file) = self.segments.file(name.number)? else { return Ok(None) };
        let location = Location { segment: name.number, offset: place.offset };
        let bytes = read_up_to(&file, u64::from(place.offset), LONGEST_HEADER)?;
        let Ok(header) = Header::read(&bytes) else {
            return Ok(Some(Head { sequence: place.sequence, at: 0, location }));
        };
        Ok(header.link(key).map(|link| Head { sequence: link.sequence, at: header.at, location }))
    }

    fn places(&self, name: Name, key: &Key) -> io::Result<Vec<RecordLocation>> {
        let Some(index) = self.index(name)? else { return Ok(Vec::new()) };
        index::find(&index, key)
    }

    /// The index of a sealed segment, whole; one that is missing or damaged is made again.
    pub(super) fn index(&self, name: Name) -> io::Result<Option<Arc<std::fs::File>>> {
        let was_checked = self.segments.is_index_open(name);
        if let Some(file) = self.segments.index(name)? {
            if was_checked || index::is_intact(&file)? {
                return Ok(Some(file));
            }
            tracing::warn!(index = %self.segments.index_path(name).display(), "an index of the log is damaged; making it again");
            self.segments.close_index(name);
        }
        let Some(open) = recover::read_sealed(&self.segments, name)? else { return Ok(None) };
        self.write_index(&open.sealed())?;
        self.segments.index(name)
    }

    /// Writes the index of a segment that takes no more records.
    pub(super) fn write_index(&self, sealing: &Sealing) -> io::Result<()> {
        let path = self.segments.index_path(sealing.name);
        index::write(&path, sealing.length, sealing.places(), &sealing.marks, sealing.summary, self.config.sync_always)
    }
}
