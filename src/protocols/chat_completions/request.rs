//! What clients ask for: a completion, or one that is stored. `null` is the same as not sent.

use serde_json::Value;

use super::error::renamed;
use super::messages::{Messages, messages};
use super::tools;
use crate::domain::items::InputItem;
use crate::domain::params::{Params, ReasoningParams, TextParams};
use crate::protocols::error::ApiError;
use crate::protocols::json::{self, At, Read, at_most, boolean, entries, integer, object, short_string, string, word};
use crate::protocols::query;
use crate::protocols::request::audio::{self, Modalities};
use crate::protocols::request::{params, passed, text, tools as choices};

/// `POST /v1/chat/completions`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CreateChatCompletion {
    /// The messages as items.
    pub(crate) input: Vec<InputItem>,
    /// For each item the place of its message.
    pub(crate) places: Vec<usize>,
    /// The model as the client named it.
    pub(crate) model: Option<String>,
    /// Everything else; whether it is stored is told by `store`.
    pub(crate) params: Params,
    /// Whether it wants chunks.
    pub(crate) stream: bool,
    /// Whether the last chunk is to tell the usage.
    pub(crate) include_usage: bool,
    /// Whether the client wants it stored, if it said so.
    pub(crate) store: Option<bool>,
}

/// `GET /v1/chat/completions/{id}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RetrieveQuery {
    /// Its chunks rather than the whole.
    pub(crate) stream: bool,
    /// The number of the last event of which the client has a chunk.
    pub(crate) starting_after: Option<u64>,
    /// Whether the last chunk is to tell the usage.
    pub(crate) include_usage: bool,
}

/// What no field can tell by itself.
#[derive(Default)]
struct Together {
    logprobs: bool,
    limit: Option<&'static str>,
    modalities: Modalities,
    stream_options: bool,
}

impl CreateChatCompletion {
    /// Reads a request's body.
    ///
    /// # Errors
    /// What is wrong with it, with the path of the field that is to blame.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let (input, places, model) = (Vec::new(), Vec::new(), None);
        let (stream, include_usage, store) = (false, false, None);
        let mut request = Self { input, places, model, params: Params::default(), stream, include_usage, store };
        let mut together = Together::default();
        for (name, value) in json::object(At::Body, json::parse(body)?)? {
            if !value.is_null() {
                request.set(&mut together, At::Body.field(&name), &name, value)?;
            }
        }
        request.check(&together)?;
        audio::agree(together.modalities, &mut request.params).map_err(|error| renamed(error, &[]))?;
        choices::check_choice(&request.params)?;
        Ok(request)
    }

    fn set(&mut self, together: &mut Together, at: At, name: &str, value: Value) -> Read<()> {
        match name {
            "messages" => Messages { items: self.input, places: self.places } = messages(at, value)?,
            "model" => self.model = Some(short_string(at, value, 256)?),
            "stream" => self.stream = boolean(at, &value)?,
            "store" => self.store = Some(boolean(at, &value)?),
            "stream_options" => {
                together.stream_options = true;
                self.include_usage = include_usage(at, value)?;
            }
            "max_tokens" => self.limit(together, at, "max_tokens", &value)?,
            "max_completion_tokens" => self.limit(together, at, "max_completion_tokens", &value)?,
            "logprobs" => together.logprobs = boolean(at, &value)?,
            "modalities" => together.modalities = audio::modalities(at, value)?,
            _ => self.set_param(at, name, value)?,
        }
        Ok(())
    }

    fn set_param(&mut self, at: At, name: &str, value: Value) -> Read<()> {
        let params = &mut self.params;
        match name {
            "tools" => params.tools = entries(at, value, tools::tool)?,
            "tool_choice" => params.tool_choice = Some(tools::tool_choice(at, value)?),
            "response_format" => self.text().format = Some(tools::response_format(at, value)?),
            "verbosity" => self.text().verbosity = Some(word(at, value, &["low", "medium", "high"])?),
            "reasoning_effort" => {
                params.reasoning.get_or_insert_default().effort = Some(at_most(at, string(at, value)?, 64)?);
            }
            // As other servers have it, with the summary that this API has no word for.
            "reasoning" => {
                let ReasoningParams { effort, summary } = text::reasoning(at, value)?;
                let reasoning = params.reasoning.get_or_insert_default();
                (reasoning.effort, reasoning.summary) = (reasoning.effort.take().or(effort), summary);
            }
            "metadata"
            | "temperature"
            | "top_p"
            | "presence_penalty"
            | "frequency_penalty"
            | "top_logprobs"
            | "parallel_tool_calls"
            | "user"
            | "safety_identifier"
            | "service_tier"
            | "prompt_cache_key"
            | "audio" => {
                params::set(params, at, name, value)?;
            }
            _ => match ELSEWHERE.iter().find(|(other, _)| *other == name) {
                Some((_, instead)) => return Err(ApiError::unsupported_parameter(at, instead)),
                None => passed::pass_on(params, at, name, value)?,
            },
        }
        Ok(())
    }

    fn text(&mut self) -> &mut TextParams {
        self.params.text.get_or_insert_default()
    }

    /// The most tokens, by the older name or the newer.
    fn limit(&mut self, together: &mut Together, at: At, name: &'static str, value: &Value) -> Read<()> {
        let tokens = integer(at, value, 1, u64::MAX)?;
        if together.limit.replace(name).is_some() {
            return Err(ApiError::mutually_exclusive("max_completion_tokens", "max_tokens"));
        }
        self.params.max_output_tokens = Some(tokens);
        Ok(())
    }

    fn check(&mut self, together: &Together) -> Read<()> {
        if self.input.is_empty() {
            return Err(ApiError::missing_parameter("messages"));
        }
        if self.model.is_none() {
            return Err(ApiError::missing_parameter("model"));
        }
        if self.params.top_logprobs.is_some() && !together.logprobs {
            return Err(ApiError::invalid("top_logprobs", "it is only for requests with 'logprobs' set to true."));
        }
        if together.stream_options && !self.stream {
            return Err(ApiError::invalid("stream_options", "it is only for requests with 'stream' set to true."));
        }
        if together.logprobs {
            self.params.include.push("message.output_text.logprobs".to_owned());
        }
        Ok(())
    }
}

