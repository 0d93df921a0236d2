//! Token probabilities: Chat Completions' form into that of the Responses API, where `bytes` is never null.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Wire {
    content: Option<Vec<Probable>>,
}

#[derive(Serialize, Deserialize)]
struct Probable {
    token: String,
    #[serde(default, deserialize_with = "or_default")]
    bytes: Vec<u8>,
    logprob: f64,
    #[serde(default, deserialize_with = "or_default")]
    top_logprobs: Vec<Alternative>,
}

#[derive(Serialize, Deserialize)]
struct Alternative {
    token: String,
    #[serde(default, deserialize_with = "or_default")]
    bytes: Vec<u8>,
    logprob: f64,
}

fn or_default<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// The token probabilities of a choice; none if they are not in the form of Chat Completions.
pub(super) fn of(raw: &RawValue) -> Vec<Value> {
    let wire: Option<Wire> = serde_json::from_str(raw.get()).ok();
    let tokens = wire.and_then(|wire| wire.content).unwrap_or_default();
    tokens.into_iter().filter_map(|token| serde_json::to_value(token).ok()).collect()
}
