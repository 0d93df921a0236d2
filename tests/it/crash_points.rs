//! A crash between every two writes of the log: of acceptance, of the text, of the end, of a takeover, of a stop, of a
//! deletion. After each, a restart, and nothing is half done: what was acknowledged is there, what was not is whole or
//! not there at all.
//!
//! The server's `CRASH_AFTER_WRITES` ends it before its n-th write; each scenario is tried with n = 0, 1, 2, … until it
//! runs through without a crash.

use std::os::unix::process::ExitStatusExt;

use hyper::Method;

use crate::support::{
    check::{output_text, text_of},
    follower::{Place, follow, read_on},
    server::{Config, Server},
    sse::Event,
    upstream::{Break, Manner},
    *,
};

/// More writes than any scenario here has; past that, it never runs through.
const MOST: u64 = 60;

/// What a client has of the server's word when the crash comes.
#[derive(Debug, Default)]
struct Observed {
    /// The reply that the headers of a POST named.
    reply: Option<String>,
    seen: Vec<Event>,
    /// Whether the request that the scenario is about was answered.
    answered: bool,
}

/// Runs `prepare` on a server that does not crash, then `scenario` on one that crashes before its n-th write, then
/// `check` on a third, all on the same data; for each n until the scenario runs through.
async fn crash_everywhere<Prepared>(
    upstream: &Upstream,
    prepare: impl AsyncFn(Server) -> (Prepared, Config),
    scenario: impl AsyncFn(&Api, &Prepared, &mut Observed) -> Option<()>,
    check: impl AsyncFn(&Api, &Prepared, Observed),
) {
    for writes in 0..MOST {
        println!("a crash before write {writes}");
        let (prepared, config) = prepare(Server::before(upstream).start().await).await;
        let mut observed = Observed::default();
        let crashing = config.clone().env("CRASH_AFTER_WRITES", writes);
        let ran_through = match crashing.try_start().await {
            Err(_) => false,
            Ok(mut server) => {
                let done = scenario(&server.api(), &prepared, &mut observed).await.is_some();
                // What it still had to write, it writes before it ends.
                if server.ended().is_none() && done {
                    server.terminate();
                }
                let status = server.wait().await;
                assert!(status.success() || status.signal() == Some(6), "it crashed in its own way: {status}");
                done && status.success()
            }
        };
        let server = config.start().await;
        check(&server.api(), &prepared, observed).await;
        if ran_through {
            assert!(writes > 1, "a scenario that writes nothing tries nothing");
            return;
        }
    }
    panic!("more than {MOST} writes");
}

/// A fresh conversation on a server that is then killed.
async fn conversation(server: Server) -> (String, Config) {
    let made = server.api().post("/v1/conversations", json!({})).await.ok();
    (made["id"].as_str().expect("an id").to_owned(), server.stop())
}

/// POSTs a streamed reply and reads it as far as `enough`.
async fn post(api: &Api, body: Value, observed: &mut Observed, enough: impl Fn(&Event) -> bool) -> Option<()> {
    let mut stream = api.try_open(Method::POST, "/v1/responses", body.to_string()).await.ok()?;
    observed.reply = Some(stream.response_id());
    while !observed.seen.last().is_some_and(&enough) {
        observed.seen.push(sse::as_named_event(&stream.next().await.ok().filter(|frame| frame.data != "[DONE]")?));
    }
    Some(())
}

/// The conversation takes another reply, after at most the end of the one that was running.
async fn is_unlocked(api: &Api, conversation: &str) {
    until("the conversation to be unlocked", async || {
        let request = with(whole("Say 2 words afterwards."), json!({"conversation": conversation}));
        let answer = api.post("/v1/responses", request).await;
        if answer.status == 400 {
            answer.refused(400, "conversation_locked", "conversation");
            return None;
        }
        assert_eq!(output_text(&answer.ok()), truth("Say 2 words afterwards."));
        Some(())
    })
    .await;
}

