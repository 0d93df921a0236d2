//! Instruments that OpenTelemetry's conventions have names for: calls of models, requests. In Prometheus they have these
//! names as its exposition writes them: with underscores, and the unit at the end.

use std::time::Duration;

use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::registry::Registry;

use super::instruments::Histogram;
use super::labelled::Labelled;
use super::spans::trace_id;

/// Latencies, with the trace of a late one of each bucket: a call or a request costs a lock each.
type Latencies = HistogramWithExemplars<[(&'static str, String); 1]>;

/// Instruments of the conventions.
#[derive(Debug)]
pub(crate) struct Conventional {
    operation: Labelled<Latencies>,
    first_chunk: Labelled<Latencies>,
    per_chunk: Labelled<Latencies>,
    tokens: Labelled<Histogram<u64>>,
    requests: Labelled<Latencies>,
}

/// A call of a model that is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ModelCall<'a> {
    /// What was asked for.
    pub(crate) model: &'a str,
    /// What kind of server it is.
    pub(crate) provider: &'a str,
    /// How it failed, in a word. `None`: it did not.
    pub(crate) failure: Option<&'static str>,
    /// How long it took.
    pub(crate) took: Duration,
    /// Until the first piece of the answer came, if one did.
    pub(crate) first_chunk: Option<Duration>,
    /// Between two pieces, on average, if there were several.
    pub(crate) per_chunk: Option<Duration>,
    /// Tokens that were read and generated, as far as is known.
    pub(crate) tokens: [u64; 2],
    /// The trace that it is in, as `traceparent` has it.
    pub(crate) trace: Option<&'a str>,
}

impl Conventional {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let durations = |registry: &mut Registry, name: &str, help: &str, make: fn() -> Latencies| {
            let instrument = Labelled::new(MetricType::Histogram, make);
            registry.register(name, help, instrument.clone());
            instrument
        };
        let tokens = Labelled::new(MetricType::Histogram, token_counts);
        registry.register(
            "gen_ai_client_token_usage",
            "Tokens that calls of models read and generated",
            tokens.clone(),
        );
        Self {
            operation: durations(
                registry,
                "gen_ai_client_operation_duration_seconds",
                "Calls of models, from the call to its end",
                operations,
            ),
            first_chunk: durations(
                registry,
                "gen_ai_client_operation_time_to_first_chunk_seconds",
                "From a call of a model to the first piece of its answer",
                first_chunks,
            ),
            per_chunk: durations(
                registry,
                "gen_ai_client_operation_time_per_output_chunk_seconds",
                "Between two pieces of an answer, on average over a call",
                output_chunks,
            ),
            requests: durations(
                registry,
                "http_server_request_duration_seconds",
                "Requests, until the headers of their answer",
                requests,
            ),
            tokens,
        }
    }

    /// Takes note of a call of a model.
    pub(crate) fn model_call(&self, call: &ModelCall<'_>) {
        let common = [
            ("gen_ai_operation_name", "chat"),
            ("gen_ai_provider_name", call.provider),
            ("gen_ai_request_model", call.model),
        ];
        let [operation, provider, model] = common;
        match call.failure {
            Some(failure) => {
                let failed = self.operation.of(&[operation, provider, model, ("error_type", failure)]);
                observe(&failed, call.took, call.trace);
            }
            None => observe(&self.operation.of(&common), call.took, call.trace),
        }
        for (instrument, value) in [(&self.first_chunk, call.first_chunk), (&self.per_chunk, call.per_chunk)] {
            if let Some(value) = value {
                observe(&instrument.of(&common), value, call.trace);
            }
        }
        for (kind, tokens) in ["input", "output"].into_iter().zip(call.tokens) {
            if tokens > 0 {
                self.tokens.of(&[operation, provider, model, ("gen_ai_token_type", kind)]).observe(tokens);
            }
        }
    }

    /// Takes note of a request that was answered; of a stream, when its headers were.
    pub(crate) fn request(&self, (method, route): (&str, &str), status: u16, took: Duration, trace: Option<&str>) {
        let status = status.to_string();
        let labels =
            [("http_request_method", method), ("http_route", route), ("http_response_status_code", status.as_str())];
        observe(&self.requests.of(&labels), took, trace);
    }
}

fn observe(latencies: &Latencies, took: Duration, trace: Option<&str>) {
    let exemplar = trace.and_then(trace_id).map(|id| [("trace_id", id.to_owned())]);
    latencies.observe(took.as_secs_f64(), exemplar, None);
}

/// The bounds that the conventions give for each.
fn operations() -> Latencies {
    latencies((0..14).map(|power| 10 << power))
}

fn latencies(millis: impl IntoIterator<Item = u64>) -> Latencies {
    Latencies::new(millis.into_iter().map(|millis| Duration::from_millis(millis).as_secs_f64()))
}

fn first_chunks() -> Latencies {
    let millis = [1, 5, 10, 20, 40, 60, 80, 100, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000, 30_000, 60_000];
    latencies(millis)
}

fn output_chunks() -> Latencies {
    let millis = [1, 5, 10, 25, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1_000, 2_500];
    latencies(millis)
}

fn token_counts() -> Histogram<u64> {
    Histogram::new((0..14).map(|power| 1 << (2 * power)))
}

fn requests() -> Latencies {
    let millis = [1, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000];
    latencies(millis)
}
