//! What the events of a reply mean to a reader. Takes any server's JSON leniently: what it does not know it passes over.

pub(crate) mod doors;

use serde_json::Value;

/// One event of a reply's stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// Its number in the stream, where the server counts.
    pub(crate) sequence: Option<u64>,
    pub(crate) happened: Happened,
}

/// What can happen in a reply, as far as a reader is concerned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Happened {
    /// The reply exists, under this id.
    Started(String),
    Text(String),
    Reasoning(String),
    /// Another text or piece of reasoning begins.
    Paragraph,
    Call {
        name: String,
        arguments: String,
    },
    /// The server says why the end will be a bad one.
    Failing(String),
    Ended(Ending),
    Nothing,
}

/// How a reply ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    Complete,
    /// Somebody stopped it.
    Stopped,
    /// It is shorter than it would have been, for this reason.
    Cut(String),
    Failed(String),
}

impl Event {
    /// Reads an event's data; `None` where it is no JSON.
    pub(crate) fn parse(data: &[u8]) -> Option<Self> {
        let event: Value = serde_json::from_slice(data).ok()?;
        Some(Self { sequence: event["sequence_number"].as_u64(), happened: happened(&event) })
    }
}

/// What a whole response says, in order; its last one is how it ended.
pub(crate) fn of_response(response: &Value) -> Vec<Happened> {
    let mut happened: Vec<_> = response["id"].as_str().map(|id| Happened::Started(id.into())).into_iter().collect();
    for item in response["output"].as_array().into_iter().flatten() {
        happened.extend(of_item(item));
    }
    happened.push(Happened::Ended(ending(response)));
    happened
}

/// The text of a message, as the conversation's list of items has it.
pub(crate) fn text_of_item(item: &Value) -> String {
    match &item["content"] {
        Value::String(text) => text.clone(),
        parts => parts.as_array().into_iter().flatten().filter_map(part_text).collect::<Vec<_>>().join("\n"),
    }
}

fn happened(event: &Value) -> Happened {
    let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
    match event["type"].as_str().unwrap_or_default() {
        "response.created" => {
            event["response"]["id"].as_str().map_or(Happened::Nothing, |id| Happened::Started(id.into()))
        }
        "response.output_text.delta" | "response.refusal.delta" => Happened::Text(text("delta")),
        "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => Happened::Reasoning(text("delta")),
        "response.content_part.added" | "response.reasoning_summary_part.added" => Happened::Paragraph,
        "response.output_item.done" => call(&event["item"]).unwrap_or(Happened::Nothing),
        "error" => Happened::Failing(message(event).unwrap_or_else(|| "the server gave no reason".into())),
        "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
            Happened::Ended(ending(&event["response"]))
        }
        _ => Happened::Nothing,
    }
}

fn of_item(item: &Value) -> Vec<Happened> {
    let parts = |key: &str| item[key].as_array().into_iter().flatten().filter_map(part_text);
    let paragraph = |of: fn(String) -> Happened| move |text: &str| [Happened::Paragraph, of(text.to_owned())];
    match item["type"].as_str() {
        Some("message") => parts("content").flat_map(paragraph(Happened::Text)).collect(),
        Some("reasoning") => {
            parts("summary").chain(parts("content")).flat_map(paragraph(Happened::Reasoning)).collect()
        }
        _ => call(item).into_iter().collect(),
    }
}

fn part_text(part: &Value) -> Option<&str> {
    part["text"].as_str().or_else(|| part["refusal"].as_str())
}

/// Calls of functions, and of the tools that a server brings along (`web_search_call` and the like).
fn call(item: &Value) -> Option<Happened> {
    let kind = item["type"].as_str().filter(|kind| kind.ends_with("_call"))?;
    let name = item["name"].as_str().unwrap_or(kind).to_owned();
    let arguments = item["arguments"].as_str().or_else(|| item["input"].as_str()).unwrap_or_default().to_owned();
    Some(Happened::Call { name, arguments })
}

fn ending(response: &Value) -> Ending {
    let reason = response["incomplete_details"]["reason"].as_str();
    match (response["status"].as_str(), reason) {
        (Some("cancelled"), _) | (_, Some("cancelled")) => Ending::Stopped,
        (Some("incomplete"), reason) => Ending::Cut(reason.unwrap_or("no reason given").replace('_', " ")),
        (Some("failed"), _) => {
            Ending::Failed(message(&response["error"]).unwrap_or_else(|| "the server gave no reason".into()))
        }
        _ => Ending::Complete,
    }
}

/// An error's words; some servers put them flat, some under `error`.
fn message(error: &Value) -> Option<String> {
    error["message"].as_str().or_else(|| error["error"]["message"].as_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(event: &Value) -> Happened {
        Event::parse(event.to_string().as_bytes()).unwrap().happened
    }

    #[test]
    fn what_matters_to_a_reader_is_read() {
        let delta = json!({"type": "response.output_text.delta", "sequence_number": 4, "delta": "hi"});
        let parsed = Event::parse(delta.to_string().as_bytes());
        assert_eq!(parsed, Some(Event { sequence: Some(4), happened: Happened::Text("hi".into()) }));
        assert_eq!(
            read(
                &json!({"type": "response.output_item.done", "item": {"type": "function_call", "name": "f", "arguments": "{}"}})
            ),
            Happened::Call { name: "f".into(), arguments: "{}".into() }
        );
        assert_eq!(
            read(&json!({"type": "response.output_item.done", "item": {"type": "web_search_call"}})),
            Happened::Call { name: "web_search_call".into(), arguments: String::new() }
        );
        assert_eq!(read(&json!({"type": "response.new_thing.delta", "delta": 1})), Happened::Nothing);
        assert_eq!(Event::parse(b"[DONE]"), None);
    }

    #[test]
    fn each_ending_is_told_apart() {
        let end = |response: Value| ending(&response);
        assert_eq!(end(json!({"status": "completed"})), Ending::Complete);
        let stopped = json!({"status": "cancelled", "incomplete_details": {"reason": "cancelled"}});
        assert_eq!(end(stopped), Ending::Stopped);
        let cut = json!({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}});
        assert_eq!(end(cut), Ending::Cut("max output tokens".into()));
        assert_eq!(end(json!({"status": "failed", "error": {"message": "no"}})), Ending::Failed("no".into()));
    }

    #[test]
    fn an_error_is_read_flat_and_nested() {
        for error in [json!({"type": "error", "message": "m"}), json!({"type": "error", "error": {"message": "m"}})] {
            assert_eq!(read(&error), Happened::Failing("m".into()));
        }
    }

    #[test]
    fn a_whole_response_says_the_same_as_its_events() {
        let response = json!({"id": "resp_1", "status": "completed", "output": [
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "message", "content": [{"type": "output_text", "text": "yes"}, {"type": "refusal", "refusal": "no"}]},
            {"type": "function_call", "name": "f", "arguments": "{}"},
        ]});
        let said = of_response(&response);
        assert_eq!(said.first(), Some(&Happened::Started("resp_1".into())));
        assert_eq!(said.last(), Some(&Happened::Ended(Ending::Complete)));
        for wanted in [Happened::Reasoning("hm".into()), Happened::Text("yes".into()), Happened::Text("no".into())] {
            assert!(said.contains(&wanted), "{wanted:?}");
        }
    }
}
