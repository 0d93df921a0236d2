//! What can be written to the embedded log, and what each write puts into a batch.

use std::collections::HashSet;

use bytes::Bytes;
use fjall::OwnedWriteBatch;

use super::tables::{
    Tables, birth_key, blob_key, chain_key, snapshot_key, thread_key, ticket_key, timed, transcript_entry,
};
use super::{AppendError, Concluded, Position, Subject};
use crate::conversation::ids::{InstanceId, ReplyId, ThreadId};
use crate::log::recent::Recent;

/// A write.
pub(super) enum Op {
    /// Gives the sequence.
    Append {
        subject: Subject,
        /// `None`: the subject is new.
        expected: Option<u64>,
        payload: Bytes,
        /// Written with it, if it is written.
        ticket: Option<(InstanceId, ReplyId)>,
    },
    /// Gives the sequence of `done`, and whether `ended` was written, too.
    Conclude {
        reply: ReplyId,
        /// `None`: the chain is new.
        expected: Option<u64>,
        done: Bytes,
        /// Where in the transcript, and what.
        ended: Option<(u64, Bytes)>,
    },
    Erase {
        subject: Subject,
        sequences: Vec<u64>,
    },
    PutSnapshot {
        reply: ReplyId,
        snapshot: Bytes,
    },
    EraseSnapshot(ReplyId),
    Hold {
        instance: InstanceId,
        reply: ReplyId,
    },
    Release(ReplyId),
    PutBlob {
        thread: ThreadId,
        hash: [u8; 32],
        blob: Bytes,
    },
    EraseBlobs {
        thread: ThreadId,
        hashes: HashSet<[u8; 32]>,
    },
    ExpireTranscript(Vec<(Position, ThreadId, u64)>),
    ExpireChain {
        born: u64,
        reply: ReplyId,
        last: u64,
    },
}

/// What a write gave; of a write that is no append, nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    /// The record's place in its subject.
    pub(super) sequence: u64,
    /// Whether the end is in the transcript.
    pub(super) ended: bool,
}

impl From<Written> for Concluded {
    fn from(Written { sequence, ended }: Written) -> Self {
        Self { sequence, in_transcript: ended }
    }
}

/// The last sequences of the subjects that were written lately: most fences need no look-up.
pub(super) type Heads = Recent<Subject, u64>;

/// Puts writes into a batch, those whose fences hold.
pub(super) struct Stage<'a> {
    pub(super) tables: &'a Tables,
    pub(super) batch: &'a mut OwnedWriteBatch,
    pub(super) heads: &'a mut Heads,
    pub(super) next_position: &'a mut Position,
    /// What was appended where.
    pub(super) records: &'a mut Vec<(Subject, u64)>,
    pub(super) at: u64,
}

