//! What well-known clients and HTTP libraries send, and what they make of the answers.

use hyper::Method;

use crate::support::{
    upstream::{Behaviour, Step},
    *,
};

mod bodies;
mod reasoning;

#[tokio::test]
async fn the_accept_headers_of_http_libraries_get_json_and_events() {
    let given = Given::new().await;
    for accept in [
        "application/json, text/plain, */*",
        "text/plain, application/json, application/*+json, */*",
        "application/x-ndjson;q=0.1, application/json",
        "*/*",
    ] {
        let api = given.api.clone().header("accept", accept);
        let answer = api.post("/v1/responses", whole("hello")).await;
        assert_eq!(answer.header("content-type"), Some("application/json"), "{accept}");
        assert_eq!(answer.ok()["status"], "completed", "{accept}");
        let answer = api.post("/v1/responses", streamed("hello")).await;
        assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"), "{accept}");
    }
    given.upstream.on("failure", Behaviour::error(400, "invalid_prompt", "no"));
    let api = given.api.clone().header("accept", "application/json, text/plain, */*");
    assert_eq!(api.post("/v1/responses", whole("failure")).await.status, 400, "a failure is an error");
}

#[tokio::test]
async fn sampling_options_that_other_apis_have_reach_the_model_server() {
    let given = Given::new().await;
    let fields = json!({"presence_penalty": 0.5, "frequency_penalty": -0.5, "seed": 7, "stop": ["a", "b"],
        "logit_bias": {"50256": -100}, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1});
    let reply = given.reply(with(streamed("hello"), fields.clone())).await;
    let asked = given.upstream.heard_once("hello").body;
    for (name, value) in fields.as_object().unwrap() {
        assert_eq!(&asked[name], value, "{name}");
    }
    assert_eq!(reply.response["presence_penalty"], 0.5);
    assert_eq!(reply.response["frequency_penalty"], -0.5);
    let plain = given.api.post("/v1/responses", whole("plain")).await.ok();
    assert_eq!((&plain["presence_penalty"], &plain["frequency_penalty"]), (&json!(0.0), &json!(0.0)));
    let one = with(streamed("one word"), json!({"stop": "a", "n": 1, "logprobs": false}));
    given.reply(one).await;
    assert_eq!(given.upstream.heard_once("one word").body["stop"], "a");
}

#[tokio::test]
async fn parameters_that_nobody_knows_are_named_as_ignored() {
    let given = Given::new().await;
    let odd = json!({"wordiness": 3, "stream_options": {"include_obfuscation": false}, "n": 1});
    let response = given.api.post("/v1/responses", with(whole("odd"), odd)).await.ok();
    assert_eq!(response["rejoinder"]["ignored"], json!(["wordiness"]));
    assert_eq!(given.upstream.heard_once("odd").body.get("wordiness"), None);
    let plain = given.api.post("/v1/responses", whole("plain")).await.ok();
    assert_eq!(plain["rejoinder"].get("ignored"), None);

    let chat = json!({"model": "truth", "messages": [{"role": "user", "content": "even"}]});
    let completion =
        given.api.post("/v1/chat/completions", with(chat.clone(), json!({"wordiness": 3, "n": 1}))).await.ok();
    assert_eq!(completion["rejoinder"]["ignored"], json!(["wordiness"]));
    let plain = given.api.post("/v1/chat/completions", chat).await.ok();
    assert_eq!(plain.get("rejoinder"), None);
}

#[tokio::test]
async fn parameters_of_other_apis_are_refused_by_name() {
    let given = Given::new().await;
    for (fields, param) in [
        (json!({"max_tokens": 5}), "max_tokens"),
        (json!({"max_completion_tokens": 5}), "max_completion_tokens"),
        (json!({"response_format": {"type": "json_object"}}), "response_format"),
        (json!({"messages": [{"role": "user", "content": "never"}]}), "messages"),
        (json!({"reasoning_effort": "low"}), "reasoning_effort"),
        (json!({"functions": []}), "functions"),
        (json!({"n": 2}), "n"),
        (json!({"logprobs": true}), "logprobs"),
        (json!({"presence_penalty": 3}), "presence_penalty"),
        (json!({"frequency_penalty": "much"}), "frequency_penalty"),
        (json!({"seed": 0.5}), "seed"),
        (json!({"stop": ["a", 5]}), "stop[1]"),
        (json!({"stop": {"a": 1}}), "stop"),
        (json!({"top_k": "many"}), "top_k"),
    ] {
        let answer = given.api.post("/v1/responses", with(whole("never"), fields)).await;
        answer.refused(400, Value::Null, param);
    }
    assert!(given.upstream.heard("never").is_empty());
}

