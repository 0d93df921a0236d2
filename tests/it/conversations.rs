//! The Conversations API: made, read, changed, deleted; their items; one reply at a time.

use crate::support::{upstream::Manner, *};

fn message(text: &str) -> Value {
    json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})
}

/// The texts of items, in their order.
fn texts(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["content"][0]["text"].as_str().expect("text")).collect()
}

#[tokio::test]
async fn a_conversation_is_made_read_changed_and_deleted() {
    let given = Given::new().await;
    let made = given.api.post("/v1/conversations", json!({"metadata": {"topic": "trees"}})).await.ok();
    assert_eq!((&made["object"], &made["metadata"]), (&json!("conversation"), &json!({"topic": "trees"})));
    assert!(made["created_at"].as_u64().is_some_and(|at| at > 1_700_000_000), "{made}");
    let id = made["id"].as_str().expect("an id");
    assert!(id.starts_with("conv_"), "{id}");
    let path = format!("/v1/conversations/{id}");
    assert_eq!(given.api.get(&path).await.ok(), made);

    let changed = given.api.post(&path, json!({"metadata": {"topic": "shrubs"}})).await.ok();
    assert_eq!((&changed["metadata"], &changed["id"]), (&json!({"topic": "shrubs"}), &made["id"]));
    assert_eq!(given.api.get(&path).await.ok(), changed);

    let deleted = given.api.delete(&path).await.ok();
    assert_eq!(deleted, json!({"id": id, "object": "conversation.deleted", "deleted": true}));
    given.api.get(&path).await.unknown("conversation_id");
    given.api.delete(&path).await.unknown("conversation_id");
}

#[tokio::test]
async fn a_conversation_can_be_made_with_nothing_at_all() {
    let given = Given::new().await;
    for body in ["", "{}"] {
        let made = given.api.call(hyper::Method::POST, "/v1/conversations", body).await.ok();
        assert_eq!(made["metadata"], json!({}));
    }
}

#[tokio::test]
async fn a_conversation_begins_with_the_items_it_was_made_with() {
    let given = Given::new().await;
    let items = json!({"items": [message("one"), {"role": "user", "content": "two"}]});
    let made = given.api.post("/v1/conversations", items).await.ok();
    let id = made["id"].as_str().expect("an id");
    assert_eq!(texts(&conversation_items(&given.api, id).await), ["one", "two"]);
    given.reply(with(streamed("three"), json!({"conversation": id}))).await;
    let asked = given.upstream.heard_once("three").body["messages"].to_string();
    let places = ["one", "two", "three"].map(|text| asked.find(text));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{asked}");
}

#[tokio::test]
async fn replies_in_a_conversation_remember_it_and_add_to_it() {
    let given = Given::new().await;
    let id = given.conversation().await;
    let first = given.reply(with(streamed("first turn"), json!({"conversation": id}))).await;
    assert_eq!(first.response["conversation"], json!({"id": id}));
    let given = given.restarted().await;
    let second = given.reply(with(streamed("second turn"), json!({"conversation": {"id": id}}))).await;
    let heard = given.upstream.heard_once("second turn");
    assert_eq!(heard.roles(), ["user", "assistant", "user"]);
    assert_eq!(heard.messages()[1]["content"], first.text);
    let items = conversation_items(&given.api, &id).await;
    assert_eq!(texts(&items), ["first turn", &first.text, "second turn", &second.text]);
    assert_eq!(items[3], second.output[0]);
}

#[tokio::test]
async fn items_are_added_read_listed_and_deleted() {
    let given = Given::new().await;
    let id = given.conversation().await;
    let path = format!("/v1/conversations/{id}/items");
    let added = given.api.post(&path, json!({"items": [message("one"), message("two")]})).await.ok();
    assert_eq!((&added["object"], &added["has_more"]), (&json!("list"), &json!(false)));
    let added_ids = ids(&added);
    assert_eq!((added["first_id"].as_str(), added["last_id"].as_str()), (Some(&*added_ids[0]), Some(&*added_ids[1])));
    given.api.post(&path, json!({"items": [message("three")]})).await.ok();
    assert_eq!(texts(&conversation_items(&given.api, &id).await), ["one", "two", "three"]);

    let one = given.api.get(&format!("{path}/{}", added_ids[0])).await.ok();
    assert_eq!(one, added["data"][0]);
    assert_eq!((&one["status"], &one["role"]), (&json!("completed"), &json!("user")));

    let left = given.api.delete(&format!("{path}/{}", added_ids[0])).await.ok();
    assert_eq!((&left["object"], &left["id"]), (&json!("conversation"), &json!(id)), "the conversation is returned");
    given.api.get(&format!("{path}/{}", added_ids[0])).await.unknown("item_id");
    given.api.delete(&format!("{path}/{}", added_ids[0])).await.unknown("item_id");
    assert_eq!(texts(&conversation_items(&given.api, &id).await), ["two", "three"]);

    let given = given.restarted().await;
    assert_eq!(texts(&conversation_items(&given.api, &id).await), ["two", "three"]);
    given.reply(with(streamed("four"), json!({"conversation": id}))).await;
    let asked = given.upstream.heard_once("four").body["messages"].to_string();
    assert!(asked.contains("two") && !asked.contains("one"), "a deleted item is not told: {asked}");
}

