//! `rejoinder chat` with servers that are not rejoinder: without conversations, with thoughts and tools, or stubborn.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::run::rejoinder;
use crate::standin::{Says, StandIn, not_found, reply};
use crate::support::{json, until};
use crate::terminal::{CTRL_C, Terminal};

const SAY: &str = "POST /v1/responses";

#[tokio::test]
async fn without_conversations_each_message_refers_to_the_last_reply_that_did_not_fail() {
    let server = StandIn::start(|what, body| match (what, body["input"].as_str()) {
        (SAY, Some("fail")) => Says::Events(vec![
            json!({"type": "response.created", "sequence_number": 0, "response": {"id": "resp_failed"}}),
            json!({"type": "response.failed", "sequence_number": 1, "response": {
                "id": "resp_failed", "status": "failed", "error": {"message": "no luck"}}}),
        ]),
        (SAY, Some(text)) => Says::Events(reply(&format!("resp_{text}"), &format!("heard {text}"))),
        _ => not_found(),
    })
    .await;
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(&format!("chat {}", server.base), home.path());
    terminal.wait_for("no conversations here").await;
    for text in ["one", "two"] {
        terminal.say(text).await;
        terminal.wait_for(&format!("heard {text}\r\n")).await;
    }
    terminal.say("fail").await;
    terminal.wait_for("(failed: no luck)").await;
    terminal.say("three").await;
    terminal.wait_for("heard three").await;
    terminal.say("/new").await;
    terminal.say("four").await;
    terminal.wait_for("heard four").await;
    terminal.say("/exit").await;
    assert_eq!(terminal.wait().await, 0);
    let previous: Vec<_> = server.heard(SAY).into_iter().map(|body| body["previous_response_id"].clone()).collect();
    assert_eq!(json!(previous), json!([null, "resp_one", "resp_two", "resp_two", null]));
}

#[tokio::test]
async fn thoughts_and_calls_of_tools_are_set_apart_from_the_reply() {
    let mut events = reply("resp_1", "It is sunny.");
    let thinks = |delta: &str| json!({"type": "response.reasoning_summary_text.delta", "delta": delta});
    let call = json!({"type": "function_call", "name": "weather", "arguments": "{\"city\":\"Rome\"}"});
    events
        .splice(1..1, [thinks("Let me "), thinks("look."), json!({"type": "response.output_item.done", "item": call})]);
    let server =
        StandIn::start(move |what, _| if what == SAY { Says::Events(events.clone()) } else { not_found() }).await;
    let words = format!("chat {}", server.base);
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(&words, home.path());
    terminal.say("The weather?").await;
    terminal.wait_for("\r\nLet me look.\r\n→ weather({\"city\":\"Rome\"})\r\nIt is sunny.\r\n").await;
    terminal.wait_for("> ").await;
    let script = rejoinder(&words, "The weather?").await;
    assert_eq!((script.code, script.out.as_str()), (0, "It is sunny.\n"));
    assert_eq!(script.err, "Let me look.\n→ weather({\"city\":\"Rome\"})\n");
}

