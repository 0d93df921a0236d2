//! Instruments and log lines to a collector, by OTLP over HTTP.
//!
//! There is one list of instruments: what Prometheus is shown is what is sent. Its text is read back, and named as
//! OpenTelemetry's conventions name it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter, SdkLoggerProvider};
use prost::Message;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

mod exposition;

use super::{InitError, Otlp, causes, traces};

/// The longest that a collector may take for the instruments.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends the instruments now and then.
pub(crate) struct MetricsExport {
    client: reqwest::Client,
    url: String,
    every: Duration,
    resource: Resource,
    started: u64,
}

impl MetricsExport {
    /// To this collector. `None`: it is not to have them.
    pub(crate) fn to(otlp: &Otlp) -> Option<Self> {
        // Whoever comes first installs it; all install the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let attributes = traces::resource(otlp);
        let attribute =
            |(key, value): (&opentelemetry::Key, &opentelemetry::Value)| text(key.as_str(), &value.as_str());
        Some(Self {
            every: otlp.metrics?,
            client: reqwest::Client::builder().timeout(TIMEOUT).build().ok()?,
            url: signal(otlp, "metrics"),
            resource: Resource { attributes: attributes.iter().map(attribute).collect(), ..Resource::default() },
            started: now_nanos(),
        })
    }

    /// Sends what `expose` shows until `stop`, and then once more.
    pub(crate) async fn run(self, expose: impl Fn() -> String, stop: CancellationToken) {
        let mut is_failing = false;
        loop {
            let stopped = stop.run_until_cancelled(tokio::time::sleep(self.every)).await.is_none();
            let sent = self.send(&expose()).await;
            match (&sent, is_failing) {
                (Err(error), false) => tracing::warn!(%error, "the collector refuses metrics"),
                (Ok(()), true) => tracing::info!("the collector accepts metrics again"),
                _ => {}
            }
            is_failing = sent.is_err();
            if stopped {
                return;
            }
        }
    }

    async fn send(&self, text: &str) -> Result<(), String> {
        let metrics = exposition::read(text, self.started, now_nanos());
        let scope = Some(InstrumentationScope { name: "rejoinder".to_owned(), ..InstrumentationScope::default() });
        let scope = ScopeMetrics { scope, metrics, schema_url: String::new() };
        let all = ResourceMetrics {
            resource: Some(self.resource.clone()),
            scope_metrics: vec![scope],
            schema_url: String::new(),
        };
        let body = ExportMetricsServiceRequest { resource_metrics: vec![all] }.encode_to_vec();
        let request = self.client.post(&self.url).header("content-type", "application/x-protobuf").body(body);
        let answer = request.send().await.map_err(|error| causes::chain(&error.without_url()))?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("it answers {}", answer.status())) }
    }
}

/// Starts the export of log lines.
pub(super) fn logs(otlp: &Otlp) -> Result<SdkLoggerProvider, InitError> {
    let failed = |error: &dyn std::fmt::Display| InitError(error.to_string());
    let exporter = opentelemetry_otlp::LogExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(signal(otlp, "logs"))
        .build()
        .map_err(|error| failed(&error))?;
    let runtime = Handle::try_current().map_err(|error| failed(&error))?;
    let exporter = OnRuntime { exporter, runtime };
    Ok(SdkLoggerProvider::builder().with_resource(traces::resource(otlp)).with_batch_exporter(exporter).build())
}

/// An exporter whose calls find the server's runtime: the thread that gathers log lines has none of its own.
#[derive(Debug)]
struct OnRuntime {
    exporter: opentelemetry_otlp::LogExporter,
    runtime: Handle,
}

impl LogExporter for OnRuntime {
    fn export(&self, batch: LogBatch<'_>) -> impl Future<Output = OTelSdkResult> + Send {
        Entered::new(self.exporter.export(batch), &self.runtime)
    }

    fn set_resource(&mut self, resource: &opentelemetry_sdk::Resource) {
        self.exporter.set_resource(resource);
    }
}

/// A future that finds a runtime wherever it is polled.
pub(super) struct Entered<F> {
    future: Pin<Box<F>>,
    runtime: Handle,
}

impl<F> Entered<F> {
    pub(super) fn new(future: F, runtime: &Handle) -> Self {
        Self { future: Box::pin(future), runtime: runtime.clone() }
    }
}

impl<F: Future> Future for Entered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let runtime = self.runtime.clone();
        let _entered = runtime.enter();
        self.future.as_mut().poll(cx)
    }
}

/// Where a collector takes a signal.
pub(super) fn signal(otlp: &Otlp, signal: &str) -> String {
    format!("{}/v1/{signal}", otlp.endpoint.as_str().trim_end_matches('/'))
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn now_nanos() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
