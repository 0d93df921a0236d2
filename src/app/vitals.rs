//! The server's health as the edge tells it: looks at what the parts know of themselves, and asks nobody.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use crate::health::{self, Breaker, Findings, Latches, Quantiles, Report};
use crate::http;
use crate::log::{AppendError, Log};
use crate::projection::Progress;
use crate::speech::{Mode, Speech};
use crate::telemetry::{Metrics, Observed};
use crate::threads::Threads;

/// What the parts know of themselves.
pub(super) struct Vitals {
    pub(super) latches: Latches,
    pub(super) log: Log,
    /// The kind of the store.
    pub(super) store: &'static str,
    pub(super) threads: Threads,
    pub(super) projection: Arc<Progress>,
    pub(super) upstream: Arc<UpstreamVitals>,
    pub(super) speech: Speech,
    pub(super) metrics: Arc<Metrics>,
    pub(super) started: Instant,
}

/// How the last call of the model server went.
#[derive(Debug)]
pub(super) struct UpstreamVitals {
    pub(super) name: String,
    problem: Mutex<Option<&'static str>>,
}

impl UpstreamVitals {
    pub(super) fn new(name: String) -> Self {
        Self { name, problem: Mutex::new(None) }
    }

    pub(super) fn went(&self, problem: Option<&'static str>) {
        *self.problem.lock() = problem;
    }
}

impl Vitals {
    fn findings(&self) -> Findings {
        let lag = self.projection.lag();
        let delivery = |share| self.metrics.delivery_lag.quantile(share).map(|seconds| seconds * 1000.0);
        let streams: i64 = self.metrics.streams_open.all().map(|(_, streams)| streams.get()).sum();
        Findings {
            log: health::Log { kind: self.log.kind(), problem: self.log.admits().err().map(|error| problem(&error)) },
            store: health::Store {
                kind: self.store,
                up: self.projection.store_is_up(),
                breaker: if self.threads.asks_store() { Breaker::Closed } else { Breaker::Open },
                lag_records: lag.records,
                lag_s: lag.age.as_secs_f64(),
            },
            upstreams: vec![health::Upstream {
                name: self.upstream.name.clone(),
                problem: self.upstream.problem.lock().map(str::to_owned),
            }],
            speech: speech(&self.speech.mode()),
            replies_running: u64::try_from(self.metrics.replies_running.get()).unwrap_or_default(),
            streams_open: u64::try_from(streams).unwrap_or_default(),
            delivery_lag: Quantiles { p50_ms: delivery(0.5), p99_ms: delivery(0.99) },
            unready: self.latches.unready(),
            uptime: self.started.elapsed(),
        }
    }
}

/// The voice, for people.
fn speech(mode: &Mode) -> health::Speech {
    let (mode, problem) = match mode {
        Mode::Server(_) => ("server", None),
        Mode::Local { instead: false } => ("local", None),
        Mode::Local { instead: true } => ("local", Some("the voice of this machine speaks: no speech server can")),
        Mode::Off => ("off", Some("replies are not spoken: no speech server can")),
        Mode::None => ("none", None),
    };
    health::Speech { mode, problem: problem.map(str::to_owned) }
}

fn problem(error: &AppendError) -> String {
    match error {
        AppendError::Full => "the disk is nearly full".to_owned(),
        other => other.to_string(),
    }
}

impl http::Health for Vitals {
    fn unready(&self) -> Option<String> {
        self.latches.unready().map(str::to_owned)
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
            log_writable: self.log.admits().is_ok(),
            store_up: self.projection.store_is_up(),
        })
    }
}
