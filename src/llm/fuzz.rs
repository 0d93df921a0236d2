//! Any answer of a model server is read or skipped. `PROPTEST_CASES` sets how much is tried.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::call::Continuation;
use super::decode::{Asked, Decoder, Deltas};
use super::sse;
use crate::testing::{near, word};

const EVENTS: &[&str] = &[
    r#"{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"hello","reasoning_content":"hm"},"finish_reason":null}]}"#,
    r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":"}}]},"logprobs":{"content":[{"token":"a","logprob":-0.5,"top_logprobs":[]}]}}]}"#,
    r#"{"choices":[{"delta":{"refusal":"no"},"finish_reason":"stop"}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,"prompt_tokens_details":{"cached_tokens":1}}}"#,
    r#"{"choices":[{"message":{"content":[{"type":"text","text":"x"},{"type":"thinking","thinking":[{"text":"t"}]}],"tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},"finish_reason":"tool_calls"}]}"#,
    r#"{"error":{"message":"context length exceeded","type":"invalid_request_error","code":400}}"#,
    r#"{"choices":[{"delta":{"content":"<think>"}}]}"#,
    "[DONE]",
    "<html>",
];

const PIECES: &[&str] = &[
    "data: x",
    "data:",
    "event: error",
    ":",
    ": ping",
    "id: 1",
    "retry: 5",
    "\r\n",
    "\n",
    "\r",
    "\n\n",
    "data",
    "\u{feff}",
    "[DONE]",
];

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![4 => select(PIECES).prop_map(|text| text.as_bytes().to_vec()), 1 => vec(any::<u8>(), 0..6)];
    vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

/// What a decoder finds in these pieces.
fn frames(pieces: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut decoder, mut found) = (sse::Decoder::default(), Vec::new());
    for piece in pieces {
        decoder.feed(piece, |frame| found.push((frame.event.to_vec(), frame.data.to_vec()))).expect("short");
    }
    decoder.finish(|frame| found.push((frame.event.to_vec(), frame.data.to_vec())));
    found
}

proptest! {
    #![proptest_config(crate::testing::cases())]

    #[test]
    fn any_stream_is_read_alike_however_it_is_cut(stream in stream(), cuts in vec(any::<Index>(), 0..6)) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).chain([0, stream.len()]).collect();
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        prop_assert_eq!(frames(&pieces), frames(&[&stream]));
    }

    #[test]
    fn any_stream_stays_within_its_bound(stream in stream(), limit in 1..40_usize) {
        let mut decoder = sse::Decoder::with_limit(limit);
        let _ = decoder.feed(&stream, |frame| assert!(frame.data.len() <= limit, "{} of {limit}", frame.data.len()));
        decoder.finish(|_| {});
    }

    #[test]
    fn any_events_are_an_answer_or_an_error(
        events in vec((near(EVENTS), word()), 0..8), mode in 0..3_u8, thinks: bool, repeats: bool, cap in prop::option::of(0..50_usize),
    ) {
        let continuation = match mode {
            0 => Continuation::Fresh,
            1 => Continuation::Prefill,
            _ => Continuation::Instruct,
        };
        let asked = Asked {
            continuation, thinks_from_the_start: thinks, repeats_reasons: repeats, max_bytes: cap, ..Asked::default()
        };
        let (mut decoder, mut out) = (Decoder::new(&asked), Deltas::new());
        for (data, name) in &events {
            if decoder.event(name, &String::from_utf8_lossy(data), &mut out).is_err() {
                break;
            }
        }
        let _ = decoder.end(&mut out);
    }

    #[test]
    fn any_body_is_an_answer_or_an_error(body in near(EVENTS)) {
        let (mut decoder, mut out) = (Decoder::new(&Asked::default()), Deltas::new());
        let _ = decoder.body(&String::from_utf8_lossy(&body), &mut out);
        let _ = decoder.end(&mut out);
    }
}
