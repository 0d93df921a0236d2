//! Several upstreams: one that fails affects only its own replies, and those recover quickly. And one that is
//! overloaded: which requests wait, which are refused, and in which order.

use std::time::Instant;

use hyper::Method;
use tokio::net::{TcpListener, TcpSocket};

use crate::support::{
    server::Server,
    upstream::{Break, Fate, Manner, Prefill, Upstream},
    *,
};

/// A server in front of two upstreams, with what else the table of the first one has.
async fn with_two(more: &str) -> (Given, Upstream) {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let upstreams = [("first", &*first.base_url(), more), ("second", &*second.base_url(), "")];
    let server = Server::before_several(&upstreams).start().await;
    (Given { api: server.api(), server, upstream: first }, second)
}

/// The state of an upstream in `/healthz`.
fn state_of(health: &Value, name: &str) -> Value {
    let upstreams = health["upstreams"].as_array().expect("a list of upstreams");
    upstreams.iter().find(|upstream| upstream["name"] == name).unwrap_or_else(|| panic!("{name}: {health}")).clone()
}

async fn wait_for_state(server: &Server, name: &str, enough: impl Fn(&Value) -> bool) -> Value {
    let answer =
        server.poll("/healthz", |answer| answer.status == 200 && enough(&state_of(&answer.json(), name))).await;
    state_of(&answer.json(), name)
}

#[tokio::test]
async fn an_upstream_that_is_away_is_left_out_and_is_asked_again_soon_after_it_is_back() {
    // Nobody listens there, and nobody else gets the port.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let second = Upstream::start().await;
    let upstreams = [("first", &*format!("http://{address}/v1"), ""), ("second", &*second.base_url(), "")];
    let server = Server::before_several(&upstreams).start().await;
    let given = Given { api: server.api(), server, upstream: second };
    let state = wait_for_state(&given.server, "first", |state| state["breaker"]["state"] == "open").await;
    assert!(state["problem"].as_str().unwrap().contains("onnection refused"), "{state}");
    assert!(state["last_error"]["failing_for_s"].is_number(), "{state}");
    for number in 0..5 {
        let prompt = prompt(6, &format!("away {number}"));
        assert_eq!(given.reply(streamed(&prompt)).await.text, truth(&prompt));
    }
    assert_eq!(given.upstream.heard("away").len(), 5);

    drop(socket);
    let (first, back) = (Upstream::start_at(address).await, Instant::now());
    until("the first to be asked again", async || {
        let prompt = prompt(3, "who is back");
        assert_eq!(given.reply(streamed(&prompt)).await.text, truth(&prompt));
        (!first.heard("who is back").is_empty()).then_some(())
    })
    .await;
    println!("asked again after {:?}", back.elapsed());
    wait_for_state(&given.server, "first", |state| state["breaker"]["state"] == "closed").await;
    for line in ["the service is not asked any more", "the service is tried again", "the service works again"] {
        // The log may come a moment after the state that it reports.
        let output = until(line, async || Some(given.server.output()).filter(|output| output.contains(line))).await;
        assert_eq!(output.lines().filter(|entry| entry.contains(line)).count(), 1, "{line}: {output}");
    }
}

#[tokio::test]
async fn the_second_half_of_a_reply_has_the_voice_of_the_first() {
    let (given, second) = with_two("").await;
    let manner = Manner::polite().prefill(Prefill::RefusedUnlessTold).chatty("Sure, continuing:").repeating(2);
    second.on("voices", manner);
    given.upstream.on("voices", Manner::polite().breaking(7, Break::Reset));
    let prompt = prompt(20, "two voices");
    let reply = given.reply(streamed(&prompt)).await;
    assert_eq!((reply.text, reply.status.as_str()), (truth(&prompt), "completed"));
    assert_eq!(
        (given.upstream.heard("voices").len(), second.heard("voices").len()),
        (1, 2),
        "asked, refused, instructed"
    );
}

#[tokio::test]
async fn a_model_has_the_name_that_each_server_gives_it_and_clients_see_one() {
    let (given, second) = with_two("rename = { truth = \"vendor/truth-70b\" }").await;
    given.upstream.on_each("names", [Behaviour::error(500, "x", "no"), Manner::polite().into()]);
    let reply = given.reply(streamed(&prompt(5, "names"))).await;
    assert_eq!((&reply.response["model"], reply.status.as_str()), (&json!("truth"), "completed"));
    assert_eq!(given.upstream.heard_once("names").body["model"], "vendor/truth-70b");
    assert_eq!(second.heard_once("names").body["model"], "truth");
    let models = given.api.get("/v1/models").await.ok();
    let ids: Vec<_> = models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids.iter().filter(|id| **id == "truth").count(), 1, "{ids:?}");
}

