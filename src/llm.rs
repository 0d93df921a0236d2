//! Clients of model servers that serve Chat Completions, and the built-in models.
//!
//! Knows how to call them, how long to wait, and how to read their output, whatever their dialect. Does not know
//! what becomes of it: that is the matter of [`replies`](crate::replies).
//!
//! Every outside service is called through [`services`](crate::services), model servers and others alike: its pool, breaker, limit and
//! health. [`slot`] chooses among several model servers.
//!
//! A call goes through [`encode`] (a [`call::Call`] in the server's dialect), the client and its timeouts, [`sse`],
//! [`decode`] (its output as [`delta::Delta`]s). The pure parts of it know nothing of HTTP.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) mod batches;
mod builtin;
pub(crate) mod call;
mod arguments;
mod call_id;
mod calls;
mod chunk;
mod client;
pub(crate) mod decode;
pub(crate) mod delta;
pub(crate) mod dialect;
pub(crate) mod eliza;
pub(crate) mod encode;
mod failure;
mod fence;
pub(crate) mod inspect;
pub(crate) mod provider_state;
mod logprobs;
mod models;
mod reason;
mod remote;
mod server;
#[cfg(feature = "simulation")]
pub(crate) mod simulated;
pub(crate) mod slot;
mod stream;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod think;
pub(crate) mod truncate;
pub(crate) mod unread;
pub(crate) mod wire;
mod written;

pub(crate) use client::BuildError;
pub(crate) use models::{Model, chats};
pub(crate) use server::{Batch, FIRST_CONTENT_WITH_FALLBACK, Server, Timeouts};
pub(crate) use slot::{Failed, NoSlot, Slot, Tried};

pub(crate) use crate::services::sse;
use crate::services::{MaxWait, Service};
use builtin::Builtin;
use call::{Call, Continuation};
use delta::{Delta, UpstreamError};
use remote::Remote;
use truncate::Windows;

/// The model that answers where no server is set.
pub(crate) const DEFAULT_BUILTIN: &str = "eliza";

/// What can be called: model servers where they are set, and the built-in models. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// In the order in which they are called.
    remotes: Vec<Remote>,
    /// The model that is used where a request names none.
    default: Option<String>,
    windows: Windows,
    /// Plays all models, in a simulation.
    #[cfg(feature = "simulation")]
    simulated: Option<simulated::Simulated>,
}

/// Which model servers there are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    /// In the order in which they are called; without one, only the built-in models are served.
    pub(crate) servers: Vec<Server>,
    /// The model that is used where a request names none; without one, the default of the first server that lists one.
    pub(crate) model: Option<String>,
    /// Where background tasks (reading lists of models) are spawned.
    pub(crate) tasks: TaskTracker,
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct Started {
    /// How it continues the output so far.
    pub(crate) continuation: Continuation,
    /// Its output.
    pub(crate) deltas: DeltaStream,
    /// Which server it is, by its place in the list. `None`: a built-in model.
    pub(crate) server: Option<usize>,
}

/// An upstream's output as it comes. Dropping it ends the call.
///
/// It ends with `None` only after a proper end, of which [`Delta::Finish`] was the last delta; otherwise the last
/// item is an error.
pub(crate) struct DeltaStream(Source);

enum Source {
    Http(Box<stream::HttpStream>),
    Builtin(builtin::Speech),
    #[cfg(feature = "simulation")]
    Simulated(simulated::Deltas),
}

/// Why a model cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ResolveError {
    /// No server has it.
    #[error("the model {model:?} does not exist")]
    Unknown {
        /// Its name.
        model: String,
    },
    /// Which one to use depends on a server that does not answer.
    #[error(transparent)]
    Upstream(UpstreamError),
}

