//! Reads what Prometheus is shown, as OTLP has it. It is our own text: nothing else has to be understood.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum, metric::Data,
};

use super::text;

/// What the conventions call labels that a name of Prometheus cannot have dots in.
const LABELS: [(&str, &str); 8] = [
    ("gen_ai_operation_name", "gen_ai.operation.name"),
    ("gen_ai_provider_name", "gen_ai.provider.name"),
    ("gen_ai_request_model", "gen_ai.request.model"),
    ("gen_ai_token_type", "gen_ai.token.type"),
    ("error_type", "error.type"),
    ("http_request_method", "http.request.method"),
    ("http_route", "http.route"),
    ("http_response_status_code", "http.response.status_code"),
];

/// What the conventions call instruments, and their units.
const NAMES: [(&str, &str, &str); 5] = [
    ("gen_ai_client_operation_duration_seconds", "gen_ai.client.operation.duration", "s"),
    ("gen_ai_client_operation_time_to_first_chunk_seconds", "gen_ai.client.operation.time_to_first_chunk", "s"),
    ("gen_ai_client_operation_time_per_output_chunk_seconds", "gen_ai.client.operation.time_per_output_chunk", "s"),
    ("gen_ai_client_token_usage", "gen_ai.client.token.usage", "{token}"),
    ("http_server_request_duration_seconds", "http.server.request.duration", "s"),
];

/// Units at the end of a name.
const UNITS: [(&str, &str); 2] = [("_seconds", "s"), ("_bytes", "By")];

/// A line with a value.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

/// All instruments.
pub(super) fn read(exposition: &str, started: u64, now: u64) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = Vec::new();
    let (mut help, mut family) = ("", "");
    for line in exposition.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            family = name;
            metrics.push(begin(name, help, kind));
        } else if let Some(metric) = metrics.last_mut()
            && let Some(sample) = Sample::read(line)
        {
            take(metric, family, sample, (started, now));
        }
    }
    metrics.retain(|metric| !is_empty(metric));
    metrics
}

fn begin(name: &str, help: &str, kind: &str) -> Metric {
    let temporality = AggregationTemporality::Cumulative.into();
    let data = match kind {
        "counter" => {
            Data::Sum(Sum { data_points: Vec::new(), aggregation_temporality: temporality, is_monotonic: true })
        }
        "histogram" => Data::Histogram(Histogram { data_points: Vec::new(), aggregation_temporality: temporality }),
        _ => Data::Gauge(Gauge::default()),
    };
    let ours = || {
        let unit = UNITS.iter().find(|(end, _)| name.ends_with(end)).map_or("", |(_, unit)| unit);
        (name.replacen("rejoinder_", "rejoinder.", 1), unit)
    };
    let conventional = NAMES.iter().find(|(known, ..)| *known == name);
    let (name, unit) = conventional.map_or_else(ours, |(_, name, unit)| ((*name).to_owned(), *unit));
    let description = help.trim_end_matches('.').to_owned();
    Metric { name, description, unit: unit.to_owned(), metadata: Vec::new(), data: Some(data) }
}

fn take(metric: &mut Metric, family: &str, sample: Sample<'_>, (started, now): (u64, u64)) {
    let part = sample.name.strip_prefix(family).unwrap_or_default();
    let number = |sample: Sample<'_>| NumberDataPoint {
        attributes: attributes(&sample.labels),
        start_time_unix_nano: started,
        time_unix_nano: now,
        value: Some(Value::AsDouble(sample.value)),
        ..NumberDataPoint::default()
    };
    match &mut metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.push(number(sample)),
        Some(Data::Sum(sum)) if part == "_total" => sum.data_points.push(number(sample)),
        Some(Data::Histogram(histogram)) => take_part(&mut histogram.data_points, part, sample, (started, now)),
        _ => {}
    }
}

