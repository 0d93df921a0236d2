//! One model server: its models, what was found out about it, and how a call is started there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::batches::{Batches, Joined};
use super::call::{Call, Continuation};
use super::client::{BuildError, Client};
use super::decode::{Asked, Decoder};
use super::delta::{UpstreamError, UpstreamErrorKind as Kind};
use super::dialect::{Dialect, PrefillSupport};
use super::encode::{Target, Way, encode};
use super::models::{self, Model, Models};
use super::server::{Batch, Server, Timeouts};
use super::stream::{HttpStream, Limits, OnFailure};
use super::{ResolveError, Served, failure};
use crate::config::ContinuationPolicy;
use crate::config::values::Secret;
use crate::domain::event::ReplyError;
use crate::domain::params::Params;
use crate::offload::offload;
use crate::services::{Permit, Service};

mod learned;

use learned::{Learned, is_about_limit, is_about_usage, may_be_prefill};

/// How long a call that has something to continue waits to learn what kind of server this is.
const LEARN_WAIT: Duration = Duration::from_secs(1);

/// A model server, and everything that is known of it.
#[derive(Debug)]
pub(super) struct Remote {
    client: Client,
    server: Server,
    dialect: Dialect,
    policy: ContinuationPolicy,
    timeouts: Timeouts,
    models: Models,
    /// Batches calls, if configured.
    batches: Option<Batches>,
    /// The default model.
    first: Mutex<Option<String>>,
    learned: Arc<Learned>,
}

/// Whether a server has a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Serves {
    /// It has, or there is no list that denies it.
    Yes,
    /// It is not in its list, which is not complete.
    Perhaps,
    /// It has not.
    No,
}

impl Remote {
    pub(super) fn build(server: Server, tasks: &TaskTracker) -> Result<Self, BuildError> {
        let dialect = server.dialect.unwrap_or_else(|| Dialect::detect(&server.base_url));
        let client = Client::build(dialect, &server)?;
        let batches =
            server.batch.map(|Batch { window, most }| Batches::new(window, most, client.clone(), tasks.clone()));
        Ok(Self {
            models: Models::new(client.clone(), tasks.clone()),
            batches,
            client,
            dialect,
            policy: server.continuation,
            timeouts: server.timeouts,
            server,
            first: Mutex::default(),
            learned: Arc::default(),
        })
    }

    /// How it is reached.
    pub(super) const fn service(&self) -> &Service {
        self.client.service()
    }

    /// Its provider and address, for metrics.
    pub(super) fn served(&self) -> Served {
        let address = self.service().base_url().host_str().map(str::to_owned);
        Served { provider: self.dialect.to_string(), address }
    }

    /// Whether it continues a reply that was broken off.
    pub(super) fn continues(&self) -> bool {
        self.policy != ContinuationPolicy::Off
    }

    /// Checks its health now and then, and so keeps its list of models fresh.
    pub(super) async fn watch(&self, stop: CancellationToken) {
        let probe = || async { self.models.check().await.map_err(|error| error.fault()) };
        self.service().watch(stop, probe).await;
    }

    /// How many models it lists, as far as is known.
    pub(super) fn models_known(&self) -> Option<usize> {
        self.models.known().map(|list| list.len())
    }

    /// The models that can be asked for, by the names that are ours.
    pub(super) async fn models(&self) -> Result<Vec<Model>, UpstreamError> {
        let listed = match (self.server.names().is_empty(), self.models.list().await) {
            (_, Ok(list)) => list.to_vec(),
            // What is configured is known also without a list.
            (false, Err(_)) => Vec::new(),
            (true, Err(error)) => return Err(error),
        };
        let named = self.server.names().into_iter().map(|name| {
            let own = self.server.own_name(name);
            let known = listed.iter().find(|model| model.id == own);
            let owned_by = known.map_or_else(|| self.server.name.clone(), |model| model.owned_by.clone());
            let context_window = known.and_then(|model| model.context_window);
            Model { id: name.to_owned(), created: known.map_or(0, |model| model.created), owned_by, context_window }
        });
        let mut models: Vec<_> = named.collect();
        if self.server.models.is_empty() {
            let more = listed.iter().filter(|model| models.iter().all(|named| named.id != model.id));
            let more: Vec<_> = more.cloned().collect();
            models.extend(more);
        }
        Ok(models)
    }

