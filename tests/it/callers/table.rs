//! Every door, for whatever credential, to what is somebody's: each cell of the table is tried.

use std::collections::BTreeSet;

use hyper::Method;

use super::{Keys, keyed, reply, with_key};
use crate::support::{Answer, Api, Value, json, server::Server};

/// The columns: who asks. What is asked for is Alice's, of the tenant acme.
const COLUMNS: [(&str, Option<&str>); 10] = [
    ("none", None),
    ("wrong", None),
    ("alice", Some("--tenant acme --user alice")),
    ("reader", Some("--tenant acme --user alice --scopes read")),
    ("writer", Some("--tenant acme --user alice --scopes chat")),
    ("bob", Some("--tenant acme --user bob")),
    ("acme", Some("--tenant acme")),
    ("boss", Some("--tenant acme --scopes chat,read,tenant")),
    ("other", Some("--tenant other --user alice --scopes chat,read,tenant,admin")),
    ("probe", Some("--tenant acme --scopes admin")),
];

/// The rows: the operation, which request it is, and the status of the answer to each.
const ROWS: &[(&str, &str)] = &[
    //                                 none wrong alice reader writer bob acme boss other probe
    ("createResponse", /*          */ "401 401 200 403 200 200 200 200 200 403"),
    ("createResponse after", /*    */ "401 401 200 403 200 400 400 200 400 403"),
    ("createResponse in", /*       */ "401 401 200 403 200 404 404 200 404 403"),
    ("createResponse with", /*     */ "401 401 200 403 200 400 400 200 400 403"),
    // (Without a handshake it says that it wants one.)
    ("connectResponses", /*        */ "401 401 426 403 426 426 426 426 426 403"),
    ("countInputTokens", /*        */ "401 401 200 200 403 200 200 200 200 403"),
    ("countInputTokens after", /*  */ "401 401 200 200 403 400 400 200 400 403"),
    ("countInputTokens in", /*     */ "401 401 200 200 403 404 404 200 404 403"),
    ("compactResponse", /*         */ "401 401 200 403 200 200 200 200 200 403"),
    ("compactResponse after", /*   */ "401 401 200 403 200 400 400 200 400 403"),
    ("getResponse", /*             */ "401 401 200 200 403 404 404 200 404 403"),
    ("getResponse stream", /*      */ "401 401 200 200 403 404 404 200 404 403"),
    ("deleteResponse", /*          */ "401 401 200 403 200 404 404 200 404 403"),
    ("cancelResponse", /*          */ "401 401 200 403 200 404 404 200 404 403"),
    ("listInputItems", /*          */ "401 401 200 200 403 404 404 200 404 403"),
    ("getResponseEvents", /*       */ "401 401 200 200 403 404 404 200 404 403"),
    ("getResponseEvents again", /* */ "401 401 204 204 403 404 404 204 404 403"),
    // It was not asked to be spoken: those whose it is are told so.
    ("getResponseAudio", /*        */ "401 401 404! 404! 403 404 404 404! 404 403"),
    ("createChatCompletion", /*    */ "401 401 200 403 200 200 200 200 200 403"),
    ("getChatCompletion", /*       */ "401 401 200 200 403 404 404 200 404 403"),
    ("getChatCompletion stream", /**/ "401 401 200 200 403 404 404 200 404 403"),
    ("deleteChatCompletion", /*    */ "401 401 200 403 200 404 404 200 404 403"),
    ("sendMessages", /*            */ "401 401 200 403 200 200 200 200 200 403"),
    // Everybody has a chat of this name, and in none of them anything runs.
    ("resumeChat", /*              */ "401 401 204 204 403 204 204 204 204 403"),
    ("stopChat", /*                */ "401 401 200 403 200 200 200 200 200 403"),
    ("createConversation", /*      */ "401 401 200 403 200 200 200 200 200 403"),
    ("createConversation with", /* */ "401 401 200 403 200 400 400 200 400 403"),
    ("listConversations", /*       */ "401 401 200 200 403 200 200 200 200 403"),
    ("getConversation", /*         */ "401 401 200 200 403 404 404 200 404 403"),
    ("updateConversation", /*      */ "401 401 200 403 200 404 404 200 404 403"),
    ("deleteConversation", /*      */ "401 401 200 403 200 404 404 200 404 403"),
    ("getConversationEvents", /*   */ "401 401 200 200 403 404 404 200 404 403"),
    ("getConversationEvents gone", /**/ "401 401 204 204 403 404 404 204 404 403"),
    ("createItems", /*             */ "401 401 200 403 200 404 404 200 404 403"),
    ("listItems", /*               */ "401 401 200 200 403 404 404 200 404 403"),
    ("getItem", /*                 */ "401 401 200 200 403 404 404 200 404 403"),
    ("deleteItem", /*              */ "401 401 200 403 200 404 404 200 404 403"),
    // Alice's endpoint, and where none is named, the caller's own.
    ("createWebhookEndpoint", /*   */ "401 401 200 403 200 200 200 200 200 403"),
    ("listWebhookEndpoints", /*    */ "401 401 200 200 403 200 200 200 200 403"),
    ("getWebhookEndpoint", /*      */ "401 401 200 200 403 404 404 200 404 403"),
    ("updateWebhookEndpoint", /*   */ "401 401 200 403 200 404 404 200 404 403"),
    ("deleteWebhookEndpoint", /*   */ "401 401 200 403 200 404 404 200 404 403"),
    ("rotateWebhookSecret", /*     */ "401 401 200 403 200 404 404 200 404 403"),
    // Nobody answers there.
    ("testWebhookEndpoint", /*     */ "401 401 422 403 422 404 404 422 404 403"),
    ("listWebhookDeliveries", /*   */ "401 401 200 200 403 404 404 200 404 403"),
    ("resendWebhookDeliveries", /* */ "401 401 200 403 200 404 404 200 404 403"),
    ("listWebhookEventTypes", /*   */ "401 401 200 200 403 200 200 200 200 403"),
    // There is no voice.
    ("createSpeech", /*            */ "401 401 503 403 503 503 503 503 503 403"),
    // What is sent is no form.
    ("createTranscription", /*     */ "401 401 415 403 415 415 415 415 415 403"),
    ("listModels", /*              */ "401 401 200 200 403 200 200 200 200 403"),
    ("getModel", /*                */ "401 401 200 200 403 200 200 200 200 403"),
    // What is told is the caller's own.
    ("getUsage", /*                */ "401 401 200 200 403 200 200 200 200 403"),
    // Also of who has nothing there, or nothing any more.
    ("deleteUser", /*              */ "401 401 403 403 403 403 403 403 200 200"),
    // Whose it is is looked at when it is opened.
    ("createTicket", /*            */ "401 401 200 200 403 200 200 200 200 403"),
    ("createSession", /*           */ "401 401 200 200 403 200 200 200 200 403"),
    ("getSession", /*              */ "401 401 200 200 403 200 200 200 200 403"),
    ("deleteSession", /*           */ "204 204 204 204 204 204 204 204 204 204"),
    ("getRoot", /*                 */ "200 200 200 200 200 200 200 200 200 200"),
    ("getPageFile", /*             */ "200 200 200 200 200 200 200 200 200 200"),
    ("getOpenApi", /*              */ "200 200 200 200 200 200 200 200 200 200"),
    ("getLivez", /*                */ "200 200 200 200 200 200 200 200 200 200"),
    ("getReadyz", /*               */ "200 200 200 200 200 200 200 200 200 200"),
    ("getHealthz", /*              */ "401 401 403 403 403 403 403 403 200 200"),
    ("getMetrics", /*              */ "401 401 403 403 403 403 403 403 200 200"),
];

