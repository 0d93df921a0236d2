//! Batching: one append of a reply is in flight at a time, and the output that comes meanwhile becomes the next record.
//!
//! The policy only; it knows neither the log nor a clock.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;

use crate::domain::event::Event;

/// No delta is longer, in bytes of text and probabilities: so no event is too long for a client's line buffer.
pub(crate) const MAX_DELTA: usize = 256 * 1024;

/// No record is longer, as far as its events can be parted: what is longer has to be stored as a blob first.
pub(crate) const MAX_RECORD: usize = 512 * 1024;

/// Batches that are taken before they go.
const MOST_WAITING: usize = 1024;

/// The same, in bytes of text and probabilities: a record that is to go, and one that is filled meanwhile.
const MOST_WAITING_BYTES: usize = 2 * MAX_RECORD;

/// So many deltas stay events of their own while they wait; those that come faster are joined.
const MOST_SINGLE: usize = 64;

/// So many replies can run without waiting for company.
const UNHURRIED: usize = 64;
/// From so many on, the window does not grow.
const CROWDED: usize = 2_000;
const MAX_WINDOW: Duration = Duration::from_millis(25);

/// How long events wait for more, while so many replies run on this instance: not at all while few do.
pub(crate) fn window(running_replies: usize) -> Duration {
    let above = running_replies.clamp(UNHURRIED, CROWDED) - UNHURRIED;
    let share = u32::try_from(above).expect("clamped");
    MAX_WINDOW * share / u32::try_from(CROWDED - UNHURRIED).expect("a constant")
}

/// The events of a reply that wait for the log.
#[derive(Debug)]
pub(crate) struct Batcher {
    /// From so many batches on, text that continues where waiting text ends is joined with it.
    most_single: usize,
    /// What came together and stays together, in one record.
    batches: VecDeque<Batch>,
    /// Of all of these.
    bytes: usize,
    events: usize,
    has_text: bool,
}

#[derive(Debug, Default)]
struct Batch {
    events: Vec<Event>,
    bytes: usize,
    /// Of these, in the last event.
    last: usize,
}

impl Batcher {
    /// For a reply whose output is limited by a number of tokens, or is not. If it is limited, no deltas are joined:
    /// an instance that takes the reply over counts their events.
    pub(crate) fn new(is_limited: bool) -> Self {
        let most_single = if is_limited { usize::MAX } else { MOST_SINGLE };
        Self { most_single, batches: VecDeque::new(), bytes: 0, events: 0, has_text: false }
    }

    /// Takes events that belong together, out of `batch`. Every event stays one of its own, as long as not many wait.
    pub(crate) fn push(&mut self, batch: &mut Vec<Event>) {
        let joins = self.batches.len() >= self.most_single;
        let mut whole = Batch::default();
        let mut arguments = calls(batch).into_iter();
        for event in batch.drain(..) {
            let is_arguments = arguments.next().unwrap_or_default();
            let Event::Delta { item, mut text, mut logprobs } = event else {
                whole.push(event);
                continue;
            };
            if joins && whole.events.is_empty() && self.join(item, &text, &mut logprobs) {
                continue;
            }
            while text.len() > MAX_DELTA {
                let rest = text.split_off(text.floor_char_boundary(MAX_DELTA));
                whole.push(Event::Delta { item, text, logprobs: std::mem::take(&mut logprobs) });
                // Text may be parted anywhere, arguments nowhere.
                if !is_arguments {
                    self.put(std::mem::take(&mut whole));
                }
                text = rest;
            }
            whole.push(Event::Delta { item, text, logprobs });
        }
        if !whole.events.is_empty() {
            self.put(whole);
        }
    }

    fn put(&mut self, batch: Batch) {
        self.bytes += batch.bytes;
        self.events += batch.events.len();
        self.batches.push_back(batch);
    }

    /// Events for the next record, as many as fit; none if none wait.
    pub(crate) fn take(&mut self) -> Vec<Event> {
        let Some(Batch { mut events, mut bytes, .. }) = self.batches.pop_front() else { return Vec::new() };
        while let Some(next) = self.batches.pop_front_if(|next| bytes + next.bytes <= MAX_RECORD) {
            bytes += next.bytes;
            events.extend(next.events);
        }
        self.bytes -= bytes;
        self.events -= events.len();
        self.has_text |= events.iter().any(|event| matches!(event, Event::Delta { .. }));
        events
    }

    /// Whether so much waits that it should go before more is taken.
    pub(crate) fn is_full(&self) -> bool {
        self.batches.len() >= MOST_WAITING || self.bytes >= MOST_WAITING_BYTES
    }

    /// How many events wait.
    pub(crate) const fn events(&self) -> usize {
        self.events
    }

    /// Whether no events wait.
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// How long the events that wait may wait for more, while so many replies run. The first text goes at once, and
    /// so does the end.
    pub(crate) fn delay(&self, running_replies: usize) -> Duration {
        let ends = self.batches.back().and_then(|batch| batch.events.last()).is_some_and(Event::is_terminal);
        if ends || !self.has_text || self.is_full() { Duration::ZERO } else { window(running_replies) }
    }

    /// Joins text with that of the last event, if it goes on there.
    fn join(&mut self, item: u32, text: &str, logprobs: &mut Vec<Value>) -> bool {
        let Some(last) = self.batches.back_mut() else { return false };
        let Some(Event::Delta { item: same, text: waiting, logprobs: known }) = last.events.last_mut() else {
            return false;
        };
        let more = delta_bytes(text, logprobs);
        if *same != item || last.last + more > MAX_DELTA {
            return false;
        }
        waiting.push_str(text);
        known.append(logprobs);
        last.bytes += more;
        last.last += more;
        self.bytes += more;
        true
    }
}

impl Batch {
    fn push(&mut self, event: Event) {
        self.last = event_bytes(&event);
        self.bytes += self.last;
        self.events.push(event);
    }
}

/// For each event, whether it holds the arguments of a call: completed and closed right after, without a part.
fn calls(batch: &[Event]) -> Vec<bool> {
    let is_call = |(at, event): (usize, &Event)| {
        let Event::Delta { item, .. } = event else { return false };
        matches!(&batch[at + 1..], [Event::TextDone(_), Event::ItemDone { item: done, .. }, ..] if done == item)
    };
    batch.iter().enumerate().map(is_call).collect()
}

/// What an event takes in a record, without what all events take.
pub(super) fn event_bytes(event: &Event) -> usize {
    match event {
        Event::Delta { text, logprobs, .. } => delta_bytes(text, logprobs),
        Event::ItemDone { provider_state: Some(provider_state), .. } => json_bytes(provider_state),
        _ => 0,
    }
}

fn delta_bytes(text: &str, logprobs: &[Value]) -> usize {
    text.len() + logprobs.iter().map(json_bytes).sum::<usize>()
}

/// About as long as it is when written.
pub(super) fn json_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(list) => list.iter().map(|value| json_bytes(value) + 1).sum::<usize>() + 2,
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + json_bytes(value) + 4).sum::<usize>() + 2,
    }
}

#[cfg(test)]
mod tests;
