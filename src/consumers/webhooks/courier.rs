//! Delivers what waits for one endpoint: what is new from memory, what failed before from the store.
//!
//! A new event is tried at once, and written down only if that fails, or if the endpoint is left alone just then.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};
use tracing::Instrument;

use super::backoff::{Breaker, Phase};
use super::client::{Answer, Client};
use super::queue::{Fresh, Queue, Shown};
use super::scribe::Scribe;
use super::secrets::{SEALED_ELSEWHERE, Secrets};
use super::tracker::Ticket;
use crate::log::now_ms;
use crate::store::webhooks::{Change, Counts, Delivery, EndpointState};
use crate::store::{self, Store};
use crate::telemetry::Metrics;
use crate::telemetry::spans::webhook_span;

mod outcome;

/// Tries of one endpoint at once.
const TRIES: usize = 16;
/// Deliveries that are read from the store at once.
const LOADED: u64 = 64;
/// Between two looks into the store that did not work.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How often it is written down how the endpoint answers.
const FLUSH: Duration = Duration::from_secs(1);
/// How long tries that are under way are waited for at the end.
const FAREWELL: Duration = Duration::from_secs(2);
/// What is written down under this name is how the endpoint answers.
const STATE: &str = "state";

/// What couriers need. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tools {
    pub(super) client: Client,
    pub(super) store: Store,
    pub(super) scribe: Scribe,
    pub(super) metrics: Arc<Metrics>,
    pub(super) secrets: Secrets,
    /// For how long a delivery is tried.
    pub(super) give_up_after: Duration,
}

/// Delivers what waits for one endpoint.
#[expect(clippy::struct_excessive_bools, reason = "each is a matter of its own")]
pub(super) struct Courier {
    tools: Tools,
    queue: Arc<Queue>,
    /// Read from the store, and to be tried now.
    due: VecDeque<Delivery>,
    /// Under way, or being written: what the store has of these is old.
    busy: HashSet<String>,
    work: JoinSet<Done>,
    tries: usize,
    is_loading: bool,
    /// When to look into the store next. `None`: nothing is there.
    load_at: Option<Instant>,
    breaker: Breaker,
    /// `None`: the store was not asked yet.
    state: Option<EndpointState>,
    counts: Counts,
    /// Deliveries since that was written last.
    delivered: u64,
    is_dirty: bool,
    unwritten: usize,
    /// Counts what changed how it answers: what was read before is old.
    changes: u64,
    flush_at: Instant,
    /// It answers again: what waits in the store is to be tried now.
    hurry: bool,
    old_first: bool,
}

/// Something that went on beside is over.
enum Done {
    Tried(Box<Tried>),
    Loaded(Result<Loaded, store::Error>),
}

struct Tried {
    delivery: Delivery,
    ticket: Option<Ticket>,
    answer: Answer,
}

struct Loaded {
    due: Vec<Delivery>,
    next: Option<u64>,
    counts: Counts,
    state: EndpointState,
    /// What [`Courier::changes`] was before it was read. `None`: something was not written yet.
    changes: Option<u64>,
}

impl Courier {
    pub(super) fn new(tools: Tools, queue: Arc<Queue>) -> Self {
        Self {
            tools,
            queue,
            due: VecDeque::new(),
            busy: HashSet::new(),
            work: JoinSet::new(),
            tries: 0,
            is_loading: false,
            load_at: None,
            breaker: Breaker::default(),
            state: None,
            counts: Counts::default(),
            delivered: 0,
            is_dirty: false,
            unwritten: 0,
            changes: 0,
            flush_at: Instant::now(),
            hurry: false,
            old_first: false,
        }
    }

