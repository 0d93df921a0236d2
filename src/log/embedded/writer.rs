//! The thread that writes the embedded log: gathers, fences, commits, acknowledges.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fjall::{OwnedWriteBatch, PersistMode};
use tokio::sync::{mpsc, oneshot};

use super::tables::{birth_key, blob_key, chain_key, reply_key, thread_key, timed, transcript_entry};
use super::{AppendError, Position, Shared, Subject};
use crate::conversation::ids::{InstanceId, ReplyId, ThreadId};
use crate::crash::CrashPoint;

/// Writes that are committed together at most.
const BATCH: usize = 512;

/// So many writes at once say that there is more to come: waiting a little for it makes fewer and larger batches, and
/// wakes fewer threads.
const BUSY: usize = 8;

/// How long a busy writer waits.
const GATHER: Duration = Duration::from_micros(200);

/// Subjects whose last sequence is remembered, in each of two generations.
const HEADS: usize = 16 * 1024;

type Done<T> = oneshot::Sender<Result<T, AppendError>>;

pub(super) enum Command {
    Append {
        subject: Subject,
        /// `None`: the subject is new.
        expected: Option<u64>,
        payload: Bytes,
        /// Written with it, if it is written.
        ticket: Option<(InstanceId, ReplyId)>,
        done: Done<u64>,
    },
    Write {
        op: Op,
        done: Option<Done<()>>,
    },
}

/// A write without a fence.
pub(super) enum Op {
    Erase { subject: Subject, sequences: Vec<u64> },
    PutSnapshot { reply: ReplyId, snapshot: Bytes },
    EraseSnapshot(ReplyId),
    Hold { instance: InstanceId, reply: ReplyId },
    Release(ReplyId),
    PutBlob { thread: ThreadId, hash: [u8; 32], blob: Bytes },
    EraseBlobs { thread: ThreadId, hashes: HashSet<[u8; 32]> },
    ExpireTranscript(Vec<(Position, ThreadId, u64)>),
    ExpireChain { born: u64, reply: ReplyId, last: u64 },
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    heads: Heads,
    next_position: Position,
    crash: CrashPoint,
}