#[tokio::test]
async fn items_are_listed_page_by_page_in_both_directions() {
    let given = Given::new().await;
    let id = given.conversation().await;
    let path = format!("/v1/conversations/{id}/items");
    let mut all = Vec::new();
    for batch in 0..3 {
        let items: Vec<_> = (0..20).map(|number| message(&format!("item {batch} {number}"))).collect();
        all.extend(ids(&given.api.post(&path, json!({"items": items})).await.ok()));
    }
    let default = given.api.get(&path).await.ok();
    assert_eq!((ids(&default).len(), &default["has_more"]), (20, &json!(true)), "20, newest first");
    assert!(ids(&default).iter().eq(all.iter().rev().take(20)));
    for (order, expected) in [("asc", all.clone()), ("desc", all.iter().rev().cloned().collect())] {
        let mut found: Vec<String> = Vec::new();
        let mut more = true;
        while more {
            let after = found.last().map_or_else(String::new, |id| format!("&after={id}"));
            let page = given.api.get(&format!("{path}?order={order}&limit=7{after}")).await.ok();
            found.extend(ids(&page));
            assert_eq!(page["last_id"], json!(found.last()));
            more = page["has_more"] == true;
        }
        assert_eq!(found, expected, "{order}");
    }
}

#[tokio::test]
async fn an_empty_conversation_has_a_page_without_ids() {
    let given = Given::new().await;
    let id = given.conversation().await;
    let page = given.api.get(&format!("/v1/conversations/{id}/items")).await.ok();
    let expected = json!({"object": "list", "data": [], "first_id": null, "last_id": null, "has_more": false});
    assert_eq!(page, expected);
}

#[tokio::test]
async fn deleting_a_call_takes_its_output_out_of_the_context() {
    let given = Given::new().await;
    let id = given.conversation().await;
    let path = format!("/v1/conversations/{id}/items");
    let items = json!({"items": [
        message("the weather"),
        {"type": "function_call", "call_id": "call_a", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_a", "output": "sunny"},
    ]});
    let added = ids(&given.api.post(&path, items).await.ok());
    given.api.delete(&format!("{path}/{}", added[1])).await.ok();
    given.reply(with(streamed("and now?"), json!({"conversation": id}))).await;
    let asked = given.upstream.heard_once("and now?");
    assert!(asked.roles().iter().all(|role| *role == "user"), "{}", asked.body);
    assert!(!asked.body.to_string().contains("sunny"), "{}", asked.body);
}

#[tokio::test]
async fn a_conversation_takes_one_reply_at_a_time_and_names_the_one_that_runs() {
    let given = Given::new().await;
    given.upstream.on("slow", Manner::paced(20));
    let id = given.conversation().await;
    let stream = given.api.stream(with(streamed(&prompt(40, "slow talk")), json!({"conversation": id}))).await;
    let running = stream.response_id();
    let refused = given.api.post("/v1/responses", with(whole("hurry"), json!({"conversation": id}))).await;
    let error = refused.refused(400, "conversation_locked", "conversation");
    assert!(error["message"].as_str().unwrap().contains(&running), "{error}");
    assert_eq!(given.upstream.heard("hurry").len(), 0, "nothing is asked in vain");
    stream.collect().await.into_events();
    let next = prompt(3, "after the end");
    let reply = given.reply(with(streamed(&next), json!({"conversation": id}))).await;
    assert_eq!(reply.text, truth(&next), "the lock ends with the text");
}

#[tokio::test]
async fn of_many_that_begin_at_once_in_a_conversation_one_is_accepted() {
    let given = Given::new().await;
    given.upstream.on("race", Manner::paced(30));
    let id = given.conversation().await;
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let (api, id) = (given.api.clone(), id.clone());
            tokio::spawn(async move {
                let request = with(whole(&prompt(20, &format!("race {number}"))), json!({"conversation": id}));
                api.post("/v1/responses", request).await
            })
        })
        .collect();
    let mut accepted = 0;
    for task in tasks {
        let answer = task.await.expect("no panic");
        if answer.status == 200 {
            accepted += 1;
        } else {
            answer.refused(400, "conversation_locked", "conversation");
        }
    }
    assert_eq!(accepted, 1);
    assert_eq!(conversation_items(&given.api, &id).await.len(), 2);
}

