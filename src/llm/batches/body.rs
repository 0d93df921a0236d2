//! The bodies of batches: how requests become one, and how one answer becomes several. Pure.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// Fields that do not change the answer, and would keep the calls of different people apart.
const OF_ONE_CALL: &[&str] = &["messages", "stream", "stream_options", "user", "safety_identifier", "prompt_cache_key"];

/// What the endpoint does not take.
const NOT_TAKEN: &[&str] = &["tools", "tool_choice", "parallel_tool_calls", "n", "best_of", "use_beam_search"];

#[derive(Deserialize)]
struct Request {
    messages: Box<RawValue>,
}

#[derive(Serialize)]
struct Batch<'a> {
    #[serde(flatten)]
    shared: Map<String, Value>,
    messages: Vec<&'a RawValue>,
}

/// A request as what it shares with others, as JSON text, and its messages. `None`: it goes into no batch.
pub(super) fn split(request: &[u8]) -> Option<(String, Box<RawValue>)> {
    let Request { messages } = serde_json::from_slice(request).ok()?;
    let mut shared: Map<String, Value> = serde_json::from_slice(request).ok()?;
    if NOT_TAKEN.iter().any(|name| shared.contains_key(*name)) {
        return None;
    }
    shared.retain(|name, _| !OF_ONE_CALL.contains(&name.as_str()));
    Some((serde_json::to_string(&shared).ok()?, messages))
}

/// One request of several conversations.
pub(super) fn join<'a>(shared: &str, messages: impl Iterator<Item = &'a RawValue>) -> Vec<u8> {
    let shared = serde_json::from_str(shared).unwrap_or_default();
    serde_json::to_vec(&Batch { shared, messages: messages.collect() }).expect("requests are JSON")
}

/// The answers of a batch, each as that of a request by itself, by the lengths of the conversations; `None` for one that the
/// batch has no answer to. `None` for all: it is no answer to a batch.
pub(super) fn answers(batch: &[u8], lengths: &[usize]) -> Option<Vec<Option<Vec<u8>>>> {
    let mut batch: Map<String, Value> = serde_json::from_slice(batch).ok()?;
    let Some(Value::Array(choices)) = batch.remove("choices") else { return None };
    let usage = batch.remove("usage");
    let mut found: Vec<Option<Map<String, Value>>> = vec![None; lengths.len()];
    for choice in choices {
        let Value::Object(mut choice) = choice else { continue };
        let index = choice.get("index").and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok());
        let place = index.and_then(|index| found.get_mut(index));
        if let Some(place) = place.filter(|_| choice.get("message").is_some_and(Value::is_object)) {
            choice.insert("index".to_owned(), 0.into());
            *place = Some(choice);
        }
    }
    if found.iter().all(Option::is_none) {
        return None;
    }
    let sizes: Vec<usize> = found.iter().map(|choice| choice.as_ref().map_or(0, output_size)).collect();
    let answers = found.into_iter().enumerate().map(|(index, choice)| {
        let mut answer = batch.clone();
        answer.insert("choices".to_owned(), Value::Array(vec![Value::Object(choice?)]));
        if let Some(usage) = &usage {
            answer.insert("usage".to_owned(), share(usage, (index, lengths, &sizes)));
        }
        serde_json::to_vec(&answer).ok()
    });
    Some(answers.collect())
}

/// The approximate size of a choice's output.
fn output_size(choice: &Map<String, Value>) -> usize {
    let message = choice.get("message").and_then(Value::as_object);
    let fields = message.into_iter().flatten().filter(|(name, _)| *name != "role");
    fields.filter_map(|(_, value)| value.as_str()).map(str::len).sum::<usize>() + 1
}

/// One call's part of the usage of the whole batch, which is all that the server reports: by length, and the parts add
/// up.
fn share(usage: &Value, (index, inputs, outputs): (usize, &[usize], &[usize])) -> Value {
    let part = |name: &str, sizes: &[usize]| {
        let all = usage.get(name).and_then(Value::as_u64).unwrap_or_default();
        let total = sizes.iter().sum::<usize>().max(1) as u64;
        let until = |end: usize| all * sizes[..end].iter().sum::<usize>() as u64 / total;
        until(index + 1) - until(index)
    };
    let (input, output) = (part("prompt_tokens", inputs), part("completion_tokens", outputs));
    json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_differ_in_their_messages_alone_go_together() {
        let request = |text: &str, more: &str| {
            format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":"{text}"}}],"stream":true,"stream_options":{{}},"user":"{text}","temperature":0.5{more}}}"#
            )
        };
        let (shared, first) = split(request("a", "").as_bytes()).unwrap();
        let (same, second) = split(request("b", "").as_bytes()).unwrap();
        assert_eq!(shared, same);
        assert_ne!(split(request("b", r#","seed":1"#).as_bytes()).unwrap().0, shared);
        assert!(split(request("b", r#","tools":[]"#).as_bytes()).is_none());
        let joined: Value = serde_json::from_slice(&join(&shared, [&*first, &*second].into_iter())).unwrap();
        let user_message = |text| json!([{"role": "user", "content": text}]);
        assert_eq!(
            joined,
            json!({"model": "m", "temperature": 0.5, "messages": [user_message("a"), user_message("b")]})
        );
    }

    #[test]
    fn answers_are_matched_by_their_index_and_share_the_usage() {
        let batch = br#"{"id":"x","object":"chat.completion","choices":[
            {"index":2,"message":{"role":"assistant","content":"ccc"},"finish_reason":"stop"},
            {"index":0,"message":{"role":"assistant","content":"aaaaaaa"},"finish_reason":"length"},
            {"index":7,"message":{"content":"?"}},{"index":1}],
            "usage":{"prompt_tokens":10,"completion_tokens":12,"total_tokens":22}}"#;
        let answers = answers(batch, &[5, 1, 4]).unwrap();
        let read = |index: usize| serde_json::from_slice::<Value>(answers[index].as_ref().unwrap()).unwrap();
        assert_eq!(
            read(0)["choices"][0],
            json!({"index": 0, "message": {"role": "assistant", "content": "aaaaaaa"}, "finish_reason": "length"})
        );
        assert_eq!(read(2)["choices"][0]["message"]["content"], "ccc");
        assert_eq!(answers[1], None);
        assert_eq!(read(0)["usage"], json!({"prompt_tokens": 5, "completion_tokens": 8, "total_tokens": 13}));
        assert_eq!(read(2)["usage"]["completion_tokens"], 4);
    }

    #[test]
    fn what_is_no_batch_is_none() {
        for text in
            ["", "<html>", "[]", r#"{"error":{"message":"no"}}"#, r#"{"choices":[]}"#, r#"{"choices":[{"index":0}]}"#]
        {
            assert_eq!(answers(text.as_bytes(), &[1, 1]), None, "{text}");
        }
    }
}
