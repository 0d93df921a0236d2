//! Any client can rejoin any reply at the exact event where it left off.

use hyper::Method;

use crate::support::{
    check::{check_numbers, text_of},
    follower::{Place, follow, read_on},
    sse::{End, as_event},
    upstream::{Fate, Manner, Prefill},
    *,
};

#[tokio::test]
async fn a_streamed_reply_is_what_the_upstream_says() {
    let given = Given::new().await;
    let prompt = prompt(30, "streams");
    let reply = given.reply(streamed(&prompt)).await;
    assert_eq!((reply.text, reply.status.as_str()), (truth(&prompt), "completed"));
}

#[tokio::test]
async fn a_finished_reply_is_rejoined_after_any_of_its_events() {
    let given = Given::new().await;
    let events = given.events(streamed(&prompt(25, "rejoining"))).await;
    let id = check_reply(&events).id;
    assert_eq!(bodies(&given.replay(&id).await), bodies(&events), "from the first event on");
    for seen in 0..events.len() {
        let path = format!("/v1/responses/{id}?stream=true&starting_after={seen}");
        let rest = given.api.follow(&path).await.collect().await.into_events();
        assert_eq!(bodies(&rest), bodies(&events[seen + 1..]), "after {seen}");
    }
}

#[tokio::test]
async fn a_running_reply_is_rejoined_after_any_event_seen_so_far() {
    let given = Given::new().await;
    given.upstream.on("joined", Manner::paced(20));
    let prompt = prompt(40, "joined early");
    let mut first = given.api.stream(streamed(&prompt)).await;
    let id = first.response_id();
    let mut events = first.read_words(8).await;
    let mut others = Vec::new();
    for seen in 0..events.len() {
        let path = format!("/v1/responses/{id}?stream=true&starting_after={seen}");
        others.push(given.api.follow(&path).await);
    }
    assert_eq!(given.api.get(&format!("/v1/responses/{id}")).await.ok()["status"], "in_progress");
    events.extend(first.collect().await.into_events());
    assert_eq!(check_reply(&events).text, truth(&prompt));
    for (seen, other) in others.into_iter().enumerate() {
        assert_eq!(bodies(&other.collect().await.into_events()), bodies(&events[seen + 1..]), "after {seen}");
    }
}

#[tokio::test]
async fn a_finished_reply_is_the_same_after_a_kill_and_a_restart() {
    let given = Given::new().await;
    let events = given.events(streamed(&prompt(25, "restarts"))).await;
    let id = check_reply(&events).id;
    let before = given.api.get(&format!("/v1/responses/{id}")).await.ok();
    let given = given.restarted().await;
    assert_eq!(bodies(&given.replay(&id).await), bodies(&events));
    assert_eq!(given.api.get(&format!("/v1/responses/{id}")).await.ok(), before);
    let path = format!("/v1/responses/{id}?stream=true&starting_after=7");
    let rest = given.api.follow(&path).await.collect().await.into_events();
    assert_eq!(bodies(&rest), bodies(&events[8..]));
}

#[tokio::test]
async fn a_running_reply_goes_on_after_a_kill_in_every_bad_manner_of_the_upstream() {
    let mut given = Given::new().await;
    for (number, manner) in Manner::all_bad().into_iter().enumerate() {
        let about = format!("kills-{number}");
        given.upstream.on(&about, manner.at_pace(5));
        let prompt = prompt(40, &about);
        let mut stream = given.api.stream(streamed(&prompt)).await;
        let id = stream.response_id();
        let mut events = stream.read_words(6 + number % 4).await;
        given.server.kill();
        read_on(&mut stream, Place::Responses, &mut events).await;
        given = given.restarted().await;
        let events = follow(&given.api, &id, Place::Responses, events).await;
        assert_eq!(check_reply(&events).text, truth(&prompt), "{about}");
        assert_eq!(bodies(&given.replay(&id).await), bodies(&events), "{about}");
    }
}

#[tokio::test]
async fn a_reply_cut_inside_a_word_goes_on_inside_it() {
    let given = Given::new().await;
    given.upstream.on("letters", Manner::paced(10).tokens(upstream::Tokens::Letters(1)));
    let prompt = prompt(20, "letters");
    let mut stream = given.api.stream(streamed(&prompt)).await;
    let id = stream.response_id();
    // Far enough into the third word.
    let events = stream.read_until(|event| event.delta().is_some() && event.number > 25).await;
    let given = given.restarted().await;
    let reply = check_reply(&follow(&given.api, &id, Place::Responses, events).await);
    assert_eq!(reply.text, truth(&prompt));
}

