//! The key spaces of the embedded log and the form of their keys. Reads; writes are the writer's.
//!
//! | key space | key | value |
//! |---|---|---|
//! | `transcript` | position | thread, sequence, time, payload |
//! | `chain` | thread, reply, sequence | time, payload |
//! | `index` | `t`, thread, sequence | position; sequence 0 marks that the thread has records |
//! | | `b`, time, thread, reply | nothing: chains by age |
//! | | `h`, thread, reply | instance: the tickets, who holds what |
//! | | `m`, `identity` | text |
//! | `large` | `s`, thread, reply | time, snapshot |
//! | | `b`, thread, hash | time, blob |
//!
//! Numbers are big-endian, so that keys sort as they count. A key space takes a dozen syncs to make: there are few.

use std::path::Path;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions};

use super::{OpenError, Scanned, Stored, Subject};
use crate::conversation::ids::{InstanceId, ReplyId, ThreadId, random_u64};
use crate::disk;
use crate::log::{Identity, Position};

/// Memory for blocks that were read.
const CACHE_BYTES: u64 = 8 << 20;

/// Memory of one key space before it is written out.
const MEMTABLE_BYTES: u64 = 4 << 20;

/// Journals on disk before key spaces are written out to free them.
const JOURNAL_BYTES: u64 = 64 << 20;

/// What a key in `index` is of, by its first byte.
const THREAD: u8 = b't';
pub(super) const BIRTH: u8 = b'b';
const TICKET: u8 = b'h';
const IDENTITY: &[u8] = b"midentity";

/// What a key in `large` is of, by its first byte.
pub(super) const SNAPSHOT: u8 = b's';
pub(super) const BLOB: u8 = b'b';

/// The database's directory in `DATA_DIR`.
pub(super) const DATABASE: &str = "log";

pub(super) struct Tables {
    pub(super) database: Database,
    pub(super) transcript: Keyspace,
    pub(super) chain: Keyspace,
    pub(super) index: Keyspace,
    pub(super) large: Keyspace,
}

impl Tables {
    pub(super) fn open(dir: &Path) -> Result<Self, OpenError> {
        let unwritable = |source| OpenError::Unwritable { dir: dir.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(unwritable)?;
        disk::try_to_write(dir).map_err(unwritable)?;
        Self::open_database(dir).map_err(|error| match error {
            fjall::Error::Locked => OpenError::InUse(dir.to_owned()),
            fjall::Error::Io(source) => OpenError::Unwritable { dir: dir.to_owned(), source },
            other => OpenError::Damaged { dir: dir.to_owned(), message: other.to_string() },
        })
    }

    fn open_database(dir: &Path) -> fjall::Result<Self> {
        let database = Database::builder(dir.join(DATABASE))
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(1)
            .open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        Ok(Self {
            transcript: database.keyspace("transcript", options)?,
            chain: database.keyspace("chain", options)?,
            index: database.keyspace("index", options)?,
            large: database.keyspace("large", || options().with_kv_separation(Some(KvSeparationOptions::default())))?,
            database,
        })
    }

    /// The log's identity; made when it is asked for the first time.
    pub(super) fn identity(&self) -> fjall::Result<Identity> {
        if let Some(id) = self.index.get(IDENTITY)? {
            return Ok(Identity { id: String::from_utf8_lossy(&id).into_owned() });
        }
        let id = format!("{:016x}", random_u64());
        self.index.insert(IDENTITY, id.as_str())?;
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
                for entry in self.index.range(range) {
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
            Subject::Transcript(thread) => self.index.contains_key(thread_key(thread, sequence)),
            // A chain expires as a whole: it has records exactly when it has the first.
            Subject::Chain(reply) => self.chain.contains_key(chain_key(reply, sequence.max(1))),
        }
    }

    /// The subject's last sequence, looked up; 0 when it is empty.
    pub(super) fn last_sequence(&self, subject: Subject) -> fjall::Result<u64> {
        let (keyspace, range) = match subject {
            Subject::Transcript(thread) => {
                (&self.index, thread_key(thread, 0).to_vec()..=thread_key(thread, u64::MAX).to_vec())
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

    /// When it was written, and what it says.
    pub(super) fn snapshot(&self, reply: ReplyId) -> fjall::Result<Option<(u64, Bytes)>> {
        let value = self.large.get(snapshot_key(reply))?;
        Ok(value.map(|value| (number(&value), Bytes::from(value).slice(8..))))
    }

    pub(super) fn blob(&self, thread: ThreadId, hash: [u8; 32]) -> fjall::Result<Option<Bytes>> {
        Ok(self.large.get(blob_key(thread, hash))?.map(|value| Bytes::from(value).slice(8..)))
    }

    pub(super) fn all_tickets(&self) -> fjall::Result<Vec<(InstanceId, ReplyId)>> {
        let entries = self.index.prefix([TICKET]).map(|entry| {
            let (key, instance) = entry.into_inner()?;
            Ok((InstanceId::from_number(number(&instance)), reply_of(&key[1..])))
        });
        entries.collect()
    }
}

pub(super) fn thread_key(thread: ThreadId, sequence: u64) -> [u8; 25] {
    joined(&[&[THREAD], thread.as_bytes(), &sequence.to_be_bytes()])
}

pub(super) fn chain_key(reply: ReplyId, sequence: u64) -> [u8; 40] {
    joined(&[reply.thread().as_bytes(), reply.own(), &sequence.to_be_bytes()])
}

pub(super) fn birth_key(at: u64, reply: ReplyId) -> [u8; 41] {
    joined(&[&[BIRTH], &at.to_be_bytes(), reply.thread().as_bytes(), reply.own()])
}

pub(super) fn ticket_key(reply: ReplyId) -> [u8; 33] {
    joined(&[&[TICKET], reply.thread().as_bytes(), reply.own()])
}

pub(super) fn snapshot_key(reply: ReplyId) -> [u8; 33] {
    joined(&[&[SNAPSHOT], reply.thread().as_bytes(), reply.own()])
}

pub(super) fn blob_key(thread: ThreadId, hash: [u8; 32]) -> [u8; 49] {
    joined(&[&[BLOB], thread.as_bytes(), &hash])
}

/// The parts, which have this length together.
fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut key = [0; N];
    let mut at = 0;
    for part in parts {
        key[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    key
}

/// The reply whose 32 bytes these begin with.
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
