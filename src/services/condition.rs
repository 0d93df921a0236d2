//! What is known of how a service is, and what becomes of it with every call and check: the breaker, the limit, the line in
//! the log that tells of a change.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::Service;
use super::breaker::{Breaker, Change, Phase, Why};
use super::fault::{Fault, FaultKind};
use super::limit;
use super::status::Memory;

/// What is known of how it is.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) breaker: Breaker,
    pub(super) reason: String,
    pub(super) since: Instant,
    pub(super) paused_until: Option<Instant>,
    pub(super) memory: Memory,
}

impl Condition {
    /// That of a service of which nothing is known.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            breaker: Breaker::new(now),
            reason: String::new(),
            since: now,
            paused_until: None,
            memory: Memory::default(),
        }
    }
}

impl Service {
    pub(super) fn phase(&self) -> Phase {
        self.inner.condition.lock().breaker.phase()
    }

    /// It is worth a look.
    pub(super) fn suspect(&self) {
        self.inner.suspected.notify_one();
    }

    pub(super) fn spoke(&self, begun: Instant) {
        let mut condition = self.inner.condition.lock();
        condition.memory.went_well();
        if let Some(change) = condition.breaker.spoke(begun) {
            self.changed(&mut condition, change, "a call went well");
        }
    }

    pub(super) fn succeeded(&self, begun: Instant) {
        let mut condition = self.inner.condition.lock();
        condition.memory.went_well();
        if let Some(change) = condition.breaker.succeeded(begun, Instant::now()) {
            self.changed(&mut condition, change, "a call went well");
        }
        drop(condition);
        if self.inner.gate.succeeded() {
            tracing::info!(
                service = self.name(),
                "the service gets as many requests at once as it is configured for, again"
            );
        }
    }

    pub(super) fn failed(&self, fault: &Fault, request: limit::Request, trial: bool) {
        let now = Instant::now();
        let mut condition = self.inner.condition.lock();
        let counts = match fault.kind {
            FaultKind::Request => false,
            FaultKind::Overloaded { after, works } => {
                condition.paused_until = after.map(|after| now + after);
                !works
            }
            FaultKind::Unavailable | FaultKind::Credentials => true,
        };
        let change = if counts {
            condition.memory.failed(&fault.cause, now);
            condition.breaker.failed(trial, now)
        } else {
            // It answers, and so it works.
            condition.breaker.spoke(request.begun)
        };
        if fault.kind != FaultKind::Request && !counts {
            condition.memory.failed(&fault.cause, now);
        }
        if let Some(change) = change {
            self.changed(&mut condition, change, &fault.cause);
        }
        drop(condition);
        if matches!(fault.kind, FaultKind::Overloaded { .. })
            && let Some(limit) = self.inner.gate.overloaded(request)
        {
            tracing::warn!(
                service = self.name(),
                limit,
                cause = fault.cause,
                "the service has too much to do, and gets fewer requests at once"
            );
        }
        if fault.kind == FaultKind::Unavailable {
            // The next one need not find out the hard way.
            self.suspect();
        }
    }

    pub(super) fn check_succeeded(&self, after: Duration, now: Instant) {
        let mut condition = self.inner.condition.lock();
        condition.memory.checked(after, now);
        if let Some(change) = condition.breaker.check_succeeded(now) {
            self.changed(&mut condition, change, "it answers health checks");
        }
    }

    pub(super) fn check_failed(&self, fault: &Fault, begun: Instant, now: Instant) {
        // A server that does one thing at a time may be busy saying a reply.
        let heard = self.inner.epoch + Duration::from_millis(self.inner.heard_ms.load(Ordering::Relaxed));
        if heard > begun {
            return;
        }
        let mut condition = self.inner.condition.lock();
        condition.memory.failed(&fault.cause, now);
        if let Some(change) = condition.breaker.check_failed(now) {
            self.changed(&mut condition, change, &fault.cause);
        }
    }

    /// Something that is no failure of its, and worth knowing.
    pub(super) fn note(&self, cause: &str) {
        self.inner.condition.lock().memory.failed(cause, Instant::now());
    }

    /// Tells of a change of state, once.
    pub(super) fn changed(&self, condition: &mut Condition, change: Change, cause: &str) {
        let service = self.name();
        condition.since = Instant::now();
        condition.reason = match change {
            Change::Opened(why) => format!("{}; {cause}", in_words(why)),
            Change::HalfOpened | Change::Closed => cause.to_owned(),
        };
        let reason = &condition.reason;
        match change {
            Change::Opened(_) => {
                self.suspect();
                tracing::warn!(service, reason, "the service is not asked any more while another one can be");
            }
            Change::HalfOpened => tracing::info!(service, reason, "the service is tried again"),
            Change::Closed => tracing::info!(service, reason, "the service works again"),
        }
    }
}

fn in_words(why: Why) -> String {
    match why {
        Why::InARow(calls) => format!("{calls} calls in a row failed"),
        Why::Share { failed, of } => format!("{failed} of {of} calls failed within a minute"),
        Why::Trial => "the call that tried it failed".to_owned(),
        Why::Check => "it does not answer health checks".to_owned(),
    }
}
