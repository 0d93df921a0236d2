//! The context as the `messages` of a request: items that belong together become one message, and every message
//! stands where servers insist on it.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use super::JsonInWords;
use crate::domain::items::{FunctionCall, Item, Part, Role};
use crate::domain::surrogates;
use crate::llm::call::{Call, ContextItem, Continuation};
use crate::llm::delta::UpstreamError;
use crate::llm::dialect::Dialect;
use crate::llm::{arguments, call_id, failure, provider_state};

/// The instruction for a model that is to continue. It repeats the last words so that the splice can be found.
const INSTRUCTION: &str = "You were interrupted while you wrote your last message. Continue it exactly where it \
    stops. Begin by repeating its last few words verbatim, then go on. No preamble, no apology, no remark on the \
    interruption; do not start over.";

/// Most servers want a person to have the last word.
const NUDGE: &str = "Continue exactly where your last message stops.";

/// The same, where a function call follows that is forced anyway.
const NUDGE_TO_CALL: &str = "Go on.";

/// One message.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    role: &'static str,
    /// Which of several users the message is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_details: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Value>,
    /// Marks a message that is to be continued.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prefix: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<WirePart<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum WirePart<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: Image<'a> },
}

#[derive(Serialize)]
struct Image<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "is_auto")]
    detail: &'a str,
}

#[derive(Serialize)]
struct ToolCall<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    function: CalledFunction<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<&'a Value>,
}

#[derive(Serialize)]
struct CalledFunction<'a> {
    name: &'a str,
    arguments: Cow<'a, str>,
}

fn is_auto(detail: &&str) -> bool {
    *detail == "auto"
}

/// What the messages depend on besides the context.
pub(super) struct Messages<'a> {
    pub(super) dialect: Dialect,
    pub(super) schema: JsonInWords<'a>,
    /// The text to be continued.
    pub(super) text: Option<&'a str>,
    pub(super) continuation: Continuation,
    /// Whether a function call follows.
    pub(super) calls: bool,
    /// Whether that text is marked with `prefix: true`.
    pub(super) marked: bool,
}

impl<'a> Messages<'a> {
    /// The messages of a call.
    pub(super) fn of(self, call: &'a Call) -> Result<Vec<Message<'a>>, UpstreamError> {
        let mut builder = Builder::new(self.dialect, &call.context)?;
        builder.system.extend(call.params.instructions.as_deref().map(Cow::Borrowed));
        for index in 0..call.context.len() {
            builder.item(index)?;
        }
        builder.close()?;
        builder.system.extend(match self.schema {
            JsonInWords::Nothing => None,
            JsonInWords::Object => Some(Cow::Borrowed("Answer with a JSON object, and nothing else.")),
            JsonInWords::Schema(schema) => {
                Some(format!("Answer with JSON that matches this schema, and nothing else: {schema}").into())
            }
        });
        if let Some(text) = self.text {
            let prefix = self.marked && self.continuation == Continuation::Prefill;
            builder.messages.push(Message { prefix, ..Message::text("assistant", text) });
        }
        if self.continuation == Continuation::Instruct {
            builder.system.extend((!self.calls).then_some(Cow::Borrowed(INSTRUCTION)));
            builder.messages.push(Message::text("user", if self.calls { NUDGE_TO_CALL } else { NUDGE }));
        }
        Ok(builder.finish())
    }
}

struct Builder<'a> {
    dialect: Dialect,
    context: &'a [ContextItem],
    /// For each function call of the context, by index, the output that answers it.
    outputs: HashMap<usize, usize>,
    system: Vec<Cow<'a, str>>,
    /// Whether the operator's role was the newer `developer`.
    developer: bool,
    messages: Vec<Message<'a>>,
    turn: Turn<'a>,
    /// Images that functions returned, to be shown after their outputs.
    images: Vec<WirePart<'a>>,
}

/// One turn of the model: thoughts, text and calls.
#[derive(Default)]
struct Turn<'a> {
    thoughts: Vec<&'a str>,
    text: Vec<&'a str>,
    calls: Vec<usize>,
    provider_state: Option<Value>,
}

impl<'a> Builder<'a> {
    fn new(dialect: Dialect, context: &'a [ContextItem]) -> Result<Self, UpstreamError> {
        Ok(Self {
            dialect,
            context,
            outputs: match_outputs(context)?,
            system: Vec::new(),
            developer: false,
            messages: Vec::new(),
            turn: Turn::default(),
            images: Vec::new(),
        })
    }

