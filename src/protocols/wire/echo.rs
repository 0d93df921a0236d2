//! What a response object says back of its request, with the API's defaults for what was not sent.

use serde::Serialize;
use serde_json::Value;

use super::envelope::Facts;
use super::json;
use crate::domain::event::Degraded;
use crate::domain::params::{Metadata, Params, TextFormat, Tool, ToolChoice, Truncation};

/// The fields of a response object that stay the same, from `"background":` to the closing brace.
pub(super) fn tail(facts: &Facts<'_>, id: &str) -> Vec<u8> {
    // Without instructions and tools it takes about 800 bytes.
    let mut out = Vec::with_capacity(1024);
    json(&mut out, &Echo::new(facts, id));
    out.remove(0);
    out
}

#[derive(Serialize)]
struct Echo<'a> {
    background: bool,
    conversation: Option<Conversation>,
    frequency_penalty: f64,
    instructions: Option<&'a str>,
    max_output_tokens: Option<u64>,
    max_tool_calls: Option<u64>,
    model: &'a str,
    parallel_tool_calls: bool,
    presence_penalty: f64,
    previous_response_id: Option<String>,
    prompt_cache_key: Option<&'a str>,
    reasoning: Reasoning<'a>,
    safety_identifier: Option<&'a str>,
    service_tier: &'static str,
    store: bool,
    temperature: f64,
    text: Text<'a>,
    tool_choice: Choice<'a>,
    tools: Vec<Given<'a>>,
    top_logprobs: u8,
    top_p: f64,
    truncation: Truncation,
    user: Option<&'a str>,
    metadata: &'a Metadata,
    access_programs: (),
    #[serde(skip_serializing_if = "Option::is_none")]
    rejoinder: Option<Rejoinder<'a>>,
}

#[derive(Serialize)]
struct Conversation {
    id: String,
}

#[derive(Serialize)]
struct Reasoning<'a> {
    effort: Option<&'a str>,
    summary: Option<&'a str>,
}

#[derive(Serialize)]
struct Text<'a> {
    format: &'a TextFormat,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a str>,
}

/// What is ours, where no SDK looks.
#[derive(Serialize)]
struct Rejoinder<'a> {
    /// The types of tools that are not run here.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    left_out: &'a [String],
    /// The parameters that are not known here.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    ignored: &'a [String],
    /// Where a browser's `EventSource` rejoins the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<String>,
    /// Where it is heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    audio: Option<String>,
}

/// What a reply had to do without.
#[derive(Serialize)]
pub(super) struct Degradation<'a> {
    degraded: [&'a Degraded; 1],
}

impl<'a> Degradation<'a> {
    pub(super) const fn of(degraded: &'a Degraded) -> Self {
        Self { degraded: [degraded] }
    }
}

/// As [`tail`], of a reply that had to do without something.
pub(super) fn degraded_tail(tail: &[u8], degraded: &Degraded) -> Vec<u8> {
    let mut out = Vec::with_capacity(tail.len() + 128);
    // What is ours comes last, if there is any.
    match tail.strip_suffix(b"}}") {
        Some(tail) => out.extend_from_slice(&[tail, b","].concat()),
        None => out.extend_from_slice(&[tail.strip_suffix(b"}").unwrap_or(tail), b",\"rejoinder\":{"].concat()),
    }
    let mut what = Vec::new();
    json(&mut what, &Degradation::of(degraded));
    out.extend_from_slice(&what[1..]);
    out.push(b'}');
    out
}

