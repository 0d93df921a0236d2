//! The Responses API: what a response object says, and how stored responses are read, listed, deleted.

use crate::support::{upstream::Manner, *};

/// The keys that every response object has.
const KEYS: [&str; 32] = [
    "id",
    "object",
    "created_at",
    "status",
    "background",
    "completed_at",
    "conversation",
    "error",
    "frequency_penalty",
    "incomplete_details",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "output",
    "parallel_tool_calls",
    "presence_penalty",
    "previous_response_id",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "usage",
];

#[tokio::test]
async fn a_response_has_every_key_and_the_defaults_of_the_api() {
    let given = Given::new().await;
    let response = given.api.post("/v1/responses", json!({"input": "hello"})).await.ok();
    for key in KEYS {
        assert!(response.get(key).is_some(), "`{key}` is missing in {response}");
    }
    let expected = json!({
        "object": "response", "status": "completed", "background": false, "conversation": null, "error": null,
        "incomplete_details": null, "instructions": null, "max_output_tokens": null, "max_tool_calls": null,
        "metadata": {}, "model": "truth", "parallel_tool_calls": true, "previous_response_id": null,
        "service_tier": "default", "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
        "truncation": "disabled",
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&response[key], value, "{key}");
    }
    assert_eq!(response["text"]["format"], json!({"type": "text"}));
    assert!(response["id"].as_str().is_some_and(|id| id.starts_with("resp_")));
    let (created, completed) = (response["created_at"].as_u64().unwrap(), response["completed_at"].as_u64().unwrap());
    assert!(created > 1_700_000_000 && completed >= created && completed < created + 60, "{response}");
}

#[tokio::test]
async fn a_response_gives_back_what_the_client_asked_for() {
    let given = Given::new().await;
    let parameters = json!({"type": "object", "properties": {}});
    let tool = json!({"type": "function", "name": "f", "description": "d", "parameters": parameters, "strict": true});
    let fields = json!({
        "instructions": "Be brief.", "max_output_tokens": 77, "max_tool_calls": 3, "metadata": {"a": "b"},
        "parallel_tool_calls": false, "temperature": 0.5, "tool_choice": "none", "tools": [tool], "top_p": 0.25,
        "truncation": "auto", "user": "u-1", "safety_identifier": "s-1", "prompt_cache_key": "k-1", "top_logprobs": 2,
    });
    let request = with(whole("hello"), fields.clone());
    let request = with(request, json!({"reasoning": {"effort": "low"}, "text": {"verbosity": "low"}}));
    let response = given.api.post("/v1/responses", request).await.ok();
    for (key, value) in fields.as_object().unwrap() {
        assert_eq!(&response[key], value, "{key}");
    }
    assert_eq!(response["reasoning"]["effort"], "low");
    assert_eq!(response["text"]["verbosity"], "low");
    let id = response["id"].as_str().unwrap();
    assert_eq!(given.api.get(&format!("/v1/responses/{id}")).await.ok(), response);
    let stored = check_reply(&given.replay(id).await);
    assert_eq!(stored.response, response);
}

#[tokio::test]
async fn fields_that_are_null_are_as_if_they_were_not_there() {
    let given = Given::new().await;
    let nulls = json!({
        "instructions": null, "max_output_tokens": null, "metadata": null, "temperature": null, "tool_choice": null,
        "tools": null, "top_p": null, "truncation": null, "user": null, "previous_response_id": null,
        "conversation": null, "store": null, "stream": null, "background": null, "reasoning": null, "text": null,
        "include": null, "parallel_tool_calls": null, "service_tier": null, "stream_options": null,
    });
    let response = given.api.post("/v1/responses", with(whole("hello"), nulls)).await.ok();
    assert_eq!((&response["status"], &response["temperature"]), (&json!("completed"), &json!(1.0)));
}

