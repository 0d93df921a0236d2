//! UI messages: each becomes items, and an answer tells the reply that made it.

use serde_json::{Map, Value};

use super::{PROVIDER, reply_of};
use crate::domain::ids::ReplyId;
use crate::domain::items::{Extra, FunctionCall, FunctionCallOutput, Item, ItemStatus, Message, Part, Reasoning, Role};
use crate::protocols::error::ApiError;
use crate::protocols::json::{At, Read, choice, entries, object, required, short_string, string};
use crate::protocols::request::{file, parts, recording};

/// The most characters of a name, or of an id.
pub(super) const LONGEST_NAME: usize = 256;

/// What the output of a call says that a person did not allow, unless they said why.
const DENIED: &str = "Tool call execution denied.";

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct UiMessage {
    /// The client's id of it.
    pub(super) id: String,
    /// Whether it is an answer.
    pub(super) is_answer: bool,
    /// What it says, in order.
    pub(super) items: Vec<Item>,
    /// The reply that made the last of it.
    pub(super) reply: Option<ReplyId>,
    /// The outputs of that reply's calls.
    pub(super) outputs: Vec<Item>,
}

const ROLES: &[(&str, Role)] = &[("system", Role::System), ("user", Role::User), ("assistant", Role::Assistant)];

/// A message.
pub(super) fn message(at: At, value: Value) -> Read<UiMessage> {
    let mut fields = object(at, value)?;
    let role = choice(at.field("role"), must_take(at, &mut fields, "role")?, ROLES)?;
    let id = take(&mut fields, "id").map(|id| short_string(at.field("id"), id, LONGEST_NAME)).transpose()?;
    let id = id.unwrap_or_default();
    let mut reader = Reader::new(role);
    entries(at.field("parts"), must_take(at, &mut fields, "parts")?, |at, part| reader.part(at, part))?;
    Ok(reader.finish(id))
}

/// What was read of a message so far.
struct Reader {
    role: Role,
    items: Vec<Item>,
    /// The parts of the message that is read.
    content: Vec<Part>,
    /// The outputs of the calls of a step, which come after all of these.
    outputs: Vec<Item>,
    /// All outputs, with the reply that made the call.
    answers: Vec<(Option<ReplyId>, Item)>,
    reply: Option<ReplyId>,
}

