//! From the configuration to what each part is set up with.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::config::{self, Config, ContinuationPolicy, ModelServer, Sync, Thinks};
use crate::consumers::webhooks;
use crate::llm::{Batch, FIRST_CONTENT_WITH_FALLBACK, Timeouts};
use crate::services::{self, Observer, Outcome};
use crate::speech::Speech;
use crate::speech::hearing::server::HearingServer;
use crate::speech::hearing::{self, Hearing};
use crate::speech::server::SpeechServer;
use crate::telemetry::Metrics;
use crate::telemetry::services::{Service, ServiceMetrics};
use crate::{llm, log, replies, speech};

/// The log on NATS. `None`: it is kept here.
pub(crate) fn nats(config: &Config) -> Option<log::jetstream::Config> {
    let nats = config.log.nats.as_ref()?;
    Some(log::jetstream::Config {
        servers: nats.servers.clone(),
        credentials: nats.credentials.clone(),
        ca_file: nats.ca_file.clone(),
        api: nats.api.clone(),
        replicas: nats.replicas,
        shards: nats.shards,
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
        segment_bytes: log::embedded::SEGMENT_BYTES,
    }
}

/// How the model servers are called, as the configuration has it. `observer` makes who takes note of each.
pub(crate) fn upstream(
    config: &Config,
    observer: impl Fn(&str) -> Arc<dyn Observer>,
    tasks: &TaskTracker,
) -> llm::Config {
    let settings = &config.upstream;
    let servers = settings.servers.iter().map(|server| model_server(server, observer(&server.server.name)));
    llm::Config { servers: servers.collect(), model: settings.model.clone(), tasks: tasks.clone() }
}

fn model_server(settings: &ModelServer, observer: Arc<dyn Observer>) -> llm::Server {
    let ModelServer { server, first, first_with_fallback, .. } = settings;
    llm::Server {
        name: server.name.clone(),
        base_url: server.base_url.clone(),
        keys: server.keys.clone(),
        model: settings.model.clone(),
        models: settings.models.clone(),
        rename: settings.rename.clone(),
        continuation: settings.continuation,
        timeouts: Timeouts {
            connect: server.connect,
            first_content: *first,
            first_content_with_fallback: first_with_fallback.unwrap_or(FIRST_CONTENT_WITH_FALLBACK.min(*first)),
            between_chunks: settings.idle,
        },
        dialect: settings.dialect,
        thinks_from_the_start: settings.thinks == Thinks::FromTheStart,
        limits: server.limits,
        batch: settings.batch_window.map(|window| Batch { window, most: settings.batch_max }),
        ca_file: server.ca_file.clone(),
        observer,
    }
}

/// The service that a server is, as the configuration has it.
fn service(
    server: &config::Server,
    capability: &'static str,
    observer: Arc<dyn Observer>,
) -> Result<services::Service, services::BuildError> {
    services::Service::build(services::Config {
        name: server.name.clone(),
        capability,
        base_url: server.base_url.clone(),
        keys: server.keys.clone(),
        connect: server.connect,
        limits: server.limits,
        ca_file: server.ca_file.clone(),
        observer,
    })
}

/// The speech servers, as the configuration has them.
pub(crate) fn speech_servers(
    config: &Config,
    observer: impl Fn(&str) -> Arc<dyn Observer>,
) -> Result<Vec<SpeechServer>, services::BuildError> {
    let server = |one: &config::SpeechServer| {
        let service = service(&one.server, services::SPEECH, observer(&one.server.name))?;
        Ok(SpeechServer::new(service, one.model.clone(), one.voice.clone()))
    };
    config.speech.servers.iter().map(server).collect()
}

/// The voices, as the configuration has them.
pub(super) fn speech(
    config: &Config,
    metrics: &Arc<Metrics>,
    tasks: &TaskTracker,
) -> Result<Speech, services::BuildError> {
    /// Calls of all speech servers at once, unless one of them may have more.
    const CONNECTIONS: usize = 10;
    let settings = &config.speech;
    let observer = |name: &str| Arc::new(Measured::new(name, services::SPEECH, metrics)) as Arc<dyn Observer>;
    let servers = speech_servers(config, observer)?;
    let most = settings.servers.iter().map(|one| one.server.limits.max_in_flight).max().unwrap_or_default();
    let speech = speech::Config {
        command: settings.command.clone(),
        processes: std::thread::available_parallelism().map_or(2, std::num::NonZero::get).max(2),
        connections: CONNECTIONS.max(most),
        timeouts: speech::Timeouts { first: settings.first, between: settings.idle },
    };
    Ok(Speech::new(speech, servers, Arc::clone(metrics), tasks.clone()))
}

/// The servers that transcribe, as the configuration has them.
pub(crate) fn hearing_servers(
    config: &Config,
    observer: impl Fn(&str) -> Arc<dyn Observer>,
) -> Result<Vec<HearingServer>, services::BuildError> {
    let server = |one: &config::HearingServer| {
        let service = service(&one.server, services::HEARING, observer(&one.server.name))?;
        Ok(HearingServer::new(service, one.model.clone()))
    };
    config.hearing.servers.iter().map(server).collect()
}

/// What transcribes speech, as the configuration has it.
pub(super) fn hearing(config: &Config, metrics: &Arc<Metrics>) -> Result<Hearing, services::BuildError> {
    let settings = &config.hearing;
    let observer = |name: &str| Arc::new(Measured::new(name, services::HEARING, metrics)) as Arc<dyn Observer>;
    let hearing = hearing::Config {
        command: settings.command.clone(),
        processes: std::thread::available_parallelism().map_or(2, std::num::NonZero::get).max(2),
        timeout: settings.timeout,
    };
    Ok(Hearing::new(hearing, hearing_servers(config, observer)?, Arc::clone(metrics)))
}

pub(super) fn replies(config: &Config) -> replies::Config {
    replies::Config {
        max_running: config.generation.max_running_replies.get(),
        reply_deadline: config.generation.reply_deadline.min(config.upstream.total),
        continues: continues(config),
        max_reply_bytes: config.generation.max_reply_bytes.get(),
        max_record_bytes: config.log.max_record_bytes,
        captures_content: config.telemetry.otlp.as_ref().is_some_and(|otlp| otlp.captures_content),
        retention: config.retention.clone(),
        log_timeouts: replies::Timeouts {
            away: Duration::from_secs(30),
            full: config.generation.reply_deadline.min(config.upstream.total),
        },
    }
}

/// Whether anybody goes on with what was broken off: a server, or the built-in models.
fn continues(config: &Config) -> bool {
    let servers = &config.upstream.servers;
    servers.is_empty() || servers.iter().any(|server| server.continuation != ContinuationPolicy::Off)
}

/// Webhooks, as the configuration has them.
pub(super) fn webhooks(config: &Config) -> webhooks::Config {
    let settings = &config.webhooks;
    webhooks::Config {
        of_file: settings.of_file.clone(),
        allows_private: settings.allows_private,
        ca_file: settings.ca_file.clone(),
        give_up_after: settings.give_up_after,
        retention: config.log.retention,
    }
}

/// Notes in the instruments what is told of the calls of one service.
#[derive(Debug)]
pub(super) struct Measured {
    service: Service,
    metrics: Arc<Metrics>,
    own: ServiceMetrics,
}

impl Measured {
    pub(super) fn new(name: &str, capability: &'static str, metrics: &Arc<Metrics>) -> Self {
        let service = Service { name: name.to_owned(), capability };
        Self { own: metrics.service(&service), metrics: Arc::clone(metrics), service }
    }
}

impl Observer for Measured {
    fn queued(&self, for_so_long: Duration) {
        self.own.queued.observe(for_so_long);
    }

    fn answered(&self, after: Duration) {
        self.own.headers.observe(after);
    }

    fn began(&self, after: Duration) {
        self.own.first_content.observe(after);
    }

    fn unread(&self, piece: &'static str, count: u32) {
        self.metrics.upstream_unread(&self.service, piece, count);
    }

    fn batched(&self, outcome: &'static str) {
        self.metrics.upstream_batch(&self.service, outcome);
    }

    fn ended(&self, outcome: Outcome, _after: Duration) {
        let outcome = match outcome {
            Outcome::Completed => "completed",
            Outcome::Failed(how) => how,
            Outcome::Dropped => "dropped",
        };
        self.metrics.upstream_call(&self.service, outcome);
    }
}
