//! Opens a log: finds its segments, reads the open ones, cuts off incomplete writes, and reports what is damaged.
//! Sealed segments are not read: how much is retained makes no difference to a start.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::Checkpoint;
use super::damage::{Damage, Lost};
use super::erase::Erasure;
use super::forward::{Forward, Step};
use super::frame::{Body, Header, Location};
use super::heads::{Head, Heads, Lease, Open};
use super::segment::{Family, INDEX, Name, Segments};
use super::{LOCK, OpenError};
use crate::domain::ids::{InstanceId, ReplyId, random_u64};
use crate::health::disk;
use crate::log::{Position, now_ms};

/// The log's directory in `DATA_DIR`.
pub(super) const DIRECTORY: &str = "log";
/// The file that marks a log, and holds its format.
pub(super) const FORMAT: &str = "format";
const FIRST_LINE: &str = "rejoinder log 2";

/// A log, as it was found.
pub(super) struct Recovered {
    pub(super) lock: File,
    pub(super) segments: Segments,
    pub(super) heads: Heads,
    pub(super) identity: u64,
    pub(super) next_position: Position,
    pub(super) last_at: u64,
    pub(super) erasing: BTreeMap<Location, Erasure>,
    pub(super) damage: Damage,
    /// Segments that take no more records and have no index yet.
    pub(super) unindexed: Vec<Name>,
}

/// Opens the directory: makes it if it is not there, and keeps others out.
pub(super) fn directory(data_dir: &Path) -> Result<(PathBuf, File), OpenError> {
    let unwritable = |source| OpenError::Unwritable { dir: data_dir.to_owned(), source };
    let dir = data_dir.join(DIRECTORY);
    std::fs::create_dir_all(&dir).map_err(unwritable)?;
    disk::try_to_write(data_dir).map_err(unwritable)?;
    if is_older_form(&dir) {
        return Err(OpenError::OlderForm { dir });
    }
    let lock = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(dir.join(LOCK));
    let lock = lock.map_err(unwritable)?;
    match lock.try_lock() {
        Ok(()) => Ok((dir, lock)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(data_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(unwritable(source)),
    }
}

/// Whether this is the log of a version that stored it in a database.
pub(super) fn is_older_form(dir: &Path) -> bool {
    !dir.join(FORMAT).exists() && dir.join("keyspaces").is_dir()
}

/// Reads what is there.
pub(super) fn recover(dir: &Path, lock: File) -> Result<Recovered, OpenError> {
    let damaged = |message: String| OpenError::Damaged { dir: dir.to_owned(), message };
    let unreadable = |source| OpenError::Unwritable { dir: dir.to_owned(), source };
    let segments = Segments::find(dir).map_err(unreadable)?;
    let written = read_format(dir).map_err(damaged)?;
    let mut reading = Reading::new(&segments);
    reading.read_all().map_err(unreadable)?;
    let identity = written.or(reading.identity).unwrap_or_else(random_u64);
    if written.is_none() {
        write_format(dir, identity).map_err(unreadable)?;
    }
    let unindexed = segments.unindexed().map_err(unreadable)?;
    let Reading { open, leases, next_position, last_at, erasing, damage, .. } = reading;
    let mut heads = Heads::new(open);
    settle(&mut heads);
    for (reply, instance) in leases {
        heads.leases.insert(reply, Lease::found(instance));
    }
    Ok(Recovered { lock, segments, heads, identity, next_position, last_at, erasing, damage, unindexed })
}

/// A reply log has its last record in one of the open segments only, as far as is remembered.
fn settle(heads: &mut Heads) {
    let [transcripts, reply_logs] = &mut heads.open;
    reply_logs.heads.retain(|key, head| match transcripts.heads.get(key) {
        Some(other) if Head::later(Some(*other), Some(*head)) == Some(*other) => false,
        Some(_) => {
            transcripts.heads.remove(key);
            true
        }
        None => true,
    });
}

fn read_format(dir: &Path) -> Result<Option<u64>, String> {
    let text = match std::fs::read(dir.join(FORMAT)) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{FORMAT}: {error}")),
    };
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    if first != FIRST_LINE && first.starts_with("rejoinder log ") && first.len() <= FIRST_LINE.len() + 2 {
        let version = first.trim_start_matches("rejoinder log ");
        if version.parse::<u32>().is_ok_and(|version| version > 2) {
            return Err(format!("it is of a later version of rejoinder (form {version}); start that one"));
        }
    }
    let identity = lines.next().and_then(|line| u64::from_str_radix(line.strip_prefix("identity ")?, 16).ok());
    if first != FIRST_LINE || identity.is_none() {
        tracing::error!("the file that names the log is damaged; its name is taken from the segments");
        return Ok(None);
    }
    Ok(identity)
}

fn write_format(dir: &Path, identity: u64) -> io::Result<()> {
    let unfinished = dir.join("format.new");
    std::fs::write(&unfinished, format!("{FIRST_LINE}\nidentity {identity:016x}\n"))?;
    std::fs::rename(unfinished, dir.join(FORMAT))
}

/// What was read from the open segments.
struct Reading<'a> {
    segments: &'a Segments,
    open: [Open; 2],
    leases: HashMap<ReplyId, InstanceId>,
    erasing: BTreeMap<Location, Erasure>,
    identity: Option<u64>,
    next_position: Position,
    last_at: u64,
    damage: Damage,
}