#[tokio::test]
async fn keys_are_used_in_turn_where_one_is_refused_or_used_up() {
    let upstream = Upstream::start().await;
    let upstreams = [("only", &*upstream.base_url(), "keys = [\"KEY_A\", \"KEY_B\"]")];
    let config = Server::before_several(&upstreams).env("KEY_A", "sk-a").env("KEY_B", "sk-b");
    let server = config.start().await;
    let given = Given { api: server.api(), server, upstream };
    for (about, status, keys) in [("used up", 429, ["sk-a", "sk-b"]), ("refused", 401, ["sk-b", "sk-a"])] {
        let refusal = Behaviour::Status { status, headers: vec![("retry-after", "100")], body: "{}".to_owned() };
        given.upstream.on_each(about, [refusal, Manner::polite().into()]);
        let prompt = prompt(4, about);
        assert_eq!(given.reply(streamed(&prompt)).await.text, truth(&prompt), "{about}");
        let heard = given.upstream.heard(about);
        let used: Vec<_> = heard.iter().map(|heard| heard.headers["authorization"].to_str().unwrap()).collect();
        assert_eq!(used, keys.map(|key| format!("Bearer {key}")), "{about}");
    }
    assert!(!given.server.output().contains("sk-"), "{}", given.server.output());
}

/// A server whose upstream takes one call at a time, and whose first reply holds it.
async fn occupied(max_queued: usize) -> (Given, String) {
    let given = Given::with(|config| {
        config.env("LLM_MAX_IN_FLIGHT", 1).env("LLM_MAX_QUEUED", max_queued).env("LLM_QUEUE_TIMEOUT", "60s")
    })
    .await;
    given.upstream.on("holds", Behaviour::Hang);
    let held = given.api.stream(streamed("holds it")).await;
    let id = held.response_id().clone();
    (given, id)
}

async fn free(given: &Given, id: &str) {
    given.api.post(&format!("/v1/responses/{id}/cancel"), json!({})).await.ok();
}

fn queued(count: u64) -> impl Fn(&Value) -> bool {
    move |state| state["queued"] == count
}

#[tokio::test]
async fn a_request_that_does_not_fit_the_queue_is_refused_before_anything_is_accepted() {
    let (given, held) = occupied(1).await;
    let (api, prompt) = (given.api.clone(), prompt(4, "patient"));
    let waiting = tokio::spawn({
        let request = whole(&prompt);
        async move { api.post("/v1/responses", request).await }
    });
    let state = wait_for_state(&given.server, "llm", queued(1)).await;
    assert_eq!((&state["in_flight"], &state["limit"]), (&json!(1), &json!(1)), "{state}");
    let refused = given.api.post("/v1/responses", whole("one too many")).await;
    refused.refused(503, Value::Null, Value::Null);
    assert!(refused.header("retry-after").is_some() && refused.header("x-response-id").is_none(), "{refused:?}");
    free(&given, &held).await;
    assert_eq!(check::output_text(&waiting.await.unwrap().ok()), truth(&prompt));
    assert!(given.upstream.heard("too many").is_empty());
}

