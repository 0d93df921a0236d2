//! A [`Call`] as the body of a Chat Completions request, in the words of the server that it is for.
//!
//! Pure. Options are sent only if the client sent them; what a server is known not to take is left out where leaving
//! it out does no harm, and is an error where it does.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::call::{Call, Continuation};
use super::delta::UpstreamError;
use super::dialect::{Dialect, JsonSupport};
use super::failure;
use crate::domain::params::{Params, TextFormat, Tool, ToolChoice};

mod messages;

use messages::Message;

/// The server that a request is for, and what was found out about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// The dialect of its API.
    pub(crate) dialect: Dialect,
    /// How it is to continue a message; irrelevant if there is nothing to continue.
    pub(crate) way: Way,
    /// Whether it is asked for usage.
    pub(crate) asks_usage: bool,
    /// Whether the limit of output is called `max_completion_tokens`.
    pub(crate) counts_completion: bool,
}

/// How a server is brought to continue a message of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The message is the last one.
    Plain,
    /// The same, marked `prefix: true`.
    Prefix,
    /// The same, with `continue_final_message: true` and `add_generation_prompt: false`.
    Flags,
    /// It is instructed to, in words.
    Instruct,
}

/// A request, ready to be sent.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// The JSON body.
    pub(crate) body: Vec<u8>,
    /// How it continues the prefix.
    pub(crate) continuation: Continuation,
}

/// Writes the request.
///
/// # Errors
/// When the context has something that this server cannot take.
pub(crate) fn encode(call: &Call, target: Target) -> Result<Encoded, UpstreamError> {
    let Target { dialect, way, asks_usage, counts_completion } = target;
    let params = &*call.params;
    let prefix = call.prefix.as_ref();
    let text = prefix.map(|prefix| prefix.text.trim_end()).filter(|text| !text.is_empty());
    let forced = prefix.and_then(|prefix| prefix.call.as_deref());
    let continuation = match (text, forced, way) {
        (None, ..) => Continuation::Fresh,
        // Only the arguments matter; the text is there so that the model knows what it generated.
        (Some(_), Some(_), _) | (Some(_), None, Way::Instruct) => Continuation::Instruct,
        (Some(_), None, Way::Plain | Way::Prefix | Way::Flags) => Continuation::Prefill,
    };
    let prefill = continuation == Continuation::Prefill;
    let (tools, tool_choice) = tools(params, forced, dialect)?;
    let (response_format, schema) = response_format(params, dialect);
    let messages =
        messages::Messages { dialect, schema, text, continuation, calls: forced.is_some(), marked: way == Way::Prefix };
    let limit = params.max_output_tokens;
    let wants_logprobs = dialect.gives_logprobs()
        && (params.top_logprobs.is_some() || params.include.iter().any(|it| it == "message.output_text.logprobs"));
    let strict = dialect.is_strict();
    let request = Request {
        model: &params.model,
        messages: messages.of(call)?,
        stream: true,
        stream_options: asks_usage.then_some(StreamOptions { include_usage: true }),
        max_completion_tokens: limit.filter(|_| counts_completion),
        max_tokens: limit.filter(|_| !counts_completion),
        temperature: params.temperature.map(|temperature| temperature.min(dialect.max_temperature())),
        top_p: params.top_p,
        presence_penalty: params.presence_penalty,
        frequency_penalty: params.frequency_penalty,
        passed: Passed { params: &params.passed, dialect },
        logprobs: wants_logprobs.then_some(true),
        top_logprobs: params.top_logprobs.filter(|_| wants_logprobs),
        parallel_tool_calls: params.parallel_tool_calls.filter(|_| !tools.is_empty()),
        tools,
        tool_choice,
        response_format,
        reasoning_effort: reasoning_effort(params).filter(|_| dialect.takes_reasoning_effort()),
        verbosity: params.text.as_ref().and_then(|text| text.verbosity.as_deref()).filter(|_| !strict),
        user: params.user.as_deref().filter(|_| !strict),
        safety_identifier: params.safety_identifier.as_deref().filter(|_| !strict),
        service_tier: params.service_tier.as_deref().filter(|_| !strict),
        prompt_cache_key: params.prompt_cache_key.as_deref().filter(|_| !strict),
        continue_final_message: (prefill && way == Way::Flags).then_some(true),
        add_generation_prompt: (prefill && way == Way::Flags).then_some(false),
    };
    let body = serde_json::to_vec(&request).map_err(|error| failure::unsupported(error.to_string()))?;
    Ok(Encoded { body, continuation })
}

