//! What a reply's request asks of its events.

use serde::de::IgnoredAny;

use crate::domain::event::Usage;
use crate::domain::params::{Params, TextFormat};

/// What a builder has to know of the request and of the attempts before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Thoughts are shown as a summary.
    pub(crate) summary: bool,
    /// The answer has to be JSON.
    pub(crate) json: Option<JsonForm>,
    /// The output is the summary that the reply begins with.
    pub(crate) compacting: bool,
    /// Tokens that this summary took.
    pub(crate) usage_of_summary: Option<Usage>,
    /// Tokens that earlier attempts used, as far as their upstreams reported them.
    pub(crate) usage_before: Option<Usage>,
    /// Tokens that earlier attempts generated, as far as the reply's events show.
    pub(crate) generated: Generated,
}

/// Tokens that were generated of a reply: those that can be counted, which is not all where several came as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Generated {
    /// All.
    pub(crate) all: u64,
    /// Of its messages: what an upstream that continues is given to read.
    pub(crate) text: u64,
    /// Of the summary that it begins with; not among the others, once it is made.
    pub(crate) summary: u64,
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
        Self { summary: params.summarises_reasoning(), json, ..Self::default() }
    }
}

impl Options {
    /// Tokens of the output before this attempt: as the upstream counted them, or as they were seen.
    pub(crate) fn output_before(&self) -> u64 {
        self.usage_before.map_or(0, |usage| usage.output).max(self.generated.all)
    }

    /// The usage of the whole reply, after an attempt that continued it and used this. It was given to read what was
    /// generated before: that is output, and no input.
    pub(super) fn usage_with(&self, now: Usage) -> Usage {
        let (input, reported) = match self.usage_before {
            // Only the prompt was reported: what it has grown by since was generated.
            Some(before) if before.output == 0 => (before.input, now.input.saturating_sub(before.input)),
            Some(before) => (before.input, before.output),
            None => (now.input.saturating_sub(self.generated.text), 0),
        };
        let before = self.usage_before.unwrap_or(Usage { cached: now.cached, ..Usage::default() });
        let output = reported.max(self.generated.all) + now.output;
        let reasoning = before.reasoning + now.reasoning;
        Usage { input, cached: before.cached.min(input), output, reasoning, total: input + output }
    }
}

impl JsonForm {
    /// Whether `text` is this, as a whole.
    pub(crate) fn matches(self, text: &str) -> bool {
        let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
        is_json && (self == Self::Value || text.trim_start().starts_with('{'))
    }
}