    fn item(&mut self, index: usize) -> Result<(), UpstreamError> {
        let ContextItem { item, provider_state } = &self.context[index];
        match item {
            Item::Message(message) => match message.role {
                Role::System | Role::Developer => self.operator(message.role, &message.content)?,
                Role::User => self.user(&message.content, message.extra.get("name").and_then(Value::as_str))?,
                Role::Assistant => {
                    self.turn.text.extend(message.content.iter().map(Part::text).filter(|text| !text.is_empty()));
                    self.keep(provider_state.as_ref());
                }
            },
            Item::Reasoning(reasoning) => {
                let parts = if reasoning.content.is_empty() { &reasoning.summary } else { &reasoning.content };
                self.turn.thoughts.extend(parts.iter().map(Part::text));
                self.keep(provider_state.as_ref());
            }
            Item::FunctionCall(_) => self.turn.calls.push(index),
            // It was sent with its call; here the model's next turn begins.
            Item::FunctionCallOutput(_) => self.end_turn()?,
        }
        Ok(())
    }

    /// The operator's text goes to the front, for most servers even when it comes late.
    fn operator(&mut self, role: Role, content: &'a [Part]) -> Result<(), UpstreamError> {
        let late = self.dialect.knows_developers() && (!self.messages.is_empty() || !self.turn.is_empty());
        let text = joined(content);
        if late {
            self.close()?;
            self.messages.push(Message::text(if role == Role::Developer { "developer" } else { "system" }, text));
        } else {
            self.developer |= role == Role::Developer;
            self.system.push(text);
        }
        Ok(())
    }

    fn user(&mut self, content: &'a [Part], name: Option<&'a str>) -> Result<(), UpstreamError> {
        self.close()?;
        let content = if content.iter().any(|part| matches!(part, Part::InputImage { .. })) {
            Content::Parts(content.iter().map(|part| wire_part(self.dialect, part)).collect::<Result<_, _>>()?)
        } else {
            Content::Text(joined(content))
        };
        match self.messages.last_mut() {
            Some(last) if last.role == "user" && !self.dialect.takes_adjacent_messages() => last.add(content),
            _ => {
                let name = name.filter(|_| !self.dialect.is_strict());
                self.messages.push(Message { name, content: Some(content), ..Message::text("user", "") });
            }
        }
        Ok(())
    }

    fn keep(&mut self, provider_state: Option<&Value>) {
        if let Some(provider_state) = provider_state {
            provider_state::join(&mut self.turn.provider_state, provider_state.clone());
        }
    }

    /// Ends the model's turn, and shows the images of its functions.
    fn close(&mut self) -> Result<(), UpstreamError> {
        self.end_turn()?;
        if !self.images.is_empty() {
            let content = Some(Content::Parts(std::mem::take(&mut self.images)));
            self.messages.push(Message { content, ..Message::text("user", "") });
        }
        Ok(())
    }

    fn end_turn(&mut self) -> Result<(), UpstreamError> {
        let turn = std::mem::take(&mut self.turn);
        let calls: Vec<_> = turn.calls.iter().filter_map(|call| Some((*call, *self.outputs.get(call)?))).collect();
        // No server accepts a call without an answer.
        if turn.text.is_empty() && calls.is_empty() {
            return Ok(());
        }
        let field = |name: &str, taken: bool| turn.provider_state.as_ref().filter(|_| taken)?.get(name).cloned();
        let thoughts = self.dialect.wants_thoughts_back() && !calls.is_empty() && !turn.thoughts.is_empty();
        self.messages.push(Message {
            content: (!turn.text.is_empty()).then(|| Content::Text(turn.text.join("\n").into())),
            tool_calls: calls.iter().map(|(call, _)| self.tool_call(*call)).collect(),
            reasoning_content: thoughts.then(|| turn.thoughts.join("\n")),
            reasoning_details: field("reasoning_details", self.dialect.takes_reasoning_details()),
            extra_content: field("extra_content", self.dialect.takes_extra_content()),
            ..Message::text("assistant", "")
        });
        calls.into_iter().try_for_each(|(call, output)| self.output(call, output))
    }

