//! Provider state: what an upstream wants back with an item, by the name of its field (`reasoning_details`,
//! `extra_content`). Never shown, never read, only collected here and returned by [`super::encode`].

use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// A field to be stored; nothing if it is empty.
pub(super) fn of(field: &str, raw: &RawValue) -> Option<Value> {
    let value: Value = serde_json::from_str(raw.get()).ok()?;
    let empty = match &value {
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => true,
    };
    (!empty).then(|| Value::Object(Map::from_iter([(field.to_owned(), value)])))
}

/// Adds later state to the state so far: lists grow, a piece of a detail extends the one before it, and anything
/// else replaces what was there.
pub(crate) fn join(state: &mut Option<Value>, later: Value) {
    let Some(Value::Object(fields)) = state else {
        *state = Some(later);
        return;
    };
    let Value::Object(later) = later else { return };
    for (name, value) in later {
        match (fields.get_mut(&name), value) {
            (Some(Value::Array(list)), Value::Array(more)) => more.into_iter().for_each(|detail| add(list, detail)),
            (_, value) => drop(fields.insert(name, value)),
        }
    }
}

/// Pieces of one detail carry its `index`, and each a part of its text.
fn add(list: &mut Vec<Value>, detail: Value) {
    let same = |last: &Value| {
        ["type", "index"].iter().all(|key| last.get(key) == detail.get(key)) && detail.get("index").is_some()
    };
    match list.last_mut().filter(|last| same(last)) {
        Some(Value::Object(begun)) => extend(begun, detail),
        _ => list.push(detail),
    }
}

fn extend(begun: &mut Map<String, Value>, detail: Value) {
    let Value::Object(detail) = detail else { return };
    for (key, value) in detail {
        match (begun.get_mut(&key), value) {
            (Some(Value::String(text)), Value::String(more)) if matches!(&*key, "text" | "summary" | "data") => {
                *text += &more;
            }
            (_, Value::Null) => {}
            (_, value) => drop(begun.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_of_a_detail_become_one_and_its_signature_stays() {
        let mut state = None;
        for detail in [
            json!({"type": "reasoning.text", "text": "Let", "signature": null, "index": 0}),
            json!({"type": "reasoning.text", "text": " me", "index": 0}),
            json!({"type": "reasoning.text", "text": "", "signature": "sig", "index": 0}),
            json!({"type": "reasoning.encrypted", "data": "x", "index": 1}),
        ] {
            join(&mut state, json!({"reasoning_details": [detail]}));
        }
        let details = json!([
            {"type": "reasoning.text", "text": "Let me", "signature": "sig", "index": 0},
            {"type": "reasoning.encrypted", "data": "x", "index": 1},
        ]);
        assert_eq!(state, Some(json!({"reasoning_details": details})));
    }

    #[test]
    fn details_without_an_index_stay_apart() {
        let mut state = Some(json!({"reasoning_details": [{"type": "a", "text": "x"}]}));
        join(&mut state, json!({"reasoning_details": [{"type": "a", "text": "y"}], "extra_content": {"b": 1}}));
        let details = json!([{"type": "a", "text": "x"}, {"type": "a", "text": "y"}]);
        assert_eq!(state, Some(json!({"reasoning_details": details, "extra_content": {"b": 1}})));
    }
}
