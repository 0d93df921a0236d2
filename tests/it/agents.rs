//! What agents' clients send: tools that are no plain functions, in their own words back and forth.

use crate::support::{Value, json, upstream::Step, *};

/// A script that calls a function.
fn calling(name: &str, arguments: &Value) -> Behaviour {
    let arguments = arguments.to_string();
    Behaviour::script([Step::call(0, Some("c1"), Some(name), Some(&arguments)), Step::Finish("tool_calls"), Step::Done])
}

/// The call that comes of these tools, as it is streamed: what was opened, the pieces, and what it is at the end.
async fn called(given: &Given, about: &str, tools: Value) -> (Vec<Event>, Value) {
    let request = with(streamed(&prompt(3, about)), json!({"tools": tools}));
    let events = given.events(request).await;
    let response = events.last().expect("events").body["response"].clone();
    assert_eq!(bodies(&given.replay(response["id"].as_str().expect("an id")).await), bodies(&events));
    let item = response["output"].as_array().and_then(|output| output.last()).expect("an item").clone();
    (events, item)
}

#[tokio::test]
async fn a_tool_that_takes_a_text_is_called_with_a_text() {
    let given = Given::new().await;
    let tool = json!({"type": "custom", "name": "apply_patch", "description": "FREEFORM",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}});
    given.upstream.on("patching", calling("apply_patch", &json!({"input": "*** Begin Patch\n"})));
    let (events, item) = called(&given, "patching", json!([tool])).await;
    assert_eq!(
        (&item["type"], &item["name"], &item["input"]),
        (&json!("custom_tool_call"), &json!("apply_patch"), &json!("*** Begin Patch\n"))
    );
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(
        kinds[2..6],
        [
            "response.output_item.added",
            "response.custom_tool_call_input.delta",
            "response.custom_tool_call_input.done",
            "response.output_item.done",
        ]
    );
    assert_eq!((&events[3].body["delta"], &events[3].body["item_id"]), (&item["input"], &item["id"]));
    let response = &events.last().expect("events").body["response"];
    assert_eq!(response["tools"], json!([tool]));
    let heard = given.upstream.heard_once("patching").body;
    let function = &heard["tools"][0]["function"];
    assert_eq!((&function["name"], &function["parameters"]["required"]), (&json!("apply_patch"), &json!(["input"])));
    assert!(function["description"].as_str().is_some_and(|text| text.contains("lark")), "{function}");
    // The answer, as its client gives it, and once more with all items by hand.
    let output = json!({"type": "custom_tool_call_output", "call_id": "c1", "output": "done"});
    let next = json!({"model": "truth", "input": [output], "previous_response_id": response["id"]});
    given.api.post("/v1/responses", next).await.ok();
    let by_hand = json!([{"role": "user", "content": "by hand"}, item, output]);
    given.api.post("/v1/responses", json!({"model": "truth", "input": by_hand, "store": false})).await.ok();
    let heard = given.upstream.heard("by hand").pop().expect("a call").body;
    let call = &heard["messages"][1]["tool_calls"][0]["function"];
    assert_eq!(call["arguments"], json!({"input": "*** Begin Patch\n"}).to_string());
}

#[tokio::test]
async fn functions_of_a_namespace_have_their_own_names_back() {
    let given = Given::new().await;
    let namespace = json!({"type": "namespace", "name": "multi_agent_v1", "description": "d", "tools": [
        {"type": "function", "name": "close_agent", "strict": false, "parameters": {"type": "object"}},
        {"type": "function", "name": "spawn", "parameters": {"type": "object"}},
    ]});
    given.upstream.on("agents", calling("multi_agent_v1__close_agent", &json!({"target": "a"})));
    let (events, item) = called(&given, "agents", json!([namespace])).await;
    let told = (&item["type"], &item["namespace"], &item["name"]);
    assert_eq!(told, (&json!("function_call"), &json!("multi_agent_v1"), &json!("close_agent")));
    let response = &events.last().expect("events").body["response"];
    assert_eq!(response["tools"], json!([namespace]));
    let output = json!({"type": "function_call_output", "call_id": "c1", "output": "closed"});
    let by_hand = json!([{"role": "user", "content": "spaced"}, item, output]);
    given.api.post("/v1/responses", json!({"model": "truth", "input": by_hand})).await.ok();
    let heard = given.upstream.heard("spaced").pop().expect("a call").body;
    assert_eq!(heard["messages"][1]["tool_calls"][0]["function"]["name"], "multi_agent_v1__close_agent");
}

#[tokio::test]
async fn shells_and_patches_are_told_in_items_of_their_own() {
    let given = Given::new().await;
    for (kind, name, arguments, item_kind, field, told, output) in [
        (
            "local_shell",
            "local_shell",
            json!({"command": ["ls"]}),
            "local_shell_call",
            "action",
            json!({"command": ["ls"], "type": "exec", "env": {}}),
            json!("a.txt"),
        ),
        (
            "shell",
            "shell",
            json!({"commands": ["ls"]}),
            "shell_call",
            "action",
            json!({"commands": ["ls"], "timeout_ms": null, "max_output_length": null}),
            json!([{"stdout": "a.txt", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]),
        ),
        (
            "apply_patch",
            "apply_patch",
            json!({"type": "delete_file", "path": "a"}),
            "apply_patch_call",
            "operation",
            json!({"type": "delete_file", "path": "a"}),
            Value::Null,
        ),
    ] {
        given.upstream.on(kind, calling(name, &arguments));
        let (events, item) = called(&given, kind, json!([{"type": kind}])).await;
        assert_eq!((&item["type"], &item[field]), (&json!(item_kind), &told), "{item}");
        assert!(!events.iter().any(|event| event.kind.contains(".delta")), "it has no pieces");
        let mut answer = json!({"type": format!("{item_kind}_output"), "call_id": "c1", "status": "completed"});
        if !output.is_null() {
            answer["output"] = output;
        }
        let about = format!("answered {kind}");
        let by_hand = json!([{"role": "user", "content": about}, item, answer]);
        given.api.post("/v1/responses", json!({"model": "truth", "input": by_hand})).await.ok();
        let heard = given.upstream.heard(&about).pop().expect("a call").body;
        assert_eq!(heard["messages"][1]["tool_calls"][0]["function"]["name"], name);
        let said = heard["messages"][2]["content"].as_str().expect("text");
        assert!(said.contains("a.txt") || said == "completed", "{said}");
    }
}

#[tokio::test]
async fn what_is_not_run_here_is_left_out_and_said_and_what_input_brings_is_offered() {
    let given = Given::new().await;
    let tools =
        json!([{"type": "web_search", "external_web_access": false}, {"type": "tool_search", "execution": "client"}]);
    let brought =
        json!({"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "late"}]});
    let input = json!([brought, {"role": "user", "content": "hosted"}]);
    for store in [true, false] {
        let body = json!({"model": "truth", "input": input, "tools": tools, "store": store});
        let response = given.api.post("/v1/responses", body).await.ok();
        assert_eq!(response["rejoinder"]["left_out"], json!(["web_search", "tool_search"]));
        assert_eq!(response["rejoinder"]["events"].is_string(), store);
        let heard = given.upstream.heard("hosted").pop().expect("a call").body;
        assert_eq!(heard["tools"].as_array().map(Vec::len), Some(1), "{heard}");
        assert_eq!(heard["tools"][0]["function"]["name"], "late");
    }
    let plain = given.api.post("/v1/responses", whole("nothing left out")).await.ok();
    assert_eq!(plain["rejoinder"].get("left_out"), None);
}
