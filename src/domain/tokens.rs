//! About how many tokens an input takes. Tokenizers are the models' own, and most servers do not give them; so it is an
//! estimate.

use serde_json::Value;

use super::items::{InputItem, Item, Part};
use super::params::{Params, TextFormat};

/// Bytes of text to a token, on average.
const BYTES: usize = 4;

/// Tokens of an image.
const IMAGE: usize = 1024;

/// Tokens that set off one item from the next.
const FRAME: usize = 4;

/// Of parameters: instructions, tools, the schema of the answer.
pub fn of_params(params: &Params) -> u64 {
    let texts = params.instructions.iter().map(|text| FRAME + bytes(text));
    let tools = params.tools.iter().map(|tool| FRAME + serde_json::to_string(tool).map_or(0, |json| bytes(&json)));
    let schema = match params.text.as_ref().and_then(|text| text.format.as_ref()) {
        Some(TextFormat::JsonSchema { schema, .. }) => bytes(&schema.to_string()),
        Some(TextFormat::Text | TextFormat::JsonObject) | None => 0,
    };
    count(texts.chain(tools).sum::<usize>() + schema)
}

/// Of items.
pub fn of_items<'a>(items: impl IntoIterator<Item = &'a Item>) -> u64 {
    count(items.into_iter().map(item).sum())
}

/// Of a request's own items; what it refers to is not known here.
pub fn of_input(input: &[InputItem]) -> u64 {
    of_items(input.iter().filter_map(|item| match item {
        InputItem::Item(item, _) => Some(item),
        InputItem::Reference { .. } => None,
    }))
}

/// Of a text by itself.
pub fn of_text(text: &str) -> u64 {
    count(bytes(text))
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

fn count(tokens: usize) -> u64 {
    u64::try_from(tokens).unwrap_or(u64::MAX)
}