#[tokio::test]
async fn an_upgrade_to_what_is_not_spoken_is_426_and_h2c_is_ignored() {
    let given = Given::new().await;
    let websocket = given.api.clone().header("connection", "Upgrade").header("upgrade", "websocket");
    let answer = websocket.get("/v1/responses").await;
    answer.refused(426, "upgrade_required", Value::Null);
    assert!(answer.header("upgrade").is_some(), "RFC 9110, 15.5.22");
    let id = given.reply(streamed("hello")).await.id;
    websocket.get(&format!("/v1/responses/{id}")).await.refused(426, "upgrade_required", Value::Null);
    websocket.get("/v1/nothing").await.refused(404, "unknown_url", Value::Null);
    // Clients of Java offer HTTP/2 so, and mean the request all the same (RFC 7540, 3.2).
    let java = given.api.clone().header("connection", "Upgrade, HTTP2-Settings").header("upgrade", "h2c");
    java.get(&format!("/v1/responses/{id}")).await.ok();
    java.get("/v1/responses").await.refused(426, "upgrade_required", Value::Null);
}

#[tokio::test]
async fn a_word_that_is_no_id_is_an_unknown_address() {
    let given = Given::new().await;
    let id = given.reply(streamed("hello")).await.id;
    for word in ["compacted", "nothing", "input_items", "r"] {
        given.api.post(&format!("/v1/responses/{word}"), whole("never")).await.refused(404, "unknown_url", Value::Null);
    }
    let answer = given.api.post(&format!("/v1/responses/{id}"), whole("never")).await;
    answer.refused(405, Value::Null, Value::Null);
    assert_eq!(answer.header("allow"), Some("GET, HEAD, DELETE, OPTIONS"));
}

#[tokio::test]
async fn the_tokens_of_an_input_are_estimated_and_said_to_be() {
    let given = Given::new().await;
    let count = async |fields: Value| {
        let counted = given.api.post("/v1/responses/input_tokens", with(json!({"model": "truth"}), fields)).await.ok();
        assert_eq!(
            (&counted["object"], &counted["rejoinder"]["estimated"]),
            (&json!("response.input_tokens"), &json!(true))
        );
        counted["input_tokens"].as_u64().expect("a number")
    };
    let short = count(json!({"input": "hi"})).await;
    let long = count(json!({"input": "hi ".repeat(400)})).await;
    assert!((1..20).contains(&short) && (200..600).contains(&long), "{short}, {long}");
    assert!(count(json!({"input": "hi", "instructions": "Be kind. ".repeat(40)})).await > short + 50);
    let tools = json!([{"type": "function", "name": "f", "description": "what it does ".repeat(20), "parameters": {}}]);
    assert!(count(json!({"input": "hi", "tools": tools})).await > short + 40);
    let image =
        json!([{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}]);
    assert!(count(json!({"input": image})).await > 500);
    let first = given.reply(streamed(&format!("{}: say 40 words", "tree ".repeat(200)))).await;
    assert!(count(json!({"input": "hi", "previous_response_id": first.id})).await > short + 250);
    let conversation = given.conversation().await;
    let items = json!({"items": [{"role": "user", "content": "tree ".repeat(300)}]});
    given.api.post(&format!("/v1/conversations/{conversation}/items"), items).await.ok();
    assert!(count(json!({"input": "hi", "conversation": conversation})).await > short + 250);

    let path = "/v1/responses/input_tokens";
    given.api.post(path, json!({"input": 5})).await.refused(400, "invalid_type", "input");
    let gone = json!({"input": "hi", "previous_response_id": "resp_nothing"});
    given.api.post(path, gone).await.refused(400, "previous_response_not_found", "previous_response_id");
}

