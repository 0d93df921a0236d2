//! Every instrument of the server, in one list.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use super::instruments::{Each, Histogram, Label};

/// Instruments, to be read as Prometheus' text. No globals: whoever measures is handed them.
#[derive(Debug)]
pub struct Metrics {
    /// Replies accepted here.
    pub replies_accepted: Counter,
    /// Replies being generated here.
    pub replies_running: Gauge,
    /// Replies taken over from an instance that is gone.
    pub takeovers: Counter,
    /// Streams that are open.
    pub streams_open: Each<StreamKind, Gauge>,
    /// From the moment at which an event was stored to the one at which it was handed to a client's socket.
    pub delivery_lag: Histogram<Duration>,
    /// How many events a follower is behind when it is served.
    pub buffer_depth: Histogram<u64>,
    /// Bytes in the buffers that followers read from.
    pub buffer_bytes: Gauge,
    /// From handing a record to the log to its acknowledgement.
    pub append_latency: Histogram<Duration>,
    /// How long upstreams take.
    pub upstream_latency: Each<Stage, Histogram<Duration>>,
    /// From a text that is to be spoken to the first audio of it.
    pub speech_first_audio: Histogram<Duration>,
    /// 1 while replies are spoken by less than the voice that is configured, or not at all.
    pub speech_degraded: Gauge,
    speech_texts: Family<VoiceAndOutcome, Counter>,
    replies_ended: Family<Named, Counter>,
    upstream_errors: Family<Named, Counter>,
    requests: Family<RouteAndStatus, Counter>,
    probes: Probes,
    registry: Registry,
}

type VoiceAndOutcome = (Named, Named);

type RouteAndStatus = (Named, [(&'static str, u16); 1]);

/// A label's name and value.
type Named = [(&'static str, &'static str); 1];

/// What is looked up when somebody asks, and not kept up to date.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Observed {
    /// Records that the store does not have yet.
    pub projection_lag_records: u64,
    /// The age of the oldest of them.
    pub projection_lag: Duration,
    /// Whether the log takes records.
    pub log_writable: bool,
    /// Whether the store takes batches.
    pub store_up: bool,
}

#[derive(Debug, Default)]
struct Probes {
    projection_lag_records: Gauge,
    projection_lag_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
    log_writable: Gauge,
    store_up: Gauge,
}

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// A reply, to the client that asked for it or that rejoined it.
    Reply,
    /// A reply, to an `EventSource`.
    ReplyEvents,
    /// A conversation, to an `EventSource`.
    ConversationEvents,
    /// The audio of a reply.
    Audio,
}

/// How far an upstream's answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// From the call to the answer's headers.
    Headers,
    /// From the call to the first content.
    FirstContent,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// A speech server.
    Server,
    /// A program of this machine.
    Local,
}

impl Voice {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Local => "local",
        }
    }
}

impl Label for StreamKind {
    const NAME: &'static str = "kind";
    const ALL: &'static [Self] = &[Self::Reply, Self::ReplyEvents, Self::ConversationEvents, Self::Audio];

    fn as_str(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::ReplyEvents => "reply_events",
            Self::ConversationEvents => "conversation_events",
            Self::Audio => "audio",
        }
    }
}

impl Label for Stage {
    const NAME: &'static str = "stage";
    const ALL: &'static [Self] = &[Self::Headers, Self::FirstContent];

    fn as_str(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::FirstContent => "first_content",
        }
    }
}

impl Metrics {
    /// New instruments, all at zero.
    pub fn new() -> Arc<Self> {
        let mut list = List(Registry::with_prefix("rejoinder"));
        list.0.register("build", "The version that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let probes = Probes {
            projection_lag_records: list.add(
                "projection_lag_records",
                "Records that the store lacks",
                Gauge::default(),
            ),
            projection_lag_seconds: list.add("projection_lag_seconds", "Age of the oldest of them", Gauge::default()),
            log_writable: list.add("log_writable", "1 when the log takes records", Gauge::default()),
            store_up: list.add("store_up", "1 when the store takes batches", Gauge::default()),
        };
        let upstream_latency = Each::new(upstream_durations);
        for (name, help, stage) in [
            ("upstream_headers_seconds", "From a call to the answer's headers", Stage::Headers),
            ("upstream_first_token_seconds", "From a call to its first content", Stage::FirstContent),
        ] {
            list.add(name, help, upstream_latency.of(stage).clone());
        }
        Arc::new(Self {
            replies_accepted: list.add("replies_accepted", "Replies accepted here", Counter::default()),
            replies_ended: list.add("replies_ended", "Replies ended here", Family::default()),
            replies_running: list.add("replies_running", "Replies being generated here", Gauge::default()),
            takeovers: list.add("takeovers", "Replies taken over from an instance that is gone", Counter::default()),
            streams_open: list.add("streams_open", "Streams that are open", Each::new(Gauge::default)),
            delivery_lag: list.add(
                "delivery_lag_seconds",
                "From an event's storage to a client's socket",
                Histogram::of_durations(),
            ),
            buffer_depth: list.add("buffer_depth_events", "Events a follower is behind when served", depths()),
            buffer_bytes: list.add("buffer_depth_bytes", "Bytes in the buffers that followers read", Gauge::default()),
            append_latency: list.add(
                "append_seconds",
                "From a record to its acknowledgement",
                Histogram::of_durations(),
            ),
            speech_first_audio: list.add(
                "speech_first_audio_seconds",
                "From a text that is to be spoken to its first audio",
                upstream_durations(),
            ),
            speech_degraded: list.add(
                "speech_degraded",
                "1 while replies are spoken by less than the configured voice",
                Gauge::default(),
            ),
            speech_texts: list.add("speech_texts", "Texts that voices were given", Family::default()),
            upstream_latency,
            upstream_errors: list.add("upstream_errors", "Calls of an upstream that failed", Family::default()),
            requests: list.add("requests", "Requests answered", Family::default()),
            probes,
            registry: list.0,
        })
    }