#[tokio::test]
async fn a_conversation_is_locked_for_its_running_reply_also_after_a_kill() {
    let given = Given::new().await;
    given.upstream.on("slow", Manner::paced(30));
    let id = given.conversation().await;
    let mut stream = given.api.stream(with(streamed(&prompt(60, "slow talk")), json!({"conversation": id}))).await;
    let running = stream.response_id();
    stream.read_words(3).await;
    let given = given.restarted().await;
    let refused = given.api.post("/v1/responses", with(whole("hurry"), json!({"conversation": id}))).await;
    refused.refused(400, "conversation_locked", "conversation");
    given.replay(&running).await;
    given.reply(with(streamed("patience"), json!({"conversation": id}))).await;
    assert_eq!(conversation_items(&given.api, &id).await.len(), 4);
}

#[tokio::test]
async fn deleting_a_conversation_cancels_its_running_reply() {
    let given = Given::new().await;
    given.upstream.on("slow", Manner::paced(20));
    let id = given.conversation().await;
    let mut stream = given.api.stream(with(streamed(&prompt(200, "slow talk")), json!({"conversation": id}))).await;
    let mut events = stream.read_words(3).await;
    given.api.delete(&format!("/v1/conversations/{id}")).await.ok();
    events.extend(stream.collect().await.into_events());
    assert_eq!(check_reply(&events).status, "cancelled");
    let after = given.api.post("/v1/responses", with(whole("more"), json!({"conversation": id}))).await;
    after.unknown("conversation");
}

#[tokio::test]
async fn a_branch_off_a_reply_of_a_conversation_is_not_in_it() {
    let given = Given::new().await;
    let id = given.conversation().await;
    let first = given.reply(with(streamed("first turn"), json!({"conversation": id}))).await;
    let branch = given.reply(with(streamed("a branch"), json!({"previous_response_id": first.id}))).await;
    assert_eq!(branch.response["conversation"], Value::Null);
    assert_eq!(given.upstream.heard_once("a branch").messages().len(), 3);
    assert_eq!(conversation_items(&given.api, &id).await.len(), 2);
    given.reply(with(streamed("second turn"), json!({"conversation": id}))).await;
    assert_eq!(given.upstream.heard_once("second turn").messages().len(), 3);
}

#[tokio::test]
async fn a_reply_that_is_not_stored_reads_a_conversation_and_leaves_it_as_it_was() {
    let given = Given::new().await;
    let id = given.conversation().await;
    given.reply(with(streamed("first turn"), json!({"conversation": id}))).await;
    let fleeting = with(streamed("a whisper"), json!({"conversation": id, "store": false}));
    assert_eq!(given.reply(fleeting).await.status, "completed");
    assert_eq!(given.upstream.heard_once("a whisper").messages().len(), 3);
    assert_eq!(conversation_items(&given.api, &id).await.len(), 2);
}

#[tokio::test]
async fn a_deleted_reply_leaves_the_items_of_its_conversation_unlocked() {
    let given = Given::new().await;
    given.upstream.on("slow", Manner::paced(20));
    let id = given.conversation().await;
    let mut stream = given.api.stream(with(streamed(&prompt(200, "slow talk")), json!({"conversation": id}))).await;
    stream.read_words(2).await;
    given.api.delete(&format!("/v1/responses/{}", stream.response_id())).await.ok();
    let next = given.reply(with(streamed("next"), json!({"conversation": id}))).await;
    assert_eq!(next.status, "completed");
}

#[tokio::test]
async fn a_cancelled_reply_is_remembered_with_what_was_said() {
    let given = Given::new().await;
    given.upstream.on("slow", Manner::paced(20));
    let id = given.conversation().await;
    let mut stream = given.api.stream(with(streamed(&prompt(200, "slow talk")), json!({"conversation": id}))).await;
    let reply = stream.response_id();
    stream.read_words(4).await;
    let cancelled = given.api.post(&format!("/v1/responses/{reply}/cancel"), json!({})).await.ok();
    given.reply(with(streamed("what did you say?"), json!({"conversation": id}))).await;
    let heard = given.upstream.heard_once("what did you say?");
    assert_eq!(heard.messages()[1]["content"], check::output_text(&cancelled));
}
