//! Erases records where they stand. What is to be erased is announced in the log first, so that an erasure that a crash
//! breaks off is completed at the next start; then the bytes are overwritten, and whole blocks given back.
//!
//! A record's place stays, and with it fences, positions and links. Where records of one reply log stand side by side, all
//! but the last become one filler, so that also many short ones give their space back.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::FallocateFlags;

use super::Shared;
use super::forward::{Forward, Step, is_empty, read_up_to};
use super::frame::{self, Body, FILLER, Fields, Header, Key, LONGEST_HEADER, Location, put_reply};
use super::walk::{Found, Want};
use crate::domain::ids::ReplyId;
use crate::log::Subject;

/// Bytes that are rewritten at once.
const PIECE: u64 = 1 << 20;

/// Records that are looked at before they are erased: a bound on what is in memory.
const AT_ONCE: usize = 16 * 1024;

/// What is shorter frees no block worth a call.
const LEAST_HOLE: u64 = 8 * 1024;

/// What is to be erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Erasure {
    key: Key,
    which: Which,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Which {
    All,
    /// All before this sequence.
    Before(u64),
    These(Vec<u64>),
    /// Records that were written again elsewhere, and are linked no more.
    Copies(Vec<Location>),
}

impl Erasure {
    pub(super) fn records(subject: Subject, sequences: Vec<u64>) -> Self {
        Self { key: subject.into(), which: Which::These(sequences) }
    }

    pub(super) fn before(subject: Subject, sequence: u64) -> Self {
        Self { key: subject.into(), which: Which::Before(sequence) }
    }

    /// All snapshots of a reply.
    pub(super) const fn snapshots(reply: ReplyId) -> Self {
        Self { key: Key::Snapshot(reply), which: Which::All }
    }

    /// Records of a reply that were written again elsewhere.
    pub(super) const fn copies(reply: ReplyId, locations: Vec<Location>) -> Self {
        Self { key: Key::ReplyLog(reply), which: Which::Copies(locations) }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.key {
            Key::Transcript(thread) => {
                bytes.push(0);
                bytes.extend_from_slice(thread.as_bytes());
                bytes.extend_from_slice(&[0; 16]);
            }
            Key::ReplyLog(reply) => {
                bytes.push(1);
                put_reply(&mut bytes, reply);
            }
            Key::Snapshot(reply) => {
                bytes.push(2);
                put_reply(&mut bytes, reply);
            }
        }
        match &self.which {
            Which::All => bytes.push(0),
            Which::Before(sequence) => {
                bytes.push(1);
                bytes.extend_from_slice(&sequence.to_le_bytes());
            }
            Which::These(sequences) => {
                bytes.push(2);
                for sequence in sequences {
                    bytes.extend_from_slice(&sequence.to_le_bytes());
                }
            }
            Which::Copies(locations) => {
                bytes.push(3);
                for location in locations {
                    bytes.extend_from_slice(&location.segment.to_le_bytes());
                    bytes.extend_from_slice(&location.offset.to_le_bytes());
                }
            }
        }
        bytes
    }

    /// From the payload of a record, whose checksum was right.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let mut fields = Fields(bytes);
        let [kind] = fields.array();
        let reply = fields.reply();
        let key = match kind {
            0 => Key::Transcript(reply.thread()),
            1 => Key::ReplyLog(reply),
            _ => Key::Snapshot(reply),
        };
        let [which] = fields.array();
        let which = match which {
            0 => Which::All,
            1 => Which::Before(fields.u64()),
            3 => Which::Copies(fields.0.chunks_exact(8).map(|bytes| Fields(bytes).location()).collect()),
            _ => Which::These(fields.0.chunks_exact(8).map(|bytes| Fields(bytes).u64()).collect()),
        };
        Self { key, which }
    }

    /// The sequence after which to look, and which of what is found there is meant.
    fn wanted(&self) -> (u64, Box<dyn Fn(u64) -> bool + '_>) {
        match &self.which {
            Which::All | Which::Copies(_) => (0, Box::new(|_| true)),
            Which::Before(before) => (0, Box::new(move |sequence| sequence < *before)),
            Which::These(sequences) => {
                let least = sequences.iter().min().copied().unwrap_or(u64::MAX);
                let these: HashSet<u64> = sequences.iter().copied().collect();
                (least.saturating_sub(1), Box::new(move |sequence| these.contains(&sequence)))
            }
        }
    }
}

/// A record that is to be overwritten.
struct Target {
    location: Location,
    header: Header,
}

impl Target {
    fn end(&self) -> u64 {
        u64::from(self.location.offset) + self.header.frame()
    }
}

impl Shared {
    /// Overwrites what an announced erasure names. Can be done again.
    pub(super) fn erase(&self, erasure: &Erasure) -> io::Result<()> {
        let _alone = self.cleaning.lock();
        let _working = self.progress.cleaner.begin();
        if let Which::Copies(locations) = &erasure.which {
            return locations.iter().try_for_each(|location| self.erase_copy(&erasure.key, *location));
        }
        let Some(head) = self.head(&erasure.key)? else { return Ok(()) };
        let (after, is_meant) = erasure.wanted();
        if let Key::Snapshot(_) = &erasure.key {
            // They have no sequence.
            return self.erase_found(&erasure.key, self.snapshots(&erasure.key, head)?.into_iter());
        }
        let mut rest = Some(head);
        while let Some(head) = rest {
            let walked =
                self.walk_alone(&erasure.key, head, Want { limit: AT_ONCE, records: false, ..Want::after(after) })?;
            rest = walked.rest;
            self.erase_found(&erasure.key, walked.found.into_iter().filter(|found| is_meant(found.link.sequence)))?;
        }
        Ok(())
    }