/// The request, in the order in which it is written.
#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(flatten)]
    passed: Passed<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u8>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<WireChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    safety_identifier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    continue_final_message: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    add_generation_prompt: Option<bool>,
}

/// Parameters that are passed on as they are.
struct Passed<'a> {
    params: &'a Map<String, Value>,
    dialect: Dialect,
}

impl Serialize for Passed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.params.iter().map(|(name, value)| (self.dialect.name_of(name), value)))
    }
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", content = "function", rename_all = "snake_case")]
enum WireTool<'a> {
    Function(&'a Tool),
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireChoice<'a> {
    Mode(&'static str),
    One {
        #[serde(rename = "type")]
        kind: &'static str,
        function: Named<'a>,
    },
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ResponseFormat<'a> {
    JsonObject,
    JsonSchema { json_schema: JsonSchema<'a> },
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    schema: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// A JSON schema, or the bare wish for JSON, that goes into the system message.
enum JsonInWords<'a> {
    Nothing,
    Object,
    Schema(&'a Value),
}

/// The tools that may be called, and the choice among them.
fn tools<'a>(
    params: &'a Params,
    forced: Option<&'a str>,
    dialect: Dialect,
) -> Result<(Vec<WireTool<'a>>, Option<WireChoice<'a>>), UpstreamError> {
    let function = |name| WireChoice::One { kind: "function", function: Named { name } };
    let mode = |word| (None, Some(WireChoice::Mode(word)));
    let (names, choice): (Option<Vec<&str>>, _) = match (forced, &params.tool_choice) {
        (Some(name), _) => (None, Some(function(name))),
        (None, None) => (None, None),
        (None, Some(ToolChoice::Auto)) => mode("auto"),
        (None, Some(ToolChoice::None)) => mode("none"),
        (None, Some(ToolChoice::Required)) => mode("required"),
        (None, Some(ToolChoice::Function(name))) => (None, Some(function(name))),
        (None, Some(ToolChoice::Allowed { required, names })) => {
            let mode = WireChoice::Mode(if *required { "required" } else { "auto" });
            (Some(names.iter().map(String::as_str).collect()), Some(mode))
        }
    };
    let mut tools: Vec<&Tool> = params.tools.iter().collect();
    if let Some(names) = names {
        tools.retain(|tool| names.contains(&tool.name.as_str()));
    }
    let choice = match choice {
        Some(WireChoice::One { function, .. }) if !tools.iter().any(|tool| tool.name == function.name) => {
            return Err(failure::unsupported(format!("there is no tool named {:?} to be called", function.name)));
        }
        choice if dialect.takes_tool_choice() => choice,
        // What can be done without the field: to offer only what may be called.
        choice => {
            match choice {
                Some(WireChoice::Mode("none")) => tools.clear(),
                Some(WireChoice::One { function, .. }) => tools.retain(|tool| tool.name == function.name),
                _ => {}
            }
            None
        }
    };
    let choice = choice.filter(|_| !tools.is_empty());
    Ok((tools.into_iter().map(WireTool::Function).collect(), choice))
}

fn response_format(params: &Params, dialect: Dialect) -> (Option<ResponseFormat<'_>>, JsonInWords<'_>) {
    let support = dialect.json();
    let object = (support != JsonSupport::None).then_some(ResponseFormat::JsonObject);
    match params.text.as_ref().and_then(|text| text.format.as_ref()) {
        None | Some(TextFormat::Text) => (None, JsonInWords::Nothing),
        // DeepSeek refuses `json_object` unless the prompt mentions JSON.
        Some(TextFormat::JsonObject) if support != JsonSupport::Schema => (object, JsonInWords::Object),
        Some(TextFormat::JsonObject) => (object, JsonInWords::Nothing),
        Some(TextFormat::JsonSchema { schema, .. }) if support != JsonSupport::Schema => {
            (object, JsonInWords::Schema(schema))
        }
        Some(TextFormat::JsonSchema { name, description, schema, strict }) => {
            let json_schema = JsonSchema { name, description: description.as_deref(), schema, strict: *strict };
            (Some(ResponseFormat::JsonSchema { json_schema }), JsonInWords::Nothing)
        }
    }
}

fn reasoning_effort(params: &Params) -> Option<&str> {
    params.reasoning.as_ref().and_then(|reasoning| reasoning.effort.as_deref())
}

#[cfg(test)]
mod tests;
