//! A client that does not give up: it follows a reply over any number of cuts, each time from where it left off.

use hyper::Method;

use super::{
    check::check_numbers,
    http::Api,
    sse::{End, Event, Events, as_event, as_named_event},
    wait::{Patience, soon},
};

/// Where a follower listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// `GET /v1/responses/{id}?stream=true&starting_after=N`
    Responses,
    /// `GET /v1/responses/{id}/events` with `Last-Event-ID`, as a browser's `EventSource`.
    EventSource,
}

/// Follows the reply `id` to its end, over restarts of the server, and returns all its events.
///
/// `seen` is what the follower had already.
pub async fn follow(api: &Api, id: &str, place: Place, seen: Vec<Event>) -> Vec<Event> {
    follow_anywhere(std::slice::from_ref(api), id, place, seen).await
}

/// As [`follow`], each time on the next of several instances.
pub async fn follow_anywhere(apis: &[Api], id: &str, place: Place, mut seen: Vec<Event>) -> Vec<Event> {
    let mut patience = Patience::with("the end of a reply");
    let mut next = apis.iter().cycle();
    while !seen.last().is_some_and(Event::is_terminal) {
        patience.wait().await;
        let mut events = reopen(&mut next, id, place, seen.last().map(|event| event.number)).await;
        let before = seen.len();
        read_on(&mut events, place, &mut seen).await;
        check_numbers(&seen[before..], before as u64);
    }
    seen
}

/// Reads until the stream ends or breaks, or the reply is over.
pub async fn read_on(events: &mut Events, place: Place, seen: &mut Vec<Event>) {
    loop {
        match events.next().await {
            Ok(frame) if frame.data == "[DONE]" => {
                assert!(seen.last().is_some_and(Event::is_terminal), "[DONE] before the end");
                return;
            }
            Ok(frame) if place == Place::EventSource => {
                seen.push(as_event(&frame));
                if seen.last().is_some_and(Event::is_terminal) {
                    return;
                }
            }
            Ok(frame) => seen.push(as_named_event(&frame)),
            Err(End::Clean) if place == Place::Responses => {
                panic!("a clean end without [DONE] looks like success: {seen:#?}")
            }
            Err(_) => return,
        }
    }
}

async fn reopen<'a>(apis: &mut impl Iterator<Item = &'a Api>, id: &str, place: Place, last: Option<u64>) -> Events {
    let after = last.map_or_else(String::new, |last| format!("&starting_after={last}"));
    let path = match place {
        Place::Responses => format!("/v1/responses/{id}?stream=true{after}"),
        Place::EventSource => format!("/v1/responses/{id}/events"),
    };
    let mut patience = Patience::with("the server to be there again");
    loop {
        patience.wait().await;
        let mut api = apis.next().expect("an instance").clone();
        if let (Place::EventSource, Some(last)) = (place, last) {
            api = api.header("last-event-id", &last.to_string());
        }
        let Ok(events) = soon(&path, api.try_open(Method::GET, &path, String::new())).await else { continue };
        // 503 is an invitation to come again; everything else is a lost reply.
        if events.status != 503 {
            assert_eq!(events.status, 200, "GET {path}");
            return events;
        }
    }
}
