//! Properties of the fold and the layout, over any events that can follow each other.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::event::{Degraded, End, Event, Opening, Outcome, PartKind, ReplyError, Usage};
use super::ids::{ReplyId, ThreadId};
use super::items::Item;
use super::layout::{OutputLayout, Spoken, SpokenPart, expand};
use super::open::{OpenItem, Stage};
use super::reply::{Content, Reply};

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z ]{1,6}", "(?s).{0,5}", Just("é 日本\r\n".to_owned())]
}

fn json() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_filter("JSON has no others", |number| number.is_finite()).prop_map(Value::from),
        text().prop_map(|text| json!({ "token": text, "bytes": [1, 2], "top_logprobs": null }))
    ]
}

fn opening() -> impl Strategy<Value = Opening> {
    let call = (text(), text()).prop_map(|(call_id, name)| Opening::FunctionCall { call_id, name });
    prop_oneof![Just(Opening::Message), Just(Opening::Reasoning), call]
}

fn part() -> impl Strategy<Value = PartKind> {
    use PartKind::{Reasoning, Refusal, Summary, Text};
    prop_oneof![Just(Text), Just(Refusal), Just(Reasoning), Just(Summary)]
}

/// Any event between the opening and the end, whether it can come or not.
fn event() -> impl Strategy<Value = Event> {
    let item = || 0_u32..4;
    prop_oneof![
        1 => opening().prop_map(Event::ItemAdded),
        3 => (item(), part()).prop_map(|(item, kind)| Event::PartAdded { item, kind }),
        4 => (item(), text(), vec(json(), 0..3)).prop_map(|(item, text, logprobs)| Event::Delta { item, text, logprobs }),
        2 => item().prop_map(Event::TextDone),
        2 => item().prop_map(Event::PartDone),
        2 => (item(), any::<bool>(), proptest::option::of(json()))
            .prop_map(|(item, incomplete, provider_state)| Event::ItemDone { item, incomplete, provider_state }),
        1 => text().prop_map(|text| Event::Transcript(text.into())),
        2 => prop_oneof!["[a-z]{4}", "[a-z]{2}[AEI]=", "[a-z]{4}[a-z][AQgw]=="].prop_map(|audio| Event::Audio(audio.into())),
        1 => proptest::option::of(text()).prop_map(|reason| Event::AudioDone(reason.map(degraded))),
        1 => Just(Event::TranscriptDone),
    ]
}

fn degraded(reason: String) -> Arc<Degraded> {
    Arc::new(Degraded { capability: "speech".to_owned(), reason })
}

/// The events after the audio and its transcript have expired.
fn without_speech(events: &[Event]) -> Vec<Event> {
    let without_speech = |event: &Event| match event {
        Event::Transcript(_) => Event::Transcript(Arc::default()),
        Event::Audio(_) => Event::Audio(Arc::default()),
        event => event.clone(),
    };
    events.iter().map(without_speech).collect()
}

fn end() -> impl Strategy<Value = End> {
    let outcome = prop_oneof![
        Just(Outcome::Completed),
        Just(Outcome::MaxOutputTokens),
        Just(Outcome::ContentFilter),
        Just(Outcome::Cancelled),
        text().prop_map(|message| Outcome::Failed(ReplyError::server(message))),
    ];
    let usage = any::<[u32; 5]>().prop_map(|[input, cached, output, reasoning, total]| Usage {
        input: input.into(),
        cached: cached.into(),
        output: output.into(),
        reasoning: reasoning.into(),
        total: total.into(),
    });
    (outcome, proptest::option::of(usage)).prop_map(|(outcome, usage)| End { outcome, usage })
}

/// All events of a reply: any that the fold takes, everything closed, and the end.
fn events() -> impl Strategy<Value = (bool, Vec<Event>)> {
    (any::<bool>(), vec(event(), 0..150), end()).prop_map(|(background, events, end)| {
        let mut all = Event::opening(background).to_vec();
        let mut reply = Reply::opened(id(), background);
        all.extend(events.into_iter().filter(|event| reply.apply(event).is_ok()));
        all.extend(reply.open_items().iter().copied().flat_map(close));
        if let Outcome::Failed(error) = &end.outcome {
            all.push(Event::Error(error.clone()));
        }
        all.push(Event::End(end));
        (background, all)
    })
}

/// Events of a reply, and how many of them have come.
fn prefix() -> impl Strategy<Value = (bool, Vec<Event>, usize)> {
    events().prop_flat_map(|(background, events)| {
        let cuts = Event::opening(background).len()..=events.len();
        (Just(background), Just(events), cuts).prop_filter("an error and its end are one", |(_, events, cut)| {
            !matches!(events[*cut - 1], Event::Error(_))
        })
    })
}

