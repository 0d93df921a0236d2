//! The segment files of a log: their names, which there are, and a bounded number of open descriptors.
//!
//! Two families, so that what expires together lies together: transcripts (`LOG_RETENTION`, 7 days) and replies' reply logs
//! with their snapshots (`REPLAY_WINDOW`, 2 hours). Numbers count over both, so that a [`Location`] needs no family.
//!
//! [`Location`]: super::frame::Location

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::log::Position;

/// Sealed segments whose files are open at once, at most; each may have its index open, too.
pub(super) const OPEN_FILES: usize = 128;

/// What lies in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Family {
    /// Transcripts, leases, conclusions, erasures.
    Transcripts,
    /// Reply logs and snapshots.
    Chains,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::Transcripts, Self::Chains];

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    const fn letter(self) -> char {
        match self {
            Self::Transcripts => 't',
            Self::Chains => 'c',
        }
    }
}

/// A segment's file, which its name describes completely: `t-<number>-<first position>.seg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) number: u32,
    pub(super) family: Family,
    /// The position of the first transcript's record that can be in it.
    pub(super) first_position: Position,
}

impl Name {
    fn file(&self, extension: &str) -> String {
        let Self { number, family, first_position } = self;
        format!("{}-{number:08x}-{first_position:016x}.{extension}", family.letter())
    }

    /// The segment whose file, or index, has this name.
    pub(super) fn parse(file: &str) -> Option<(Self, &str)> {
        let (stem, extension) = file.split_once('.')?;
        let mut parts = stem.split('-');
        let family = match parts.next()? {
            "t" => Family::Transcripts,
            "c" => Family::Chains,
            _ => return None,
        };
        let number = u32::from_str_radix(parts.next()?, 16).ok()?;
        let first_position = u64::from_str_radix(parts.next()?, 16).ok()?;
        parts.next().is_none().then_some((Self { number, family, first_position }, extension))
    }
}

/// A segment's file.
pub(super) const SEGMENT: &str = "seg";
/// The index of a sealed segment.
pub(super) const INDEX: &str = "idx";

/// All segments. Shared by readers, the writer and the cleaner.
#[derive(Debug)]
pub(super) struct Segments {
    dir: PathBuf,
    names: RwLock<BTreeMap<u32, Name>>,
    open: Mutex<BTreeMap<(u32, bool), Opened>>,
    ticks: AtomicU64,
}

#[derive(Debug)]
struct Opened {
    file: Arc<File>,
    used: u64,
}

impl Segments {
    /// The segments in this directory. Indexes without a segment, which an expiry left, go.
    pub(super) fn find(dir: &Path) -> io::Result<Self> {
        let (segments, indexes) = Self::list(dir)?;
        for orphan in indexes.into_iter().filter(|index| segments.name(index.number).is_none()) {
            let _ = std::fs::remove_file(segments.index_path(orphan));
        }
        Ok(segments)
    }

    /// The segments in this directory, which another process may have open: nothing is changed.
    pub(super) fn look(dir: &Path) -> io::Result<Self> {
        Ok(Self::list(dir)?.0)
    }

    fn list(dir: &Path) -> io::Result<(Self, Vec<Name>)> {
        let (mut names, mut indexes) = (BTreeMap::new(), Vec::new());
        for entry in std::fs::read_dir(dir)? {
            let file = entry?.file_name();
            match file.to_str().and_then(Name::parse) {
                Some((name, SEGMENT)) => {
                    names.insert(name.number, name);
                }
                Some((name, INDEX)) => indexes.push(name),
                _ => {}
            }
        }
        let segments =
            Self { dir: dir.to_owned(), names: RwLock::new(names), open: Mutex::default(), ticks: AtomicU64::new(0) };
        Ok((segments, indexes))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn path(&self, name: Name) -> PathBuf {
        self.dir.join(name.file(SEGMENT))
    }

    pub(super) fn index_path(&self, name: Name) -> PathBuf {
        self.dir.join(name.file(INDEX))
    }

    /// The segments of a family, oldest first.
    pub(super) fn of(&self, family: Family) -> Vec<Name> {
        self.names.read().values().filter(|name| name.family == family).copied().collect()
    }

    pub(super) fn name(&self, number: u32) -> Option<Name> {
        self.names.read().get(&number).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.names.read().len()
    }

    /// The number after the last.
    pub(super) fn next_number(&self) -> u32 {
        self.names.read().last_key_value().map_or(1, |(number, _)| number + 1)
    }

    /// The segment of transcripts in which this position would be, and those after it.
    pub(super) fn beginning_at(&self, position: Position) -> Vec<Name> {
        let mut names = self.of(Family::Transcripts);
        let after = names.partition_point(|name| name.first_position <= position);
        names.drain(..after.saturating_sub(1));
        names
    }

    /// Makes the file of a new segment, which no reader sees before it is [added](Segments::add).
    pub(super) fn create(&self, name: Name) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(self.path(name))
    }

