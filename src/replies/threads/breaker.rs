//! Whether it is worth asking somebody who failed lately. It is told how asking went; it asks nobody itself.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tokio::sync::Notify;

/// Failures in a row after which nobody is asked any more. A single one may be chance.
const THRESHOLD: u32 = 3;

/// Opens after failures in a row, and is closed by whoever finds out that the other one answers again.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: AtomicU32,
    open: AtomicBool,
    opened: Notify,
}

impl Breaker {
    /// Whether to ask at all.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// It went well.
    pub(super) fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// It went wrong. Tells whether that opened it.
    pub(super) fn failed(&self) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let opens = failures >= THRESHOLD && !self.open.swap(true, Ordering::Relaxed);
        if opens {
            self.opened.notify_one();
        }
        opens
    }

    /// It may be asked again. One more failure opens it at once, until something has gone well.
    pub(super) fn close(&self) {
        self.failures.store(THRESHOLD - 1, Ordering::Relaxed);
        self.open.store(false, Ordering::Relaxed);
    }

    /// Waits until it opens, if it has not since this was last asked.
    pub(super) async fn opened(&self) {
        self.opened.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_not_before() {
        let breaker = Breaker::default();
        assert!(!breaker.failed() && !breaker.failed());
        breaker.succeeded();
        assert!(!breaker.failed() && !breaker.failed() && !breaker.is_open());
        assert!(breaker.failed(), "this is the one");
        assert!(!breaker.failed(), "it was open");
        assert!(breaker.is_open());
    }

    #[tokio::test]
    async fn closed_again_it_stands_on_trial() {
        let breaker = Breaker::default();
        for _ in 0..THRESHOLD {
            breaker.failed();
        }
        breaker.opened().await;
        breaker.close();
        assert!(!breaker.is_open());
        assert!(breaker.failed() && breaker.is_open(), "one failure is enough");
        breaker.close();
        breaker.succeeded();
        assert!(!breaker.failed() && !breaker.failed());
    }
}
