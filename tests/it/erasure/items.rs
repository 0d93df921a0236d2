//! Of items that are deleted from a conversation, whoever wrote them: their text goes at once, all else stays as it was.

use std::time::Duration;

use super::{are_gone, holder, id_of, secret};
use crate::speech;
use crate::support::{
    nats::Nats,
    server::{Config, Server},
    upstream::{Break, Manner, Step},
    voice::{Fault, audio_of},
    *,
};

const IMAGE: &str = "c2VjcmV0c2VjcmV0";

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

/// A conversation in which everybody wrote something: ids of its items, and what each says.
struct Written {
    path: String,
    conversation: String,
    reply: String,
    items: Vec<(String, String)>,
    /// The events of the reply.
    events: Vec<Event>,
}

/// Two items that it was made with, three that were added at once, two that a reply was asked with, and its own.
async fn write(given: &Given, about: &str) -> Written {
    let words: Vec<String> = (0..6).map(|n| secret(&format!("{about}-{n}"))).collect();
    let items = json!({"items": [user(&words[0]), user(&words[1])]});
    let conversation = id_of(&given.api.post("/v1/conversations", items).await.ok());
    let path = format!("/v1/conversations/{conversation}/items");
    let image = format!("data:image/png;base64,{}", "c2VjcmV0".repeat(20_000));
    let shown = json!({"role": "user", "content": [{"type": "input_image", "image_url": image}]});
    given.api.post(&path, json!({"items": [user(&words[2]), shown, user(&words[3])]})).await.ok();
    let question = prompt(900, &words[5]);
    let input = json!([user(&words[4]), user(&question)]);
    let events = given.events(json!({"model": "truth", "input": input, "stream": true, "conversation": conversation}));
    let events = events.await;
    let reply = check::check_reply(&events);
    let begin: String = reply.text.chars().take(40).collect();
    let said = [&words[0], &words[1], &words[2], IMAGE, &words[3], &words[4], &question, &begin].map(str::to_owned);
    let shown = conversation_items(&given.api, &conversation).await;
    let items = shown.iter().map(id_of).zip(said).collect();
    Written { path, conversation, reply: reply.id, items, events }
}

impl Written {
    /// Deletes an item; its text is in none of these directories then, and all others are as they were.
    async fn delete(&self, given: &Given, place: usize, dirs: &[&std::path::Path]) {
        let (id, word) = &self.items[place];
        let word = std::slice::from_ref(word);
        assert!(dirs.iter().any(|dir| holder(dir, word).is_some()), "{word:?} was there");
        let mut known = conversation_items(&given.api, &self.conversation).await;
        given.api.delete(&format!("{}/{id}", self.path)).await.ok();
        for dir in dirs {
            are_gone(dir, word, &format!("item {place} in {}", dir.display())).await;
        }
        known.retain(|item| item["id"] != json!(id));
        assert_eq!(conversation_items(&given.api, &self.conversation).await, known);
        given.api.get(&format!("{}/{id}", self.path)).await.unknown("item_id");
    }
}

/// The second of a record, then the first; one of them after a restart.
async fn each_item_goes_alone(given: Given, nats: Option<&Nats>) {
    let written = write(&given, "items").await;
    let data = given.server.data_dir().to_owned();
    let dirs: Vec<_> = nats.iter().map(|nats| nats.directory()).chain([data.as_path()]).collect();
    for place in [1, 3, 7, 2, 5] {
        written.delete(&given, place, &dirs).await;
    }
    let known = conversation_items(&given.api, &written.conversation).await;
    let given = given.restarted().await;
    assert_eq!(conversation_items(&given.api, &written.conversation).await, known);
    for place in [0, 4] {
        written.delete(&given, place, &dirs).await;
    }
    let left = conversation_items(&given.api, &written.conversation).await;
    assert_eq!(left.iter().map(id_of).collect::<Vec<_>>(), [written.items[6].0.clone()]);
    let next = with(streamed("And then?"), json!({"conversation": written.conversation}));
    let next = given.reply(next).await;
    let heard = given.upstream.heard_once("And then?");
    assert_eq!(heard.messages(), [json!({"role": "user", "content": format!("{}\n\nAnd then?", written.items[6].1)})]);
    // What deletions carried goes with what is deleted later.
    given.api.delete(&format!("/v1/responses/{}", written.reply)).await.ok();
    for dir in &dirs {
        are_gone(dir, &[written.items[6].1.clone()], "the reply").await;
    }
    let left = conversation_items(&given.api, &written.conversation).await;
    assert_eq!(left.last(), Some(&next.output[0]));
    assert_eq!(left.len(), 2);
}

