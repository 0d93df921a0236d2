//! The instances of a simulation, and what befalls them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rejoinder::log::simulated::Build;
use rejoinder::simulated::{Server, World};
use rejoinder::simulation::{Dice, Fault, Process};
use tokio::time::{Instant, sleep};

use crate::rules::Changed;
use crate::trace::Trace;

/// The most instances at once.
const MOST: usize = 4;

/// All instances.
pub(crate) struct Fleet {
    pub(crate) world: World,
    pub(crate) dice: Arc<Dice>,
    pub(crate) trace: Arc<Trace>,
    alive: Mutex<Vec<Arc<Instance>>>,
    /// What was killed is not dropped: nothing of it would have been.
    dead: Mutex<Vec<Arc<Instance>>>,
    started: AtomicU64,
    /// Of a hundred instances so many are of a newer build.
    newer: u64,
    /// When an instance came, went, or was not heard last.
    pub(crate) changed: Arc<Mutex<Changed>>,
    is_over: tokio_util::sync::CancellationToken,
}

/// One of them.
pub(crate) struct Instance {
    pub(crate) number: u64,
    pub(crate) process: Process,
    pub(crate) server: Server,
    /// How far its wall clock goes ahead, in milliseconds.
    ahead: AtomicI64,
}

impl Fleet {
    pub(crate) fn new(
        world: World,
        (dice, trace): (Arc<Dice>, Arc<Trace>),
        (newer, changed): (u64, Arc<Mutex<Changed>>),
    ) -> Arc<Self> {
        Arc::new(Self {
            world,
            dice,
            trace,
            alive: Mutex::default(),
            dead: Mutex::default(),
            started: AtomicU64::new(0),
            newer,
            changed,
            is_over: tokio_util::sync::CancellationToken::new(),
        })
    }

    /// Starts another one.
    pub(crate) async fn start(&self) {
        let (process, number) = (Process::start(), self.started.fetch_add(1, Ordering::Relaxed) + 1);
        let build = if self.newer > 0 && self.dice.percent(self.newer) { Build::Newer } else { Build::This };
        let server = Server::start(&self.world, process.clone(), build).await.expect("it starts");
        self.changed.lock().note(false);
        self.trace.note(format_args!("instance {number} started ({build:?} build)"));
        self.alive.lock().push(Arc::new(Instance { number, process, server, ahead: AtomicI64::new(0) }));
    }

    /// Those that were not killed and have not ended.
    pub(crate) fn alive(&self) -> Vec<Arc<Instance>> {
        self.alive.lock().retain(|instance| !instance.server.has_ended());
        self.alive.lock().clone()
    }

    /// One of them.
    pub(crate) fn any(&self) -> Option<Arc<Instance>> {
        let alive = self.alive();
        let at = usize::try_from(self.dice.number(0..alive.len().max(1) as u64)).ok()?;
        alive.get(at).cloned()
    }

    /// Whether all is calm, and stays so.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.is_cancelled()
    }

    /// Makes trouble for a while.
    pub(crate) async fn trouble(self: &Arc<Self>, lasts: Duration) {
        let over = Instant::now() + lasts;
        while Instant::now() < over {
            sleep(self.dice.millis(10..800)).await;
            self.befall_instances();
            self.befall_world();
        }
    }

    fn befall_instances(self: &Arc<Self>) {
        let Some(instance) = self.any() else { return };
        let number = instance.number;
        if self.dice.strikes(Fault::ClockLeaps) {
            // Never so far from each other that the deadline of a reply passes by that alone.
            let ahead = i64::try_from(self.dice.number(0..60_000)).unwrap_or_default() - 30_000;
            self.trace.note(format_args!("the clock of instance {number} goes {ahead} ms ahead"));
            instance.process.leap(ahead - instance.ahead.swap(ahead, Ordering::Relaxed));
        }
        if self.dice.strikes(Fault::Kill) {
            self.trace.note(format_args!("instance {number} is killed"));
            self.bury(&instance);
            self.start_later(100..4000);
        } else if self.dice.strikes(Fault::Terminate) {
            self.trace.note(format_args!("instance {number} is asked to end"));
            instance.server.terminate();
            self.changes(false);
            self.start_later(0..2000);
        } else if self.dice.strikes(Fault::Freeze) {
            let lasts = self.dice.millis(100..8000);
            self.trace.note(format_args!("instance {number} stands still for {lasts:?}"));
            instance.process.freeze();
            let changed = self.changes(true);
            tokio::spawn(async move {
                sleep(lasts).await;
                instance.process.thaw();
                changed.lock().note(false);
            });
        } else if self.dice.strikes(Fault::Cut) {
            let lasts = self.dice.millis(100..8000);
            self.trace.note(format_args!("instance {number} is cut off for {lasts:?}"));
            instance.process.cut(true);
            let changed = self.changes(true);
            tokio::spawn(async move {
                sleep(lasts).await;
                instance.process.cut(false);
                changed.lock().note(false);
            });
        } else if self.dice.strikes(Fault::Join) {
            self.start_later(0..1);
        }
    }

    fn befall_world(self: &Arc<Self>) {
        if self.dice.strikes(Fault::LeaderAway) {
            let lasts = self.dice.millis(500..7000);
            self.trace.note(format_args!("the log has no leader for {lasts:?}"));
            self.world.cluster.lose_leader(lasts);
        }
        if self.dice.strikes(Fault::Full) {
            let lasts = self.dice.millis(500..7000);
            self.trace.note(format_args!("the log has no space for {lasts:?}"));
            self.world.cluster.fill(true);
            let fleet = Arc::clone(self);
            tokio::spawn(async move {
                sleep(lasts).await;
                fleet.world.cluster.fill(false);
            });
        }
        if self.dice.strikes(Fault::StoreAway) {
            let lasts = self.dice.millis(500..15_000);
            self.trace.note(format_args!("the store is away for {lasts:?}"));
            self.world.database.go_away(lasts);
        }
    }

    fn changes(&self, is_pause: bool) -> Arc<Mutex<Changed>> {
        self.changed.lock().note(is_pause);
        Arc::clone(&self.changed)
    }

    fn bury(&self, instance: &Arc<Instance>) {
        self.changes(false);
        instance.process.kill();
        self.alive.lock().retain(|other| other.number != instance.number);
        self.dead.lock().push(Arc::clone(instance));
    }

    fn start_later(self: &Arc<Self>, later: std::ops::Range<u64>) {
        let (fleet, later) = (Arc::clone(self), self.dice.millis(later));
        tokio::task::spawn_local(async move {
            sleep(later).await;
            if fleet.alive().len() < MOST && !fleet.is_over() {
                fleet.start().await;
            }
        });
    }

    /// Nothing goes wrong any more, and somebody is there.
    pub(crate) async fn calm(&self) {
        self.dice.calm();
        self.is_over.cancel();
        self.world.cluster.fill(false);
        self.world.cluster.lose_leader(Duration::ZERO);
        self.world.database.go_away(Duration::ZERO);
        for instance in self.alive() {
            instance.process.thaw();
            instance.process.cut(false);
        }
        self.start().await;
        self.trace.note("calm");
    }

    /// What instances hold in memory for replies.
    pub(crate) fn holds(&self) -> Vec<String> {
        let mut held = Vec::new();
        for instance in self.alive() {
            let number = instance.number;
            let some = instance.server.holds().into_iter().filter(|(_, count)| *count > 0);
            held.extend(some.map(|(what, count)| format!("instance {number}: {count} {what}")));
        }
        held
    }
}