impl Reader {
    fn new(role: Role) -> Self {
        let (items, content, outputs, answers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { role, items, content, outputs, answers, reply: None }
    }

    fn part(&mut self, at: At, value: Value) -> Read<()> {
        let mut fields = object(at, value)?;
        let kind = string(at.field("type"), must_take(at, &mut fields, "type")?)?;
        let made_by = marked(&fields);
        self.reply = made_by.or(self.reply);
        match (kind.as_str(), self.role) {
            ("text", role) => {
                let text = string(at.field("text"), must_take(at, &mut fields, "text")?)?;
                self.content.extend((!text.is_empty()).then(|| said(role, text)));
            }
            ("file", Role::User) => self.content.push(file(at, &mut fields)?),
            ("step-start", _) => self.end_step(),
            ("reasoning", Role::Assistant) => {
                self.end_message();
                let text = string(at.field("text"), must_take(at, &mut fields, "text")?)?;
                self.items.extend((!text.is_empty()).then(|| thought(text)));
            }
            ("dynamic-tool", Role::Assistant) => {
                let name = short_string(at.field("toolName"), must_take(at, &mut fields, "toolName")?, LONGEST_NAME)?;
                self.call(at, name, &mut fields, made_by)?;
            }
            (kind, Role::Assistant) if kind.starts_with("tool-") => {
                self.call(at, kind["tool-".len()..].to_owned(), &mut fields, made_by)?;
            }
            // For people and programs, not for models: the SDK leaves them out, too.
            ("source-url" | "source-document" | "custom", _) => {}
            (kind, _) if kind.starts_with("data-") => {}
            (kind, role) => {
                let supported: &[&str] = match role {
                    Role::Assistant => &["text", "reasoning", "tool-…", "dynamic-tool", "step-start"],
                    Role::User => &["text", "file"],
                    Role::System | Role::Developer => &["text"],
                };
                return Err(ApiError::invalid_value(at.field("type"), kind, supported));
            }
        }
        Ok(())
    }

    fn call(&mut self, at: At, name: String, fields: &mut Map<String, Value>, made_by: Option<ReplyId>) -> Read<()> {
        let call_id = short_string(at.field("toolCallId"), must_take(at, fields, "toolCallId")?, LONGEST_NAME)?;
        let state = string(at.field("state"), must_take(at, fields, "state")?)?;
        // It was broken off: nobody carries it out, and no model is told of it.
        if state == "input-streaming" {
            return Ok(());
        }
        self.end_message();
        if let Some(text) = output(at, &state, fields)? {
            let (id, status, extra, call_id) = (String::new(), ItemStatus::Completed, Extra::new(), call_id.clone());
            let output =
                Item::FunctionCallOutput(FunctionCallOutput { id, status, call_id, output: text.into(), extra });
            self.answers.push((made_by, output.clone()));
            self.outputs.push(output);
        }
        let input = take(fields, "input").or_else(|| take(fields, "rawInput"));
        let arguments = input.map_or_else(|| "{}".to_owned(), plain);
        let (id, status, extra) = (String::new(), ItemStatus::Completed, Extra::new());
        self.items.push(Item::FunctionCall(FunctionCall { id, status, call_id, name, arguments, extra }));
        Ok(())
    }

    fn end_message(&mut self) {
        let content = std::mem::take(&mut self.content);
        if !content.is_empty() {
            let (id, status, role, extra) = (String::new(), ItemStatus::Completed, self.role, Extra::new());
            self.items.push(Item::Message(Message { id, status, role, content, extra }));
        }
    }

    fn end_step(&mut self) {
        self.end_message();
        self.items.append(&mut self.outputs);
    }

    fn finish(mut self, id: String) -> UiMessage {
        self.end_step();
        let is_answer = self.role == Role::Assistant;
        // An answer of which there is nothing yet has only its id.
        let reply = self.reply.or_else(|| id.parse().ok()).filter(|_| is_answer);
        let answers = self.answers.into_iter().filter(|(made_by, _)| made_by.is_some() && *made_by == reply);
        UiMessage { id, is_answer, items: self.items, reply, outputs: answers.map(|(_, output)| output).collect() }
    }
}

/// The reply that made a part, which its metadata tell.
fn marked(fields: &Map<String, Value>) -> Option<ReplyId> {
    let metadata = ["providerMetadata", "callProviderMetadata"].into_iter().find_map(|name| fields.get(name));
    reply_of(metadata?.get(PROVIDER)?.get("itemId")?.as_str()?)
}

fn said(role: Role, text: String) -> Part {
    match role {
        Role::Assistant => Part::OutputText { text, annotations: Vec::new(), logprobs: Vec::new() },
        Role::User | Role::System | Role::Developer => Part::InputText { text },
    }
}

fn thought(text: String) -> Item {
    Item::Reasoning(Reasoning {
        id: String::new(),
        status: Some(ItemStatus::Completed),
        summary: Vec::new(),
        content: vec![Part::ReasoningText { text }],
        encrypted_content: None,
        extra: Extra::new(),
    })
}

/// An image, or a file of text.
fn file(at: At, fields: &mut Map<String, Value>) -> Read<Part> {
    if fields.get("providerReference").is_some_and(|value| !value.is_null()) {
        let reason = "Send the file itself in 'url', as a data URL.";
        return Err(ApiError::unsupported_parameter(at.field("providerReference"), reason));
    }
    let media = string(at.field("mediaType"), must_take(at, fields, "mediaType")?)?;
    let at_url = at.field("url");
    let image_url = parts::url(at_url, must_take(at, fields, "url")?)?;
    if media == "image" || media.starts_with("image/") {
        return Ok(Part::InputImage { detail: "auto".to_owned(), image_url });
    }
    if let Some(subtype) = media.strip_prefix("audio/") {
        return recording::of_data_url(at_url, subtype, &image_url);
    }
    if !image_url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
        let reason = "Send the file itself, as a data URL of text.";
        return Err(ApiError::unsupported_parameter(at_url, reason));
    }
    let name =
        take(fields, "filename").map(|name| short_string(at.field("filename"), name, LONGEST_NAME)).transpose()?;
    file::text_part(at_url, name.as_deref(), &image_url)
}

/// The output of a call, as text. `None`: there is none yet.
fn output(at: At, state: &str, fields: &mut Map<String, Value>) -> Read<Option<String>> {
    let reason = |fields: &Map<String, Value>| {
        let reason = fields.get("approval").and_then(|approval| approval.get("reason")).and_then(Value::as_str);
        Some(reason.unwrap_or(DENIED).to_owned())
    };
    let is_denied = |fields: &Map<String, Value>| {
        fields.get("approval").and_then(|approval| approval.get("approved")) == Some(&Value::Bool(false))
    };
    Ok(match state {
        "output-available" => Some(plain(fields.remove("output").unwrap_or_default())),
        "output-error" => Some(string(at.field("errorText"), must_take(at, fields, "errorText")?)?),
        "output-denied" => reason(fields),
        "approval-responded" if is_denied(fields) => reason(fields),
        "input-available" | "approval-requested" | "approval-responded" => None,
        _ => {
            let supported = ["input-streaming", "input-available", "output-available", "output-error", "output-denied"];
            return Err(ApiError::invalid_value(at.field("state"), state, &supported));
        }
    })
}

/// A value as a model reads it: text as it is, all else as JSON.
fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn take(fields: &mut Map<String, Value>, name: &str) -> Option<Value> {
    fields.remove(name).filter(|value| !value.is_null())
}

fn must_take(at: At, fields: &mut Map<String, Value>, name: &str) -> Read<Value> {
    required(at, name, take(fields, name))
}