#[tokio::test]
async fn the_text_of_a_deleted_item_is_in_no_file() {
    each_item_goes_alone(Given::new().await, None).await;
}

#[tokio::test]
async fn on_nats_nothing_is_left_of_a_deleted_item_either() {
    let nats = Nats::start().await;
    let given = Given::with(|config: Config| config.env("NATS_URL", &nats.url)).await;
    each_item_goes_alone(given, Some(&nats)).await;
}

#[tokio::test]
async fn what_deletions_left_of_a_record_goes_with_its_conversation() {
    let given = Given::new().await;
    let written = write(&given, "whole").await;
    let data = given.server.data_dir().to_owned();
    for place in [1, 4, 6] {
        written.delete(&given, place, &[&data]).await;
    }
    let clients: Vec<String> = [0, 2, 3].map(|place| written.items[place].1.clone()).into();
    given.api.delete(&format!("/v1/conversations/{}", written.conversation)).await.ok();
    are_gone(&data, &clients, "the conversation").await;
    let reply = given.api.get(&format!("/v1/responses/{}", written.reply)).await.ok();
    assert_eq!(check::output_text(&reply), check::text_of(&written.events), "its replies stay");
    let given = given.restarted().await;
    assert_eq!(given.api.get(&format!("/v1/responses/{}", written.reply)).await.ok(), reply);
}

/// The events of a reply without those of one item's text.
fn emptied(events: &[Event], item: &str) -> Vec<Value> {
    let mut bodies: Vec<Value> = events.iter().map(|event| event.body.clone()).collect();
    for body in &mut bodies {
        if body["item_id"] == json!(item) {
            for name in ["delta", "text"] {
                if let Some(text) = body.get_mut(name) {
                    *text = json!("");
                }
            }
            if let Some(text) = body.pointer_mut("/part/text") {
                *text = json!("");
            }
        }
        let mut items: Vec<&mut Value> = Vec::new();
        if body.get("item").is_some() {
            items.extend(body.get_mut("item"));
        } else if let Some(output) = body.pointer_mut("/response/output").and_then(Value::as_array_mut) {
            items.extend(output);
        }
        for shown in items.into_iter().filter(|shown| shown["id"] == json!(item)) {
            if let Some(text) = shown.pointer_mut("/content/0/text") {
                *text = json!("");
            }
        }
    }
    bodies
}

