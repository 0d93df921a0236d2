//! How the outside services of a server that runs already are: what it tells of them in its `/healthz`.

use serde_json::Value;

use super::row::{Row, Status};

const WHAT: &str = "running";

/// A row for each thing that its start waits for, and for each service.
pub(super) fn rows(health: &Value) -> Vec<Row> {
    let all = |key: &str| health[key].as_array().into_iter().flatten();
    all("waiting_for").map(waits).chain(all("upstreams").map(row)).collect()
}

/// Something that its start waits for.
fn waits(awaited: &Value) -> Row {
    let text = |key: &str| awaited[key].as_str().unwrap_or_default();
    let shown = format!("{}: {}", text("what"), text("address"));
    let row = Row::new(Status::Warn, WHAT, shown, format!("its start waits for it for {}", seconds(&awaited["for_s"])));
    match (awaited["problem"].as_str(), awaited["change"].as_str()) {
        (Some(problem), Some(change)) => row.why(problem).change(change),
        _ => row,
    }
}

fn row(service: &Value) -> Row {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let status = if service["problem"].is_null() { Status::Ok } else { Status::Warn };
    let row =
        Row::new(status, WHAT, format!("{}: {}", text(&service["name"]), text(&service["address"])), told(service));
    match why(service) {
        Some(why) => {
            row.why(why).change("that service, or its place in the configuration; it is asked again by itself")
        }
        None => row,
    }
}

/// Its breaker, what it has to do, what it lists, how fast it answers.
fn told(service: &Value) -> String {
    let breaker = &service["breaker"];
    let state = match breaker["state"].as_str() {
        Some("closed") => "asked".to_owned(),
        Some("half_open") => "about to be tried".to_owned(),
        _ => format!("not asked for {}", seconds(&breaker["for_s"])),
    };
    let (in_flight, limit, queued) = (&service["in_flight"], &service["limit"], &service["queued"]);
    let mut told = vec![state, format!("{in_flight} of {limit} calls in flight, {queued} waiting")];
    if let Some(models) = service["models"].as_u64() {
        told.push(format!("{models} models"));
    }
    if let Some(millis) = service["answers_ms"].as_f64() {
        told.push(format!("answers in {millis:.0} ms"));
    }
    if let Some(millis) = service["check_ms"].as_f64() {
        told.push(format!("health check in {millis:.0} ms, {} ago", seconds(&service["checked_ago_s"])));
    }
    told.join("; ")
}

/// What is wrong, with the whole cause, and since when.
fn why(service: &Value) -> Option<String> {
    let problem = service["problem"].as_str()?;
    let error = &service["last_error"];
    let cause = error["cause"].as_str().filter(|cause| !problem.contains(cause));
    let since = error["failing_for_s"].as_f64().map(|_| format!("for {}", seconds(&error["failing_for_s"])));
    Some(
        [Some(problem.to_owned()), cause.map(str::to_owned), since]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("; "),
    )
}

fn seconds(value: &Value) -> String {
    format!("{:.0} s", value.as_f64().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_is_told_with_its_breaker_traffic_and_last_error() {
        let mut service = json!({
            "name": "gpu", "capability": "text", "address": "http://gpu:8000/v1", "problem": null,
            "breaker": {"state": "closed", "for_s": 7.0, "reason": ""}, "in_flight": 3, "queued": 1, "limit": 64,
            "max_in_flight": 64, "answers_ms": 12.4, "check_ms": 1.6, "checked_ago_s": 4.2, "models": 2,
            "last_error": null,
        });
        let fine = row(&service);
        assert_eq!((fine.status, fine.value.as_str()), (Status::Ok, "gpu: http://gpu:8000/v1"));
        assert_eq!(
            fine.detail,
            "asked; 3 of 64 calls in flight, 1 waiting; 2 models; answers in 12 ms; health check in 2 ms, 4 s ago"
        );
        service["problem"] = json!("5 calls in a row failed; it answered 500");
        service["breaker"] = json!({"state": "open", "for_s": 30.0, "reason": "5 calls in a row failed"});
        service["last_error"] = json!({"cause": "connection refused", "ago_s": 1.0, "failing_for_s": 31.0});
        let open = row(&service);
        assert!(open.status == Status::Warn && open.detail.starts_with("not asked for 30 s; "), "{open:?}");
        assert_eq!(open.why.as_deref(), Some("5 calls in a row failed; it answered 500; connection refused; for 31 s"));
    }

    #[test]
    fn what_a_start_waits_for_is_told_with_what_to_change() {
        let awaited = json!({"what": "log", "address": "nats://a:4222", "for_s": 7, "tries": 3,
                             "problem": "connection refused", "change": "NATS_URL"});
        let rows = rows(&json!({"waiting_for": [awaited]}));
        assert_eq!((rows.len(), rows[0].status, rows[0].value.as_str()), (1, Status::Warn, "log: nats://a:4222"));
        assert_eq!(rows[0].detail, "its start waits for it for 7 s");
        assert_eq!(rows[0].why.as_deref(), Some("connection refused"));
    }
}
