//! About how many tokens an input takes. Tokenizers are the models' own, and most servers do not give them; so it is an
//! estimate, and says so.

use serde::Serialize;
use serde_json::Value;

use crate::domain::items::{Item, Part};
use crate::domain::params::{Params, TextFormat};

/// Bytes of text to a token, on average.
const BYTES: usize = 4;

/// Tokens of an image.
const IMAGE: usize = 1024;

/// Tokens that set off one item from the next.
const FRAME: usize = 4;

/// What `POST /v1/responses/input_tokens` gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct InputTokens {
    object: &'static str,
    #[serde(rename = "input_tokens")]
    tokens: usize,
    rejoinder: Estimated,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Estimated {
    estimated: bool,
}

impl InputTokens {
    /// For a reply with these parameters that is generated from this context.
    pub(crate) fn estimate(params: &Params, context: &[Item]) -> Self {
        let texts = params.instructions.iter().map(|text| FRAME + bytes(text));
        let tools = params.tools.iter().map(|tool| FRAME + serde_json::to_string(tool).map_or(0, |json| bytes(&json)));
        let schema = match params.text.as_ref().and_then(|text| text.format.as_ref()) {
            Some(TextFormat::JsonSchema { schema, .. }) => bytes(&schema.to_string()),
            Some(TextFormat::Text | TextFormat::JsonObject) | None => 0,
        };
        let tokens = texts.chain(tools).chain(context.iter().map(item)).sum::<usize>() + schema;
        Self { object: "response.input_tokens", tokens, rejoinder: Estimated { estimated: true } }
    }
}

fn item(item: &Item) -> usize {
    let content = match item {
        Item::Message(message) => message.content.iter().map(part).sum(),
        Item::Reasoning(reasoning) if reasoning.content.is_empty() => reasoning.summary.iter().map(part).sum(),
        Item::Reasoning(reasoning) => reasoning.content.iter().map(part).sum(),
        Item::FunctionCall(call) => bytes(&call.name) + bytes(&call.arguments),
        Item::FunctionCallOutput(output) => match &output.output {
            Value::String(text) => bytes(text),
            Value::Array(parts) => parts.iter().map(output_part).sum(),
            other => bytes(&other.to_string()),
        },
    };
    FRAME + content
}

fn part(part: &Part) -> usize {
    match part {
        Part::InputImage { .. } => IMAGE,
        text => bytes(text.text()),
    }
}

fn output_part(part: &Value) -> usize {
    match part.get("text").and_then(Value::as_str) {
        Some(text) => bytes(text),
        None if part.get("image_url").is_some() => IMAGE,
        None => bytes(&part.to_string()),
    }
}

const fn bytes(text: &str) -> usize {
    text.len().div_ceil(BYTES)
}