#[tokio::test]
async fn between_acceptance_and_the_end_of_a_reply() {
    let upstream = Upstream::start().await;
    upstream.on("crashes", Manner::paced(5).repeating(2));
    let prompt = prompt(6, "crashes");
    let request = |conversation: &String| with(streamed(&prompt), json!({"conversation": conversation}));
    let scenario = async |api: &Api, conversation: &String, observed: &mut Observed| {
        post(api, request(conversation), observed, Event::is_terminal).await
    };
    let check = async |api: &Api, conversation: &String, observed: Observed| {
        if let Some(id) = observed.reply {
            let events = follow(api, &id, Place::Responses, observed.seen).await;
            assert_eq!(check_reply(&events).text, truth(&prompt), "a reply that was accepted is never lost");
        }
        is_unlocked(api, conversation).await;
        let items = conversation_items(api, conversation).await;
        assert!([2, 4].contains(&items.len()), "all of a reply or nothing: {items:#?}");
        if items.len() == 4 {
            assert_eq!(items[1]["content"][0]["text"], truth(&prompt).as_str());
        }
    };
    crash_everywhere(&upstream, conversation, scenario, check).await;
}

/// A reply in a conversation, cut by a kill after a few words.
async fn cut_reply(server: Server, prompt: &str) -> ((String, String, Vec<Event>), Config) {
    let api = server.api();
    let made = api.post("/v1/conversations", json!({})).await.ok();
    let conversation = made["id"].as_str().expect("an id").to_owned();
    let mut stream = api.stream(with(streamed(prompt), json!({"conversation": conversation}))).await;
    let id = stream.response_id();
    let mut seen = stream.read_words(2).await;
    let config = server.stop();
    read_on(&mut stream, Place::Responses, &mut seen).await;
    ((conversation, id, seen), config)
}

#[tokio::test]
async fn between_the_start_of_a_takeover_and_its_end() {
    let upstream = Upstream::start().await;
    upstream.on("taken over", Manner::paced(10).repeating(2));
    let prompt = prompt(6, "being taken over");
    let prepare = async |server| cut_reply(server, &prompt).await;
    let scenario = async |api: &Api, (_, id, _): &(String, String, Vec<Event>), observed: &mut Observed| {
        let path = format!("/v1/responses/{id}?stream=true");
        let mut stream = api.try_open(Method::GET, &path, String::new()).await.ok()?;
        while !observed.seen.last().is_some_and(Event::is_terminal) {
            observed.seen.push(sse::as_named_event(&stream.next().await.ok()?));
        }
        Some(())
    };
    let check = async |api: &Api, (conversation, id, before): &(String, String, Vec<Event>), observed: Observed| {
        let seen = if observed.seen.len() > before.len() { observed.seen } else { before.clone() };
        let shared = before.len().min(seen.len());
        assert_eq!(bodies(&seen[..shared]), bodies(&before[..shared]), "what was seen is never taken back");
        let events = follow(api, id, Place::Responses, seen).await;
        assert_eq!(check_reply(&events).text, truth(&prompt));
        is_unlocked(api, conversation).await;
        assert_eq!(conversation_items(api, conversation).await.len(), 4);
    };
    crash_everywhere(&upstream, prepare, scenario, check).await;
}

#[tokio::test]
async fn between_a_stop_and_its_acknowledgement() {
    let upstream = Upstream::start().await;
    // Generates four words, and stalls; a call that continues it gets the rest.
    upstream.on("stopping", Manner::polite().breaking(4, Break::Silent));
    let prompt = prompt(8, "stopping");
    let scenario = async |api: &Api, conversation: &String, observed: &mut Observed| {
        let request = with(streamed(&prompt), json!({"conversation": conversation}));
        let expected: String = truth(&prompt).split_inclusive(' ').take(4).collect();
        let mut text = String::new();
        let mut stream = api.try_open(Method::POST, "/v1/responses", request.to_string()).await.ok()?;
        let id = stream.response_id();
        observed.reply = Some(id.clone());
        while text.len() < expected.trim_end().len() {
            let event = sse::as_named_event(&stream.next().await.ok()?);
            text.push_str(event.delta().unwrap_or_default());
            observed.seen.push(event);
        }
        let path = format!("/v1/responses/{id}/cancel");
        let answer = api.try_call(Method::POST, &path, "{}").await.ok()?;
        assert_eq!(answer.ok()["status"], "cancelled");
        observed.answered = true;
        Some(())
    };
    let check = async |api: &Api, conversation: &String, observed: Observed| {
        if let Some(id) = &observed.reply {
            let path = format!("/v1/responses/{id}");
            let stopped = api.post(&format!("{path}/cancel"), json!({})).await.ok();
            assert!(stopped["status"] == "cancelled" || !observed.answered, "{stopped}");
            let answered = observed.answered;
            let seen = text_of(&observed.seen);
            let events = follow(api, id, Place::Responses, observed.seen).await;
            let reply = check_reply(&events);
            assert!(reply.text.starts_with(&seen) && truth(&prompt).starts_with(&reply.text), "{}", reply.text);
            assert!(!answered || reply.text == seen, "a stop that was acknowledged stopped it");
            assert_eq!(api.get(&path).await.ok(), reply.response);
        } else {
            // It may have been accepted without anybody knowing; then it runs, and is stopped to get on.
            stop_running(api, conversation).await;
        }
        is_unlocked(api, conversation).await;
    };
    crash_everywhere(&upstream, conversation, scenario, check).await;
}