#[tokio::test]
async fn text_files_are_read_by_the_model() {
    let given = Given::new().await;
    let file = |number: usize, fields: Value| {
        let file = with(json!({"type": "input_file"}), fields);
        let text = json!({"type": "input_text", "text": format!("file number {number}.")});
        json!([{"role": "user", "content": [text, file]}])
    };
    for (number, fields) in [
        json!({"filename": "a.txt", "file_data": "data:text/plain;base64,Z3JlZXRpbmdz"}),
        json!({"filename": "a.md", "file_data": "data:text/markdown;charset=utf-8;base64,Z3JlZXRpbmdz"}),
        json!({"filename": "a.csv", "file_data": "data:text/csv,greetings"}),
        json!({"filename": "a.json", "file_data": "data:application/json;base64,eyJhIjoiZ3JlZXRpbmdzIn0="}),
        // By its name alone, where the type says nothing.
        json!({"filename": "a.md", "file_data": "Z3JlZXRpbmdz"}),
        json!({"filename": "A.CSV", "file_data": "data:application/octet-stream;base64,Z3JlZXRpbmdz"}),
        json!({"file_data": "data:TEXT/Plain;base64,Z3JlZXRpbmdz"}),
    ]
    .into_iter()
    .enumerate()
    {
        let reply = given.reply(with(streamed(""), json!({"input": file(number, fields.clone())}))).await;
        assert_eq!(reply.status, "completed", "{fields}");
        let asked = given.upstream.heard_once(&format!("file number {number}.")).messages()[0]["content"].clone();
        assert!(asked.as_str().is_some_and(|text| text.contains("greetings")), "{asked}");
        if let Some(name) = fields["filename"].as_str() {
            assert!(asked.as_str().is_some_and(|text| text.contains(name)), "{asked}");
        }
    }
    for (fields, param) in [
        (json!({"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}), "file_data"),
        (json!({"filename": "a.bin", "file_data": "data:application/octet-stream;base64,AAEC/w=="}), "file_data"),
        (json!({"filename": "a.txt", "file_data": "data:text/plain;base64,not base64!"}), "file_data"),
        (json!({"filename": "a.txt", "file_data": "data:text/plain;base64,/w=="}), "file_data"),
        (json!({"filename": "a.txt", "file_data": 5}), "file_data"),
        (json!({"filename": "a.txt"}), "file_data"),
        (json!({"file_url": "https://example.com/a.txt"}), "file_url"),
        (json!({"file_id": "file_1"}), "file_id"),
    ] {
        let answer = given.api.post("/v1/responses", with(whole(""), json!({"input": file(99, fields)}))).await;
        answer.refused(400, Value::Null, format!("input[0].content[1].{param}"));
    }
    assert!(given.upstream.heard("file number 99.").is_empty());
}

#[tokio::test]
async fn an_output_that_is_given_twice_is_said_to_be() {
    let given = Given::new().await;
    let call = json!({"type": "function_call", "call_id": "call_a", "name": "f", "arguments": "{}"});
    let output = json!({"type": "function_call_output", "call_id": "call_a", "output": "sunny"});
    let input = json!([{"role": "user", "content": "never"}, call, output, output]);
    let error = given.api.post("/v1/responses", json!({"input": input})).await.refused(400, Value::Null, "input");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("call_a") && message.contains("more than once"), "{message}");

    // … in a later turn, too; but a second call of the same id may have its own.
    let again = json!([{"role": "user", "content": "once"}, call, output, call, output]);
    let first = given.reply(with(streamed(""), json!({"input": again}))).await;
    let next = json!({"previous_response_id": first.id, "input": [output]});
    let error = given.api.post("/v1/responses", next).await.refused(400, Value::Null, "input");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("more than once")), "{error}");
}

#[tokio::test]
async fn pages_of_items_with_the_same_id_come_to_an_end() {
    let given = Given::new().await;
    let item = |number: usize| json!({"type": "message", "id": format!("msg_{}", number % 3), "role": "user", "content": number.to_string()});
    let items: Vec<_> = (0..9).map(item).collect();
    let id = given.reply(with(streamed(""), json!({"input": items}))).await.id;
    let conversation = given.conversation().await;
    let path = format!("/v1/conversations/{conversation}/items");
    given.api.post(&path, json!({"items": items})).await.ok();
    for path in [format!("/v1/responses/{id}/input_items"), path] {
        for order in ["asc", "desc"] {
            let (mut after, mut seen) = (String::new(), Vec::new());
            loop {
                let page = given.api.get(&format!("{path}?order={order}&limit=2{after}")).await.ok();
                seen.extend(ids(&page));
                assert!(seen.len() <= 9, "it goes round: {seen:?}");
                if page["has_more"] == false {
                    break;
                }
                after = format!("&after={}", page["last_id"].as_str().expect("an id"));
            }
            for id in ["msg_0", "msg_1", "msg_2"] {
                assert!(seen.iter().any(|seen| seen == id), "{id} in {seen:?} of {path} {order}");
            }
        }
    }
}

#[tokio::test]
async fn a_key_is_for_one_place() {
    let given = Given::new().await;
    let keyed = given.api.clone().header("idempotency-key", "k-1");
    let first = given.reply(streamed("first turn")).await;
    let places = [
        json!({}),
        json!({"previous_response_id": first.id}),
        json!({"conversation": given.conversation().await}),
        json!({"conversation": given.conversation().await}),
    ];
    for (number, place) in places.iter().enumerate() {
        let answer = keyed.post("/v1/responses", with(whole("a key"), place.clone())).await;
        if number == 0 {
            answer.ok();
        } else {
            answer.refused(400, "idempotency_key_reused", "Idempotency-Key");
        }
    }
    let given = given.restarted().await;
    let keyed = given.api.clone().header("idempotency-key", "k-2");
    keyed.post("/v1/responses", with(whole("a key"), places[2].clone())).await.ok();
    keyed.post("/v1/responses", with(whole("a key"), places[2].clone())).await.ok();
    for place in [&places[3], &places[0]] {
        let answer = keyed.post("/v1/responses", with(whole("a key"), place.clone())).await;
        answer.refused(400, "idempotency_key_reused", "Idempotency-Key");
    }
    assert_eq!(given.upstream.heard("a key").len(), 2);
}