#[tokio::test]
async fn a_request_that_waits_too_long_is_refused() {
    let given = Given::with(|config| config.env("LLM_MAX_IN_FLIGHT", 1).env("LLM_QUEUE_TIMEOUT", "300ms")).await;
    given.upstream.on("holds", Behaviour::Hang);
    let _held = given.api.stream(streamed("holds it")).await;
    given.api.post("/v1/responses", whole("waits")).await.refused(503, Value::Null, Value::Null);
    wait_for_state(&given.server, "llm", queued(0)).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_waiting_frees_its_place() {
    let (given, held) = occupied(8).await;
    let api = given.api.clone();
    let waiting =
        tokio::spawn(async move { api.try_call(Method::POST, "/v1/responses", whole("gone").to_string()).await });
    wait_for_state(&given.server, "llm", queued(1)).await;
    waiting.abort();
    wait_for_state(&given.server, "llm", queued(0)).await;
    free(&given, &held).await;
    let prompt = prompt(4, "later");
    assert_eq!(given.reply(streamed(&prompt)).await.text, truth(&prompt));
    assert!(given.upstream.heard("gone").is_empty());
}

#[tokio::test]
async fn a_request_that_waits_when_the_server_leaves_is_sent_elsewhere() {
    let (mut given, _held) = occupied(8).await;
    let api = given.api.clone();
    let waiting = tokio::spawn(async move { api.post("/v1/responses", whole("waits")).await });
    wait_for_state(&given.server, "llm", queued(1)).await;
    given.server.terminate();
    let refused = waiting.await.unwrap();
    refused.refused(503, Value::Null, Value::Null);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    given.server.wait().await;
}

#[tokio::test]
async fn users_take_turns_however_much_one_of_them_asks() {
    let (given, held) = occupied(64).await;
    let mut waiting = Vec::new();
    let users = [("greedy", "turn 1"), ("greedy", "turn 2"), ("greedy", "turn 3"), ("modest", "turn 4")];
    for (count, (user, about)) in (1..).zip(users) {
        let request = with(whole(&prompt(3, about)), json!({"user": user}));
        let api = given.api.clone();
        waiting.push(tokio::spawn(async move { api.post("/v1/responses", request).await.ok() }));
        wait_for_state(&given.server, "llm", queued(count)).await;
    }
    free(&given, &held).await;
    for reply in waiting {
        reply.await.unwrap();
    }
    let heard: Vec<_> = given.upstream.heard("turn").iter().map(|heard| heard.body["user"].clone()).collect();
    assert_eq!(heard, ["greedy", "modest", "greedy", "greedy"]);
}

#[tokio::test]
async fn what_was_accepted_waits_for_its_upstream_and_is_not_refused() {
    let given = Given::with(|config| config.env("LLM_MAX_IN_FLIGHT", 2)).await;
    given.upstream.on("left", Manner::paced(30));
    let prompts = [prompt(30, "left one"), prompt(30, "left two")];
    let mut ids = Vec::new();
    for prompt in &prompts {
        let mut stream = given.api.stream(streamed(prompt)).await;
        stream.read_words(2).await;
        ids.push(stream.response_id().clone());
    }
    let narrow = |config: crate::support::server::Config| {
        config.env("LLM_MAX_IN_FLIGHT", 1).env("LLM_MAX_QUEUED", 0).env("LLM_QUEUE_TIMEOUT", "1ms")
    };
    let server = given.server.restart_with(narrow).await;
    for (id, prompt) in ids.iter().zip(&prompts) {
        let events =
            server.api().follow(&format!("/v1/responses/{id}?stream=true")).await.collect().await.into_events();
        let reply = check_reply(&events);
        assert_eq!((reply.status.as_str(), reply.text), ("completed", truth(prompt)));
    }
}

#[tokio::test]
async fn replies_of_an_upstream_that_hangs_do_not_hold_up_those_of_another() {
    let (slow, fast) = (Upstream::start().await, Upstream::start().await);
    slow.on("stuck", Behaviour::Hang);
    let upstreams =
        [("slow", &*slow.base_url(), "models = [\"slow\"]"), ("fast", &*fast.base_url(), "models = [\"truth\"]")];
    let server = Server::before_several(&upstreams).start().await;
    let given = Given { api: server.api(), server, upstream: fast };
    let mut stuck = Vec::new();
    for number in 0..50 {
        stuck.push(given.api.stream(with(streamed(&format!("stuck {number}")), json!({"model": "slow"}))).await);
    }
    let prompt = prompt(20, "fast");
    assert_eq!(given.reply(streamed(&prompt)).await.text, truth(&prompt));
    assert_eq!(slow.heard("stuck").iter().filter(|heard| heard.fate == Fate::Running).count(), 50);
}

#[tokio::test]
async fn a_wrong_file_is_reported_with_its_line_and_the_server_does_not_start() {
    let config = Server::before_several(&[("first", "gpu:8000", "")]);
    let ended = config.clone().try_start().await.expect_err("a wrong file");
    assert!(!ended.status.success());
    until("the message", async || config.output().contains("rejoinder.toml, line 3, llm[0].base_url").then_some(()))
        .await;
}

#[tokio::test]
async fn a_start_does_not_wait_for_an_upstream_that_never_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/v1", silent.local_addr().unwrap());
    let server = Server::before_several(&[("silent", &address, "")]).start().await;
    server.poll("/readyz", |answer| answer.status == 200).await;
    let state = wait_for_state(&server, "silent", |state| state["breaker"]["state"] == "open").await;
    assert!(state["problem"].as_str().unwrap().contains("no answer to a health check within 2 s"), "{state}");
}