    /// Makes the segment visible. Readers take it for sealed, unless the heads list it as open: they
    /// have to be locked meanwhile.
    pub(super) fn add(&self, name: Name) {
        self.names.write().insert(name.number, name);
    }

    /// Removes a segment.
    pub(super) fn remove(&self, name: Name) -> io::Result<()> {
        self.names.write().remove(&name.number);
        {
            let mut open = self.open.lock();
            open.remove(&(name.number, false));
            open.remove(&(name.number, true));
        }
        std::fs::remove_file(self.path(name))?;
        match std::fs::remove_file(self.index_path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// A segment's file, to be read. `None`: it has expired.
    pub(super) fn file(&self, number: u32) -> io::Result<Option<Arc<File>>> {
        let Some(name) = self.name(number) else { return Ok(None) };
        self.opened((number, false), &self.path(name))
    }

    /// The file of a sealed segment's index. `None`: there is none.
    pub(super) fn index(&self, name: Name) -> io::Result<Option<Arc<File>>> {
        self.opened((name.number, true), &self.index_path(name))
    }

    /// Whether that index was opened before, and checked.
    pub(super) fn is_index_open(&self, name: Name) -> bool {
        self.open.lock().contains_key(&(name.number, true))
    }

    /// Forgets a file, which is to be opened anew.
    pub(super) fn close_index(&self, name: Name) {
        self.open.lock().remove(&(name.number, true));
    }

    fn opened(&self, key: (u32, bool), path: &Path) -> io::Result<Option<Arc<File>>> {
        let used = self.ticks.fetch_add(1, Ordering::Relaxed);
        if let Some(opened) = self.open.lock().get_mut(&key) {
            opened.used = used;
            return Ok(Some(Arc::clone(&opened.file)));
        }
        let file = match File::open(path) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut open = self.open.lock();
        if open.len() >= 2 * OPEN_FILES
            && let Some(oldest) = open.iter().min_by_key(|(_, opened)| opened.used).map(|(key, _)| *key)
        {
            open.remove(&oldest);
        }
        open.insert(key, Opened { file: Arc::clone(&file), used });
        Ok(Some(file))
    }

    /// How many files are open.
    pub(super) fn open_files(&self) -> usize {
        self.open.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_describes_a_segment_completely() {
        let name = Name { number: 17, family: Family::Chains, first_position: 1 << 40 };
        assert_eq!(Name::parse(&name.file(SEGMENT)), Some((name, SEGMENT)));
        for other in ["", "lock", "t-1.seg", "x-00000001-0000000000000001.seg", "t-1-2-3.seg", "t-z-1.seg"] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }

    #[test]
    fn descriptors_are_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let segments = Segments::find(directory.path()).unwrap();
        for number in 1..=u32::try_from(3 * OPEN_FILES).unwrap() {
            let name = Name { number, family: Family::Chains, first_position: 0 };
            segments.create(name).unwrap();
            segments.add(name);
            assert!(segments.file(number).unwrap().is_some());
        }
        assert!(segments.open_files() <= 2 * OPEN_FILES);
        assert!(segments.file(9999).unwrap().is_none());
    }
}
