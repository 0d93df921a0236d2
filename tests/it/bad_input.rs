//! Bad input gets a precise error of `OpenAI`'s form, and the server lives on.

use hyper::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{upstream::Manner, wait::soon, *};

/// After whatever was sent, the server answers, and the upstream has heard only of this.
async fn still_works(given: &Given) {
    assert!(given.upstream.heard("never").is_empty(), "nothing of a refused request reaches the upstream");
    let prompt = prompt(3, "good health");
    assert_eq!(given.reply(streamed(&prompt)).await.text, truth(&prompt));
}

#[tokio::test]
async fn broken_json_is_refused() {
    let given = Given::new().await;
    for body in
        ["{\"input\": \"never\"", "never", "{\"input\": never}", "\u{feff}{]", "[1, 2", "{\"input\": \"never\",}"]
    {
        given.api.call(Method::POST, "/v1/responses", body).await.refused(400, Value::Null, Value::Null);
    }
    given.api.call(Method::POST, "/v1/responses", &b"{\"input\": \"never\xff\"}"[..]).await.refused(
        400,
        Value::Null,
        Value::Null,
    );
    for body in ["[]", "\"never\"", "7", "null"] {
        given.api.call(Method::POST, "/v1/responses", body).await.refused(400, Value::Null, Value::Null);
    }
    still_works(&given).await;
}

#[tokio::test]
async fn deeply_nested_json_is_refused_or_taken_but_never_fatal() {
    let given = Given::new().await;
    let deep = format!("{{\"input\": \"never\", \"text\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let answer = given.api.call(Method::POST, "/v1/responses", deep).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    still_works(&given).await;
}

#[tokio::test]
async fn a_missing_input_is_refused() {
    let given = Given::new().await;
    for body in [json!({}), json!({"model": "truth"}), json!({"input": null}), json!({"input": []})] {
        given.api.post("/v1/responses", body).await.refused(400, Value::Null, "input");
    }
    still_works(&given).await;
}

#[tokio::test]
async fn a_wrong_type_or_value_is_refused_with_its_place() {
    let given = Given::new().await;
    let wrong = [
        (json!({"input": 5}), "input"),
        (json!({"input": {"role": "user"}}), "input"),
        (json!({"input": [{"role": "wizard", "content": "never"}]}), "input[0]"),
        (json!({"input": [{"role": "user", "content": "never"}, 5]}), "input[1]"),
        (json!({"input": [{"type": "spell", "content": "never"}]}), "input[0]"),
        (json!({"input": [{"role": "user", "content": [{"type": "input_spell"}]}]}), "input[0].content[0]"),
        (json!({"model": 5}), "model"),
        (json!({"instructions": ["never"]}), "instructions"),
        (json!({"stream": "yes"}), "stream"),
        (json!({"store": 1}), "store"),
        (json!({"background": "no"}), "background"),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"temperature": 2.1}), "temperature"),
        (json!({"temperature": -0.1}), "temperature"),
        (json!({"top_p": 1.1}), "top_p"),
        (json!({"top_logprobs": 21}), "top_logprobs"),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"max_output_tokens": -5}), "max_output_tokens"),
        (json!({"max_output_tokens": "many"}), "max_output_tokens"),
        (json!({"metadata": []}), "metadata"),
        (json!({"metadata": {"a": 5}}), "metadata"),
        (json!({"tools": {}}), "tools"),
        (json!({"tools": [{"type": "function"}]}), "tools[0]"),
        (json!({"tools": [{"type": "function", "name": "not a name!"}]}), "tools[0]"),
        (json!({"tools": [{"type": "telepathy"}]}), "tools[0]"),
        (json!({"tool_choice": "perhaps"}), "tool_choice"),
        (json!({"tool_choice": {"type": "function", "name": "unknown"}}), "tool_choice"),
        (json!({"truncation": "sometimes"}), "truncation"),
        (json!({"text": {"format": {"type": "poem"}}}), "text"),
        (json!({"text": {"format": {"type": "json_schema"}}}), "text"),
        (json!({"reasoning": "hard"}), "reasoning"),
        (json!({"prompt": {"id": "pmpt_1"}}), "prompt"),
        (json!({"conversation": 5}), "conversation"),
        (json!({"previous_response_id": 5}), "previous_response_id"),
    ];
    for (fields, place) in wrong {
        let answer = given.api.post("/v1/responses", with(json!({"input": "never"}), fields.clone())).await;
        assert_eq!(answer.status, 400, "{fields}: {}", answer.text());
        let param = answer.json()["error"]["param"].clone();
        let param = param.as_str().unwrap_or_else(|| panic!("{fields}: no param in {}", answer.text()));
        assert!(param.starts_with(place), "{fields}: {param} for {place}");
        answer.refused(400, Value::Null, param);
    }
    still_works(&given).await;
}

