//! The models of a server: fetched in the background, cached for a minute; callers wait for them only briefly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use super::client::{Client, list_body};
use super::delta::UpstreamError;
use super::dialect::Dialect;
use super::failure;

/// How old a list may be before it is fetched again.
const FRESH_FOR: Duration = Duration::from_mins(1);

/// A name that is not in a list younger than this does not make it be fetched again.
const RECENT: Duration = Duration::from_secs(2);

/// For this long after a failure no caller waits for another try.
const FAILED_FOR: Duration = Duration::from_secs(10);

/// The longest time that a request waits for the list.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// The longest time that fetching it may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Parts of names of models that do not chat.
const NOT_FOR_CHAT: &[&str] = &["embed", "rerank", "whisper", "tts", "moderation", "dall-e", "bge-", "clip-"];

/// A model that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Model {
    /// Its name.
    pub(crate) id: String,
    /// When it was made, in Unix seconds; 0 if unknown.
    pub(crate) created: u64,
    /// Its owner.
    pub(crate) owned_by: String,
    /// The tokens that it takes, if its server reports them.
    pub(crate) context_window: Option<u64>,
}

/// The list of one server, shared by all its users.
#[derive(Debug, Clone)]
pub(super) struct Models {
    client: Client,
    tasks: TaskTracker,
    state: watch::Sender<State>,
    fetching: Arc<AtomicBool>,
}

type List = Arc<[Model]>;

#[derive(Debug, Clone, Default)]
struct State {
    list: Option<(List, Instant)>,
    failure: Option<(UpstreamError, Instant)>,
}

impl Models {
    pub(super) fn new(client: Client, tasks: TaskTracker) -> Self {
        Self { client, tasks, state: watch::Sender::default(), fetching: Arc::default() }
    }

    /// The list as far as it is known, at once. An old one is fetched again in the background.
    pub(super) fn known(&self) -> Option<List> {
        let state = self.state.borrow();
        let (list, fetched) = state.list.as_ref()?;
        if fetched.elapsed() > FRESH_FOR {
            self.fetch();
        }
        Some(Arc::clone(list))
    }

    /// The list, after a wait of bounded length if it is not known.
    pub(super) async fn list(&self) -> Result<List, UpstreamError> {
        if let Some(list) = self.known() {
            return Ok(list);
        }
        let failure = self.state.borrow().failure.clone();
        match failure {
            Some((failure, at)) if at.elapsed() < FAILED_FOR => {
                self.fetch();
                Err(failure)
            }
            _ => self.fetched().await,
        }
    }

    /// The list as it is now, unless it was fetched just before.
    pub(super) async fn recent(&self) -> Result<List, UpstreamError> {
        let recent = self.state.borrow().list.as_ref().is_some_and(|(_, fetched)| fetched.elapsed() < RECENT);
        if recent { self.list().await } else { self.fetched().await }
    }

    async fn fetched(&self) -> Result<List, UpstreamError> {
        let mut state = self.state.subscribe();
        self.fetch();
        let came = timeout(MAX_WAIT, state.changed()).await;
        let state = self.state.borrow();
        match (&state.list, &state.failure) {
            (Some((list, _)), _) => Ok(Arc::clone(list)),
            (None, Some((failure, _))) if came.is_ok() => Err(failure.clone()),
            _ => Err(failure::unreachable(
                "The model server did not list its models in time.",
                "its list of models did not come in time",
            )),
        }
    }

    /// Asks the server for its list, and gives how that went once it has answered; the list itself is read in the
    /// background. For health checks, which so keep the list fresh.
    pub(super) async fn check(&self) -> Result<(), UpstreamError> {
        let head = self.client.models_head().await;
        match head {
            Ok(head) => {
                let this = self.clone();
                self.tasks.spawn(async move { this.keep(timeout(FETCH_TIMEOUT, list_body(head)).await) });
                Ok(())
            }
            Err(failure) => {
                self.keep(Ok(Err(failure.clone())));
                Err(failure)
            }
        }
    }

    /// Fetches the list in the background; one fetch at a time.
    fn fetch(&self) {
        if self.fetching.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = self.clone();
        self.tasks.spawn(async move {
            let body = timeout(FETCH_TIMEOUT, this.client.models()).await;
            this.fetching.store(false, Ordering::Release);
            this.keep(body);
        });
    }

    /// Keeps what came of fetching it. A list that was had stays when no other can be had.
    fn keep(&self, body: Result<Result<Vec<u8>, UpstreamError>, Elapsed>) {
        let late = |_| Err(failure::unreachable("The model server cannot be reached.", "its list of models timed out"));
        let list = body.unwrap_or_else(late).and_then(|body| parse(&body));
        self.state.send_modify(|state| match list {
            Ok(list) => *state = State { list: Some((list.into(), Instant::now())), failure: None },
            Err(failure) => {
                if state.failure.is_none() {
                    let (service, cause) = (self.client.service().name(), &failure.cause);
                    tracing::warn!(service, cause, "the model server's list of models could not be read");
                }
                state.failure = Some((failure, Instant::now()));
            }
        });
    }
}