#[tokio::test]
async fn a_reply_is_rejoined_with_the_same_numbers_when_one_of_its_items_was_deleted() {
    let given = Given::new().await;
    let steps = [
        Step::text("geheimnis-before the call"),
        Step::call(0, Some("call_a"), Some("weather"), Some("{\"city\":\"Paris\"}")),
        Step::Finish("tool_calls"),
        Step::Done,
    ];
    given.upstream.on("two items", Behaviour::script(steps));
    let conversation = given.conversation().await;
    let tool = json!({"type": "function", "name": "weather", "parameters": {"type": "object"}});
    let request = json!({"conversation": conversation, "tools": [tool]});
    let events = given.events(with(streamed("two items"), request)).await;
    let id = check::check_reply(&events).id;
    // Somebody has it open meanwhile.
    let mut open = given.api.follow(&format!("/v1/responses/{id}?stream=true")).await;
    open.read_words(1).await;
    let message = check::check_reply(&events).output[0]["id"].as_str().expect("an id").to_owned();
    given.api.delete(&format!("/v1/conversations/{conversation}/items/{message}")).await.ok();
    are_gone(given.server.data_dir(), &["geheimnis-before".to_owned()], "the message").await;
    let wanted = emptied(&events, &message);
    assert_eq!(bodies(&given.replay(&id).await), wanted.iter().collect::<Vec<_>>());
    drop(open);
    let given = given.restarted().await;
    assert_eq!(bodies(&given.replay(&id).await), wanted.iter().collect::<Vec<_>>());
    let path = format!("/v1/responses/{id}?stream=true&starting_after={}", events.len() - 4);
    let rest = given.api.follow(&path).await.collect().await.into_events();
    assert_eq!(bodies(&rest), wanted[events.len() - 3..].iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_reply_goes_on_when_what_it_was_asked_with_is_deleted() {
    let given = Given::new().await;
    let (first, question) = (secret("first"), prompt(60, "what is asked"));
    given.upstream.on("what is asked", Manner::paced(20).breaking(40, Break::Silent));
    let conversation = given.conversation().await;
    let request = json!({"model": "truth", "input": [user(&first), user(&question)], "stream": true,
        "conversation": conversation});
    let mut stream = given.api.stream(request).await;
    let id = stream.response_id();
    let seen = stream.read_words(10).await;
    let items = conversation_items(&given.api, &conversation).await;
    given.api.delete(&format!("/v1/conversations/{conversation}/items/{}", id_of(&items[0]))).await.ok();
    are_gone(given.server.data_dir(), &[first], "the item").await;
    // Whoever follows goes on, and whoever goes on with it knows what is left.
    let more = stream.read_words(10).await;
    assert!(!more.is_empty());
    given.upstream.on("what is asked", Manner::polite());
    let given = given.restarted().await;
    let events = follower::follow(&given.api, &id, follower::Place::Responses, [seen, more].concat()).await;
    assert_eq!(check::check_reply(&events).text, truth(&question));
    let heard = given.upstream.heard("what is asked");
    assert_eq!(heard.last().expect("a takeover").messages()[0]["content"], question);
    let input = given.api.get(&format!("/v1/responses/{id}/input_items?order=asc")).await.ok();
    assert_eq!(input["data"][1], items[1], "{input}");
}

#[tokio::test]
async fn another_instance_shows_what_is_left_also_while_somebody_follows_there() {
    let nats = Nats::start().await;
    let given = Given::with(|config: Config| config.env("NATS_URL", &nats.url)).await;
    let other = Server::before(&given.upstream).env("NATS_URL", &nats.url).start().await;
    let conversation = given.conversation().await;
    let request = with(streamed(&prompt(30, &secret("elsewhere"))), json!({"conversation": conversation}));
    let events = given.events(request).await;
    let (id, item) = (check::check_reply(&events).id, check::check_reply(&events).output[0]["id"].clone());
    let item = item.as_str().expect("an id");
    let follow = format!("/v1/responses/{id}?stream=true");
    let mut open = other.api().follow(&follow).await;
    open.read_words(1).await;
    given.api.delete(&format!("/v1/conversations/{conversation}/items/{item}")).await.ok();
    let shown = other.api().follow(&follow).await.collect().await.into_events();
    assert_eq!(bodies(&shown), emptied(&events, item).iter().collect::<Vec<_>>());
    drop(open);
}

#[tokio::test]
async fn the_speech_of_a_deleted_message_goes_also_while_it_is_spoken() {
    let (given, voice) = speech::given(Fault::None).await;
    voice.pace(Duration::from_millis(200));
    given.upstream.on("tea", speech::script(&["geheimnis-spoken is said. ", "And more of it. "], Duration::ZERO));
    let conversation = given.conversation().await;
    let mut stream = given.api.stream(with(speech::spoken("tea"), json!({"conversation": conversation}))).await;
    let id = stream.response_id();
    let mut events = stream.read_until(|event| event.kind == "response.audio.delta").await;
    let item = id_of(&conversation_items(&given.api, &conversation).await[1]);
    given.api.delete(&format!("/v1/conversations/{conversation}/items/{item}")).await.ok();
    are_gone(given.server.data_dir(), &["geheimnis-spoken".to_owned()], "what is spoken").await;
    follower::read_on(&mut stream, follower::Place::Responses, &mut events).await;
    assert!(check::check_reply(&events).text.starts_with("geheimnis-spoken"), "what was seen is not taken back");
    let given = given.restarted().await;
    let replayed = given.replay(&id).await;
    check::check_numbers(&replayed, 0);
    assert_eq!(kinds(&replayed), kinds(&events));
    assert_eq!((check::text_of(&replayed).as_str(), audio_of(&replayed).len()), ("", 0));
}

#[tokio::test]
async fn the_speech_of_a_reply_stays_when_its_call_is_deleted() {
    let (given, _voice) = speech::given(Fault::None).await;
    let steps = [
        Step::text("It is said and spoken. "),
        Step::call(0, Some("call_a"), Some("weather"), Some("{\"city\":\"geheimnis-city\"}")),
        Step::Finish("tool_calls"),
        Step::Done,
    ];
    given.upstream.on("tea", Behaviour::script(steps));
    let conversation = given.conversation().await;
    let tool = json!({"type": "function", "name": "weather", "parameters": {"type": "object"}});
    let request = with(speech::spoken("tea"), json!({"conversation": conversation, "tools": [tool]}));
    let events = given.events(request).await;
    let id = check::check_reply(&events).id;
    assert!(!audio_of(&events).is_empty());
    let item = id_of(&conversation_items(&given.api, &conversation).await[2]);
    given.api.delete(&format!("/v1/conversations/{conversation}/items/{item}")).await.ok();
    are_gone(given.server.data_dir(), &["geheimnis-city".to_owned()], "the call").await;
    let given = given.restarted().await;
    let replayed = given.replay(&id).await;
    assert_eq!(kinds(&replayed), kinds(&events));
    assert_eq!(audio_of(&replayed), audio_of(&events));
    assert_eq!(check::text_of(&replayed), check::text_of(&events));
}

fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

/// A kill before every write of a deletion, and a start: it is done then, or was not begun.
#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_deletion_of_an_item_that_a_crash_broke_off_is_completed() {
    for writes in 0..60 {
        let given = Given::new().await;
        let written = write(&given, "crash").await;
        let known = conversation_items(&given.api, &written.conversation).await;
        given.server.poll("/healthz", |answer| answer.json()["store"]["lag_records"] == 0).await;
        let Given { server, upstream: _upstream, .. } = given;
        let mut config = server.stop();
        let mut crashed = false;
        for place in [7, 1, 0] {
            let (id, word) = &written.items[place];
            let path = format!("{}/{id}", written.path);
            let mut answered = false;
            // It may crash as it starts: something may be left to do.
            match config.clone().env("CRASH_AFTER_WRITES", writes).try_start().await {
                Err(_) => crashed = true,
                Ok(mut crashing) => {
                    answered = crashing.api().try_call(hyper::Method::DELETE, &path, "").await.is_ok();
                    if crashing.ended().is_none() && answered {
                        crashing.terminate();
                    }
                    crashed |= !crashing.wait().await.success();
                }
            }
            let server = config.start().await;
            if server.api().get(&path).await.status == 404 {
                let what = format!("item {place}, a crash before write {writes}");
                are_gone(server.data_dir(), std::slice::from_ref(word), &what).await;
            } else {
                assert!(!answered, "a deletion that was acknowledged is done");
                server.api().delete(&path).await.ok();
            }
            config = server.stop();
        }
        let server = config.start().await;
        let gone = [7, 1, 0].map(|place| &written.items[place].0);
        let left: Vec<_> = known.iter().filter(|item| !gone.contains(&&id_of(item))).cloned().collect();
        assert_eq!(conversation_items(&server.api(), &written.conversation).await, left, "{writes}");
        if !crashed {
            assert!(writes > 2, "it crashed in between");
            return;
        }
    }
    panic!("it never ran through");
}
