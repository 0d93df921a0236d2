//! Traces: spans to a collector by OTLP over HTTP, and what callers say of theirs in `traceparent`.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::HeaderMap;
use opentelemetry::KeyValue;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::Handle;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::otlp::{Entered, signal};
use super::{InitError, Otlp};

/// The longest that the end of the server waits for its last spans to be taken.
pub(super) const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts the export. Spans gather in a bounded queue, and a thread sends them in batches; when the collector is
/// away, they are dropped.
pub(super) fn start(otlp: &Otlp) -> Result<(SdkTracerProvider, SdkTracer), InitError> {
    // Whoever comes first installs it; all install the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(signal(otlp, "traces"))
        .build()
        .map_err(|error| InitError(error.to_string()))?;
    let runtime = Handle::try_current().map_err(|error| InitError(error.to_string()))?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(OnRuntime { exporter, runtime, failing: AtomicBool::default() })
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(otlp.sampled))))
        .with_resource(resource(otlp))
        .build();
    let tracer = provider.tracer("rejoinder");
    Ok((provider, tracer))
}

/// Who all comes from.
pub(super) fn resource(otlp: &Otlp) -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    Resource::builder().with_service_name(otlp.service_name.clone()).with_attribute(version).build()
}

/// Sends what has gathered, and stops.
pub(super) async fn stop(provider: SdkTracerProvider) {
    let stopped = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT)).await;
    if let Ok(Err(error)) = stopped {
        tracing::warn!(%error, "the collector refused the last traces");
    }
}

/// A span for a request, in the caller's trace if it says which.
pub(crate) fn request_span(route: &'static str, id: &hyper::header::HeaderValue, headers: &HeaderMap) -> Span {
    let id = id.to_str().unwrap_or_default();
    let span = tracing::info_span!("request", route, id, otel.name = route, otel.kind = "server");
    if headers.contains_key("traceparent") && !span.is_disabled() {
        let context = TraceContextPropagator::new().extract(&Headers(headers));
        // It fails only where nobody exports: then there is nothing to be a parent of.
        let _ = span.set_parent(context);
    }
    span
}

/// A request was answered; of a stream, its headers were.
pub(crate) fn request_answered(span: &Span, (method, route): (&str, &'static str), status: u16) {
    if span.is_disabled() {
        return;
    }
    span.set_attribute("http.request.method", method.to_owned());
    span.set_attribute("http.route", route);
    span.set_attribute("http.response.status_code", i64::from(status));
    if status >= 500 {
        span.set_attribute("error.type", status.to_string());
        span.set_status(opentelemetry::trace::Status::error(""));
    }
}

/// An exporter whose calls find the server's runtime: the thread that gathers the spans has none of its own.
struct OnRuntime {
    exporter: opentelemetry_otlp::SpanExporter,
    runtime: Handle,
    failing: AtomicBool,
}

impl SpanExporter for OnRuntime {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        let exported = Entered::new(self.exporter.export(batch), &self.runtime);
        async move {
            let result = exported.await;
            tell(&self.failing, result.as_ref().err());
            result
        }
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Tells when the collector goes away, once, and when it is back.
fn tell(failing: &AtomicBool, error: Option<&OTelSdkError>) {
    match (failing.swap(error.is_some(), Ordering::Relaxed), error) {
        (false, Some(error)) => tracing::warn!(%error, "the collector refuses traces: they are lost meanwhile"),
        (true, None) => tracing::info!("the collector accepts traces again"),
        (true, Some(_)) | (false, None) => {}
    }
}

impl fmt::Debug for OnRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnRuntime")
    }
}

/// A request's headers, as a propagator reads them.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(hyper::header::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Takes one request, and gives it back whole.
    async fn collector(listener: TcpListener) -> Vec<u8> {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !is_whole(&request) {
            assert_ne!(socket.read_buf(&mut request).await.unwrap(), 0, "the exporter hung up");
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        request
    }

    fn otlp(endpoint: url::Url) -> Otlp {
        let service_name = "a-name".to_owned();
        Otlp { endpoint, service_name, sampled: 1.0, metrics: None, logs: false, captures_content: false }
    }

    fn is_whole(request: &[u8]) -> bool {
        let text = String::from_utf8_lossy(request).to_lowercase();
        let Some((head, _)) = text.split_once("\r\n\r\n") else { return false };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let body = memchr::memmem::find(request, b"\r\n\r\n").unwrap() + 4;
        request.len() >= body + length.parse::<usize>().unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_appears_at_the_collector_in_its_callers_trace() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let collected = tokio::spawn(collector(listener));
        let (provider, tracer) = start(&otlp(endpoint)).unwrap();
        let subscriber = tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer));

        let mut headers = HeaderMap::new();
        let caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        headers.insert("traceparent", HeaderValue::from_static(caller));
        tracing::subscriber::with_default(subscriber, || {
            drop(request_span("POST /v1/responses", &HeaderValue::from_static("req_1"), &headers));
        });
        stop(provider).await;

        let request = collected.await.unwrap();
        assert!(request.starts_with(b"POST /v1/traces HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&request));
        let trace = data_encoding::HEXLOWER.decode(b"4bf92f3577b34da6a3ce929d0e0e4736").unwrap();
        for part in [&b"a-name"[..], b"POST /v1/responses", &trace] {
            assert!(
                memchr::memmem::find(&request, part).is_some(),
                "{} in {}",
                String::from_utf8_lossy(part),
                String::from_utf8_lossy(&request)
            );
        }
    }

    #[test]
    fn a_request_span_without_an_exporter_breaks_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static("nonsense"));
        request_span("/livez", &HeaderValue::from_static("req_1"), &headers).in_scope(|| ());
    }
}
