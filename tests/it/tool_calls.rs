//! Function calls: said in any dialect, told whole or not at all, answered in a second turn, kept over a kill.

use crate::support::{
    follower::{Place, follow},
    upstream::{Break, Manner, Step},
    *,
};

const ENDS: [Step; 2] = [Step::Finish("tool_calls"), Step::Done];

fn tools() -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    json!([
        {"type": "function", "name": "weather", "description": "The weather", "parameters": parameters, "strict": true},
        {"type": "function", "name": "time", "parameters": parameters},
    ])
}

fn request(about: &str) -> Value {
    with(streamed(about), json!({"tools": tools()}))
}

/// The calls of a reply: name, call id, arguments.
fn calls(reply: &Reply) -> Vec<(&str, &str, &str)> {
    let field = |item: &'_ Value, name: &str| item[name].as_str().map(str::to_owned).expect("text");
    reply.output.iter().filter(|item| item["type"] == "function_call").for_each(|item| {
        assert_eq!(item["status"], "completed");
        serde_json::from_str::<Value>(&field(item, "arguments")).expect("the arguments are JSON");
    });
    let calls = reply.output.iter().filter(|item| item["type"] == "function_call");
    calls.map(|item| ["name", "call_id", "arguments"].map(|name| item[name].as_str().expect("text")).into()).collect()
}

async fn reply_to(given: &Given, steps: impl Into<Vec<Step>>) -> Reply {
    let mut steps = steps.into();
    steps.extend(ENDS);
    given.upstream.on("call", Behaviour::script(steps));
    given.reply(request("call")).await
}

const PARIS: (&str, &str, &str) = ("weather", "call_a", "{\"city\":\"Paris\"}");
const ROME: (&str, &str, &str) = ("time", "call_b", "{\"city\":\"Rome\"}");

#[tokio::test]
async fn a_call_in_fragments_is_told_in_one_piece() {
    let given = Given::new().await;
    let mut steps = vec![Step::call(0, Some("call_a"), Some("weather"), Some(""))];
    steps.extend(PARIS.2.chars().map(|letter| Step::call(0, None, None, Some(&letter.to_string()))));
    assert_eq!(calls(&reply_to(&given, steps).await), [PARIS]);
}

#[tokio::test]
async fn a_call_in_one_piece_is_told() {
    let given = Given::new().await;
    let reply = reply_to(&given, [Step::call(0, Some("call_a"), Some("weather"), Some(PARIS.2))]).await;
    assert_eq!(calls(&reply), [PARIS]);
    assert_eq!(reply.output.len(), 1);
}

#[tokio::test]
async fn parallel_calls_are_kept_apart_also_when_their_fragments_alternate() {
    let given = Given::new().await;
    let steps = [
        Step::call(0, Some("call_a"), Some("weather"), Some("{\"city\"")),
        Step::call(1, Some("call_b"), Some("time"), Some("{\"city\"")),
        Step::call(0, None, None, Some(":\"Paris\"}")),
        Step::call(1, None, None, Some(":\"Rome\"}")),
    ];
    assert_eq!(calls(&reply_to(&given, steps).await), [PARIS, ROME]);
}

#[tokio::test]
async fn an_id_that_is_repeated_with_each_fragment_is_the_same_call() {
    let given = Given::new().await;
    let null = |arguments: &str| {
        Step::Delta(json!({"tool_calls": [{"index": 0, "id": "call_a", "type": "function",
            "function": {"name": null, "arguments": arguments}}]}))
    };
    let nothing = Step::Delta(json!({"tool_calls": [{"index": 0, "id": null, "type": null,
        "function": {"name": "", "arguments": null}}]}));
    let start = Step::call(0, Some("call_a"), Some("weather"), None);
    let reply = reply_to(&given, [start, null("{\"city\""), nothing, null(":\"Paris\"}")]).await;
    assert_eq!(calls(&reply), [PARIS]);
}

#[tokio::test]
async fn calls_without_an_index_are_told_apart_by_their_ids() {
    let given = Given::new().await;
    let call = |(name, id, arguments): (&str, &str, &str)| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let apart = [Step::Delta(json!({"tool_calls": [call(PARIS)]})), Step::Delta(json!({"tool_calls": [call(ROME)]}))];
    assert_eq!(calls(&reply_to(&given, apart).await), [PARIS, ROME]);
    let together = [Step::Delta(json!({"tool_calls": [call(PARIS), call(ROME)]}))];
    assert_eq!(calls(&reply_to(&given, together).await), [PARIS, ROME]);
}

