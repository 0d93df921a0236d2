//! Every way in which a server that transcribes fails: alone, before a second one, and before a program of this machine.
//! The table is the specification.

use std::fmt::Write as _;

use crate::support::{server::Server, voice::black_hole};

use super::*;

/// Who hears it in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The server itself.
    Server,
    /// What comes next.
    Next,
    /// Nobody, and it is the request's fault: 400.
    Refused,
}

use Outcome::{Next, Refused, Server as Itself};

/// What goes wrong, and who hears it where there is somebody else; alone, [`Next`] is 503.
const TABLE: &[(&str, Fault, Outcome)] = &[
    ("fine", Fault::None, Itself),
    ("slow", Fault::Slow(Duration::from_millis(700)), Itself),
    ("too slow", Fault::Slow(Duration::from_mins(1)), Next),
    ("takes the request and says nothing", Fault::Hang, Next),
    ("sends headers, then nothing", Fault::HeadersOnly, Next),
    ("stalls", Fault::HangInTheMiddle, Next),
    ("closes the connection at once", Fault::CloseAtOnce, Next),
    ("closes the connection inside the answer", Fault::CloseInTheMiddle, Next),
    ("resets the connection", Fault::Reset, Next),
    ("sends without end", Fault::Endless, Next),
    ("sends nothing", Fault::Body("", "application/json"), Next),
    ("sends malformed JSON", Fault::Body("{\"text\": \"tea", "application/json"), Next),
    ("sends JSON without a text", Fault::Body("{\"segments\": []}", "application/json"), Next),
    ("sends an error under 200", Fault::Body("{\"error\": \"no model\"}", "application/json"), Next),
    ("sends a web page under 200", Fault::Body("<html>Welcome</html>", "text/html"), Next),
    ("answers 500", Fault::Status(500), Next),
    ("answers 502", Fault::Status(502), Next),
    ("answers 503", Fault::Status(503), Next),
    ("answers 529", Fault::Status(529), Next),
    ("answers 429", Fault::Status(429), Next),
    ("answers 408", Fault::Status(408), Next),
    ("answers 401", Fault::Status(401), Next),
    ("answers 403", Fault::Status(403), Next),
    ("answers 404", Fault::Status(404), Next),
    ("answers 405", Fault::Status(405), Next),
    ("answers 301", Fault::Status(301), Next),
    ("answers 400", Fault::Status(400), Refused),
    ("answers 413", Fault::Status(413), Refused),
    ("answers 415", Fault::Status(415), Refused),
    ("answers 422", Fault::Status(422), Refused),
];

/// A program that hears this in everything.
const PROGRAM: &str = "sh -c 'cat > /dev/null; echo the program; echo hears tea'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_server_that_transcribes_ends_as_the_table_says() {
    let (address, _held) = black_hole();
    let refusing = format!("http://127.0.0.1:{}/v1", ports::free_port());
    let hole = format!("http://{address}/v1");
    let mut wrong =
        row("never accepts a connection", &hole, Next).await + &row("refuses connections", &refusing, Next).await;
    for (name, fault, expected) in TABLE {
        let ear = Ear::start("the server hears tea", *fault).await;
        wrong += &row(name, &ear.base_url(), *expected).await;
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// What is wrong with a row.
async fn row(name: &str, base: &str, expected: Outcome) -> String {
    let second = Ear::start("the second hears tea", Fault::None).await;
    let (alone, before) = (table("first", base), table("first", base) + &table("second", &second.base_url()));
    let (found, beside, then) = tokio::join!(outcome(&alone, ""), outcome(&alone, PROGRAM), outcome(&before, ""));
    let wanted = |next: &'static str| match expected {
        Itself => "the server hears tea",
        Next => next,
        Refused => "400 \"input[0].content[0].input_audio\"",
    };
    let mut wrong = String::new();
    for (beside, found, next) in [
        ("nobody", found, "503 5"),
        ("a program", beside, "the program hears tea"),
        ("a server", then, "the second hears tea"),
    ] {
        if found != wanted(next) {
            let _ = writeln!(wrong, "{name}, beside {beside}: {found:?} and not {:?}", wanted(next));
        }
    }
    wrong
}

