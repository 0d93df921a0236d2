//! What all tasks of a run share: where it takes place, how long it may take, what was counted, and what was found.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::checker::{Fate, Fault, Seen};
use super::deployment::Deployment;
use super::plan::Act;

/// See the module.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) deployment: Deployment,
    pub(super) model: Option<String>,
    /// The model's output for a prompt, where that is known.
    pub(super) truth: fn(&str) -> Option<String>,
    /// Makes this run's idempotency keys differ from another's.
    pub(super) nonce: u64,
    pub(super) begun: Instant,
    /// When waiting ends.
    pub(super) deadline: Instant,
    /// A stream without bytes for this long is left.
    pub(super) idle: Duration,
    pub(super) counts: Counts,
    pub(super) tasks: TaskTracker,
    pub(super) replies: Mutex<Vec<Arc<Reply>>>,
    pub(super) threads: Mutex<Vec<Thread>>,
    pub(super) acts: Mutex<Vec<(Instant, Act)>>,
    pub(super) found: Mutex<Vec<Found>>,
    pub(super) talks: bool,
}

/// A reply that was accepted.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) id: String,
    pub(super) prompt: String,
    pub(super) truth: Option<String>,
    pub(super) fate: Fate,
    /// The user's earlier messages.
    pub(super) before: Vec<String>,
    pub(super) followings: Mutex<Vec<Following>>,
    /// How many events were seen; after the end, all there can be.
    pub(super) progress: watch::Sender<usize>,
}

/// What one client saw of a reply.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) source: String,
    pub(super) seen: Vec<Seen>,
}

/// The place of several replies.
#[derive(Debug, Clone)]
pub(super) struct Thread {
    pub(super) conversation: Option<String>,
    /// The last reply that was not deleted.
    pub(super) last: Option<String>,
    pub(super) before: Vec<String>,
}

/// A fault, and where it was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) reply: String,
    pub(super) source: String,
    pub(super) fault: Fault,
}

macro_rules! counts {
    ($($(#[doc = $doc:literal])* $name:ident),* $(,)?) => {
        /// What was done, and how often.
        #[derive(Debug, Default)]
        pub(super) struct Counts {
            $($(#[doc = $doc])* pub(super) $name: AtomicU64,)*
        }

        impl Counts {
            /// Names and numbers, in order.
            pub(super) fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Relaxed)),)*]
            }
        }
    };
}

counts! {
    replies, events, follows, rejoins, cancels, deletions, retries, unavailable, kills, freezes, terminations, restarts,
    nats_restarts, postgres_stops,
}

/// Counts one more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

impl Cluster {
    /// Notes a fault.
    pub(super) fn find(&self, reply: &str, source: &str, fault: Fault) {
        self.log(&format!("✗ {reply} ({source}): {fault}"));
        self.found.lock().push(Found { reply: reply.to_owned(), source: source.to_owned(), fault });
    }

    /// Whether there is no time left.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Logs an event of the run, for people.
    pub(super) fn log(&self, what: &str) {
        use std::io::Write;
        if self.talks {
            let _ = writeln!(std::io::stderr(), "{:>7.2} s  {what}", self.begun.elapsed().as_secs_f64());
        }
    }
}

impl Reply {
    /// Waits until a follower has seen so many events, or the end.
    pub(super) async fn reached(&self, events: usize) {
        // The sender is `self`.
        let _ = self.progress.subscribe().wait_for(|seen| *seen >= events).await;
    }

    /// Notes how far a follower got.
    pub(super) fn seen(&self, events: usize) {
        self.progress.send_if_modified(|seen| {
            let more = events > *seen;
            *seen = events.max(*seen);
            more
        });
    }
}
