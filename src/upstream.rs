//! Clients of outside services: model servers that speak Chat Completions, and the built-in models.
//!
//! Knows how to call them, how long to wait, and how to read what they say, whatever their dialect. Does not know
//! what becomes of it: that is `generation`'s.
//!
//! A call goes through [`encode`] (a [`call::Call`] in the server's words), the client and its clocks, [`sse`],
//! [`decode`] (what it says as [`delta::Delta`]s). The pure parts of it know nothing of HTTP.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use url::Url;

pub mod builtin;
pub mod call;
mod call_id;
mod calls;
mod chunk;
mod client;
pub mod decode;
pub mod delta;
pub mod dialect;
pub mod eliza;
pub mod encode;
mod failure;
pub mod inspect;
pub mod kept;
mod logprobs;
mod models;
mod observe;
mod remote;
pub mod service;
pub mod speech;
pub mod sse;
mod stream;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod think;
pub mod truncate;
pub mod wire;

pub use client::BuildError;
pub use models::Model;
pub use observe::{Observer, Outcome, Unobserved};

use builtin::Builtin;
use call::{Call, Continuation};
use delta::{Delta, UpstreamError};
use dialect::Dialect;
use remote::Remote;

use crate::values::Secret;

/// The model that answers where no server is set.
pub const DEFAULT_BUILTIN: &str = "eliza";

/// What can be called: a model server where one is set, and the built-in models. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Upstream {
    served_by: ServedBy,
}

#[derive(Debug, Clone)]
enum ServedBy {
    /// A model server, and the built-in models besides.
    Remote(Arc<Remote>),
    /// The built-in models alone.
    Builtin {
        /// The one that is used where a request names none.
        default: Arc<str>,
    },
}

/// Where the model server is, and how it is to be treated.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address below which `/chat/completions` lies; without one, only the built-in models are served.
    pub base_url: Option<Url>,
    /// The model that is used where a request names none; without one, the first that the server lists.
    pub model: Option<String>,
    /// The key for the server.
    pub api_key: Option<Secret>,
    /// How interrupted replies are continued.
    pub continuation: ContinuationPolicy,
    /// How long is waited for what.
    pub timeouts: Timeouts,
    /// How the server speaks, where its address does not tell.
    pub dialect: Option<Dialect>,
    /// Who takes note of calls.
    pub observer: Arc<dyn Observer>,
    /// Where background tasks (fetching the list of models) are spawned.
    pub tasks: TaskTracker,
}

/// How long is waited for an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For headers and first content together; comments are no content.
    pub first_content: Duration,
    /// Between two chunks after that; comments count.
    pub between_chunks: Duration,
}

/// How interrupted replies are continued (`LLM_CONTINUATION`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContinuationPolicy {
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

/// A call under way.
#[derive(Debug)]
pub struct Started {
    /// How it continues what was said before.
    pub continuation: Continuation,
    /// What it says.
    pub deltas: DeltaStream,
}

/// What an upstream says, as it says it. Dropping it ends the call.
///
/// It ends with `None` only after a proper end, of which [`Delta::Finish`] was the last delta; otherwise the last
/// item is an error.
pub struct DeltaStream(Source);

enum Source {
    Http(Box<stream::HttpStream>),
    Builtin(builtin::Speech),
}

/// Why a model cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ResolveError {
    /// Nobody has it.
    #[error("the model {model:?} does not exist")]
    Unknown {
        /// Its name.
        model: String,
    },
    /// Which one to use depends on a server that does not answer.
    #[error(transparent)]
    Upstream(UpstreamError),
}

/// A word that is no way of continuing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a way to continue a reply: {0:?} (auto, prefill, instruct, off)")]
pub struct UnknownPolicy(String);

impl Upstream {
    /// Sets up the client. Nothing is sent yet.
    pub fn build(config: &Config) -> Result<Self, BuildError> {
        let served_by = match (&config.base_url, config.model.as_deref()) {
            (Some(base), _) => ServedBy::Remote(Arc::new(Remote::build(base.clone(), config)?)),
            (None, Some(model)) if Builtin::named(model).is_none() => {
                return Err(BuildError::Model { model: model.to_owned() });
            }
            (None, model) => ServedBy::Builtin { default: model.unwrap_or(DEFAULT_BUILTIN).into() },
        };
        Ok(Self { served_by })
    }

