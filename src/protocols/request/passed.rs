//! Parameters that the Responses API does not have, and its clients send all the same: those that model servers know are
//! passed on, and those that have another name here are refused with it. Of what nobody knows the response says that it
//! was ignored. None is swallowed.

use serde_json::Value;

use crate::domain::params::Params;
use crate::protocols::error::ApiError;
use crate::protocols::json::{At, Read, boolean, entries, object, short_string, wrong_type};

/// The longest text at which a model is to stop.
const LONGEST_STOP: usize = 1024;

/// The most names of ignored parameters that are kept, and the longest one.
const MOST_IGNORED: usize = 16;
const LONGEST_IGNORED: usize = 64;

/// Sets the parameter of this name. One that is not known (SDKs send new ones) is ignored, and its name kept.
pub(in crate::protocols) fn set(params: &mut Params, at: At, name: &str, value: Value) -> Read<()> {
    if let Some((_, instead)) = ELSEWHERE.iter().find(|(moved, _)| *moved == name) {
        return Err(ApiError::unsupported_parameter(at, instead));
    }
    pass_on(params, at, name, value)
}

/// Passes the parameter of this name on, if model servers know it.
pub(in crate::protocols) fn pass_on(params: &mut Params, at: At, name: &str, value: Value) -> Read<()> {
    let value = match name {
        "seed" | "random_seed" | "top_k" | "min_tokens" | "mirostat" | "mirostat_mode" | "dry_allowed_length"
        | "repeat_last_n" | "thinking_budget" => whole_number(at, value)?,
        "min_p" | "top_a" | "tfs" | "tfs_z" | "typical_p" | "top_n_sigma" | "repetition_penalty" | "repeat_penalty"
        | "length_penalty" | "mirostat_tau" | "mirostat_eta" | "xtc_probability" | "xtc_threshold"
        | "dry_multiplier" | "dry_base" | "dynatemp_range" | "dynatemp_exponent" => number(at, value)?,
        "stop" => stop(at, value)?,
        "stop_token_ids" => entries(at, value, whole_number)?.into(),
        "logit_bias" | "chat_template_kwargs" | "thinking" => object(at, value)?.into(),
        "ignore_eos" | "enable_thinking" | "cache_prompt" | "safe_prompt" => boolean(at, &value)?.into(),
        "n" | "best_of" if value != 1 => {
            return Err(ApiError::unsupported_parameter(at, "One reply is generated for a request."));
        }
        "logprobs" if value != false => {
            let instead = "Use 'top_logprobs', and 'message.output_text.logprobs' in 'include'.";
            return Err(ApiError::unsupported_parameter(at, instead));
        }
        _ => {
            ignore(params, name);
            return Ok(());
        }
    };
    params.passed.insert(name.to_owned(), value);
    Ok(())
}

/// Keeps the name of a parameter that is ignored, unless nothing is missed without it.
fn ignore(params: &mut Params, name: &str) {
    let is_said = !HARMLESS.contains(&name) && name.len() <= LONGEST_IGNORED && params.ignored.len() < MOST_IGNORED;
    if is_said {
        params.ignored.push(name.to_owned());
    }
}

/// What is understood without anything to do: what holds anyway (`n: 1`), says something about the stream, is read elsewhere,
/// or is a provider's own bookkeeping.
const HARMLESS: &[&str] = &[
    "n",
    "best_of",
    "logprobs",
    "stream_options",
    "prompt_cache_retention",
    "prompt_cache_options",
    "client_metadata",
];

/// Names that other APIs have, and what to say about them.
const ELSEWHERE: &[(&str, &str)] = &[
    ("max_tokens", "Use 'max_output_tokens' instead."),
    ("max_completion_tokens", "Use 'max_output_tokens' instead."),
    ("max_new_tokens", "Use 'max_output_tokens' instead."),
    ("num_predict", "Use 'max_output_tokens' instead."),
    ("response_format", "In the Responses API it has moved to 'text.format'."),
    ("json_schema", "Use 'text.format' instead."),
    ("guided_json", "Use 'text.format' instead."),
    ("guided_regex", "Use 'text.format' with a JSON schema instead."),
    ("guided_choice", "Use 'text.format' with a JSON schema instead."),
    ("guided_grammar", "Use 'text.format' with a JSON schema instead."),
    ("structured_outputs", "Use 'text.format' instead."),
    ("grammar", "Use 'text.format' with a JSON schema instead."),
    ("messages", "In the Responses API it has moved to 'input'."),
    ("system", "Use 'instructions' instead."),
    ("system_prompt", "Use 'instructions' instead."),
    ("functions", "In the Responses API it has moved to 'tools'."),
    ("function_call", "In the Responses API it has moved to 'tool_choice'."),
    ("reasoning_effort", "In the Responses API it has moved to 'reasoning.effort'."),
    ("verbosity", "In the Responses API it has moved to 'text.verbosity'."),
    ("prediction", "It is of Chat Completions only."),
    ("web_search_options", "Hosted tools are not run here."),
    ("suffix", "It is of Completions only."),
];

/// A text, or texts, at which a model is to stop; as it was sent.
fn stop(at: At, value: Value) -> Read<Value> {
    match value {
        Value::String(_) => Ok(short_string(at, value, LONGEST_STOP)?.into()),
        Value::Array(_) => Ok(entries(at, value, |at, value| short_string(at, value, LONGEST_STOP))?.into()),
        other => Err(wrong_type(at, "one of a string or an array of strings", &other)),
    }
}

fn whole_number(at: At, value: Value) -> Read<Value> {
    if value.is_i64() || value.is_u64() { Ok(value) } else { Err(wrong_type(at, "an integer", &value)) }
}

fn number(at: At, value: Value) -> Read<Value> {
    if value.is_number() { Ok(value) } else { Err(wrong_type(at, "a number", &value)) }
}