impl<'a> Reading<'a> {
    fn new(segments: &'a Segments) -> Self {
        let none = |family| Open::new(Name { number: 0, family, first_position: 1 }, now_ms(), 0);
        Self {
            segments,
            open: Family::BOTH.map(none),
            leases: HashMap::new(),
            erasing: BTreeMap::new(),
            identity: None,
            next_position: 1,
            last_at: 0,
            damage: Damage::default(),
        }
    }

    fn read_all(&mut self) -> io::Result<()> {
        if let Some(newest) = self.segments.of(Family::Chains).pop() {
            self.read(newest, true)?;
        }
        let transcripts = self.segments.of(Family::Transcripts);
        let Some(newest) = transcripts.last() else { return Ok(()) };
        self.next_position = newest.first_position.max(1);
        // One whose checkpoint is damaged needs the segment before it, too.
        let mut from = transcripts.len() - 1;
        while from > 0 && self.checkpoint(transcripts[from])?.is_none() {
            from -= 1;
        }
        for name in &transcripts[from..] {
            self.read(*name, name == newest)?;
        }
        Ok(())
    }

    fn checkpoint(&self, name: Name) -> io::Result<Option<Checkpoint>> {
        let Some(file) = self.segments.file(name.number)? else { return Ok(None) };
        let end = file.metadata()?.len();
        Ok(match Forward::new(file, 0, end).next()? {
            Some(Step::Record { offset: 0, header, payload }) => checkpoint_in(&header, &payload),
            _ => None,
        })
    }

    /// Reads a segment. The newest of its family is the open one.
    fn read(&mut self, name: Name, is_open: bool) -> io::Result<()> {
        let Some(file) = self.segments.file(name.number)? else { return Ok(()) };
        let mut end = file.metadata()?.len();
        let mut open = Open::new(name, now_ms(), 0);
        let mut forward = Forward::new(file, 0, end);
        let (mut unreadable, mut last) = (Vec::new(), None);
        while let Some(step) = forward.next()? {
            match step {
                Step::Record { offset, header, payload } => {
                    last = Some((offset, is_unwritten(&header, &payload)));
                    self.name_lost(&header, name.number, &unreadable);
                    if !header.is_intact(&payload) && !last.is_some_and(|(_, unwritten)| unwritten) {
                        for (key, link) in header.links() {
                            let place = Location { segment: name.number, offset };
                            self.damage.found(&Lost::record(&key, link.sequence, place));
                        }
                    }
                    self.note(&mut open, offset, &header, &payload);
                }
                Step::Damage { from, to } => {
                    self.damage.found(&Lost::bytes(from, to, name.number));
                    unreadable.push(u32::try_from(from).unwrap_or(u32::MAX));
                }
                Step::Torn { from } if is_open => end = self.cut(name, from, end)?,
                Step::Torn { from } => self.damage.found(&Lost::bytes(from, end, name.number)),
            }
        }
        // The header reached the disk before a power cut, what it announces did not.
        if let Some((offset, true)) = last.filter(|_| is_open) {
            self.cut(name, u64::from(offset), end)?;
            return self.read(name, is_open);
        }
        if is_open {
            (open.length, open.recovered) = (end, end);
            self.open[name.family.index()] = open;
        }
        Ok(())
    }

    /// Cuts what was not written whole, and so never acknowledged.
    fn cut(&self, name: Name, from: u64, end: u64) -> io::Result<u64> {
        tracing::warn!(
            segment = %self.segments.path(name).display(),
            bytes = end - from,
            "the end of the log was not written whole before the process ended; it is cut"
        );
        OpenOptions::new().write(true).open(self.segments.path(name))?.set_len(from)?;
        Ok(from)
    }

