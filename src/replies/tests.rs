//! Properties of replies that are broken off anywhere and taken over: the builder turns any upstream's output into a
//! reply that the fold takes, that its layout reproduces, and that never takes back output.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::json;

use super::builder::{EventBuilder, Finished, JsonForm, Options, Plan};
use crate::domain::event::{Event, Outcome, ReplyError, Usage};
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::items::{Item, ItemStatus, Part};
use crate::domain::layout::{OutputLayout, expand};
use crate::domain::open::Stage;
use crate::domain::reply::Reply;
use crate::llm::call::Continuation;
use crate::llm::delta::{Delta, FinishReason, ToolCallDelta};

/// An upstream's output in one attempt, and how it ends.
#[derive(Debug, Clone)]
struct Attempt {
    deltas: Vec<Delta>,
    ending: Ending,
    continuation: Continuation,
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Closed { done: bool },
    Broken,
    Cancelled,
}

fn piece() -> impl Strategy<Value = String> {
    select(vec![
        "Hello",
        " world",
        "Hello world",
        "\n",
        " ",
        "",
        "é",
        "日本",
        "{\"a\":",
        "1}",
        "Sure, continuing: ",
        "…",
    ])
    .prop_map(str::to_owned)
}

fn tool_call() -> impl Strategy<Value = Delta> {
    let given = |texts: Vec<&'static str>| proptest::option::of(select(texts));
    let arguments = select(vec!["", " ", "{}", "{\"x\":", "1}", "[1]", "{\"x\":1}", "}"]);
    (0..3_usize, given(vec!["c1", "c2", ""]), given(vec!["f", "g", ""]), arguments, any::<bool>()).prop_map(
        |(call, id, name, arguments, has_state)| {
            Delta::ToolCall(ToolCallDelta {
                call,
                id: id.map(str::to_owned),
                name: name.map(str::to_owned),
                arguments: arguments.to_owned(),
                provider_state: has_state.then(|| json!({ "signature": call })),
            })
        },
    )
}

fn finish() -> impl Strategy<Value = FinishReason> {
    use FinishReason::{Broken, ContentFilter, Length, Stop};
    prop_oneof![4 => Just(Stop), 2 => Just(Length), 1 => Just(ContentFilter), 1 => Just(Broken)]
}

fn delta() -> impl Strategy<Value = Delta> {
    let usage = |output| Delta::Usage(Usage { output, total: output, ..Usage::default() });
    prop_oneof![
        3 => piece().prop_map(Delta::Reasoning),
        1 => select(vec![json!(null), json!({ "details": [1] }), json!({ "details": [2], "s": "x" })]).prop_map(Delta::ProviderState),
        4 => (piece(), any::<bool>()).prop_map(|(text, has_logprobs)| Delta::Content {
            logprobs: if has_logprobs { vec![json!({ "token": text, "logprob": -0.317_253_05 })] } else { Vec::new() },
            text,
        }),
        1 => piece().prop_map(Delta::Refusal),
        5 => tool_call(),
        1 => finish().prop_map(Delta::Finish),
        1 => (0..3_u64).prop_map(usage),
    ]
}

fn attempt() -> impl Strategy<Value = Attempt> {
    use Continuation::{Fresh, Instruct, Prefill};
    let ending = prop_oneof![
        4 => any::<bool>().prop_map(|done| Ending::Closed { done }),
        2 => Just(Ending::Broken),
        1 => Just(Ending::Cancelled),
    ];
    (vec(delta(), 0..25), ending, select(vec![Fresh, Prefill, Instruct]))
        .prop_map(|(deltas, ending, continuation)| Attempt { deltas, ending, continuation })
}

fn options() -> impl Strategy<Value = Options> {
    let json = proptest::option::weighted(0.2, select(vec![JsonForm::Object, JsonForm::Value]));
    (any::<bool>(), json).prop_map(|(summary, json)| Options { summary, json, ..Options::default() })
}

impl Attempt {
    /// What it adds to the reply: the events of each push together.
    fn play(&self, options: Options, reply: &Reply) -> Vec<Vec<Event>> {
        let mut builder = EventBuilder::new(options, reply, self.continuation);
        let mut batches = Vec::new();
        if Plan::of(reply) == Plan::EndCompleted {
            batches.push(take(|out| builder.complete(out)));
            return batches;
        }
        for delta in self.deltas.clone() {
            batches.push(take(|out| builder.push(delta, out)));
        }
        batches.push(take(|out| match self.ending {
            Ending::Closed { done } => drop(builder.finish(done, out)),
            Ending::Broken => {}
            Ending::Cancelled => builder.cancel(out),
        }));
        batches
    }
}

fn take(build: impl FnOnce(&mut Vec<Event>)) -> Vec<Event> {
    let mut out = Vec::new();
    build(&mut out);
    out
}

