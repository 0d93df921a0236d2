//! The mapping of replies that are continued after they were broken off.

use super::*;
use crate::domain::items::ItemStatus;
use crate::llm::call::Prefix;

#[test]
fn takeover_goes_on_in_the_part_that_is_open() {
    let reply = broken_off([thinks("hm"), writes("Hello wor")]);
    assert_eq!(Plan::of(&reply), Plan::Continue(Prefix { text: "Hello wor".to_owned(), call: None }));
    let events = rest(&reply, [thinks("again"), writes("ld"), stops(Stop)]);
    assert_eq!(events, events![text(1, "ld"), part_done(1), item_done(1, false), end(Outcome::Completed)]);
    let events = rest(&reply, [stops(Stop)]);
    assert_eq!(events, events![part_done(1), item_done(1, false), end(Outcome::Completed)]);
    let (events, finished) = attempt(Options::default(), &reply, [], Some(true));
    assert_eq!((events, finished), (Vec::new(), Some(Finished::Broken)), "no output, and no reason");
}

#[test]
fn takeover_of_thoughts_starts_again_in_a_new_item() {
    let reply = broken_off([thinks("h")]);
    assert_eq!(Plan::of(&reply), Plan::Start);
    let events = rest(&reply, [thinks("hm"), Delta::ProviderState(json!(1)), writes("Hi"), stops(Stop)]);
    let wanted = events! {
        part_done(0), item_done(0, true), reasoning(), part(1, PartKind::Reasoning), text(1, "hm"), part_done(1),
        Event::ItemDone { item: 1, incomplete: false, provider_state: Some(json!(1)) }, message(), part(2, PartKind::Text),
        text(2, "Hi"), part_done(2), item_done(2, false), end(Outcome::Completed),
    };
    assert_eq!(events, wanted);
}

#[test]
fn thoughts_that_lead_to_nothing_again_are_not_shown() {
    let reply = broken_off([thinks("h")]);
    let (events, finished) = attempt(Options::default(), &reply, [thinks("hm"), thinks("m")], None);
    assert_eq!((events, finished), (Vec::new(), None));
    let events = rest(&reply, [thinks("h"), thinks("m"), calls(0, "f", "{}"), stops(Stop)]);
    assert!(events.contains(&text(1, "hm")), "what led to a call is: {events:?}");
    let events = rest(&reply, [thinks("hm"), stops(FinishReason::Length)]);
    assert!(events.contains(&text(1, "hm")), "and so is what ended by itself: {events:?}");
}

#[test]
fn takeover_of_a_call_makes_its_arguments_again_in_the_same_item() {
    let reply = broken_off([writes("Look. "), calls(0, "f", "{\"a")]);
    assert_eq!(Plan::of(&reply), Plan::Continue(Prefix { text: "Look.".to_owned(), call: Some("f".to_owned()) }));
    // The text around the call came before, or was not asked for.
    let deltas = [thinks("hm"), writes("Look."), calls(0, "g", "{}"), calls(1, "f", "{\"a\""), calls(1, "", ":1}")];
    let events = rest(&reply, deltas.into_iter().chain([stops(Stop)]));
    let wanted = events![text(1, "{\"a\":1}"), Event::TextDone(1), item_done(1, false), end(Outcome::Completed)];
    assert_eq!(events, wanted);
    let (events, finished) = attempt(Options::default(), &reply, [writes("Look."), stops(Stop)], Some(true));
    assert_eq!((events, finished), (Vec::new(), Some(Finished::Broken)));
}

#[test]
fn takeover_of_several_calls_makes_one_after_the_other() {
    let mut reply = broken_off([calls(0, "f", "{"), calls(1, "g", "{")]);
    let (events, finished) = attempt(Options::default(), &reply, [calls(0, "f", "{}"), stops(Stop)], Some(true));
    assert_eq!(events, events![text(0, "{}"), Event::TextDone(0), item_done(0, false)]);
    assert_eq!(finished, Some(Finished::Broken));
    apply(&mut reply, &events);
    assert_eq!(Plan::of(&reply), Plan::Continue(Prefix { text: String::new(), call: Some("g".to_owned()) }));
    assert_eq!(rest(&reply, [calls(0, "g", "{}"), stops(Stop)]).last(), Some(&end(Outcome::Completed)));
}

#[test]
fn takeover_after_a_whole_call_completes_the_reply() {
    let reply = broken_off([calls(0, "f", "{}"), writes("and")]);
    assert_eq!(Plan::of(&reply), Plan::EndCompleted);
    let mut events = Vec::new();
    EventBuilder::new(Options::default(), &reply, Continuation::Fresh).complete(&mut events);
    assert_eq!(events, events![part_done(1), item_done(1, true), end(Outcome::Completed)]);
    assert_eq!(reply.output()[0].status(), ItemStatus::Completed);
}

#[test]
fn takeover_of_a_refusal_continues_it_in_either_form() {
    let reply = broken_off([refuses("I'm sorry")]);
    let events = rest(&reply, [writes(", no."), stops(Stop)]);
    assert_eq!(events, events![text(0, ", no."), part_done(0), item_done(0, false), end(Outcome::Completed)]);
}

#[test]
fn text_held_by_a_splice_is_emitted_before_what_follows_and_dropped_if_the_attempt_broke() {
    let reply = broken_off([writes("one two three")]);
    let overlap = [writes("one two"), calls(0, "f", "{}")];
    let (events, _) = attempt(Options::default(), &reply, overlap.clone(), None);
    assert_eq!(events[0], text(0, "one two"));
    let (events, _) = attempt(Options::default(), &reply, overlap[..1].to_vec(), Some(false));
    assert_eq!(events, Vec::new());
}

/// The events of a reply that is continued after it was broken off.
fn rest(reply: &Reply, deltas: impl IntoIterator<Item = Delta>) -> Vec<Event> {
    let (events, finished) = attempt(Options::default(), reply, deltas, Some(true));
    assert_eq!(finished, Some(Finished::Ended));
    events
}