    /// Whether it has a model of this name, as far as is known.
    pub(super) fn serves(&self, model: &str) -> Serves {
        if self.server.is_configured(model) {
            return Serves::Yes;
        }
        if !self.server.models.is_empty() {
            return Serves::No;
        }
        match self.models.known() {
            None => Serves::Yes,
            Some(list) if models::find(&list, self.dialect, model).is_some() => Serves::Yes,
            Some(_) if self.dialect.lists_all_models() => Serves::No,
            Some(_) => Serves::Perhaps,
        }
    }

    /// Whether it has a model under the name of a built-in one: then that is meant.
    pub(super) fn takes_over(&self, builtin: &str) -> bool {
        let lists = |list: Arc<[Model]>| models::find(&list, self.dialect, builtin).is_some();
        self.server.names().contains(&builtin)
            || (self.server.models.is_empty() && self.models.known().is_some_and(lists))
    }

    /// The default model.
    pub(super) async fn default_model(&self) -> Result<String, UpstreamError> {
        if let Some(model) = self.server.default_model() {
            return Ok(model.to_owned());
        }
        let remembered = self.first.lock().clone();
        match (remembered, self.models.known()) {
            (Some(model), None) => return Ok(model),
            (Some(model), Some(list)) if list.iter().any(|listed| listed.id == model) => return Ok(model),
            _ => {}
        }
        let first = models::first(&self.models.list().await?).ok_or_else(|| UpstreamError {
            error: ReplyError::server("The model server has no models."),
            cause: "its list of models is empty, and no model is configured".to_owned(),
            kind: Kind::Retry { after: None },
        })?;
        *self.first.lock() = Some(first.clone());
        Ok(first)
    }

    /// Checks a name against the list, as far as there is one that can be relied on.
    pub(super) async fn resolve(&self, asked: &str) -> Result<String, ResolveError> {
        let unknown = || ResolveError::Unknown { model: asked.to_owned() };
        if self.server.is_configured(asked) || (self.server.models.is_empty() && !self.dialect.lists_all_models()) {
            return Ok(asked.to_owned());
        }
        if !self.server.models.is_empty() {
            return Err(unknown());
        }
        let find = |list: &[Model]| models::find(list, self.dialect, asked);
        match self.models.list().await {
            Ok(list) if find(&list).is_some() => return Ok(asked.to_owned()),
            // Without a list the server itself has to report that it does not know the model.
            Err(_) => return Ok(asked.to_owned()),
            Ok(_) => {}
        }
        // It may have come since.
        match self.models.recent().await {
            Ok(list) if find(&list).is_none() => Err(unknown()),
            _ => Ok(asked.to_owned()),
        }
    }

    /// Starts a call; returns the stream once the server's headers are there. `hurried`: another server could be asked
    /// instead.
    pub(super) async fn start(
        &self,
        call: Call,
        mut permit: Permit,
        hurried: bool,
        deadline: Instant,
    ) -> Result<(Continuation, HttpStream), UpstreamError> {
        let first = if hurried { self.timeouts.first_content_with_fallback } else { self.timeouts.first_content };
        let limits = Limits { first: Instant::now() + first, between: self.timeouts.between_chunks, total: deadline };
        let call = self.in_its_words(call);
        match self.batched(&call, permit, limits.first.min(limits.total)).await? {
            Joined::Answered(permit, response) => {
                let decoder = Decoder::new(&self.asked(&call, Continuation::Fresh));
                let on_failure = self.on_failure(&call, Continuation::Fresh);
                let stream = HttpStream::new(*response, decoder, limits, permit, on_failure);
                return Ok((Continuation::Fresh, stream));
            }
            Joined::Single(given_back) => permit = given_back,
        }
        match self.attempts(&call, &mut permit, limits.first.min(limits.total)).await {
            Ok((continuation, response)) => {
                let decoder = Decoder::new(&self.asked(&call, continuation));
                let stream = HttpStream::new(response, decoder, limits, permit, self.on_failure(&call, continuation));
                Ok((continuation, stream))
            }
            Err(mut failure) => {
                self.keep_keys_out(&mut failure);
                permit.failed(&failure.fault());
                Err(failure)
            }
        }
    }