impl RetrieveQuery {
    /// Reads the query of a completion. What it does not know it ignores.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        let query::RetrieveQuery { stream, starting_after, .. } = query::RetrieveQuery::parse(text)?;
        Ok(Self { stream, starting_after, include_usage: query::flag(text, "include_usage")? })
    }
}

fn include_usage(at: At, value: Value) -> Read<bool> {
    let mut fields = object(at, value)?;
    let usage = fields.remove("include_usage").filter(|value| !value.is_null());
    usage.map_or(Ok(false), |value| boolean(at.field("include_usage"), &value))
}

/// What this door does not have, by its name, and what to say about it.
const ELSEWHERE: &[(&str, &str)] = &[
    ("functions", "Use 'tools' instead."),
    ("function_call", "Use 'tool_choice' instead."),
    ("prediction", "No model server behind this one is asked for predictions."),
    ("web_search_options", "Hosted tools are not run here."),
    ("moderation", "Nothing is moderated here."),
    ("input", "In Chat Completions it is 'messages'."),
    ("prompt", "In Chat Completions it is 'messages'."),
    ("instructions", "In Chat Completions it is a message with the role 'system'."),
    ("system", "Send a message with the role 'system' instead."),
    ("text", "In Chat Completions it is 'response_format' and 'verbosity'."),
    ("max_output_tokens", "Use 'max_completion_tokens' instead."),
    ("max_new_tokens", "Use 'max_completion_tokens' instead."),
    ("num_predict", "Use 'max_completion_tokens' instead."),
    ("previous_response_id", "Send the messages themselves, or use POST /v1/responses."),
    ("conversation", "Send the messages themselves, or use POST /v1/responses."),
    ("background", "Use 'store', and come back for it; or POST /v1/responses."),
    ("truncation", "Use POST /v1/responses."),
    ("context_management", "Use POST /v1/responses."),
    ("include", "Use 'logprobs' instead."),
    ("json_schema", "Use 'response_format' instead."),
    ("guided_json", "Use 'response_format' instead."),
    ("guided_regex", "Use 'response_format' with a JSON schema instead."),
    ("guided_choice", "Use 'response_format' with a JSON schema instead."),
    ("guided_grammar", "Use 'response_format' with a JSON schema instead."),
    ("structured_outputs", "Use 'response_format' instead."),
    ("grammar", "Use 'response_format' with a JSON schema instead."),
    ("suffix", "It is of Completions only."),
];
