//! Every instrument of the server, in one list.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::text;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use super::conventions::Conventional;
use super::instruments::{Each, Histogram, Label};
use super::services::{ByService, Service, ServiceMetrics};
use super::webhooks::{ObservedWebhooks, WebhookMetrics};

/// Instruments, to be read as Prometheus' text. No globals: whoever measures is handed them.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Replies accepted here.
    pub(crate) replies_accepted: Counter,
    /// Replies being generated here.
    pub(crate) replies_running: Gauge,
    /// Replies taken over from an instance that is gone.
    pub(crate) takeovers: Counter,
    /// Where the time of these went.
    pub(crate) takeover_stages: Each<TakeoverStage, Histogram<Duration>>,
    /// Streams that are open.
    pub(crate) streams_open: Each<StreamKind, Gauge>,
    /// How long streams were open that have ended.
    pub(crate) stream_age: Each<StreamKind, Histogram<Duration>>,
    rejoins: Family<Named, Counter>,
    /// From the moment at which an event was stored to the one at which it was handed to a client's socket.
    pub(crate) delivery_lag: Histogram<Duration>,
    /// How many events a follower is behind when it is served.
    pub(crate) buffer_depth: Histogram<u64>,
    /// From handing a record to the log to its acknowledgement.
    pub(crate) append_latency: Histogram<Duration>,
    /// From a text that is to be spoken to the first audio of it.
    pub(crate) speech_first_audio: Histogram<Duration>,
    /// 1 while replies are spoken by less than the voice that is configured, or not at all.
    pub(crate) speech_degraded: Gauge,
    speech_texts: Family<VoiceAndOutcome, Counter>,
    /// From a recording to its transcript.
    pub(crate) transcription: Histogram<Duration>,
    /// 1 while speech is transcribed by less than what is configured, or not at all.
    pub(crate) hearing_degraded: Gauge,
    transcriptions: Family<VoiceAndOutcome, Counter>,
    replies_ended: Family<Named, Counter>,
    upstream_headers: ByService<Histogram<Duration>>,
    upstream_first_content: ByService<Histogram<Duration>>,
    upstream_queued: ByService<Histogram<Duration>>,
    upstream_calls: Family<ServiceAndOutcome, Counter>,
    upstream_batches: Family<ServiceAndOutcome, Counter>,
    upstream_unread: Family<ServiceAndOutcome, Counter>,
    requests: Family<RouteAndStatus, Counter>,
    /// Connections that are open.
    pub(crate) connections_open: Gauge,
    /// Bytes of bodies and answers in memory.
    pub(crate) buffered_bytes: Gauge,
    connections_refused: Family<Named, Counter>,
    connections_ended: Family<Named, Counter>,
    auth_failures: Family<Named, Counter>,
    limits_reached: Family<Named, Counter>,
    /// What OpenTelemetry has names for.
    pub(crate) conventional: Conventional,
    /// Webhooks.
    pub(crate) webhooks: WebhookMetrics,
    probes: Probes,
    registry: Registry,
}

