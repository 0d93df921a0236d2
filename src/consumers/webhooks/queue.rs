//! What waits for one endpoint. A courier of its own takes from it: an endpoint that hangs holds up no other.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::target::Target;
use super::tracker::Ticket;
use crate::domain::webhook::WebhookEvent;

/// So many events wait in memory; what comes beyond waits in the store.
const LONGEST: usize = 256;

/// What waits for one endpoint.
#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// Something changed.
    pub(super) changed: Notify,
    /// Ends its courier.
    pub(super) stop: CancellationToken,
}

#[derive(Debug)]
struct Inner {
    target: Arc<Target>,
    fresh: VecDeque<Fresh>,
    /// Deliveries that were written down since somebody asked.
    written: Vec<String>,
    /// There may be deliveries in the store that the courier does not know of.
    look: bool,
    shown: Shown,
}

/// An event that was not tried yet.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) event: WebhookEvent,
    /// The trace of the reply's request.
    pub(super) trace: Option<String>,
    pub(super) ticket: Ticket,
}

/// How an endpoint is, for those who look at it from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// Deliveries that wait in the store.
    pub(super) pending: u64,
    /// Since when it takes nothing, in milliseconds of Unix time.
    pub(super) failing_since: Option<u64>,
    /// It said that it is gone for good.
    pub(super) is_ended: bool,
}

impl Queue {
    pub(super) fn new(target: Target, stop: CancellationToken) -> Self {
        let inner = Inner {
            target: Arc::new(target),
            fresh: VecDeque::new(),
            written: Vec::new(),
            look: true,
            shown: Shown::default(),
        };
        Self { inner: Mutex::new(inner), changed: Notify::new(), stop }
    }

    pub(super) fn target(&self) -> Arc<Target> {
        Arc::clone(&self.inner.lock().target)
    }

    /// The endpoint was changed.
    pub(super) fn set_target(&self, target: Target) {
        self.inner.lock().target = Arc::new(target);
        self.changed.notify_one();
    }

    /// An event for it. Given back where too many wait.
    pub(super) fn push(&self, fresh: Fresh) -> Result<(), Fresh> {
        let mut inner = self.inner.lock();
        if inner.fresh.len() >= LONGEST {
            return Err(fresh);
        }
        inner.fresh.push_back(fresh);
        drop(inner);
        self.changed.notify_one();
        Ok(())
    }

    pub(super) fn pop(&self) -> Option<Fresh> {
        self.inner.lock().fresh.pop_front()
    }

    /// Whether something waits that was not tried yet.
    pub(super) fn has_fresh(&self) -> bool {
        !self.inner.lock().fresh.is_empty()
    }

    /// There may be deliveries in the store that nobody knows of.
    pub(super) fn look_again(&self) {
        self.inner.lock().look = true;
        self.changed.notify_one();
    }

    pub(super) fn take_look(&self) -> bool {
        std::mem::take(&mut self.inner.lock().look)
    }

    /// What came of a delivery is written down.
    pub(super) fn written(&self, id: String) {
        self.inner.lock().written.push(id);
        self.changed.notify_one();
    }

    pub(super) fn take_written(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().written)
    }

    pub(super) fn show(&self, shown: Shown) {
        self.inner.lock().shown = shown;
    }

    pub(super) fn shown(&self) -> Shown {
        self.inner.lock().shown.clone()
    }
}
