//! An upstream that is away, hangs, fails or breaks off: the reply is continued if it can be, and else fails with
//! the output so far, for every client alike.

use std::time::{Duration, Instant};

use hyper::Method;
use tokio::net::TcpListener;

use crate::support::{
    check::output_text,
    server::Server,
    sse::Event,
    upstream::{Break, Fate, Manner, Step},
    *,
};

/// A server that waits half a second where it would wait minutes.
async fn impatient() -> Given {
    Given::with(|config| config.env("LLM_FIRST_TIMEOUT", "500ms").env("LLM_IDLE_TIMEOUT", "500ms")).await
}

/// The failed reply, the same in its stream, its replay and its stored form.
async fn failure(given: &Given, request: Value) -> Reply {
    let events = given.events(request).await;
    let reply = check_reply(&events);
    assert_eq!(reply.status, "failed", "{}", reply.response);
    assert_eq!(bodies(&given.replay(&reply.id).await), bodies(&events));
    assert_eq!(given.api.get(&format!("/v1/responses/{}", reply.id)).await.ok(), reply.response);
    reply
}

/// The errors that a stream can carry in the middle, as servers write them.
fn errors_in_the_stream() -> Vec<(&'static str, Vec<Step>)> {
    let raw = |raw: &str| Step::Raw(raw.to_owned());
    let numeric = json!({"error": {"code": 502, "message": "Provider returned error"}});
    let chunk = json!({"error": {"code": 502, "message": "Provider disconnected"},
        "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]});
    vec![
        ("an error object", vec![raw("data: {\"error\":{\"message\":\"boom\",\"type\":\"server_error\"}}\n\n")]),
        ("a text for an error", vec![raw("data: {\"error\":\"boom\"}\n\n")]),
        ("a numeric code", vec![raw(&format!("data: {numeric}\n\n"))]),
        ("a chunk with an error", vec![Step::Chunk(chunk)]),
        ("a field named error", vec![raw("error: {\"code\":500,\"message\":\"boom\"}\n\n"), Step::Done]),
        ("an event named error", vec![raw("event: error\ndata: {\"error\":{\"message\":\"boom\"}}\n\n")]),
        ("an array of errors", vec![raw("data: [{\"error\":{\"code\":503,\"message\":\"boom\"}}]\n\n")]),
        ("broken JSON", vec![raw("data: {\"choices\":[{\"del\n\n")]),
        ("network_error", vec![Step::Finish("network_error"), Step::Done]),
        ("insufficient_system_resource", vec![Step::Finish("insufficient_system_resource"), Step::Done]),
        ("a clean end", vec![]),
        ("a closed connection", vec![Step::Break(Break::Closed)]),
        ("a reset connection", vec![Step::Break(Break::Reset)]),
    ]
}

#[tokio::test]
async fn an_answer_that_breaks_off_in_any_way_is_continued() {
    let given = Given::new().await;
    for (number, (name, end)) in errors_in_the_stream().into_iter().enumerate() {
        let about = format!("break-{number}");
        let prompt = prompt(12, &about);
        let output: Vec<_> = truth(&prompt).split_inclusive(' ').take(4).map(Step::text).collect();
        let broken = Behaviour::script([output, end].concat());
        given.upstream.on_each(&about, [broken, Manner::polite().repeating(2).into()]);
        let reply = given.reply(streamed(&prompt)).await;
        assert_eq!((reply.text, reply.status.as_str()), (truth(&prompt), "completed"), "{name}");
        assert_eq!(given.upstream.heard(&about).len(), 2, "{name}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_in_any_way_and_cannot_be_continued_fails_with_the_output_so_far() {
    let given = Given::with(|config| config.env("LLM_CONTINUATION", "off")).await;
    for (number, (name, end)) in errors_in_the_stream().into_iter().enumerate() {
        let about = format!("break-{number}");
        let output = vec![Step::text("alder001 "), Step::text("birch002")];
        given.upstream.on(&about, Behaviour::script([output, end].concat()));
        let reply = failure(&given, streamed(&about)).await;
        assert_eq!(reply.text, "alder001 birch002", "{name}");
        assert_eq!(reply.output[0]["status"], "incomplete", "{name}");
        assert_eq!(reply.response["error"]["code"], "server_error", "{name}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_before_its_first_word_is_asked_for_again() {
    let given = Given::new().await;
    for (number, (name, end)) in errors_in_the_stream().into_iter().enumerate() {
        let about = format!("nothing-{number}");
        let prompt = prompt(6, &about);
        given.upstream.on_each(&about, [Behaviour::script(end), Manner::polite().into()]);
        let reply = given.reply(streamed(&prompt)).await;
        assert_eq!((reply.text, reply.status.as_str()), (truth(&prompt), "completed"), "{name}");
    }
}

#[tokio::test]
async fn an_upstream_that_breaks_off_again_and_again_is_followed_as_long_as_it_gets_on() {
    let given = Given::new().await;
    let prompt = prompt(20, "stutters");
    let stutter: Behaviour = Manner::polite().breaking(6, Break::Clean).into();
    given.upstream.on_each("stutters", [stutter.clone(), stutter.clone(), stutter, Manner::polite().into()]);
    let reply = given.reply(streamed(&prompt)).await;
    assert_eq!((reply.text, reply.status.as_str()), (truth(&prompt), "completed"));
}

#[tokio::test]
async fn an_upstream_that_fails_after_a_break_leaves_the_output_so_far() {
    let given = Given::new().await;
    let broken = Behaviour::script([Step::text("alder001"), Step::Break(Break::Reset)]);
    given.upstream.on_each("dies", [broken, Behaviour::error(500, "server_error", "the model has died")]);
    let reply = failure(&given, streamed("dies")).await;
    assert_eq!((reply.text.as_str(), &reply.response["error"]["code"]), ("alder001", &json!("server_error")));
}

#[tokio::test]
async fn a_failure_before_the_first_word_fails_the_stream_after_its_opening() {
    let given = Given::new().await;
    let failing = [
        ("unwell", Behaviour::error(500, "server_error", "out of memory"), "server_error"),
        ("html-500", Behaviour::html(500), "server_error"),
        ("html-502", Behaviour::html(502), "server_error"),
        ("html-200", Behaviour::html(200), "server_error"),
        ("locked-out", Behaviour::error(401, "invalid_api_key", "Incorrect API key: sk-secret"), "server_error"),
        ("forbidden", Behaviour::error(403, "forbidden", "no such project"), "server_error"),
        ("too-much", too_many_requests(), "rate_limit_exceeded"),
        ("invalid", Behaviour::error(400, "invalid_value", "temperature must be odd"), "invalid_prompt"),
        ("overflow", Behaviour::error(400, "context_length_exceeded", "too long"), "context_length_exceeded"),
        ("llama-overflow", llama_overflow(), "context_length_exceeded"),
        ("empty-200", Behaviour::Status { status: 200, headers: vec![], body: String::new() }, "server_error"),
        ("only-done", Behaviour::script([Step::Done]), "server_error"),
    ];
    for (about, behaviour, code) in failing {
        given.upstream.on(about, behaviour);
        let reply = failure(&given, streamed(about)).await;
        assert_eq!((&reply.response["error"]["code"], reply.output.len()), (&json!(code), 0), "{about}");
        assert!(!reply.response.to_string().contains("sk-secret"), "{}", reply.response);
        assert!(!reply.response.to_string().contains("<h1>"), "{}", reply.response);
    }
}

fn too_many_requests() -> Behaviour {
    let body = json!({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}).to_string();
    Behaviour::Status { status: 429, headers: vec![("retry-after", "7")], body }
}

fn llama_overflow() -> Behaviour {
    let body = json!({"error": {"code": 500, "type": "exceed_context_size_error",
        "message": "the request exceeds the available context size", "n_prompt_tokens": 9, "n_ctx": 4}});
    Behaviour::Status { status: 500, headers: vec![], body: body.to_string() }
}

#[tokio::test]
async fn a_failure_of_a_reply_that_is_not_streamed_is_an_http_error() {
    let given = Given::new().await;
    let failing = [
        ("unwell", Behaviour::error(500, "server_error", "out of memory"), 502, "server_error"),
        ("html-502", Behaviour::html(502), 502, "server_error"),
        ("locked-out", Behaviour::error(401, "invalid_api_key", "Incorrect API key"), 502, "server_error"),
        ("forbidden", Behaviour::error(403, "forbidden", "no such project"), 502, "server_error"),
        ("too-much", too_many_requests(), 429, "rate_limit_exceeded"),
        ("invalid", Behaviour::error(400, "invalid_value", "must be odd"), 400, "invalid_prompt"),
        ("overflow", Behaviour::error(400, "context_length_exceeded", "too long"), 400, "context_length_exceeded"),
    ];
    for (about, behaviour, status, code) in failing {
        given.upstream.on(about, behaviour);
        let answer = given.api.post("/v1/responses", whole(about)).await;
        answer.refused(status, code, answer.json()["error"]["param"].clone());
        if status == 429 {
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
        }
        let id = answer.header("x-response-id").expect("the failed reply is there to be read");
        let stored = given.api.get(&format!("/v1/responses/{id}")).await.ok();
        assert_eq!((&stored["status"], &stored["error"]["code"]), (&json!("failed"), &json!(code)), "{about}");
    }
}

#[tokio::test]
async fn a_moment_of_too_many_requests_or_of_trouble_is_waited_out() {
    let given = Given::new().await;
    let busy = Behaviour::Status { status: 429, headers: vec![("retry-after", "0")], body: "{}".to_owned() };
    for (about, behaviour) in [("busy", busy), ("troubled", Behaviour::error(503, "overloaded", "loading the model"))] {
        given.upstream.on_each(about, [behaviour, Manner::polite().into()]);
        let prompt = prompt(5, about);
        assert_eq!(given.reply(streamed(&prompt)).await.text, truth(&prompt), "{about}");
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_there_fails_the_reply_soon() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let url = format!("http://{nobody}/v1");
    let server = Server::bare().env("LLM_BASE_URL", url).env("LLM_MODEL", "truth").start().await;
    let api = server.api();
    let started = Instant::now();
    let events = api.stream(streamed("is anyone there?")).await.collect().await.into_events();
    let reply = check_reply(&events);
    assert_eq!((reply.status.as_str(), &reply.response["error"]["code"]), ("failed", &json!("server_error")));
    api.post("/v1/responses", whole("hello?")).await.refused(502, "server_error", Value::Null);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!(api.get("/livez").await.status, 200);
}

#[tokio::test]
async fn an_upstream_that_hangs_before_its_headers_is_given_up() {
    let given = impatient().await;
    given.upstream.on("hangs", Behaviour::Hang);
    let reply = failure(&given, streamed("hangs")).await;
    assert_eq!(reply.response["error"]["code"], "server_error");
    until("the upstream to be left", async || {
        given.upstream.heard("hangs").iter().all(|heard| heard.fate == Fate::HungUp).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_upstream_that_hangs_after_its_headers_is_given_up() {
    let given = impatient().await;
    given.upstream.on("hangs", Behaviour::script([Step::Hang]));
    failure(&given, streamed("hangs")).await;
}

#[tokio::test]
async fn an_upstream_that_hangs_in_the_middle_is_left_and_asked_to_go_on() {
    let given = impatient().await;
    let prompt = prompt(12, "hangs");
    given.upstream.on_each("hangs", [Manner::polite().breaking(5, Break::Silent).into(), Manner::polite().into()]);
    let reply = given.reply(streamed(&prompt)).await;
    assert_eq!((reply.text, reply.status.as_str()), (truth(&prompt), "completed"));
    assert_eq!(given.upstream.heard("hangs")[0].fate, Fate::HungUp);
}

#[tokio::test]
async fn comments_show_that_an_upstream_lives() {
    let given = impatient().await;
    let mut steps = vec![Step::text("alder001")];
    for _ in 0..8 {
        steps.extend([Step::Pause(Duration::from_millis(150)), Step::Raw(": keep-alive\n\n".to_owned())]);
    }
    steps.extend([Step::text(" birch002"), Step::Finish("stop"), Step::Done]);
    given.upstream.on("thinks", Behaviour::script(steps));
    let reply = given.reply(streamed("thinks")).await;
    assert_eq!(reply.text, "alder001 birch002");
    assert_eq!(given.upstream.heard("thinks").len(), 1);
}

#[tokio::test]
async fn stream_options_are_left_out_for_an_upstream_that_does_not_know_them() {
    let given = Given::new().await;
    given.upstream.on("strict", Manner::polite().rejecting("stream_options"));
    let prompt = prompt(6, "strict servers");
    let reply = given.reply(streamed(&prompt)).await;
    assert_eq!((reply.text, &reply.response["usage"]), (truth(&prompt), &Value::Null));
    let heard = given.upstream.heard("strict");
    assert_eq!((heard.len(), heard[1].body.get("stream_options")), (2, None));
}

#[tokio::test]
async fn a_context_that_is_too_long_loses_its_oldest_turns_if_the_client_wants_that() {
    let given = Given::new().await;
    let mut short = Manner::polite();
    short.most_messages = 4;
    given.upstream.on("turn", short);
    let mut input = Vec::new();
    for number in 1..=5 {
        input.push(json!({"role": "user", "content": format!("turn {number}")}));
        input.push(json!({"role": "assistant", "content": format!("answer {number}")}));
    }
    input.push(json!({"role": "user", "content": "turn 6: say 5 words"}));
    let request = with(streamed(""), json!({"input": input, "instructions": "Be brief."}));
    let untouched = failure(&given, request.clone()).await;
    assert_eq!(untouched.response["error"]["code"], "context_length_exceeded");

    let reply = given.reply(with(request, json!({"truncation": "auto"}))).await;
    assert_eq!(reply.text, truth("turn 6: say 5 words"));
    let last = given.upstream.heard("turn 6").pop().expect("it was asked");
    let contents: Vec<_> = last.messages().iter().map(|message| message["content"].as_str().expect("text")).collect();
    assert_eq!((contents[0], *contents.last().unwrap()), ("Be brief.", "turn 6: say 5 words"));
    assert!(contents.len() <= 4 && contents.len() > 2 && !contents.contains(&"turn 1"), "{contents:?}");
}

#[tokio::test]
async fn text_that_is_not_the_json_it_was_to_be_fails_the_reply() {
    let given = Given::new().await;
    let schema = json!({"type": "object", "properties": {"tree": {"type": "string"}}, "required": ["tree"],
        "additionalProperties": false});
    let format = json!({"text": {"format": {"type": "json_schema", "name": "tree", "schema": schema, "strict": true}}});
    let generates = |text: &str| Behaviour::script([Step::text(text), Step::Finish("stop"), Step::Done]);
    given.upstream.on("good json", generates("{\"tree\": \"alder\"}"));
    let reply = given.reply(with(streamed("good json"), format.clone())).await;
    assert_eq!((reply.status.as_str(), reply.text.as_str()), ("completed", "{\"tree\": \"alder\"}"));
    given.upstream.on("no json", generates("The tree is an alder."));
    let reply = failure(&given, with(streamed("no json"), format)).await;
    assert_eq!(reply.text, "The tree is an alder.", "what was seen is not taken back");
}

#[tokio::test]
async fn a_follower_of_a_failing_reply_sees_the_failure_too() {
    let given = Given::with(|config| config.env("LLM_CONTINUATION", "off")).await;
    given.upstream.on("shared", Manner::paced(20).breaking(10, Break::Closed));
    let first = given.api.stream(streamed(&prompt(20, "shared trouble"))).await;
    let path = format!("/v1/responses/{}?stream=true", first.response_id());
    let second = given.api.follow(&path).await;
    let events: Vec<Event> = first.collect().await.into_events();
    assert_eq!(bodies(&second.collect().await.into_events()), bodies(&events));
    assert_eq!(check_reply(&events).status, "failed");
}

#[tokio::test]
async fn a_failed_reply_leaves_its_conversation_usable() {
    let given = Given::with(|config| config.env("LLM_CONTINUATION", "off")).await;
    given.upstream.on("first", Manner::polite().breaking(3, Break::Reset));
    let conversation = given.conversation().await;
    let in_it = |prompt: &str| with(streamed(prompt), json!({"conversation": conversation}));
    assert_eq!(given.reply(in_it("first")).await.status, "failed");
    let second = prompt(5, "a second try");
    assert_eq!(given.reply(in_it(&second)).await.text, truth(&second));
}

#[tokio::test]
async fn a_request_that_fails_does_not_take_others_with_it() {
    let given = Given::new().await;
    given.upstream.on("hangs", Behaviour::Hang);
    let mut hanging = Vec::new();
    for number in 0..30 {
        let request = with(streamed(&format!("hangs {number}")), json!({"background": true}));
        hanging.push(given.api.try_open(Method::POST, "/v1/responses", request.to_string()).await.expect("a stream"));
    }
    let prompt = prompt(10, "others");
    let answer = given.api.post("/v1/responses", whole(&prompt)).await.ok();
    assert_eq!(output_text(&answer), truth(&prompt));
}