/// The name under which `list` has the model that is asked for, if it has.
pub(super) fn find(list: &[Model], dialect: Dialect, asked: &str) -> Option<String> {
    let exact = list.iter().find(|model| model.id == asked);
    let close = || {
        list.iter().find(|model| match dialect {
            Dialect::Ollama => model.id.strip_suffix(":latest") == Some(asked),
            Dialect::Gemini => model.id.strip_prefix("models/") == Some(asked),
            // Variants such as `:free` and `:nitro` are not all listed.
            Dialect::OpenRouter => Some(model.id.as_str()) == asked.rsplit_once(':').map(|(base, _)| base),
            _ => false,
        })
    };
    exact.or_else(close).map(|_| asked.to_owned())
}

/// The default model: the first one that looks like a chat model.
pub(super) fn first(list: &[Model]) -> Option<String> {
    list.iter().find(|model| chats(&model.id)).or(list.first()).map(|model| model.id.clone())
}

/// Whether a model's name looks as if it could chat.
pub(crate) fn chats(id: &str) -> bool {
    let id = id.to_ascii_lowercase();
    !NOT_FOR_CHAT.iter().any(|part| id.contains(part))
}

/// The dialect of the server that sent this list, if the list shows more than the address does.
pub(super) fn dialect(list: &[Model]) -> Option<Dialect> {
    list.iter().find_map(|model| match model.owned_by.as_str() {
        "vllm" | "sglang" => Some(Dialect::Vllm),
        "llamacpp" => Some(Dialect::LlamaCpp),
        _ => None,
    })
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WireList {
    Usual {
        data: Vec<WireModel>,
    },
    /// Together.
    Bare(Vec<WireModel>),
}

#[derive(Deserialize)]
struct WireModel {
    id: String,
    #[serde(default)]
    created: Option<serde_json::Value>,
    #[serde(default)]
    owned_by: Option<String>,
    /// vLLM and `SGLang`.
    #[serde(default)]
    max_model_len: Option<serde_json::Value>,
    /// `OpenRouter` and others.
    #[serde(default)]
    context_length: Option<serde_json::Value>,
}

pub(super) fn parse(body: &[u8]) -> Result<Vec<Model>, UpstreamError> {
    let list: WireList = serde_json::from_slice(body).map_err(|_| {
        let cause = "its answer to GET /models is no list of models";
        failure::unreachable("The model server's list of models cannot be read.", cause)
    })?;
    let (WireList::Usual { data } | WireList::Bare(data)) = list;
    let number = |value: Option<serde_json::Value>| value.as_ref().and_then(serde_json::Value::as_u64);
    let model = |model: WireModel| Model {
        id: model.id,
        created: number(model.created).unwrap_or(0),
        owned_by: model.owned_by.unwrap_or_default(),
        context_window: number(model.max_model_len).or(number(model.context_length)),
    };
    Ok(data.into_iter().map(model).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(ids: &[&str]) -> Vec<Model> {
        ids.iter()
            .map(|id| Model { id: (*id).to_owned(), created: 0, owned_by: String::new(), context_window: None })
            .collect()
    }

    #[test]
    fn lists_are_read_in_either_form() {
        for body in [
            r#"{"object":"list","data":[{"id":"a","created":7,"owned_by":"vllm"}],"models":[{"name":"a"}]}"#,
            r#"[{"id":"a","created":7,"owned_by":"vllm","pricing":{},"context_length":null}]"#,
        ] {
            let models = parse(body.as_bytes()).unwrap();
            assert_eq!(models, [Model { id: "a".into(), created: 7, owned_by: "vllm".into(), context_window: None }]);
            assert_eq!(dialect(&models), Some(Dialect::Vllm));
        }
        assert_eq!(parse(br#"{"data":[{"id":"a","created":null}]}"#).unwrap()[0].created, 0);
        let windows = br#"{"data":[{"id":"a","max_model_len":4096},{"id":"b","context_length":8192},{"id":"c"}]}"#;
        let windows: Vec<_> = parse(windows).unwrap().iter().map(|model| model.context_window).collect();
        assert_eq!(windows, [Some(4096), Some(8192), None]);
        assert!(parse(b"<html>").is_err());
    }

    #[test]
    fn a_model_is_found_under_the_names_that_its_server_accepts() {
        let models = list(&["llama3:latest", "models/gemini-2.0-flash", "x/y"]);
        assert!(find(&models, Dialect::Ollama, "llama3").is_some());
        assert!(find(&models, Dialect::Gemini, "gemini-2.0-flash").is_some());
        assert!(find(&models, Dialect::OpenRouter, "x/y:free").is_some());
        assert!(find(&models, Dialect::Generic, "llama3").is_none());
    }

    #[test]
    fn the_first_model_is_one_that_can_chat() {
        assert_eq!(first(&list(&["text-embedding-3", "whisper-1", "gpt"])).as_deref(), Some("gpt"));
        assert_eq!(first(&list(&["nomic-embed-text"])).as_deref(), Some("nomic-embed-text"));
        assert_eq!(first(&[]), None);
    }
}
