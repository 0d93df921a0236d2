//! Whether the log makes progress: its writer and its cleaner report when they begin and end something, and a watchdog
//! measures how long that takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// So long without progress is a fault.
pub const STALLED: Duration = Duration::from_secs(10);

/// This long without progress is fatal: a restart is better than a server that claims to be healthy.
pub const HOPELESS: Duration = Duration::from_mins(1);

/// What works, and since when.
#[derive(Debug)]
pub struct Progress {
    /// The thread that writes.
    pub(super) writer: Work,
    /// Expiry and erasure.
    pub(super) cleaner: Work,
    fatal: watch::Sender<Option<Arc<str>>>,
}

/// One that works.
#[derive(Debug)]
pub(super) struct Work {
    started: Instant,
    /// Milliseconds after `started`, plus one, at which it last made progress; 0 while it has nothing to do.
    busy_since: AtomicU64,
}

/// Something is being done, until this is dropped.
pub(super) struct Working<'a>(&'a Work);

impl Default for Progress {
    fn default() -> Self {
        Self { writer: Work::default(), cleaner: Work::default(), fatal: watch::Sender::new(None) }
    }
}

impl Progress {
    /// For how long the writer and the cleaner have made no progress with what they have to do.
    pub fn stalls(&self) -> [(&'static str, Duration); 2] {
        [("log writer", self.writer.stalled()), ("log cleaner", self.cleaner.stalled())]
    }

    /// Reports that the log cannot go on: the process has to end.
    pub fn fatal(&self, reason: &str) {
        self.fatal.send_if_modified(|known| {
            let is_first = known.is_none();
            if is_first {
                tracing::error!(reason, "the log cannot go on; the process ends");
                *known = Some(reason.into());
            }
            is_first
        });
    }

    /// Why the log cannot go on, if it cannot.
    pub fn is_fatal(&self) -> Option<Arc<str>> {
        self.fatal.borrow().clone()
    }

    /// Waits until the log cannot go on.
    pub async fn failed(&self) -> Arc<str> {
        let mut fatal = self.fatal.subscribe();
        if fatal.wait_for(Option::is_some).await.is_err() {
            // The sender lives as long as this.
            std::future::pending::<()>().await;
        }
        self.is_fatal().unwrap_or_else(|| "".into())
    }
}

impl Default for Work {
    fn default() -> Self {
        Self { started: Instant::now(), busy_since: AtomicU64::new(0) }
    }
}

impl Work {
    /// Something is being done from now on.
    pub(super) fn begin(&self) -> Working<'_> {
        self.tick();
        Working(self)
    }

    /// It goes on.
    pub(super) fn tick(&self) {
        self.busy_since.store(self.now() + 1, Ordering::Relaxed);
    }

    pub(super) fn stalled(&self) -> Duration {
        match self.busy_since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis((self.now() + 1).saturating_sub(since)),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.busy_since.store(0, Ordering::Relaxed);
    }
}
