//! What a collector gets by OTLP: one trace for a reply, wherever it goes on; instruments by the names of the conventions;
//! log lines with the ids of their traces; and no text of anybody.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::support::{
    Api, Cluster, Given, check_reply,
    follower::{Place, follow_anywhere},
    hook::Hook,
    json, prompt,
    server::Config,
    streamed, truth, until,
    upstream::Manner,
    whole,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn traced(api: &Api) -> Api {
    api.clone().header("traceparent", &format!("00-{TRACE}-00f067aa0ba902b7-01"))
}

fn exporting(config: Config, collector: &Hook) -> Config {
    let config = config.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url("")).env("OTEL_METRIC_EXPORT_INTERVAL", "200");
    config.env("OTEL_BSP_SCHEDULE_DELAY", "200").env("OTEL_BLRP_SCHEDULE_DELAY", "200")
}

/// The spans of our trace that came so far.
fn spans(collector: &Hook) -> Vec<Span> {
    let decode = |body: &[u8]| ExportTraceServiceRequest::decode(body).expect("traces");
    let all = collector.posted("/v1/traces").into_iter().flat_map(|posted| decode(&posted.body).resource_spans);
    let all = all.flat_map(|of| of.scope_spans).flat_map(|of| of.spans);
    all.filter(|span| data_encoding::HEXLOWER.encode(&span.trace_id) == TRACE).collect()
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|one| one.key == key)?.value.clone()?.value?;
    Some(match found {
        Any::StringValue(text) => text,
        Any::IntValue(number) => number.to_string(),
        Any::BoolValue(truth) => truth.to_string(),
        other => format!("{other:?}"),
    })
}

/// The span of this name, once it came.
async fn span(collector: &Hook, name: &str) -> Span {
    let mut seen = Vec::new();
    let found = tokio::time::timeout(crate::support::wait::DEADLINE, async {
        until("a span", async || {
            let all = spans(collector);
            seen = all.iter().map(|span| span.name.clone()).collect();
            all.into_iter().find(|span| span.name == name)
        })
        .await
    });
    found.await.unwrap_or_else(|_| panic!("there is no span {name}: {seen:?}"))
}

#[tokio::test]
async fn a_reply_is_one_trace_from_its_request_to_its_webhook_without_its_text() {
    let collector = Hook::start().await;
    let given = Given::with(|config: Config| exporting(config, &collector).env("WEBHOOK_ALLOW_PRIVATE", "on")).await;
    let hook = json!({"name": "mine", "url": collector.url("/hook"), "event_types": ["response.completed"]});
    given.api.post("/v1/webhook_endpoints", hook).await.ok();
    let question = prompt(30, "geheimnis");
    let made = traced(&given.api).post("/v1/responses", whole(&question)).await.ok();
    collector.wait("/hook", 1).await;

    let request = span(&collector, "POST /v1/responses").await;
    assert_eq!(attribute(&request.attributes, "http.route").as_deref(), Some("/v1/responses"));
    assert_eq!(attribute(&request.attributes, "http.response.status_code").as_deref(), Some("200"));
    let work = span(&collector, "generate reply").await;
    assert_eq!(work.parent_span_id, request.span_id);
    assert_eq!(attribute(&work.attributes, "rejoinder.reply").as_deref(), made["id"].as_str());
    let chat = span(&collector, "chat truth").await;
    assert_eq!(chat.parent_span_id, work.span_id);
    for (key, expected) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.request.model", "truth"),
        ("gen_ai.provider.name", "generic"),
        ("server.address", "127.0.0.1"),
    ] {
        assert_eq!(attribute(&chat.attributes, key).as_deref(), Some(expected), "{chat:?}");
    }
    assert!(chat.events.iter().any(|event| event.name == "first chunk"), "{chat:?}");
    for name in ["project reply", "POST webhook"] {
        assert_eq!(span(&collector, name).await.parent_span_id, request.span_id, "{name}");
    }

    // A line of the log has the trace that it belongs to.
    let path = format!("/v1/responses/{}", made["id"].as_str().expect("an id"));
    traced(&given.api).delete(&path).await.ok();
    let is_ours = |line: &opentelemetry_proto::tonic::logs::v1::LogRecord| {
        data_encoding::HEXLOWER.encode(&line.trace_id) == TRACE
    };
    until("a line of the log", async || {
        let decode = |body: &[u8]| ExportLogsServiceRequest::decode(body).expect("log lines");
        let all = collector.posted("/v1/logs").into_iter().flat_map(|posted| decode(&posted.body).resource_logs);
        all.flat_map(|of| of.scope_logs).flat_map(|of| of.log_records).find(|line| is_ours(line))
    })
    .await;

    // The instruments that Prometheus is shown come here, too.
    until("the figures of a call", async || {
        let decode = |body: &[u8]| ExportMetricsServiceRequest::decode(body).expect("metrics");
        let all = collector.posted("/v1/metrics").into_iter().flat_map(|posted| decode(&posted.body).resource_metrics);
        let names: Vec<_> = all.flat_map(|of| of.scope_metrics).flat_map(|of| of.metrics).map(|one| one.name).collect();
        let wanted = ["gen_ai.client.operation.duration", "http.server.request.duration", "rejoinder.replies_accepted"];
        wanted.iter().all(|name| names.iter().any(|other| other == name)).then_some(())
    })
    .await;
    let shown = given.api.get("/metrics").await.text().to_owned();
    let line = shown
        .lines()
        .find(|line| line.starts_with("gen_ai_client_operation_duration_seconds_bucket") && line.contains(TRACE));
    assert!(line.is_some_and(|line| line.contains("gen_ai_request_model=\"truth\"")), "an exemplar: {shown}");

    let begin: String = truth(&question).chars().take(20).collect();
    for signal in ["/v1/traces", "/v1/logs", "/v1/metrics"] {
        for posted in collector.posted(signal) {
            for text in ["geheimnis", begin.as_str()] {
                assert!(memchr::memmem::find(&posted.body, text.as_bytes()).is_none(), "{text} in {signal}");
            }
        }
    }
}

