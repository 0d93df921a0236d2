//! The index of a sealed segment, in a file beside it: which subjects have their last record there, and where. A
//! look-up reads a block of the filter, and if that matches, a piece of the sorted entries: nothing is held in memory.
//!
//! | part | form |
//! |---|---|
//! | header | magic, counts, the time and position of the last record, the length of the segment |
//! | filter | blocks of 512 bits, eight bits an entry in one block (a blocked Bloom filter, some 0.5 % of false answers) |
//! | entries | hash of the subject, sequence, offset; sorted by hash |
//! | marks | position, offset: of every 64th record of a transcript |
//! | end | CRC-32 of everything before |
//!
//! An index can be made again from its segment, so damage to one costs time only.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::forward::read_up_to;
use super::frame::{Fields, Key};
use crate::log::Position;

const MAGIC: &[u8; 8] = b"rjindex1";
const HEADER: usize = 64;
/// Where the length of the segment stands in it.
const LENGTH: u64 = 48;
const BLOCK: usize = 64;
const ENTRY: usize = 20;
const MARK: usize = 12;
/// Bits of the filter for each entry.
const BITS: usize = 12;
/// Bits that an entry sets.
const PROBES: u32 = 8;
/// Entries that a look-up reads at once.
const WINDOW: usize = 64;

/// Of how many records of transcripts one stands in the marks.
pub(super) const MARKED: u64 = 64;

/// Where a subject's last record in a segment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordLocation {
    pub(super) sequence: u64,
    pub(super) offset: u32,
}

/// What is true of a segment as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Summary {
    /// The time of its last record, in milliseconds of Unix time.
    pub(super) last_at: u64,
    /// The position of its last record of a transcript; 0 if there is none.
    pub(super) last_position: Position,
}

