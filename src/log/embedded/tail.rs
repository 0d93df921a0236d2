//! The end of an open segment: writes collect in a buffer, which goes to the file at once or not at all.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::frame::Location;
use super::segment::Name;

/// Space of the file system that is claimed at once.
const STEP: u64 = 1 << 20;

/// Of it, what only deletions may use: they free space, so they must not need any that is not there.
pub(super) const RESERVE: u64 = 256 << 10;

/// An open segment, as its writer has it.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) name: Name,
    file: Arc<File>,
    /// Where the buffer goes.
    offset: u64,
    pub(super) buffer: Vec<u8>,
    /// Up to here the file system has claimed space. `None`: it does not do that.
    claimed: Option<u64>,
}

/// Why nothing was written.
#[derive(Debug)]
pub(super) enum TailError {
    /// No space is left, or none that this write may use.
    Full,
    Io(io::Error),
}

impl Tail {
    pub(super) fn new(name: Name, file: Arc<File>, offset: u64) -> Self {
        Self { name, file, offset, buffer: Vec::new(), claimed: Some(offset) }
    }

    /// Where the next record will stand.
    pub(super) fn next(&self) -> Location {
        let offset =
            u32::try_from(self.offset + self.buffer.len() as u64).expect("the writer begins a new segment before");
        Location { segment: self.name.number, offset }
    }

    /// Bytes that are written.
    pub(super) const fn length(&self) -> u64 {
        self.offset
    }

    pub(super) const fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Writes the buffer, and forgets it. After an error the file is as it was before.
    pub(super) fn write(&mut self, uses_reserve: bool) -> Result<(), TailError> {
        if let Err(error) = self.claim(uses_reserve) {
            // The file is as it was: cutting it would give the reserve away.
            self.clear();
            return Err(error);
        }
        match self.file.write_all_at(&self.buffer, self.offset) {
            Ok(()) => {
                self.offset += self.buffer.len() as u64;
                self.clear();
                Ok(())
            }
            Err(error) => {
                self.clear();
                self.roll_back(self.offset)?;
                Err(error.into())
            }
        }
    }

    /// Forgets what was to be written.
    pub(super) fn clear(&mut self) {
        /// A larger buffer was for one large record.
        const LARGEST_IDLE: usize = 1 << 20;
        self.buffer.clear();
        self.buffer.shrink_to(LARGEST_IDLE);
    }

    /// Takes back what was written after this place and is not acknowledged.
    pub(super) fn roll_back(&mut self, to: u64) -> io::Result<()> {
        self.offset = to;
        if self.file.set_len(to).is_ok() {
            self.claimed = self.claimed.map(|_| to);
            self.reclaim();
            return Ok(());
        }
        // A disk that takes nothing at all, as one that became read-only, has taken nothing of this either.
        if self.file.metadata().is_ok_and(|found| found.len() <= to) {
            return Ok(());
        }
        // Nothing that begins here is a record, and what follows was never acknowledged.
        self.file.write_all_at(&[0; 64], to)
    }

    /// Claims again what a cut has given back: on a full disk another program would take it.
    fn reclaim(&mut self) {
        let Some(from) = self.claimed else { return };
        let claim = |length| rustix::fs::fallocate(&*self.file, FallocateFlags::KEEP_SIZE, from, length);
        self.claimed = [STEP, RESERVE]
            .into_iter()
            .find(|length| claim(*length).is_ok())
            .map(|length| from + length)
            .or(Some(from));
    }

    /// Makes sure that there is space for the buffer, and the reserve behind it.
    fn claim(&mut self, uses_reserve: bool) -> Result<(), TailError> {
        let Some(claimed) = self.claimed else { return Ok(()) };
        let end = self.offset + self.buffer.len() as u64;
        if end + RESERVE <= claimed {
            return Ok(());
        }
        let wanted = end + STEP;
        match rustix::fs::fallocate(&*self.file, FallocateFlags::KEEP_SIZE, claimed, wanted - claimed) {
            Ok(()) => self.claimed = Some(wanted),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => self.claimed = None,
            Err(Errno::INTR) => {}
            Err(Errno::NOSPC | Errno::DQUOT) if uses_reserve && end <= claimed => {}
            // What an earlier process claimed is there still.
            Err(Errno::NOSPC | Errno::DQUOT) if uses_reserve => {
                rustix::fs::fallocate(&*self.file, FallocateFlags::KEEP_SIZE, claimed, end - claimed)
                    .map_err(io::Error::from)?;
                self.claimed = Some(end);
            }
            Err(error) => return Err(io::Error::from(error).into()),
        }
        Ok(())
    }
}

impl From<io::Error> for TailError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull, WriteZero};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge | WriteZero => Self::Full,
            _ => Self::Io(error),
        }
    }
}
