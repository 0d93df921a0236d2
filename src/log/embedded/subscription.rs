//! Subscribers by subject. A subscription is notified that there is something new, and reads it: however many there are
//! and however slow they are, the writing thread only moves a number.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Embedded, Stored, Subject};

/// The subscribers.
#[derive(Default)]
pub(super) struct Subscribers {
    subjects: Mutex<HashMap<Subject, watch::Sender<News>>>,
    count: AtomicUsize,
}

/// What was stored in a subject since it has a follower.
#[derive(Debug, Clone, Copy, Default)]
struct News {
    first: u64,
    last: u64,
}

/// Records of a subject, as they are stored.
pub struct Subscription {
    log: Embedded,
    subject: Subject,
    news: watch::Receiver<News>,
    /// The last sequence that was stored before; `None`: it had no follower then.
    seen: Option<u64>,
    ready: VecDeque<Stored>,
}

impl Subscribers {
    pub(super) fn subscribe(&self, subject: Subject, log: Embedded) -> Subscription {
        let mut subjects = self.subjects.lock();
        let news = subjects.entry(subject).or_default().subscribe();
        self.count.store(subjects.len(), Ordering::SeqCst);
        let last = news.borrow().last;
        Subscription { log, subject, news, seen: (last > 0).then_some(last), ready: VecDeque::new() }
    }

    /// Notifies of records that were just stored.
    pub(super) fn publish(&self, stored: impl Iterator<Item = (Subject, u64)>) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut subjects = self.subjects.lock();
        for (subject, sequence) in stored {
            let Some(sender) = subjects.get(&subject) else { continue };
            if sender.receiver_count() == 0 {
                subjects.remove(&subject);
                continue;
            }
            sender.send_modify(|news| {
                if news.first == 0 {
                    news.first = sequence;
                }
                news.last = sequence;
            });
        }
        self.count.store(subjects.len(), Ordering::SeqCst);
    }

    fn leave(&self, subject: Subject) {
        let mut subjects = self.subjects.lock();
        // The subscriber that leaves still counts.
        if subjects.get(&subject).is_some_and(|sender| sender.receiver_count() <= 1) {
            subjects.remove(&subject);
        }
        self.count.store(subjects.len(), Ordering::SeqCst);
    }
}

impl Subscription {
    /// See [`crate::log::Subscription::next`]. May be dropped at any time: what was not given comes next time.
    pub async fn next(&mut self) -> Option<Stored> {
        loop {
            if let Some(stored) = self.ready.pop_front() {
                return Some(stored);
            }
            let News { first, last } = *self.news.borrow_and_update();
            let after = self.seen.unwrap_or_else(|| first.saturating_sub(1));
            if last <= after {
                self.news.changed().await.ok()?;
                continue;
            }
            self.ready = Box::pin(self.log.read(self.subject, after)).await.ok()?.into();
            // What is not there any more was erased.
            let reached = self.ready.back().map_or(last, |stored| stored.sequence.max(last));
            self.seen = Some(reached);
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.log.shared.subscribers.leave(self.subject);
    }
}
