//! Which server an address belongs to, and how its Chat Completions differ from everybody else's.

use std::fmt;
use std::str::FromStr;

use url::Url;

/// The kind of server behind an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
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
    /// Any other: llama.cpp, LM Studio, a gateway.
    #[default]
    Generic,
}

/// How well a server keeps to a JSON schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonSupport {
    /// `json_schema` and `json_object`.
    Schema,
    /// `json_object` only: the schema has to go into the system message.
    Object,
    /// Neither.
    None,
}

/// How a server continues a message of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrefillSupport {
    /// It begins a new message, or refuses.
    None,
    /// It continues a final assistant message, or may.
    Plain,
    /// With `prefix: true` on the message.
    Prefix,
    /// With `continue_final_message`.
    Flags,
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
    ("generic", Dialect::Generic),
];

const HOSTS: &[(&str, Dialect)] = &[
    ("api.openai.com", Dialect::OpenAi),
    ("openai.azure.com", Dialect::Azure),
    ("cognitiveservices.azure.com", Dialect::Azure),
    ("services.ai.azure.com", Dialect::Azure),
    ("ollama.com", Dialect::Ollama),
    ("api.anthropic.com", Dialect::Anthropic),
    ("openrouter.ai", Dialect::OpenRouter),
    ("api.deepseek.com", Dialect::DeepSeek),
    ("generativelanguage.googleapis.com", Dialect::Gemini),
    ("aiplatform.googleapis.com", Dialect::Gemini),
    ("mistral.ai", Dialect::Mistral),
];

const OLLAMA_PORT: u16 = 11434;

/// A word that names no dialect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of model server: {0:?}")]
pub struct UnknownDialect(String);

impl Dialect {
    /// The names of all.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }

    /// The dialect spoken at an address, as far as that tells.
    pub fn detect(base: &Url) -> Self {
        let host = base.host_str().unwrap_or_default();
        let is_of =
            |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with(['.', '-']));
        match HOSTS.iter().find(|(domain, _)| is_of(domain)) {
            Some((_, dialect)) => *dialect,
            None if base.port() == Some(OLLAMA_PORT) => Self::Ollama,
            None => Self::Generic,
        }
    }

    /// Whether it knows the `developer` role, and takes a system message anywhere.
    pub const fn knows_developers(self) -> bool {
        matches!(self, Self::OpenAi | Self::Azure)
    }

    /// Whether two user messages may follow each other. Chat templates of open models often insist on turns.
    pub const fn takes_adjacent_messages(self) -> bool {
        matches!(self, Self::OpenAi | Self::Azure)
    }

    /// Whether the limit of output is called `max_completion_tokens`.
    pub const fn counts_completion_tokens(self) -> bool {
        matches!(self, Self::OpenAi | Self::Azure)
    }

    /// Whether fields that it does not know are an error, rather than being ignored.
    pub const fn is_strict(self) -> bool {
        matches!(self, Self::Mistral | Self::Gemini)
    }

    /// Whether it takes `tool_choice`.
    pub const fn takes_tool_choice(self) -> bool {
        !matches!(self, Self::Ollama)
    }

    /// Whether it gives token probabilities.
    pub const fn gives_logprobs(self) -> bool {
        !matches!(self, Self::Ollama | Self::Anthropic) && !self.is_strict()
    }

    /// Whether it takes `reasoning_effort`.
    pub const fn takes_reasoning_effort(self) -> bool {
        !matches!(self, Self::Anthropic)
    }

    /// Whether usage has to be asked for. Mistral gives it, and may refuse the question.
    pub const fn is_asked_for_usage(self) -> bool {
        !matches!(self, Self::Mistral)
    }

    /// Whether images have to come with the request.
    pub const fn wants_images_inline(self) -> bool {
        matches!(self, Self::Ollama)
    }

    /// Whether it wants the thoughts that led to a function call back, in `reasoning_content`.
    pub const fn wants_thoughts_back(self) -> bool {
        matches!(self, Self::DeepSeek)
    }

    /// Whether `reasoning_details` may be returned to it.
    pub const fn takes_reasoning_details(self) -> bool {
        matches!(self, Self::OpenRouter | Self::Generic)
    }

    /// Whether `extra_content` may be returned to it.
    pub const fn takes_extra_content(self) -> bool {
        matches!(self, Self::Gemini | Self::OpenRouter | Self::Generic)
    }

    /// Whether it gives a reason to stop with chunks that are not the last.
    pub const fn repeats_reasons(self) -> bool {
        matches!(self, Self::Gemini)
    }

    /// The highest temperature that it takes.
    pub const fn max_temperature(self) -> f64 {
        if matches!(self, Self::Anthropic) { 1.0 } else { 2.0 }
    }

    /// Whether every model that it serves is in its list. Anthropic has aliases, Azure lists what could be deployed.
    pub const fn lists_all_models(self) -> bool {
        !matches!(self, Self::Azure | Self::Anthropic)
    }

    /// How well it keeps to JSON.
    pub const fn json(self) -> JsonSupport {
        match self {
            Self::DeepSeek => JsonSupport::Object,
            Self::Anthropic => JsonSupport::None,
            _ => JsonSupport::Schema,
        }
    }

    /// How it continues a message. `DeepSeek` does so at its beta address only.
    pub fn prefill(self, base_path: &str) -> PrefillSupport {
        match self {
            Self::DeepSeek if base_path.contains("/beta") => PrefillSupport::Prefix,
            Self::OpenAi | Self::Azure | Self::Anthropic | Self::Gemini | Self::DeepSeek => PrefillSupport::None,
            Self::Mistral => PrefillSupport::Prefix,
            Self::Vllm => PrefillSupport::Flags,
            Self::Ollama | Self::OpenRouter | Self::Generic => PrefillSupport::Plain,
        }
    }
}

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(name: &str) -> Result<Self, UnknownDialect> {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, dialect)| *dialect).ok_or_else(|| UnknownDialect(name.to_owned()))
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = NAMES.iter().find(|(_, dialect)| dialect == self);
        f.write_str(found.map_or("generic", |(name, _)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialect_is_told_by_the_address() {
        for (address, dialect) in [
            ("https://api.openai.com/v1", Dialect::OpenAi),
            ("https://mine.openai.azure.com/openai/v1", Dialect::Azure),
            ("http://localhost:11434/v1", Dialect::Ollama),
            ("https://api.anthropic.com/v1", Dialect::Anthropic),
            ("https://openrouter.ai/api/v1", Dialect::OpenRouter),
            ("https://api.deepseek.com/beta", Dialect::DeepSeek),
            ("https://generativelanguage.googleapis.com/v1beta/openai", Dialect::Gemini),
            ("https://europe-west1-aiplatform.googleapis.com/v1", Dialect::Gemini),
            ("https://api.mistral.ai/v1", Dialect::Mistral),
            ("https://notmistral.ai/v1", Dialect::Generic),
            ("http://localhost:8000/v1", Dialect::Generic),
        ] {
            assert_eq!(Dialect::detect(&address.parse().unwrap()), dialect, "{address}");
        }
    }

    #[test]
    fn a_dialect_reads_back_as_it_was_written() {
        for (name, dialect) in NAMES {
            assert_eq!((name.parse(), dialect.to_string().as_str()), (Ok(*dialect), *name));
        }
        assert!("gpt".parse::<Dialect>().is_err());
    }
}
