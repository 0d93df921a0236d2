//! The server's health as the edge tells it: looks at what the parts know of themselves, and asks nobody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use super::watchdog::{Stall, Watchdog};
use crate::consumers::projection::Progress;
use crate::consumers::webhooks::Board;
use crate::health::{self, Breaker, Findings, Latches, Quantiles, Report};
use crate::llm::Upstream;
use crate::log::{AppendError, Log};
use crate::replies::Runtime;
use crate::services::{self, Phase, Service};
use crate::speech::hearing::Hearing;
use crate::speech::{Mode, Speech};
use crate::telemetry::{Metrics, Observed, ObservedService};
use crate::{http, telemetry};

/// What the parts know of themselves.
pub(super) struct ServerStatus {
    pub(super) latches: Latches,
    pub(super) watchdog: Arc<Watchdog>,
    pub(super) log: Log,
    /// The kind of the store.
    pub(super) store: &'static str,
    pub(super) runtime: Runtime,
    /// How long the log keeps what the store lacks.
    pub(super) retention: Duration,
    pub(super) projection: Arc<Progress>,
    pub(super) webhooks: Board,
    /// Outside services.
    pub(super) services: Vec<Service>,
    pub(super) upstream: Upstream,
    pub(super) speech: Speech,
    pub(super) hearing: Hearing,
    pub(super) metrics: Arc<Metrics>,
    pub(super) started: Instant,
}

impl ServerStatus {
    fn log(&self) -> health::Log {
        let takes_some = self.log.admits().is_ok();
        let full = || self.log.is_full().then(|| "no space left".to_owned());
        let problem = self.log.admits().err().map(|error| problem(&error)).or_else(full);
        health::Log { kind: self.log.kind(), problem, takes_some }
    }

    fn findings(&self) -> Findings {
        let lag = self.projection.lag();
        let delivery = |share| self.metrics.delivery_lag.quantile(share).map(|seconds| seconds * 1000.0);
        let streams: i64 = self.metrics.streams_open.all().map(|(_, streams)| streams.get()).sum();
        Findings {
            log: self.log(),
            refused: self.runtime.refusal().map(|it| health::Refused { reason: it.reason, count: it.count }),
            store: health::Store {
                kind: self.store,
                up: self.projection.store_is_up(),
                breaker: if self.runtime.asks_store() { Breaker::Closed } else { Breaker::Open },
                lag_records: lag.records,
                lag_s: lag.age.as_secs_f64(),
                retention_s: self.retention.as_secs_f64(),
            },
            upstreams: self.services.iter().map(|service| self.upstream(&service.status())).collect(),
            speech: speech(&self.speech.mode()),
            hearing: hearing(&self.hearing.mode()),
            webhooks: webhooks(&self.webhooks),
            replies_running: u64::try_from(self.metrics.replies_running.get()).unwrap_or_default(),
            streams_open: u64::try_from(streams).unwrap_or_default(),
            delivery_lag: Quantiles { p50_ms: delivery(0.5), p99_ms: delivery(0.99) },
            stalls: self.watchdog.stalls().iter().map(stall).collect(),
            damaged: self.log.usage().damaged,
            unready: self.latches.unready(),
            uptime: self.started.elapsed(),
        }
    }
}

/// The voice, for people.
fn speech(mode: &Mode) -> health::Speech {
    let local = "the voice of this machine speaks: no speech server can";
    of_mode(mode, local, "replies are not spoken: no speech server can")
}

/// What transcribes, for people.
fn hearing(mode: &Mode) -> health::Speech {
    let local = "the program of this machine transcribes: no transcription server can";
    of_mode(mode, local, "speech is not transcribed: no transcription server can")
}

/// Webhooks, for people.
fn webhooks(board: &Board) -> health::Webhooks {
    let (observed, waiting) = (board.observed(), board.waiting());
    let failing: Vec<_> = observed.endpoints.iter().filter(|one| !one.is_ended).filter_map(|one| one.failing).collect();
    health::Webhooks {
        delivers: observed.delivers,
        endpoints: observed.endpoints.len(),
        failing: failing.len(),
        failing_for_s: failing.iter().max().map(Duration::as_secs_f64),
        pending: observed.endpoints.iter().map(|one| one.pending).sum(),
        waiting_for_s: waiting.as_ref().map(|waiting| waiting.lasts.as_secs_f64()),
        cause: waiting.map(|waiting| waiting.cause),
    }
}