    /// The models that can be asked for: the server's, then the built-in ones. Where the server's list cannot be
    /// had, and never was, that is an error.
    pub async fn models(&self) -> Result<Vec<Model>, UpstreamError> {
        let mut models = match &self.served_by {
            ServedBy::Remote(remote) => remote.models().await?.to_vec(),
            ServedBy::Builtin { .. } => Vec::new(),
        };
        let builtins = Builtin::list().filter(|builtin| models.iter().all(|model| model.id != builtin.id));
        let builtins: Vec<_> = builtins.collect();
        models.extend(builtins);
        Ok(models)
    }

    /// The model that a request means. One that is named has to exist, as far as can be told; without a name it is
    /// the configured one, else the first that the server lists, else [`DEFAULT_BUILTIN`].
    pub async fn resolve_model(&self, requested: Option<&str>) -> Result<String, ResolveError> {
        match (&self.served_by, requested.filter(|name| !name.is_empty())) {
            (_, Some(name)) if Builtin::named(name).is_some() => Ok(name.to_owned()),
            (ServedBy::Builtin { default }, None) => Ok(default.to_string()),
            (ServedBy::Builtin { .. }, Some(name)) => Err(ResolveError::Unknown { model: name.to_owned() }),
            (ServedBy::Remote(remote), None) => remote.default_model().await.map_err(ResolveError::Upstream),
            (ServedBy::Remote(remote), Some(name)) => remote.resolve(name).await,
        }
    }

    /// Starts a call, which has to be over by `deadline`. Gives the stream once the upstream's headers are there.
    /// Dropping the future ends the call.
    pub async fn start(&self, call: Call, deadline: Instant) -> Result<Started, UpstreamError> {
        let model = call.params.model.as_str();
        let remote = match &self.served_by {
            ServedBy::Remote(remote) => Some(remote),
            ServedBy::Builtin { .. } => None,
        };
        // What the server lists under the name of a built-in model is the server's.
        let builtin = Builtin::named(model).filter(|_| !remote.is_some_and(|remote| remote.lists(model)));
        let (continuation, source) = match (builtin, remote) {
            (Some(builtin), _) => {
                let (continuation, speech) = builtin.start(&call, deadline);
                (continuation, Source::Builtin(speech))
            }
            (None, Some(remote)) => {
                let (continuation, stream) = remote.start(&call, deadline).await?;
                (continuation, Source::Http(Box::new(stream)))
            }
            (None, None) => return Err(failure::unsupported(format!("The model {model:?} does not exist."))),
        };
        Ok(Started { continuation, deltas: DeltaStream(source) })
    }
}

impl DeltaStream {
    /// The next delta. Nothing is lost when the future is dropped before it is ready.
    pub async fn next(&mut self) -> Option<Result<Delta, UpstreamError>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next delta, for those who poll.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delta, UpstreamError>>> {
        match &mut self.0 {
            Source::Http(stream) => stream.poll_next(cx),
            Source::Builtin(speech) => speech.poll_next(cx),
        }
    }
}

impl fmt::Debug for DeltaStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeltaStream").finish_non_exhaustive()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            base_url: None,
            model: None,
            api_key: None,
            continuation: ContinuationPolicy::default(),
            timeouts: Timeouts::default(),
            dialect: None,
            observer: Arc::new(Unobserved),
            tasks: TaskTracker::new(),
        }
    }
}

impl Default for Timeouts {
    /// 3 s, 300 s, 120 s: a server may load a model before it answers, and think for long while it does.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            first_content: Duration::from_mins(5),
            between_chunks: Duration::from_mins(2),
        }
    }
}

impl FromStr for ContinuationPolicy {
    type Err = UnknownPolicy;

    fn from_str(word: &str) -> Result<Self, UnknownPolicy> {
        match word {
            "auto" => Ok(Self::Auto),
            "prefill" => Ok(Self::Prefill),
            "instruct" => Ok(Self::Instruct),
            "off" => Ok(Self::Off),
            _ => Err(UnknownPolicy(word.to_owned())),
        }
    }
}
