use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::event::{End, Opening, Outcome, PartKind};

fn text(item: u32, text: &str) -> Event {
    Event::Delta { item, text: text.to_owned(), logprobs: Vec::new() }
}

/// The events of one push of a builder: items that open, text, calls that are complete and closed.
fn batch() -> impl Strategy<Value = Vec<Event>> {
    let length = prop_oneof![8 => 1..20_usize, 1 => 100_000..600_000_usize];
    let writes = (0..2_u32, length.clone()).prop_map(|(item, length)| vec![text(item, &"é".repeat(length))]);
    let opens = (0..2_u32, length.clone()).prop_map(|(item, length)| {
        let kind = PartKind::Text;
        vec![Event::ItemAdded(Opening::Message), Event::PartAdded { item, kind }, text(item, &"b".repeat(length))]
    });
    let closes = (0..2_u32, length).prop_map(|(item, length)| {
        let done = Event::ItemDone { item: item + 2, incomplete: false, provider_state: None };
        vec![text(item + 2, &"c".repeat(length)), Event::TextDone(item + 2), done]
    });
    prop_oneof![6 => writes, 1 => opens, 1 => closes]
}

fn bytes(event: &Event) -> usize {
    if let Event::Delta { text, .. } = event { text.len() } else { 0 }
}

fn is_text(event: &Event) -> bool {
    matches!(event, Event::Delta { item: ..2, .. })
}

fn is_arguments(event: &Event) -> bool {
    matches!(event, Event::Delta { item: 2.., .. })
}

fn is_done(event: &Event) -> bool {
    matches!(event, Event::ItemDone { .. })
}

/// The events with adjacent deltas of an item joined.
fn joined(events: impl IntoIterator<Item = Event>) -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    for event in events {
        if let (Some(Event::Delta { item, text, .. }), Event::Delta { item: same, text: more, .. }) =
            (all.last_mut(), &event)
            && item == same
        {
            text.push_str(more);
            continue;
        }
        all.push(event);
    }
    all
}

proptest! {
    #[test]
    fn what_goes_in_comes_out_in_order_and_in_bounds(
        batches in vec((batch(), any::<bool>()), 1..40),
        most_single in 0..50_usize,
    ) {
        let (mut batcher, mut records) = (Batcher { most_single, ..Batcher::new(false) }, Vec::new());
        for (mut batch, take) in batches.clone() {
            batcher.push(&mut batch);
            if take {
                records.push(batcher.take());
            }
        }
        while !batcher.is_empty() {
            records.push(batcher.take());
        }
        for record in &records {
            let text: usize = record.iter().map(bytes).sum();
            let one_call = record.iter().all(|event| !is_text(event));
            prop_assert!(text <= MAX_RECORD || one_call, "a record of {} bytes", text);
            prop_assert!(record.iter().all(|event| bytes(event) <= MAX_DELTA));
            // A call's arguments, their completion, and its closing are in one record.
            let has_call = record.iter().any(is_arguments);
            prop_assert!(!has_call || record.iter().any(is_done));
            prop_assert!(!record.last().is_some_and(is_arguments));
        }
        let went_in = joined(batches.into_iter().flat_map(|(batch, _)| batch));
        prop_assert_eq!(joined(records.into_iter().flatten()), went_in);
    }
}

/// A batcher that joins what waits.
fn joins() -> Batcher {
    Batcher { most_single: 0, ..Batcher::new(false) }
}

#[test]
fn deltas_stay_single_while_few_wait_and_always_where_tokens_are_limited() {
    let waiting = |is_limited| {
        let mut batcher = Batcher::new(is_limited);
        (0..2 * MOST_SINGLE).for_each(|_| batcher.push(&mut vec![text(0, "x")]));
        batcher.events()
    };
    assert_eq!([waiting(false), waiting(true)], [MOST_SINGLE, 2 * MOST_SINGLE]);
}

#[test]
fn text_that_waits_becomes_one_delta_with_its_probabilities() {
    let mut batcher = joins();
    for piece in ["Hel", "lo", "!"] {
        let logprobs = vec![json!({ "token": piece })];
        batcher.push(&mut vec![Event::Delta { item: 0, text: piece.to_owned(), logprobs }]);
    }
    batcher.push(&mut vec![text(1, "other")]);
    let logprobs = vec![json!({ "token": "Hel" }), json!({ "token": "lo" }), json!({ "token": "!" })];
    let hello = Event::Delta { item: 0, text: "Hello!".to_owned(), logprobs };
    assert_eq!(batcher.take(), [hello, text(1, "other")]);
    assert_eq!(batcher.take(), []);
}

#[test]
fn probabilities_count_towards_the_length_of_a_delta() {
    let mut batcher = joins();
    for _ in 0..4 {
        let logprobs = vec![json!({ "token": "x".repeat(MAX_DELTA / 3) })];
        batcher.push(&mut vec![Event::Delta { item: 0, text: "x".to_owned(), logprobs }]);
    }
    let deltas = batcher.take();
    assert_eq!(deltas.len(), 2, "two tokens fit into each");
}

#[test]
fn the_window_grows_with_the_load_and_ends_at_25_ms() {
    let millis = [0, 1, 64, 1_032, 2_000, 1_000_000].map(|running| window(running).as_micros());
    assert_eq!(millis, [0, 0, 0, 12_500, 25_000, 25_000]);
}

#[test]
fn the_first_text_and_the_end_wait_for_nothing() {
    let mut batcher = Batcher::new(false);
    batcher.push(&mut vec![text(0, "first")]);
    assert_eq!(batcher.delay(5_000), Duration::ZERO);
    batcher.take();
    batcher.push(&mut vec![text(0, "second")]);
    assert_eq!(batcher.delay(5_000), Duration::from_millis(25));
    assert_eq!(batcher.delay(10), Duration::ZERO);
    batcher.push(&mut vec![Event::End(End { outcome: Outcome::Completed, usage: None })]);
    assert_eq!(batcher.delay(5_000), Duration::ZERO);
}
