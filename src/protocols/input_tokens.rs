//! What counts the tokens of an input.

use serde::Serialize;

use crate::domain::items::Item;
use crate::domain::params::Params;
use crate::domain::tokens;

/// What `POST /v1/responses/input_tokens` gives: an estimate, which says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct InputTokens {
    object: &'static str,
    #[serde(rename = "input_tokens")]
    tokens: u64,
    rejoinder: Estimated,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Estimated {
    estimated: bool,
}

impl InputTokens {
    /// For a reply with these parameters that is generated from this context.
    pub(crate) fn estimate(params: &Params, context: &[Item]) -> Self {
        let tokens = tokens::of_params(params) + tokens::of_items(context);
        Self { object: "response.input_tokens", tokens, rejoinder: Estimated { estimated: true } }
    }
}
