//! Tickets: which replies an instance generates. A subject for each instance, and on it what was added to its set and
//! what dropped from it; now and then the whole set, in place of all before.
//!
//! One append is in flight: what comes meanwhile goes into the next. If another instance has written there, this
//! instance was taken for dead, and writes its whole set again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::connect::Asking;
use super::names;
use super::pieces::Pieces;
use super::wire::{self, StreamMessage};
use crate::domain::ids::{InstanceId, ReplyId};
use crate::log::{AppendError, ReadError};

/// Changes that may wait.
const QUEUE: usize = 8192;

/// After so many appends the whole set is written.
const WHOLE_AFTER: u32 = 256;

/// How often an unanswered append is tried before it fails.
const TRIES: u32 = 4;

/// Sets that are asked for at once.
const AT_ONCE: usize = 512;

/// When a set could not be written, it is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// One record.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    /// The whole set; what was written before does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    all: Option<Vec<ReplyId>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    add: Vec<ReplyId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    drop: Vec<ReplyId>,
}

enum Change {
    Hold { instance: InstanceId, reply: ReplyId, done: oneshot::Sender<Result<(), AppendError>> },
    Release(ReplyId),
}

/// The tickets of this process.
#[derive(Debug)]
pub(super) struct Tickets {
    queue: mpsc::Sender<Change>,
    _writing: AbortOnDropHandle<()>,
}

impl Tickets {
    /// Writes until it is dropped.
    pub(super) fn start(pieces: Pieces) -> Self {
        let (queue, changes) = mpsc::channel(QUEUE);
        let writing = tokio::spawn(run(pieces, changes));
        Self { queue, _writing: AbortOnDropHandle::new(writing) }
    }

    pub(super) async fn hold(&self, instance: InstanceId, reply: ReplyId) -> Result<(), AppendError> {
        let closed = || AppendError::Unavailable("the log was closed".to_owned());
        let (done, held) = oneshot::channel();
        self.queue.send(Change::Hold { instance, reply, done }).await.map_err(|_| closed())?;
        held.await.map_err(|_| closed())?
    }

    pub(super) fn release(&self, reply: ReplyId) {
        // Nobody waits for it, and it is found again if it is lost: a full queue may drop it.
        let _ = self.queue.try_send(Change::Release(reply));
    }
}

/// The header of a record that stands in place of all before it.
pub(super) const ROLLUP: (&str, &str) = ("Nats-Rollup", "sub");

/// The sets of the instances that are wanted. Those of instances that left are one record each, and there may be many.
pub(super) async fn read(
    client: &Asking,
    pieces: &Pieces,
    wanted: impl Fn(InstanceId) -> bool,
) -> Result<Vec<(InstanceId, ReplyId)>, ReadError> {
    let stream = names::TICKETS_STREAM;
    let mut sets = wire::subjects(client, stream, names::ALL_TICKETS).await?;
    sets.retain(|(subject, _)| names::instance_of(subject).is_some_and(&wanted));
    let (single, several): (Vec<_>, Vec<_>) = sets.into_iter().partition(|(_, records)| *records == 1);
    let single: Vec<_> = single.into_iter().map(|(subject, _)| subject).collect();
    let mut records = Vec::new();
    for some in single.chunks(AT_ONCE) {
        records.extend(pieces.put_together(wire::lasts(client, stream, some).await?).await?);
    }
    // A record that was added meanwhile is not the first: then the set is read whole.
    let grown = records.extract_if(.., |record| !is_whole(record)).map(|record| record.subject).collect::<Vec<_>>();
    for subject in several.into_iter().map(|(subject, _)| subject).chain(grown) {
        records.extend(pieces.put_together(wire::next(client, stream, &subject, 1, usize::MAX).await?).await?);
    }
    Ok(fold(&records))
}

/// Whether a record stands for all before it.
fn is_whole(record: &StreamMessage) -> bool {
    serde_json::from_slice::<Record>(&record.payload).is_ok_and(|record| record.all.is_some())
}

/// A record of all that is left of a set, by these records, without some replies.
pub(super) fn left(records: &[StreamMessage], without: &[ReplyId]) -> bytes::Bytes {
    let held = fold(records).into_iter().map(|(_, reply)| reply);
    let all = Some(held.filter(|reply| !without.contains(reply)).collect());
    serde_json::to_vec(&Record { all, ..Record::default() }).expect("ids are text").into()
}

/// A record that drops replies from a set.
pub(super) fn dropped(replies: Vec<ReplyId>) -> bytes::Bytes {
    let record = Record { drop: replies, ..Record::default() };
    serde_json::to_vec(&record).expect("ids are text").into()
}