/// What is Alice's; or what nobody has.
#[derive(Clone)]
struct Theirs {
    reply: String,
    conversation: String,
    item: String,
    webhook: String,
}

/// A server, and a client for each column.
struct World {
    server: Server,
    keys: Keys,
}

impl World {
    async fn start() -> Self {
        let keyed_columns: Vec<_> = COLUMNS.iter().filter_map(|(name, args)| Some((*name, (*args)?))).collect();
        let keys = Keys::new(&keyed_columns);
        let server = keyed(&keys).env("TTS_COMMAND", "").start().await;
        Self { server, keys }
    }

    fn api(&self, who: &str) -> Api {
        match who {
            "none" => self.server.api(),
            "wrong" => with_key(&self.server, &super::new_key("--tenant acme --user alice").secret),
            who => self.keys.api(&self.server, who),
        }
    }

    async fn alices(&self, door: &str) -> Theirs {
        let alice = self.api("alice");
        let items = json!([{"type": "message", "role": "user", "content": "mine"}]);
        let made = alice.post("/v1/conversations", json!({"items": items})).await.ok();
        let conversation = made["id"].as_str().expect("an id").to_owned();
        let listed = alice.get(&format!("/v1/conversations/{conversation}/items")).await.ok();
        let item = listed["data"][0]["id"].as_str().expect("an id").to_owned();
        if door.ends_with(" gone") {
            alice.delete(&format!("/v1/conversations/{conversation}")).await.ok();
        }
        let reply = reply(&alice, json!({})).await["id"].as_str().expect("an id").to_owned();
        let webhook = if door.contains("Webhook") {
            let made = alice.post("/v1/webhook_endpoints", webhook()).await.ok();
            made["id"].as_str().expect("an id").to_owned()
        } else {
            String::new()
        };
        Theirs { reply, conversation, item, webhook }
    }
}

