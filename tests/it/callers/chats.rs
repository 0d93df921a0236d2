//! Chats have names that their callers chose: the same name is another chat to everybody else.

use hyper::Method;

use super::{Keys, keyed};
use crate::support::{Api, Value, json};

const SLOW: &str = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen";

fn turn() -> Value {
    let message = json!({"id": "m1", "role": "user", "parts": [{"type": "text", "text": SLOW}]});
    json!({"id": "mine", "model": "echo-50ms", "messages": [message]})
}

async fn runs(api: &Api) -> bool {
    let path = "/api/chat/mine/stream";
    api.try_open(Method::GET, path, String::new()).await.expect("a server").status == 200
}

#[tokio::test]
async fn a_chat_of_the_same_name_is_another_one_for_everybody_else() {
    let keys = Keys::new(&[
        ("alice", "--tenant acme --user alice"),
        ("bob", "--tenant acme --user bob"),
        ("boss", "--tenant acme --scopes chat,read,tenant"),
        ("other", "--tenant other --user alice"),
    ]);
    let server = keyed(&keys).start().await;
    let alice = keys.api(&server, "alice");
    let events = alice.try_open(Method::POST, "/api/chat", turn().to_string()).await.expect("a server");
    let reply = events.response_id();
    for who in ["bob", "boss", "other"] {
        let api = keys.api(&server, who);
        assert!(!runs(&api).await, "{who}");
        api.post("/api/chat/mine/stop", json!({})).await.ok();
        // Nor does naming her reply help.
        let part = json!({"type": "text", "text": "x", "providerMetadata": {"rejoinder": {"itemId": reply.replace("resp_", "msg_") + "0"}}});
        let known = json!({"id": reply, "role": "assistant", "parts": [part]});
        let mut theirs = turn();
        theirs["messages"].as_array_mut().expect("messages").insert(0, known);
        let answer = api.try_open(Method::POST, "/api/chat", theirs.to_string()).await.expect("a server");
        let own = answer.response_id();
        assert_eq!(api.get(&format!("/v1/responses/{own}")).await.ok()["previous_response_id"], Value::Null, "{who}");
    }
    assert!(runs(&alice).await);
    assert_eq!(alice.get(&format!("/v1/responses/{reply}")).await.ok()["status"], "in_progress");
}