#[tokio::test]
async fn calls_that_finish_with_stop_on_every_chunk_are_read_to_the_end() {
    let given = Given::new().await;
    let chunk = |index: u64, (name, id, arguments): (&str, &str, &str)| {
        let call = json!({"index": index, "id": id, "type": "function",
            "function": {"name": name, "arguments": arguments}});
        Step::Chunk(json!({"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "stop"}]}))
    };
    given.upstream.on("call", Behaviour::script([chunk(0, PARIS), chunk(1, ROME), Step::Done]));
    let reply = given.reply(request("call")).await;
    assert_eq!((calls(&reply), reply.status.as_str()), (vec![PARIS, ROME], "completed"));
}

#[tokio::test]
async fn text_around_calls_makes_items_of_its_own() {
    let given = Given::new().await;
    let call = Step::call(0, Some("call_a"), Some("weather"), Some(PARIS.2));
    let reply = reply_to(&given, [Step::text("alder001"), call, Step::text("birch002")]).await;
    let kinds: Vec<_> = reply.output.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message", "function_call", "message"]);
    assert_eq!(calls(&reply), [PARIS]);
}

#[tokio::test]
async fn the_output_of_a_call_goes_back_to_the_upstream_directly_after_it() {
    let given = Given::new().await;
    let call = Step::call(0, Some("call_a"), Some("weather"), Some(PARIS.2));
    given.upstream.on_each("call", [Behaviour::script([vec![call], ENDS.to_vec()].concat()), Manner::polite().into()]);
    let first = given.reply(request("call")).await;
    let output = json!([{"type": "function_call_output", "call_id": "call_a", "output": "sunny"}]);
    let second = json!({"model": "truth", "stream": true, "previous_response_id": first.id, "input": output,
        "tools": tools()});
    assert_eq!(given.reply(second).await.status, "completed");
    let asked = &given.upstream.heard("call")[1];
    assert_eq!(asked.roles(), ["user", "assistant", "tool"]);
    let said = &asked.messages()[1]["tool_calls"];
    assert_eq!(said[0]["id"], "call_a");
    assert_eq!(said[0]["type"], "function");
    assert_eq!(said[0]["function"], json!({"name": "weather", "arguments": PARIS.2}));
    let told = &asked.messages()[2];
    assert_eq!((&told["tool_call_id"], &told["content"]), (&json!("call_a"), &json!("sunny")));
}

#[tokio::test]
async fn a_call_without_its_output_is_refused() {
    let given = Given::new().await;
    let call = Step::call(0, Some("call_a"), Some("weather"), Some(PARIS.2));
    let first = reply_to(&given, [call]).await;
    let second = json!({"model": "truth", "previous_response_id": first.id, "input": "and now?"});
    let error = given.api.post("/v1/responses", second).await.refused(400, Value::Null, "input");
    assert!(error["message"].as_str().unwrap().contains("call_a"), "{error}");
}

#[tokio::test]
async fn an_output_without_its_call_is_refused() {
    let given = Given::new().await;
    let output = json!([{"type": "function_call_output", "call_id": "call_zzz", "output": "sunny"}]);
    let answer = given.api.post("/v1/responses", with(whole(""), json!({"input": output}))).await;
    let error = answer.refused(400, Value::Null, "input");
    assert!(error["message"].as_str().unwrap().contains("call_zzz"), "{error}");
}

#[tokio::test]
async fn call_and_output_can_be_sent_together_without_any_history() {
    let given = Given::new().await;
    let input = json!([
        {"role": "user", "content": "What is the weather?"},
        {"type": "function_call", "call_id": "call_a", "name": "weather", "arguments": PARIS.2},
        {"type": "function_call", "call_id": "call_b", "name": "time", "arguments": ROME.2},
        {"type": "function_call_output", "call_id": "call_a", "output": "sunny"},
        {"type": "function_call_output", "call_id": "call_b", "output": [{"type": "input_text", "text": "noon"}]},
    ]);
    given.reply(with(streamed(""), json!({"input": input}))).await;
    let heard = given.upstream.heard_once("weather");
    assert_eq!(heard.roles(), ["user", "assistant", "tool", "tool"]);
    assert_eq!(heard.messages()[1]["tool_calls"].as_array().map(Vec::len), Some(2), "adjacent calls are one message");
    assert_eq!(heard.messages()[3]["content"], "noon");
}

#[tokio::test]
async fn a_reply_killed_after_a_complete_call_ends_completed_with_it() {
    let given = Given::new().await;
    let call =
        |index, (name, id, arguments): (&str, &str, &str)| Step::call(index, Some(id), Some(name), Some(arguments));
    let steps = [call(0, PARIS), Step::Finish("tool_calls"), Step::Hang];
    given.upstream.on_each("call", [Behaviour::script(steps), Behaviour::error(500, "x", "must not be asked")]);
    let mut stream = given.api.stream(request("call")).await;
    let id = stream.response_id();
    let events = stream.read_until(|event| event.kind == "response.function_call_arguments.done").await;
    let given = given.restarted().await;
    let reply = check_reply(&follow(&given.api, &id, Place::Responses, events).await);
    assert_eq!((calls(&reply), reply.status.as_str()), (vec![PARIS], "completed"));
}

#[tokio::test]
async fn a_reply_killed_inside_a_call_keeps_its_id_and_name_and_makes_its_arguments_again() {
    let given = Given::new().await;
    let first = [Step::call(0, Some("call_a"), Some("weather"), Some("{\"ci")), Step::Hang];
    let again = [vec![Step::call(0, Some("call_other"), Some("weather"), Some(PARIS.2))], ENDS.to_vec()].concat();
    given.upstream.on_each("call", [Behaviour::script(first), Behaviour::script(again)]);
    let mut stream = given.api.stream(request("call")).await;
    let id = stream.response_id();
    let events = stream.read_until(|event| event.kind == "response.output_item.added").await;
    let given = given.restarted().await;
    let reply = check_reply(&follow(&given.api, &id, Place::Responses, events).await);
    assert_eq!((calls(&reply), reply.status.as_str()), (vec![PARIS], "completed"));
    let forced = &given.upstream.heard("call")[1].body["tool_choice"];
    assert_eq!(*forced, json!({"type": "function", "function": {"name": "weather"}}));
}

#[tokio::test]
async fn a_call_that_breaks_off_is_never_half_told() {
    let given = Given::with(|config| config.env("LLM_CONTINUATION", "off")).await;
    let steps = [Step::call(0, Some("call_a"), Some("weather"), Some("{\"ci")), Step::Break(Break::Closed)];
    given.upstream.on("call", Behaviour::script(steps));
    let events = given.events(request("call")).await;
    assert!(!events.iter().any(|event| event.kind == "response.function_call_arguments.delta"));
    let reply = check_reply(&events);
    assert_eq!(reply.status, "failed");
    assert!(reply.output.iter().all(|item| item["status"] == "incomplete" && item["arguments"] == ""));
}

#[tokio::test]
async fn what_an_upstream_wants_back_with_a_call_is_given_back_and_never_shown() {
    let given = Given::new().await;
    let call = json!({"index": 0, "id": "call_a", "type": "function",
        "function": {"name": "weather", "arguments": PARIS.2},
        "extra_content": {"google": {"thought_signature": "c2lnbmF0dXJl"}}});
    let steps = [vec![Step::Delta(json!({"tool_calls": [call]}))], ENDS.to_vec()].concat();
    given.upstream.on_each("call", [Behaviour::script(steps), Manner::polite().into()]);
    let first = given.reply(request("call")).await;
    assert!(!first.response.to_string().contains("c2lnbmF0dXJl"), "{}", first.response);
    let output = json!([{"type": "function_call_output", "call_id": "call_a", "output": "sunny"}]);
    let second = json!({"model": "truth", "stream": true, "previous_response_id": first.id, "input": output,
        "tools": tools()});
    given.reply(second).await;
    let asked = &given.upstream.heard("call")[1];
    let back = &asked.messages()[1]["tool_calls"][0]["extra_content"]["google"]["thought_signature"];
    assert_eq!(back, "c2lnbmF0dXJl");
}
