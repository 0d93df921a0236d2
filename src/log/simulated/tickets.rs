//! Which instance generates which reply, in the simulated log: a set for each, and a fence, as in JetStream.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;

use super::Simulated;
use crate::domain::ids::{InstanceId, ReplyId};
use crate::log::{AppendError, ReadError};
use crate::simulation::Fault;

/// How often a write is tried that was not answered, before whoever waits is told.
const TRIES: u32 = 4;

/// Between two tries, at first and later.
const AGAIN: Duration = Duration::from_millis(50);
const LATER: Duration = Duration::from_secs(1);

/// The sets as they are stored.
#[derive(Debug, Default)]
pub(super) struct Sets {
    of: BTreeMap<u64, Set>,
    /// As they were before the last change.
    before: BTreeMap<u64, Set>,
    /// All that ever were held.
    ever: BTreeSet<ReplyId>,
}

#[derive(Debug, Clone, Default)]
struct Set {
    /// Counts writes: the fence.
    version: u64,
    held: BTreeSet<ReplyId>,
}

/// What a process holds itself, by its instances: it has one, tests have more.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<BTreeMap<u64, Set>>);

impl Sets {
    /// All of them, or as a replica has them that lags.
    pub(super) fn all(&self, is_stale: bool) -> Vec<(InstanceId, ReplyId)> {
        let sets = if is_stale { &self.before } else { &self.of };
        let pairs = |(instance, set): (&u64, &Set)| {
            let instance = InstanceId::from_number(*instance);
            set.held.iter().map(move |reply| (instance, *reply)).collect::<Vec<_>>()
        };
        sets.iter().flat_map(pairs).collect()
    }

    /// Changes a set under its fence.
    fn write(&mut self, instance: u64, expected: u64, change: impl FnOnce(&mut BTreeSet<ReplyId>)) -> Result<u64, u64> {
        let set = self.of.entry(instance).or_default();
        if set.version != expected {
            return Err(set.version);
        }
        self.before.insert(instance, set.clone());
        set.version += 1;
        change(&mut set.held);
        self.ever.extend(&set.held);
        Ok(set.version)
    }

    pub(super) fn was_held(&self, reply: ReplyId) -> bool {
        self.ever.contains(&reply)
    }

    fn version(&self, instance: u64) -> u64 {
        self.of.get(&instance).map_or(0, |set| set.version)
    }
}

impl Simulated {
    pub(in crate::log) async fn hold(&self, instance: InstanceId, reply: ReplyId) -> Result<(), AppendError> {
        let number = instance.number();
        self.held.0.lock().entry(number).or_default().held.insert(reply);
        let written = self.write_set(number).await;
        if written.is_err() {
            self.write_set_later(number);
        }
        written
    }

    /// Tries again until it is written, as what was held has to be.
    fn write_set_later(&self, instance: u64) {
        let log = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(LATER).await;
                if log.write_set(instance).await.is_ok() {
                    return;
                }
            }
        });
    }

    pub(in crate::log) fn release(&self, reply: ReplyId) {
        let mut changed = Vec::new();
        for (instance, set) in self.held.0.lock().iter_mut() {
            if set.held.remove(&reply) {
                changed.push(*instance);
            }
        }
        for instance in changed {
            let log = self.clone();
            // Nobody waits for it.
            tokio::spawn(async move {
                if log.write_set(instance).await.is_err() {
                    log.write_set_later(instance);
                }
            });
        }
    }

    /// Writes the whole set, which is right whatever was lost before.
    async fn write_set(&self, instance: u64) -> Result<(), AppendError> {
        let mut tries = 0;
        loop {
            let set = self.held.0.lock().get(&instance).cloned().unwrap_or_default();
            let (held, expected) = (set.held, set.version);
            let written = self.write(held.len(), move |streams| {
                Ok(streams.tickets.write(instance, expected, move |set| *set = held))
            });
            match written.await {
                Ok(Ok(version)) => {
                    self.learn(instance, version);
                    return Ok(());
                }
                // Taken for dead, or an answer of ours was lost, or another write of ours was quicker.
                Ok(Err(version)) => self.learn(instance, version),
                Err(error) if tries >= TRIES => return Err(error),
                Err(_) => {
                    tries += 1;
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    fn learn(&self, instance: u64, version: u64) {
        let mut held = self.held.0.lock();
        let set = held.entry(instance).or_default();
        set.version = set.version.max(version);
    }

    pub(in crate::log) async fn retire(&self, instance: InstanceId, replies: Vec<ReplyId>) -> Result<(), AppendError> {
        let number = instance.number();
        let version = self.look(move |streams| streams.tickets.version(number)).await;
        let version = version.map_err(|ReadError(error)| AppendError::Unavailable(error))?;
        let written = self.write(replies.len(), move |streams| {
            let change = |set: &mut BTreeSet<ReplyId>| set.retain(|reply| !replies.contains(reply));
            Ok(streams.tickets.write(number, version, change))
        });
        let conflict = |last| AppendError::Conflict { expected: version, last };
        written.await?.map(drop).map_err(conflict)
    }

    pub(in crate::log) async fn tickets(
        &self,
        wanted: impl Fn(InstanceId) -> bool,
    ) -> Result<Vec<(InstanceId, ReplyId)>, ReadError> {
        let is_stale = self.dice().strikes(Fault::ReadStale);
        let mut all = self.look(move |streams| streams.tickets.all(is_stale)).await?;
        all.retain(|(instance, _)| wanted(*instance));
        Ok(all)
    }
}