#[tokio::test]
async fn stream_options_and_includes_of_the_sdks_are_accepted() {
    let given = Given::new().await;
    let options = json!({"stream_options": {"include_obfuscation": true},
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"]});
    let events = given.events(with(streamed("hello"), options)).await;
    assert!(events.iter().all(|event| event.body.get("obfuscation").is_none()), "it is never sent");
    assert_eq!(check_reply(&events).status, "completed");
}

#[tokio::test]
async fn each_turn_after_a_previous_response_is_asked_with_the_path_to_it() {
    let given = Given::new().await;
    let first = given.reply(streamed("first turn")).await;
    let left = given.reply(with(streamed("left turn"), json!({"previous_response_id": first.id}))).await;
    let right = given.reply(with(streamed("right turn"), json!({"previous_response_id": first.id}))).await;
    assert_eq!(right.response["previous_response_id"], first.id.as_str());
    given.reply(with(streamed("last turn"), json!({"previous_response_id": left.id}))).await;
    let heard = given.upstream.heard_once("last turn");
    let said: Vec<_> = heard.messages().iter().map(|message| message["content"].as_str().unwrap()).collect();
    assert_eq!(said, ["first turn", &first.text, "left turn", &left.text, "last turn"]);
}

#[tokio::test]
async fn a_long_chain_of_turns_is_remembered_over_a_restart() {
    let mut given = Given::new().await;
    let mut last = given.reply(streamed("turn 0")).await;
    for turn in 1..8 {
        if turn == 4 {
            given = given.restarted().await;
        }
        last = given.reply(with(streamed(&format!("turn {turn}.")), json!({"previous_response_id": last.id}))).await;
    }
    assert_eq!(given.upstream.heard_once("turn 7.").messages().len(), 15);
}

#[tokio::test]
async fn branches_of_a_response_run_at_the_same_time() {
    let given = Given::new().await;
    given.upstream.on("branch", Manner::paced(20));
    let first = given.reply(streamed("first turn")).await;
    let branch = |name: &str| with(streamed(&prompt(15, name)), json!({"previous_response_id": first.id}));
    let mut left = given.api.stream(branch("branch left")).await;
    left.read_words(2).await;
    let mut right = given.api.stream(branch("branch right")).await;
    let seen = right.read_words(2).await;
    assert!(!seen.iter().any(Event::is_terminal));
    let running = given.api.get(&format!("/v1/responses/{}", left.response_id())).await.ok();
    assert_eq!(running["status"], "in_progress");
    left.collect().await.into_events();
    right.collect().await.into_events();
}

#[tokio::test]
async fn a_response_cannot_follow_one_that_still_runs() {
    let given = Given::new().await;
    given.upstream.on("running", Manner::paced(50));
    let stream = given.api.stream(streamed(&prompt(100, "running"))).await;
    let next = with(whole("next"), json!({"previous_response_id": stream.response_id()}));
    given.api.post("/v1/responses", next).await.refused(400, Value::Null, "previous_response_id");
}

#[tokio::test]
async fn a_running_response_is_read_with_what_was_said_so_far() {
    let given = Given::new().await;
    given.upstream.on("running", Manner::polite().breaking(4, upstream::Break::Silent));
    let prompt = prompt(9, "running");
    let mut stream = given.api.stream(streamed(&prompt)).await;
    let said = check::text_of(&stream.read_words(4).await);
    let response = given.api.get(&format!("/v1/responses/{}", stream.response_id())).await.ok();
    assert_eq!((&response["status"], &response["usage"]), (&json!("in_progress"), &Value::Null));
    assert_eq!(check::output_text(&response), said);
    assert_eq!(response["output"][0]["status"], "in_progress");
}

#[tokio::test]
async fn a_deleted_response_is_gone_and_its_thread_goes_on() {
    let given = Given::new().await;
    let first = given.reply(streamed("first turn")).await;
    let second = given.reply(with(streamed("second turn"), json!({"previous_response_id": first.id}))).await;
    let path = format!("/v1/responses/{}", second.id);
    let deleted = given.api.delete(&path).await.ok();
    assert_eq!((&deleted["id"], &deleted["deleted"]), (&json!(second.id), &json!(true)));
    for gone in [path.clone(), format!("{path}?stream=true"), format!("{path}/input_items"), format!("{path}/events")] {
        given.api.get(&gone).await.unknown("response_id");
    }
    given.api.delete(&path).await.unknown("response_id");
    given.api.post(&format!("{path}/cancel"), json!({})).await.unknown("response_id");
    let after = with(whole("third turn"), json!({"previous_response_id": second.id}));
    let refused = given.api.post("/v1/responses", after).await;
    refused.refused(400, "previous_response_not_found", "previous_response_id");
    let third = given.reply(with(streamed("third turn"), json!({"previous_response_id": first.id}))).await;
    assert_eq!(third.status, "completed");

    let given = given.restarted().await;
    given.api.get(&path).await.unknown("response_id");
}

#[tokio::test]
async fn deleting_a_running_response_stops_it_for_its_followers() {
    let given = Given::new().await;
    given.upstream.on("deleted", Manner::paced(20));
    let mut stream = given.api.stream(streamed(&prompt(200, "deleted"))).await;
    let id = stream.response_id();
    let mut events = stream.read_words(3).await;
    given.api.delete(&format!("/v1/responses/{id}")).await.ok();
    events.extend(stream.collect().await.into_events());
    assert_eq!(check_reply(&events).status, "cancelled");
    given.api.get(&format!("/v1/responses/{id}")).await.unknown("response_id");
    until("the upstream to be left", async || {
        (given.upstream.heard_once("deleted").fate == upstream::Fate::HungUp).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_input_items_of_a_response_are_listed_with_ids() {
    let given = Given::new().await;
    let input = json!([
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi", "annotations": []}]},
        {"role": "user", "content": "again"},
    ]);
    let id = given.reply(with(streamed(""), json!({"input": input}))).await.id;
    let path = format!("/v1/responses/{id}/input_items");
    let page = given.api.get(&path).await.ok();
    assert_eq!((&page["object"], &page["has_more"]), (&json!("list"), &json!(false)));
    let newest_first = ids(&page);
    assert_eq!((newest_first.len(), page["data"][0]["content"][0]["text"].as_str()), (4, Some("again")));
    for item in page["data"].as_array().unwrap() {
        assert_eq!(item["type"], "message");
        assert!(item["id"].as_str().is_some_and(|id| id.starts_with("msg_")), "{item}");
    }
    let oldest_first = ids(&given.api.get(&format!("{path}?order=asc")).await.ok());
    assert!(oldest_first.iter().rev().eq(&newest_first));

    let page = given.api.get(&format!("{path}?order=asc&limit=2&after={}", oldest_first[0])).await.ok();
    assert_eq!(ids(&page), oldest_first[1..3]);
    assert_eq!((&page["first_id"], &page["last_id"]), (&json!(oldest_first[1]), &json!(oldest_first[2])));
    assert_eq!(page["has_more"], true);
    let empty = given.api.get(&format!("{path}?order=asc&after={}", oldest_first[3])).await.ok();
    assert_eq!((&empty["first_id"], &empty["last_id"]), (&Value::Null, &Value::Null));
    assert_eq!((&empty["has_more"], &empty["data"]), (&json!(false), &json!([])));
}

#[tokio::test]
async fn lists_are_refused_outside_their_bounds() {
    let given = Given::new().await;
    let id = given.reply(streamed("hello")).await.id;
    let path = format!("/v1/responses/{id}/input_items");
    for (query, param) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=many", "limit"),
        ("order=up", "order"),
        ("after=msg_x", "after"),
    ] {
        given.api.get(&format!("{path}?{query}")).await.refused(400, Value::Null, param);
    }
    given.api.get(&format!("{path}?limit=100&order=asc&include[]=message.input_image.image_url")).await.ok();
}

#[tokio::test]
async fn the_models_of_the_upstream_are_listed() {
    let given = Given::new().await;
    let page = given.api.get("/v1/models").await.ok();
    assert_eq!(page["object"], "list");
    let names = ids(&page);
    assert!(names.contains(&"truth".to_owned()) && names.contains(&"other".to_owned()), "{names:?}");
    let model = given.api.get("/v1/models/other").await.ok();
    assert_eq!((&model["id"], &model["object"]), (&json!("other"), &json!("model")));
    given.api.get("/v1/models/nothing").await.refused(404, "model_not_found", "model");
}

#[tokio::test]
async fn without_an_upstream_eliza_answers_and_echo_repeats() {
    let server = server::Server::bare().start().await;
    let api = server.api();
    let response = api.post("/v1/responses", json!({"input": "I am unhappy."})).await.ok();
    assert_eq!(response["model"], "eliza");
    assert!(check::output_text(&response).split_whitespace().count() > 2, "{response}");
    let said = "alder001 birch002 cedar003";
    let response = api.post("/v1/responses", json!({"model": "echo", "input": said})).await.ok();
    assert_eq!(check::output_text(&response), said);
    let names = ids(&api.get("/v1/models").await.ok());
    assert!(names.contains(&"eliza".to_owned()) && names.contains(&"echo".to_owned()), "{names:?}");
}

#[tokio::test]
async fn an_echo_is_paced_by_its_name_and_survives_a_kill() {
    let server = server::Server::bare().start().await;
    let said: Vec<_> = (0..40).map(|number| format!("word{number}")).collect();
    let request = json!({"model": "echo-20ms", "input": said.join(" "), "stream": true});
    let mut stream = server.api().stream(request).await;
    let id = stream.response_id();
    let events = stream.read_words(5).await;
    let server = server.restart().await;
    let events = follower::follow(&server.api(), &id, follower::Place::Responses, events).await;
    assert_eq!(check_reply(&events).text, said.join(" "));
}
