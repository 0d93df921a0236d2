//! The way to a service: so many requests at once as its [`Limit`] allows, and before it a queue that is bounded, and
//! fair between callers. What was accepted goes before what can still be refused. Where nothing is queued, it costs a lock
//! that nobody holds.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::limit::{CLEAN, Limit, Request};
use super::queue::{FairQueue, QueuePosition};

/// The way to one service. A handle: cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// The most that wait, of those that can be refused.
    max_queued: usize,
}

#[derive(Debug)]
struct State {
    limit: Limit,
    in_flight: usize,
    /// Those who cannot be refused any more.
    accepted: FairQueue<oneshot::Sender<Pass>>,
    /// The others, who are let through when none of those waits.
    refusable: FairQueue<oneshot::Sender<Pass>>,
}

/// The right to one request. It is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Gate,
    /// Which of those in flight it was when it got through.
    place: usize,
}

impl Pass {
    /// Which of those in flight it was when it got through: 1 where there were no others.
    pub(crate) const fn place(&self) -> usize {
        self.place
    }
}

/// Nobody gets through for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// As many wait as may.
    #[error("too many requests wait already")]
    Full,
    /// It took too long.
    #[error("no request got through in time")]
    Late,
}

/// How long one waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MaxWait {
    /// So long, if there is room in the queue.
    For(Duration),
    /// Until it is let through, also in a queue that is full, and before those who wait for a time: for what was accepted,
    /// and has to go on.
    Unlimited,
}

/// What a gate is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Requests that have not ended.
    pub(crate) in_flight: usize,
    /// Requests that wait.
    pub(crate) queued: usize,
    /// How many may be in flight now.
    pub(crate) limit: usize,
    /// How many may be in flight where nothing is wrong.
    pub(crate) configured: usize,
}

impl Gate {
    /// Lets so many through at once; of those who can be refused, so many wait.
    pub(crate) fn new(max_in_flight: usize, max_queued: usize) -> Self {
        let limit = Limit::new(max_in_flight);
        let state = State { limit, in_flight: 0, accepted: FairQueue::default(), refusable: FairQueue::default() };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), max_queued }) }
    }

    /// Goes through if there is room, and nobody waits for it.
    pub(crate) fn try_pass(&self) -> Option<Pass> {
        let mut state = self.inner.state.lock();
        let room = state.queued() == 0 && state.in_flight < state.limit.now(Instant::now());
        room.then(|| {
            state.in_flight += 1;
            Pass { gate: self.clone(), place: state.in_flight }
        })
    }

    /// Goes through, after a wait if need be. Dropping the future gives up the place.
    pub(crate) async fn pass(&self, caller: &str, max_wait: MaxWait) -> Result<Pass, Refused> {
        if let Some(pass) = self.try_pass() {
            return Ok(pass);
        }
        let deadline = match max_wait {
            MaxWait::For(time) => Some(Instant::now() + time),
            MaxWait::Unlimited => None,
        };
        let (waiter, mut passed) = oneshot::channel();
        let _waiting = self.wait(caller, waiter, deadline.is_some())?;
        loop {
            // The limit also grows while nobody leaves.
            let again = Instant::now() + CLEAN;
            match timeout_at(deadline.map_or(again, |deadline| deadline.min(again)), &mut passed).await {
                Ok(Ok(pass)) => return Ok(pass),
                Ok(Err(_)) => return Err(Refused::Late),
                Err(_) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => return Err(Refused::Late),
                Err(_) => self.let_through(),
            }
        }
    }

    /// The service said that it has too much to do, in answer to a request. The new limit, if it changes.
    pub(crate) fn overloaded(&self, request: Request) -> Option<usize> {
        let mut state = self.inner.state.lock();
        let in_flight = state.in_flight;
        state.limit.overloaded(request, in_flight, Instant::now())
    }

    /// The service took a request, which was the so-manieth in flight.
    pub(crate) fn taken(&self, place: usize) {
        self.inner.state.lock().limit.taken(place);
    }

    /// A call went well. Whether the limit is back where it was configured, if it was lower.
    pub(crate) fn succeeded(&self) -> bool {
        self.inner.state.lock().limit.succeeded(Instant::now())
    }

    /// What it is doing.
    pub(crate) fn traffic(&self) -> Traffic {
        let state = self.inner.state.lock();
        Traffic {
            in_flight: state.in_flight,
            queued: state.queued(),
            limit: state.limit.now(Instant::now()),
            configured: state.limit.configured(),
        }
    }

    fn wait(&self, caller: &str, waiter: oneshot::Sender<Pass>, refusable: bool) -> Result<Waiting<'_>, Refused> {
        let mut state = self.inner.state.lock();
        if refusable && state.refusable.len() >= self.inner.max_queued {
            return Err(Refused::Full);
        }
        let place = state.queue_of(refusable).push(caller, waiter);
        Ok(Waiting { gate: self, place, refusable })
    }

    /// Lets those through for whom there is room, one after another.
    fn let_through(&self) {
        loop {
            let (waiter, place) = {
                let mut state = self.inner.state.lock();
                if state.in_flight >= state.limit.now(Instant::now()) {
                    return;
                }
                let Some(waiter) = state.accepted.pop().or_else(|| state.refusable.pop()) else { return };
                state.in_flight += 1;
                (waiter, state.in_flight)
            };
            // Who went away meanwhile drops the pass here, outside of the lock, and the next one gets it.
            let _ = waiter.send(Pass { gate: self.clone(), place });
        }
    }
}

