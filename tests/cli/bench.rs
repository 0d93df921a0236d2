//! `rejoinder bench` against the real server.

use std::time::Duration;

use crate::run::{Ran, rejoinder, rejoinder_in};
use crate::support::server::Server;
use crate::support::{Value, json};
use crate::tls;

fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[tokio::test]
async fn every_reply_of_a_load_is_accounted_for() {
    let server = Server::bare().start().await;
    let directory = tempfile::tempdir().unwrap();
    let svg = directory.path().join("latency.svg");
    let words = format!(
        "bench {} --clients 4 --every 100ms --for 1s --json --pid {} --svg {}",
        server.base,
        std::process::id(),
        svg.display()
    );
    let ran = rejoinder(&words, "").await;
    let run = &report(&ran)["runs"][0];
    assert_eq!((ran.code, &run["counts"]["ok"], &run["bad"]), (0, &json!(40), &json!(0)), "{run}");
    for measured in ["started", "first_event", "first_token", "whole_reply", "gap"] {
        assert!(run["latency"][measured]["p99_ms"].is_number(), "{measured}: {run}");
    }
    assert!(run["figures"]["server_cpu_us_per_reply"].is_number() && run["figures"]["server_peak_mib"].is_number());
    assert!(std::fs::read_to_string(svg).unwrap().contains("whole reply"));
}

#[tokio::test]
async fn every_door_is_measured() {
    let server = Server::bare().start().await;
    for api in ["responses", "chat", "websocket", "ui"] {
        let words = format!("bench {} --api {api} --clients 4 --every 100ms --for 500ms --json", server.base);
        let ran = rejoinder(&words, "").await;
        let run = &report(&ran)["runs"][0];
        assert_eq!((ran.code, &run["counts"]["ok"], &run["bad"]), (0, &json!(20), &json!(0)), "{api}: {run}");
        assert_eq!(run["counts"]["reconnects"], 0, "{api}: {run}");
    }
}

#[tokio::test]
async fn what_a_killed_server_owes_is_counted_as_lost() {
    let server = Server::bare().start().await;
    let words =
        format!("bench {} --clients 2 --every 100ms --for 2s --timeout 2s --model echo-20ms --json", server.base);
    let bench = tokio::spawn(async move { rejoinder(&words, "").await });
    tokio::time::sleep(Duration::from_millis(700)).await;
    drop(server.stop());
    let ran = bench.await.unwrap();
    let run = &report(&ran)["runs"][0];
    assert_eq!(ran.code, 1, "{run}");
    assert!(run["counts"]["lost"].as_u64() > Some(0), "{run}");
    let all: u64 =
        ["ok", "lost", "cut", "refused", "wrong"].iter().filter_map(|count| run["counts"][*count].as_u64()).sum();
    assert_eq!(all, 40, "{run}");
}

#[tokio::test]
async fn a_refusal_is_counted_and_its_reason_shown() {
    let server = Server::bare().start().await;
    let ran = rejoinder(&format!("bench {} --for 200ms --model no-such-model", server.base), "").await;
    assert!(ran.code == 1 && ran.out.contains("10 refused") && ran.out.contains("does not exist"), "{ran:?}");
}

#[tokio::test]
async fn idle_streams_and_followers_are_measured_beside_a_second_server() {
    let server = Server::bare().start().await;
    let idle = rejoinder(&format!("bench {} --idle 20 --for 200ms --json", server.base), "").await;
    assert_eq!((idle.code, &report(&idle)["runs"][0]["counts"]["ok"]), (0, &json!(20)), "{idle:?}");
    let words = format!("bench {0} --fanout 10 --words 30 --compare {0} --json", server.base);
    let fanout = rejoinder(&words, "").await;
    let both = report(&fanout);
    for run in [&both["runs"][0], &both["runs"][1]] {
        assert_eq!((&run["counts"]["ok"], &run["counts"]["wrong"]), (&json!(10), &json!(0)), "{run}");
        assert!(run["latency"]["behind_first"]["p50_ms"].is_number(), "{run}");
    }
    assert!(both["ratios"]["behind_first_p99"].is_number(), "{both}");
}

#[tokio::test]
async fn a_server_that_is_not_there_and_a_wrong_word_are_told_apart() {
    assert_eq!(rejoinder("bench http://127.0.0.1:1 --for 1s", "").await.code, 3);
    assert_eq!(rejoinder("bench http://127.0.0.1:1 --for 1", "").await.code, 2);
    assert_eq!(rejoinder("bench ftp://127.0.0.1:1", "").await.code, 2);
}

#[tokio::test]
async fn a_server_behind_tls_is_measured_if_its_certificate_is_trusted() {
    let server = Server::bare().start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("certificate.pem");
    let base = tls::before(&server.base, &file).await;
    let words = format!("bench {base} --clients 2 --every 100ms --for 500ms --json");
    let trusting = [("SSL_CERT_FILE", file.to_str().unwrap())];
    let ran = rejoinder_in(directory.path(), &trusting, &words).await;
    assert_eq!((ran.code, &report(&ran)["runs"][0]["counts"]["ok"]), (0, &json!(10)), "{ran:?}");
    let ran = rejoinder_in(directory.path(), &[], &words).await;
    assert!(ran.code == 3 && ran.err.contains("certificate"), "{ran:?}");
}
