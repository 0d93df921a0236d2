//! Which server an address belongs to, and how its Chat Completions differ from the standard.

use url::Url;

pub(crate) use crate::config::Dialect;

/// How well a server keeps to a JSON schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonSupport {
    /// `json_schema` and `json_object`.
    Schema,
    /// `json_object` only: the schema has to go into the system message.
    Object,
    /// Neither.
    None,
}

/// How a server continues a message of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PrefillSupport {
    /// It begins a new message, or refuses.
    None,
    /// It continues a final assistant message, or may.
    Plain,
    /// With `prefix: true` on the message.
    Prefix,
    /// With `continue_final_message`. llama.cpp continues it without, too, but then gives the whole message back, with what
    /// it was given at its beginning.
    Flags,
}

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

impl Dialect {
    /// The dialect of an address, if the address shows it.
    pub(crate) fn detect(base: &Url) -> Self {
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
    pub(crate) const fn knows_developers(self) -> bool {
        matches!(self, Self::OpenAi | Self::Azure)
    }

    /// Whether two user messages may follow each other. Chat templates of open models often insist on turns.
    pub(crate) const fn takes_adjacent_messages(self) -> bool {
        matches!(self, Self::OpenAi | Self::Azure)
    }

    /// Whether the limit of output is called `max_completion_tokens`.
    pub(crate) const fn counts_completion_tokens(self) -> bool {
        matches!(self, Self::OpenAi | Self::Azure)
    }

    /// Whether fields that it does not know are an error, rather than being ignored.
    pub(crate) const fn is_strict(self) -> bool {
        matches!(self, Self::Mistral | Self::Gemini)
    }

    /// What it calls a parameter of this name.
    pub(crate) fn name_of(self, parameter: &str) -> &str {
        match (self, parameter) {
            (Self::Mistral, "seed") => "random_seed",
            _ => parameter,
        }
    }

    /// Whether it takes `tool_choice`.
    pub(crate) const fn takes_tool_choice(self) -> bool {
        !matches!(self, Self::Ollama)
    }

    /// Whether it gives token probabilities.
    pub(crate) const fn gives_logprobs(self) -> bool {
        !matches!(self, Self::Ollama | Self::Anthropic) && !self.is_strict()
    }

    /// Whether it takes `reasoning_effort`.
    pub(crate) const fn takes_reasoning_effort(self) -> bool {
        !matches!(self, Self::Anthropic)
    }

    /// Whether usage has to be asked for. Mistral gives it, and may refuse the question.
    pub(crate) const fn is_asked_for_usage(self) -> bool {
        !matches!(self, Self::Mistral)
    }

    /// Whether images have to come with the request.
    pub(crate) const fn wants_images_inline(self) -> bool {
        matches!(self, Self::Ollama)
    }

    /// Whether it wants the thoughts that led to a function call back, in `reasoning_content`.
    pub(crate) const fn wants_thoughts_back(self) -> bool {
        matches!(self, Self::DeepSeek)
    }

    /// Whether `reasoning_details` may be returned to it.
    pub(crate) const fn takes_reasoning_details(self) -> bool {
        matches!(self, Self::OpenRouter | Self::Generic | Self::LlamaCpp)
    }

    /// Whether `extra_content` may be returned to it.
    pub(crate) const fn takes_extra_content(self) -> bool {
        matches!(self, Self::Gemini | Self::OpenRouter | Self::Generic | Self::LlamaCpp)
    }

    /// Whether it gives a reason to stop with chunks that are not the last.
    pub(crate) const fn repeats_reasons(self) -> bool {
        matches!(self, Self::Gemini)
    }

    /// The highest temperature that it takes.
    pub(crate) const fn max_temperature(self) -> f64 {
        if matches!(self, Self::Anthropic) { 1.0 } else { 2.0 }
    }

    /// Whether every model that it serves is in its list. Anthropic has aliases, Azure lists what could be deployed.
    pub(crate) const fn lists_all_models(self) -> bool {
        !matches!(self, Self::Azure | Self::Anthropic)
    }

    /// How well it keeps to JSON.
    pub(crate) const fn json(self) -> JsonSupport {
        match self {
            Self::DeepSeek => JsonSupport::Object,
            Self::Anthropic => JsonSupport::None,
            _ => JsonSupport::Schema,
        }
    }

    /// How it continues a message. `DeepSeek` does so at its beta address only.
    pub(crate) fn prefill(self, base_path: &str) -> PrefillSupport {
        match self {
            Self::DeepSeek if base_path.contains("/beta") => PrefillSupport::Prefix,
            Self::OpenAi | Self::Azure | Self::Anthropic | Self::Gemini | Self::DeepSeek => PrefillSupport::None,
            Self::Mistral => PrefillSupport::Prefix,
            Self::Vllm | Self::LlamaCpp => PrefillSupport::Flags,
            Self::Ollama | Self::OpenRouter | Self::Generic => PrefillSupport::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_its_dialect() {
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
}