    fn tool_call(&self, index: usize) -> ToolCall<'a> {
        let ContextItem { item, provider_state } = &self.context[index];
        let Item::FunctionCall(FunctionCall { call_id, name, arguments, .. }) = item else {
            unreachable!("only calls are noted as calls")
        };
        // A model's arguments are stored as they are; but servers parse them, and refuse the whole history if they are
        // broken.
        let arguments = object_for_sending(arguments);
        let extra = provider_state.as_ref().and_then(|provider_state| provider_state.get("extra_content"));
        ToolCall {
            id: call_id::for_dialect(self.dialect, call_id),
            kind: "function",
            function: CalledFunction { name, arguments },
            extra_content: extra.filter(|_| self.dialect.takes_extra_content()),
        }
    }

    fn output(&mut self, call: usize, output: usize) -> Result<(), UpstreamError> {
        let call_id = self.context[call].item.call_id().unwrap_or_default();
        let Item::FunctionCallOutput(output) = &self.context[output].item else { return Ok(()) };
        let mut texts = Vec::new();
        match &output.output {
            Value::String(text) => texts.push(Cow::Borrowed(text.as_str())),
            Value::Array(parts) => {
                for part in parts {
                    let field = |name: &str| part.get(name).and_then(Value::as_str);
                    if let Some(url) = field("image_url") {
                        self.images.push(image(self.dialect, url, field("detail").unwrap_or("auto"))?);
                    } else if let Some(text) = field("text").or(part.as_str()) {
                        texts.push(Cow::Borrowed(text));
                    }
                }
            }
            other => texts.push(other.to_string().into()),
        }
        let content = if texts.len() == 1 { texts.remove(0) } else { texts.join("\n").into() };
        let tool_call_id = Some(call_id::for_dialect(self.dialect, call_id));
        self.messages.push(Message { tool_call_id, ..Message::text("tool", content) });
        Ok(())
    }

    fn finish(self) -> Vec<Message<'a>> {
        let texts: Vec<_> = self.system.into_iter().filter(|text| !text.is_empty()).collect();
        if texts.is_empty() {
            return self.messages;
        }
        let role = if self.developer && self.dialect.knows_developers() { "developer" } else { "system" };
        let mut messages = Vec::with_capacity(self.messages.len() + 1);
        messages.push(Message::text(role, texts.join("\n\n")));
        messages.extend(self.messages);
        messages
    }
}

impl Turn<'_> {
    const fn is_empty(&self) -> bool {
        self.text.is_empty() && self.calls.is_empty()
    }
}

impl<'a> Message<'a> {
    fn text(role: &'static str, text: impl Into<Cow<'a, str>>) -> Self {
        let text = text.into();
        let content = Some(Content::Text(text));
        Self {
            role,
            name: None,
            content,
            tool_calls: Vec::new(),
            tool_call_id: None,
            reasoning_content: None,
            reasoning_details: None,
            extra_content: None,
            prefix: false,
        }
    }

    fn add(&mut self, content: Content<'a>) {
        self.content = Some(match (self.content.take(), content) {
            (None, content) => content,
            (Some(Content::Text(first)), Content::Text(second)) => Content::Text(format!("{first}\n\n{second}").into()),
            (Some(first), second) => {
                let mut parts = first.into_parts();
                parts.extend(second.into_parts());
                Content::Parts(parts)
            }
        });
    }
}

impl<'a> Content<'a> {
    fn into_parts(self) -> Vec<WirePart<'a>> {
        match self {
            Self::Text(text) => vec![WirePart::Text { text }],
            Self::Parts(parts) => parts,
        }
    }
}

/// Arguments as any server parses them: an object, without half characters; `{}` where they are none.
fn object_for_sending(arguments: &str) -> Cow<'_, str> {
    let mended = surrogates::mend(arguments);
    let object = match &mended {
        Some(mended) => arguments::object(mended, &[]).map(|object| Cow::Owned(object.into_owned())),
        None => arguments::object(arguments, &[]),
    };
    object.unwrap_or(Cow::Borrowed("{}"))
}

/// Text-only parts are one string: some servers make a message of each part.
fn joined(parts: &[Part]) -> Cow<'_, str> {
    match parts {
        [part] => part.text().into(),
        parts => parts.iter().map(Part::text).collect::<Vec<_>>().join("\n").into(),
    }
}

fn wire_part(dialect: Dialect, part: &Part) -> Result<WirePart<'_>, UpstreamError> {
    match part {
        Part::InputImage { detail, image_url } => image(dialect, image_url, detail),
        part => Ok(WirePart::Text { text: part.text().into() }),
    }
}

fn image<'a>(dialect: Dialect, url: &'a str, detail: &'a str) -> Result<WirePart<'a>, UpstreamError> {
    if dialect.wants_images_inline() && !url.starts_with("data:") {
        return Err(failure::unsupported(
            "This model server does not fetch images: send the image itself, as a data: URL in base64.",
        ));
    }
    Ok(WirePart::ImageUrl { image_url: Image { url, detail } })
}

/// Which output answers which call: the last one before it with its id that nothing has answered. Ids may come
/// again, since some servers count them from 0 in every turn.
fn match_outputs(context: &[ContextItem]) -> Result<HashMap<usize, usize>, UpstreamError> {
    let mut open: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut outputs = HashMap::new();
    for (index, entry) in context.iter().enumerate() {
        match &entry.item {
            Item::FunctionCall(call) => open.entry(&call.call_id).or_default().push(index),
            Item::FunctionCallOutput(output) => {
                let call = open.get_mut(output.call_id.as_str()).and_then(Vec::pop);
                let call = call.ok_or_else(|| {
                    let id = &output.call_id;
                    failure::unsupported(format!("No tool call found for function call output with call_id {id}."))
                })?;
                outputs.insert(call, index);
            }
            Item::Message(_) | Item::Reasoning(_) => {}
        }
    }
    Ok(outputs)
}