    /// Overwrites a record of a reply that stands there.
    fn erase_copy(&self, key: &Key, location: Location) -> io::Result<()> {
        let Some(file) = self.segments.file(location.segment)? else { return Ok(()) };
        let Ok(header) = Header::read(&read_up_to(&file, u64::from(location.offset), LONGEST_HEADER)?) else {
            return self.erase_lost(location);
        };
        let is_it = match (&header.body, key) {
            (Body::ReplyLog { reply, .. } | Body::Snapshot { reply, .. }, Key::ReplyLog(of)) => reply == of,
            (Body::Conclusion(it), Key::ReplyLog(of)) => it.reply == *of,
            _ => false,
        };
        if is_it { self.erase_run(key, &mut [Target { location, header }]) } else { Ok(()) }
    }

    fn erase_found(&self, key: &Key, found: impl Iterator<Item = Found>) -> io::Result<()> {
        let mut targets = Vec::new();
        for Found { location, header, .. } in found {
            match header {
                Some(header) => targets.push(Target { location, header }),
                None => self.erase_lost(location)?,
            }
        }
        targets.sort_unstable_by_key(|target| target.location);
        for run in targets.chunk_by_mut(|one, next| {
            one.location.segment == next.location.segment && one.end() == u64::from(next.location.offset)
        }) {
            self.progress.cleaner.tick();
            self.erase_run(key, run)?;
        }
        Ok(())
    }

    /// Overwrites a record whose header cannot be read, up to the next one that can.
    fn erase_lost(&self, at: Location) -> io::Result<()> {
        let (name, file) = (self.segments.name(at.segment), self.writable(at.segment)?);
        let (Some(name), Some(file)) = (name, file) else { return Ok(()) };
        let (file, begin, end) = (Arc::new(file), u64::from(at.offset), self.end_of(name)?);
        let to = match Forward::new(Arc::clone(&file), begin, end).next()? {
            Some(Step::Damage { to, .. }) => to,
            Some(Step::Torn { .. }) => end,
            _ => return Ok(()),
        };
        let mut from = begin;
        if to - begin >= FILLER as u64 {
            file.write_all_at(&frame::filler(to - begin), begin)?;
            from += FILLER as u64;
        }
        blank(&file, from, to)
    }

    /// The file of a segment, to be changed. `None`: it has expired.
    fn writable(&self, segment: u32) -> io::Result<Option<File>> {
        let Some(name) = self.segments.name(segment) else { return Ok(None) };
        match OpenOptions::new().read(true).write(true).open(self.segments.path(name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Overwrites records that stand side by side.
    fn erase_run(&self, key: &Key, run: &mut [Target]) -> io::Result<()> {
        let Some(file) = self.writable(run[0].location.segment)? else { return Ok(()) };
        let begin = u64::from(run[0].location.offset);
        let piece = |target: &Target| u64::from(target.location.offset) / PIECE;
        for piece in run.chunk_by_mut(|one, next| piece(one) == piece(next)) {
            overwrite(&file, key, piece)?;
            self.progress.cleaner.tick();
        }
        let (first, last) = (&run[0], &run[run.len() - 1]);
        let last_at = u64::from(last.location.offset);
        if run.len() > 1
            && let Key::ReplyLog(_) = key
            && let Body::ReplyLog { link, .. } = &first.header.body
            && matches!(last.header.body, Body::ReplyLog { .. })
        {
            // The last one, to which the record after it is linked, is linked to the one before the first.
            file.write_all_at(&last.header.relinked(link.previous), last_at)?;
            file.write_all_at(&frame::filler(last_at - begin), begin)?;
            blank(&file, begin + FILLER as u64, last_at)?;
        }
        // A conclusion may be erased in one of its parts only.
        if is_empty(&last.header) {
            punch(&file, last_at + last.header.length() as u64, last.end());
        }
        if self.config.sync_always {
            file.sync_data()?;
        }
        Ok(())
    }
}

/// Marks records that stand side by side as erased, and overwrites what they hold.
fn overwrite(file: &File, key: &Key, run: &mut [Target]) -> io::Result<()> {
    let begin = u64::from(run[0].location.offset);
    let length = run[run.len() - 1].end() - begin;
    let before = read_up_to(file, begin, usize::try_from(length).unwrap_or(usize::MAX))?;
    let mut bytes = before.to_vec();
    for target in run.iter_mut() {
        let start = usize::try_from(u64::from(target.location.offset) - begin).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(target.header.frame()).unwrap_or(usize::MAX));
        if let Some(frame) = bytes.get_mut(start..end) {
            target.header.erase(key, frame);
        }
    }
    // Done again it changes nothing, and writing into holes would need space.
    if bytes == before { Ok(()) } else { file.write_all_at(&bytes, begin) }
}

/// Overwrites bytes with zeros, in pieces, and gives whole blocks back.
fn blank(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; usize::try_from(PIECE.min(to.saturating_sub(from))).unwrap_or(0)];
    let mut at = from;
    while at < to {
        let length = usize::try_from((to - at).min(PIECE)).unwrap_or(0);
        file.write_all_at(&zeros[..length], at)?;
        at += length as u64;
    }
    punch(file, from, to);
    Ok(())
}

/// Returns whole blocks to the file system, if it supports that; they read as zeros.
fn punch(file: &File, from: u64, to: u64) {
    if to.saturating_sub(from) >= LEAST_HOLE {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = rustix::fs::fallocate(file, flags, from, to - from);
    }
}