    /// Has a call made together with others, if that is wanted and possible.
    async fn batched(&self, call: &Call, permit: Permit, limit: Instant) -> Result<Joined, UpstreamError> {
        let Some(batches) = self.batches.as_ref().filter(|batches| batches.are_taken()) else {
            return Ok(Joined::Single(permit));
        };
        if call.continues() || !call.params.tools.is_empty() {
            return Ok(Joined::Single(permit));
        }
        let (dialect, params) = (self.dialect_now(call).await, &call.params);
        let counts_completion = dialect.counts_completion_tokens() != self.learned.has_other_limit(&params.model);
        let target = Target { dialect, way: Way::Plain, asks_usage: false, counts_completion };
        let encoded = offload(call.text_bytes(), || encode(call, target))?;
        let ended = || failure::unreachable("The model server's batch ended early.", "the task of a batch ended");
        batches.join(&encoded.body, permit, limit).await.ok_or_else(ended)
    }

    /// What the answer has to be read by.
    fn asked(&self, call: &Call, continuation: Continuation) -> Asked {
        Asked {
            params: Some(Arc::clone(&call.params)),
            forced: call.prefix.as_ref().and_then(|prefix| prefix.call.clone()),
            continuation,
            thinks_from_the_start: self.server.thinks_from_the_start,
            repeats_reasons: self.dialect.repeats_reasons(),
            max_bytes: Some(call.max_bytes),
        }
    }

    /// The call with the name that the server has for the model.
    fn in_its_words(&self, call: Call) -> Call {
        let own = self.server.own_name(&call.params.model);
        if own == call.params.model {
            return call;
        }
        Call { params: Arc::new(Params { model: own.to_owned(), ..(*call.params).clone() }), ..call }
    }

    /// Asks in other words if the server does not take the first ones.
    async fn attempts(
        &self,
        call: &Call,
        permit: &mut Permit,
        limit: Instant,
    ) -> Result<(Continuation, reqwest::Response), UpstreamError> {
        let dialect = self.dialect_now(call).await;
        let mut way = self.way(call, dialect)?;
        let (mut gave_up_prefill, mut other_limit) = (false, self.learned.has_other_limit(&call.params.model));
        let mut changed_limit = false;
        loop {
            let asks_usage = dialect.is_asked_for_usage() && !self.learned.refuses_usage.load(Ordering::Relaxed);
            let counts_completion = dialect.counts_completion_tokens() != other_limit;
            let target = Target { dialect, way, asks_usage, counts_completion };
            let encoded = offload(call.text_bytes(), || encode(call, target))?;
            let late = |_| Err(failure::unreachable("The model server did not answer in time.", "no headers in time"));
            let failure = match timeout_at(limit, self.client.chat(permit, encoded.body)).await.unwrap_or_else(late) {
                Ok(response) => {
                    if gave_up_prefill {
                        self.learned.refuse_prefill(&call.params.model);
                    }
                    if changed_limit {
                        self.learned.set_other_limit(&call.params.model, other_limit);
                    }
                    return Ok((encoded.continuation, response));
                }
                Err(failure) => failure,
            };
            let prefilled = encoded.continuation == Continuation::Prefill;
            if asks_usage && is_about_usage(&failure) {
                self.learned.refuses_usage.store(true, Ordering::Relaxed);
            } else if call.params.max_output_tokens.is_some()
                && !changed_limit
                && is_about_limit(&failure, counts_completion)
            {
                (changed_limit, other_limit) = (true, !other_limit);
            } else if prefilled && self.policy == ContinuationPolicy::Auto && may_be_prefill(&failure) {
                way = Way::Instruct;
                gave_up_prefill = true;
            } else {
                return Err(failure);
            }
        }
    }

