//! Writes the embedded log: fences, commits, acknowledges. One at a time; from a thread of its own, which batches
//! what waits in its queue, or in the task that asks for a write (see [`super::shortcut`]).

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::checkpoint::Checkpoint;
use super::frame::{self, Body};
use super::heads::{Open, Sealing};
use super::op::{Op, Written};
use super::segment::{Family, Name};
use super::stage::{Draft, Stage};
use super::tail::{Tail, TailError};
use super::{AppendError, Position, Shared};
use crate::config::faults::CrashPoint;
use crate::health::disk::sync_directory;
use crate::log::now_ms;

/// Writes that are committed together at most.
const BATCH: usize = 512;

/// Bytes that are committed together, about.
const BATCH_BYTES: usize = 4 << 20;

/// This many writes at once mean that there is more to come: waiting a little for it makes fewer and larger batches,
/// and wakes fewer threads.
const BUSY: usize = 8;

/// How long a busy writer waits.
const BATCH_WINDOW: Duration = Duration::from_micros(200);

/// The longest record, in bytes.
pub(super) const LONGEST: usize = 512 << 20;

/// A segment that could not be followed by a new one takes records up to this length, in bytes.
const LONGEST_SEGMENT: u64 = 1 << 30;

/// How often a new segment is tried, while none can be made.
const ROLL_AGAIN: Duration = Duration::from_secs(1);

