//! What goes on with deliveries, for those who look at it from outside: metrics and health.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::queue;
use super::registry::Registry;
use crate::log::{Shard, now_ms};
use crate::telemetry::{ObservedEndpoint, ObservedWebhooks};

/// What goes on. A handle: cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// The endpoints, if this instance delivers.
    registry: Option<Arc<Registry>>,
    /// Since when a step cannot be taken, and why.
    waiting: BTreeMap<Step, (Instant, String)>,
}

/// A step of deliveries that may have to wait for the log or the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Finding out which instance delivers.
    Lease,
    /// Reading the ends of a shard.
    Read(Shard),
    /// Noting what came of deliveries.
    Note,
}

/// Deliveries wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Since so long.
    pub(crate) lasts: Duration,
    /// For what.
    pub(crate) cause: String,
}

impl Board {
    pub(super) fn begins(&self, registry: Arc<Registry>) {
        self.0.lock().registry = Some(registry);
    }

    /// This instance does not deliver any more.
    pub(super) fn ends(&self) {
        *self.0.lock() = Inner::default();
    }

    /// A step cannot be taken now. Whether it could before.
    pub(super) fn waits(&self, step: Step, cause: impl FnOnce() -> String) -> bool {
        let mut inner = self.0.lock();
        let is_first = !inner.waiting.contains_key(&step);
        if is_first {
            inner.waiting.insert(step, (Instant::now(), cause()));
        }
        is_first
    }

    /// A step was taken. Since when it could not be, if it could not.
    pub(super) fn goes_on(&self, step: Step) -> Option<Instant> {
        self.0.lock().waiting.remove(&step).map(|(since, _)| since)
    }

    /// What waits longest.
    pub(crate) fn waiting(&self) -> Option<Waiting> {
        let inner = self.0.lock();
        let (since, cause) = inner.waiting.values().min_by_key(|(since, _)| *since)?;
        Some(Waiting { lasts: since.elapsed(), cause: cause.clone() })
    }

    /// How deliveries are. Endpoints are known where this instance delivers.
    pub(crate) fn observed(&self) -> ObservedWebhooks {
        let shown = self.0.lock().registry.as_ref().map(|registry| registry.shown());
        let now = now_ms();
        let observe = |(endpoint, shown): (String, queue::Shown)| ObservedEndpoint {
            endpoint,
            pending: shown.pending,
            failing: shown.failing_since.map(|since| Duration::from_millis(now.saturating_sub(since))),
            is_ended: shown.is_ended,
        };
        ObservedWebhooks {
            delivers: shown.is_some(),
            endpoints: shown.unwrap_or_default().into_iter().map(observe).collect(),
            waiting: self.waiting().map_or(Duration::ZERO, |waiting| waiting.lasts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_longest_is_told_until_it_goes_on() {
        let board = Board::default();
        assert_eq!(board.waiting(), None);
        assert!(board.waits(Step::Read(1), || "the log is away".to_owned()));
        assert!(board.waits(Step::Note, || "the store is away".to_owned()));
        assert!(!board.waits(Step::Read(1), || "it is still away".to_owned()));
        assert_eq!(board.waiting().unwrap().cause, "the log is away");
        assert!(board.observed().waiting > Duration::ZERO);
        assert!(board.goes_on(Step::Read(1)).is_some() && board.goes_on(Step::Read(1)).is_none());
        assert_eq!(board.waiting().unwrap().cause, "the store is away");
        board.ends();
        assert_eq!(board.waiting(), None);
    }
}
