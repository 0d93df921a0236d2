//! What the server tells of itself: log lines on stderr, traces by OTLP, [`Metrics`]. Knows nothing of what is told.

use std::io::IsTerminal;
use std::time::Duration;

use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};
use url::Url;

pub(crate) mod conventions;
pub(crate) mod instruments;
mod labelled;
pub(crate) mod metrics;
pub(crate) mod services;
pub(crate) mod spans;
pub(crate) mod causes;
pub(crate) mod seldom;
pub(crate) mod otlp;
mod traces;
pub(crate) mod webhooks;

pub(crate) use conventions::ModelCall;
pub use metrics::LogUsage;
pub(crate) use metrics::{Metrics, Observed, ObservedService, StreamKind, TakeoverStage, Voice};
pub(crate) use traces::{request_answered, request_span};
pub(crate) use webhooks::{ObservedEndpoint, ObservedWebhooks};

/// The target of log lines about who may do what, and how much, so that they can be kept apart.
pub(crate) const AUDIT: &str = "rejoinder::audit";

/// What is told, and where.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The form of log lines.
    pub(crate) format: Format,
    /// Which are written: directives as in `RUST_LOG`.
    pub(crate) filter: String,
    /// Where traces go. `None`: nowhere.
    pub(crate) otlp: Option<Otlp>,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For collectors.
    Json,
}

/// A collector.
#[derive(Debug, Clone)]
pub(crate) struct Otlp {
    /// Its address, without the path of a signal.
    pub(crate) endpoint: Url,
    /// The name under which all appears.
    pub(crate) service_name: String,
    /// The share of traces that is sent, of those that no caller decided about.
    pub(crate) sampled: f64,
    /// How often instruments are sent. `None`: they are not.
    pub(crate) metrics: Option<Duration>,
    /// Whether log lines are sent.
    pub(crate) logs: bool,
    /// Whether traces show what models were sent and said.
    pub(crate) captures_content: bool,
}

/// Telemetry that is running.
#[derive(Debug)]
#[must_use = "spans that have gathered are lost unless it is shut down"]
pub(crate) struct Telemetry {
    traces: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
}

/// Telemetry cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("telemetry cannot be started: {0}")]
pub(crate) struct InitError(String);

impl Telemetry {
    /// Starts to tell. To be called once, on the runtime, before anything has something to tell.
    pub(crate) fn start(config: &Config) -> Result<Self, InitError> {
        let (provider, tracer) = config.otlp.as_ref().map(traces::start).transpose()?.unzip();
        // Spans of ours alone: those of the client that sends them would be sent in turn.
        let ours =
            Targets::new().with_target("rejoinder", LevelFilter::INFO).with_target(spans::TARGET, LevelFilter::DEBUG);
        let spans = tracer.map(|tracer| tracing_opentelemetry::layer().with_tracer(tracer).with_filter(ours));
        let logs = config.otlp.as_ref().filter(|otlp| otlp.logs).map(otlp::logs).transpose()?;
        // Those of the client that sends them would be sent in turn.
        let ours = Targets::new().with_target("rejoinder", LevelFilter::INFO);
        let sent = logs.as_ref().map(|logs| OpenTelemetryTracingBridge::new(logs).with_filter(ours));
        // The trace of a line is that of the span that it is in: spans come first.
        let installed = tracing_subscriber::registry().with(lines(config)?).with(spans).with(sent).try_init();
        installed.map_err(|error| InitError(error.to_string()))?;
        Ok(Self { traces: provider, logs })
    }

    /// Sends what has gathered. Nothing is traced afterwards.
    pub(crate) async fn shut_down(self) {
        if let Some(provider) = self.traces {
            traces::stop(provider).await;
        }
        if let Some(logs) = self.logs {
            let stopped = tokio::task::spawn_blocking(move || logs.shutdown_with_timeout(traces::FLUSH_TIMEOUT)).await;
            drop(stopped);
        }
    }
}

/// Log lines, as they are wanted.
fn lines(config: &Config) -> Result<Box<dyn Layer<Registry> + Send + Sync>, InitError> {
    let filter = EnvFilter::try_new(&config.filter).map_err(|error| InitError(error.to_string()))?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    Ok(match config.format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_filter(filter).boxed(),
        Format::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    })
}
