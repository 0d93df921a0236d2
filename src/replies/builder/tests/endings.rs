//! The mapping of how an attempt ends, and the reply with it.

use super::*;
use crate::domain::event::ErrorCode;
use crate::domain::params::{TextFormat, TextParams};
use FinishReason::ContentFilter;

#[test]
fn e7_text_without_a_reason_is_complete_if_the_stream_is_done() {
    let events = whole(Options::default(), [writes("a")]);
    assert_eq!(events.last(), Some(&end(Outcome::Completed)));
    let cut_off = [writes("a"), calls(0, "f", "{\"a\":")];
    assert_eq!(attempt(Options::default(), &opened(), cut_off, Some(true)).1, Some(Finished::Broken));
}

#[test]
fn e8_e9_a_reply_that_was_stopped_short_leaves_incomplete_items() {
    for (reason, outcome) in [(Length, Outcome::MaxOutputTokens), (ContentFilter, Outcome::ContentFilter)] {
        let deltas = [calls(0, "f", "{\"a\":1}"), calls(1, "g", "{\"a\""), writes("te"), stops(reason), used(7)];
        let events = whole(Options::default(), deltas);
        let usage = Some(Usage { input: 1, output: 7, total: 8, ..Usage::default() });
        let wanted = events! {
            function("id0", "f"), text(0, "{\"a\":1}"), Event::TextDone(0), item_done(0, false), function("id1", "g"),
            message(), part(2, PartKind::Text), text(2, "te"), text(1, "{\"a\""), Event::TextDone(1),
            item_done(1, true), part_done(2), item_done(2, true), Event::End(End { outcome, usage }),
        };
        assert_eq!(events, wanted);
    }
}

#[test]
fn e10_an_attempt_without_an_end_or_without_anything_is_broken() {
    let broken = |deltas: Vec<Delta>, done| {
        let (events, finished) = attempt(Options::default(), &opened(), deltas, Some(done));
        assert!(!events.iter().any(Event::is_terminal));
        finished == Some(Finished::Broken)
    };
    assert!(broken(vec![writes("a")], false));
    assert!(broken(vec![writes("a"), stops(FinishReason::Broken)], true));
    assert!(broken(vec![], true));
    assert!(broken(vec![stops(Stop)], true));
    assert!(broken(vec![stops(Stop), used(0)], true));
    assert!(broken(vec![thinks("a")], true));
}

#[test]
fn e10_a_failure_keeps_the_output_and_its_cause() {
    let mut builder = EventBuilder::new(Options::default(), &opened(), Continuation::Fresh);
    let mut events = Vec::new();
    builder.push(writes("a"), &mut events);
    builder.push(calls(0, "f", "{}"), &mut events);
    events.clear();
    let error = ReplyError { code: ErrorCode::RateLimitExceeded, message: "enough".to_owned() };
    builder.fail(error.clone(), &mut events);
    let wanted =
        events![Event::TextDone(1), item_done(1, true), Event::Error(error.clone()), end(Outcome::Failed(error))];
    assert_eq!(events, wanted, "arguments that were held are dropped");
}

#[test]
fn e11_a_cancelled_reply_keeps_the_output() {
    let reply = broken_off([writes("a")]);
    let mut events = Vec::new();
    EventBuilder::new(Options::default(), &reply, Continuation::Fresh).cancel(&mut events);
    assert_eq!(events, events![part_done(0), item_done(0, true), end(Outcome::Cancelled)]);
}

#[test]
fn an_empty_answer_is_a_message_if_something_was_produced() {
    let empty = |item| events![message(), part(item, PartKind::Text), part_done(item), item_done(item, false)];
    let events = whole(Options::default(), [stops(Stop), used(3)]);
    assert_eq!(events[..events.len() - 1], empty(0));
    let events = whole(Options::default(), [thinks("hm"), stops(Stop)]);
    assert_eq!(events[6..events.len() - 1], empty(1));
}

#[test]
fn an_answer_that_had_to_be_json_and_is_not_fails() {
    let options = |format| {
        let text = TextParams { format: Some(format), ..TextParams::default() };
        Options::of(&Params { text: Some(text), ..Params::default() })
    };
    let schema = TextFormat::JsonSchema { name: "n".to_owned(), description: None, schema: json!({}), strict: None };
    let completed = |format, deltas: &[Delta]| {
        let deltas = deltas.iter().cloned().chain([stops(Stop)]);
        matches!(whole(options(format), deltas).last(), Some(Event::End(End { outcome: Outcome::Completed, .. })))
    };
    assert!(completed(schema.clone(), &[writes("{\"a\""), writes(":1}\n")]));
    assert!(completed(schema.clone(), &[writes("[1]")]));
    assert!(!completed(schema.clone(), &[writes("Sure: {}")]));
    assert!(!completed(schema.clone(), &[writes("{")]));
    assert!(completed(TextFormat::JsonObject, &[writes(" {}")]));
    assert!(!completed(TextFormat::JsonObject, &[writes("[1]")]));
    assert!(completed(TextFormat::Text, &[writes("text")]));
    // Neither is the answer.
    assert!(completed(schema.clone(), &[writes("I look it up."), calls(0, "f", "{}")]));
    assert!(completed(schema.clone(), &[refuses("No.")]));
    // Half of it was generated before.
    let reply = broken_off([writes("{\"a\"")]);
    let (events, _) = attempt(options(schema), &reply, [writes(":1}"), stops(Stop)], Some(true));
    assert_eq!(events.last(), Some(&end(Outcome::Completed)));
}

#[test]
fn usage_is_summed_over_attempts_that_begin_anew() {
    let usage = |output| Usage { input: 1, output, total: 1 + output, ..Usage::default() };
    let options = Options { usage_before: Some(usage(2)), ..Options::default() };
    let events = whole(options, [writes("a"), used(1), used(3), stops(Stop)]);
    let Some(Event::End(End { usage: Some(sum), .. })) = events.last() else { panic!("it ends") };
    assert_eq!((sum.input, sum.output, sum.total), (2, 5, 7), "the last one of an attempt counts");
}

#[test]
fn what_was_generated_before_is_output_of_the_reply_and_no_input() {
    let reply = broken_off([writes("one two"), writes(" three")]);
    let usage = |usage_before, generated| {
        let options = Options { usage_before, generated, ..Options::default() };
        let now = Usage { input: 13, output: 4, total: 17, ..Usage::default() };
        let (events, _) = attempt(options, &reply, [writes(" four"), Delta::Usage(now), stops(Stop)], Some(true));
        let Some(Event::End(End { usage: Some(usage), .. })) = events.last() else { panic!("it ends") };
        (usage.input, usage.output, usage.total)
    };
    let seen = Generated { all: 5, text: 3, summary: 0 };
    let before = |input, output| Some(Usage { input, output, total: input + output, ..Usage::default() });
    assert_eq!(usage(before(10, 6), seen), (10, 10, 20), "by the upstream's own numbers");
    assert_eq!(usage(before(10, 2), seen), (10, 9, 19), "which may be of an earlier attempt than the last");
    assert_eq!(usage(before(6, 0), seen), (6, 11, 17), "by what the prompt has grown");
    assert_eq!(usage(None, seen), (10, 9, 19), "by the events");
}