#[tokio::test]
async fn an_upstream_that_never_takes_a_final_assistant_message_is_told_to_go_on() {
    let given = Given::new().await;
    given.upstream.on("refusals", Manner::paced(5).prefill(Prefill::Refused));
    let prompt = prompt(30, "refusals");
    let mut stream = given.api.stream(streamed(&prompt)).await;
    let id = stream.response_id();
    let events = stream.read_words(5).await;
    let given = given.restarted().await;
    let reply = check_reply(&follow(&given.api, &id, Place::Responses, events).await);
    assert_eq!(reply.text, truth(&prompt));
}

#[tokio::test]
async fn a_reply_that_was_killed_when_all_was_said_but_the_end_is_completed() {
    let given = Given::new().await;
    let prompt = prompt(6, "silence at the end");
    let breaking = Manner::polite().breaking(6, upstream::Break::Silent);
    given.upstream.on_each("silence", [breaking.into(), Manner::polite().into()]);
    let mut stream = given.api.stream(streamed(&prompt)).await;
    let id = stream.response_id();
    let events = stream.read_words(6).await;
    assert_eq!(text_of(&events), truth(&prompt), "all is said");
    let given = given.restarted().await;
    let reply = check_reply(&follow(&given.api, &id, Place::Responses, events).await);
    assert_eq!((reply.text, reply.status.as_str()), (truth(&prompt), "completed"));
}

#[tokio::test]
async fn with_continuation_off_a_killed_reply_fails_with_what_was_said() {
    let given = Given::with(|config| config.env("LLM_CONTINUATION", "off")).await;
    given.upstream.on("no more", Manner::paced(20));
    let prompt = prompt(40, "no more");
    let mut stream = given.api.stream(streamed(&prompt)).await;
    let id = stream.response_id();
    let events = stream.read_words(5).await;
    let given = given.restarted().await;
    let reply = check_reply(&follow(&given.api, &id, Place::Responses, events).await);
    assert_eq!(reply.status, "failed");
    assert!(reply.text.len() > 20 && truth(&prompt).starts_with(&reply.text), "{}", reply.text);
    assert_eq!(given.upstream.heard("no more").len(), 1, "it is not asked again");
}

#[tokio::test]
async fn a_killed_server_cuts_its_streams_instead_of_ending_them() {
    let mut given = Given::new().await;
    given.upstream.on("cuts", Manner::paced(20));
    let mut stream = given.api.stream(streamed(&prompt(50, "cuts"))).await;
    stream.read_words(3).await;
    given.server.kill();
    let collected = stream.collect().await;
    assert!(matches!(collected.end, End::Cut(_)), "{collected:?}");
}

#[tokio::test]
async fn a_reply_that_was_not_streamed_can_be_replayed() {
    let given = Given::new().await;
    let prompt = prompt(20, "one piece");
    let answer = given.api.post("/v1/responses", whole(&prompt)).await;
    let response = answer.ok();
    assert_eq!(check::output_text(&response), truth(&prompt));
    assert_eq!(answer.header("x-response-id"), response["id"].as_str());
    let replayed = check_reply(&given.replay(response["id"].as_str().unwrap()).await);
    assert_eq!(replayed.response, response);
}

#[tokio::test]
async fn a_reply_that_is_not_streamed_can_be_joined_while_it_runs() {
    let given = Given::new().await;
    given.upstream.on("quiet", Manner::paced(20));
    let prompt = prompt(30, "quiet");
    let conversation = given.conversation().await;
    let mut feed = given.api.follow(&format!("/v1/conversations/{conversation}/events")).await;
    let request = with(whole(&prompt), json!({"conversation": conversation}));
    let (api, posted) = (given.api.clone(), request.clone());
    let waiting = tokio::spawn(async move { api.post("/v1/responses", posted).await.ok() });
    let id = loop {
        let frame = feed.next().await.expect("a feed goes on");
        let event: Value = serde_json::from_str(&frame.data).expect("JSON");
        if let Some(id) = event["response"]["id"].as_str() {
            break id.to_owned();
        }
    };
    let joined = check_reply(&given.replay(&id).await);
    assert_eq!(joined.text, truth(&prompt));
    assert_eq!(waiting.await.expect("no panic"), joined.response);
}

