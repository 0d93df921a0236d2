//! Chunks of Chat Completions, and what they add up to: judged after the published format.

use hyper::Method;
use serde_json::{Value, json};

use super::{
    http::Api,
    sse::{Collected, End, Events, Frame},
};

/// A chunk, with the number of the event that it tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    pub number: Option<u64>,
    pub body: Value,
}

impl Chunk {
    pub fn of(frame: &Frame) -> Self {
        assert_eq!((&frame.event, &frame.id), (&None, &None), "chunks are plain data");
        let body: Value = serde_json::from_str(&frame.data).unwrap_or_else(|error| panic!("{error} in {}", frame.data));
        Self { number: body["sequence_number"].as_u64(), body }
    }

    pub fn delta(&self) -> &Value {
        &self.body["choices"][0]["delta"]
    }

    pub fn content(&self) -> &str {
        self.delta()["content"].as_str().unwrap_or_default()
    }
}

/// A request for a completion of `prompt`.
pub fn asked(prompt: &str) -> Value {
    json!({"model": "truth", "messages": [{"role": "user", "content": prompt}]})
}

/// POSTs a request for chunks.
pub async fn open(api: &Api, body: Value) -> Events {
    let events = api.try_open(Method::POST, "/v1/chat/completions", body.to_string()).await.expect("a server");
    assert_eq!(events.status, 200);
    events
}

/// Reads on until `words` of content have come, the last of them perhaps in part.
pub async fn read_words(events: &mut Events, words: usize) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut text = String::new();
    while text.split_whitespace().count() < words {
        let chunk = Chunk::of(&events.next().await.expect("more chunks"));
        text.push_str(chunk.content());
        chunks.push(chunk);
    }
    chunks
}

/// Reads on as long as anything comes.
pub async fn read_on(events: &mut Events, chunks: &mut Vec<Chunk>) {
    while let Ok(frame) = events.next().await {
        chunks.push(Chunk::of(&frame));
    }
}

/// The chunks of a stream that ended as it should: cleanly, after `[DONE]`.
pub fn ended(mut collected: Collected) -> Vec<Chunk> {
    assert_eq!(collected.end, End::Clean, "after {:#?}", collected.frames);
    assert_eq!(collected.frames.pop().expect("a stream says something").data, "[DONE]");
    collected.frames.iter().map(Chunk::of).collect()
}

/// What a client makes of chunks, as the SDKs do it: the message, and why it ended.
pub fn add_up(chunks: &[Chunk]) -> (Value, Value) {
    let (first, mut message, mut reason) = (&chunks[0].body, json!({"tool_calls": []}), Value::Null);
    let mut last = None;
    for Chunk { number, body } in chunks {
        for key in ["id", "object", "created", "model"] {
            assert_eq!(body[key], first[key], "{key} stays the same");
        }
        assert!(body["id"].as_str().expect("an id").starts_with("chatcmpl-"));
        assert_eq!(body["object"], "chat.completion.chunk");
        if let Some(number) = number {
            assert!(last.is_none_or(|last| last < *number), "{number} comes after {last:?}");
            last = Some(*number);
        }
        let Some(choice) = body["choices"].get(0) else { continue };
        assert_eq!(reason, Value::Null, "nothing comes after the reason");
        reason = choice["finish_reason"].clone();
        for (key, value) in choice["delta"].as_object().expect("a delta") {
            match key.as_str() {
                "tool_calls" => value.as_array().expect("calls").iter().for_each(|call| add_call(&mut message, call)),
                "role" => message["role"] = value.clone(),
                _ => {
                    let text = message[key].as_str().unwrap_or_default().to_owned() + value.as_str().expect("text");
                    message[key] = text.into();
                }
            }
        }
    }
    (message, reason)
}

fn add_call(message: &mut Value, call: &Value) {
    let calls = message["tool_calls"].as_array_mut().expect("a list");
    let index = usize::try_from(call["index"].as_u64().expect("an index")).expect("a small one");
    if index == calls.len() {
        calls.push(json!({"id": call["id"], "type": call["type"], "function": call["function"]}));
    } else {
        let arguments = &mut calls[index]["function"]["arguments"];
        let more = call["function"]["arguments"].as_str().expect("arguments");
        *arguments = (arguments.as_str().expect("text").to_owned() + more).into();
    }
}