fn of_mode(mode: &Mode, local: &str, off: &str) -> health::Speech {
    let (mode, problem) = match mode {
        Mode::Server(_) => ("server", None),
        Mode::Local { instead: false } => ("local", None),
        Mode::Local { instead: true } => ("local", Some(local)),
        Mode::Off => ("off", Some(off)),
        Mode::None => ("none", None),
    };
    health::Speech { mode, problem: problem.map(str::to_owned) }
}

impl ServerStatus {
    fn upstream(&self, status: &services::ServiceStatus) -> health::Upstream {
        let error = status.last_error.as_ref();
        let failing = error.filter(|error| !error.is_over);
        let problem = match status.breaker {
            Phase::Closed => failing.map(|error| error.cause.clone()),
            Phase::HalfOpen => Some(format!("it failed, and is to be tried: {}", status.reason)),
            Phase::Open => Some(status.reason.clone()),
        };
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        health::Upstream {
            name: status.name.clone(),
            capability: status.capability,
            address: status.address.clone(),
            problem,
            breaker: health::UpstreamBreaker {
                state: status.breaker.as_str(),
                for_s: status.breaker_for.as_secs_f64(),
                reason: status.reason.clone(),
            },
            in_flight: status.traffic.in_flight,
            queued: status.traffic.queued,
            limit: status.traffic.limit,
            max_in_flight: status.traffic.configured,
            answers_ms: status.answers_after.map(millis),
            check_ms: status.checked_after.map(millis),
            checked_ago_s: status.checked_ago.map(|ago| ago.as_secs_f64()),
            models: self.upstream.models_known(&status.name),
            last_error: error.map(|error| health::UpstreamFault {
                cause: error.cause.clone(),
                ago_s: error.ago.as_secs_f64(),
                failing_for_s: (!error.is_over).then_some(error.for_so_long.as_secs_f64()),
            }),
        }
    }
}

fn observed(status: services::ServiceStatus) -> ObservedService {
    ObservedService {
        service: telemetry::services::Service { name: status.name, capability: status.capability },
        in_flight: status.traffic.in_flight,
        queued: status.traffic.queued,
        limit: status.traffic.limit,
        breaker: match status.breaker {
            Phase::Closed => 0,
            Phase::HalfOpen => 1,
            Phase::Open => 2,
        },
    }
}

fn stall(stall: &Stall) -> health::Stall {
    health::Stall { what: stall.what, for_s: stall.lasts.as_secs_f64() }
}

fn problem(error: &AppendError) -> String {
    match error {
        AppendError::Full => "the disk is nearly full".to_owned(),
        other => other.to_string(),
    }
}

impl http::Health for ServerStatus {
    fn unready(&self) -> Option<String> {
        // A log that cannot be written at all is not a matter of waiting; one that is full is.
        let broken = match self.log.admits() {
            Err(error @ AppendError::Unavailable(_)) if !self.log.is_shared() => Some(error.to_string()),
            _ => None,
        };
        self.latches.unready().map(str::to_owned).or(broken)
    }

    fn report(&self) -> BoxFuture<'static, serde_json::Value> {
        let report = serde_json::to_value(Report::new(self.findings())).expect("a report is JSON");
        Box::pin(std::future::ready(report))
    }

    fn metrics(&self) -> String {
        let lag = self.projection.lag();
        self.metrics.expose(&Observed {
            projection_lag_records: lag.records,
            projection_lag: lag.age,
            log_writable: self.log.admits().is_ok() && !self.log.is_full(),
            replies_refused: self.runtime.refusal().is_some(),
            log_connected: self.log.is_connected(),
            log_usage: self.log.usage(),
            heartbeats_missed: self.runtime.heartbeats_missed(),
            stalls: self.watchdog.stalls().iter().map(|stall| (stall.what, stall.lasts)).collect(),
            retention: self.retention,
            store_up: self.projection.store_is_up(),
            services: self.services.iter().map(|service| observed(service.status())).collect(),
            webhooks: self.webhooks.observed(),
        })
    }
}
