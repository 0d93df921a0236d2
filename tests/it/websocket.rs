//! `/v1/responses` as a WebSocket: replies one after the other and in lanes, held for the connection, rejoined; and what
//! a connection may not do.

use crate::support::{
    check::text_of,
    upstream::{Fate, Manner},
    websocket::{Ended, Socket},
    *,
};

mod edges;
mod ending;

impl Given {
    async fn socket(&self) -> Socket {
        Socket::open(self.server.address()).await
    }

    /// What a model was asked with last about this.
    fn asked(&self, about: &str) -> Vec<Value> {
        let heard = self.upstream.heard(about).pop().expect("a call");
        heard.messages().iter().map(|message| message["content"].clone()).collect()
    }
}

fn id_of(events: &[Event]) -> String {
    events[0].body["response"]["id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn a_reply_is_the_same_as_over_http() {
    let given = Given::new().await;
    let mut socket = given.socket().await;
    socket.create(json!({"input": prompt(20, "same")})).await;
    let events = socket.reply().await.expect("a reply");
    check_reply(&events);
    assert_eq!(text_of(&events), truth(&prompt(20, "same")));
    assert_eq!(bodies(&events), bodies(&given.replay(&id_of(&events)).await));
}

#[tokio::test]
async fn requests_are_answered_one_after_the_other() {
    let given = Given::new().await;
    given.upstream.on("first", Manner::paced(5));
    let mut socket = given.socket().await;
    socket.create(json!({"input": prompt(20, "first")})).await;
    socket.create(json!({"input": prompt(5, "second")})).await;
    assert_eq!(text_of(&socket.reply().await.expect("a reply")), truth(&prompt(20, "first")));
    assert_eq!(text_of(&socket.reply().await.expect("a reply")), truth(&prompt(5, "second")));
}

#[tokio::test]
async fn lanes_go_at_once_and_their_messages_name_them() {
    let given = Given::new().await;
    given.upstream.on("slowly", Manner::paced(10));
    let mut socket = given.socket().await;
    socket.create(json!({"input": prompt(40, "slowly"), "stream_id": "a"})).await;
    let first = socket.next().await.expect("a message");
    assert_eq!((&first["type"], &first["stream_id"]), (&json!("response.created"), &json!("a")));
    socket.create(json!({"input": prompt(5, "quickly"), "stream_id": "b\"ü"})).await;
    let (mut texts, mut ends) = ([String::new(), String::new()], Vec::new());
    while ends.len() < 2 {
        let message = socket.next().await.expect("a message");
        let lane = usize::from(message["stream_id"] == "b\"ü");
        assert!(lane == 1 || message["stream_id"] == "a", "{message}");
        texts[lane].push_str(message["delta"].as_str().unwrap_or_default());
        if message["type"] == "response.completed" {
            ends.push(lane);
        }
    }
    assert_eq!(ends, [1, 0], "the second did not wait for the first");
    assert_eq!(texts, [truth(&prompt(40, "slowly")), truth(&prompt(5, "quickly"))]);
    // Errors name the lane, too.
    socket.create(json!({"input": "x", "temperature": 9, "stream_id": "c"})).await;
    let error = socket.reply().await.expect_err("a refusal");
    assert_eq!((&error["stream_id"], &error["error"]["param"]), (&json!("c"), &json!("temperature")));
}

#[tokio::test]
async fn a_reply_that_is_not_stored_is_followed_on_its_connection_alone() {
    let given = Given::new().await;
    let (first, second, third) = (prompt(5, "one"), prompt(6, "two"), prompt(7, "three"));
    let mut socket = given.socket().await;
    socket.create(json!({"input": first, "store": false})).await;
    let one = id_of(&socket.reply().await.expect("a reply"));
    socket.create(json!({"input": second, "store": false, "previous_response_id": one})).await;
    let events = socket.reply().await.expect("a reply");
    assert_eq!(events[0].body["response"]["previous_response_id"], one.as_str());
    assert_eq!(given.asked("two"), [json!(first), json!(truth(&first)), json!(second)]);
    let two = id_of(&events);
    socket.create(json!({"input": third, "store": false, "previous_response_id": two})).await;
    socket.reply().await.expect("a reply");
    assert_eq!(given.asked("three").len(), 5);
    // Another line from the first; this one is stored, with all that it follows.
    socket.create(json!({"input": prompt(4, "fork"), "previous_response_id": one, "stream_id": "x"})).await;
    let fork = id_of(&socket.reply().await.expect("a reply"));
    assert_eq!(given.asked("fork").len(), 3);
    let after = given.api.post("/v1/responses", with(whole("after"), json!({"previous_response_id": fork}))).await;
    after.ok();
    assert_eq!(given.asked("after").len(), 5);
    // An item of it is known by its id, too.
    let item =
        events.iter().rev().find_map(|event| event.body["response"]["output"][0]["id"].as_str()).expect("an item");
    let reference = json!([{"type": "item_reference", "id": item}, {"role": "user", "content": "and now: referred"}]);
    socket.create(json!({"input": reference, "store": false})).await;
    socket.reply().await.expect("a reply");
    assert_eq!(given.asked("referred")[0], truth(&second));

    let mut other = given.socket().await;
    other.create(json!({"input": "x", "store": false, "previous_response_id": one})).await;
    let error = other.reply().await.expect_err("a refusal");
    assert_eq!((&error["status"], &error["error"]["code"]), (&json!(400), &json!("previous_response_not_found")));
    assert_eq!(error["error"]["param"], "previous_response_id");
    other.create(json!({"input": prompt(3, "recovered"), "store": false})).await;
    assert_eq!(text_of(&other.reply().await.expect("a reply")), truth(&prompt(3, "recovered")));
}

#[tokio::test]
async fn a_reply_that_failed_to_be_followed_is_forgotten() {
    let given = Given::new().await;
    let mut socket = given.socket().await;
    socket.create(json!({"input": prompt(3, "seed"), "store": false})).await;
    let seed = id_of(&socket.reply().await.expect("a reply"));
    let output = json!([{"type": "function_call_output", "call_id": "call_none", "output": "x"}]);
    socket.create(json!({"input": output, "store": false, "previous_response_id": seed})).await;
    assert_eq!(socket.reply().await.expect_err("a refusal")["status"], 400);
    socket.create(json!({"input": "stale", "store": false, "previous_response_id": seed})).await;
    let error = socket.reply().await.expect_err("a refusal");
    assert_eq!(error["error"]["code"], "previous_response_not_found");
}

#[tokio::test]
async fn input_that_is_only_kept_is_what_the_next_reply_follows() {
    let given = Given::new().await;
    let mut socket = given.socket().await;
    for store in [true, false] {
        let (first, second) = (prompt(4, "warm"), prompt(5, "then"));
        let asked_before = given.upstream.heard("warm").len();
        socket.create(json!({"input": first, "generate": false, "store": store})).await;
        let events = socket.reply().await.expect("a reply");
        let response = &events.last().expect("events").body["response"];
        assert_eq!((&response["status"], &response["output"]), (&json!("completed"), &json!([])));
        assert_eq!(given.upstream.heard("warm").len(), asked_before, "no model is asked");
        let previous = id_of(&events);
        given.api.get(&format!("/v1/responses/{previous}")).await.refused(404, Value::Null, "response_id");
        socket.create(json!({"input": second, "store": store, "previous_response_id": previous})).await;
        assert_eq!(text_of(&socket.reply().await.expect("a reply")), truth(&second));
        // (Two messages of a user in a row are one to the model.)
        assert_eq!(given.asked("then"), [format!("{first}\n\n{second}")]);
    }
}

#[tokio::test]
async fn a_reply_that_was_begun_anywhere_is_rejoined_after_each_of_its_events() {
    let given = Given::new().await;
    given.upstream.on("rejoining", Manner::paced(8));
    let prompt = prompt(25, "rejoining");
    let mut stream = given.api.stream(streamed(&prompt)).await;
    let response = stream.response_id();
    let mut socket = given.socket().await;
    let mut seen: Vec<Event> = Vec::new();
    while !seen.last().is_some_and(Event::is_terminal) {
        seen.extend(stream.read_until(|_| true).await);
        let number = seen[seen.len() - 1].number;
        let lane = format!("after {number}");
        let retrieve =
            json!({"type": "response.retrieve", "response_id": response, "starting_after": number, "stream_id": lane});
        socket.send(retrieve).await;
    }
    let mut rests = vec![Vec::new(); seen.len()];
    let mut open = seen.len() - 1;
    while open > 0 {
        let message = socket.next().await.expect("a message");
        let place = message["stream_id"].as_str().and_then(|lane| lane.strip_prefix("after ")?.parse::<usize>().ok());
        let rest = &mut rests[place.expect("a lane")];
        rest.push(websocket::event(message));
        open -= usize::from(rest[rest.len() - 1].is_terminal());
    }
    for (place, rest) in rests.iter().enumerate() {
        assert_eq!(text_of(&seen[..=place]) + &text_of(rest), truth(&prompt), "after {place}");
    }
    assert_eq!(given.upstream.heard("rejoining").len(), 1);
}

#[tokio::test]
async fn a_reply_that_was_killed_is_rejoined_over_a_new_connection() {
    let mut given = Given::new().await;
    given.upstream.on("killed", Manner::paced(8));
    let prompt = prompt(40, "killed");
    let mut socket = given.socket().await;
    socket.create(json!({"input": prompt})).await;
    let mut seen = socket.read_words(6).await;
    given.server.kill();
    while let Ok(message) = socket.next().await {
        seen.push(websocket::event(message));
    }
    given = given.restarted().await;
    let mut socket = given.socket().await;
    let after = seen[seen.len() - 1].number;
    socket.send(json!({"type": "response.retrieve", "response_id": id_of(&seen), "starting_after": after})).await;
    seen.extend(socket.reply().await.expect("the rest"));
    assert_eq!(check_reply(&seen).response["status"], "completed");
    assert_eq!(text_of(&seen), truth(&prompt));
}

#[tokio::test]
async fn a_reply_outlives_its_connection_only_if_it_is_stored() {
    let given = Given::new().await;
    for (about, store) in [("kept", true), ("left", false)] {
        given.upstream.on(about, Manner::paced(15));
        let mut socket = given.socket().await;
        socket.create(json!({"input": prompt(40, about), "store": store})).await;
        let id = id_of(&socket.read_words(3).await);
        drop(socket);
        if store {
            let replay = given.replay(&id).await;
            assert_eq!(text_of(&replay), truth(&prompt(40, about)));
        }
    }
    until("the upstream to be left", async || {
        given.upstream.heard("left").iter().all(|heard| heard.fate == Fate::HungUp).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_wrong_is_told_and_the_connection_goes_on() {
    let given = Given::new().await;
    let mut socket = given.socket().await;
    for (message, status, code, param) in [
        (
            json!({"type": "response.create", "model": "nobody", "input": "x"}),
            400,
            json!("model_not_found"),
            json!("model"),
        ),
        (
            json!({"type": "response.create", "input": "x", "background": true}),
            400,
            json!("unsupported_parameter"),
            json!("background"),
        ),
        (json!({"type": "response.create"}), 400, json!("missing_required_parameter"), json!("input")),
        (json!({"type": "session.update"}), 400, json!("invalid_value"), json!("type")),
        (json!({"input": "x"}), 400, json!("missing_required_parameter"), json!("type")),
        (json!([1]), 400, json!("invalid_type"), Value::Null),
        (json!({"type": "response.retrieve", "response_id": "resp_x"}), 404, Value::Null, json!("response_id")),
    ] {
        socket.send(message.clone()).await;
        let error = socket.reply().await.expect_err("a refusal");
        let told = (&error["status"], &error["error"]["code"], &error["error"]["param"]);
        assert_eq!(told, (&json!(status), &code, &param), "{message}: {error}");
    }
    socket.send(json!({"type": "response.steer", "previous_response_id": "resp_x", "input": "no"})).await;
    let failed = socket.next().await.expect("a message");
    assert_eq!(
        (&failed["type"], &failed["error"]["code"]),
        (&json!("response.steer.failed"), &json!("steering_not_supported"))
    );
    given.upstream.on("breaking", Behaviour::error(400, "bad", "No."));
    socket.create(json!({"input": "breaking"})).await;
    let events = socket.reply().await.expect("a reply");
    assert_eq!(events.last().expect("events").kind, "response.failed");
    socket.create(json!({"input": prompt(3, "well")})).await;
    assert_eq!(text_of(&socket.reply().await.expect("a reply")), truth(&prompt(3, "well")));
}