fn without_what_only_its_generator_knows(mut events: Vec<Event>) -> Vec<Event> {
    for event in &mut events {
        match event {
            Event::ItemDone { provider_state, .. } => *provider_state = None,
            Event::End(end) => end.usage = None,
            _ => {}
        }
    }
    events
}

fn opened() -> Reply {
    Reply::opened(ReplyId::from_bytes(ThreadId::from_bytes([7; 16]), [9; 16]), false)
}

fn apply(reply: &mut Reply, events: &[Event]) -> Result<(), TestCaseError> {
    events.iter().try_for_each(|event| {
        let fits = reply.apply(event);
        fits.map_err(|_| TestCaseError::fail(format!("{event:?} cannot follow in {reply:?}")))
    })
}

/// The text of each part, or the arguments, and the names of an item.
fn texts(item: &Item) -> Vec<&str> {
    match item {
        Item::Message(message) => message.content.iter().map(Part::text).collect(),
        Item::Reasoning(thoughts) => thoughts.summary.iter().chain(&thoughts.content).map(Part::text).collect(),
        Item::FunctionCall(call) => vec![&call.call_id, &call.name, &call.arguments],
        Item::FunctionCallOutput(_) => Vec::new(),
    }
}

/// Whether `after` continues where `before` ended.
fn goes_on(before: &Item, after: &Item) -> bool {
    let (old, new) = (texts(before), texts(after));
    let (Some((old_last, old_first)), true) = (old.split_last(), new.len() >= old.len()) else {
        return old.is_empty();
    };
    let closed = before.status() != ItemStatus::InProgress;
    before.id() == after.id()
        && new.starts_with(old_first)
        && new[old.len() - 1].starts_with(old_last)
        && (!closed || before == after)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn a_reply_broken_off_anywhere_and_taken_over_is_a_reply(
        options in options(), attempts in vec((attempt(), any::<Index>()), 1..5),
    ) {
        let mut all = Event::opening(false).to_vec();
        let mut reply = opened();
        for (attempt, cut) in attempts {
            let events = attempt.play(options, &reply).concat();
            // What comes after the cut was never stored. An error and its end are one.
            let cut = cut.index(events.len() + 1);
            let cut = if matches!(events[..cut].last(), Some(Event::Error(_))) { cut + 1 } else { cut };
            let before = reply.clone();
            apply(&mut reply, &events[..cut])?;
            all.extend_from_slice(&events[..cut]);
            for (old, new) in before.output().iter().zip(reply.output()) {
                prop_assert!(goes_on(old, new), "{:?} became {:?}", old, new);
            }
            let expanded = expand(false, reply.content(), &OutputLayout::compact(&all));
            prop_assert_eq!(expanded.as_deref(), Ok(all.as_slice()));
            if reply.end().is_some() {
                break;
            }
        }
        if reply.end().is_none() {
            let mut builder = EventBuilder::new(options, &reply, Continuation::Fresh);
            let events = take(|out| builder.fail(ReplyError::server("broken"), out));
            apply(&mut reply, &events)?;
            all.extend(events);
        }
        prop_assert_eq!(all.iter().filter(|event| event.is_terminal()).count(), 1);
        prop_assert!(all.last().is_some_and(Event::is_terminal) && reply.open_items().is_empty());
        for item in reply.output() {
            prop_assert_ne!(item.status(), ItemStatus::InProgress);
            if let Item::FunctionCall(call) = item {
                prop_assert!(call.status == ItemStatus::Incomplete || !call.arguments.is_empty());
            }
        }
    }

    #[test]
    fn what_comes_together_leaves_no_item_between_two_states(options in options(), attempts in vec(attempt(), 1..3)) {
        let mut reply = opened();
        for attempt in attempts {
            for batch in attempt.play(options, &reply) {
                apply(&mut reply, &batch)?;
                for open in reply.open_items() {
                    prop_assert_eq!(open.stage, Stage::Generating);
                    let has_text = texts(&reply.output()[open.item as usize]).last().is_some_and(|text| !text.is_empty());
                    // Text is there once its part is; arguments never are.
                    prop_assert_eq!(has_text, !open.call);
                }
            }
        }
    }

    #[test]
    fn a_stranger_closes_a_reply_as_its_generator_does(options in options(), attempt in attempt()) {
        let mut reply = opened();
        let mut builder = EventBuilder::new(options, &reply, Continuation::Fresh);
        for delta in attempt.deltas {
            let emitted = take(|out| builder.push(delta, out));
            apply(&mut reply, &emitted)?;
        }
        let mut stranger = EventBuilder::new(options, &reply, Continuation::Fresh);
        let closings = [take(|out| builder.cancel(out)), take(|out| stranger.cancel(out))];
        let [owners, strangers] = closings.map(without_what_only_its_generator_knows);
        prop_assert_eq!(owners, strangers);
    }

    #[test]
    fn a_finished_attempt_emits_nothing_more(options in options(), attempt in attempt(), more in vec(delta(), 1..5)) {
        let mut builder = EventBuilder::new(options, &opened(), Continuation::Fresh);
        for delta in attempt.deltas {
            take(|out| builder.push(delta, out));
        }
        take(|out| builder.cancel(out));
        let events = take(|out| {
            for delta in more {
                builder.push(delta, out);
            }
            builder.cancel(out);
            builder.complete(out);
            builder.fail(ReplyError::server("late"), out);
            assert_eq!(builder.finish(true, out), Finished::Ended);
        });
        prop_assert_eq!(events, Vec::new());
    }
}

