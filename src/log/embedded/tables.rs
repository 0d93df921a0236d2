//! The key spaces of the embedded log and the form of their keys. Reads; writes are the writer's.
//!
//! | key space | key | value |
//! |---|---|---|
//! | `transcript` | position | thread, sequence, time, payload |
//! | `threads` | thread, sequence | position; sequence 0 marks that the thread has records |
//! | `chain` | thread, reply, sequence | time, payload |
//! | `births` | time, thread, reply | nothing: chains by age |
//! | `tickets` | thread, reply | instance |
//! | `snapshots` | thread, reply | time, payload |
//! | `blobs` | thread, hash | time, bytes |
//! | `meta` | `identity` | text |
//!
//! Numbers are big-endian, so that keys sort as they count.

use std::path::Path;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions};

use super::{OpenError, Scanned, Stored, Subject};
use crate::conversation::ids::{InstanceId, ReplyId, ThreadId, random_u64};
use crate::log::{Identity, Position};

/// Memory for blocks that were read.
const CACHE_BYTES: u64 = 8 << 20;

/// Memory of one key space before it is written out.
const MEMTABLE_BYTES: u64 = 4 << 20;

/// Journals on disk before key spaces are written out to free them.
const JOURNAL_BYTES: u64 = 64 << 20;

pub(super) struct Tables {
    pub(super) database: Database,
    pub(super) transcript: Keyspace,
    pub(super) threads: Keyspace,
    pub(super) chain: Keyspace,
    pub(super) births: Keyspace,
    pub(super) tickets: Keyspace,
    pub(super) snapshots: Keyspace,
    pub(super) blobs: Keyspace,
    meta: Keyspace,
}

impl Tables {
    pub(super) fn open(dir: &Path) -> Result<Self, OpenError> {
        let unwritable = |source| OpenError::Unwritable { dir: dir.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(unwritable)?;
        let probe = dir.join(".writable");
        std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(unwritable)?;
        Self::open_database(dir).map_err(|error| match error {
            fjall::Error::Locked => OpenError::InUse(dir.to_owned()),
            fjall::Error::Io(source) => OpenError::Unwritable { dir: dir.to_owned(), source },
            other => OpenError::Damaged { dir: dir.to_owned(), message: other.to_string() },
        })
    }

    fn open_database(dir: &Path) -> fjall::Result<Self> {
        let database = Database::builder(dir.join("log"))
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(1)
            .open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        Ok(Self {
            transcript: database.keyspace("transcript", options)?,
            threads: database.keyspace("threads", options)?,
            chain: database.keyspace("chain", options)?,
            births: database.keyspace("births", options)?,
            tickets: database.keyspace("tickets", options)?,
            snapshots: database.keyspace("snapshots", options)?,
            blobs: database.keyspace("blobs", || options().with_kv_separation(Some(KvSeparationOptions::default())))?,
            meta: database.keyspace("meta", options)?,
            database,
        })
    }

    /// The log's identity; made when it is asked for the first time.
    pub(super) fn identity(&self) -> fjall::Result<Identity> {
        if let Some(id) = self.meta.get("identity")? {
            return Ok(Identity { id: String::from_utf8_lossy(&id).into_owned() });
        }
        let id = format!("{:016x}", random_u64());
        self.meta.insert("identity", id.as_str())?;
        self.database.persist(fjall::PersistMode::SyncAll)?;
        Ok(Identity { id })
    }

    /// The position of the last record of all transcripts; the last one never expires.
    pub(super) fn last_position(&self) -> fjall::Result<Position> {
        self.transcript.last_key_value().map_or(Ok(0), |entry| Ok(number(&entry.key()?)))
    }

    pub(super) fn read(&self, subject: Subject, after: u64) -> fjall::Result<Vec<Stored>> {
        match subject {
            Subject::Transcript(thread) => {
                let range = thread_key(thread, after + 1)..=thread_key(thread, u64::MAX);
                let mut records = Vec::new();
                for entry in self.threads.range(range) {
                    let (_, position) = entry.into_inner()?;
                    if let Some(value) = self.transcript.get(&position)? {
                        records.push(transcript_value(value).1);
                    }
                }
                Ok(records)
            }
            Subject::Chain(reply) => {
                let range = chain_key(reply, after + 1)..=chain_key(reply, u64::MAX);
                let entries = self.chain.range(range).map(|entry| {
                    let (key, value) = entry.into_inner()?;
                    let value = Bytes::from(value);
                    Ok(Stored { sequence: number(&key[32..]), at: number(&value), payload: value.slice(8..) })
                });
                entries.collect()
            }
        }
    }

    /// Whether the subject has a record of this sequence; of sequence 0: whether it has any.
    pub(super) fn has(&self, subject: Subject, sequence: u64) -> fjall::Result<bool> {
        match subject {
            Subject::Transcript(thread) => self.threads.contains_key(thread_key(thread, sequence)),
            // A chain expires as a whole: it has records exactly when it has the first.
            Subject::Chain(reply) => self.chain.contains_key(chain_key(reply, sequence.max(1))),
        }
    }

    /// The subject's last sequence, looked up; 0 when it is empty.
    pub(super) fn last_sequence(&self, subject: Subject) -> fjall::Result<u64> {
        let (keyspace, range) = match subject {
            Subject::Transcript(thread) => {
                (&self.threads, thread_key(thread, 0).to_vec()..=thread_key(thread, u64::MAX).to_vec())
            }
            Subject::Chain(reply) => (&self.chain, chain_key(reply, 0).to_vec()..=chain_key(reply, u64::MAX).to_vec()),
        };
        let last = keyspace.range(range).next_back();
        last.map_or(Ok(0), |entry| {
            let key = entry.key()?;
            Ok(number(&key[key.len() - 8..]))
        })
    }

    pub(super) fn scan(&self, after: Position, limit: usize) -> fjall::Result<Vec<Scanned>> {
        let entries = self.transcript.range((after + 1).to_be_bytes()..).take(limit).map(|entry| {
            let (key, value) = entry.into_inner()?;
            let (thread, record) = transcript_value(value);
            Ok(Scanned { position: number(&key), thread, record })
        });
        entries.collect()
    }

    pub(super) fn snapshot(&self, reply: ReplyId) -> fjall::Result<Option<Bytes>> {
        Ok(self.snapshots.get(reply_key(reply))?.map(|value| Bytes::from(value).slice(8..)))
    }

    pub(super) fn blob(&self, thread: ThreadId, hash: [u8; 32]) -> fjall::Result<Option<Bytes>> {
        Ok(self.blobs.get(blob_key(thread, hash))?.map(|value| Bytes::from(value).slice(8..)))
    }

    pub(super) fn all_tickets(&self) -> fjall::Result<Vec<(InstanceId, ReplyId)>> {
        let entries = self.tickets.iter().map(|entry| {
            let (key, instance) = entry.into_inner()?;
            Ok((InstanceId::from_number(number(&instance)), reply_of(&key)))
        });
        entries.collect()
    }
}

pub(super) fn thread_key(thread: ThreadId, sequence: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(thread.as_bytes());
    key[16..].copy_from_slice(&sequence.to_be_bytes());
    key
}

pub(super) fn reply_key(reply: ReplyId) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(reply.thread().as_bytes());
    key[16..].copy_from_slice(reply.own());
    key
}

