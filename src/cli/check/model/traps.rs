//! What is known to go wrong with model servers of a kind, as far as it can be told from outside.

use std::time::Duration;

use url::Url;

use crate::cli::check::reach::in_clear;
use crate::cli::check::row::{Row, Status};
use crate::config::ContinuationPolicy;
use crate::config::values::duration_text;
use crate::llm::Server;
use crate::llm::dialect::{Dialect, PrefillSupport};
use crate::llm::inspect::Inspection;

const CONTINUE: &str = "model: continue";
const CONTEXT: &str = "model: context";
const KIND: &str = "model: kind";
const PATIENCE: &str = "model: patience";
const KEY: &str = "model: key";

/// Models are loaded, and some think in silence, before the first token: less than this cuts replies that would come.
const SHORT: Duration = Duration::from_mins(1);

/// A conversation with tools or documents outgrows less than this soon.
const SMALL_WINDOW: u64 = 8192;

/// Traps in what is set, whatever the server.
pub(super) fn of_settings(base: &Url, config: &Server) -> Vec<Row> {
    let mut rows = Vec::new();
    if !config.keys.is_empty() {
        rows.extend(in_clear(KEY, base, "LLM_BASE_URL"));
    }
    let first = config.timeouts.first_content;
    if first < SHORT {
        let row = Row::new(Status::Warn, PATIENCE, format!("LLM_FIRST_TIMEOUT={}", duration_text(first)), "short");
        rows.push(
            row.why("servers that load a model first, and models that think first, are silent for minutes")
                .change("LLM_FIRST_TIMEOUT, for example LLM_FIRST_TIMEOUT=300s"),
        );
    }
    rows
}

/// Traps of the kind of server that answered.
pub(super) fn of_server(config: &Server, found: &Inspection) -> Vec<Row> {
    let rows = [kind(found), context(found), Some(continuation(config.continuation, found)), structure(found)];
    rows.into_iter().flatten().collect()
}

/// How a reply that was broken off would go on.
fn continuation(policy: ContinuationPolicy, found: &Inspection) -> Row {
    let name = name(found);
    let row = |status, detail: &str| Row::new(status, CONTINUE, name, detail);
    match (policy, found.prefill) {
        (ContinuationPolicy::Off, _) => row(Status::Warn, "a broken reply ends as failed (LLM_CONTINUATION=off)")
            .change("LLM_CONTINUATION, for example LLM_CONTINUATION=auto"),
        (ContinuationPolicy::Prefill, PrefillSupport::None) => {
            row(Status::Warn, "a broken reply would not go on: prefill is set, and this server has none")
                .change("LLM_CONTINUATION, for example LLM_CONTINUATION=auto")
        }
        (ContinuationPolicy::Auto, PrefillSupport::None) if found.dialect == Dialect::DeepSeek => {
            row(Status::Note, "by instruction: a seam may show; prefill is at its beta address only")
                .change("LLM_BASE_URL=https://api.deepseek.com/beta, for a reply without a seam")
        }
        (ContinuationPolicy::Auto, PrefillSupport::None) => {
            row(Status::Note, "by instruction, as this server has no prefill: a seam may show")
        }
        (ContinuationPolicy::Instruct, PrefillSupport::None) => row(Status::Ok, "by instruction"),
        (ContinuationPolicy::Instruct, _) => {
            row(Status::Note, "by instruction (LLM_CONTINUATION=instruct): a seam may show")
                .change("LLM_CONTINUATION=auto, for prefill where the model takes it")
        }
        (ContinuationPolicy::Prefill, _) if found.dialect == Dialect::LlamaCpp => {
            row(Status::Note, "by prefill; llama.cpp refuses it for models that think")
                .change("LLM_CONTINUATION=auto, which then instructs")
        }
        (ContinuationPolicy::Auto | ContinuationPolicy::Prefill, _) => row(Status::Ok, "by prefill"),
    }
}

/// How much of a conversation the model sees.
fn context(found: &Inspection) -> Option<Row> {
    if is_ollama(found) {
        let row = Row::new(Status::Note, CONTEXT, name(found), "what is longer than its context is cut without a word");
        return Some(
            row.why("Ollama's context (num_ctx) is a few thousand tokens unless it is told otherwise")
                .change("OLLAMA_CONTEXT_LENGTH where Ollama runs, for example OLLAMA_CONTEXT_LENGTH=32768"),
        );
    }
    let default = found.default.as_ref()?;
    let window = default.window.filter(|window| *window < SMALL_WINDOW)?;
    let row = Row::new(Status::Note, CONTEXT, &default.name, format!("a context of {window} tokens is short"));
    Some(match found.dialect {
        Dialect::Vllm => row.change("--max-model-len where vLLM runs; or \"truncation\": \"auto\" in requests"),
        _ => row.change("\"truncation\": \"auto\" in requests: the oldest turns go"),
    })
}

/// A server that is not taken for what it is.
fn kind(found: &Inspection) -> Option<Row> {
    if !found.is_ollama || found.dialect == Dialect::Ollama {
        return None;
    }
    let row = Row::new(Status::Warn, KIND, "Ollama", "on another port than 11434, so it is not spoken to as Ollama");
    Some(
        row.why("images that are links, and tool_choice, reach it as they are; it takes neither")
            .change("the port of Ollama, for example OLLAMA_HOST=127.0.0.1:11434 where it runs"),
    )
}