/// A write that waits, and the task that waits for its outcome.
pub(super) struct Command {
    pub(super) op: Op,
    pub(super) done: Option<oneshot::Sender<Result<Written, AppendError>>>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    tails: [Tail; 2],
    draft: Draft,
    next_position: Position,
    last_at: u64,
    sealer: mpsc::Sender<Sealing>,
    roll_from: Instant,
    crash: CrashPoint,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, tails: [Tail; 2], last_at: u64, sealer: mpsc::Sender<Sealing>) -> Self {
        let next_position = shared.last_position() + 1;
        Self {
            shared,
            tails,
            draft: Draft::default(),
            next_position,
            last_at,
            sealer,
            roll_from: Instant::now(),
            crash: CrashPoint::from_env("CRASH_AFTER_WRITES"),
        }
    }

    /// Whether writes are counted; then all are made by the thread, each on its own.
    pub(super) const fn is_counting(&self) -> bool {
        self.crash.is_armed()
    }

    /// Writes what comes through the queue, until every handle of the log is gone.
    pub(super) fn run(writer: &Mutex<Self>, mut queue: tokio::sync::mpsc::Receiver<Command>) {
        let (most, progress) = {
            let writer = writer.lock();
            (if writer.is_counting() { 1 } else { BATCH }, Arc::clone(&writer.shared.progress))
        };
        let mut commands = Vec::with_capacity(most);
        loop {
            let taken = queue.blocking_recv_many(&mut commands, most);
            if taken == 0 {
                return;
            }
            let working = progress.writer.begin();
            {
                let mut writer = writer.lock();
                progress.writer.tick();
                writer.write_all(&mut commands);
            }
            drop(working);
            if taken >= BUSY {
                std::thread::sleep(BATCH_WINDOW);
            }
        }
    }

    /// Makes one write, right here.
    pub(super) fn write_now(&mut self, op: &Op) -> Result<Written, AppendError> {
        let progress = Arc::clone(&self.shared.progress);
        let _working = progress.writer.begin();
        self.write(op)
    }

    fn write(&mut self, op: &Op) -> Result<Written, AppendError> {
        if op.size() > LONGEST {
            return Err(AppendError::Unavailable("a record is too long".to_owned()));
        }
        if let Op::Roll(ages) = op {
            self.roll_old(*ages);
            return Ok(Written::default());
        }
        self.roll_long();
        let written = self.stage(op);
        match written {
            Ok(written) => self.commit(op.deletes()).map(|()| written),
            Err(error) => {
                self.forget();
                Err(error)
            }
        }
    }

    /// Combines writes into few batches, and reports their outcomes.
    fn write_all(&mut self, commands: &mut Vec<Command>) {
        let mut batch = Vec::with_capacity(commands.len());
        let mut bytes = 0;
        for command in commands.drain(..) {
            let alone = command.op.size() > LONGEST || matches!(command.op, Op::Roll(_) | Op::Move(_));
            if alone || bytes > BATCH_BYTES {
                self.write_batch(std::mem::take(&mut batch));
                bytes = 0;
            }
            bytes += command.op.size();
            batch.push(command);
            if alone {
                self.write_batch(std::mem::take(&mut batch));
                bytes = 0;
            }
        }
        self.write_batch(batch);
    }

    fn write_batch(&mut self, mut batch: Vec<Command>) {
        if batch.len() > 1 {
            self.roll_long();
            let staged: Vec<_> = batch.iter().map(|command| self.stage(&command.op)).collect();
            if self.commit(false).is_ok() {
                for (command, result) in batch.into_iter().zip(staged) {
                    command.complete(result);
                }
                return;
            }
            // What may use the reserve, or is smaller, may still fit.
        }
        for command in batch.drain(..) {
            let result = self.write(&command.op);
            command.complete(result);
        }
    }

    fn stage(&mut self, op: &Op) -> Result<Written, AppendError> {
        // Time that goes back would make older records look like later ones.
        self.last_at = self.last_at.max(now_ms());
        let stage = &mut Stage {
            shared: &self.shared,
            tails: &mut self.tails,
            draft: &mut self.draft,
            next_position: &mut self.next_position,
            at: self.last_at,
        };
        stage.stage(op)
    }

    /// Writes what is staged: all of it, or nothing.
    fn commit(&mut self, deletes: bool) -> Result<(), AppendError> {
        if self.tails.iter().all(|tail| tail.buffer.is_empty()) {
            self.draft.clear();
            return Ok(());
        }
        self.crash.pass();
        let before = self.tails.each_ref().map(Tail::length);
        if let Err(error) = self.write_tails(deletes) {
            return Err(self.fail(before, error));
        }
        self.shared.space.wrote();
        self.take_effect();
        Ok(())
    }

    fn write_tails(&mut self, deletes: bool) -> Result<(), TailError> {
        // A conclusion stands among the transcripts, and what it concludes among the reply logs: first things first.
        for family in [Family::Chains, Family::Transcripts] {
            let tail = &mut self.tails[family.index()];
            if tail.buffer.is_empty() {
                continue;
            }
            tail.write(deletes)?;
            if self.shared.config.sync_always {
                // What a failed sync has lost, no second one finds: nothing more can be promised.
                tail.file()
                    .sync_data()
                    .inspect_err(|error| self.shared.progress.fatal(&format!("the log cannot be synced: {error}")))?;
            }
        }
        Ok(())
    }

    fn take_effect(&mut self) {
        {
            let mut heads = self.shared.heads.write();
            for (family, change) in self.draft.changes.drain(..) {
                heads.apply(family, change);
            }
            for (open, tail) in heads.open.iter_mut().zip(&self.tails) {
                open.length = tail.length();
            }
        }
        if !self.draft.announced.is_empty() || !self.draft.completed.is_empty() {
            let mut erasing = self.shared.erasing.lock();
            erasing.extend(self.draft.announced.drain(..));
            for announced in self.draft.completed.drain(..) {
                erasing.remove(&announced);
            }
        }
        self.shared.move_to(self.next_position - 1);
        self.shared.subscribers.publish(self.draft.records.drain(..));
        self.draft.clear();
    }

    /// Takes back what was staged.
    fn forget(&mut self) {
        self.tails.iter_mut().for_each(Tail::clear);
        self.draft.clear();
        self.next_position = self.shared.last_position() + 1;
    }

    fn fail(&mut self, before: [u64; 2], error: TailError) -> AppendError {
        self.forget();
        for (tail, length) in self.tails.iter_mut().zip(before) {
            if tail.length() != length
                && let Err(error) = tail.roll_back(length)
            {
                self.shared.progress.fatal(&format!("a write that failed cannot be taken back: {error}"));
            }
        }
        match error {
            TailError::Full => {
                self.shared.space.refused();
                AppendError::Full
            }
            TailError::Io(error) => {
                self.shared.space.failed(&error);
                AppendError::Unavailable(error.to_string())
            }
        }
    }

    /// Begins new segments where the open one is long enough.
    fn roll_long(&mut self) {
        for family in Family::BOTH {
            if self.tails[family.index()].length() >= self.shared.config.segment_bytes {
                self.roll(family);
            }
        }
    }

    /// Begins new segments where the open one is old enough, so that what is in it can expire.
    fn roll_old(&mut self, ages: [u64; 2]) {
        for family in Family::BOTH {
            let (opened_at, is_empty) = {
                let heads = self.shared.heads.read();
                let open = &heads.open[family.index()];
                // What is concluded has its last record among the transcripts, and the others still here.
                let is_empty = match family {
                    Family::Transcripts => open.heads.is_empty(),
                    Family::Chains => open.length == 0,
                };
                (open.opened_at, is_empty)
            };
            if !is_empty && now_ms().saturating_sub(opened_at) >= ages[family.index()] {
                self.roll(family);
            }
        }
    }

    /// Begins a new segment. If none can be made, the old one goes on.
    fn roll(&mut self, family: Family) {
        if self.roll_from > Instant::now() {
            return;
        }
        if let Err(error) = self.try_roll(family) {
            tracing::error!(%error, "no new segment of the log can be made; the open one stays in use");
            self.roll_from = Instant::now() + ROLL_AGAIN;
            if self.tails[family.index()].length() > LONGEST_SEGMENT {
                self.shared.progress.fatal(&format!("no new segment of the log can be made: {error}"));
            }
        }
    }

    fn try_roll(&mut self, family: Family) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let (tail, open) = new_segment(&shared, family, self.next_position, self.last_at)?;
        let old = std::mem::replace(&mut self.tails[family.index()], tail);
        // Gives back what was claimed behind its end.
        let _ = old.file().set_len(old.length());
        let sealing = {
            let mut heads = shared.heads.write();
            shared.segments.add(open.name);
            heads.roll(open)
        };
        // It ends with the writer only.
        let _ = self.sealer.send(sealing);
        Ok(())
    }
}

