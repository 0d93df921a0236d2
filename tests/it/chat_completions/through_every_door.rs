//! A reply that was begun at one door goes on at the other, at every event, also after a kill: the text is the same to
//! the byte, and nothing is generated twice.

use super::*;
use crate::support::{
    chat::read_on as read_chunks,
    check::text_of,
    follower::{Place, read_on},
};

const WORDS: usize = 25;

/// The number of the last event at which a chunk client stands.
fn last_number(chunks: &[Chunk]) -> u64 {
    chunks.iter().rev().find_map(|chunk| chunk.number).expect("a number")
}

fn content(chunks: &[Chunk]) -> String {
    chunks.iter().map(Chunk::content).collect()
}

async fn events_after(api: &Api, response: &str, number: u64) -> Vec<Event> {
    let path = format!("/v1/responses/{response}?stream=true&starting_after={number}");
    api.follow(&path).await.collect().await.into_events()
}

async fn chunks_after(api: &Api, response: &str, number: u64) -> Vec<Chunk> {
    let id = response.replace("resp_", "chatcmpl-");
    ended(api.follow(&format!("{PATH}/{id}?stream=true&starting_after={number}")).await.collect().await)
}

#[tokio::test]
async fn a_completion_goes_on_as_a_response_after_each_of_its_chunks() {
    let given = Given::new().await;
    given.upstream.on("crossing", Manner::paced(8));
    let prompt = prompt(WORDS, "crossing");
    let mut stream = open(&given.api, with(streamed_chat(&prompt), json!({"store": true}))).await;
    let response = stream.response_id();
    let mut seen = Vec::new();
    let mut rests = Vec::new();
    // Each is followed while the reply runs.
    while let Ok(frame) = stream.next().await {
        if frame.data == "[DONE]" {
            break;
        }
        seen.push(Chunk::of(&frame));
        let (api, response, number) = (given.api.clone(), response.clone(), last_number(&seen));
        rests.push(tokio::spawn(async move { events_after(&api, &response, number).await }));
    }
    assert!(seen.len() > WORDS);
    for (place, rest) in rests.into_iter().enumerate() {
        let text = content(&seen[..=place]) + &text_of(&rest.await.expect("a rest"));
        assert_eq!(text, truth(&prompt), "after chunk {place}");
    }
    assert_eq!(given.upstream.heard("crossing").len(), 1);
}

#[tokio::test]
async fn a_response_goes_on_as_a_completion_after_each_of_its_events() {
    let given = Given::new().await;
    given.upstream.on("crossing", Manner::paced(8));
    let prompt = prompt(WORDS, "crossing");
    let mut stream = given.api.stream(streamed(&prompt)).await;
    let response = stream.response_id();
    let mut seen: Vec<Event> = Vec::new();
    let mut rests = Vec::new();
    while !seen.last().is_some_and(Event::is_terminal) {
        seen.extend(stream.read_until(|_| true).await);
        let (api, response, number) = (given.api.clone(), response.clone(), seen[seen.len() - 1].number);
        rests.push(tokio::spawn(async move { chunks_after(&api, &response, number).await }));
    }
    assert!(seen.len() > WORDS);
    for (place, rest) in rests.into_iter().enumerate() {
        let text = text_of(&seen[..=place]) + &content(&rest.await.expect("a rest"));
        assert_eq!(text, truth(&prompt), "after event {place}");
    }
    let whole = given.api.get(&format!("{PATH}/{response}")).await.ok();
    assert_eq!(whole["choices"][0]["message"]["content"], truth(&prompt));
}

#[tokio::test]
async fn a_reply_that_was_killed_at_one_door_goes_on_at_the_other() {
    let mut given = Given::new().await;
    for (number, manner) in Manner::all_bad().into_iter().enumerate() {
        let about = format!("cross-kill-{number}");
        given.upstream.on(&about, manner.at_pace(5));
        let prompt = prompt(40, &about);
        let words = 4 + number % 5;
        let text = if number % 2 == 0 {
            let mut stream = open(&given.api, with(streamed_chat(&prompt), json!({"store": true}))).await;
            let response = stream.response_id();
            let mut seen = read_words(&mut stream, words).await;
            given.server.kill();
            read_chunks(&mut stream, &mut seen).await;
            given = given.restarted().await;
            content(&seen) + &text_of(&events_after(&given.api, &response, last_number(&seen)).await)
        } else {
            let mut stream = given.api.stream(streamed(&prompt)).await;
            let response = stream.response_id();
            let mut seen = stream.read_words(words).await;
            given.server.kill();
            read_on(&mut stream, Place::Responses, &mut seen).await;
            given = given.restarted().await;
            let last = seen[seen.len() - 1].number;
            text_of(&seen) + &content(&chunks_after(&given.api, &response, last).await)
        };
        assert_eq!(text, truth(&prompt), "{about}");
    }
}
