//! From the configuration to what each part is set up with.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;
use url::Url;

use super::vitals::UpstreamVitals;
use crate::config::{Config, Continuation, CorsOrigins, Sync};
use crate::http::cors::Origins;
use crate::telemetry::{Metrics, Stage};
use crate::upstream::delta::UpstreamErrorKind;
use crate::upstream::{ContinuationPolicy, Observer, Outcome, Timeouts};
use crate::speech::Speech;
use crate::upstream::service::{self, Service};
use crate::upstream::speech::SpeechServer;
use crate::{generation, http, log, speech, upstream};

/// The log on NATS. `None`: it is kept here.
pub fn nats(config: &Config) -> Option<log::jetstream::Config> {
    let nats = config.log.nats.as_ref()?;
    Some(log::jetstream::Config {
        url: nats.url.expose().to_owned(),
        credentials: nats.credentials.clone(),
        replicas: nats.replicas,
        retention: config.log.retention,
        replay_window: config.log.replay_window,
        max_bytes: nats.max_bytes,
    })
}

pub(super) fn log(config: &Config) -> log::embedded::Config {
    log::embedded::Config {
        dir: config.data_dir.clone(),
        sync_always: config.log.sync == Sync::Always,
        min_free_disk: config.log.min_free_disk,
    }
}

/// How the model server is called, as the configuration has it.
pub fn upstream(config: &Config, observer: Arc<dyn Observer>, tasks: &TaskTracker) -> upstream::Config {
    let settings = &config.upstream;
    upstream::Config {
        base_url: settings.base_url.clone(),
        model: settings.model.clone(),
        api_key: settings.api_key.clone(),
        continuation: match settings.continuation {
            Continuation::Auto => ContinuationPolicy::Auto,
            Continuation::Prefill => ContinuationPolicy::Prefill,
            Continuation::Instruct => ContinuationPolicy::Instruct,
            Continuation::Off => ContinuationPolicy::Off,
        },
        timeouts: Timeouts {
            connect: settings.timeouts.connect,
            first_content: settings.timeouts.first,
            between_chunks: settings.timeouts.idle,
        },
        dialect: None,
        observer,
        tasks: tasks.clone(),
    }
}

/// The voices, as the configuration has them.
pub(super) fn speech(config: &Config, metrics: &Arc<Metrics>, tasks: &TaskTracker) -> Result<Speech, service::BuildError> {
    /// Requests that wait for the speech server at most.
    const QUEUED: usize = 64;
    /// Calls of all speech servers at once.
    const CONNECTIONS: usize = 10;
    let settings = &config.speech;
    let server = |base_url: &Url| {
        let service = Service::build(service::Config {
            name: "speech".to_owned(),
            capability: service::SPEECH,
            base_url: base_url.clone(),
            keys: settings.api_key.iter().cloned().collect(),
            connect: settings.connect,
            limits: service::Limits {
                max_in_flight: settings.max_in_flight.get(),
                max_queued: QUEUED,
                queue_timeout: settings.first,
            },
            ca_file: None,
            observer: Arc::new(service::Unobserved),
        })?;
        Ok(SpeechServer::new(service, settings.model.clone(), settings.voice.clone()))
    };
    let servers = settings.base_url.iter().map(server).collect::<Result<Vec<_>, service::BuildError>>()?;
    let speech = speech::Config {
        command: settings.command.clone(),
        processes: std::thread::available_parallelism().map_or(2, std::num::NonZero::get).max(2),
        connections: CONNECTIONS.max(settings.max_in_flight.get()),
        timeouts: speech::Timeouts { first: settings.first, between: settings.idle },
    };
    Ok(Speech::new(speech, servers, Arc::clone(metrics), tasks.clone()))
}

pub(super) fn generation(config: &Config) -> generation::Config {
    generation::Config {
        max_running: config.generation.max_running_replies.get(),
        reply_deadline: config.generation.reply_deadline.min(config.upstream.timeouts.total),
        continues: config.upstream.continuation != Continuation::Off,
        log_patience: Duration::from_secs(30),
    }
}

pub(super) fn http(config: &Config, greeting: String) -> http::Config {
    http::Config {
        max_body_bytes: config.http.max_body_bytes,
        heartbeat: config.http.heartbeat,
        stream_max_age: config.http.stream_max_age,
        client_stall_timeout: config.http.client_stall_timeout,
        cors: match &config.http.cors_origins {
            CorsOrigins::None => Origins::Same,
            CorsOrigins::Any => Origins::Any,
            CorsOrigins::List(sites) => Origins::Listed(sites.clone()),
        },
        greeting,
    }
}

/// Notes in the instruments what is told of calls.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) metrics: Arc<Metrics>,
    pub(super) vitals: Arc<UpstreamVitals>,
}

impl Observer for Measured {
    fn answered(&self, after: Duration) {
        self.metrics.upstream_latency.of(Stage::Headers).observe(after);
    }

    fn began(&self, after: Duration) {
        self.metrics.upstream_latency.of(Stage::FirstContent).observe(after);
    }

    fn ended(&self, outcome: Outcome, _after: Duration) {
        let kind = match outcome {
            Outcome::Failed(kind) => kind,
            Outcome::Completed => return self.vitals.went(None),
            Outcome::Dropped => return,
        };
        // What is wrong with a request says nothing of the server.
        let (name, problem) = match kind {
            UpstreamErrorKind::Retry { .. } => ("retry", Some("its last call failed, or broke off")),
            UpstreamErrorKind::Credentials => ("credentials", Some("it refuses the key (LLM_API_KEY)")),
            UpstreamErrorKind::PrefillRejected => ("prefill_rejected", None),
            UpstreamErrorKind::ContextLength => ("context_length", None),
            UpstreamErrorKind::Request => ("request", None),
        };
        self.metrics.upstream_errors(name);
        if problem.is_some() {
            self.vitals.went(problem);
        }
    }
}