fn close(open: OpenItem) -> Vec<Event> {
    let OpenItem { item, call, stage } = open;
    let mut events = Vec::new();
    if stage == Stage::Generating {
        events.push(Event::TextDone(item));
    }
    if stage != Stage::Between && !call {
        events.push(Event::PartDone(item));
    }
    events.push(Event::ItemDone { item, incomplete: true, provider_state: None });
    events
}

fn id() -> ReplyId {
    ReplyId::from_bytes(ThreadId::from_bytes([7; 16]), [9; 16])
}

fn fold(events: &[Event]) -> Reply {
    let mut reply = Reply::new(id());
    for event in events {
        reply.apply(event).expect("it can follow");
    }
    reply
}

fn through_json<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_slice(&serde_json::to_vec(value).expect("it is JSON")).expect("it reads back")
}

proptest! {
    #[test]
    fn output_and_layout_reproduce_every_event((background, events, cut) in prefix()) {
        let events = &events[..cut];
        let content: Content = through_json(fold(events).content());
        let layout: OutputLayout = through_json(&OutputLayout::compact(events));
        let expanded = expand(background, &content, &layout);
        prop_assert_eq!(expanded, Ok(without_speech(events)));
    }

    #[test]
    fn a_layout_shows_how_far_a_reply_was_spoken((_, events, cut) in prefix()) {
        let mut expected = Spoken::default();
        for event in &events[..cut] {
            match event {
                Event::Transcript(text) => {
                    expected.parts.push(SpokenPart { transcript: text.len() as u64, audio: 0 });
                }
                Event::Audio(audio) => {
                    let bytes = data_encoding::BASE64.decode(audio.as_bytes()).map_or(0, |bytes| bytes.len() as u64);
                    match expected.parts.last_mut() {
                        Some(part) => part.audio += bytes,
                        None => expected.header += bytes,
                    }
                }
                Event::AudioDone(_) => expected.over = true,
                _ => {}
            }
        }
        let spoken = OutputLayout::compact(&events[..cut]).spoken();
        prop_assert_eq!(spoken, expected);
    }

    #[test]
    fn a_reply_read_back_at_any_event_goes_on_as_the_same((background, events, cut) in prefix()) {
        let (before, after) = events.split_at(cut);
        let expanded = expand(background, fold(before).content(), &OutputLayout::compact(before)).expect("they match");
        let mut reply = fold(&expanded);
        prop_assert_eq!(&reply, &fold(before));
        for event in after {
            prop_assert_eq!(reply.apply(event), Ok(()));
        }
        prop_assert_eq!(&reply, &fold(&events));
        prop_assert_eq!(reply.next_sequence(), events.len() as u64);
    }

    #[test]
    fn an_event_reads_back_as_it_was_written((_, events) in events()) {
        for event in &events {
            prop_assert_eq!(&through_json(event), event);
        }
        let content = fold(&events).into_content();
        prop_assert_eq!(&through_json(&content), &content);
    }

    #[test]
    fn an_event_that_cannot_come_changes_nothing((_, events, cut) in prefix(), event in event()) {
        let mut reply = fold(&events[..cut]);
        let before = reply.clone();
        if reply.apply(&event).is_err() {
            prop_assert_eq!(reply, before);
        }
    }

    #[test]
    fn a_finished_reply_has_nothing_open_and_takes_nothing((_, events) in events(), event in event()) {
        let mut reply = fold(&events);
        prop_assert!(reply.open_items().is_empty() && reply.status().is_final());
        prop_assert!(reply.apply(&event).is_err());
        let ids: std::collections::HashSet<&str> = reply.output().iter().map(Item::id).collect();
        prop_assert_eq!(ids.len(), reply.output().len());
    }
}

#[test]
fn a_layout_of_another_reply_is_refused_and_never_panics() {
    let events = [
        Event::ItemAdded(Opening::Message),
        Event::PartAdded { item: 0, kind: PartKind::Text },
        Event::Delta { item: 0, text: "héllo".to_owned(), logprobs: Vec::new() },
    ];
    let layout = OutputLayout::compact(&events);
    assert!(expand(false, &Content::default(), &layout).is_err());
    for marks in ["[2]", "[2,0]", "[1,0]", "[0,2,0,9]", "[0,1,0,2,0,2]", "[0,1,0,2,0,4294967295]", "[99,0]", "[7]"] {
        let layout: OutputLayout = serde_json::from_str(marks).expect("a list of numbers");
        assert!(expand(false, fold(&events).content(), &layout).is_err(), "{marks}");
    }
}
