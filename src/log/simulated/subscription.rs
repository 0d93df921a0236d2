//! Subscriptions to the simulated log: records come at once, late, or never; what was missed is seen by the numbers, or by a
//! look now and then.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::Simulated;
use super::streams::Appended;
use crate::log::{ReadError, Stored, Subject};
use crate::simulation::{Dice, Fault, Process};

/// Between two looks at a reply log of which nothing is heard, and at a transcript.
const LOOK: Duration = Duration::from_secs(1);
const IDLE_LOOK: Duration = Duration::from_secs(15);

/// After which what could not be read is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// Who is told of what is stored.
#[derive(Default)]
pub(super) struct Subscribers(Arc<Mutex<Listeners>>);

#[derive(Default)]
struct Listeners {
    next: u64,
    all: BTreeMap<u64, Listener>,
}

struct Listener {
    subject: Subject,
    process: Process,
    records: mpsc::UnboundedSender<(u64, Stored)>,
}

/// Records of a subject, see [`crate::log::Subscription`].
pub struct Subscription {
    log: Simulated,
    subject: Subject,
    id: u64,
    records: mpsc::UnboundedReceiver<(u64, Stored)>,
    seen: u64,
    ready: VecDeque<Stored>,
    is_behind: bool,
}

/// A subject that is looked at, see [`crate::log::Watch`].
pub struct Watched {
    log: Simulated,
    subject: Subject,
    seen: AtomicU64,
}

impl Subscribers {
    /// Tells those who listen, as well as it can.
    pub(super) fn tell(&self, dice: &Dice, appended: Appended) {
        let Appended { subject, previous, stored } = appended;
        for listener in self.0.lock().all.values().filter(|listener| listener.subject == subject) {
            if !listener.process.is_connected() || dice.strikes(Fault::RecordMissed) {
                continue;
            }
            let (records, told) = (listener.records.clone(), (previous, stored.clone()));
            if dice.strikes(Fault::RecordLate) {
                let late = dice.millis(1..2000);
                tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    // Whoever listened may be gone.
                    let _ = records.send(told);
                });
            } else {
                let _ = records.send(told);
            }
        }
    }

    /// How many there are whose processes were not killed.
    pub(super) fn count(&self) -> usize {
        self.0.lock().all.values().filter(|listener| !listener.process.is_killed()).count()
    }

    fn enter(&self, subject: Subject, process: Process) -> (u64, mpsc::UnboundedReceiver<(u64, Stored)>) {
        let (records, receiver) = mpsc::unbounded_channel();
        let mut listeners = self.0.lock();
        listeners.next += 1;
        let id = listeners.next;
        listeners.all.insert(id, Listener { subject, process, records });
        (id, receiver)
    }
}

impl Subscription {
    pub(super) async fn open(log: Simulated, subject: Subject) -> Result<Self, ReadError> {
        log.send().await.map_err(ReadError)?;
        // First the subscription, then the last record before it: so nothing falls between them.
        let (id, records) = log.cluster.0.subscribers.enter(subject, log.process.clone());
        let mut subscription = Self { log, subject, id, records, seen: 0, ready: VecDeque::new(), is_behind: false };
        let last = subscription.log.last_record(subject).await?;
        subscription.seen = last.map_or(0, |last| last.sequence);
        Ok(subscription)
    }

    pub(in crate::log) async fn next(&mut self) -> Option<Stored> {
        let look = if matches!(self.subject, Subject::ReplyLog(_)) { LOOK } else { IDLE_LOOK };
        loop {
            self.log.process.turn().await;
            if let Some(stored) = self.ready.pop_front() {
                return Some(stored);
            }
            if self.is_behind {
                if !self.catch_up().await {
                    tokio::time::sleep(AGAIN).await;
                }
                continue;
            }
            match tokio::time::timeout(look, self.records.recv()).await {
                Ok(Some((previous, stored))) => self.take(previous, stored),
                Ok(None) => return None,
                Err(_) => {
                    let last = self.log.last_record(self.subject).await;
                    self.is_behind = last.is_ok_and(|last| last.is_some_and(|last| last.sequence > self.seen));
                }
            }
        }
    }

    fn take(&mut self, previous: u64, stored: Stored) {
        if stored.sequence <= self.seen {
            return;
        }
        if previous > self.seen {
            self.is_behind = true;
            return;
        }
        self.seen = stored.sequence;
        self.ready.push_back(self.log.build.read(stored));
    }

    /// Reads what was missed. `false`: it cannot be read now.
    async fn catch_up(&mut self) -> bool {
        let Ok(missed) = self.log.read(self.subject, self.seen).await else { return false };
        self.seen = missed.last().map_or(self.seen, |last| last.sequence);
        self.ready.extend(missed);
        self.is_behind = false;
        true
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.log.cluster.0.subscribers.0.lock().all.remove(&self.id);
    }
}

impl Watched {
    pub(super) fn new(log: Simulated, subject: Subject) -> Self {
        Self { log, subject, seen: AtomicU64::new(0) }
    }

    pub(in crate::log) fn saw(&self, sequence: u64) {
        self.seen.store(sequence, Ordering::Relaxed);
    }

    pub(in crate::log) async fn behind(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let last = self.log.last_record(self.subject).await;
            if last.is_ok_and(|last| last.is_some_and(|last| last.sequence > self.seen.load(Ordering::Relaxed))) {
                return;
            }
        }
    }
}
