//! What comes of a try: a delivery is made, tried again, or given up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::backoff::pause;
use super::super::client::Answer;
use super::super::tracker::Ticket;
use super::{Courier, Tried, delivery as delivery_of};
use crate::log::{millis, now_ms};
use crate::store::webhooks::{Change, Delivery};

impl Courier {
    pub(super) fn tried(&mut self, Tried { delivery, ticket, answer }: Tried, now: Instant) {
        self.tries -= 1;
        let state = self.state.get_or_insert_default();
        (state.answered_at, state.answer) = (Some(now_ms()), Some(answer.words()));
        self.is_dirty = true;
        self.changes += 1;
        match answer {
            Answer::Taken(_) => self.taken(delivery, ticket),
            Answer::Gone => self.gone(delivery, ticket),
            Answer::Refused(_, wait) => self.failed(delivery, ticket, wait, now),
            Answer::Failed(_) => self.failed(delivery, ticket, None, now),
        }
        self.show();
    }

    fn taken(&mut self, delivery: Delivery, ticket: Option<Ticket>) {
        let lag = Duration::from_millis(now_ms().saturating_sub(delivery.event.at));
        self.tools.metrics.webhooks.delivered(lag);
        self.delivered += 1;
        let state = self.state.get_or_insert_default();
        let failing = state.failing_since.take();
        if self.breaker.succeeded() {
            let (endpoint, host) = self.names();
            let for_s = failing.map_or(0, |since| now_ms().saturating_sub(since) / 1000);
            tracing::info!(endpoint, host, for_s, "the endpoint takes webhooks again");
            (self.hurry, self.load_at) = (true, Some(Instant::now()));
        }
        if let Some(ticket) = ticket {
            self.busy.remove(&delivery.id);
            return ticket.done();
        }
        let (endpoint, id) = (delivery.endpoint, delivery.id);
        let change = Change::Remove { endpoint, id: id.clone() };
        self.counts.pending = self.counts.pending.saturating_sub(1);
        self.tools.scribe.write(change, None, Some((Arc::clone(&self.queue), id)));
    }

    fn failed(&mut self, mut delivery: Delivery, ticket: Option<Ticket>, wait: Option<Duration>, now: Instant) {
        let at = now_ms();
        self.tools.metrics.webhooks.failed();
        let state = self.state.get_or_insert_default();
        let is_first = state.failing_since.is_none();
        state.failing_since.get_or_insert(at);
        delivery.answer.clone_from(&state.answer);
        let (endpoint, host) = self.names();
        if is_first {
            tracing::warn!(endpoint, host, answer = delivery.answer, "an endpoint does not take a webhook");
        }
        if self.breaker.failed(now, rand::random()) {
            tracing::warn!(endpoint, host, answer = delivery.answer, "an endpoint is left alone for a while");
        }
        delivery.attempts += 1;
        let tried_for = Duration::from_millis(at.saturating_sub(delivery.queued_at));
        let left = self.tools.give_up_after.saturating_sub(tried_for);
        // The last try is made when the time is over.
        let pause = pause(delivery.attempts, rand::random()).max(wait.unwrap_or_default()).min(left);
        delivery.next_at = at.saturating_add(millis(pause));
        if left.is_zero() {
            tracing::warn!(endpoint, host, delivery = delivery.id, "a webhook was given up");
            self.tools.metrics.webhooks.given_up(1);
            delivery.given_up = true;
            self.counts.given_up += 1;
        } else {
            let next = now + pause;
            self.load_at = Some(self.load_at.map_or(next, |at| at.min(next)));
            self.counts.pending += u64::from(ticket.is_some());
        }
        let busy = Some((Arc::clone(&self.queue), delivery.id.clone()));
        self.tools.scribe.write(Change::Save(delivery), ticket, busy);
    }

    /// The endpoint does not want anything any more: what waits for it is given up.
    fn gone(&mut self, mut delivery: Delivery, ticket: Option<Ticket>) {
        let (endpoint, host) = self.names();
        tracing::warn!(target: crate::telemetry::AUDIT, endpoint, host, "the endpoint says that it is gone (410): ended");
        self.state.get_or_insert_default().ended_at.get_or_insert(now_ms());
        (delivery.given_up, delivery.attempts) = (true, delivery.attempts + 1);
        delivery.answer = Some(Answer::Gone.words());
        self.tools.metrics.webhooks.given_up(1);
        let (queue, store) = (Arc::clone(&self.queue), self.tools.store.clone());
        let busy = Some((Arc::clone(&queue), delivery.id.clone()));
        self.tools.scribe.write(Change::Save(delivery), ticket, busy);
        while let Some(fresh) = queue.pop() {
            let given_up = Delivery { given_up: true, ..delivery_of(&queue.target().id, fresh.event) };
            let busy = Some((Arc::clone(&queue), given_up.id.clone()));
            self.busy.insert(given_up.id.clone());
            self.tools.scribe.write(Change::Save(given_up), Some(fresh.ticket), busy);
        }
        let id = queue.target().id.clone();
        let metrics = Arc::clone(&self.tools.metrics);
        tokio::spawn(async move {
            match store.give_up_webhook_deliveries(&id, u64::MAX).await {
                Ok(count) => metrics.webhooks.given_up(count),
                Err(error) => tracing::warn!(%error, endpoint = id, "cannot give up what waits for an ended endpoint"),
            }
            queue.look_again();
        });
        // What follows from it is not waited for.
        self.flush_at = Instant::now();
    }
}