#[tokio::test]
async fn what_this_server_does_not_do_is_refused_by_name() {
    let given = Given::new().await;
    let content = |part: Value| json!({"input": [{"role": "user", "content": [part]}]});
    for (fields, place) in [
        (content(json!({"type": "input_file", "file_id": "file_1"})), "input[0].content[0]"),
        (content(json!({"type": "input_image", "file_id": "file_1"})), "input[0].content[0]"),
        // What is not run here is left out, unless nothing else will do.
        (json!({"tools": [{"type": "file_search"}], "tool_choice": {"type": "file_search"}}), "tool_choice"),
        (json!({"tools": [{"type": "mcp", "server_label": "x"}], "tool_choice": "required"}), "tool_choice"),
    ] {
        let answer = given.api.post("/v1/responses", with(json!({"input": "never"}), fields)).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        let param = answer.json()["error"]["param"].as_str().expect("a param").to_owned();
        assert!(param.starts_with(place), "{param} for {place}");
    }
    still_works(&given).await;
}

#[tokio::test]
async fn contradictions_are_refused() {
    let given = Given::new().await;
    let conversation = given.conversation().await;
    let first = given.reply(streamed("first turn")).await;
    let both = json!({"conversation": conversation, "previous_response_id": first.id});
    let answer = given.api.post("/v1/responses", with(whole("never"), both)).await;
    answer.refused(400, "mutually_exclusive_parameters", "conversation");
    let fleeting = with(whole("never"), json!({"store": false}));
    let answer = given.api.post("/v1/responses", with(fleeting.clone(), json!({"background": true}))).await;
    answer.refused(400, Value::Null, "background");
    let answer = given.api.clone().header("idempotency-key", "k").post("/v1/responses", fleeting).await;
    answer.refused(400, Value::Null, "store");
    still_works(&given).await;
}

#[tokio::test]
async fn unknown_ids_are_told_apart_from_all_else() {
    let given = Given::new().await;
    let known = given.reply(streamed("first turn")).await.id;
    let own = "0".repeat(26);
    for id in ["resp_1".to_owned(), "nonsense".to_owned(), format!("resp_{own}{own}"), format!("{}{own}", &known[..31])]
    {
        let path = format!("/v1/responses/{id}");
        given.api.get(&path).await.unknown("response_id");
        given.api.get(&format!("{path}?stream=true&starting_after=3")).await.unknown("response_id");
        given.api.get(&format!("{path}/events")).await.unknown("response_id");
        given.api.get(&format!("{path}/input_items")).await.unknown("response_id");
        given.api.post(&format!("{path}/cancel"), json!({})).await.unknown("response_id");
        given.api.delete(&path).await.unknown("response_id");
        let answer = given.api.post("/v1/responses", with(whole("never"), json!({"previous_response_id": id}))).await;
        let code = if id == "nonsense" { "invalid_value" } else { "previous_response_not_found" };
        answer.refused(400, code, "previous_response_id");
    }
    for id in ["conv_1".to_owned(), format!("conv_{own}")] {
        let path = format!("/v1/conversations/{id}");
        given.api.get(&path).await.unknown("conversation_id");
        given.api.get(&format!("{path}/items")).await.unknown("conversation_id");
        given.api.get(&format!("{path}/events")).await.unknown("conversation_id");
        given.api.post(&path, json!({"metadata": {}})).await.unknown("conversation_id");
        let items = json!({"items": [{"role": "user", "content": "never"}]});
        given.api.post(&format!("{path}/items"), items).await.unknown("conversation_id");
        given.api.delete(&path).await.unknown("conversation_id");
        let answer = given.api.post("/v1/responses", with(whole("never"), json!({"conversation": id}))).await;
        if id == "nonsense" {
            answer.refused(400, "invalid_value", "conversation");
        } else {
            answer.unknown("conversation");
        }
    }
    let conversation = given.conversation().await;
    for id in ["msg_1".to_owned(), format!("msg_{own}{own}0")] {
        let path = format!("/v1/conversations/{conversation}/items/{id}");
        given.api.get(&path).await.unknown("item_id");
        given.api.delete(&path).await.unknown("item_id");
        let input = json!([{"type": "item_reference", "id": id}, {"role": "user", "content": "never"}]);
        let answer = given.api.post("/v1/responses", with(whole(""), json!({"input": input}))).await;
        assert!(
            answer.refused(400, Value::Null, answer.json()["error"]["param"].clone())["param"]
                .as_str()
                .is_some_and(|param| param.starts_with("input[0]"))
        );
    }
    still_works(&given).await;
}