/// Makes a new segment, which no reader sees yet. It expects as many subjects as the one before it had.
pub(super) fn new_segment(
    shared: &Shared,
    family: Family,
    next_position: Position,
    at: u64,
) -> io::Result<(Tail, Open)> {
    let name = Name { number: shared.segments.next_number(), family, first_position: next_position };
    let mut tail = Tail::new(name, Arc::new(shared.segments.create(name)?), 0);
    if let Err(error) = begin(shared, &mut tail, next_position, at) {
        let _ = std::fs::remove_file(shared.segments.path(name));
        return Err(error);
    }
    let capacity = shared.heads.read().open[family.index()].heads.len();
    let mut open = Open::new(name, now_ms(), capacity);
    open.length = tail.length();
    Ok((tail, open))
}

/// Writes what a new segment begins with.
fn begin(shared: &Shared, tail: &mut Tail, next_position: Position, at: u64) -> io::Result<()> {
    if tail.name.family == Family::Transcripts {
        let checkpoint = Checkpoint::of(shared, next_position);
        frame::write(&mut tail.buffer, at, Body::Checkpoint, &checkpoint.encode());
        tail.write(false).map_err(|error| match error {
            TailError::Full => io::ErrorKind::StorageFull.into(),
            TailError::Io(error) => error,
        })?;
    }
    if shared.config.sync_always {
        tail.file().sync_all()?;
        sync_directory(shared.segments.dir())?;
    }
    Ok(())
}

impl Command {
    fn complete(self, result: Result<Written, AppendError>) {
        if let Some(done) = self.done {
            let _ = done.send(result);
        }
    }
}