    pub(super) async fn run(mut self) {
        let (queue, stop) = (Arc::clone(&self.queue), self.queue.stop.clone());
        while !stop.is_cancelled() {
            self.fill(Instant::now());
            self.flush(Instant::now());
            let wake = self.wake_at();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(done) = self.work.join_next() => self.done(done),
                () = queue.changed.notified() => {}
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
        let farewell = async {
            while let Some(done) = self.work.join_next().await {
                self.done(done);
            }
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
        self.flush_at = Instant::now();
        self.flush(self.flush_at);
    }

    /// Begins whatever may be begun.
    fn fill(&mut self, now: Instant) {
        // What is being read may be from before it was written: until that is here, it stays busy.
        let written = if self.is_loading { Vec::new() } else { self.queue.take_written() };
        for id in written {
            if id == STATE {
                self.unwritten -= 1;
            } else if !self.busy.remove(&id) {
                self.load_at = Some(now);
            }
        }
        if self.queue.take_look() {
            self.load_at = Some(now);
        }
        if self.load_at.is_some_and(|at| at <= now) && !self.is_loading && self.due.is_empty() {
            self.load();
        }
        let Some(state) = &self.state else { return };
        if state.ended_at.is_some() {
            self.due.clear();
            while let Some(fresh) = self.queue.pop() {
                fresh.ticket.done();
            }
            return;
        }
        let room = match self.breaker.phase(now) {
            Phase::Closed => TRIES,
            Phase::HalfOpen => 1,
            Phase::Open(_) => {
                self.put_aside();
                0
            }
        };
        while self.tries < room && self.try_next() {}
    }

    /// What is new waits in the store while the endpoint is left alone.
    fn put_aside(&mut self) {
        while let Some(fresh) = self.queue.pop() {
            put_aside(&self.queue, &self.tools.scribe, fresh);
        }
    }

    /// Begins the next try. `false`: there is none.
    fn try_next(&mut self) -> bool {
        // What is new and what is old take turns: neither waits for all of the other.
        self.old_first = !self.old_first;
        let old = if self.old_first || !self.queue.has_fresh() { self.due.pop_front() } else { None };
        let (delivery, trace, ticket) = match old {
            Some(delivery) => (delivery, None, None),
            None => match self.queue.pop() {
                Some(Fresh { event, trace, ticket }) => (delivery(&self.queue.target().id, event), trace, Some(ticket)),
                None => return false,
            },
        };
        self.busy.insert(delivery.id.clone());
        self.tries += 1;
        let (client, target) = (self.tools.client.clone(), self.queue.target());
        self.work.spawn(async move {
            let answer = match target.message(&delivery.event, &delivery.id, now_ms()) {
                Some((headers, body)) => {
                    let span = webhook_span(trace.as_deref(), target.url.host_str());
                    client.post(&target.url, &headers, body).instrument(span).await
                }
                None => Answer::Failed(SEALED_ELSEWHERE.to_owned()),
            };
            Done::Tried(Box::new(Tried { delivery, ticket, answer }))
        });
        true
    }

    fn load(&mut self) {
        self.is_loading = true;
        let (store, id) = (self.tools.store.clone(), self.queue.target().id.clone());
        let hurry = std::mem::take(&mut self.hurry);
        let changes = (!self.is_dirty && self.unwritten == 0).then_some(self.changes);
        self.work.spawn(async move {
            let load = async {
                if hurry {
                    store.hurry_webhook_deliveries(&id, now_ms()).await?;
                }
                let due = store.due_webhook_deliveries(&id, now_ms(), LOADED).await?;
                let next = if due.is_empty() { store.next_webhook_delivery(&id).await? } else { None };
                let counts = store.count_webhook_deliveries(&id).await?;
                Ok(Loaded { due, next, counts, state: store.webhook_state(&id).await?, changes })
            };
            Done::Loaded(load.await)
        });
    }

    fn done(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(Done::Tried(tried)) => self.tried(*tried, Instant::now()),
            Ok(Done::Loaded(loaded)) => self.loaded(loaded, Instant::now()),
            Err(error) => {
                tracing::error!(%error, "a try of a webhook ended in a fault of this program");
                self.tries = self.tries.saturating_sub(1);
            }
        }
    }

    fn loaded(&mut self, loaded: Result<Loaded, store::Error>, now: Instant) {
        self.is_loading = false;
        let Ok(loaded) = loaded else {
            // The scribe tells that the store is away. What is new is tried all the same.
            self.state.get_or_insert_default();
            self.load_at = Some(now + LOOK_AGAIN);
            return;
        };
        // What was not written down then is newer than what was read.
        if self.state.is_none() || loaded.changes == Some(self.changes) {
            self.state = Some(loaded.state);
        }
        self.counts = loaded.counts;
        let found = loaded.due.len();
        self.due.extend(loaded.due.into_iter().filter(|delivery| !self.busy.contains(&delivery.id)));
        self.load_at = match loaded.next {
            // Their last try is being written.
            _ if found > 0 && self.due.is_empty() => Some(now + LOOK_AGAIN / 10),
            _ if found > 0 => Some(now),
            next => next.map(|at| now + Duration::from_millis(at.saturating_sub(now_ms()))),
        };
        self.show();
    }

    /// Writes down how the endpoint answers, now and then.
    fn flush(&mut self, now: Instant) {
        let Some(state) = self.state.as_ref().filter(|_| self.is_dirty && self.flush_at <= now) else { return };
        let endpoint = self.queue.target().id.clone();
        let change = Change::State { endpoint, state: state.clone(), added: std::mem::take(&mut self.delivered) };
        self.tools.scribe.write(change, None, Some((Arc::clone(&self.queue), STATE.to_owned())));
        (self.is_dirty, self.flush_at) = (false, now + FLUSH);
        self.unwritten += 1;
    }

    fn show(&self) {
        let state = self.state.as_ref();
        self.queue.show(Shown {
            pending: self.counts.pending,
            failing_since: state.and_then(|state| state.failing_since),
            is_ended: state.is_some_and(|state| state.ended_at.is_some()),
        });
    }

    fn names(&self) -> (String, String) {
        let target = self.queue.target();
        (target.id.clone(), target.host().to_owned())
    }

    /// When something may have to be done that nobody tells of.
    fn wake_at(&self) -> Instant {
        const LONGEST: Duration = Duration::from_mins(1);
        let now = Instant::now();
        let load = self.load_at.filter(|_| !self.is_loading && self.due.is_empty());
        let flush = self.is_dirty.then_some(self.flush_at);
        let phase = match self.breaker.phase(now) {
            Phase::Open(until) => Some(until),
            Phase::Closed | Phase::HalfOpen => None,
        };
        [load, flush, phase].into_iter().flatten().fold(now + LONGEST, Instant::min)
    }
}

/// An event that waits in the store, untried.
pub(super) fn put_aside(queue: &Arc<Queue>, scribe: &Scribe, Fresh { event, ticket, .. }: Fresh) {
    let delivery = delivery(&queue.target().id, event);
    let id = delivery.id.clone();
    scribe.write(Change::Save(delivery), Some(ticket), Some((Arc::clone(queue), id)));
}

fn delivery(endpoint: &str, event: crate::domain::webhook::WebhookEvent) -> Delivery {
    let now = now_ms();
    Delivery {
        endpoint: endpoint.to_owned(),
        id: event.delivery_id(endpoint),
        event,
        queued_at: now,
        attempts: 0,
        next_at: now,
        answer: None,
        given_up: false,
    }
}