/// An endpoint at which nobody answers: names of `.invalid` are nobody's.
fn webhook() -> Value {
    json!({"name": "mine", "url": "https://hook.invalid/", "event_types": ["response.failed"]})
}

/// What nobody has, with ids as they are.
fn nobodys() -> Theirs {
    let part = "0123456789abcdefghjkmnpqrs";
    Theirs {
        reply: format!("resp_{part}{part}"),
        conversation: format!("conv_{part}"),
        item: format!("msg_{part}{part}0"),
        webhook: format!("whe_{part}"),
    }
}

/// The request of a row.
fn request(door: &str, theirs: &Theirs) -> (Method, String, Option<Value>) {
    let Theirs { reply, conversation, item, webhook: endpoint } = theirs;
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    let of_reply = |rest: &str| format!("/v1/responses/{reply}{rest}");
    let of_conversation = |rest: &str| format!("/v1/conversations/{conversation}{rest}");
    let of_webhook = |rest: &str| format!("/v1/webhook_endpoints/{endpoint}{rest}");
    let ask = |more: Value| Some(crate::support::with(json!({"model": "echo", "input": "hello"}), more));
    let reference = json!([{"type": "item_reference", "id": item}]);
    match door {
        "createResponse" => (post, "/v1/responses".into(), ask(json!({}))),
        "createResponse after" => (post, "/v1/responses".into(), ask(json!({"previous_response_id": reply}))),
        "createResponse in" => (post, "/v1/responses".into(), ask(json!({"conversation": conversation}))),
        "createResponse with" => (post, "/v1/responses".into(), ask(json!({"input": reference}))),
        "connectResponses" => (get, "/v1/responses".into(), None),
        "countInputTokens" => (post, "/v1/responses/input_tokens".into(), ask(json!({}))),
        "countInputTokens after" => {
            (post, "/v1/responses/input_tokens".into(), ask(json!({"previous_response_id": reply})))
        }
        "countInputTokens in" => {
            (post, "/v1/responses/input_tokens".into(), ask(json!({"conversation": conversation})))
        }
        "compactResponse" => (post, "/v1/responses/compact".into(), ask(json!({}))),
        "compactResponse after" => (post, "/v1/responses/compact".into(), ask(json!({"previous_response_id": reply}))),
        "getResponse" => (get, of_reply(""), None),
        "getResponse stream" => (get, of_reply("?stream=true"), None),
        "deleteResponse" => (delete, of_reply(""), None),
        "cancelResponse" => (post, of_reply("/cancel"), None),
        "listInputItems" => (get, of_reply("/input_items"), None),
        "getResponseEvents" => (get, of_reply("/events"), None),
        "getResponseEvents again" => (get, of_reply("/events?last_event_id=99"), None),
        "getResponseAudio" => (get, of_reply("/audio"), None),
        "createChatCompletion" => {
            let messages = json!([{"role": "user", "content": "hello"}]);
            (post, "/v1/chat/completions".into(), Some(json!({"model": "echo", "messages": messages})))
        }
        "getChatCompletion" => (get, format!("/v1/chat/completions/{reply}"), None),
        "getChatCompletion stream" => (get, format!("/v1/chat/completions/{reply}?stream=true"), None),
        "deleteChatCompletion" => (delete, format!("/v1/chat/completions/{reply}"), None),
        "sendMessages" => {
            let message = json!({"id": "m1", "role": "user", "parts": [{"type": "text", "text": "hello"}]});
            (post, "/api/chat".into(), Some(json!({"id": "mine", "model": "echo", "messages": [message]})))
        }
        "resumeChat" => (get, "/api/chat/mine/stream".into(), None),
        "stopChat" => (post, "/api/chat/mine/stop".into(), None),
        "createConversation" => (post, "/v1/conversations".into(), Some(json!({}))),
        "createConversation with" => (post, "/v1/conversations".into(), Some(json!({"items": reference}))),
        "listConversations" => (get, "/v1/conversations".into(), None),
        "getConversation" => (get, of_conversation(""), None),
        "updateConversation" => (post, of_conversation(""), Some(json!({"metadata": {"a": "b"}}))),
        "deleteConversation" => (delete, of_conversation(""), None),
        "getConversationEvents" => (get, of_conversation("/events"), None),
        "getConversationEvents gone" => (get, of_conversation("/events?last_event_id=1.0"), None),
        "createItems" => (post, of_conversation("/items"), Some(json!({"items": [{"role": "user", "content": "x"}]}))),
        "listItems" => (get, of_conversation("/items"), None),
        "getItem" => (get, of_conversation(&format!("/items/{item}")), None),
        "deleteItem" => (delete, of_conversation(&format!("/items/{item}")), None),
        "createWebhookEndpoint" => (post, "/v1/webhook_endpoints".into(), Some(webhook())),
        "listWebhookEndpoints" => (get, "/v1/webhook_endpoints".into(), None),
        "getWebhookEndpoint" => (get, of_webhook(""), None),
        "updateWebhookEndpoint" => (post, of_webhook(""), Some(json!({"name": "other"}))),
        "deleteWebhookEndpoint" => (delete, of_webhook(""), None),
        "rotateWebhookSecret" => (post, of_webhook("/rotate_secret"), None),
        "testWebhookEndpoint" => (post, of_webhook("/test"), Some(json!({"event_type": "response.completed"}))),
        "listWebhookDeliveries" => (get, of_webhook("/deliveries"), None),
        "resendWebhookDeliveries" => (post, of_webhook("/resend"), None),
        "listWebhookEventTypes" => (get, "/v1/webhook_event_types".into(), None),
        "createSpeech" => (post, "/v1/audio/speech".into(), Some(json!({"model": "tts-1", "input": "hello"}))),
        "createTranscription" => (post, "/v1/audio/transcriptions".into(), Some(json!({}))),
        "listModels" => (get, "/v1/models".into(), None),
        "getModel" => (get, "/v1/models/echo".into(), None),
        "deleteUser" => (delete, "/v1/users/carol".into(), None),
        "getUsage" => (get, "/v1/usage?group_by=user".into(), None),
        "createTicket" => (post, "/v1/tickets".into(), Some(json!({"resource": of_reply("/events")}))),
        "createSession" => (post, "/v1/session".into(), None),
        "getSession" => (get, "/v1/session".into(), None),
        "deleteSession" => (delete, "/v1/session".into(), None),
        "getRoot" => (get, "/".into(), None),
        "getPageFile" => (get, "/page/app.js".into(), None),
        "getOpenApi" => (get, "/openapi.json".into(), None),
        "getLivez" => (get, "/livez".into(), None),
        "getReadyz" => (get, "/readyz".into(), None),
        "getHealthz" => (get, "/healthz".into(), None),
        "getMetrics" => (get, "/metrics".into(), None),
        other => panic!("no request for {other}"),
    }
}