fn table(name: &str, base: &str) -> String {
    format!("[[hearing]]\nname = \"{name}\"\nbase_url = \"{base}\"\nconnect_timeout = \"1s\"\n")
}

/// What a reply to a recording comes to, with these servers and this program.
async fn outcome(file: &str, command: &str) -> String {
    let config = Server::bare().env("ASR_COMMAND", command).env("ASR_TIMEOUT", "2s");
    std::fs::write(config.data_dir().join("rejoinder.toml"), file).expect("a file");
    let server = config.env("REJOINDER_CONFIG", "rejoinder.toml").start().await;
    let body = json!({"model": "echo", "input": message(&part(&recording(8_000), "wav"))});
    let answer = server.api().post("/v1/responses", body).await;
    match answer.status.as_u16() {
        200 => answer.json()["output"][0]["content"][0]["text"].as_str().unwrap_or_default().to_owned(),
        400 => format!("400 {}", answer.json()["error"]["param"]),
        503 => format!("503 {}", answer.header("retry-after").unwrap_or_default()),
        other => other.to_string(),
    }
}

#[tokio::test]
async fn a_server_that_comes_back_transcribes_again_by_itself() {
    let (given, ear) = given("tea", Fault::None).await;
    let address = ear.address();
    drop(ear);
    assert_eq!(transcription(&given.api, &[], &recording(8_000)).await.status, 503);
    given.server.poll("/healthz", |answer| answer.json()["hearing"]["mode"] == "off").await;
    let health = given.api.get("/healthz").await.ok();
    assert_eq!(health["status"], "degraded");
    assert_eq!(given.api.gauge("rejoinder_hearing_degraded").await, 1);
    // Text needs no hearing.
    given.reply(streamed("coffee")).await;
    let _ear = Ear::start_again(address, "tea again").await;
    given.server.poll("/healthz", |answer| answer.json()["hearing"]["mode"] == "server").await;
    assert_eq!(transcription(&given.api, &[], &recording(8_000)).await.ok()["text"], "tea again");
    let output = given.server.output();
    assert_eq!(output.matches("hearing is degraded").count(), 1, "{output}");
    assert_eq!(output.matches("hearing has recovered").count(), 1, "{output}");
}

#[tokio::test]
async fn a_refused_recording_opens_no_breaker() {
    let (given, ear) = given("tea", Fault::Status(400)).await;
    for _ in 0..6 {
        let error = transcription(&given.api, &[], &recording(8_000)).await.refused(400, Value::Null, "file");
        assert_eq!(error["message"], "This audio is not for me.");
    }
    ear.set(Fault::None);
    assert_eq!(transcription(&given.api, &[], &recording(8_000)).await.ok()["text"], "tea");
}

#[tokio::test]
async fn without_any_hearing_it_is_said_what_to_set() {
    let given = Given::with(|config| config.env("ASR_COMMAND", "")).await;
    let body = json!({"model": "truth", "input": message(&part(&recording(8_000), "wav"))});
    let error = given.api.post("/v1/responses", body).await.refused(503, "service_unavailable", Value::Null);
    assert!(error["message"].as_str().expect("a message").contains("ASR_BASE_URL"), "{error}");
    assert_eq!(transcription(&given.api, &[], &recording(8_000)).await.status, 503);
    let health = given.api.get("/healthz").await.ok();
    assert_eq!((&health["status"], &health["hearing"]["mode"]), (&json!("ok"), &json!("none")));
}

#[tokio::test]
async fn a_program_takes_wav_only_and_what_it_does_wrong_is_told() {
    let given = Given::with(|config| config.env("ASR_COMMAND", PROGRAM)).await;
    assert_eq!(transcription(&given.api, &[], &recording(8_000)).await.ok()["text"], "the program hears tea");
    transcription(&given.api, &[], b"ID3\x04\0\0\0").await.refused(400, "invalid_value", "file");
    for command in ["false", "yes", "sh -c 'sleep 60'"] {
        let given = Given::with(|config| config.env("ASR_COMMAND", command).env("ASR_TIMEOUT", "1s")).await;
        assert_eq!(transcription(&given.api, &[], &recording(8_000)).await.status, 503, "{command}");
    }
}