impl State {
    const fn queued(&self) -> usize {
        self.accepted.len() + self.refusable.len()
    }

    const fn queue_of(&mut self, refusable: bool) -> &mut FairQueue<oneshot::Sender<Pass>> {
        if refusable { &mut self.refusable } else { &mut self.accepted }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.inner.state.lock().in_flight -= 1;
        self.gate.let_through();
    }
}

/// A place in the queue, given up when it is dropped.
struct Waiting<'a> {
    gate: &'a Gate,
    place: QueuePosition,
    refusable: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.inner.state.lock();
        // Its turn may have come: then it is gone from the queue.
        let waiter = state.queue_of(self.refusable).remove(&self.place);
        drop(state);
        drop(waiter);
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    const TEN: MaxWait = MaxWait::For(Duration::from_secs(10));

    #[tokio::test(start_paused = true)]
    async fn what_was_accepted_goes_before_what_can_be_refused() {
        let gate = Gate::new(1, 8);
        let running = gate.try_pass().unwrap();
        let mut waiting = JoinSet::new();
        for (queued, patience) in [TEN, TEN, MaxWait::Unlimited].into_iter().enumerate() {
            let waits = gate.clone();
            waiting.spawn(async move { waits.pass("a", patience).await.map(|_| patience) });
            while gate.traffic().queued == queued {
                tokio::task::yield_now().await;
            }
        }
        drop(running);
        let first = waiting.join_next().await.unwrap().unwrap();
        assert_eq!(first, Ok(MaxWait::Unlimited), "it came last");
        assert_eq!(waiting.join_all().await, [Ok(TEN), Ok(TEN)]);
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_get_through_and_the_next_when_one_leaves() {
        let gate = Gate::new(2, 8);
        let (first, second) = (gate.try_pass().unwrap(), gate.pass("a", TEN).await.unwrap());
        assert!(gate.try_pass().is_none());
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.pass("a", TEN).await }
        });
        while gate.traffic().queued == 0 {
            tokio::task::yield_now().await;
        }
        drop(first);
        let third = waiting.await.unwrap().unwrap();
        assert_eq!(gate.traffic(), Traffic { in_flight: 2, queued: 0, limit: 2, configured: 2 });
        drop((second, third));
        assert_eq!(gate.traffic().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_at_once_and_a_wait_ends_but_what_was_accepted_waits_on() {
        let gate = Gate::new(1, 1);
        let held = gate.try_pass().unwrap();
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        let waits = |max_wait| {
            let gate = gate.clone();
            async move { gate.pass("a", max_wait).await.map(drop) }
        };
        tasks.spawn(waits(TEN));
        while gate.traffic().queued == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(waits(TEN).await, Err(Refused::Full));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        tasks.spawn(waits(MaxWait::Unlimited));
        assert_eq!(tasks.join_next().await.unwrap().unwrap(), Err(Refused::Late));
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
        assert_eq!(gate.traffic().queued, 1, "what was accepted waits on");
        drop(held);
        assert_eq!(tasks.join_next().await.unwrap().unwrap(), Ok(()));
        assert_eq!(gate.traffic(), Traffic { in_flight: 0, queued: 0, limit: 1, configured: 1 });
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_while_waiting_is_gone() {
        let gate = Gate::new(1, 1);
        let held = gate.try_pass().unwrap();
        for _ in 0..3 {
            let waiting = tokio::spawn({
                let gate = gate.clone();
                async move { gate.pass("a", TEN).await.map(drop) }
            });
            while gate.traffic().queued == 0 {
                tokio::task::yield_now().await;
            }
            waiting.abort();
            assert!(waiting.await.unwrap_err().is_cancelled());
            assert_eq!(gate.traffic().queued, 0);
        }
        drop(held);
        assert!(gate.try_pass().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lowered_limit_grows_again_while_nobody_leaves() {
        let gate = Gate::new(32, 8);
        let mut held: Vec<_> = (0..32).map(|_| gate.try_pass().unwrap()).collect();
        let refused = Request { begun: Instant::now(), place: 32 };
        assert_eq!([(); 2].map(|()| gate.overloaded(refused)), [None, Some(16)]);
        let begun = Instant::now();
        held.truncate(16);
        let _another = gate.pass("a", TEN).await.unwrap();
        assert!(begun.elapsed() <= CLEAN * 2, "{:?}", begun.elapsed());
    }
}