/// A model's output in one turn, in pieces.
#[derive(Debug, Clone)]
struct Turn {
    thoughts: Vec<String>,
    text: Vec<String>,
    calls: Vec<(&'static str, Vec<&'static str>)>,
}

fn turn() -> impl Strategy<Value = Turn> {
    let words = |count| vec("[a-z]{1,5}[ ,.]?|\n|é |日", count);
    let arguments = select(vec![vec!["{}"], vec!["{\"x", "\":", "1}"], vec![], vec!["{\"a\":[", "]}"]]);
    (words(0..4), words(0..12), vec((select(vec!["f", "g"]), arguments), 0..4))
        .prop_filter("it has output", |(_, text, calls)| !calls.is_empty() || !text.concat().trim().is_empty())
        .prop_map(|(thoughts, text, calls)| Turn { thoughts, text, calls })
}

impl Turn {
    /// The output of a model that continues a reply: everything again, the rest of the text, or the one call that it
    /// is forced to make.
    fn deltas(&self, reply: &Reply) -> Vec<Delta> {
        let (prefix, forced) = match Plan::of(reply) {
            Plan::Continue(prefix) => (prefix.text, prefix.call),
            Plan::Start | Plan::EndCompleted => (String::new(), None),
        };
        let thoughts = self.thoughts.iter().cloned().map(Delta::Reasoning);
        let whole = self.text.concat();
        let rest = whole.strip_prefix(&prefix).expect("it begins with the prefix");
        let content = rest.split_inclusive([' ', '\n']).map(content);
        let made = made(reply);
        let chosen = if forced.is_some() { &self.calls[made..=made] } else { &self.calls };
        let calls = chosen.iter().enumerate().flat_map(|(call, (name, arguments))| {
            let name = ToolCallDelta { call, name: Some((*name).to_owned()), ..ToolCallDelta::default() };
            let piece = |arguments: &&str| {
                let arguments = (*arguments).to_owned();
                ToolCallDelta { call, arguments, ..ToolCallDelta::default() }
            };
            std::iter::once(name).chain(arguments.iter().map(piece).collect::<Vec<_>>()).map(Delta::ToolCall)
        });
        let end = [Delta::Finish(FinishReason::Stop)];
        thoughts.chain(content).chain(calls).chain(end).collect()
    }
}

fn content(text: &str) -> Delta {
    Delta::Content { text: text.to_owned(), logprobs: Vec::new() }
}

/// How many calls come before the first one without arguments.
fn made(reply: &Reply) -> usize {
    let calls = reply.output().iter().filter(|item| matches!(item, Item::FunctionCall(_)));
    calls.take_while(|item| texts(item).last().is_some_and(|arguments| !arguments.is_empty())).count()
}

/// The output of a reply besides thoughts; without ids, which depend on the place of an item.
fn answer(reply: &Reply) -> Vec<(ItemStatus, Vec<&str>)> {
    let answers = reply.output().iter().filter(|item| !matches!(item, Item::Reasoning(_)));
    let without_id = |item| texts(item).split_off(usize::from(matches!(item, Item::FunctionCall(_))));
    answers.map(|item| (item.status(), without_id(item))).collect()
}

proptest! {
    #[test]
    fn a_reply_that_a_polite_upstream_goes_on_with_reads_as_if_it_had_not_been_broken_off(
        turn in turn(), cuts in vec(any::<Index>(), 0..4),
    ) {
        let attempt = |reply: &Reply| {
            let deltas = turn.deltas(reply);
            Attempt { deltas, ending: Ending::Closed { done: true }, continuation: Continuation::Prefill }
                .play(Options::default(), reply)
        };
        let mut whole = opened();
        apply(&mut whole, &attempt(&opened()).concat())?;
        let mut reply = opened();
        for cut in cuts {
            let batches = attempt(&reply);
            apply(&mut reply, &batches[..cut.index(batches.len())].concat())?;
        }
        for _ in 0..=turn.calls.len() {
            if reply.end().is_none() {
                let events = attempt(&reply).concat();
                apply(&mut reply, &events)?;
            }
        }
        prop_assert_eq!(reply.end().map(|end| &end.outcome), Some(&Outcome::Completed));
        let (whole, reply) = (answer(&whole), answer(&reply));
        prop_assert_eq!(&reply, &whole[..reply.len()]);
        // A whole call ends a reply that is taken over; those that would have come after it do not come.
        prop_assert!(reply.len() == whole.len() || reply.last().is_some_and(|(_, texts)| texts.len() == 2));
    }
}