/// Stops the reply that holds the lock of a conversation, if there is one.
async fn stop_running(api: &Api, conversation: &str) {
    let request = with(whole("Say 1 word to see."), json!({"conversation": conversation}));
    let answer = api.post("/v1/responses", request).await;
    if answer.status == 400 {
        let error = answer.refused(400, "conversation_locked", "conversation");
        let message = error["message"].as_str().expect("a message");
        let id: String = message[message.find("resp_").expect("the id of the running reply")..]
            .chars()
            .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
            .collect();
        api.post(&format!("/v1/responses/{id}/cancel"), json!({})).await.ok();
    }
}

/// A finished reply in a conversation.
async fn finished_reply(server: Server) -> ((String, String), Config) {
    let api = server.api();
    let made = api.post("/v1/conversations", json!({})).await.ok();
    let conversation = made["id"].as_str().expect("an id").to_owned();
    let request = with(whole("Say 4 words to delete."), json!({"conversation": conversation}));
    let reply = api.post("/v1/responses", request).await.ok();
    ((conversation, reply["id"].as_str().expect("an id").to_owned()), server.stop())
}

#[tokio::test]
async fn between_the_deletion_of_a_reply_and_its_acknowledgement() {
    let upstream = Upstream::start().await;
    let scenario = async |api: &Api, (_, reply): &(String, String), observed: &mut Observed| {
        let answer = api.try_call(Method::DELETE, &format!("/v1/responses/{reply}"), "").await.ok()?;
        assert_eq!(answer.ok()["deleted"], true);
        observed.answered = true;
        Some(())
    };
    let check = async |api: &Api, (conversation, reply): &(String, String), observed: Observed| {
        let path = format!("/v1/responses/{reply}");
        let answer = api.get(&path).await;
        if answer.status == 200 {
            assert!(!observed.answered, "a deletion that was acknowledged is done");
            assert_eq!(output_text(&answer.json()), truth("Say 4 words to delete."));
            let events = api.follow(&format!("{path}?stream=true")).await.collect().await.into_events();
            assert_eq!(check_reply(&events).response, answer.json());
        } else {
            answer.unknown("response_id");
            api.get(&format!("{path}?stream=true")).await.unknown("response_id");
        }
        is_unlocked(api, conversation).await;
        api.try_call(Method::DELETE, &path, "").await.expect("an answer");
        api.get(&path).await.unknown("response_id");
    };
    crash_everywhere(&upstream, finished_reply, scenario, check).await;
}

#[tokio::test]
async fn between_the_deletion_of_a_running_reply_and_its_acknowledgement() {
    let upstream = Upstream::start().await;
    upstream.on("to delete", Manner::polite().breaking(4, Break::Silent));
    let prompt = prompt(8, "what is to delete");
    let scenario = async |api: &Api, conversation: &String, observed: &mut Observed| {
        let request = with(streamed(&prompt), json!({"conversation": conversation}));
        post(api, request, observed, |event| event.delta().is_some()).await?;
        let path = format!("/v1/responses/{}", observed.reply.as_ref()?);
        assert_eq!(api.try_call(Method::DELETE, &path, "").await.ok()?.ok()["deleted"], true);
        observed.answered = true;
        Some(())
    };
    let check = async |api: &Api, conversation: &String, observed: Observed| {
        if let Some(id) = &observed.reply {
            let path = format!("/v1/responses/{id}");
            let answer = api.get(&path).await;
            assert!(answer.status == 404 || !observed.answered, "a deletion that was acknowledged is done");
            let again = api.delete(&path).await;
            assert!([200, 404].contains(&again.status.as_u16()), "{}", again.text());
            api.get(&path).await.unknown("response_id");
        } else {
            stop_running(api, conversation).await;
        }
        is_unlocked(api, conversation).await;
    };
    crash_everywhere(&upstream, conversation, scenario, check).await;
}