/// Servers that do not keep to schemas.
fn structure(found: &Inspection) -> Option<Row> {
    let detail = match found.dialect {
        Dialect::Anthropic => "JSON schemas are asked for in words: its compatible API ignores response_format",
        Dialect::DeepSeek => "JSON schemas are asked for in words: it knows json_object only",
        _ => return None,
    };
    Some(Row::new(Status::Note, "model: schemas", name(found), detail))
}

fn is_ollama(found: &Inspection) -> bool {
    found.dialect == Dialect::Ollama || found.is_ollama
}

fn name(found: &Inspection) -> &'static str {
    match (found.dialect, found.is_ollama) {
        (Dialect::OpenAi, _) => "OpenAI",
        (Dialect::Azure, _) => "Azure",
        (Dialect::Anthropic, _) => "Anthropic",
        (Dialect::OpenRouter, _) => "OpenRouter",
        (Dialect::DeepSeek, _) => "DeepSeek",
        (Dialect::Gemini, _) => "Gemini",
        (Dialect::Mistral, _) => "Mistral",
        (Dialect::Vllm, _) => "vLLM or SGLang",
        (Dialect::LlamaCpp, _) => "llama.cpp",
        (Dialect::Ollama, _) | (Dialect::Generic, true) => "Ollama",
        (Dialect::Generic, false) => "OpenAI-compatible",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::values::Secret;
    use crate::llm::inspect::DefaultModel;

    pub(in super::super) fn found(dialect: Dialect) -> Inspection {
        Inspection {
            dialect,
            is_ollama: false,
            prefill: dialect.prefill("/v1"),
            models: vec!["a".into()],
            default: Some(DefaultModel { name: "a".into(), listed: true, chats: true, window: None }),
        }
    }

    fn server() -> Server {
        Server::at("http://localhost/v1".parse().unwrap())
    }

    fn whats(rows: &[Row]) -> Vec<(&str, Status)> {
        rows.iter().map(|row| (row.what, row.status)).collect()
    }

    #[test]
    fn a_key_travels_in_clear_only_to_other_machines_without_tls() {
        let config = Server { keys: vec![Secret::new("sk-secret")], ..server() };
        let of = |base: &str, config: &Server| of_settings(&base.parse().unwrap(), config);
        assert_eq!(whats(&of("http://10.0.0.5:8000/v1", &config)), [(KEY, Status::Warn)]);
        assert!(!format!("{:?}", of("http://10.0.0.5:8000/v1", &config)).contains("secret"));
        assert!(of("https://10.0.0.5:8000/v1", &config).is_empty());
        assert!(of("http://127.0.0.1:8000/v1", &config).is_empty());
        assert!(of("http://10.0.0.5:8000/v1", &server()).is_empty());
    }

    #[test]
    fn a_short_patience_is_told() {
        let mut config = server();
        config.timeouts.first_content = Duration::from_secs(10);
        let rows = of_settings(&"http://localhost/v1".parse().unwrap(), &config);
        assert_eq!((whats(&rows), rows[0].value.as_str()), (vec![(PATIENCE, Status::Warn)], "LLM_FIRST_TIMEOUT=10s"));
    }

    #[test]
    fn how_a_broken_reply_goes_on_depends_on_the_server_and_on_what_is_set() {
        use ContinuationPolicy::{Auto, Instruct, Off, Prefill};
        for (policy, dialect, status) in [
            (Auto, Dialect::Generic, Status::Ok),
            (Auto, Dialect::Vllm, Status::Ok),
            (Auto, Dialect::OpenAi, Status::Note),
            (Auto, Dialect::Anthropic, Status::Note),
            (Auto, Dialect::Gemini, Status::Note),
            (Prefill, Dialect::OpenAi, Status::Warn),
            (Instruct, Dialect::OpenAi, Status::Ok),
            (Instruct, Dialect::Generic, Status::Note),
            (Off, Dialect::Generic, Status::Warn),
        ] {
            assert_eq!(continuation(policy, &found(dialect)).status, status, "{policy:?} {dialect}");
        }
        assert!(continuation(Auto, &found(Dialect::DeepSeek)).change.is_some_and(|change| change.contains("/beta")));
    }

    #[test]
    fn the_context_of_ollama_and_a_short_one_are_told() {
        let config = server();
        assert!(whats(&of_server(&config, &found(Dialect::Ollama))).contains(&(CONTEXT, Status::Note)));
        let mut elsewhere = found(Dialect::Generic);
        elsewhere.is_ollama = true;
        assert!(whats(&of_server(&config, &elsewhere)).contains(&(KIND, Status::Warn)));
        let mut short = found(Dialect::Vllm);
        short.default.as_mut().unwrap().window = Some(4096);
        let row = context(&short).unwrap();
        assert!(row.detail.contains("4096") && row.change.unwrap().contains("--max-model-len"));
        short.default.as_mut().unwrap().window = Some(32_768);
        assert_eq!(context(&short), None);
    }
}