pub(super) fn chain_key(reply: ReplyId, sequence: u64) -> [u8; 40] {
    let mut key = [0; 40];
    key[..32].copy_from_slice(&reply_key(reply));
    key[32..].copy_from_slice(&sequence.to_be_bytes());
    key
}

pub(super) fn birth_key(at: u64, reply: ReplyId) -> [u8; 40] {
    let mut key = [0; 40];
    key[..8].copy_from_slice(&at.to_be_bytes());
    key[8..].copy_from_slice(&reply_key(reply));
    key
}

pub(super) fn blob_key(thread: ThreadId, hash: [u8; 32]) -> [u8; 48] {
    let mut key = [0; 48];
    key[..16].copy_from_slice(thread.as_bytes());
    key[16..].copy_from_slice(&hash);
    key
}

/// The reply of a key that [`reply_key`] begins.
pub(super) fn reply_of(key: &[u8]) -> ReplyId {
    ReplyId::from_bytes(ThreadId::from_bytes(array(&key[..16])), array(&key[16..32]))
}

/// The number that begins here.
pub(super) fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(array(&bytes[..8]))
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("keys have the lengths that they were written with")
}

/// A payload with the time at which it is stored before it.
pub(super) fn timed(at: u64, payload: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(8 + payload.len());
    value.extend_from_slice(&at.to_be_bytes());
    value.extend_from_slice(payload);
    value
}

/// A transcript's record with its thread and sequence before it.
pub(super) fn transcript_entry(thread: ThreadId, sequence: u64, at: u64, payload: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(32 + payload.len());
    value.extend_from_slice(thread.as_bytes());
    value.extend_from_slice(&sequence.to_be_bytes());
    value.extend_from_slice(&at.to_be_bytes());
    value.extend_from_slice(payload);
    value
}

pub(super) fn transcript_value(value: fjall::Slice) -> (ThreadId, Stored) {
    let value = Bytes::from(value);
    let thread = ThreadId::from_bytes(array(&value[..16]));
    (thread, Stored { sequence: number(&value[16..]), at: number(&value[24..]), payload: value.slice(32..) })
}