#[tokio::test]
async fn a_background_reply_is_followed_and_polled() {
    let given = Given::new().await;
    given.upstream.on("background", Manner::paced(10));
    let prompt = prompt(30, "background");
    let answer = given.api.post("/v1/responses", with(whole(&prompt), json!({"background": true}))).await.ok();
    assert!(["queued", "in_progress"].iter().any(|status| answer["status"] == *status), "{answer}");
    assert_eq!(answer["background"], true);
    let id = answer["id"].as_str().expect("an id");
    let events = given.replay(id).await;
    assert_eq!(events[1].kind, "response.queued");
    assert_eq!(check_reply(&events).text, truth(&prompt));
    let done = given.api.get(&format!("/v1/responses/{id}")).await.ok();
    assert_eq!(done, check_reply(&events).response, "what a client saw completed is so for everyone");
}

#[tokio::test]
async fn a_background_reply_can_be_streamed_from_the_start() {
    let given = Given::new().await;
    let prompt = prompt(15, "background streams");
    let reply = given.reply(with(streamed(&prompt), json!({"background": true}))).await;
    assert_eq!(reply.text, truth(&prompt));
}

#[tokio::test]
async fn a_background_reply_goes_on_after_a_kill_without_anyone_asking() {
    let given = Given::new().await;
    given.upstream.on("alone", Manner::paced(20));
    let prompt = prompt(30, "alone");
    let answer = given.api.post("/v1/responses", with(whole(&prompt), json!({"background": true}))).await.ok();
    let id = answer["id"].as_str().expect("an id").to_owned();
    let mut stream = given.api.follow(&format!("/v1/responses/{id}?stream=true")).await;
    stream.read_words(3).await;
    let given = given.restarted().await;
    until("the upstream to be asked to go on", async || (given.upstream.heard("alone").len() > 1).then_some(())).await;
    let path = format!("/v1/responses/{id}");
    let done = given.server.poll(&path, |answer| answer.json()["status"] == "completed").await.json();
    assert_eq!(check::output_text(&done), truth(&prompt));
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_stop_a_reply() {
    let given = Given::new().await;
    given.upstream.on("leaving", Manner::paced(10));
    let prompt = prompt(30, "leaving");
    let mut stream = given.api.stream(streamed(&prompt)).await;
    let id = stream.response_id();
    stream.read_words(2).await;
    drop(stream);
    assert_eq!(check_reply(&given.replay(&id).await).text, truth(&prompt));
    assert_eq!(given.upstream.heard("leaving").len(), 1);
}

#[tokio::test]
async fn a_reply_that_is_not_stored_stops_with_its_client_and_cannot_be_rejoined() {
    let given = Given::new().await;
    given.upstream.on("fleeting", Manner::paced(50));
    let mut stream = given.api.stream(with(streamed(&prompt(200, "fleeting")), json!({"store": false}))).await;
    let events = stream.read_words(2).await;
    let id = events[0].body["response"]["id"].as_str().expect("an id").to_owned();
    given.api.get(&format!("/v1/responses/{id}")).await.unknown("response_id");
    drop(stream);
    until("the upstream to be left", async || {
        (given.upstream.heard_once("fleeting").fate == Fate::HungUp).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_event_source_gets_numbers_as_ids_and_comes_back_with_the_last_one() {
    let given = Given::new().await;
    let events = given.events(streamed(&prompt(20, "sources"))).await;
    let id = check_reply(&events).id;
    let path = format!("/v1/responses/{id}/events");
    let collected = given.api.follow(&path).await.collect().await;
    assert!(collected.retry.is_some(), "`retry:` is set");
    assert_eq!(collected.headers["content-type"], "text/event-stream; charset=utf-8");
    let sourced = collected.into_source_events();
    assert_eq!(sourced.iter().map(|(_, event)| &event.body).collect::<Vec<_>>(), bodies(&events));
    for (id, event) in &sourced {
        assert_eq!(*id, event.number.to_string());
    }
    let half = events.len() / 2;
    let api = given.api.clone().header("last-event-id", &half.to_string());
    let later = api.follow(&path).await.collect().await;
    let later: Vec<_> = later.into_source_events().into_iter().map(|(_, event)| event).collect();
    assert_eq!(bodies(&later), bodies(&events[half + 1..]));
}

#[tokio::test]
async fn an_event_source_that_has_seen_a_finished_reply_whole_is_told_to_stop() {
    let given = Given::new().await;
    let events = given.events(streamed(&prompt(5, "the whole"))).await;
    let id = check_reply(&events).id;
    let last = (events.len() - 1).to_string();
    let answer = given.api.clone().header("last-event-id", &last).get(&format!("/v1/responses/{id}/events")).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
}

#[tokio::test]
async fn a_conversation_is_followed_over_its_replies_with_ids_that_rejoin_anywhere() {
    let given = Given::new().await;
    let conversation = given.conversation().await;
    let path = format!("/v1/conversations/{conversation}/events");
    let mut feed = given.api.follow(&path).await;
    let mut texts = Vec::new();
    for number in 0..3 {
        let request = with(streamed(&prompt(8, &format!("turn {number}"))), json!({"conversation": conversation}));
        texts.push(given.reply(request).await.text);
    }
    let mut frames = Vec::new();
    while frames.iter().filter(|frame: &&sse::Frame| frame.data.contains("\"response.completed\"")).count() < 3 {
        frames.push(feed.next().await.expect("a feed goes on"));
    }
    let position = |frame: &sse::Frame| {
        let id = frame.id.as_deref().expect("an id");
        let (ordinal, number) = id.split_once('.').unwrap_or_else(|| panic!("{id} is <ordinal>.<sequence_number>"));
        (ordinal.parse::<u64>().expect("a number"), number.parse::<u64>().expect("a number"))
    };
    // What a reply was asked is announced before it, without an id of its own.
    let (announced, frames): (Vec<_>, Vec<_>) = frames.into_iter().partition(|frame| frame.id.is_none());
    for (turn, frame) in announced.iter().enumerate() {
        assert!(frame.data.contains("conversation.items.added"), "{frame:?}");
        assert!(frame.data.contains(&format!("turn {turn}")), "{frame:?}");
    }
    assert_eq!(announced.len(), 3);
    assert!(frames.windows(2).all(|pair| position(&pair[0]) < position(&pair[1])), "{frames:#?}");
    let of_replies: Vec<_> = frames.iter().map(as_event).collect();
    assert_eq!(text_of(&of_replies), texts.concat());
    assert_eq!(of_replies.iter().filter(|event| event.number == 0).count(), 3, "each reply from its first event on");

    for (place, seen) in frames.iter().enumerate() {
        let mut later = given.api.clone().header("last-event-id", seen.id.as_ref().unwrap()).follow(&path).await;
        for expected in &frames[place + 1..] {
            let frame = loop {
                let frame = later.next().await.expect("a feed goes on");
                if frame.id.is_some() {
                    break frame;
                }
            };
            assert_eq!((&frame.id, &frame.data), (&expected.id, &expected.data), "after {:?}", seen.id);
        }
    }
}

#[tokio::test]
async fn what_changed_in_a_conversation_while_its_follower_was_away_is_told_when_it_comes_back() {
    let given = Given::new().await;
    let conversation = given.conversation().await;
    let path = format!("/v1/conversations/{conversation}");
    given.reply(with(streamed("first turn"), json!({"conversation": conversation}))).await;
    let mut feed = given.api.clone().header("last-event-id", "0.0").follow(&format!("{path}/events")).await;
    let mut last = None;
    loop {
        let frame = feed.next().await.expect("a feed goes on");
        last = frame.id.or(last);
        if frame.data.contains("response.completed") {
            break;
        }
    }
    drop(feed);
    let item = json!({"items": [{"role": "user", "content": "said elsewhere"}]});
    given.api.post(&format!("{path}/items"), item).await.ok();
    given.api.post(&path, json!({"metadata": {"topic": "trees"}})).await.ok();
    let api = given.api.clone().header("last-event-id", &last.expect("an id"));
    let mut feed = api.follow(&format!("{path}/events")).await;
    assert!(feed.next().await.expect("a feed goes on").data.contains("said elsewhere"));
    assert!(feed.next().await.expect("a feed goes on").data.contains("trees"));
}

/// What comes next is new to whoever names a number that is not there yet, be it the largest that there is.
#[tokio::test]
async fn a_place_past_every_event_of_a_conversation_is_its_end() {
    let given = Given::new().await;
    let conversation = given.conversation().await;
    let path = format!("/v1/conversations/{conversation}");
    given.reply(with(streamed("first turn"), json!({"conversation": conversation}))).await;
    for place in ["2.18446744073709551615", "2.1000", "18446744073709551615.18446744073709551615"] {
        let api = given.api.clone().header("last-event-id", place);
        let mut feed = api.follow(&format!("{path}/events")).await;
        given.api.post(&path, json!({"metadata": {"topic": place}})).await.ok();
        let next = loop {
            let frame = feed.next().await.expect("a feed goes on");
            if !frame.data.is_empty() {
                break frame;
            }
        };
        assert!(next.data.contains("conversation.updated"), "{place}: {next:?}");
    }
    given.upstream.on("slow", upstream::Manner::paced(5));
    let mut posted = given.api.stream(with(streamed(&prompt(40, "slow")), json!({"conversation": conversation}))).await;
    posted.read_words(3).await;
    let ordinal = 2 + 1 + 3 + 1;
    let api = given.api.clone().header("last-event-id", &format!("{ordinal}.18446744073709551615"));
    let mut feed = api.follow(&format!("{path}/events")).await;
    while !feed.next().await.expect("a feed goes on").data.contains("response.completed") {}
}

#[tokio::test]
async fn ndjson_is_the_same_events_a_line_each() {
    let given = Given::new().await;
    let events = given.events(streamed(&prompt(10, "lines"))).await;
    let id = check_reply(&events).id;
    let api = given.api.clone().header("accept", "application/x-ndjson");
    let answer = api.get(&format!("/v1/responses/{id}?stream=true&starting_after=3")).await;
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/x-ndjson")));
    let lines: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.iter().collect::<Vec<_>>(), bodies(&events[4..]));
    let posted = api.post("/v1/responses", streamed(&prompt(4, "posted lines"))).await;
    assert!(posted.text().lines().last().is_some_and(|line| line.contains("response.completed")));
}

#[tokio::test]
async fn plain_text_is_the_bare_text_and_streamed_without_being_asked() {
    let given = Given::new().await;
    given.upstream.on("bare", Manner::paced(10));
    let prompt = prompt(20, "bare text");
    let api = given.api.clone().header("accept", "text/plain");
    let mut body = api.try_open(Method::POST, "/v1/responses", whole(&prompt).to_string()).await.expect("a body");
    assert!(body.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    let id = body.response_id();
    let mut pieces = Vec::new();
    let end = loop {
        match body.chunk().await {
            Ok(piece) => pieces.push(piece),
            Err(end) => break end,
        }
    };
    assert_eq!(end, End::Clean);
    assert!(pieces.len() > 3, "it is streamed: {pieces:?}");
    assert_eq!(String::from_utf8(pieces.concat()).expect("UTF-8").trim_end(), truth(&prompt));
    let again = api.get(&format!("/v1/responses/{id}?stream=true")).await;
    assert_eq!(again.text().trim_end(), truth(&prompt));
}

#[tokio::test]
async fn a_failure_of_plain_text_breaks_the_body_off() {
    let given = Given::with(|config| config.env("LLM_CONTINUATION", "off")).await;
    given.upstream.on("broken text", Manner::polite().breaking(5, upstream::Break::Reset));
    let api = given.api.clone().header("accept", "text/plain");
    let request = whole(&prompt(20, "broken text")).to_string();
    let mut body = api.try_open(Method::POST, "/v1/responses", request).await.expect("a body");
    let (mut said, mut end) = (Vec::new(), None);
    while end.is_none() {
        match body.chunk().await {
            Ok(piece) => said.extend(piece),
            Err(ended) => end = Some(ended),
        }
    }
    assert!(matches!(end, Some(End::Cut(_))), "{end:?}");
    let said = String::from_utf8(said).expect("UTF-8");
    assert!(!said.is_empty() && truth(&prompt(20, "broken text")).starts_with(&said), "what was said came: {said}");
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive_by_comments() {
    let given = Given::with(|config| config.env("HEARTBEAT", "100ms")).await;
    let behaviour = Manner::polite().breaking(3, upstream::Break::Silent);
    given.upstream.on("silent", behaviour);
    let mut stream = given.api.stream(streamed(&prompt(5, "silent"))).await;
    let mut events = stream.read_words(3).await;
    let before = stream.parser.comments;
    while stream.parser.comments < before + 3 {
        let bytes = stream.chunk().await.expect("the stream goes on");
        stream.parser.feed(&bytes);
    }
    let id = stream.response_id();
    given.api.post(&format!("/v1/responses/{id}/cancel"), json!({})).await.ok();
    events.extend(stream.collect().await.into_events());
    assert_eq!(check_reply(&events).status, "cancelled");
}

#[tokio::test]
async fn a_server_told_to_stop_hands_a_running_reply_to_its_successor() {
    let mut given = Given::with(|config| config.env("DRAIN_TIMEOUT", "3s")).await;
    given.upstream.on("handed", Manner::paced(100));
    let prompt = prompt(60, "handed over");
    let mut stream = given.api.stream(streamed(&prompt)).await;
    let id = stream.response_id();
    let events = stream.read_words(3).await;
    given.server.terminate();
    let status = given.server.wait().await;
    assert!(status.success(), "{status}");
    assert!(matches!(stream.collect().await.end, End::Cut(_)), "a stream that is not over does not end cleanly");
    given.upstream.on("handed", Manner::polite());
    let given = given.restarted().await;
    let events = follow(&given.api, &id, Place::Responses, events).await;
    check_numbers(&events, 0);
    assert_eq!(check_reply(&events).text, truth(&prompt));
}
