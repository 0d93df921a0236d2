//! Test-only (feature `crash-points`): faults that a test has the process make. It ends at a chosen point, so that there is
//! a crash between every two writes, and on either side of an acknowledgement; or its store is slow. Without the feature
//! nothing is read and nothing happens.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the points that were passed.
#[derive(Debug)]
pub(crate) struct CrashPoint {
    last: Option<u64>,
    passed: AtomicU64,
}

impl CrashPoint {
    /// Points whose number is in this environment variable: of those that are passed before the process ends; with 0 it
    /// ends at the first.
    pub(crate) fn from_env(variable: &str) -> Self {
        let text = cfg!(feature = "crash-points").then(|| std::env::var(variable).ok());
        Self { last: text.flatten().and_then(|text| text.parse().ok()), passed: AtomicU64::new(0) }
    }

    /// Whether points are counted; then each write is made on its own.
    pub(crate) const fn is_armed(&self) -> bool {
        self.last.is_some()
    }

    /// To be called at each point. Does not return when it is one too many.
    pub(crate) fn pass(&self) {
        if let Some(last) = self.last
            && self.passed.fetch_add(1, Ordering::Relaxed) >= last
        {
            std::process::abort();
        }
    }
}

/// How long each call of the store takes longer.
#[cfg(feature = "crash-points")]
pub(crate) fn store_delay() -> std::time::Duration {
    let text = std::env::var("REJOINDER_TEST_STORE_DELAY_MS").unwrap_or_default();
    std::time::Duration::from_millis(text.parse().unwrap_or(0))
}