#[tokio::test]
async fn what_models_are_sent_and_say_is_shown_where_that_is_wanted() {
    let collector = Hook::start().await;
    let given = Given::with(|config: Config| exporting(config, &collector).env("OTEL_CAPTURE_CONTENT", "on")).await;
    let question = prompt(5, "for all to see");
    traced(&given.api).post("/v1/responses", whole(&question)).await.ok();
    let chat = span(&collector, "chat truth").await;
    let details = chat.events.iter().find(|event| event.name == "gen_ai.client.inference.operation.details");
    let shown = &details.expect("the details").attributes;
    assert!(attribute(shown, "gen_ai.input.messages").is_some_and(|text| text.contains(&question)), "{shown:?}");
    assert!(
        attribute(shown, "gen_ai.output.messages").is_some_and(|text| text.contains(&truth(&question))),
        "{shown:?}"
    );
}

#[tokio::test]
async fn a_reply_that_another_instance_goes_on_with_stays_in_its_trace() {
    let collector = Hook::start().await;
    let env = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url("")),
        ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
        ("OTEL_LOGS_EXPORTER", "none".to_owned()),
        ("OTEL_METRICS_EXPORTER", "none".to_owned()),
    ];
    let mut cluster = Cluster::with_env(env).await;
    cluster.upstream.on("traced", Manner::paced(15));
    let question = prompt(150, "traced");
    let mut posted = traced(&cluster.api(0)).stream(streamed(&question)).await;
    let id = posted.response_id();
    posted.read_words(5).await;
    cluster.instances[0].kill();
    cluster.instances.remove(0);
    let apis: Vec<Api> = (0..cluster.instances.len()).map(|instance| cluster.api(instance)).collect();
    let events = follow_anywhere(&apis, &id, Place::Responses, Vec::new()).await;
    assert_eq!(check_reply(&events).text, truth(&question));
    let work = span(&collector, "continue reply").await;
    assert_eq!(attribute(&work.attributes, "rejoinder.takeover").as_deref(), Some("true"));
    assert_eq!(span(&collector, "chat truth").await.parent_span_id, work.span_id);
    assert!(collector.posted("/v1/metrics").is_empty() && collector.posted("/v1/logs").is_empty());
}
