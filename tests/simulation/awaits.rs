//! Where tasks stand when the process that they belong to is killed. No part of the program: `tests/simulation/coverage`
//! puts it into a copy, in which each `.await` is `.standing(place!()).await`.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use tokio::task::Id;

/// A place in the source.
macro_rules! place {
    () => {
        concat!(file!(), ":", line!(), ":", column!())
    };
}
pub(crate) use place;

/// How often a place was reached, waited at, and interrupted by a kill.
type Counts = BTreeMap<&'static str, [u64; 3]>;

/// Of all simulations of this process.
static ALL: Mutex<Counts> = Mutex::new(BTreeMap::new());

thread_local! {
    static SIMULATION: RefCell<Simulation> = RefCell::default();
}

/// Without a state of its own: nothing is drawn for it.
type Map<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

#[derive(Default)]
struct Simulation {
    next: u64,
    waiting: Map<u64, (&'static str, Option<Id>)>,
    /// The process of each task, as far as it is known.
    processes: Map<Id, usize>,
    counts: Counts,
}

impl Drop for Simulation {
    fn drop(&mut self) {
        let Ok(path) = std::env::var("SIMULATION_AWAITS") else { return };
        let mut all = ALL.lock().unwrap();
        for (place, counts) in &self.counts {
            let sum = all.entry(place).or_default();
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        let lines = all.iter().map(|(place, [reached, waited, killed])| format!("{place} {reached} {waited} {killed}\n"));
        let _ = std::fs::write(path, lines.collect::<String>());
    }
}

/// The task that has its turn is one of this process.
pub(crate) fn belongs(process: usize) {
    if let Some(task) = tokio::task::try_id() {
        let _ = SIMULATION.try_with(|simulation| simulation.borrow_mut().processes.insert(task, process));
    }
}

/// A process is killed: wherever its tasks stand, they do not go on.
pub(crate) fn killed(process: usize) {
    let _ = SIMULATION.try_with(|simulation| {
        let Simulation { waiting, processes, counts, .. } = &mut *simulation.borrow_mut();
        for (place, task) in waiting.values() {
            if task.is_some_and(|task| processes.get(&task) == Some(&process)) {
                counts.entry(place).or_default()[2] += 1;
            }
        }
    });
}

/// Notes where a future is waited for.
pub(crate) trait Standing: IntoFuture + Sized {
    fn standing(self, place: &'static str) -> At<Self::IntoFuture> {
        At { future: Box::pin(self.into_future()), place, waiting: None }
    }
}

impl<F: IntoFuture> Standing for F {}

pub(crate) struct At<F> {
    future: Pin<Box<F>>,
    place: &'static str,
    waiting: Option<u64>,
}

impl<F: Future> Future for At<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let polled = self.future.as_mut().poll(context);
        let (place, waiting) = (self.place, self.waiting);
        let _ = SIMULATION.try_with(|simulation| {
            let Simulation { next, waiting: all, counts, .. } = &mut *simulation.borrow_mut();
            let counts = counts.entry(place).or_default();
            match (polled.is_pending(), waiting) {
                (true, None) => {
                    *next += 1;
                    counts[0] += 1;
                    counts[1] += 1;
                    all.insert(*next, (place, tokio::task::try_id()));
                    self.waiting = Some(*next);
                }
                (true, Some(_)) => {}
                (false, None) => counts[0] += 1,
                (false, Some(number)) => {
                    all.remove(&number);
                    self.waiting = None;
                }
            }
        });
        polled
    }
}

impl<F> Drop for At<F> {
    fn drop(&mut self) {
        if let Some(number) = self.waiting {
            let _ = SIMULATION.try_with(|simulation| simulation.borrow_mut().waiting.remove(&number));
        }
    }
}