/// A line of a histogram: its sum, its count, or one of its buckets, which count all below, too.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are whole, and not negative")]
fn take_part(points: &mut Vec<HistogramDataPoint>, part: &str, mut sample: Sample<'_>, (started, now): (u64, u64)) {
    let bound = sample.labels.iter().position(|(name, _)| *name == "le").map(|at| sample.labels.remove(at).1);
    let attributes = attributes(&sample.labels);
    let place = points.iter().rposition(|point| point.attributes == attributes).unwrap_or_else(|| {
        points.push(HistogramDataPoint {
            attributes,
            start_time_unix_nano: started,
            time_unix_nano: now,
            ..HistogramDataPoint::default()
        });
        points.len() - 1
    });
    let point = &mut points[place];
    match (part, bound) {
        ("_sum", _) => point.sum = Some(sample.value),
        ("_count", _) => point.count = sample.value as u64,
        ("_bucket", Some(bound)) => {
            let below: u64 = point.bucket_counts.iter().sum();
            point.bucket_counts.push((sample.value as u64).saturating_sub(below));
            if let Some(bound) = bound.parse().ok().filter(|bound: &f64| bound.is_finite()) {
                point.explicit_bounds.push(bound);
            }
        }
        _ => {}
    }
}

fn is_empty(metric: &Metric) -> bool {
    match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.is_empty(),
        Some(Data::Sum(sum)) => sum.data_points.is_empty(),
        Some(Data::Histogram(histogram)) => histogram.data_points.is_empty(),
        _ => true,
    }
}

fn attributes(labels: &[(&str, String)]) -> Vec<KeyValue> {
    let named = |name: &str| LABELS.iter().find(|(known, _)| *known == name).map(|(_, dotted)| *dotted);
    labels.iter().map(|(name, value)| text(named(name).unwrap_or(name), value)).collect()
}

impl<'a> Sample<'a> {
    /// `None`: it is no line with a value.
    fn read(line: &'a str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let end = line.find(['{', ' '])?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            while let Some((label, after)) = rest.split_once("=\"") {
                if rest.starts_with('}') {
                    break;
                }
                let (value, after) = quoted(after)?;
                labels.push((label.trim_start_matches(','), value));
                rest = after;
            }
            rest = rest.strip_prefix('}')?;
        }
        // An exemplar may stand behind it.
        let value = rest.trim_start().split(' ').next()?.parse().ok()?;
        Some(Self { name, labels, value })
    }
}

/// What stands before the closing quote, and what after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut letters) = (String::new(), text.char_indices());
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Metrics, ModelCall, Observed};
    use opentelemetry_proto::tonic::common::v1::any_value;
    use std::time::Duration;

    fn value(attributes: &[KeyValue], key: &str) -> Option<String> {
        let found = attributes.iter().find(|one| one.key == key)?;
        match found.value.as_ref()?.value.as_ref()? {
            any_value::Value::StringValue(text) => Some(text.clone()),
            _ => None,
        }
    }

    #[test]
    fn what_prometheus_is_shown_is_sent_by_the_names_of_the_conventions() {
        let metrics = Metrics::new();
        metrics.replies_accepted.inc_by(3);
        metrics.requests("GET \"odd\"\\path", 200);
        metrics.append_latency.observe(Duration::from_millis(2));
        metrics.conventional.model_call(&ModelCall {
            model: "qwen3",
            provider: "vllm",
            failure: Some("unavailable"),
            took: Duration::from_millis(1500),
            first_chunk: Some(Duration::from_millis(30)),
            per_chunk: None,
            tokens: [7, 0],
            trace: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        });
        let read = read(&metrics.expose(&Observed::default()), 1, 2);
        let named = |name: &str| read.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name}"));
        let Some(Data::Sum(accepted)) = &named("rejoinder.replies_accepted").data else { panic!("a sum") };
        assert_eq!(accepted.data_points[0].value, Some(Value::AsDouble(3.0)));
        let Some(Data::Sum(requests)) = &named("rejoinder.requests").data else { panic!("a sum") };
        assert_eq!(value(&requests.data_points[0].attributes, "route").as_deref(), Some("GET \"odd\"\\path"));
        let duration = named("gen_ai.client.operation.duration");
        assert_eq!(duration.unit, "s");
        let Some(Data::Histogram(duration)) = &duration.data else { panic!("a histogram") };
        let point = &duration.data_points[0];
        assert_eq!((point.count, point.sum), (1, Some(1.5)));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), 1);
        for (key, expected) in
            [("gen_ai.request.model", "qwen3"), ("gen_ai.provider.name", "vllm"), ("error.type", "unavailable")]
        {
            assert_eq!(value(&point.attributes, key).as_deref(), Some(expected));
        }
        assert_eq!(named("gen_ai.client.token.usage").unit, "{token}");
        assert_eq!(named("rejoinder.append_seconds").unit, "s");
    }
}
