//! Overwrites what `SQLite` leaves behind. `secure_delete` clears the place of a row that is deleted; but a page from which
//! rows moved to another one, because it was full or nearly empty, keeps copies of them in its unallocated space, also
//! when the rows are deleted later. That space means nothing to `SQLite`, and stands where its [file format] says.
//!
//! [file format]: https://www.sqlite.org/fileformat2.html#b_tree_pages

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The first byte of a page with rows of a table. Indexes hold ids only.
const TABLE_LEAF: u8 = 0x0d;
/// Pages that hold the rest of a long row begin with the number of the next one. In files with fewer pages than this
/// (893 GB of the smallest pages in use) none of those numbers begins as a [`TABLE_LEAF`] does.
const MOST_PAGES: u64 = (TABLE_LEAF as u64) << 24;
/// Of the write-ahead log, and of each page in it.
const LOG_HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;

/// The database's file, past `SQLite`.
///
/// It is opened before any connection, and closed after all: a process that closes a file loses its locks on it,
/// [whichever descriptor they were made with](https://www.sqlite.org/howtocorrupt.html#posix_advisory_locks_canceled_by_a_separate_thread_doing_close_).
#[derive(Debug)]
pub(super) struct DatabaseFile(File);

/// Pages that were changed.
#[derive(Debug)]
pub(super) struct Pages {
    size: usize,
    numbers: BTreeSet<u32>,
}

impl DatabaseFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        File::options().read(true).write(true).create(true).truncate(false).open(path).map(Self)
    }

    /// Overwrites the unallocated space of these pages, and tells of how many it was not empty. To be called while nobody
    /// can write to the file. Readers may go on: nothing changes for them.
    pub(super) fn erase_remains(&self, pages: &Pages) -> io::Result<usize> {
        let length = self.0.metadata()?.len();
        let size = pages.size as u64;
        if length / size >= MOST_PAGES {
            return Ok(0);
        }
        let mut page = vec![0; pages.size];
        let mut erased = 0;
        // The first page is no such page, and those beyond the end were given back.
        for number in pages.numbers.range(2..).map(|number| u64::from(*number)).filter(|number| number * size <= length)
        {
            let place = (number - 1) * size;
            self.0.read_exact_at(&mut page, place)?;
            let Some(range) = unallocated(&page).filter(|range| page[range.clone()].iter().any(|byte| *byte != 0))
            else {
                continue;
            };
            let zeros = vec![0; range.len()];
            self.0.write_all_at(&zeros, place + range.start as u64)?;
            erased += 1;
        }
        if erased > 0 {
            self.0.sync_data()?;
        }
        Ok(erased)
    }
}

impl Pages {
    /// Those that a write-ahead log holds, also those of transactions that did not come to their end. `None`: it holds
    /// nothing, or is not there.
    pub(super) fn of_log(path: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        if length < LOG_HEADER {
            return Ok(None);
        }
        let word = |place| {
            let mut bytes = [0; 4];
            file.read_exact_at(&mut bytes, place).map(|()| u32::from_be_bytes(bytes))
        };
        let size = word(8)?;
        if !size.is_power_of_two() || !(512..=65_536).contains(&size) {
            return Ok(None);
        }
        let frames = (length - LOG_HEADER) / (FRAME_HEADER + u64::from(size));
        let places = (0..frames).map(|frame| LOG_HEADER + frame * (FRAME_HEADER + u64::from(size)));
        let numbers = places.map(word).collect::<io::Result<_>>()?;
        Ok(Some(Self { size: size as usize, numbers }))
    }
}

/// Where a page with rows holds nothing: between the places of its rows and the rows.
fn unallocated(page: &[u8]) -> Option<Range<usize>> {
    let word = |place: usize| usize::from(u16::from_be_bytes([page[place], page[place + 1]]));
    let rows = word(3);
    let content = if word(5) == 0 { 65_536 } else { word(5) };
    let range = 8 + 2 * rows..content;
    (page[0] == TABLE_LEAF && range.start <= range.end && range.end <= page.len()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_unallocated_space_of_pages_with_rows_is_overwritten() {
        let mut leaf = vec![0xff; 512];
        leaf[..8].copy_from_slice(&[TABLE_LEAF, 0, 0, 0, 2, 1, 0, 0]);
        assert_eq!(unallocated(&leaf), Some(12..256));
        for (place, byte) in [(0, 0x05), (0, 0), (3, 0xff), (5, 0x03)] {
            let mut other = leaf.clone();
            other[place] = byte;
            assert_eq!(unallocated(&other), None);
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, [vec![0xff; 512], leaf.clone(), vec![0xff; 512]].concat()).unwrap();
        let pages = Pages { size: 512, numbers: [1, 2, 3, 9].into() };
        let file = DatabaseFile::open(&path).unwrap();
        assert_eq!((file.erase_remains(&pages).unwrap(), file.erase_remains(&pages).unwrap()), (1, 0));
        leaf[12..256].fill(0);
        assert_eq!(std::fs::read(&path).unwrap(), [vec![0xff; 512], leaf, vec![0xff; 512]].concat());
    }

    #[test]
    fn a_log_that_is_none_has_no_pages() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file-wal");
        assert!(Pages::of_log(&path).unwrap().is_none());
        for content in [&b""[..], &[0; 31], &[0; 5000]] {
            std::fs::write(&path, content).unwrap();
            assert!(Pages::of_log(&path).unwrap().is_none());
        }
    }
}
