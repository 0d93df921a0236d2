//! Test-only (feature `crash-points`): ends the process after a chosen write of the log, so that a test can put a
//! crash between every two of them. Without the feature nothing is read and nothing ends.

/// Counts the writes of the log.
#[derive(Debug)]
pub(crate) struct CrashPoint {
    after: Option<u64>,
    writes: u64,
}

impl CrashPoint {
    /// Reads `CRASH_AFTER_WRITES`: the number of writes after which the process ends; 0 is before the first.
    pub(crate) fn from_env() -> Self {
        let text = cfg!(feature = "crash-points").then(|| std::env::var("CRASH_AFTER_WRITES").ok());
        Self { after: text.flatten().and_then(|text| text.parse().ok()), writes: 0 }
    }

    /// Whether writes are counted; then each is committed on its own.
    pub(crate) const fn is_armed(&self) -> bool {
        self.after.is_some()
    }

    /// To be called before each write. Does not return when it is one too many.
    pub(crate) fn before_write(&mut self) {
        if self.after == Some(self.writes) {
            std::process::abort();
        }
        self.writes += 1;
    }
}
