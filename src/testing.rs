//! What property tests are given: input that is nearly what is expected.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::Value;

/// How much is tried: as `PROPTEST_CASES` says, or so much that it takes some seconds in all.
pub(crate) fn cases() -> ProptestConfig {
    const USUAL: u32 = 3000;
    if std::env::var_os("PROPTEST_CASES").is_some() {
        ProptestConfig::default()
    } else {
        ProptestConfig::with_cases(USUAL)
    }
}

/// Words that mean something somewhere, and values that are odd.
const WORDS: &[&str] = &[
    "",
    "type",
    "id",
    "role",
    "content",
    "text",
    "input",
    "model",
    "stream",
    "tools",
    "name",
    "user",
    "assistant",
    "system",
    "message",
    "input_text",
    "input_image",
    "image_url",
    "function",
    "function_call",
    "arguments",
    "call_id",
    "output",
    "store",
    "metadata",
    "null",
    "\0",
    "\u{fffd}",
    "\u{1F600}",
    "\u{202e}",
    "../..",
    "resp_",
    "data:",
    "data:image/png;base64,",
    "<think>",
    "</think>",
    "```json",
    "{\"a\":",
    "error",
    "usage",
    "delta",
    "choices",
    "finish_reason",
    "stop",
];

const NUMBERS: &[f64] =
    &[0.0, -0.0, 1.0, -1.0, 0.5, 1e308, -1e308, 1e-308, 4_294_967_296.0, 9_007_199_254_740_993.0, 1.8e19, -9.3e18];

/// Any JSON, not deep.
pub(crate) fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        select(NUMBERS).prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((word(), inner), 0..5).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// A word that may mean something.
pub(crate) fn word() -> impl Strategy<Value = String> {
    prop_oneof![4 => select(WORDS).prop_map(str::to_owned), 1 => any::<String>()]
}

/// Bytes near one of these texts: of JSON some values are others, and of some a few bytes.
pub(crate) fn near(texts: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<Index>(), prop_oneof![json().prop_map(Some), Just(None)]), 0..4);
    let cuts = prop_oneof![3 => Just(Vec::new()), 1 => vec((any::<Index>(), any::<u8>(), 0..3_u8), 1..4)];
    (select(texts), changes, cuts).prop_map(|(text, changes, cuts)| {
        let mut bytes = match serde_json::from_str::<Value>(text) {
            Ok(mut value) => {
                for (at, with) in changes {
                    let with = with.unwrap_or(Value::Null);
                    let mut place = at.index(count(&value));
                    walk(&mut value, &mut place, with);
                }
                value.to_string().into_bytes()
            }
            Err(_) => text.as_bytes().to_vec(),
        };
        for (at, byte, how) in cuts {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(fields) => fields.values().map(count).sum::<usize>(),
        _ => 0,
    }
}

/// Puts another value in the place of this one of all.
fn walk(value: &mut Value, place: &mut usize, with: Value) {
    if *place == 0 {
        *value = with;
        return;
    }
    *place -= 1;
    let inner: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => return,
    };
    for one in inner {
        let size = count(one);
        if *place < size {
            return walk(one, place, with);
        }
        *place -= size;
    }
}
