//! One reply has a size: past it the reply ends as incomplete, and what was generated stays.

use crate::support::{upstream::Step, *};

const LIMIT: usize = 64 * 1024;

async fn small() -> Given {
    Given::with(|config| config.env("MAX_REPLY_BYTES", LIMIT)).await
}

fn assert_cut(reply: &Reply) {
    assert_eq!(reply.status, "incomplete", "{}", reply.response["error"]);
    assert_eq!(reply.response["incomplete_details"]["reason"], "max_output_tokens");
}

#[tokio::test]
async fn a_text_that_grows_too_long_ends_incomplete_with_what_was_generated() {
    let given = small().await;
    for piece in [100, 4_000, 300_000] {
        let about = format!("text-{piece}");
        let steps = std::iter::repeat_n(Step::text(&"x".repeat(piece)), 400_000 / piece);
        given
            .upstream
            .on(&about, Behaviour::script(steps.chain([Step::Finish("stop"), Step::Done]).collect::<Vec<_>>()));
        let events = given.events(streamed(&about)).await;
        let reply = check_reply(&events);
        assert_cut(&reply);
        assert_eq!(reply.text, "x".repeat(LIMIT), "{piece}");
        assert_eq!(bodies(&given.replay(&reply.id).await), bodies(&events));
    }
}

#[tokio::test]
async fn arguments_that_grow_too_long_end_the_reply_and_are_not_half_told() {
    let given = small().await;
    let call = |name, arguments: &str| Step::call(0, Some("call_1"), name, Some(arguments));
    let steps = [call(Some("f"), "{\"a\": \"")].into_iter();
    let steps = steps.chain(std::iter::repeat_n(call(None, &"x".repeat(1_000)), 400));
    given
        .upstream
        .on("calls", Behaviour::script(steps.chain([call(None, "\"}"), Step::Finish("stop")]).collect::<Vec<_>>()));
    let tools = json!([{"type": "function", "name": "f", "parameters": {"type": "object"}}]);
    let reply = given.reply(with(streamed("calls"), json!({"tools": tools}))).await;
    assert_cut(&reply);
    assert_eq!(reply.output[0]["status"], "incomplete");
    assert_eq!(reply.output[0]["arguments"], "");
}

#[tokio::test]
async fn a_reply_of_very_many_events_ends_incomplete_too() {
    let given = small().await;
    let steps = std::iter::repeat_n(Step::text("a "), 20_000);
    given.upstream.on("events", Behaviour::script(steps.chain([Step::Finish("stop"), Step::Done]).collect::<Vec<_>>()));
    let events = given.events(streamed("events")).await;
    let reply = check_reply(&events);
    if reply.status == "completed" {
        // They came faster than the log took them, and were joined.
        assert_eq!(reply.text, "a ".repeat(20_000));
    } else {
        assert_cut(&reply);
    }
    assert!(events.len() <= LIMIT / 64 + 70, "{}", events.len());
}
