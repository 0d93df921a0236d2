//! The parameters of a reply, field by field.

use serde_json::Value;

use super::tools::given::{Tools, tools};
use super::{audio, metadata, passed, text, tools as choices};
use crate::domain::params::{Params, Truncation};
use crate::protocols::error::ApiError;
use crate::protocols::json::{At, Read, at_most, boolean, choice, decimal, entries, integer, signed_decimal, string};

/// Sets the parameter of this name. One that is not known is ignored.
pub(in crate::protocols) fn set(params: &mut Params, at: At, name: &str, value: Value) -> Read<()> {
    match name {
        "instructions" => params.instructions = Some(string(at, value)?),
        "background" => params.background = boolean(at, &value)?,
        "store" => params.store = boolean(at, &value)?,
        "metadata" => params.metadata = metadata::metadata(at, value)?,
        "temperature" => params.temperature = Some(decimal(at, &value, 0, 2)?),
        "top_p" => params.top_p = Some(decimal(at, &value, 0, 1)?),
        "presence_penalty" => params.presence_penalty = Some(signed_decimal(at, &value, 2)?),
        "frequency_penalty" => params.frequency_penalty = Some(signed_decimal(at, &value, 2)?),
        "top_logprobs" => params.top_logprobs = u8::try_from(integer(at, &value, 0, 20)?).ok(),
        "max_output_tokens" => params.max_output_tokens = Some(integer(at, &value, 1, u64::MAX)?),
        "max_tool_calls" => params.max_tool_calls = Some(integer(at, &value, 1, u64::MAX)?),
        "tools" => Tools { tools: params.tools, left_out: params.left_out } = tools(at, value)?,
        "tool_choice" => params.tool_choice = Some(choices::choice(at, value)?),
        "parallel_tool_calls" => params.parallel_tool_calls = Some(boolean(at, &value)?),
        "reasoning" => params.reasoning = Some(text::reasoning(at, value)?),
        "text" => params.text = Some(text::text(at, value)?),
        "truncation" => params.truncation = Some(choice(at, value, TRUNCATIONS)?),
        "include" => params.include = entries(at, value, string)?,
        "user" => params.user = Some(at_most(at, string(at, value)?, 512)?),
        "safety_identifier" => params.safety_identifier = Some(at_most(at, string(at, value)?, 64)?),
        "service_tier" => params.service_tier = Some(at_most(at, string(at, value)?, 64)?),
        "prompt_cache_key" => params.prompt_cache_key = Some(at_most(at, string(at, value)?, 512)?),
        "audio" => params.audio = Some(audio::audio(at, value)?),
        "prompt" => return Err(ApiError::unsupported_parameter(at, "Send the prompt itself, as 'instructions'.")),
        "context_management" => params.context_management = text::context_management(at, value)?,
        _ => passed::set(params, at, name, value)?,
    }
    Ok(())
}

const TRUNCATIONS: &[(&str, Truncation)] = &[("auto", Truncation::Auto), ("disabled", Truncation::Disabled)];