/// Writes the index of a segment. Readers see all of it or nothing.
pub(super) fn write(
    path: &Path,
    length: u64,
    heads: impl Iterator<Item = (Key, RecordLocation)>,
    marks: &[(Position, u32)],
    summary: Summary,
    sync: bool,
) -> io::Result<()> {
    let mut entries: Vec<(u64, RecordLocation)> = heads.map(|(key, place)| (key.hash(), place)).collect();
    entries.sort_unstable_by_key(|(hash, place)| (*hash, place.sequence));
    let blocks = (entries.len() * BITS).div_ceil(BLOCK * 8).max(1);
    let mut filter = vec![0u8; blocks * BLOCK];
    for (hash, _) in &entries {
        let block = &mut filter[block_of(*hash, blocks) * BLOCK..][..BLOCK];
        bits_of(*hash).for_each(|bit| block[bit / 8] |= 1 << (bit % 8));
    }
    let mut bytes = Vec::with_capacity(HEADER + filter.len() + entries.len() * ENTRY + marks.len() * MARK + 4);
    bytes.extend_from_slice(MAGIC);
    for count in [blocks, entries.len(), marks.len()] {
        bytes.extend_from_slice(&(count as u64).to_le_bytes());
    }
    bytes.extend_from_slice(&summary.last_at.to_le_bytes());
    bytes.extend_from_slice(&summary.last_position.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.resize(HEADER, 0);
    bytes.extend_from_slice(&filter);
    for (hash, place) in &entries {
        bytes.extend_from_slice(&hash.to_le_bytes());
        bytes.extend_from_slice(&place.sequence.to_le_bytes());
        bytes.extend_from_slice(&place.offset.to_le_bytes());
    }
    for (position, offset) in marks {
        bytes.extend_from_slice(&position.to_le_bytes());
        bytes.extend_from_slice(&offset.to_le_bytes());
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    let unfinished = path.with_extension("new");
    std::fs::write(&unfinished, &bytes)?;
    if sync {
        File::open(&unfinished)?.sync_data()?;
    }
    std::fs::rename(&unfinished, path)
}

/// Whether all bytes of an index are as they were written.
pub(super) fn is_intact(file: &File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let bytes = read_up_to(file, 0, usize::try_from(length).unwrap_or(usize::MAX))?;
    let Some((content, checksum)) = bytes.split_last_chunk::<4>() else { return Ok(false) };
    Ok(content.starts_with(MAGIC) && crc32fast::hash(content) == u32::from_le_bytes(*checksum))
}

/// An index's summary of its whole segment.
pub(super) fn summary(file: &File) -> io::Result<Summary> {
    Ok(Layout::read(file)?.summary)
}

/// The length that the segment had when its index was made; 0 where that is not known.
pub(super) fn length(file: &File) -> io::Result<u64> {
    let mut length = [0; 8];
    file.read_exact_at(&mut length, LENGTH)?;
    Ok(u64::from_le_bytes(length))
}

/// Records that may be the last of this subject in the segment: nearly always one or none. Another subject can have the
/// same hash.
pub(super) fn find(file: &File, key: &Key) -> io::Result<Vec<RecordLocation>> {
    let (hash, layout) = (key.hash(), Layout::read(file)?);
    let mut block = [0; BLOCK];
    file.read_exact_at(&mut block, (HEADER + block_of(hash, layout.blocks) * BLOCK) as u64)?;
    if !bits_of(hash).all(|bit| block[bit / 8] & 1 << (bit % 8) != 0) {
        return Ok(Vec::new());
    }
    // Hashes are spread evenly: the first guess is off by some square root of their number.
    let guess = (u128::from(hash) * layout.entries as u128) >> 64;
    let mut from = usize::try_from(guess).unwrap_or(0).saturating_sub(WINDOW / 2);
    loop {
        let bytes = layout.entries_from(file, from)?;
        let window: Vec<(u64, RecordLocation)> = bytes.chunks_exact(ENTRY).map(entry).collect();
        let (Some((first, _)), Some((last, _))) = (window.first(), window.last()) else { return Ok(Vec::new()) };
        if *first >= hash && from > 0 {
            from = from.saturating_sub(WINDOW - 1);
        } else if *last < hash && from + window.len() < layout.entries {
            from += WINDOW - 1;
        } else {
            let mut found: Vec<_> =
                window.iter().filter(|(other, _)| *other == hash).map(|(_, place)| *place).collect();
            if *last == hash && from + window.len() < layout.entries {
                let more = layout.entries_from(file, from + window.len())?;
                found.extend(more.chunks_exact(ENTRY).map(entry).filter(|(other, _)| *other == hash).map(|(_, it)| it));
            }
            return Ok(found);
        }
    }
}

/// The last mark at or before this position; the beginning of the segment if there is none.
pub(super) fn mark(file: &File, position: Position) -> io::Result<u32> {
    let layout = Layout::read(file)?;
    let begin = HEADER + layout.blocks * BLOCK + layout.entries * ENTRY;
    let bytes = read_up_to(file, begin as u64, layout.marks * MARK)?;
    let marks: Vec<(Position, u32)> = bytes
        .chunks_exact(MARK)
        .map(|mark| {
            let mut fields = Fields(mark);
            (fields.u64(), fields.u32())
        })
        .collect();
    Ok(last_mark(&marks, position))
}

/// The offset of the last of these marks at or before this position.
pub(super) fn last_mark(marks: &[(Position, u32)], position: Position) -> u32 {
    let after = marks.partition_point(|(marked, _)| *marked <= position);
    after.checked_sub(1).map_or(0, |last| marks[last].1)
}

struct Layout {
    blocks: usize,
    entries: usize,
    marks: usize,
    summary: Summary,
}

impl Layout {
    fn read(file: &File) -> io::Result<Self> {
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0)?;
        if !header.starts_with(MAGIC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not an index"));
        }
        let mut fields = Fields(&header[MAGIC.len()..]);
        let mut count = || usize::try_from(fields.u64()).unwrap_or(usize::MAX);
        let (blocks, entries, marks) = (count().max(1), count(), count());
        let summary = Summary { last_at: fields.u64(), last_position: fields.u64() };
        Ok(Self { blocks, entries, marks, summary })
    }

    fn entries_from(&self, file: &File, from: usize) -> io::Result<bytes::Bytes> {
        let count = WINDOW.min(self.entries.saturating_sub(from));
        read_up_to(file, (HEADER + self.blocks * BLOCK + from * ENTRY) as u64, count * ENTRY)
    }
}

fn entry(bytes: &[u8]) -> (u64, RecordLocation) {
    let mut fields = Fields(bytes);
    (fields.u64(), RecordLocation { sequence: fields.u64(), offset: fields.u32() })
}

fn block_of(hash: u64, blocks: usize) -> usize {
    usize::try_from((u128::from(hash.rotate_left(32)) * blocks as u128) >> 64).unwrap_or(0)
}

/// The bits of an entry in its block: nine bits of the hash each, made anew where they run out.
fn bits_of(hash: u64) -> impl Iterator<Item = usize> {
    let spread = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let more = hash.rotate_left(17).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (0..PROBES).map(move |probe| {
        let from = if probe < 4 { spread } else { more };
        usize::try_from(from >> (64 - 9 * (probe % 4 + 1)) & 511).unwrap_or(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{ReplyId, ThreadId};

    #[test]
    fn every_entry_is_found_and_hardly_anything_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.idx");
        for count in [0, 1, 5, 63, 64, 65, 1000, 20_000] {
            let keys: Vec<_> = (0..count)
                .map(|number| {
                    let thread = ThreadId::random();
                    if number % 2 == 0 { Key::Transcript(thread) } else { Key::ReplyLog(ReplyId::random(thread)) }
                })
                .collect();
            let place =
                |number: usize| RecordLocation { sequence: number as u64, offset: u32::try_from(number).unwrap() * 7 };
            let heads = keys.iter().enumerate().map(|(number, key)| (*key, place(number)));
            write(&path, 77, heads, &[(3, 0), (70, 500)], Summary { last_at: 9, last_position: 80 }, true).unwrap();
            let file = File::open(&path).unwrap();
            assert!(is_intact(&file).unwrap());
            assert_eq!(summary(&file).unwrap(), Summary { last_at: 9, last_position: 80 });
            for (number, key) in keys.iter().enumerate() {
                assert_eq!(find(&file, key).unwrap(), [place(number)], "{number} of {count}");
            }
            let others = (0..2000).filter(|_| !find(&file, &Key::Transcript(ThreadId::random())).unwrap().is_empty());
            assert_eq!(others.count(), 0);
            assert_eq!([2, 3, 69, 70, 99].map(|position| mark(&file, position).unwrap()), [0, 0, 0, 500, 500]);
        }
    }

    #[test]
    fn a_flipped_bit_of_an_index_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.idx");
        let heads = [(Key::Transcript(ThreadId::random()), RecordLocation { sequence: 1, offset: 2 })];
        write(&path, 0, heads.into_iter(), &[], Summary::default(), false).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << (place % 8);
            std::fs::write(&path, flipped).unwrap();
            assert!(!is_intact(&File::open(&path).unwrap()).unwrap(), "byte {place}");
        }
    }
}