/// The answer, of a stream its head: a conversation's has no end.
async fn ask(api: &Api, door: &str, theirs: &Theirs) -> (u16, Option<Answer>) {
    let (method, path, body) = request(door, theirs);
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    if door == "getConversationEvents" {
        let events = api.try_open(method.clone(), &path, body.clone()).await.expect("an answer");
        if events.status == 200 {
            return (200, None);
        }
    }
    let answer = api.call(method, &path, body).await;
    (answer.status.as_u16(), Some(answer))
}

/// The answer without what names the things that were asked for.
fn unnamed(answer: &Answer, theirs: &Theirs) -> String {
    let Theirs { reply, conversation, item, webhook } = theirs;
    let text = answer.text().replace(reply, "R").replace(conversation, "C").replace(item, "I");
    if webhook.is_empty() { text } else { text.replace(webhook, "W") }
}

#[tokio::test]
async fn every_door_answers_each_credential_as_the_table_says() {
    let world = World::start().await;
    let mut wrong = Vec::new();
    for (door, cells) in ROWS {
        let cells: Vec<_> = cells.split(' ').collect();
        assert_eq!(cells.len(), COLUMNS.len(), "{door}");
        for ((who, _), cell) in COLUMNS.iter().zip(cells) {
            let (theirs, api) = (world.alices(door).await, world.api(who));
            let (status, answer) = ask(&api, door, &theirs).await;
            let is_special =
                answer.as_ref().is_some_and(|answer| status == 404 && answer.json()["error"]["code"] == "not_spoken");
            let found = format!("{status}{}", if is_special { "!" } else { "" });
            if found != cell {
                wrong.push(format!("{door} for {who}: {found}, and not {cell}"));
            }
            // Somebody else's is answered just as what is not there.
            if let (Some(answer), "400" | "404") = (&answer, cell) {
                let (missing_status, missing) = ask(&api, door, &nobodys()).await;
                let missing = unnamed(&missing.expect("a whole answer"), &nobodys());
                if (missing_status, &missing) != (status, &unnamed(answer, &theirs)) {
                    wrong
                        .push(format!("{door} for {who}: {} is not as if it were not there: {missing}", answer.text()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_route_has_its_row() {
    let world = World::start().await;
    let document = world.server.api().get("/openapi.json").await.ok();
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.values().flat_map(|path| path.as_object().expect("methods").values());
    let known: BTreeSet<_> =
        operations.map(|operation| operation["operationId"].as_str().expect("an id").to_owned()).collect();
    let decided: BTreeSet<_> =
        ROWS.iter().map(|(door, _)| door.split(' ').next().expect("a word").to_owned()).collect();
    assert_eq!(known, decided);
}

#[tokio::test]
async fn a_refusal_says_what_is_wanted_and_nothing_of_what_came() {
    let world = World::start().await;
    let missing = world.api("none").get("/v1/models").await;
    missing.refused(401, "invalid_api_key", Value::Null);
    assert_eq!(missing.header("www-authenticate"), Some("Bearer realm=\"rejoinder\""));
    let wrong = with_key(&world.server, "sk-something-else").get("/v1/models").await;
    let error = wrong.refused(401, "invalid_api_key", Value::Null);
    assert!(wrong.header("www-authenticate").is_some_and(|wanted| wanted.ends_with("error=\"invalid_token\"")));
    assert!(!error["message"].as_str().is_some_and(|message| message.contains("sk-")));
    let scope = world.api("reader").post("/v1/responses", json!({"input": "x"})).await;
    scope.refused(403, "insufficient_scope", Value::Null);
    assert!(scope.header("www-authenticate").is_some_and(|wanted| wanted.ends_with("scope=\"chat\"")));
    for name in ["x-api-key", "api-key"] {
        world.server.api().header(name, world.keys.secret("alice")).get("/v1/models").await.ok();
    }
    world.server.api().header("authorization", "Basic YTpi").get("/v1/models").await.refused(
        401,
        "invalid_api_key",
        Value::Null,
    );
}

#[tokio::test]
async fn callers_with_one_idempotency_key_do_not_meet() {
    let world = World::start().await;
    let body = json!({"model": "echo", "input": "one"});
    let mut ids = BTreeSet::new();
    for who in ["alice", "bob", "acme", "other"] {
        let api = world.api(who).header("idempotency-key", "same");
        let first = api.post("/v1/responses", body.clone()).await.ok()["id"].clone();
        assert_eq!(api.post("/v1/responses", body.clone()).await.ok()["id"], first, "{who} joins their own");
        ids.insert(first.to_string());
    }
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn what_the_tenant_adds_to_a_users_thread_is_the_users() {
    let world = World::start().await;
    let (alice, boss) = (world.api("alice"), world.api("boss"));
    let theirs = world.alices("").await;
    for place in [json!({"conversation": theirs.conversation}), json!({"previous_response_id": theirs.reply})] {
        let made = reply(&boss, place).await;
        alice.get(&format!("/v1/responses/{}", made["id"].as_str().expect("an id"))).await.ok();
    }
}

#[tokio::test]
async fn whose_a_thing_is_is_known_after_a_restart_and_what_was_nobodys_stays_so() {
    let keys = Keys::new(&[("alice", "--tenant acme --user alice"), ("bob", "--tenant acme --user bob")]);
    let server = keyed(&keys).env("AUTH", "none").start().await;
    let old = reply(&server.api(), json!({})).await["id"].as_str().expect("an id").to_owned();
    let server = server.restart_with(|config| config.env("AUTH", "none,keys")).await;
    let (alice, bob, nobody) = (keys.api(&server, "alice"), keys.api(&server, "bob"), server.api());
    let path = |id: &str| format!("/v1/responses/{id}");
    let new = reply(&alice, json!({})).await["id"].as_str().expect("an id").to_owned();
    nobody.get(&path(&old)).await.ok();
    alice.get(&path(&old)).await.unknown("response_id");
    let server = server.restart().await;
    keys.api(&server, "alice").get(&path(&new)).await.ok();
    for stranger in [bob, nobody.clone()] {
        stranger.get(&path(&new)).await.unknown("response_id");
    }
    // With a credential that is no good nobody is taken for one without.
    with_key(&server, "rj_x").get("/v1/models").await.refused(401, "invalid_api_key", Value::Null);
    nobody.get("/healthz").await.refused(403, "insufficient_scope", Value::Null);
}

#[tokio::test]
async fn what_is_somebody_elses_takes_as_long_as_what_is_not_there() {
    let world = World::start().await;
    let (bob, theirs) = (world.api("bob"), world.alices("").await);
    for (of_theirs, of_nobody) in [
        (format!("/v1/responses/{}", theirs.reply), format!("/v1/responses/{}", nobodys().reply)),
        (format!("/v1/conversations/{}", theirs.conversation), format!("/v1/conversations/{}", nobodys().conversation)),
    ] {
        let mut least = [std::time::Duration::MAX; 2];
        for _ in 0..10 {
            for (path, least) in [&of_theirs, &of_nobody].into_iter().zip(&mut least) {
                let begun = std::time::Instant::now();
                assert_eq!(bob.get(path).await.status, 404);
                *least = (*least).min(begun.elapsed());
            }
        }
        // Both are told when the same time is over, which is longer than looking takes.
        assert!(least.iter().all(|least| least.as_millis() >= 25), "{least:?}");
        assert!(least[0].abs_diff(least[1]).as_millis() < 3, "{least:?}");
    }
}
