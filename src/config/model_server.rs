//! A model server, as it is configured.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::Server;
use super::values::Expected;

/// A model server.
#[derive(Debug, Clone)]
pub(crate) struct ModelServer {
    /// What it has in common with other services.
    pub(crate) server: Server,
    /// The model when a request names none. `None`: the first of `models`, else the first that it lists.
    pub(crate) model: Option<String>,
    /// The models that it is asked for. Empty: those that it lists.
    pub(crate) models: Vec<String>,
    /// What it calls a model, by the name that clients use; `*` stands for every other name.
    pub(crate) rename: BTreeMap<String, String>,
    /// How it is asked to go on with a reply that was broken off.
    pub(crate) continuation: ContinuationPolicy,
    /// How long to wait for headers and first content together.
    pub(crate) first: Duration,
    /// The same where another server can be asked instead. `None`: as long as is usual then.
    pub(crate) first_with_fallback: Option<Duration>,
    /// How long to wait between two chunks.
    pub(crate) idle: Duration,
    /// How it speaks. `None`: as its address tells.
    pub(crate) dialect: Option<Dialect>,
    /// How its models mark their thoughts.
    pub(crate) thinks: Thinks,
    /// How long calls are gathered that go to it as one. `None`: each goes by itself.
    pub(crate) batch_window: Option<Duration>,
    /// The most calls that do.
    pub(crate) batch_max: usize,
}

/// The kind of server behind an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Dialect {
    /// `api.openai.com`.
    OpenAi,
    /// `OpenAI` models at Azure.
    Azure,
    /// Ollama.
    Ollama,
    /// Anthropic's compatible endpoint.
    Anthropic,
    /// `OpenRouter`.
    OpenRouter,
    /// `DeepSeek`.
    DeepSeek,
    /// Google's compatible endpoint.
    Gemini,
    /// Mistral.
    Mistral,
    /// vLLM, and `SGLang`, which takes the same fields. Told by its list of models, not by its address.
    Vllm,
    /// llama.cpp's own server. Told by its list of models.
    LlamaCpp,
    /// Any other: LM Studio, a gateway.
    #[default]
    Generic,
}

/// How a server's models mark their thoughts, where the server leaves them in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thinks {
    /// Between tags.
    InTags,
    /// Text is thought until a tag closes it: the template of the prompt opens the thought.
    FromTheStart,
}

/// How interrupted replies are continued (`LLM_CONTINUATION`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ContinuationPolicy {
    /// By a final assistant message; in words where the server is known not to take one, or says so.
    #[default]
    Auto,
    /// By a final assistant message, with the fields that vLLM asks for.
    Prefill,
    /// In words.
    Instruct,
    /// Not at all.
    Off,
}

const NAMES: &[(&str, Dialect)] = &[
    ("openai", Dialect::OpenAi),
    ("azure", Dialect::Azure),
    ("ollama", Dialect::Ollama),
    ("anthropic", Dialect::Anthropic),
    ("openrouter", Dialect::OpenRouter),
    ("deepseek", Dialect::DeepSeek),
    ("gemini", Dialect::Gemini),
    ("mistral", Dialect::Mistral),
    ("vllm", Dialect::Vllm),
    ("llamacpp", Dialect::LlamaCpp),
    ("generic", Dialect::Generic),
];

impl Dialect {
    /// `auto` is none.
    pub(super) fn read(text: &str) -> Result<Option<Self>, Expected> {
        if text == "auto" {
            return Ok(None);
        }
        let names = || NAMES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let found = NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, dialect)| Some(*dialect)).ok_or_else(|| Expected(format!("auto, {}", names())))
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = NAMES.iter().find(|(_, dialect)| dialect == self);
        f.write_str(found.map_or("generic", |(name, _)| name))
    }
}

impl Thinks {
    pub(super) fn read(text: &str) -> Result<Self, Expected> {
        match text.replace(['-', '_'], " ").as_str() {
            "in tags" => Ok(Self::InTags),
            "from the start" => Ok(Self::FromTheStart),
            _ => Err(Expected("in tags or from the start".to_owned())),
        }
    }
}

impl ContinuationPolicy {
    pub(super) fn read(text: &str) -> Result<Self, Expected> {
        match text {
            "auto" => Ok(Self::Auto),
            "prefill" => Ok(Self::Prefill),
            "instruct" => Ok(Self::Instruct),
            "off" => Ok(Self::Off),
            _ => Err(Expected("auto, prefill, instruct or off".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialect_reads_back_as_it_was_written() {
        for (name, dialect) in NAMES {
            assert_eq!((Dialect::read(name), dialect.to_string().as_str()), (Ok(Some(*dialect)), *name));
        }
        assert_eq!(Dialect::read("auto"), Ok(None));
        assert!(Dialect::read("gpt").is_err());
    }
}