#[tokio::test]
async fn a_server_that_does_not_stop_a_reply_is_left_by_a_second_ctrl_c() {
    let server = StandIn::start(|what, _| match what {
        SAY => Says::EventsAndSilence(reply("resp_1", "and so on").drain(..2).collect()),
        "POST /v1/responses/resp_1/cancel" => Says::Nothing,
        _ => not_found(),
    })
    .await;
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(&format!("chat {}", server.base), home.path());
    terminal.say("go on").await;
    terminal.wait_for("and so on").await;
    let began = Instant::now();
    terminal.type_in(CTRL_C).await;
    terminal.wait_for("(stopping; Ctrl-C again to leave it)\r\n").await;
    let cancel = "POST /v1/responses/resp_1/cancel";
    until("the wish to stop", async || (server.heard(cancel).len() == 1).then_some(())).await;
    terminal.type_in(CTRL_C).await;
    terminal.wait_for("(left; the reply continues without you)\r\n").await;
    terminal.wait_for("> ").await;
    // It gives the server ten seconds to stop; nobody has to wait for these.
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_refusal_is_said_and_the_chat_goes_on() {
    let server = StandIn::start(|what, body| match (what, body["input"].as_str()) {
        (SAY, Some("bad")) => Says::Json(400, json!({"error": {"message": "not like this", "code": "bad_input"}})),
        (SAY, _) => Says::Json(
            200,
            json!({"id": "resp_1", "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": [{"type": "message", "content": [{"type": "output_text", "text": "so far"}]}]}),
        ),
        _ => not_found(),
    })
    .await;
    let words = format!("chat {} --no-stream", server.base);
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(&words, home.path());
    terminal.say("bad").await;
    terminal.wait_for("(not like this)\r\n").await;
    terminal.say("good").await;
    terminal.wait_for("so far\r\n(cut short: max output tokens)\r\n").await;
    terminal.wait_for("> ").await;
    let script = rejoinder(&words, "good").await;
    assert_eq!(
        (script.code, script.out.as_str(), script.err.as_str()),
        (1, "so far\n", "(cut short: max output tokens)\n")
    );
}

#[tokio::test]
async fn who_leaves_the_reply_that_holds_the_conversation_has_said_nothing() {
    let server = StandIn::start(|what, _| match what {
        SAY => Says::Json(400, json!({"error": {"message": "resp_other runs", "code": "conversation_locked"}})),
        "GET /v1/responses/resp_other" => Says::EventsAndSilence(reply("resp_other", "and so on").drain(..2).collect()),
        "POST /v1/responses/resp_other/cancel" => Says::Nothing,
        _ => Says::Json(200, json!({"data": []})),
    })
    .await;
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(&format!("chat {} --conversation conv_1", server.base), home.path());
    terminal.say("and me").await;
    terminal.wait_for("⟲ a reply is still being generated here\r\nand so on").await;
    terminal.type_in(CTRL_C).await;
    terminal.wait_for("(stopping").await;
    terminal.type_in(CTRL_C).await;
    terminal.wait_for("(left; the reply continues without you)\r\n").await;
    terminal.wait_for("> ").await;
    assert_eq!(server.heard(SAY).len(), 1, "it is not said behind one's back");
}

#[tokio::test]
async fn a_server_that_does_not_answer_at_the_start_is_left_by_ctrl_c() {
    let server = StandIn::start(|_, _| Says::Nothing).await;
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(&format!("chat {}", server.base), home.path());
    until("a request", async || (!server.heard("POST /v1/conversations").is_empty()).then_some(())).await;
    terminal.type_in(CTRL_C).await;
    assert_eq!(terminal.wait().await, 130);
}

#[tokio::test]
async fn a_ctrl_c_with_nothing_to_stop_does_not_stop_the_next_reply() {
    let (chat, conversations) = (Arc::new(OnceLock::new()), Arc::new(AtomicUsize::new(0)));
    let pid = Arc::clone(&chat);
    let server = StandIn::start(move |what, _| match what {
        SAY => Says::Events(reply("resp_1", "all of it")),
        // Ctrl-C comes while the chat waits for a new conversation.
        _ if conversations.fetch_add(1, Relaxed) == 1 => {
            kill_process(*pid.get().expect("it runs"), Signal::INT).expect("our own child");
            not_found()
        }
        _ => not_found(),
    })
    .await;
    let home = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(&format!("chat {}", server.base), home.path());
    chat.set(terminal.pid()).expect("the first");
    terminal.say("/new").await;
    terminal.wait_for("no conversations here").await;
    terminal.say("hello").await;
    let said = terminal.wait_for("all of it\r\n").await;
    assert!(!said.contains("stopping"), "{said}");
}