/// All tickets, by these records.
pub(super) fn fold(records: &[StreamMessage]) -> Vec<(InstanceId, ReplyId)> {
    let mut held: BTreeMap<String, HashSet<ReplyId>> = BTreeMap::new();
    for message in records {
        let Ok(record) = serde_json::from_slice::<Record>(&message.payload) else { continue };
        let set = held.entry(message.subject.clone()).or_default();
        if let Some(all) = record.all {
            *set = all.into_iter().collect();
        }
        set.extend(record.add);
        for reply in record.drop {
            set.remove(&reply);
        }
    }
    let pairs = held.into_iter().filter_map(|(subject, set)| Some((names::instance_of(&subject)?, set)));
    pairs.flat_map(|(instance, set)| set.into_iter().map(move |reply| (instance, reply))).collect()
}

/// The set of one instance.
#[derive(Default)]
struct Set {
    held: HashSet<ReplyId>,
    last: u64,
    appends: u32,
    /// What is written is not what it should be.
    is_stale: bool,
}

async fn run(pieces: Pieces, mut changes: mpsc::Receiver<Change>) {
    let mut sets: HashMap<InstanceId, Set> = HashMap::new();
    let mut taken = Vec::new();
    loop {
        let wait = if sets.values().any(|set| set.is_stale) { AGAIN } else { Duration::MAX };
        if let Ok(0) = tokio::time::timeout(wait, changes.recv_many(&mut taken, QUEUE)).await {
            return;
        }
        let mut records: BTreeMap<u64, (InstanceId, Record)> = BTreeMap::new();
        for (instance, _) in sets.iter().filter(|(_, set)| set.is_stale) {
            records.insert(instance.number(), (*instance, Record::default()));
        }
        let mut waiting = Vec::new();
        for change in taken.drain(..) {
            match change {
                Change::Hold { instance, reply, done } => {
                    let record =
                        &mut records.entry(instance.number()).or_insert_with(|| (instance, Record::default())).1;
                    record.drop.retain(|dropped| *dropped != reply);
                    record.add.push(reply);
                    sets.entry(instance).or_default().held.insert(reply);
                    waiting.push((instance, done));
                }
                Change::Release(reply) => {
                    for (instance, set) in &mut sets {
                        if set.held.remove(&reply) {
                            let entry = records.entry(instance.number());
                            let record = &mut entry.or_insert_with(|| (*instance, Record::default())).1;
                            record.add.retain(|added| *added != reply);
                            record.drop.push(reply);
                        }
                    }
                }
            }
        }
        let mut failed: HashMap<InstanceId, String> = HashMap::new();
        for (instance, record) in records.into_values() {
            let set = sets.entry(instance).or_default();
            let written = set.write(&pieces, instance, record).await;
            set.is_stale = written.is_err();
            if let Err(error) = written {
                failed.insert(instance, error.to_string());
            }
        }
        for (instance, done) in waiting {
            let result = failed.get(&instance).map_or(Ok(()), |error| Err(AppendError::Unavailable(error.clone())));
            let _ = done.send(result);
        }
    }
}

impl Set {
    /// Writes what changed, or the whole set.
    async fn write(&mut self, pieces: &Pieces, instance: InstanceId, record: Record) -> Result<(), AppendError> {
        let mut record = record;
        let mut tries = 0;
        loop {
            self.appends += 1;
            let whole = self.appends.is_multiple_of(WHOLE_AFTER) || record.all.is_some() || self.is_stale;
            let mut headers = HeaderMap::new();
            if whole {
                record = Record { all: Some(self.held.iter().copied().collect()), ..Record::default() };
                headers.insert(ROLLUP.0, ROLLUP.1);
            }
            let payload = Bytes::from(serde_json::to_vec(&record).expect("ids are text"));
            let (name, length) = (names::tickets(instance), payload.len());
            match pieces.publish(&name, self.last, headers, payload).await {
                Ok(sequence) => {
                    if whole && pieces.is_cut(length) {
                        // What this fails for goes with its age.
                        let _ = pieces.erase_replaced(names::TICKETS_STREAM, &name).await;
                    }
                    self.last = sequence;
                    return Ok(());
                }
                // Taken for dead, or an answer of ours was lost: the whole set is right in either case.
                Err(AppendError::Conflict { last, .. }) => {
                    self.last = last;
                    record.all = Some(Vec::new());
                }
                Err(error) if tries >= TRIES => return Err(error),
                Err(_) => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}