type VoiceAndOutcome = (Named, Named);
type ServiceAndOutcome = ([(&'static str, String); 1], Named);

type RouteAndStatus = (Named, [(&'static str, u16); 1]);

/// A label's name and value.
type Named = [(&'static str, &'static str); 1];

/// What is looked up when somebody asks, and not kept up to date.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a gauge of its own")]
pub(crate) struct Observed {
    /// Records that the store does not have yet.
    pub(crate) projection_lag_records: u64,
    /// The age of the oldest of them.
    pub(crate) projection_lag: Duration,
    /// Whether the log takes records.
    pub(crate) log_writable: bool,
    /// Whether a reply was refused lately.
    pub(crate) replies_refused: bool,
    /// Whether the log can be reached.
    pub(crate) log_connected: bool,
    /// What the log keeps on this machine.
    pub(crate) log_usage: LogUsage,
    /// What has work to do and makes no progress, and for how long.
    pub(crate) stalls: Vec<(&'static str, Duration)>,
    /// How long the log keeps them.
    pub(crate) retention: Duration,
    /// Times at which another instance was silent for too long, and was asked whether it lives.
    pub(crate) heartbeats_missed: u64,
    /// Whether the store takes batches.
    pub(crate) store_up: bool,
    /// Outside services.
    pub(crate) services: Vec<ObservedService>,
    /// Webhooks.
    pub(crate) webhooks: ObservedWebhooks,
}

/// What the log keeps on this machine, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogUsage {
    /// Segment files.
    pub segments: u64,
    /// Segment and index files that are open.
    pub open_files: u64,
    /// Subjects that memory has the last record of.
    pub subjects_in_memory: u64,
    /// Places that were found damaged since the start.
    pub damaged: u64,
    /// What is left on its disk, in bytes.
    pub free_bytes: u64,
    /// Records that subscriptions on NATS had missed, and were found: so often.
    pub gaps_closed: u64,
    /// Connections to NATS that were made again.
    pub reconnects: u64,
}

/// How an outside service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObservedService {
    /// Which.
    pub(crate) service: Service,
    /// Calls that have not ended.
    pub(crate) in_flight: usize,
    /// Calls that wait for room.
    pub(crate) queued: usize,
    /// Calls that there may be at once.
    pub(crate) limit: usize,
    /// 0: it is asked; 1: it is tried; 2: it is not asked.
    pub(crate) breaker: u8,
}

#[derive(Debug)]
struct Probes {
    projection_lag_records: Gauge,
    projection_lag_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
    log_writable: Gauge,
    replies_refused: Gauge,
    log_connected: Gauge,
    log_segments: Gauge,
    log_open_files: Gauge,
    log_subjects_in_memory: Gauge,
    log_damaged: Gauge,
    log_free_bytes: Gauge,
    log_gaps_closed: Gauge,
    log_reconnects: Gauge,
    heartbeats_missed: Gauge,
    stalled_seconds: Family<Named, Gauge<f64, std::sync::atomic::AtomicU64>>,
    projection_alarm: Gauge,
    store_up: Gauge,
    upstream_in_flight: ByService<Gauge>,
    upstream_waiting: ByService<Gauge>,
    upstream_limit: ByService<Gauge>,
    upstream_breaker: ByService<Gauge>,
}

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKind {
    /// A reply, to the client that asked for it or that rejoined it.
    Reply,
    /// A reply, to an `EventSource`.
    ReplyEvents,
    /// A conversation, to an `EventSource`.
    ConversationEvents,
    /// The audio of a reply.
    Audio,
}

/// What a takeover consists of, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakeoverStage {
    /// From the last that was heard of the owner to the claim.
    Silence,
    /// The claim.
    Claim,
    /// The wait for a turn at the model server.
    Turn,
    /// From there to the first event that is stored.
    FirstEvent,
}

impl TakeoverStage {
    /// A word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Claim => "claim",
            Self::Turn => "turn",
            Self::FirstEvent => "first_event",
        }
    }
}

impl Label for TakeoverStage {
    const NAME: &'static str = "stage";
    const ALL: &'static [Self] = &[Self::Silence, Self::Claim, Self::Turn, Self::FirstEvent];

    fn as_str(self) -> &'static str {
        self.name()
    }
}

/// Who speaks, or transcribes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// A server.
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

impl Probes {
    fn new(list: &mut List) -> Self {
        Self {
            projection_lag_records: list.add(
                "projection_lag_records",
                "Records that the store lacks",
                Gauge::default(),
            ),
            projection_lag_seconds: list.add("projection_lag_seconds", "Age of the oldest of them", Gauge::default()),
            log_writable: list.add("log_writable", "1 when the log takes records", Gauge::default()),
            replies_refused: list.add(
                "replies_refused",
                "1 while new replies are refused, or were within the last 30 s",
                Gauge::default(),
            ),
            log_connected: list.add("log_connected", "1 while NATS, if it has the log, is connected", Gauge::default()),
            log_segments: list.add("log_segments", "Segment files of the embedded log", Gauge::default()),
            log_open_files: list.add(
                "log_open_files",
                "Of these and their indexes, those that are open",
                Gauge::default(),
            ),
            log_subjects_in_memory: list.add(
                "log_subjects_in_memory",
                "Threads and replies whose last record the embedded log knows without looking it up",
                Gauge::default(),
            ),
            log_damaged: list.add(
                "log_damaged",
                "Places of the embedded log that were found damaged",
                Gauge::default(),
            ),
            log_free_bytes: list.add(
                "log_free_bytes",
                "Bytes that are left on the disk of the embedded log; 0 where there is none",
                Gauge::default(),
            ),
            log_gaps_closed: list.add(
                "log_gaps_closed",
                "Times since the start that a subscription on NATS had missed records, which were read then",
                Gauge::default(),
            ),
            log_reconnects: list.add(
                "log_reconnects",
                "Connections to NATS that were made again since the start",
                Gauge::default(),
            ),
            heartbeats_missed: list.add(
                "heartbeats_missed",
                "Times since the start that another instance was silent for too long, and was asked whether it lives",
                Gauge::default(),
            ),
            stalled_seconds: list.add(
                "stalled_seconds",
                "For how long something that has work to do has made no progress; 0 up to 10 s",
                Family::default(),
            ),
            projection_alarm: list.add(
                "projection_alarm",
                "1 when the store lacks records that the log has kept for half of its retention",
                Gauge::default(),
            ),
            store_up: list.add("store_up", "1 when the store takes batches", Gauge::default()),
            upstream_in_flight: list.services("upstream_in_flight", "Calls of a service that have not ended"),
            upstream_waiting: list.services("upstream_waiting", "Calls that wait for room with a service"),
            upstream_limit: list.services("upstream_limit", "Calls that a service is given at once"),
            upstream_breaker: list.services("upstream_breaker", "0: a service is asked; 1: tried; 2: not asked"),
        }
    }
}

impl Metrics {
    /// New instruments, all at zero.
    pub(crate) fn new() -> Arc<Self> {
        let mut list = List(Registry::default());
        list.0.register(
            "rejoinder_build",
            "The version that runs",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let started: Gauge<f64, std::sync::atomic::AtomicU64> =
            list.add("start_time_seconds", "When it was started, in seconds since 1970", Gauge::default());
        started.set(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        let probes = Probes::new(&mut list);
        Arc::new(Self {
            replies_accepted: list.add("replies_accepted", "Replies accepted here", Counter::default()),
            replies_ended: list.add("replies_ended", "Replies ended here", Family::default()),
            replies_running: list.add("replies_running", "Replies being generated here", Gauge::default()),
            takeovers: list.add("takeovers", "Replies taken over from an instance that is gone", Counter::default()),
            takeover_stages: list.add(
                "takeover_stage_seconds",
                "What takeovers take: from the owner's last sign of life to the claim, the claim, the wait for a turn at the model server, and from there to the first event",
                Each::new(upstream_durations),
            ),
            streams_open: list.add("streams_open", "Streams that are open", Each::new(Gauge::default)),
            stream_age: list.add(
                "stream_age_seconds",
                "How long streams were open that have ended",
                Each::new(ages),
            ),
            rejoins: list.add("rejoins", "Streams that go on where a client was, by what says where", Family::default()),
            delivery_lag: list.add(
                "delivery_lag_seconds",
                "From an event's storage to a client's socket",
                Histogram::of_durations(),
            ),
            buffer_depth: list.add("buffer_depth_events", "Events a follower is behind when served", depths()),
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
            transcription: list.add(
                "transcription_seconds",
                "From a recording to its transcript",
                upstream_durations(),
            ),
            hearing_degraded: list.add(
                "hearing_degraded",
                "1 while speech is transcribed by less than what is configured",
                Gauge::default(),
            ),
            transcriptions: list.add("transcriptions", "Recordings that were to be transcribed", Family::default()),
            upstream_headers: list.durations("upstream_headers_seconds", "From a call to the answer's headers"),
            upstream_first_content: list.durations("upstream_first_token_seconds", "From a call to its first content"),
            upstream_queued: list.durations("upstream_queued_seconds", "How long calls waited, of those that had to"),
            upstream_calls: list.add("upstream_calls", "Calls of services that ended", Family::default()),
            upstream_batches: list.add(
                "upstream_batches",
                "Requests that several calls of a model server went into",
                Family::default(),
            ),
            upstream_unread: list.add(
                "upstream_unread",
                "Pieces of answers of model servers that could not be understood",
                Family::default(),
            ),
            requests: list.add("requests", "Requests answered", Family::default()),
            connections_open: list.add("connections_open", "Connections that are open", Gauge::default()),
            buffered_bytes: list.add("buffered_bytes", "Bytes of bodies and answers in memory", Gauge::default()),
            connections_refused: list.add(
                "connections_refused",
                "Connections that were not taken, since there were as many as there may be",
                Family::default(),
            ),
            connections_ended: list.add(
                "connections_ended",
                "Connections that were ended, since their clients made no progress",
                Family::default(),
            ),
            auth_failures: list.add("auth_failures", "Requests refused because of who asks", Family::default()),
            limits_reached: list.add(
                "limits_reached",
                "Requests refused because their caller has used what its tier allows",
                Family::default(),
            ),
            conventional: Conventional::new(&mut list.0),
            webhooks: WebhookMetrics::new(list.0.sub_registry_with_prefix(PREFIX)),
            probes,
            registry: list.0,
        })
    }

    /// Counts a reply that ended; `outcome` is its status.
    pub(crate) fn replies_ended(&self, outcome: &'static str) {
        self.replies_ended.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// The instruments of an outside service.
    pub(crate) fn service(&self, service: &Service) -> ServiceMetrics {
        ServiceMetrics {
            headers: self.upstream_headers.of(service, upstream_durations),
            first_content: self.upstream_first_content.of(service, upstream_durations),
            queued: self.upstream_queued.of(service, upstream_durations),
        }
    }

    /// Counts a call of a service that ended: `completed`, `dropped`, or how it failed.
    pub(crate) fn upstream_call(&self, service: &Service, outcome: &'static str) {
        self.upstream_calls.get_or_create(&([("service", service.name.clone())], [("outcome", outcome)])).inc();
    }

    /// Counts a request that several calls went into: `answered` or `broken`.
    pub(crate) fn upstream_batch(&self, service: &Service, outcome: &'static str) {
        self.upstream_batches.get_or_create(&([("service", service.name.clone())], [("outcome", outcome)])).inc();
    }

    /// Counts pieces of a model server's answers that could not be understood, by what they are.
    pub(crate) fn upstream_unread(&self, service: &Service, piece: &'static str, count: u32) {
        let labels = ([("service", service.name.clone())], [("piece", piece)]);
        self.upstream_unread.get_or_create(&labels).inc_by(count.into());
    }

    /// Counts a text that a voice was given; `outcome` is `spoken`, `failed` or `refused`.
    pub(crate) fn speech_texts(&self, voice: Voice, outcome: &'static str) {
        self.speech_texts.get_or_create(&([("voice", voice.as_str())], [("outcome", outcome)])).inc();
    }

    /// Counts a recording that a server or a program was given; `outcome` is `transcribed`, `failed` or `refused`.
    pub(crate) fn transcriptions(&self, by: Voice, outcome: &'static str) {
        self.transcriptions.get_or_create(&([("by", by.as_str())], [("outcome", outcome)])).inc();
    }

    /// Counts a request that was answered (streams: when their headers were).
    pub(crate) fn requests(&self, route: &'static str, status: u16) {
        self.requests.get_or_create(&([("route", route)], [("status", status)])).inc();
    }

    /// Counts a stream that goes on where a client was; `by` is `starting_after`, `last_event_id` or `idempotency_key`.
    pub(crate) fn rejoined(&self, by: &'static str) {
        self.rejoins.get_or_create(&[("by", by)]).inc();
    }

    /// Counts a connection that was not taken; `limit` is `all` or `address`.
    pub(crate) fn connection_refused(&self, limit: &'static str) {
        self.connections_refused.get_or_create(&[("limit", limit)]).inc();
    }

    /// Counts connections that were ended; `fault` is `no_request`, `stalled`, `resets` or `frames`.
    pub(crate) fn connections_ended(&self, fault: &'static str, count: usize) {
        self.connections_ended.get_or_create(&[("fault", fault)]).inc_by(count as u64);
    }

    /// Counts a request that was refused because of who asks.
    pub(crate) fn auth_failures(&self, reason: &'static str) {
        self.auth_failures.get_or_create(&[("reason", reason)]).inc();
    }

    /// Counts a request that was refused because its caller has used what it may.
    pub(crate) fn limit_reached(&self, limit: &'static str) {
        self.limits_reached.get_or_create(&[("limit", limit)]).inc();
    }

    /// All instruments, in the text format of Prometheus (`OpenMetrics` 1.0).
    pub(crate) fn expose(&self, observed: &Observed) -> String {
        let probes = &self.probes;
        probes.projection_lag_records.set(i64::try_from(observed.projection_lag_records).unwrap_or(i64::MAX));
        probes.projection_lag_seconds.set(observed.projection_lag.as_secs_f64());
        probes.log_writable.set(observed.log_writable.into());
        probes.replies_refused.set(observed.replies_refused.into());
        probes.log_connected.set(observed.log_connected.into());
        for (gauge, value) in [
            (&probes.log_segments, observed.log_usage.segments),
            (&probes.log_open_files, observed.log_usage.open_files),
            (&probes.log_subjects_in_memory, observed.log_usage.subjects_in_memory),
            (&probes.log_damaged, observed.log_usage.damaged),
            (&probes.log_free_bytes, observed.log_usage.free_bytes),
            (&probes.log_gaps_closed, observed.log_usage.gaps_closed),
            (&probes.log_reconnects, observed.log_usage.reconnects),
            (&probes.heartbeats_missed, observed.heartbeats_missed),
        ] {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        for what in ["log writer", "log cleaner", "store"] {
            let lasts = observed.stalls.iter().find(|(stalled, _)| *stalled == what).map(|(_, lasts)| *lasts);
            probes.stalled_seconds.get_or_create(&[("what", what)]).set(lasts.unwrap_or_default().as_secs_f64());
        }
        probes.projection_alarm.set((observed.projection_lag > observed.retention / 2).into());
        probes.store_up.set(observed.store_up.into());
        for observed in &observed.services {
            for (gauges, value) in [
                (&probes.upstream_in_flight, observed.in_flight),
                (&probes.upstream_waiting, observed.queued),
                (&probes.upstream_limit, observed.limit),
                (&probes.upstream_breaker, observed.breaker.into()),
            ] {
                let gauge = gauges.of(&observed.service, Gauge::default);
                gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            }
        }
        self.webhooks.observe(&observed.webhooks);
        let mut exposition = String::with_capacity(16 * 1024);
        text::encode(&mut exposition, &self.registry).expect("a string takes what is written to it");
        exposition
    }
}

/// The media type of [`Metrics::expose`].
pub(crate) const EXPOSITION_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the names of our own instruments begin with.
pub(super) const PREFIX: &str = "rejoinder";

/// Instruments by name.
struct List(Registry);

impl List {
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, instrument: M) -> M {
        self.0.register(format!("{PREFIX}_{name}"), help, instrument.clone());
        instrument
    }

    fn services(&mut self, name: &str, help: &str) -> ByService<Gauge> {
        self.add(name, help, ByService::new(MetricType::Gauge))
    }

    fn durations(&mut self, name: &str, help: &str) -> ByService<Histogram<Duration>> {
        self.add(name, help, ByService::new(MetricType::Histogram))
    }
}

/// 0 to 4096, each the double of the one before.
fn depths() -> Histogram<u64> {
    Histogram::new([0].into_iter().chain((0..=12).map(|power| 1 << power)))
}

/// Streams live from a moment to hours.
fn ages() -> Histogram<Duration> {
    let seconds = [1, 5, 15, 60, 240, 900, 3_600, 14_400, 86_400];
    Histogram::new(seconds.map(Duration::from_secs))
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
    #[expect(clippy::too_many_lines, reason = "a list of all instruments")]
    fn every_instrument_is_exposed_once_it_is_used() {
        let metrics = Metrics::new();
        metrics.replies_accepted.inc();
        metrics.replies_ended("completed");
        metrics.replies_running.set(3);
        metrics.streams_open.of(StreamKind::ReplyEvents).inc();
        metrics.delivery_lag.observe(Duration::from_micros(40));
        metrics.buffer_depth.observe(3);
        metrics.append_latency.observe(Duration::from_millis(2));
        metrics.stream_age.of(StreamKind::Audio).observe(Duration::from_secs(90));
        metrics.rejoined("last_event_id");
        metrics.takeover_stages.of(TakeoverStage::Turn).observe(Duration::from_secs(2));
        let service = Service { name: "gpu".to_owned(), capability: "text" };
        metrics.service(&service).first_content.observe(Duration::from_secs(4));
        metrics.upstream_call(&service, "unavailable");
        metrics.upstream_unread(&service, "event", 2);
        metrics.requests("POST /v1/responses", 200);
        metrics.auth_failures("missing");
        metrics.speech_texts(Voice::Local, "spoken");
        metrics.transcriptions(Voice::Server, "transcribed");
        metrics.webhooks.delivered(Duration::from_millis(20));
        metrics.webhooks.carries(true);
        let observed = Observed {
            projection_lag_records: 7,
            projection_lag: Duration::from_millis(1500),
            log_writable: true,
            replies_refused: true,
            log_connected: true,
            log_usage: LogUsage {
                segments: 5,
                open_files: 2,
                subjects_in_memory: 9,
                free_bytes: 1 << 40,
                gaps_closed: 4,
                ..LogUsage::default()
            },
            heartbeats_missed: 6,
            stalls: vec![("store", Duration::from_secs(12))],
            retention: Duration::from_secs(2),
            store_up: false,
            services: vec![ObservedService { service, in_flight: 3, queued: 2, limit: 64, breaker: 1 }],
            webhooks: ObservedWebhooks {
                delivers: true,
                endpoints: vec![super::super::webhooks::ObservedEndpoint {
                    endpoint: "whe_1".to_owned(),
                    pending: 4,
                    failing: Some(Duration::from_secs(3)),
                    is_ended: false,
                }],
                waiting: Duration::from_secs(7),
            },
        };
        let text = metrics.expose(&observed);
        for line in [
            r#"rejoinder_build_info{version="0.1.0"} 1"#,
            "rejoinder_replies_accepted_total 1",
            r#"rejoinder_auth_failures_total{reason="missing"} 1"#,
            r#"rejoinder_replies_ended_total{outcome="completed"} 1"#,
            "rejoinder_replies_running 3",
            "rejoinder_takeovers_total 0",
            r#"rejoinder_takeover_stage_seconds_bucket{le="2.5",stage="turn"} 1"#,
            r#"rejoinder_takeover_stage_seconds_count{stage="first_event"} 0"#,
            r#"rejoinder_streams_open{kind="reply_events"} 1"#,
            r#"rejoinder_delivery_lag_seconds_bucket{le="0.00005"} 1"#,
            r#"rejoinder_delivery_lag_seconds_bucket{le="+Inf"} 1"#,
            "rejoinder_delivery_lag_seconds_sum 0.00004",
            r#"rejoinder_buffer_depth_events_bucket{le="4.0"} 1"#,
            "rejoinder_append_seconds_count 1",
            r#"rejoinder_upstream_first_token_seconds_bucket{le="5.0",service="gpu",capability="text"} 1"#,
            r#"rejoinder_upstream_headers_seconds_count{service="gpu",capability="text"} 0"#,
            r#"rejoinder_upstream_calls_total{service="gpu",outcome="unavailable"} 1"#,
            r#"rejoinder_upstream_unread_total{service="gpu",piece="event"} 2"#,
            r#"rejoinder_upstream_in_flight{service="gpu",capability="text"} 3"#,
            r#"rejoinder_upstream_waiting{service="gpu",capability="text"} 2"#,
            r#"rejoinder_upstream_limit{service="gpu",capability="text"} 64"#,
            r#"rejoinder_upstream_breaker{service="gpu",capability="text"} 1"#,
            r#"rejoinder_requests_total{route="POST /v1/responses",status="200"} 1"#,
            r#"rejoinder_speech_texts_total{voice="local",outcome="spoken"} 1"#,
            "rejoinder_speech_degraded 0",
            r#"rejoinder_transcriptions_total{by="server",outcome="transcribed"} 1"#,
            "rejoinder_hearing_degraded 0",
            "rejoinder_transcription_seconds_count 0",
            "rejoinder_speech_first_audio_seconds_count 0",
            "rejoinder_projection_lag_records 7",
            "rejoinder_projection_lag_seconds 1.5",
            "rejoinder_log_writable 1",
            "rejoinder_replies_refused 1",
            "rejoinder_log_connected 1",
            "rejoinder_log_segments 5",
            "rejoinder_log_free_bytes 1099511627776",
            "rejoinder_log_gaps_closed 4",
            "rejoinder_heartbeats_missed 6",
            r#"rejoinder_stream_age_seconds_count{kind="audio"} 1"#,
            r#"rejoinder_rejoins_total{by="last_event_id"} 1"#,
            r#"rejoinder_stalled_seconds{what="store"} 12.0"#,
            r#"rejoinder_stalled_seconds{what="log writer"} 0.0"#,
            "rejoinder_projection_alarm 1",
            "rejoinder_store_up 0",
            r#"rejoinder_webhook_deliveries_total{outcome="delivered"} 1"#,
            r#"rejoinder_webhook_delivery_seconds_bucket{le="0.025"} 1"#,
            "rejoinder_webhook_carrier 1",
            r#"rejoinder_webhook_endpoints{state="failing"} 1"#,
            "rejoinder_webhook_pending 4",
            "rejoinder_webhook_waiting_seconds 7.0",
            r#"rejoinder_webhook_endpoint_pending{endpoint="whe_1"} 4"#,
            r#"rejoinder_webhook_endpoint_failing_seconds{endpoint="whe_1"} 3.0"#,
            "# EOF",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\nis not in\n{text}");
        }
        let started = text.lines().find_map(|line| line.strip_prefix("rejoinder_start_time_seconds "));
        assert!(started.and_then(|time| time.parse().ok()).is_some_and(|time: f64| time > 1.7e9), "{started:?}");
    }
}