    /// Counts a reply that ended; `outcome` is its status.
    pub fn replies_ended(&self, outcome: &'static str) {
        self.replies_ended.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Counts a call of an upstream that failed.
    pub fn upstream_errors(&self, kind: &'static str) {
        self.upstream_errors.get_or_create(&[("kind", kind)]).inc();
    }

    /// Counts a text that a voice was given; `outcome` is `spoken`, `failed` or `refused`.
    pub fn speech_texts(&self, voice: Voice, outcome: &'static str) {
        self.speech_texts.get_or_create(&([("voice", voice.as_str())], [("outcome", outcome)])).inc();
    }

    /// Counts a request that was answered (streams: when their headers were).
    pub fn requests(&self, route: &'static str, status: u16) {
        self.requests.get_or_create(&([("route", route)], [("status", status)])).inc();
    }

    /// All instruments, in the text format of Prometheus (`OpenMetrics` 1.0).
    pub fn expose(&self, observed: &Observed) -> String {
        let probes = &self.probes;
        probes.projection_lag_records.set(i64::try_from(observed.projection_lag_records).unwrap_or(i64::MAX));
        probes.projection_lag_seconds.set(observed.projection_lag.as_secs_f64());
        probes.log_writable.set(observed.log_writable.into());
        probes.store_up.set(observed.store_up.into());
        let mut exposition = String::with_capacity(16 * 1024);
        text::encode(&mut exposition, &self.registry).expect("a string takes what is written to it");
        exposition
    }
}

/// The media type of [`Metrics::expose`].
pub const EXPOSITION_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Instruments by name.
struct List(Registry);

impl List {
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, instrument: M) -> M {
        self.0.register(name, help, instrument.clone());
        instrument
    }
}

/// 0 to 4096, each the double of the one before.
fn depths() -> Histogram<u64> {
    Histogram::new([0].into_iter().chain((0..=12).map(|power| 1 << power)))
}

/// Models think for minutes.
fn upstream_durations() -> Histogram<Duration> {
    let millis = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000];
    Histogram::new(millis.map(Duration::from_millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instrument_is_exposed_once_it_is_used() {
        let metrics = Metrics::new();
        metrics.replies_accepted.inc();
        metrics.replies_ended("completed");
        metrics.replies_running.set(3);
        metrics.streams_open.of(StreamKind::ReplyEvents).inc();
        metrics.delivery_lag.observe(Duration::from_micros(40));
        metrics.buffer_depth.observe(3);
        metrics.append_latency.observe(Duration::from_millis(2));
        metrics.upstream_latency.of(Stage::FirstContent).observe(Duration::from_secs(4));
        metrics.upstream_errors("connect");
        metrics.requests("POST /v1/responses", 200);
        metrics.speech_texts(Voice::Local, "spoken");
        let observed = Observed {
            projection_lag_records: 7,
            projection_lag: Duration::from_millis(1500),
            log_writable: true,
            store_up: false,
        };
        let text = metrics.expose(&observed);
        for line in [
            r#"rejoinder_build_info{version="0.1.0"} 1"#,
            "rejoinder_replies_accepted_total 1",
            r#"rejoinder_replies_ended_total{outcome="completed"} 1"#,
            "rejoinder_replies_running 3",
            "rejoinder_takeovers_total 0",
            r#"rejoinder_streams_open{kind="reply_events"} 1"#,
            r#"rejoinder_delivery_lag_seconds_bucket{le="0.00005"} 1"#,
            r#"rejoinder_delivery_lag_seconds_bucket{le="+Inf"} 1"#,
            "rejoinder_delivery_lag_seconds_sum 0.00004",
            r#"rejoinder_buffer_depth_events_bucket{le="4.0"} 1"#,
            "rejoinder_buffer_depth_bytes 0",
            "rejoinder_append_seconds_count 1",
            r#"rejoinder_upstream_first_token_seconds_bucket{le="5.0"} 1"#,
            "rejoinder_upstream_headers_seconds_count 0",
            r#"rejoinder_upstream_errors_total{kind="connect"} 1"#,
            r#"rejoinder_requests_total{route="POST /v1/responses",status="200"} 1"#,
            r#"rejoinder_speech_texts_total{voice="local",outcome="spoken"} 1"#,
            "rejoinder_speech_degraded 0",
            "rejoinder_speech_first_audio_seconds_count 0",
            "rejoinder_projection_lag_records 7",
            "rejoinder_projection_lag_seconds 1.5",
            "rejoinder_log_writable 1",
            "rejoinder_store_up 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\nis not in\n{text}");
        }
    }
}
