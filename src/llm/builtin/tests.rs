//! The output of the built-in models, and how they continue a prefix.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::llm::testing::{after, answer, assistant, call, calls, user, with_params};

fn far() -> Instant {
    Instant::now() + Duration::from_secs(100)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// Generates to the end.
fn generate(model: &str, call: &Call) -> (Vec<String>, Vec<Delta>) {
    runtime().block_on(async {
        let (_, mut speech) = Builtin::named(model).unwrap().start(call, far());
        let (mut words, mut rest) = (Vec::new(), Vec::new());
        while let Some(delta) = std::future::poll_fn(|cx| speech.poll_next(cx)).await {
            match delta.unwrap() {
                Delta::Content { text, .. } => words.push(text),
                delta => rest.push(delta),
            }
        }
        (words, rest)
    })
}

#[test]
fn names_are_read_with_any_pace_from_1_to_10000() {
    for (name, builtin) in [
        ("eliza", Some(Builtin::Eliza)),
        ("echo", Some(Builtin::Echo { pace: None })),
        ("echo-1ms", Some(Builtin::Echo { pace: Some(Duration::from_millis(1)) })),
        ("echo-10000ms", Some(Builtin::Echo { pace: Some(Duration::from_secs(10)) })),
        ("echo-10001ms", None),
        ("echo-0ms", None),
        ("echo-+5ms", None),
        ("echo-05ms", None),
        ("echo-ms", None),
        ("Echo", None),
    ] {
        assert_eq!(Builtin::named(name), builtin, "{name}");
    }
    assert_eq!(Builtin::list().map(|model| model.id).collect::<Vec<_>>(), ["eliza", "echo", "echo-50ms"]);
}

#[test]
fn echo_repeats_the_last_input_word_by_word_and_counts_words() {
    let context = vec![user("first"), assistant("first"), user("one  two\nthree ")];
    let (words, rest) = generate("echo", &call("echo", context));
    assert_eq!(words, ["one", "  two", "\nthree "]);
    let usage = Usage { input: 5, output: 3, total: 8, ..Usage::default() };
    assert_eq!(rest, [Delta::Usage(usage), Delta::Finish(FinishReason::Stop)]);
    let (words, _) = generate("echo", &call("echo", vec![user("x"), calls("a", "f", "{}"), answer("a", "the output")]));
    assert_eq!(words, ["the", " output"]);
    assert_eq!(generate("echo", &call("echo", vec![user("")])).0, ["…"]);
}

#[test]
fn the_model_generates_at_its_pace() {
    let begun = Instant::now();
    assert_eq!(generate("echo-20ms", &call("echo-20ms", vec![user("a b c")])).0.len(), 3);
    assert!(begun.elapsed() >= Duration::from_millis(40), "{:?}", begun.elapsed());
}

#[test]
fn a_deadline_ends_a_slow_speech_with_an_error() {
    runtime().block_on(async {
        let deadline = Instant::now() + Duration::from_millis(75);
        let (_, mut speech) = Builtin::named("echo-50ms").unwrap().start(&call("m", vec![user("a b c d")]), deadline);
        let mut items = Vec::new();
        while let Some(item) = std::future::poll_fn(|cx| speech.poll_next(cx)).await {
            items.push(item);
        }
        assert!(items.len() < 4 && items.last().is_some_and(Result::is_err), "{items:?}");
    });
}

#[test]
fn a_limit_of_tokens_is_a_limit_of_the_words_of_a_call() {
    let limited = with_params(json!({"model": "echo", "max_output_tokens": 3}), call("echo", vec![user("a b c d e")]));
    let (words, rest) = generate("echo", &limited);
    assert_eq!((words.concat().as_str(), rest.last()), ("a b c", Some(&Delta::Finish(FinishReason::Length))));
    let (words, rest) = generate("echo", &after("a b", limited));
    assert_eq!((words.concat().as_str(), rest.last()), (" c d e", Some(&Delta::Finish(FinishReason::Stop))));
}

#[test]
fn eliza_hears_the_turns_of_the_person() {
    let context = vec![user("Men are all alike."), assistant("IN WHAT WAY"), user("My father.")];
    let call = call("eliza", context);
    assert_eq!(generate("eliza", &call).0.concat(), "TELL ME MORE ABOUT YOUR FAMILY");
    assert_eq!(generate("eliza", &after("TELL ME MO", call)).0.concat(), "RE ABOUT YOUR FAMILY");
}

#[test]
fn a_prefix_of_another_text_is_continued_after_as_many_words() {
    let call = after("one zwei", call("echo", vec![user("one two three")]));
    assert_eq!(generate("echo", &call).0, [" three"]);
}

#[test]
fn a_text_without_spaces_takes_time_in_proportion_to_its_length() {
    let begun = Instant::now();
    for text in ["a".repeat(8_000_000), " ".repeat(8_000_000)] {
        assert_eq!(pieces(&text).map(str::len).sum::<usize>(), text.len());
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

proptest! {
    #[test]
    fn the_words_together_are_the_input_and_any_prefix_is_continued_exactly(text in "[a-z ä\n]{1,60}", cut in 0usize..60) {
        let whole = call("echo", vec![user(&text)]);
        prop_assert_eq!(generate("echo", &whole).0.concat(), text.clone());
        let cut = (0..=cut.min(text.len())).rev().find(|cut| text.is_char_boundary(*cut)).unwrap_or(0);
        let prefix = text[..cut].trim_end();
        let call = Call { params: Arc::clone(&whole.params), ..after(prefix, whole) };
        prop_assert_eq!(prefix.to_owned() + &generate("echo", &call).0.concat(), text);
    }

    #[test]
    fn pieces_are_bounded_and_lose_nothing(text in "\\PC{0,40}[ \n]{0,400}[語é]{0,300}\\PC{0,20}") {
        prop_assert_eq!(pieces(&text).collect::<String>(), text.clone());
        prop_assert!(pieces(&text).all(|piece| piece.len() <= MAX_PIECE_BYTES));
    }
}
