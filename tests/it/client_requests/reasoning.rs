//! Thoughts that go back with a client, because nothing is stored.

use super::*;

const THOUGHT: &str = "elm and ash";

fn request() -> Value {
    let tools = json!([{"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}]);
    with(streamed("thinking"), json!({"include": ["reasoning.encrypted_content"], "tools": tools}))
}

/// A server of DeepSeek's kind, which wants thoughts back with the calls that they led to.
async fn given() -> Given {
    let given = Given::with(|config| config.env("LLM_DIALECT", "deepseek")).await;
    let call = Step::call(0, Some("call_a"), Some("f"), Some("{}"));
    let steps = [Step::Delta(json!({"reasoning_content": THOUGHT})), call, Step::Finish("tool_calls"), Step::Done];
    given.upstream.on_each("thinking", [Behaviour::script(steps), upstream::Manner::polite().into()]);
    given
}

#[tokio::test]
async fn thoughts_are_sealed_when_they_are_asked_for_and_come_back() {
    for (store, summary) in [(false, json!({"summary": "auto"})), (false, json!({})), (true, json!({}))] {
        let given = given().await;
        let request = with(request(), json!({"store": store, "reasoning": summary}));
        let events = given.events(request.clone()).await;
        let reply = check_reply(&events);
        let thought = &reply.output[0];
        assert_eq!(thought["type"], "reasoning", "{thought}");
        let sealed = thought["encrypted_content"].as_str().expect("a string").to_owned();
        let done = events.iter().find(|event| event.kind == "response.output_item.done").expect("an item");
        assert_eq!(done.body["item"]["encrypted_content"], sealed.as_str());

        // As clients send it back that keep the sealed form only.
        let back = json!({"type": "reasoning", "summary": [], "encrypted_content": sealed});
        let output = json!({"type": "function_call_output", "call_id": "call_a", "output": "sunny"});
        let input = json!([{"role": "user", "content": "thinking"}, back, reply.output[1], output]);
        assert_eq!(given.reply(with(request, json!({"input": input}))).await.status, "completed");
        let asked = &given.upstream.heard("thinking")[1];
        assert_eq!(asked.messages()[1]["reasoning_content"], THOUGHT, "{asked:?}");
    }
}

#[tokio::test]
async fn thoughts_are_not_sealed_unasked() {
    let given = given().await;
    let reply = given.reply(with(request(), json!({"include": []}))).await;
    assert_eq!(reply.output[0]["encrypted_content"], Value::Null);
    let later = given.api.get(&format!("/v1/responses/{}?include[]=reasoning.encrypted_content", reply.id)).await.ok();
    assert!(later["output"][0]["encrypted_content"].is_string(), "{later}");
}

#[tokio::test]
async fn what_others_sealed_or_damaged_is_taken_and_left_alone() {
    let given = Given::new().await;
    for sealed in ["gAAAAABo", "rejoinder1.!!", "rejoinder1.e30", ""] {
        let back = json!({"type": "reasoning", "summary": [], "encrypted_content": sealed});
        let input = json!([{"role": "user", "content": "hello"}, back, {"role": "user", "content": "again"}]);
        assert_eq!(given.reply(with(streamed(""), json!({"input": input}))).await.status, "completed");
    }
}