#[tokio::test]
async fn between_the_deletion_of_a_conversation_and_its_acknowledgement() {
    let upstream = Upstream::start().await;
    upstream.on("taken over", Manner::polite().breaking(4, Break::Silent));
    let prompt = prompt(8, "being taken over");
    let prepare = async |server| cut_reply(server, &prompt).await;
    let scenario = async |api: &Api, (conversation, ..): &(String, String, Vec<Event>), observed: &mut Observed| {
        let path = format!("/v1/conversations/{conversation}");
        assert_eq!(api.try_call(Method::DELETE, &path, "").await.ok()?.ok()["deleted"], true);
        observed.answered = true;
        Some(())
    };
    let check = async |api: &Api, (conversation, id, _): &(String, String, Vec<Event>), observed: Observed| {
        let path = format!("/v1/conversations/{conversation}");
        let answer = api.get(&path).await;
        assert!(answer.status == 404 || !observed.answered, "a deletion that was acknowledged is done");
        if answer.status == 200 {
            api.delete(&path).await.ok();
        }
        api.get(&path).await.unknown("conversation_id");
        let reply = api.get(&format!("/v1/responses/{id}")).await;
        assert!(reply.status == 404 || reply.ok()["status"] != "in_progress", "its reply is over: {}", reply.text());
    };
    crash_everywhere(&upstream, prepare, scenario, check).await;
}

#[tokio::test]
async fn between_the_addition_of_items_and_its_acknowledgement() {
    let upstream = Upstream::start().await;
    let item = |text: &str| json!({"role": "user", "content": text});
    let scenario = async |api: &Api, conversation: &String, observed: &mut Observed| {
        let path = format!("/v1/conversations/{conversation}/items");
        for batch in 0..3 {
            let items = [item(&format!("{batch} one")), item(&format!("{batch} two"))];
            let added = api.try_call(Method::POST, &path, json!({"items": items}).to_string()).await.ok()?.ok();
            if batch == 1 {
                let first = format!("{path}/{}", added["first_id"].as_str().expect("an id"));
                api.try_call(Method::DELETE, &first, "").await.ok()?.ok();
            }
        }
        observed.answered = true;
        Some(())
    };
    let check = async |api: &Api, conversation: &String, observed: Observed| {
        let items = conversation_items(api, conversation).await;
        let texts: Vec<_> = items.iter().map(|item| item["content"][0]["text"].as_str().expect("text")).collect();
        let all = ["0 one", "0 two", "1 two", "2 one", "2 two"];
        let possible: [&[&str]; 4] = [&[], &all[..2], &["0 one", "0 two", "1 one", "1 two"], &all[..3]];
        assert!(texts == all || (!observed.answered && possible.contains(&&texts[..])), "{texts:?}");
        is_unlocked(api, conversation).await;
    };
    crash_everywhere(&upstream, conversation, scenario, check).await;
}

#[tokio::test]
async fn between_a_post_with_a_key_and_the_next_one_under_it() {
    let upstream = Upstream::start().await;
    upstream.on("again", Manner::paced(5).repeating(1));
    let prompt = prompt(6, "once and again");
    let prepare = async |server: Server| ((), server.stop());
    let scenario = async |api: &Api, (): &(), observed: &mut Observed| {
        post(&api.clone().header("idempotency-key", "k-1"), streamed(&prompt), observed, Event::is_terminal).await
    };
    let check = async |api: &Api, (): &(), observed: Observed| {
        let api = api.clone().header("idempotency-key", "k-1");
        let stream = api.stream(streamed(&prompt)).await;
        let id = stream.response_id();
        let events = stream.collect().await.into_events();
        assert_eq!(check_reply(&events).text, truth(&prompt));
        assert!(observed.reply.is_none_or(|reply| reply == id), "it is the same reply");
        assert_eq!(bodies(&observed.seen), bodies(&events[..observed.seen.len()]), "what was seen is never taken back");
    };
    crash_everywhere(&upstream, prepare, scenario, check).await;
}
