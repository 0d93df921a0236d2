//! A completion: what a reply is, all at once.

use serde::Serialize;
use serde_json::Value;

use super::usage::Usage;
use super::{completion_id, finish_reason};
use crate::domain::event::Degraded;
use crate::domain::ids::ReplyId;
use crate::domain::items::{Item, Part};
use crate::domain::params::Metadata;
use crate::domain::record::Accepted;
use crate::domain::reply::Reply;

/// The id of what a reply speaks.
pub(super) fn audio_id(reply: ReplyId) -> String {
    format!("audio_{}", completion_id(reply).trim_start_matches(super::PREFIX))
}

/// What was spoken, as far as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Audio {
    /// The audio, in base64.
    pub(crate) data: String,
    /// Its words.
    pub(crate) transcript: String,
}

/// A completion.
#[derive(Debug, Serialize)]
pub(crate) struct Completion<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [Choice<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    service_tier: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejoinder: Option<Rejoinder<'a>>,
}

#[derive(Debug, Serialize)]
struct Choice<'a> {
    index: u32,
    message: Message<'a>,
    logprobs: Option<Logprobs<'a>>,
    finish_reason: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Option<String>,
    refusal: Option<String>,
    annotations: [(); 0],
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio: Option<Spoken<'a>>,
}

#[derive(Debug, Serialize)]
struct ToolCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Debug, Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Debug, Serialize)]
struct Spoken<'a> {
    id: String,
    data: &'a str,
    transcript: &'a str,
    /// When the reply ended: no later turn can name the audio instead of its text.
    expires_at: u64,
}

#[derive(Debug, Serialize)]
struct Logprobs<'a> {
    content: Vec<&'a Value>,
    refusal: (),
}

/// What is ours, where no SDK looks: for what the API has no word.
#[derive(Debug, Default, Serialize)]
struct Rejoinder<'a> {
    /// How far it got, where that is no finish reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure<'a>>,
    /// The parameters that are not known here.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    ignored: &'a [String],
    #[serde(flatten)]
    degraded: Option<Degradation<'a>>,
}

#[derive(Debug, Serialize)]
struct Failure<'a> {
    code: &'static str,
    message: &'a str,
}

/// What a reply had to do without.
#[derive(Debug, Serialize)]
pub(super) struct Degradation<'a> {
    degraded: [&'a Degraded; 1],
}

impl<'a> Degradation<'a> {
    pub(super) const fn of(degraded: &'a Degraded) -> Self {
        Self { degraded: [degraded] }
    }
}

impl<'a> Completion<'a> {
    /// The completion that a reply is now; with its audio, if there is any.
    pub(crate) fn of(accepted: &'a Accepted, reply: &'a Reply, audio: Option<&'a Audio>) -> Self {
        let params = &accepted.params;
        let choice = Choice {
            index: 0,
            message: Message::of(reply, audio),
            logprobs: Logprobs::of(reply),
            finish_reason: finish_reason(reply),
        };
        Self {
            id: completion_id(accepted.reply),
            object: "chat.completion",
            created: accepted.created_at,
            model: &params.model,
            choices: [choice],
            usage: reply.usage().map(Usage::of),
            service_tier: "default",
            metadata: params.store.then_some(&params.metadata),
            rejoinder: Rejoinder::of(reply, &params.ignored),
        }
    }
}

impl<'a> Message<'a> {
    fn of(reply: &'a Reply, audio: Option<&'a Audio>) -> Self {
        let (mut content, mut refusal, mut thoughts) = (None, None, None);
        let mut tool_calls = Vec::new();
        let add = |to: &mut Option<String>, text: &str| to.get_or_insert_default().push_str(text);
        for item in reply.answer() {
            match item {
                Item::Message(message) => message.content.iter().for_each(|part| match part {
                    Part::Refusal { refusal: text } => add(&mut refusal, text),
                    part => add(&mut content, part.text()),
                }),
                Item::Reasoning(item) => {
                    item.content.iter().chain(&item.summary).for_each(|part| add(&mut thoughts, part.text()));
                }
                Item::FunctionCall(call) => {
                    let function = Function { name: &call.name, arguments: &call.arguments };
                    tool_calls.push(ToolCall { id: &call.call_id, r#type: "function", function });
                }
                Item::FunctionCallOutput(_) => {}
            }
        }
        let audio = audio.map(|Audio { data, transcript }| {
            let expires_at = reply.content().ended_at.unwrap_or_default();
            Spoken { id: audio_id(reply.id()), data, transcript, expires_at }
        });
        let annotations = [];
        Self { role: "assistant", content, refusal, annotations, reasoning_content: thoughts, tool_calls, audio }
    }
}

impl<'a> Logprobs<'a> {
    fn of(reply: &'a Reply) -> Option<Self> {
        let messages = reply.answer().filter_map(|item| match item {
            Item::Message(message) => Some(&message.content),
            _ => None,
        });
        let content = messages.flatten().flat_map(|part| match part {
            Part::OutputText { logprobs, .. } => logprobs.as_slice(),
            _ => &[],
        });
        let content: Vec<_> = content.collect();
        (!content.is_empty()).then_some(Self { content, refusal: () })
    }
}

impl<'a> Rejoinder<'a> {
    fn of(reply: &'a Reply, ignored: &'a [String]) -> Option<Self> {
        let error = reply.error().map(|error| Failure { code: error.code.as_str(), message: &error.message });
        let status = finish_reason(reply).is_none().then(|| reply.status().as_str());
        let degraded = reply.content().degraded.as_deref().map(Degradation::of);
        let has_any = status.is_some() || degraded.is_some() || !ignored.is_empty();
        has_any.then_some(Self { status, error, ignored, degraded })
    }
}

/// What is told of a completion that was deleted.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the API")]
pub(crate) struct Deleted {
    id: String,
    object: &'static str,
    deleted: bool,
}

impl Deleted {
    /// Of this reply.
    pub(crate) fn of(reply: ReplyId) -> Self {
        Self { id: completion_id(reply), object: "chat.completion.deleted", deleted: true }
    }
}
