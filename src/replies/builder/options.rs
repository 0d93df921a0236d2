//! What a reply's request asks of its events.

use serde::de::IgnoredAny;

use crate::domain::event::Usage;
use crate::domain::params::{Params, TextFormat};

/// What a builder has to know of the request and of the attempts before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Thoughts are told as a summary.
    pub(crate) summary: bool,
    /// The answer has to be JSON.
    pub(crate) json: Option<JsonForm>,
    /// Tokens that earlier attempts used.
    pub(crate) usage_before: Option<Usage>,
}

/// Which JSON an answer has to be. It is not held against a schema: that is the upstream's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonForm {
    /// An object (`json_object`).
    Object,
    /// Any value (`json_schema`).
    Value,
}

impl Options {
    /// What these parameters ask for, before the first attempt.
    pub(crate) fn of(params: &Params) -> Self {
        let json = match params.text.as_ref().and_then(|text| text.format.as_ref()) {
            Some(TextFormat::JsonObject) => Some(JsonForm::Object),
            Some(TextFormat::JsonSchema { .. }) => Some(JsonForm::Value),
            Some(TextFormat::Text) | None => None,
        };
        Self { summary: params.summarises_reasoning(), json, usage_before: None }
    }
}

impl JsonForm {
    /// Whether `text` is this, as a whole.
    pub(crate) fn matches(self, text: &str) -> bool {
        let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
        is_json && (self == Self::Value || text.trim_start().starts_with('{'))
    }
}
