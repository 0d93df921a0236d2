//! Test-only (feature `crash-points`): ends the process at a chosen point, so that a test can put a crash between every
//! two writes, and on either side of an acknowledgement. Without the feature nothing is read and nothing ends.

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
