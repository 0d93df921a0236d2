//! Waiting for conditions, with a deadline and never for a fixed time.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};

/// How long anything may take in a test before it counts as never. Generous: the machine may be busy.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Asks again and again until `probe` has an answer, and returns it.
///
/// # Panics
/// After [`DEADLINE`], saying `what` was waited for.
pub async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let mut patience = Patience::with(what);
    loop {
        patience.wait().await;
        if let Some(found) = probe().await {
            return found;
        }
    }
}

/// The loop of [`until`], for tasks that are spawned: there, the compiler does not see that its future can be sent.
#[derive(Debug)]
pub struct Patience<'a> {
    what: &'a str,
    started: Instant,
    ticks: Interval,
}

impl<'a> Patience<'a> {
    /// Patience for `what`.
    pub fn with(what: &'a str) -> Self {
        let mut ticks = interval(Duration::from_millis(10));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { what, started: Instant::now(), ticks }
    }

    /// To be awaited before each try.
    ///
    /// # Panics
    /// After [`DEADLINE`].
    pub async fn wait(&mut self) {
        self.ticks.tick().await;
        assert!(self.started.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain: {}", self.what);
    }
}

/// Awaits `future`, but not longer than [`DEADLINE`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited {DEADLINE:?} in vain: {what}"))
}
