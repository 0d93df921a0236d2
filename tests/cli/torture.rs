//! `rejoinder torture` with the real binary: every promise is kept while everything is killed, and a broken promise
//! is found. A run that fails prints its seed and leaves the servers' logs.

use std::process::Stdio;

use tokio::process::Command;

use crate::run::{rejoinder, rejoinder_in};
use crate::standin::{Says, StandIn, not_found, reply};
use crate::support::{Value, json, server::Server};

/// Runs longer than what else waits for a command.
async fn torture(words: &str) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rejoinder"));
    command.arg("torture").args(words.split(' ')).arg("--json").kill_on_drop(true).stderr(Stdio::inherit());
    let output = command.output().await.expect("the binary");
    let out = String::from_utf8(output.stdout).expect("UTF-8");
    println!("{out}");
    assert_eq!(output.status.code(), Some(0), "{words}");
    serde_json::from_str(&out).expect("JSON")
}

#[tokio::test]
async fn every_promise_is_kept_on_three_instances_while_everything_is_killed() {
    let report = torture("--for 60s --replies 120").await;
    let counts = &report["counts"];
    for done in ["kills", "freezes", "terminations", "restarts", "nats_restarts", "postgres_stops", "rejoins"] {
        assert!(counts[done].as_u64() > Some(0), "{done}: {counts}");
    }
    for done in ["cancels", "deletions", "retries"] {
        assert!(counts[done].as_u64() > Some(0), "{done}: {counts}");
    }
    assert_eq!((&counts["replies"], &report["violations"]), (&json!(120), &json!([])));
}

#[tokio::test]
async fn without_a_nats_server_the_error_names_it_and_where_to_get_it() {
    let directory = tempfile::tempdir().unwrap();
    let ran = rejoinder_in(directory.path(), &[("NATS_SERVER", "/nowhere/nats-server")], "torture").await;
    for words in ["no program /nowhere/nats-server", "NATS_SERVER", "github.com/nats-io/nats-server", "--embedded"] {
        assert!(ran.err.contains(words), "{words}: {ran:?}");
    }
    assert_eq!(ran.code, 1);
}

#[tokio::test]
async fn every_promise_is_kept_by_one_instance_that_is_killed_and_started_again() {
    let report = torture("--embedded --for 20s --replies 40").await;
    let counts = &report["counts"];
    assert!(counts["kills"].as_u64() > Some(0) && counts["rejoins"].as_u64() > Some(0), "{counts}");
    assert_eq!((&counts["replies"], &report["violations"]), (&json!(40), &json!([])));
}

#[tokio::test]
async fn servers_that_run_already_are_judged_and_left_alone() {
    let server = Server::bare().start().await;
    let words = format!("torture --url {0} --url {0} --model echo --for 1s --replies 10 --seed 1 --json", server.base);
    let ran = rejoinder(&words, "").await;
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    assert_eq!((ran.code, &report["counts"]["replies"], &report["counts"]["kills"]), (0, &json!(10), &json!(0)));
}

#[tokio::test]
async fn a_broken_promise_is_found() {
    let server = StandIn::start(|what, _| match what {
        "POST /v1/conversations" => Says::Json(200, json!({"id": "conv_1"})),
        "POST /v1/responses" => Says::Events(reply("resp_1", "something else")),
        _ => not_found(),
    })
    .await;
    let words = format!("torture --url {} --model echo --for 1s --replies 2 --followers 0 --seed 3", server.base);
    let ran = rejoinder(&words, "").await;
    assert!(ran.code == 1 && ran.out.contains("NOT kept"), "{ran:?}");
    assert!(ran.out.contains("the text is “something else” where it had to be “Say "), "{ran:?}");
}

#[tokio::test]
async fn an_invalid_address_is_reported() {
    let ran = rejoinder("torture --url ftp://x --for 1s", "").await;
    assert!(ran.code == 1 && ran.err.contains("is not the address of a server"), "{ran:?}");
    assert_eq!(rejoinder("torture --embedded --instances 2", "").await.code, 2);
}