    /// Names records that cannot be read, by the links of those after them.
    fn name_lost(&self, header: &Header, segment: u32, unreadable: &[u32]) {
        for (key, link) in header.links() {
            if link.previous.segment == segment && unreadable.contains(&link.previous.offset) {
                self.damage.named(&Lost::record(&key, link.sequence.saturating_sub(1), link.previous));
            }
        }
    }

    fn note(&mut self, open: &mut Open, offset: u32, header: &Header, payload: &bytes::Bytes) {
        let location = Location { segment: open.name.number, offset };
        self.last_at = self.last_at.max(header.at);
        note_heads(open, location, header);
        match &header.body {
            Body::Transcript { position, lease, .. } => {
                self.next_position = self.next_position.max(position + 1);
                self.leases.extend(*lease);
            }
            Body::Conclusion(it) => {
                self.next_position = self.next_position.max(it.position + 1);
                self.leases.remove(&it.reply);
            }
            Body::Hold { reply, instance } => {
                self.leases.insert(*reply, *instance);
            }
            Body::Release { reply } => {
                self.leases.remove(reply);
            }
            Body::Erasing if header.is_intact(payload) => {
                self.erasing.insert(location, Erasure::decode(payload));
            }
            Body::Erased { announced } => {
                self.erasing.remove(announced);
            }
            Body::Checkpoint => {
                if let Some(checkpoint) = checkpoint_in(header, payload) {
                    self.identity = Some(checkpoint.identity);
                    self.next_position = self.next_position.max(checkpoint.next_position);
                    self.leases = checkpoint.leases.into_iter().collect();
                    self.erasing = checkpoint.erasing.into_iter().collect();
                } else {
                    self.damage.found(&Lost::other("a checkpoint, which older segments repeat", location));
                }
            }
            Body::ReplyLog { .. } | Body::Snapshot { .. } | Body::Erasing | Body::Filler => {}
        }
    }
}

/// Notes a record in the index of its segment.
pub(super) fn note_heads(open: &mut Open, location: Location, header: &Header) {
    for (key, link) in header.links() {
        open.heads.insert(key, Head { sequence: link.sequence, at: header.at, location });
    }
    open.summary.last_at = open.summary.last_at.max(header.at);
    if let Some((_, position)) = header.position() {
        open.note_position(position, location.offset);
    }
}

fn checkpoint_in(header: &Header, payload: &bytes::Bytes) -> Option<Checkpoint> {
    (header.body == Body::Checkpoint && header.is_intact(payload)).then(|| Checkpoint::decode(payload))
}

/// Whether a record's payload never reached the disk: records are JSON, which does not end in zeros.
fn is_unwritten(header: &Header, payload: &bytes::Bytes) -> bool {
    !header.is_intact(payload)
        && !header.erased
        && !header.transcript_erased
        && matches!(
            header.body,
            Body::Transcript { .. } | Body::ReplyLog { .. } | Body::Snapshot { .. } | Body::Conclusion(_)
        )
        && payload.last() == Some(&0)
}

impl Segments {
    /// Sealed segments without an index.
    fn unindexed(&self) -> io::Result<Vec<Name>> {
        let mut unindexed = Vec::new();
        let indexed: std::collections::HashSet<u32> = std::fs::read_dir(self.dir())?
            .filter_map(|entry| match Name::parse(entry.ok()?.file_name().to_str()?)? {
                (name, INDEX) => Some(name.number),
                _ => None,
            })
            .collect();
        for family in Family::BOTH {
            let mut sealed = self.of(family);
            sealed.pop();
            unindexed.extend(sealed.into_iter().filter(|name| !indexed.contains(&name.number)));
        }
        Ok(unindexed)
    }
}

/// What an unindexed segment holds, read from it.
pub(super) fn read_sealed(segments: &Segments, name: Name) -> io::Result<Option<Open>> {
    let Some(file) = segments.file(name.number)? else { return Ok(None) };
    let mut open = Open::new(name, 0, 0);
    open.length = file.metadata()?.len();
    let mut forward = Forward::new(Arc::clone(&file), 0, open.length);
    while let Some(step) = forward.next()? {
        if let Step::Record { offset, header, .. } = step {
            note_heads(&mut open, Location { segment: name.number, offset }, &header);
        }
    }
    Ok(Some(open))
}
