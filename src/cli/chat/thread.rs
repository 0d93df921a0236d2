//! What holds the turns of a chat together, which differs from API to API; and a message as each of them wants it.

use serde_json::{Value, json};

use super::random_key;
use super::reply::Reply;
use crate::cli::bench::reading::Api;
use crate::cli::event::Ending;

/// What holds the turns together.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Thread {
    Conversation(String),
    /// For servers without conversations: the last reply.
    Previous(Option<String>),
    /// Chat Completions: all messages so far.
    Messages(Vec<Value>),
    /// `useChat`: the chat's name.
    Chat(String),
}

impl Thread {
    /// A new one, or the one of this name.
    pub(super) fn new(api: Api, name: Option<String>) -> Self {
        match api {
            Api::Responses | Api::Websocket => name.map_or(Self::Previous(None), Self::Conversation),
            Api::Chat => Self::Messages(Vec::new()),
            Api::Ui => Self::Chat(name.unwrap_or_else(random_key)),
        }
    }

    /// Where one is, for people.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Conversation(id) => format!("conversation {id}"),
            Self::Previous(_) => "no conversations here: each reply refers to the one before".into(),
            Self::Messages(_) => "each request brings all messages so far".into(),
            Self::Chat(name) => format!("chat {name}"),
        }
    }

    /// The name of a chat of `useChat`.
    pub(super) fn chat(&self) -> Option<&str> {
        if let Self::Chat(name) = self { Some(name) } else { None }
    }

    /// The request that sends a message here.
    pub(super) fn body(&self, text: &str, model: Option<&str>, instructions: Option<&str>, stream: bool) -> Value {
        let mut body = json!({ "stream": stream });
        let mut set = |field: &str, value: Option<Value>| {
            if let Some(value) = value {
                body[field] = value;
            }
        };
        let mut instructions = instructions;
        match self {
            Self::Conversation(id) => set("conversation", Some(json!(id))),
            Self::Previous(id) => set("previous_response_id", id.as_ref().map(|id| json!(id))),
            Self::Messages(messages) => {
                let system = instructions.take().map(|text| json!({"role": "system", "content": text}));
                let own = json!({"role": "user", "content": text});
                set("messages", Some(system.into_iter().chain(messages.iter().cloned()).chain([own]).collect()));
                // So that it can be rejoined.
                set("store", Some(true.into()));
            }
            Self::Chat(name) => {
                let parts = json!([{"type": "text", "text": text}]);
                set("id", Some(json!(name)));
                set("message", Some(json!({"id": random_key(), "role": "user", "parts": parts})));
            }
        }
        if let Self::Conversation(_) | Self::Previous(_) = self {
            set("input", Some(json!(text)));
        }
        set("model", model.map(Value::from));
        set("instructions", instructions.map(Value::from));
        body
    }

    /// Notes a message and its reply. A failed one is left out: no server lets a reply refer to one that failed.
    pub(super) fn note(&mut self, text: &str, reply: &Reply) {
        if matches!(reply.ending, Some(Ending::Failed(_))) {
            return;
        }
        match self {
            Self::Previous(previous) => *previous = reply.id.clone().or(previous.take()),
            Self::Messages(messages) => {
                messages.push(json!({"role": "user", "content": text}));
                messages.push(json!({"role": "assistant", "content": reply.text}));
            }
            Self::Conversation(_) | Self::Chat(_) => {}
        }
    }
}
