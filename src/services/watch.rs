//! Health checks: at the start, every so often, and at once where a call is suspiciously slow.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Service;
use super::breaker::Phase;
use super::fault::{Fault, FaultKind};

/// Between two checks of a service that is well.
pub(crate) const EVERY: Duration = Duration::from_secs(15);

/// … and of one that is not: it is used again soon after it is back.
pub(crate) const EVERY_WHILE_OPEN: Duration = Duration::from_secs(2);

/// Not more often, whoever is suspicious.
pub(crate) const SELDOM: Duration = Duration::from_secs(1);

/// How long a check may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

impl Service {
    /// Checks the service now and then until `stop`. `probe` asks it for something cheap; any fault that is not the
    /// request's own or a refused key counts.
    pub(crate) async fn watch<F>(&self, stop: CancellationToken, mut probe: impl FnMut() -> F)
    where
        F: Future<Output = Result<(), Fault>>,
    {
        loop {
            let begun = Instant::now();
            let result = tokio::select! {
                () = stop.cancelled() => return,
                result = timeout(PATIENCE, probe()) => result,
            };
            let late =
                |_| Err(Fault::unavailable(format!("no answer to a health check within {} s", PATIENCE.as_secs())));
            self.checked(result.unwrap_or_else(late), begun);
            let pause = if self.phase() == Phase::Closed { EVERY } else { EVERY_WHILE_OPEN };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(begun + pause) => {}
                () = self.suspected() => sleep_until(begun + SELDOM).await,
            }
        }
    }

    /// Waits until somebody becomes suspicious, or the service stops being well: then it is looked at more often.
    async fn suspected(&self) {
        self.inner.suspected.notified().await;
    }

    fn checked(&self, result: Result<(), Fault>, begun: Instant) {
        let now = Instant::now();
        match result {
            // What refuses the question answers: that is what a check is for.
            Ok(()) | Err(Fault { kind: FaultKind::Request, .. }) => self.check_succeeded(now - begun, now),
            Err(Fault { kind: FaultKind::Credentials | FaultKind::Overloaded { works: true, .. }, cause }) => {
                self.check_succeeded(now - begun, now);
                self.note(&format!("a health check: {cause}"));
            }
            Err(fault) => self.check_failed(&fault, begun, now),
        }
    }
}
