//! How a service is, for people and for metrics.

use std::time::Duration;

use tokio::time::Instant;

use super::breaker::Phase;
use super::gate::Traffic;

/// How a service is now.
#[derive(Debug, Clone)]
pub(crate) struct ServiceStatus {
    /// Its name.
    pub(crate) name: String,
    /// What it does: `text` or `speech`.
    pub(crate) capability: &'static str,
    /// Its address, without secrets.
    pub(crate) address: String,
    /// Whether it is asked.
    pub(crate) breaker: Phase,
    /// Why the breaker is as it is, in words; empty as long as nothing has happened.
    pub(crate) reason: String,
    /// How long the breaker has been so.
    pub(crate) breaker_for: Duration,
    /// Requests, and how many there may be.
    pub(crate) traffic: Traffic,
    /// From a call to the answer's headers: the mean of the last calls.
    pub(crate) answers_after: Option<Duration>,
    /// How long the last health check took that went well.
    pub(crate) checked_after: Option<Duration>,
    /// How long ago that was.
    pub(crate) checked_ago: Option<Duration>,
    /// What went wrong last.
    pub(crate) last_error: Option<LastError>,
}

/// What went wrong last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastError {
    /// With all causes.
    pub(crate) cause: String,
    /// Since when nothing but failures has been seen; as long ago as the error itself if it has gone well since.
    pub(crate) for_so_long: Duration,
    /// How long ago it was.
    pub(crate) ago: Duration,
    /// Whether something has gone well since.
    pub(crate) is_over: bool,
}

/// What is remembered of how calls went.
#[derive(Debug, Default)]
pub(super) struct Memory {
    error: Option<(String, Instant)>,
    /// The first failure since it last went well.
    failing_since: Option<Instant>,
    answers_after: Option<Duration>,
    checked: Option<(Duration, Instant)>,
}

/// A new value counts for one part in so many of the mean.
const MEAN_OF: u32 = 8;

impl Memory {
    pub(super) fn failed(&mut self, cause: &str, now: Instant) {
        self.error = Some((cause.to_owned(), now));
        self.failing_since.get_or_insert(now);
    }

    pub(super) fn went_well(&mut self) {
        self.failing_since = None;
    }

    pub(super) fn answered(&mut self, after: Duration) {
        let mean = self.answers_after.map_or(after, |mean| (mean * (MEAN_OF - 1) + after) / MEAN_OF);
        self.answers_after = Some(mean);
    }

    pub(super) fn checked(&mut self, after: Duration, now: Instant) {
        self.checked = Some((after, now));
    }

    pub(super) const fn answers_after(&self) -> Option<Duration> {
        self.answers_after
    }

    pub(super) fn last_check(&self, now: Instant) -> (Option<Duration>, Option<Duration>) {
        let ago = |(_, at): (Duration, Instant)| now.saturating_duration_since(at);
        (self.checked.map(|(after, _)| after), self.checked.map(ago))
    }

    pub(super) fn last_error(&self, now: Instant) -> Option<LastError> {
        let (cause, at) = self.error.as_ref()?;
        let since = self.failing_since.unwrap_or(*at);
        Some(LastError {
            cause: cause.clone(),
            for_so_long: now.saturating_duration_since(since),
            ago: now.saturating_duration_since(*at),
            is_over: self.failing_since.is_none(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_remembered_with_its_beginning_until_it_is_over() {
        let (start, mut memory) = (Instant::now(), Memory::default());
        assert_eq!(memory.last_error(start), None);
        memory.failed("refused", start);
        memory.failed("refused again", start + Duration::from_secs(5));
        let now = start + Duration::from_secs(7);
        let error = memory.last_error(now).unwrap();
        assert_eq!((error.cause.as_str(), error.for_so_long.as_secs(), error.ago.as_secs()), ("refused again", 7, 2));
        memory.went_well();
        assert!(memory.last_error(now).unwrap().is_over);
    }
}