/// What is told to whom once a batch is committed.
#[derive(Default)]
struct Outcome {
    appended: Vec<(Done<u64>, u64)>,
    written: Vec<Done<()>>,
    records: Vec<(Subject, u64)>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let next_position = shared.last_position.load(Ordering::Relaxed) + 1;
        Self { shared, heads: Heads::default(), next_position, crash: CrashPoint::from_env() }
    }

    /// Writes until every handle of the log is gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let most = if self.crash.is_armed() { 1 } else { BATCH };
        let mut commands = Vec::with_capacity(most);
        loop {
            let taken = queue.blocking_recv_many(&mut commands, most);
            if taken == 0 {
                return;
            }
            self.write(commands.drain(..));
            if taken >= BUSY {
                std::thread::sleep(GATHER);
            }
        }
    }

    fn write(&mut self, commands: impl Iterator<Item = Command>) {
        let mut batch = self.shared.tables.database.batch();
        let mut outcome = Outcome::default();
        let at = now_ms();
        for command in commands {
            match command {
                Command::Append { subject, expected, payload, ticket, done } => {
                    match self.stage_append(&mut batch, subject, expected, &payload, at) {
                        Ok(sequence) => {
                            if let Some((instance, reply)) = ticket {
                                self.stage(&mut batch, Op::Hold { instance, reply }, at);
                            }
                            outcome.appended.push((done, sequence));
                            outcome.records.push((subject, sequence));
                        }
                        Err(error) => drop(done.send(Err(error))),
                    }
                }
                Command::Write { op, done } => {
                    self.stage(&mut batch, op, at);
                    outcome.written.extend(done);
                }
            }
        }
        if !batch.is_empty() {
            self.crash.before_write();
        }
        self.commit(batch, outcome);
    }

    fn commit(&mut self, batch: OwnedWriteBatch, outcome: Outcome) {
        let mode = if self.shared.config.sync_always { PersistMode::SyncData } else { PersistMode::Buffer };
        if let Err(error) = batch.durability(Some(mode)).commit() {
            return self.fail(&error, outcome);
        }
        let last = self.next_position - 1;
        if self.shared.last_position.swap(last, Ordering::Release) != last {
            self.shared.moved.send_replace(last);
        }
        self.shared.subscribers.publish(outcome.records.into_iter());
        for (done, sequence) in outcome.appended {
            let _ = done.send(Ok(sequence));
        }
        for done in outcome.written {
            let _ = done.send(Ok(()));
        }
    }

    /// fjall takes no more writes after one that failed: what it has on disk is read again at the next start.
    fn fail(&mut self, error: &fjall::Error, outcome: Outcome) {
        if !self.shared.broken.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the log cannot be written; restart the server when the cause is mended");
        }
        self.heads = Heads::default();
        self.next_position = self.shared.last_position.load(Ordering::Relaxed) + 1;
        let unavailable = || AppendError::Unavailable(error.to_string());
        for (done, _) in outcome.appended {
            let _ = done.send(Err(unavailable()));
        }
        for done in outcome.written {
            let _ = done.send(Err(unavailable()));
        }
    }

    fn stage_append(
        &mut self,
        batch: &mut OwnedWriteBatch,
        subject: Subject,
        expected: Option<u64>,
        payload: &[u8],
        at: u64,
    ) -> Result<u64, AppendError> {
        if let Some(expected) = expected {
            self.check_fence(subject, expected)?;
        }
        let expected = expected.unwrap_or(0);
        let tables = &self.shared.tables;
        let sequence = expected + 1;
        match subject {
            Subject::Transcript(thread) => {
                let position = self.next_position.to_be_bytes();
                self.next_position += 1;
                batch.insert(&tables.transcript, position, transcript_entry(thread, sequence, at, payload));
                batch.insert(&tables.threads, thread_key(thread, sequence), position);
                if expected == 0 {
                    batch.insert(&tables.threads, thread_key(thread, 0), []);
                }
            }
            Subject::Chain(reply) => {
                batch.insert(&tables.chain, chain_key(reply, sequence), timed(at, payload));
                if expected == 0 {
                    batch.insert(&tables.births, birth_key(at, reply), []);
                }
            }
        }
        self.heads.set(subject, sequence);
        Ok(sequence)
    }

    fn check_fence(&mut self, subject: Subject, expected: u64) -> Result<(), AppendError> {
        if self.heads.get(subject) == Some(expected) {
            return Ok(());
        }
        let tables = &self.shared.tables;
        let unavailable = |error: fjall::Error| AppendError::Unavailable(error.to_string());
        let last = match self.heads.get(subject) {
            Some(last) => last,
            None if expected == 0 && !tables.has(subject, 0).map_err(unavailable)? => 0,
            None => tables.last_sequence(subject).map_err(unavailable)?,
        };
        self.heads.set(subject, last);
        if last == expected { Ok(()) } else { Err(AppendError::Conflict { expected, last }) }
    }

    fn stage(&mut self, batch: &mut OwnedWriteBatch, op: Op, at: u64) {
        let tables = &self.shared.tables;
        match op {
            Op::Hold { instance, reply } => {
                batch.insert(&tables.tickets, reply_key(reply), instance.number().to_be_bytes());
            }
            Op::Release(reply) => batch.remove(&tables.tickets, reply_key(reply)),
            Op::PutSnapshot { reply, snapshot } => {
                batch.insert(&tables.snapshots, reply_key(reply), timed(at, &snapshot));
            }
            Op::EraseSnapshot(reply) => batch.remove(&tables.snapshots, reply_key(reply)),
            Op::PutBlob { thread, hash, blob } => {
                batch.insert(&tables.blobs, blob_key(thread, hash), timed(at, &blob));
            }
            Op::EraseBlobs { thread, hashes } => {
                for hash in hashes {
                    batch.remove(&tables.blobs, blob_key(thread, hash));
                }
            }
            Op::Erase { subject, sequences } => self.stage_erase(batch, subject, &sequences),
            Op::ExpireTranscript(records) => self.stage_expiry(batch, &records),
            Op::ExpireChain { born, reply, last } => {
                for sequence in 1..=last {
                    batch.remove(&tables.chain, chain_key(reply, sequence));
                }
                batch.remove(&tables.births, birth_key(born, reply));
                self.heads.forget(Subject::Chain(reply));
            }
        }
    }

    fn stage_erase(&self, batch: &mut OwnedWriteBatch, subject: Subject, sequences: &[u64]) {
        let tables = &self.shared.tables;
        for &sequence in sequences {
            match subject {
                Subject::Chain(reply) => {
                    // The place stays, without its content: sequences have no gaps.
                    batch.insert(&tables.chain, chain_key(reply, sequence), timed(0, b""));
                }
                Subject::Transcript(thread) => {
                    let key = thread_key(thread, sequence);
                    if let Ok(Some(position)) = tables.threads.get(key) {
                        batch.remove(&tables.transcript, position);
                        batch.remove(&tables.threads, key);
                    }
                }
            }
        }
    }

    fn stage_expiry(&mut self, batch: &mut OwnedWriteBatch, records: &[(Position, ThreadId, u64)]) {
        let tables = &self.shared.tables;
        for &(position, thread, sequence) in records {
            batch.remove(&tables.transcript, position.to_be_bytes());
            batch.remove(&tables.threads, thread_key(thread, sequence));
            let subject = Subject::Transcript(thread);
            let last = self.heads.get(subject).map_or_else(|| tables.last_sequence(subject), Ok);
            if last.is_ok_and(|last| last == sequence) {
                batch.remove(&tables.threads, thread_key(thread, 0));
                self.heads.forget(subject);
            }
        }
    }
}

/// The last sequences of the subjects that were written lately, so that most fences need no look-up. Two generations:
/// when the younger is full it becomes the older, and the older is forgotten.
#[derive(Default)]
struct Heads {
    young: HashMap<Subject, u64>,
    old: HashMap<Subject, u64>,
}

impl Heads {
    fn get(&self, subject: Subject) -> Option<u64> {
        self.young.get(&subject).or_else(|| self.old.get(&subject)).copied()
    }

    fn set(&mut self, subject: Subject, last: u64) {
        if self.young.len() >= HEADS {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(subject, last);
    }

    fn forget(&mut self, subject: Subject) {
        self.young.remove(&subject);
        self.old.remove(&subject);
    }
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
