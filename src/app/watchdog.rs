//! Sees what makes no progress: the log's writer and cleaner, and the projection into the store. From a thread of its own,
//! so that it sees also while the runtime is stuck.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::consumers::projection::Progress;
use crate::log::Log;
use crate::log::embedded::{HOPELESS, STALLED};

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);

/// Something that has work to do and gets nowhere with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stall {
    /// What: `log writer`, `log cleaner` or `store`.
    pub(super) what: &'static str,
    /// Since the last progress.
    pub(super) lasts: Duration,
}

/// See the module.
pub(super) struct Watchdog {
    log: Log,
    projection: Arc<Progress>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Where the projection was, and since when.
    projected: Option<(u64, Instant)>,
    stalls: Vec<Stall>,
}

impl Watchdog {
    /// Watches until it is dropped.
    pub(super) fn start(log: Log, projection: Arc<Progress>) -> Result<Arc<Self>, std::io::Error> {
        let watchdog = Self::new(log, projection);
        let watched = Arc::downgrade(&watchdog);
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || watch(&watched))?;
        Ok(watchdog)
    }

    /// One that does not look by itself.
    pub(super) fn new(log: Log, projection: Arc<Progress>) -> Arc<Self> {
        Arc::new(Self { log, projection, seen: Mutex::default() })
    }

    /// What makes no progress now.
    pub(super) fn stalls(&self) -> Vec<Stall> {
        self.seen.lock().stalls.clone()
    }

    fn look(&self) {
        let mut seen = self.seen.lock();
        let store = store_stall(&mut seen.projected, &self.projection, Instant::now());
        let log = self.log.stalls().into_iter().map(|(what, lasts)| Stall { what, lasts });
        let stalls: Vec<_> = log.chain([store]).filter(|stall| stall.lasts >= STALLED).collect();
        for stall in &stalls {
            if !seen.stalls.iter().any(|known| known.what == stall.what) {
                tracing::error!(what = stall.what, lasts = ?stall.lasts, "it has work to do and makes no progress");
            }
            if stall.lasts >= HOPELESS && stall.what == "log writer" {
                self.log.fatal("a write does not come to an end");
            }
        }
        for known in &seen.stalls {
            if !stalls.iter().any(|stall| stall.what == known.what) {
                tracing::info!(what = known.what, "it makes progress again");
            }
        }
        seen.stalls = stalls;
    }
}

/// A store that says that it is there, and takes nothing. One that is away is told of elsewhere.
fn store_stall(projected: &mut Option<(u64, Instant)>, progress: &Progress, now: Instant) -> Stall {
    let (position, lag) = (progress.reached_in_all(), progress.lag());
    let since = match projected {
        Some((known, since)) if *known == position && lag.records > 0 && progress.store_is_up() => *since,
        _ => now,
    };
    *projected = Some((position, since));
    Stall { what: "store", lasts: now - since }
}

fn watch(watched: &Weak<Watchdog>) {
    while let Some(watchdog) = watched.upgrade() {
        watchdog.look();
        drop(watchdog);
        std::thread::sleep(LOOK);
    }
}
