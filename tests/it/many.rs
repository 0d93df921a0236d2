//! Several instances on one NATS server are one server, also while instances and NATS come and go.
//!
//! Each test has a NATS server and instances of its own.

mod anywhere;
mod away;
mod clustered;
#[cfg(feature = "crash-points")]
mod crashes;
mod expired;
mod frozen;
mod full;
mod stopping;
mod stored;
mod takeover;

use std::time::Duration;

use hyper::Method;

use crate::support::{
    Api, Event, Events, Value,
    follower::{Place, follow_anywhere, read_on},
    wait::Patience,
};

/// A client that reads what it has open to its end, and then comes back anywhere until the reply is over.
fn go_on(mut open: Events, mut seen: Vec<Event>, apis: Vec<Api>) -> tokio::task::JoinHandle<Vec<Event>> {
    let id = open.response_id();
    tokio::spawn(async move {
        read_on(&mut open, Place::Responses, &mut seen).await;
        follow_anywhere(&apis, &id, Place::Responses, seen).await
    })
}

/// A client that follows a reply from its first event on.
fn followed(api: Api, id: &str, place: Place) -> tokio::task::JoinHandle<Vec<Event>> {
    let id = id.to_owned();
    tokio::spawn(async move { follow_anywhere(&[api], &id, place, Vec::new()).await })
}

/// POSTs on one instance after another until it is accepted, under one key: it is said once.
async fn post_anywhere(apis: &[Api], request: &Value, key: &str) -> Events {
    let mut patience = Patience::with("the reply to be accepted");
    for api in apis.iter().cycle() {
        patience.wait().await;
        let api = api.clone().header("idempotency-key", key);
        let Ok(posted) = api.try_open(Method::POST, "/v1/responses", request.to_string()).await else { continue };
        if posted.status != 503 {
            assert_eq!(posted.status, 200, "{request}");
            return posted;
        }
    }
    unreachable!("it goes round")
}

/// The longest pause between two events that a client got.
fn longest_pause(events: &[Event]) -> Duration {
    let pauses = events.windows(2).map(|pair| pair[1].at - pair[0].at);
    pauses.max().expect("more than one event")
}