impl Upstream {
    /// Sets up the clients. Nothing is sent yet.
    pub(crate) fn build(config: Config) -> Result<Self, BuildError> {
        let Config { servers, model, tasks } = config;
        match &model {
            Some(model) if servers.is_empty() && Builtin::named(model).is_none() => {
                return Err(BuildError::Model { model: model.clone() });
            }
            _ => {}
        }
        let remotes = servers.into_iter().map(|server| Remote::build(server, &tasks)).collect::<Result<_, _>>()?;
        let inner = Inner {
            remotes,
            default: model,
            windows: Windows::default(),
            #[cfg(feature = "simulation")]
            simulated: None,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A model server that a simulation plays, as a process reaches it.
    #[cfg(feature = "simulation")]
    pub(crate) fn simulated(model: Arc<dyn simulated::Model>, process: crate::simulation::Process) -> Self {
        let simulated = Some(simulated::Simulated::new(model, process));
        let default = Some("simulated".to_owned());
        Self { inner: Arc::new(Inner { remotes: Vec::new(), default, windows: Windows::default(), simulated }) }
    }

    /// The model servers, as services.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        self.inner.remotes.iter().map(Remote::service)
    }

    /// How many models a server lists, as far as is known.
    pub(crate) fn models_known(&self, name: &str) -> Option<usize> {
        let remote = self.inner.remotes.iter().find(|remote| remote.service().name() == name)?;
        remote.models_known()
    }

    /// How much fits the models' windows, as far as it is known.
    pub(crate) fn windows(&self) -> &Windows {
        &self.inner.windows
    }

    /// Checks the health of the servers at intervals, until `stop`.
    pub(crate) async fn watch(self, stop: CancellationToken) {
        join_all(self.inner.remotes.iter().map(|remote| remote.watch(stop.clone()))).await;
    }

    /// The models that can be asked for: the servers', then the built-in ones. If no server's list can be had, and
    /// never was, that is an error.
    pub(crate) async fn models(&self) -> Result<Vec<Model>, UpstreamError> {
        let lists = join_all(self.inner.remotes.iter().map(Remote::models)).await;
        let mut models: Vec<Model> = Vec::new();
        let (mut had, mut failure) = (lists.is_empty(), None);
        for list in lists {
            match list {
                Ok(list) => {
                    had = true;
                    models.extend(list);
                }
                Err(error) => failure = Some(error),
            }
        }
        if let (false, Some(error)) = (had, failure) {
            return Err(error);
        }
        models.extend(Builtin::list());
        let mut seen = std::collections::HashSet::new();
        models.retain(|model| seen.insert(model.id.clone()));
        Ok(models)
    }

    /// The model that a request means. One that is named has to exist, as far as that is known; without a name it is
    /// the configured one, else the first that a server lists, else [`DEFAULT_BUILTIN`].
    pub(crate) async fn resolve_model(&self, requested: Option<&str>) -> Result<String, ResolveError> {
        let Some(name) = requested.filter(|name| !name.is_empty()) else { return self.default_model().await };
        if Builtin::named(name).is_some() {
            return Ok(name.to_owned());
        }
        #[cfg(feature = "simulation")]
        if self.inner.simulated.is_some() {
            return Ok(name.to_owned());
        }
        let unknown = || ResolveError::Unknown { model: name.to_owned() };
        let resolved = join_all(self.inner.remotes.iter().map(|remote| remote.resolve(name))).await;
        resolved.into_iter().find_map(Result::ok).ok_or_else(unknown)
    }

    async fn default_model(&self) -> Result<String, ResolveError> {
        if let Some(model) = &self.inner.default {
            return Ok(model.clone());
        }
        let mut failure = None;
        for remote in &self.inner.remotes {
            match remote.default_model().await {
                Ok(model) => return Ok(model),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or_else(|| Ok(DEFAULT_BUILTIN.to_owned()), |error| Err(ResolveError::Upstream(error)))
    }

    /// Calls the best server for it, after a wait for room if need be. For callers with a single call.
    pub(crate) async fn ask(&self, call: Call, deadline: Instant) -> Result<Started, UpstreamError> {
        let continues = call.continues();
        let slot = self.slot(&call.params.model, continues, &Tried::default(), "", MaxWait::Unlimited).await;
        let slot = slot.map_err(NoSlot::into_error)?;
        self.start(slot, call, deadline).await.map_err(|failed| failed.error)
    }

    /// Starts a call in its slot; it has to be over by `deadline`. Returns the stream once the upstream's headers
    /// are there. Dropping the future ends the call.
    pub(crate) async fn start(&self, slot: Slot, call: Call, deadline: Instant) -> Result<Started, Failed> {
        let (continuation, source) = match slot.at {
            slot::At::Builtin(builtin) => {
                let (continuation, speech) = builtin.start(&call, deadline);
                (continuation, Source::Builtin(speech))
            }
            #[cfg(feature = "simulation")]
            slot::At::Simulated(simulated) => {
                let failed = |error| Failed { error, server: Some(0) };
                let (continuation, deltas) = simulated.start(&call, deadline).await.map_err(failed)?;
                return Ok(Started { continuation, deltas: DeltaStream(Source::Simulated(deltas)), server: Some(0) });
            }
            slot::At::Remote { index, permit, hurried } => {
                let started = self.inner.remotes[index].start(call, permit, hurried, deadline).await;
                let (continuation, stream) = started.map_err(|error| Failed { error, server: Some(index) })?;
                return Ok(Started {
                    continuation,
                    deltas: DeltaStream(Source::Http(Box::new(stream))),
                    server: Some(index),
                });
            }
        };
        Ok(Started { continuation, deltas: DeltaStream(source), server: None })
    }
}

/// Who answers a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Served {
    /// What kind of server it is, in a word.
    pub(crate) provider: String,
    /// Its host. `None`: it is built in.
    pub(crate) address: Option<String>,
}

impl Upstream {
    /// Who answers the call that a slot is for.
    pub(crate) fn served_by(&self, slot: &Slot) -> Served {
        match &slot.at {
            slot::At::Remote { index, .. } => self.inner.remotes[*index].served(),
            _ => Served { provider: "rejoinder".to_owned(), address: None },
        }
    }
}

impl DeltaStream {
    /// The next delta. Nothing is lost when the future is dropped before it is ready.
    pub(crate) async fn next(&mut self) -> Option<Result<Delta, UpstreamError>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next delta, for callers that poll.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delta, UpstreamError>>> {
        match &mut self.0 {
            Source::Http(stream) => stream.poll_next(cx),
            Source::Builtin(speech) => speech.poll_next(cx),
            #[cfg(feature = "simulation")]
            Source::Simulated(deltas) => deltas.as_mut().poll_next(cx),
        }
    }
}

impl fmt::Debug for DeltaStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeltaStream").finish_non_exhaustive()
    }
}
