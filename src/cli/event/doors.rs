//! The same events, as the streams of Chat Completions and of the AI SDK have them.

use serde_json::Value;

use super::{Ending, Event, Happened, message};

/// Reads a chunk of a chat completion; there is nothing in what is no JSON.
pub(crate) fn of_chunk(data: &[u8]) -> Vec<Event> {
    let Ok(chunk) = serde_json::from_slice::<Value>(data) else { return Vec::new() };
    let sequence = chunk["sequence_number"].as_u64();
    let happened = if chunk["error"].is_object() { vec![failure(&chunk["error"])] } else { of_choice(&chunk) };
    happened.into_iter().map(|happened| Event { sequence, happened }).collect()
}

fn of_choice(chunk: &Value) -> Vec<Happened> {
    let choice = &chunk["choices"][0];
    let started = choice["delta"]["role"].is_string().then(|| chunk["id"].as_str()).flatten();
    let mut happened: Vec<_> = started.map(|id| Happened::Started(id.to_owned())).into_iter().collect();
    happened.extend(of_message(&choice["delta"]));
    happened.extend(choice["finish_reason"].as_str().map(|reason| Happened::Ended(finish(reason))));
    happened
}

/// What a whole completion says, in order; its last one is how it ended.
pub(crate) fn of_completion(completion: &Value) -> Vec<Happened> {
    let choice = &completion["choices"][0];
    let mut happened: Vec<_> = completion["id"].as_str().map(|id| Happened::Started(id.into())).into_iter().collect();
    happened.extend(of_message(&choice["message"]));
    happened.push(Happened::Ended(finish(choice["finish_reason"].as_str().unwrap_or_default())));
    happened
}

fn of_message(message: &Value) -> Vec<Happened> {
    let text = |key: &str| message[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let thoughts = text("reasoning_content").or_else(|| text("reasoning")).map(Happened::Reasoning);
    let said = [text("content"), text("refusal")].into_iter().flatten().map(Happened::Text);
    thoughts.into_iter().chain(said).collect()
}

/// Of an error that ends a stream: somebody stopped the reply, or it failed.
fn failure(error: &Value) -> Happened {
    Happened::Ended(match error["code"].as_str() {
        Some("cancelled") => Ending::Stopped,
        _ => Ending::Failed(message(error).unwrap_or_else(|| "the server gave no reason".into())),
    })
}

/// Reads a chunk of a UI message, which stands in an event of this id.
pub(crate) fn of_ui_chunk(data: &[u8], id: &[u8]) -> Option<Event> {
    let chunk: Value = serde_json::from_slice(data).ok()?;
    let sequence = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
    let text = |key: &str| chunk[key].as_str().unwrap_or_default().to_owned();
    let happened = match chunk["type"].as_str().unwrap_or_default() {
        "text-delta" => Happened::Text(text("delta")),
        "reasoning-delta" => Happened::Reasoning(text("delta")),
        "text-start" | "reasoning-start" => Happened::Paragraph,
        "tool-input-available" => Happened::Call { name: text("toolName"), arguments: chunk["input"].to_string() },
        "error" => Happened::Failing(text("errorText")),
        "abort" => Happened::Ended(Ending::Stopped),
        "finish" => Happened::Ended(finish(chunk["finishReason"].as_str().unwrap_or("stop"))),
        _ => Happened::Nothing,
    };
    Some(Event { sequence, happened })
}

fn finish(reason: &str) -> Ending {
    match reason {
        "stop" | "tool_calls" | "tool-calls" | "function_call" => Ending::Complete,
        "error" => Ending::Failed("the server gave no reason".into()),
        "" => Ending::Cut("no reason given".into()),
        "length" => Ending::Cut("max output tokens".into()),
        reason => Ending::Cut(reason.replace(['_', '-'], " ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn chunks_say_what_events_say() {
        let chunk = |delta: Value, reason: Value| {
            let chunk = json!({"id": "chatcmpl-1", "sequence_number": 3,
                "choices": [{"delta": delta, "finish_reason": reason}]});
            of_chunk(chunk.to_string().as_bytes())
        };
        let event = |happened| Event { sequence: Some(3), happened };
        let started = vec![event(Happened::Started("chatcmpl-1".into()))];
        assert_eq!(chunk(json!({"role": "assistant", "content": ""}), Value::Null), started);
        assert_eq!(chunk(json!({"content": "hi"}), Value::Null), [event(Happened::Text("hi".into()))]);
        assert_eq!(chunk(json!({}), json!("stop")), [event(Happened::Ended(Ending::Complete))]);
        assert_eq!(
            chunk(json!({}), json!("content_filter")),
            [event(Happened::Ended(Ending::Cut("content filter".into())))]
        );
        let error = |code: &str| of_chunk(json!({"error": {"code": code, "message": "no"}}).to_string().as_bytes());
        assert_eq!(error("cancelled")[0].happened, Happened::Ended(Ending::Stopped));
        assert_eq!(error("server_error")[0].happened, Happened::Ended(Ending::Failed("no".into())));
        assert_eq!(of_chunk(b"[DONE]"), []);
    }

    #[test]
    fn chunks_of_a_ui_message_have_the_numbers_of_their_events() {
        let read = |chunk: Value, id: &str| of_ui_chunk(chunk.to_string().as_bytes(), id.as_bytes()).expect("JSON");
        let text = read(json!({"type": "text-delta", "delta": "hi"}), "7");
        assert_eq!(text, Event { sequence: Some(7), happened: Happened::Text("hi".into()) });
        assert_eq!(read(json!({"type": "finish-step"}), "").sequence, None);
        let end = |chunk| read(chunk, "9").happened;
        assert_eq!(end(json!({"type": "finish", "finishReason": "stop"})), Happened::Ended(Ending::Complete));
        assert_eq!(end(json!({"type": "abort"})), Happened::Ended(Ending::Stopped));
        assert_eq!(end(json!({"type": "error", "errorText": "no"})), Happened::Failing("no".into()));
    }
}