impl Stage<'_> {
    pub(super) fn stage(&mut self, op: Op) -> Result<Written, AppendError> {
        match op {
            Op::Append { subject, expected, payload, ticket } => {
                let sequence = self.append(subject, expected, &payload)?;
                if let Some((instance, reply)) = ticket {
                    self.hold(instance, reply);
                }
                return Ok(Written { sequence, ended: false });
            }
            Op::Conclude { reply, expected, done, ended } => return self.conclude(reply, expected, &done, ended),
            Op::Hold { instance, reply } => self.hold(instance, reply),
            Op::Release(reply) => self.batch.remove(&self.tables.index, ticket_key(reply)),
            Op::PutSnapshot { reply, snapshot } => {
                self.batch.insert(&self.tables.large, snapshot_key(reply), timed(self.at, &snapshot));
            }
            Op::EraseSnapshot(reply) => self.batch.remove(&self.tables.large, snapshot_key(reply)),
            Op::PutBlob { thread, hash, blob } => {
                self.batch.insert(&self.tables.large, blob_key(thread, hash), timed(self.at, &blob));
            }
            Op::EraseBlobs { thread, hashes } => {
                for hash in hashes {
                    self.batch.remove(&self.tables.large, blob_key(thread, hash));
                }
            }
            Op::Erase { subject, sequences } => self.erase(subject, &sequences),
            Op::ExpireTranscript(records) => self.expire_transcript(&records),
            Op::ExpireChain { born, reply, last } => self.expire_chain(born, reply, last),
        }
        Ok(Written::default())
    }

    fn append(&mut self, subject: Subject, expected: Option<u64>, payload: &[u8]) -> Result<u64, AppendError> {
        if let Some(expected) = expected {
            self.check_fence(subject, expected)?;
        }
        let expected = expected.unwrap_or(0);
        let sequence = expected + 1;
        match subject {
            Subject::Transcript(thread) => {
                let position = self.next_position.to_be_bytes();
                *self.next_position += 1;
                let entry = transcript_entry(thread, sequence, self.at, payload);
                self.batch.insert(&self.tables.transcript, position, entry);
                self.batch.insert(&self.tables.index, thread_key(thread, sequence), position);
                if expected == 0 {
                    self.batch.insert(&self.tables.index, thread_key(thread, 0), []);
                }
            }
            Subject::Chain(reply) => {
                self.batch.insert(&self.tables.chain, chain_key(reply, sequence), timed(self.at, payload));
                if expected == 0 {
                    self.batch.insert(&self.tables.index, birth_key(self.at, reply), []);
                }
            }
        }
        self.heads.set(subject, sequence);
        self.records.push((subject, sequence));
        Ok(sequence)
    }

    fn conclude(
        &mut self,
        reply: ReplyId,
        expected: Option<u64>,
        done: &[u8],
        ended: Option<(u64, Bytes)>,
    ) -> Result<Written, AppendError> {
        let sequence = self.append(Subject::Chain(reply), expected, done)?;
        let transcript = Subject::Transcript(reply.thread());
        // Somebody else may have changed the thread: then the end goes where it is now, which the caller finds out.
        let ended = ended.is_some_and(|(expected, ended)| self.append(transcript, Some(expected), &ended).is_ok());
        if ended {
            self.batch.remove(&self.tables.index, ticket_key(reply));
        }
        Ok(Written { sequence, ended })
    }

    fn check_fence(&mut self, subject: Subject, expected: u64) -> Result<(), AppendError> {
        let unavailable = |error: fjall::Error| AppendError::Unavailable(error.to_string());
        let last = match self.heads.get(&subject) {
            Some(last) => last,
            None if expected == 0 && !self.tables.has(subject, 0).map_err(unavailable)? => 0,
            None => self.tables.last_sequence(subject).map_err(unavailable)?,
        };
        if last == expected {
            return Ok(());
        }
        self.heads.set(subject, last);
        Err(AppendError::Conflict { expected, last })
    }

    fn hold(&mut self, instance: InstanceId, reply: ReplyId) {
        self.batch.insert(&self.tables.index, ticket_key(reply), instance.number().to_be_bytes());
    }

    fn erase(&mut self, subject: Subject, sequences: &[u64]) {
        for &sequence in sequences {
            match subject {
                // The place stays, without its content: sequences have no gaps.
                Subject::Chain(reply) => {
                    self.batch.insert(&self.tables.chain, chain_key(reply, sequence), timed(0, b""));
                }
                Subject::Transcript(thread) => {
                    let key = thread_key(thread, sequence);
                    if let Ok(Some(position)) = self.tables.index.get(key) {
                        self.batch.remove(&self.tables.transcript, position);
                        self.batch.remove(&self.tables.index, key);
                    }
                }
            }
        }
    }

    fn expire_transcript(&mut self, records: &[(Position, ThreadId, u64)]) {
        for &(position, thread, sequence) in records {
            self.batch.remove(&self.tables.transcript, position.to_be_bytes());
            self.batch.remove(&self.tables.index, thread_key(thread, sequence));
            let subject = Subject::Transcript(thread);
            let last = self.heads.get(&subject).map_or_else(|| self.tables.last_sequence(subject), Ok);
            if last.is_ok_and(|last| last == sequence) {
                self.batch.remove(&self.tables.index, thread_key(thread, 0));
                self.heads.forget(&subject);
            }
        }
    }

    fn expire_chain(&mut self, born: u64, reply: ReplyId, last: u64) {
        for sequence in 1..=last {
            self.batch.remove(&self.tables.chain, chain_key(reply, sequence));
        }
        self.batch.remove(&self.tables.index, birth_key(born, reply));
        self.heads.forget(&Subject::Chain(reply));
    }
}