/// An entry of `tools`: a function, or what it was given as.
#[derive(Serialize)]
#[serde(untagged)]
enum Given<'a> {
    Function(Function<'a>),
    Other(&'a Value),
}

impl<'a> Given<'a> {
    /// `None`: another tells it.
    fn new(tool: &'a Tool) -> Option<Self> {
        match &tool.given {
            None => Some(Self::Function(Function::new(tool))),
            Some(given) => given.value.as_ref().map(Self::Other),
        }
    }
}

/// A function.
#[derive(Serialize)]
struct Function<'a> {
    r#type: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    parameters: Option<&'a Value>,
    strict: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Choice<'a> {
    Word(&'static str),
    Function(Named<'a>),
    Allowed { r#type: &'static str, mode: &'static str, tools: Vec<Named<'a>> },
}

#[derive(Serialize)]
struct Named<'a> {
    r#type: &'static str,
    name: &'a str,
}

impl<'a> Echo<'a> {
    fn new(facts: &Facts<'a>, id: &str) -> Self {
        let params: &'a Params = facts.params;
        let reasoning = params.reasoning.as_ref();
        let stored = |rest: &str| params.store.then(|| format!("/v1/responses/{id}/{rest}"));
        let ours = Rejoinder {
            left_out: &params.left_out,
            ignored: &params.ignored,
            events: stored("events"),
            audio: stored("audio").filter(|_| params.audio.is_some()),
        };
        let has_ours = params.store || !params.left_out.is_empty() || !params.ignored.is_empty();
        Self {
            background: params.background,
            conversation: facts.conversation.map(|thread| Conversation { id: thread.conversation() }),
            frequency_penalty: params.frequency_penalty.unwrap_or(0.0),
            instructions: params.instructions.as_deref(),
            max_output_tokens: params.max_output_tokens,
            max_tool_calls: params.max_tool_calls,
            model: &params.model,
            parallel_tool_calls: params.parallel_tool_calls.unwrap_or(true),
            presence_penalty: params.presence_penalty.unwrap_or(0.0),
            previous_response_id: facts.previous.map(|id| id.to_string()),
            prompt_cache_key: params.prompt_cache_key.as_deref(),
            reasoning: Reasoning {
                effort: reasoning.and_then(|reasoning| reasoning.effort.as_deref()),
                summary: reasoning.and_then(|reasoning| reasoning.summary.as_deref()),
            },
            safety_identifier: params.safety_identifier.as_deref(),
            service_tier: "default",
            store: params.store,
            temperature: params.temperature.unwrap_or(1.0),
            text: text(params),
            tool_choice: params.tool_choice.as_ref().map_or(Choice::Word("auto"), Choice::new),
            tools: params.tools.iter().filter_map(Given::new).collect(),
            top_logprobs: params.top_logprobs.unwrap_or(0),
            top_p: params.top_p.unwrap_or(1.0),
            truncation: params.truncation.unwrap_or(Truncation::Disabled),
            user: params.user.as_deref(),
            metadata: &params.metadata,
            access_programs: (),
            rejoinder: has_ours.then_some(ours),
        }
    }
}

fn text(params: &Params) -> Text<'_> {
    let text = params.text.as_ref();
    Text {
        format: text.and_then(|text| text.format.as_ref()).unwrap_or(&TextFormat::Text),
        verbosity: text.and_then(|text| text.verbosity.as_deref()),
    }
}

impl<'a> Function<'a> {
    fn new(tool: &'a Tool) -> Self {
        let Tool { name, description, parameters, strict, .. } = tool;
        let (description, parameters) = (description.as_deref(), parameters.as_ref());
        Self { r#type: "function", name, description, parameters, strict: *strict }
    }
}

impl<'a> Choice<'a> {
    fn new(choice: &'a ToolChoice) -> Self {
        match choice {
            ToolChoice::Auto => Self::Word("auto"),
            ToolChoice::None => Self::Word("none"),
            ToolChoice::Required => Self::Word("required"),
            ToolChoice::Function(name) => Self::Function(Named::new(name)),
            ToolChoice::Allowed { required, names } => Self::Allowed {
                r#type: "allowed_tools",
                mode: if *required { "required" } else { "auto" },
                tools: names.iter().map(|name| Named::new(name)).collect(),
            },
        }
    }
}

impl<'a> Named<'a> {
    const fn new(name: &'a str) -> Self {
        Self { r#type: "function", name }
    }
}