#[tokio::test]
async fn an_unknown_model_is_refused() {
    let given = Given::new().await;
    let answer = given.api.post("/v1/responses", json!({"model": "nobody", "input": "never"})).await;
    let error = answer.refused(400, "model_not_found", "model");
    assert!(error["message"].as_str().unwrap().contains("nobody"), "{error}");
    still_works(&given).await;
}

#[tokio::test]
async fn a_locked_conversation_is_refused() {
    let given = Given::new().await;
    given.upstream.on("slow", Manner::paced(20));
    let conversation = given.conversation().await;
    let in_it = |prompt: &str| with(streamed(prompt), json!({"conversation": conversation}));
    let stream = given.api.stream(in_it(&prompt(20, "slow talk"))).await;
    let answer = given.api.post("/v1/responses", in_it("never")).await;
    answer.refused(400, "conversation_locked", "conversation");
    assert_eq!(check_reply(&stream.collect().await.into_events()).text, truth(&prompt(20, "slow talk")));
    still_works(&given).await;
}

#[tokio::test]
async fn a_place_past_the_end_or_that_is_none_is_refused() {
    let given = Given::new().await;
    let events = given.events(streamed("hello")).await;
    let id = check_reply(&events).id;
    let last = events.len() - 1;
    let path = format!("/v1/responses/{id}?stream=true&starting_after=");
    assert!(given.api.follow(&format!("{path}{last}")).await.collect().await.into_events().is_empty());
    for place in [
        (last + 1).to_string(),
        "99999999".to_owned(),
        u64::MAX.to_string(),
        "-1".to_owned(),
        "x".to_owned(),
        "1.5".to_owned(),
    ] {
        given.api.get(&format!("{path}{place}")).await.refused(400, Value::Null, "starting_after");
    }
    given.api.get(&format!("/v1/responses/{id}?stream=perhaps")).await.refused(400, Value::Null, "stream");
    for place in ["x", "-1", "1.1", "18446744073709551615", "18446744073709551616"] {
        let api = given.api.clone().header("last-event-id", place);
        let answer = api.get(&format!("/v1/responses/{id}/events")).await;
        answer.refused(400, Value::Null, "Last-Event-ID");
    }
    still_works(&given).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let given = Given::new().await;
    let body = json!({"input": "never ".repeat(3_000_000)}).to_string();
    // The server may stop reading as soon as it knows.
    if let Ok(answer) = given.api.try_call(Method::POST, "/v1/responses", body).await {
        answer.refused(413, Value::Null, Value::Null);
    }
    let mut socket = TcpStream::connect(given.server.address()).await.expect("the server listens");
    let head = "POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
        content-length: 99999999999\r\n\r\n{\"input\": \"never";
    socket.write_all(head.as_bytes()).await.expect("written");
    let answer = read_head(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    still_works(&given).await;
}

#[tokio::test]
async fn a_body_just_under_the_limit_is_taken() {
    let given = Given::new().await;
    let long = "tree ".repeat(2_500_000);
    let content = format!("{long}: say 3 words");
    let reply = given.reply(streamed(&content)).await;
    assert_eq!(reply.status, "completed");
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing() {
    let given = Given::new().await;
    let mut socket = TcpStream::connect(given.server.address()).await.expect("the server listens");
    let head = "POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
        content-length: 100\r\n\r\n{\"input\": \"never";
    socket.write_all(head.as_bytes()).await.expect("written");
    drop(socket);
    still_works(&given).await;
}

#[tokio::test]
async fn a_path_that_is_not_utf_8_is_refused() {
    let given = Given::new().await;
    for path in ["/v1/responses/%FF%FE", "/v1/responses/resp_%80/events", "/v1/conversations/%C3%28/items", "/%FF"] {
        let answer = given.api.get(path).await;
        assert!([400, 404].contains(&answer.status.as_u16()), "{path}: {}", answer.text());
        let param = answer.json()["error"]["param"].clone();
        answer.refused(answer.status.as_u16(), Value::Null, param);
    }
    let mut socket = TcpStream::connect(given.server.address()).await.expect("the server listens");
    socket.write_all(b"GET /v1/responses/\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("written");
    let answer = read_head(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    still_works(&given).await;
}

async fn read_head(socket: &mut TcpStream) -> String {
    let mut answer = vec![0; 4096];
    let read = soon("an answer", socket.read(&mut answer)).await.expect("an answer");
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn metadata_is_refused_over_its_bounds_and_taken_at_them() {
    let given = Given::new().await;
    let keys = |count: usize| -> Value { (0..count).map(|key| (key.to_string(), json!("x"))).collect() };
    let too_much = [keys(17), json!({"k".repeat(65): "x"}), json!({"k": "v".repeat(513)})];
    let conversation = given.conversation().await;
    for metadata in too_much {
        let request = with(whole("never"), json!({"metadata": metadata}));
        for (path, body) in [
            ("/v1/responses".to_owned(), request),
            ("/v1/conversations".to_owned(), json!({"metadata": metadata})),
            (format!("/v1/conversations/{conversation}"), json!({"metadata": metadata})),
        ] {
            let answer = given.api.post(&path, body).await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.text());
            let param = answer.json()["error"]["param"].as_str().expect("a param").to_owned();
            assert!(param == "metadata" || param == "metadata.k", "{param}");
        }
    }
    // The bounds are of letters, not bytes.
    let most = with(keys(15), json!({"ä".repeat(64): "ö".repeat(512)}));
    let response = given.api.post("/v1/responses", with(whole("hello"), json!({"metadata": most}))).await.ok();
    assert_eq!(response["metadata"], most);
    still_works(&given).await;
}

#[tokio::test]
async fn items_of_a_conversation_are_refused_when_they_are_none_or_too_many() {
    let given = Given::new().await;
    let path = format!("/v1/conversations/{}/items", given.conversation().await);
    let message = json!({"role": "user", "content": "x"});
    for (items, place) in [
        (json!(vec![message.clone(); 21]), "items"),
        (json!([]), "items"),
        (Value::Null, "items"),
        (json!("x"), "items"),
        (json!([message, {"role": "wizard", "content": "x"}]), "items[1]"),
    ] {
        let answer = given.api.post(&path, json!({"items": items})).await;
        assert_eq!(answer.status, 400, "{items}: {}", answer.text());
        let param = answer.json()["error"]["param"].as_str().expect("a param").to_owned();
        assert!(param.starts_with(place), "{param} for {place}");
    }
    assert_eq!(given.api.get(&path).await.ok()["data"], json!([]), "all of them or none");
    still_works(&given).await;
}

#[tokio::test]
async fn another_site_cannot_post_what_a_form_could() {
    let given = Given::new().await;
    let body = whole("never").to_string();
    let foreign = given.api.clone().header("origin", "https://evil.example").header("content-type", "text/plain");
    foreign.call(Method::POST, "/v1/responses", body.clone()).await.refused(403, "origin_not_allowed", Value::Null);
    let own = given.api.clone().header("origin", &given.server.base).header("content-type", "text/plain");
    own.call(Method::POST, "/v1/responses", body).await.refused(415, Value::Null, Value::Null);
    let local = given.api.clone().header("content-type", "text/plain");
    local.call(Method::POST, "/v1/responses", whole("hello").to_string()).await.ok();
    still_works(&given).await;
}
