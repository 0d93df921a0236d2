//! Arrivals: so many replies a second, whether or not those before have ended.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::tally::Check;
use crate::uses::{self, Use};
use crate::world::World;

/// Between two arrivals, or groups of them.
const TICK: Duration = Duration::from_millis(5);
/// A use that has not ended by then will not.
const LONGEST: Duration = Duration::from_secs(45);
/// Uses that have not ended: so many seconds of arrivals. Beyond, nothing new begins, and the rate falls.
const MOST_OPEN: usize = 3;

/// Begins uses until the time is over. While the server is away nothing begins.
pub(crate) async fn arrive(world: &Arc<World>) {
    let (rate, end) = (f64::from(world.options.rate), Instant::from_std(world.began + world.options.lasting));
    let most_open = MOST_OPEN * usize::try_from(world.options.rate).unwrap_or(usize::MAX);
    let mut random = Rng::with_seed(world.options.seed);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut last = Instant::now();
    // Replies that are due.
    let mut due = 0.0;
    while Instant::now() < end {
        tokio::select! {
            () = world.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let passed = last.elapsed();
        last = Instant::now();
        if !world.is_there() {
            continue;
        }
        // What was missed for longer is missed.
        due += (rate * passed.as_secs_f64()).min(rate);
        while due > 0.0 {
            let next = uses::choose(&mut random);
            due -= f64::from(next.replies());
            if world.uses.len() < most_open {
                begin(Arc::clone(world), next, random.fork());
            }
        }
    }
}

fn begin(world: Arc<World>, next: Use, random: Rng) {
    let uses = world.uses.clone();
    uses.spawn(async move {
        tokio::select! {
            () = world.stop.cancelled() => {}
            made = timeout(LONGEST, uses::make(&world, next, random)) => if made.is_err() {
                world.fail(Check::Ending, &format!("{next:?}"), &format_args!("not over after {LONGEST:?}"));
            }
        }
    });
}
