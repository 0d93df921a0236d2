//! What one reply may cost an upstream: calls that bring only thoughts, calls for a context that is too long, tokens over
//! several calls; and what of an upstream's words a client may read.

use crate::support::{
    server::Server,
    upstream::{Break, Manner, Step},
    *,
};

/// A step of thought.
fn thinks(text: &str) -> Step {
    Step::Chunk(json!({"choices": [{"index": 0, "delta": {"reasoning_content": text}, "finish_reason": null}]}))
}

#[tokio::test]
async fn thoughts_that_lead_to_nothing_are_paid_for_three_times_and_shown_once() {
    let upstream = Upstream::start().await;
    let url = upstream.base_url();
    let server = Server::before_several(&[("a", &url, ""), ("b", &url, ""), ("c", &url, "")]).start().await;
    let given = Given { api: server.api(), server, upstream };
    let error = Step::Raw("data: {\"error\":{\"message\":\"boom\",\"type\":\"server_error\"}}\n\n".to_owned());
    for (about, end) in [("cut", Step::Break(Break::Closed)), ("failing", error)] {
        given.upstream.on(about, Behaviour::script([thinks("Let me"), thinks(" think"), end]));
        let reply = given.reply(with(streamed(about), json!({"model": "truth"}))).await;
        assert_eq!(reply.status, "failed", "{about}");
        assert_eq!(given.upstream.heard(about).len(), 3, "{about}");
        assert_eq!(reply.output.len(), 1, "{about}: {:?}", reply.output);
    }
}

/// A conversation of so many turns.
fn turns(count: usize) -> Vec<Value> {
    let mut input = Vec::new();
    for number in 0..count {
        input.push(json!({"role": "user", "content": format!("turn {number} of a long talk")}));
        input.push(json!({"role": "assistant", "content": format!("answer {number} to it, about as long")}));
    }
    input.push(json!({"role": "user", "content": "last turn: say 5 words"}));
    input
}

#[tokio::test]
async fn a_context_far_too_long_costs_four_calls_at_first_and_one_when_its_window_is_known() {
    let given = Given::new().await;
    let mut short = Manner::polite();
    short.most_messages = 10;
    given.upstream.on("last turn", short);
    let request = with(streamed(""), json!({"input": turns(100), "truncation": "auto"}));
    let mut calls = Vec::new();
    for _ in 0..10 {
        let before = given.upstream.heard("last turn").len();
        let reply = given.reply(request.clone()).await;
        assert_eq!(reply.text, truth("last turn: say 5 words"), "{}", reply.response["error"]);
        calls.push(given.upstream.heard("last turn").len() - before);
    }
    assert!(calls[0] <= 4, "{calls:?}");
    assert!(calls.iter().all(|count| *count <= calls[0]), "{calls:?}");
    assert_eq!(calls[9], 1, "{calls:?}");
    let last = given.upstream.heard("last turn").pop().expect("it was asked");
    assert!(last.messages().len() > 5, "it is given most of what fits: {}", last.messages().len());
}

#[tokio::test]
async fn a_limit_of_output_is_one_of_the_whole_reply_and_so_is_its_usage() {
    let given = Given::new().await;
    let words: Vec<_> = (0..6).map(|number| Step::text(&format!("word{number} "))).collect();
    let broken = Behaviour::script([words.clone(), vec![Step::Break(Break::Closed)]].concat());
    let end = vec![Step::text("and on"), Step::Finish("stop"), Step::usage(16, 2), Step::Done];
    given.upstream.on_each("limited", [broken, Behaviour::script(end)]);
    let reply = given.reply(with(streamed("limited"), json!({"max_output_tokens": 20}))).await;
    assert_eq!(reply.status, "completed");
    let calls = given.upstream.heard("limited");
    let limits: Vec<_> = calls.iter().map(|heard| heard.body["max_tokens"].clone()).collect();
    assert_eq!(limits, [json!(20), json!(14)]);
    let usage = &reply.response["usage"];
    assert_eq!(
        (&usage["input_tokens"], &usage["output_tokens"], &usage["total_tokens"]),
        (&json!(10), &json!(8), &json!(18))
    );
}

#[tokio::test]
async fn a_reply_that_broke_off_at_its_limit_ends_there_without_another_call() {
    let given = Given::new().await;
    let words = (0..4).map(|number| Step::text(&format!("word{number} ")));
    given.upstream.on("at the limit", Behaviour::script(words.chain([Step::Break(Break::Closed)]).collect::<Vec<_>>()));
    let reply = given.reply(with(streamed("at the limit"), json!({"max_output_tokens": 4}))).await;
    assert_eq!(reply.status, "incomplete");
    assert_eq!(reply.response["incomplete_details"]["reason"], "max_output_tokens");
    given.upstream.heard_once("at the limit");
}

#[tokio::test]
async fn keys_and_addresses_in_an_upstreams_words_reach_no_client_and_no_key_the_log() {
    let given = Given::with(|config| config.env("LLM_API_KEY", "open-sesame-77")).await;
    let words = "no model for sk-proj-abcdefgh12345678 (open-sesame-77, Bearer tok-abc-123456) at \
        http://user:pw@gpu-7.internal:8000/v1 nor 10.1.2.3:9000; say please";
    let keys = ["sk-proj", "open-sesame", "tok-abc"];
    let addresses = ["gpu-7", "10.1.2.3", "8000", "9000"];
    let mut statuses = vec![("stream".to_owned(), {
        let error = json!({"error": {"message": words, "type": "invalid_request_error"}});
        Behaviour::script([Step::Raw(format!("data: {error}\n\n"))])
    })];
    statuses.extend([400, 404, 422].map(|status| (format!("status {status}"), Behaviour::error(status, "c", words))));
    for (about, behaviour) in statuses {
        given.upstream.on(&about, behaviour);
        let reply = given.reply(streamed(&about)).await;
        let error = reply.response["error"]["message"].as_str().expect("a message").to_owned();
        assert!(error.contains("no model for") && error.contains("say please"), "{about}: {error}");
        let found: Vec<_> = keys.iter().chain(&addresses).filter(|secret| error.contains(**secret)).collect();
        assert!(found.is_empty(), "{about}: {found:?} in {error}");
    }
    let log = given.server.output();
    assert!(keys.iter().all(|key| !log.contains(key)), "{log}");
    assert!(log.contains("gpu-7.internal:8000") && log.contains("10.1.2.3:9000"), "{log}");
}
