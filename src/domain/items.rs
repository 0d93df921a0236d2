//! Items and their parts, as the Responses API writes them.
//!
//! Fields that this server does not know are stored and returned, and not sent to an upstream.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Fields of an item that this server keeps without knowing them.
pub type Extra = Map<String, Value>;

/// One entry of a conversation, of a request's input or of a reply's output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Item {
    /// A message of a person, a developer or the model.
    Message(Message),
    /// The model's thoughts on the way to an answer.
    Reasoning(Reasoning),
    /// The model asks for a function to be run.
    FunctionCall(FunctionCall),
    /// What the function gave back.
    FunctionCallOutput(FunctionCallOutput),
}

/// One entry of a request's input. An item that came without an id has an empty one, to be given at acceptance.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all are items")]
pub enum InputItem {
    /// The item itself, and what the upstream that made it wants back with it.
    Item(Item, Option<Value>),
    /// The name of one that is stored.
    Reference {
        /// Its id.
        id: String,
    },
}

/// A message of one role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The item's id, see [`super::ids`].
    pub id: String,
    /// How far it got.
    pub status: ItemStatus,
    /// Its author's role.
    pub role: Role,
    /// Its parts in order.
    pub content: Vec<Part>,
    /// Unknown fields, stored as they are.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Thoughts of a model. `content` holds them as they came; `summary` holds them when a summary was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reasoning {
    /// The item's id.
    pub id: String,
    /// How far it got. Absent on items that a client sent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ItemStatus>,
    /// Parts of type `summary_text`.
    #[serde(default)]
    pub summary: Vec<Part>,
    /// Parts of type `reasoning_text`.
    #[serde(default)]
    pub content: Vec<Part>,
    /// What an upstream wants back, sealed into the item, for replies that are not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted_content: Option<String>,
    /// Unknown fields, stored as they are.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A call of a function that the client defined in `tools`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// The item's id.
    pub id: String,
    /// How far it got.
    pub status: ItemStatus,
    /// The name under which its output is to be given.
    pub call_id: String,
    /// The function's name.
    pub name: String,
    /// Its arguments, as JSON text.
    pub arguments: String,
    /// Unknown fields, stored as they are.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The output of a function call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionCallOutput {
    /// The item's id.
    pub id: String,
    /// How far it got.
    pub status: ItemStatus,
    /// The call that it answers.
    pub call_id: String,
    /// Text, or a list of parts.
    pub output: Value,
    /// Unknown fields, stored as they are.
    #[serde(flatten)]
    pub extra: Extra,
}

/// How far an item got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemStatus {
    /// It is being generated.
    InProgress,
    /// It was generated to its end.
    Completed,
    /// It was broken off.
    Incomplete,
}

/// The role of a message's author.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The operator, in the older word.
    System,
    /// The operator.
    Developer,
}

/// A part of a message or of reasoning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Text that a client sent.
    InputText {
        /// The text.
        text: String,
    },
    /// An image that a client sent.
    InputImage {
        /// `auto`, `low` or `high`.
        #[serde(default = "auto")]
        detail: String,
        /// A URL or a `data:` URL.
        image_url: String,
    },
    /// Speech that a client sent.
    InputAudio {
        /// The recording.
        input_audio: AudioData,
        /// Its transcript: all that a model receives of it. Absent until it has been transcribed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transcript: Option<String>,
    },
    /// Text that the model generated.
    OutputText {
        /// The text.
        text: String,
        /// Always empty here; stored if a client sends some.
        #[serde(default)]
        annotations: Vec<Value>,
        /// Token probabilities, when they were asked for.
        #[serde(default)]
        logprobs: Vec<Value>,
    },
    /// The model's refusal.
    Refusal {
        /// Its words.
        refusal: String,
    },
    /// A thought as it came.
    ReasoningText {
        /// The text.
        text: String,
    },
    /// A thought, given as a summary.
    SummaryText {
        /// The text.
        text: String,
    },
}

/// A recording, as clients send it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioData {
    /// The bytes, in base64.
    pub data: String,
    /// What they are: `wav`, `mp3` …
    pub format: String,
}