    /// The dialect, if need be after a look at the list of models, which identifies vLLM and llama.cpp.
    async fn dialect_now(&self, call: &Call) -> Dialect {
        if self.dialect != Dialect::Generic || self.server.dialect.is_some() {
            return self.dialect;
        }
        let continues = call.prefix.as_ref().is_some_and(|prefix| !prefix.text.is_empty());
        let list = match self.models.known() {
            None if continues => timeout(LEARN_WAIT, self.models.list()).await.ok().and_then(Result::ok),
            known => known,
        };
        list.and_then(|list| models::dialect(&list)).unwrap_or(self.dialect)
    }

    fn way(&self, call: &Call, dialect: Dialect) -> Result<Way, UpstreamError> {
        let support = dialect.prefill(self.server.base_url.path());
        let plain = match support {
            PrefillSupport::Prefix => Way::Prefix,
            PrefillSupport::Flags => Way::Flags,
            PrefillSupport::Plain | PrefillSupport::None => Way::Plain,
        };
        Ok(match self.policy {
            ContinuationPolicy::Off if call.continues() => return Err(switched_off()),
            ContinuationPolicy::Instruct => Way::Instruct,
            ContinuationPolicy::Prefill if support == PrefillSupport::Plain => Way::Flags,
            ContinuationPolicy::Auto if support == PrefillSupport::None => Way::Instruct,
            ContinuationPolicy::Auto if self.learned.refuses_prefill(&call.params.model) => Way::Instruct,
            ContinuationPolicy::Auto | ContinuationPolicy::Prefill | ContinuationPolicy::Off => plain,
        })
    }

    /// Some servers refuse a prefill, or the name of the limit, only in the stream: another attempt helps, for it will be
    /// made in other words.
    fn on_failure(&self, call: &Call, continuation: Continuation) -> OnFailure {
        let prefilled = continuation == Continuation::Prefill && self.policy == ContinuationPolicy::Auto;
        let limited = call.params.max_output_tokens.is_some();
        let (learned, model) = (Arc::clone(&self.learned), call.params.model.clone());
        let (other_limit, dialect) = (learned.has_other_limit(&model), self.dialect);
        let keys = self.server.keys.clone();
        Box::new(move |failure: &mut UpstreamError| {
            keep_out(&keys, failure);
            if prefilled && failure.kind == Kind::PrefillRejected {
                learned.refuse_prefill(&model);
                failure.kind = Kind::Retry { after: None };
            } else if limited
                && failure.kind == Kind::Request
                && is_about_limit(failure, dialect.counts_completion_tokens() != other_limit)
            {
                learned.set_other_limit(&model, !other_limit);
                failure.kind = Kind::Retry { after: None };
            }
        })
    }

    fn keep_keys_out(&self, failure: &mut UpstreamError) {
        keep_out(&self.server.keys, failure);
    }
}

/// Removes the configured keys from the failure's texts.
fn keep_out(keys: &[Secret], failure: &mut UpstreamError) {
    failure::redact::without(keys, &mut failure.error.message);
    failure::redact::without(keys, &mut failure.cause);
}

fn switched_off() -> UpstreamError {
    UpstreamError {
        error: ReplyError::server("The reply was interrupted, and continuing is switched off."),
        cause: "LLM_CONTINUATION is off".to_owned(),
        kind: Kind::Request,
    }
}