fn auto() -> String {
    "auto".to_owned()
}

impl Part {
    /// The text of the part: of a recording its transcript; empty for an image.
    pub fn text(&self) -> &str {
        match self {
            Self::InputText { text }
            | Self::OutputText { text, .. }
            | Self::ReasoningText { text }
            | Self::SummaryText { text } => text,
            Self::Refusal { refusal } => refusal,
            Self::InputAudio { transcript, .. } => transcript.as_deref().unwrap_or_default(),
            Self::InputImage { .. } => "",
        }
    }

    /// About how long it is: its text, image or recording, in bytes.
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::InputAudio { input_audio, .. } => input_audio.data.len() + self.text().len(),
            Self::InputImage { image_url, .. } => image_url.len(),
            part => part.text().len(),
        }
    }
}

/// The length of the text in a value.
fn value_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(value_bytes).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + value_bytes(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
    }
}

impl InputItem {
    /// About how long it is.
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Item(Item::Message(message), _) => {
                let content = message.content.iter().map(Part::text_bytes).sum::<usize>();
                content + message.extra.values().map(value_bytes).sum::<usize>()
            }
            Self::Item(item, _) => item.text_bytes(),
            Self::Reference { id } => id.len(),
        }
    }
}

impl Item {
    /// The item's id.
    pub fn id(&self) -> &str {
        match self {
            Self::Message(item) => &item.id,
            Self::Reasoning(item) => &item.id,
            Self::FunctionCall(item) => &item.id,
            Self::FunctionCallOutput(item) => &item.id,
        }
    }

    /// Gives the item its id.
    pub fn set_id(&mut self, new: String) {
        match self {
            Self::Message(item) => item.id = new,
            Self::Reasoning(item) => item.id = new,
            Self::FunctionCall(item) => item.id = new,
            Self::FunctionCallOutput(item) => item.id = new,
        }
    }

    /// The prefix of ids of this type of item.
    pub const fn prefix(&self) -> &'static str {
        match self {
            Self::Message(_) => "msg",
            Self::Reasoning(_) => "rs",
            Self::FunctionCall(_) => "fc",
            Self::FunctionCallOutput(_) => "fco",
        }
    }

    /// Whether it was generated to its end. Items of a client are.
    pub const fn status(&self) -> ItemStatus {
        match self {
            Self::Message(item) => item.status,
            Self::FunctionCall(item) => item.status,
            Self::FunctionCallOutput(item) => item.status,
            Self::Reasoning(item) => match item.status {
                Some(status) => status,
                None => ItemStatus::Completed,
            },
        }
    }

    /// About how long it is: its text, arguments and images, in bytes.
    pub fn text_bytes(&self) -> usize {
        let parts = |parts: &[Part]| parts.iter().map(Part::text_bytes).sum::<usize>();
        match self {
            Self::Message(message) => parts(&message.content),
            Self::Reasoning(reasoning) => parts(&reasoning.content) + parts(&reasoning.summary),
            Self::FunctionCall(call) => call.name.len() + call.arguments.len(),
            Self::FunctionCallOutput(output) => value_bytes(&output.output),
        }
    }

    /// The beginning of what a person wrote, in one line: at most so many characters. `None`: it is something else, or no text.
    pub fn first_words(&self, most: usize) -> Option<String> {
        let Self::Message(Message { role: Role::User, content, .. }) = self else { return None };
        let mut words = content.iter().flat_map(|part| part.text().split_whitespace()).peekable();
        words.peek()?;
        let mut line = String::new();
        for word in words {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
            if let Some((cut, _)) = line.char_indices().nth(most) {
                line.truncate(cut);
                line.push('…');
                break;
            }
        }
        Some(line)
    }

    /// The call that this item makes or answers.
    pub fn call_id(&self) -> Option<&str> {
        match self {
            Self::FunctionCall(item) => Some(&item.call_id),
            Self::FunctionCallOutput(item) => Some(&item.call_id),
            Self::Message(_) | Self::Reasoning(_) => None,
        }
    }
}
