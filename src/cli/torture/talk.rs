//! One who talks: says something, and as soon as the reply has ended the next; asks twice, stops, and deletes.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use parking_lot::Mutex;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::follow::Client;
use super::judge::{Fate, Fault};
use super::plan::{Again, Follower, Talker, Turn};
use super::truth::hash;
use super::world::{Reply, Thread, World, count};
use crate::cli::server::{Error, Server};

/// How long the head of an answer may take.
const HEAD: Duration = Duration::from_secs(8);

/// A request for a reply.
#[derive(Clone)]
struct Request {
    body: Arc<Value>,
    key: String,
}

/// Says all turns.
pub(super) async fn talk(world: Arc<World>, talker: Talker) {
    tokio::time::sleep_until((world.begun + talker.begins).into()).await;
    let mut thread = Thread { conversation: None, last: None, before: Vec::new() };
    if talker.in_conversation {
        let mut random = Rng::with_seed(talker.turns[0].seed);
        let made = insist(&world, &mut random, "making a conversation", |server: Server| async move {
            server.create_conversation().await
        });
        let Some(Some(conversation)) = made.await else { return };
        thread.conversation = Some(conversation);
    }
    for turn in &talker.turns {
        if !say(&world, &mut thread, turn).await {
            break;
        }
    }
    world.threads.lock().push(thread);
}

/// Says one turn, until its reply has ended. `false`: it has not.
async fn say(world: &Arc<World>, thread: &mut Thread, turn: &Turn) -> bool {
    let request = Request::new(world, thread, turn);
    let again = |request: &Request| {
        let (world, request, mut random) = (Arc::clone(world), request.clone(), Rng::with_seed(turn.seed ^ 1));
        async move { post(&world, &request, &mut random, None).await }
    };
    let second = (turn.again == Some(Again::AtOnce)).then(|| world.tasks.spawn(again(&request)));
    let mut random = Rng::with_seed(turn.seed);
    let Some((response, instance)) = post(world, &request, &mut random, Some(turn.instance)).await else {
        return false;
    };
    let reply = accepted(world, thread, turn, &response);
    if let Some(second) = second {
        world.tasks.spawn(meet(Arc::clone(world), Arc::clone(&reply), async move { second.await.ok().flatten() }));
    } else if turn.again == Some(Again::Later) {
        let (later, second) = (Arc::clone(&reply), again(&request));
        let second = async move {
            later.reached(4).await;
            second.await
        };
        world.tasks.spawn(meet(Arc::clone(world), Arc::clone(&reply), second));
    }
    for (number, follower) in turn.followers.iter().enumerate() {
        let (world_, reply, follower) = (Arc::clone(world), Arc::clone(&reply), *follower);
        world.tasks.spawn(async move {
            tokio::time::sleep(follower.joins_after).await;
            Client::new(&world_, &reply, format!("follower {number}"), follower).follow(None).await;
        });
    }
    let stopping = world.tasks.spawn(stop(Arc::clone(world), Arc::clone(&reply), turn.clone()));
    let poster =
        Follower { seed: turn.seed ^ 2, is_browser: false, stays: true, joins_after: Duration::ZERO, avoids: None };
    Client::new(world, &reply, "who asked".to_owned(), poster).follow(Some((response, instance))).await;
    // Whoever waits for so many events need not any more.
    reply.seen(usize::MAX);
    if turn.fate == Fate::Deleted {
        let _ = stopping.await;
    } else {
        thread.last = Some(reply.id.clone());
        thread.before.push(turn.prompt.clone());
    }
    !world.is_over()
}

impl Request {
    fn new(world: &World, thread: &Thread, turn: &Turn) -> Self {
        let model = world.model.as_deref().unwrap_or(turn.model);
        let mut body = json!({"model": model, "input": turn.prompt, "stream": true});
        match (&thread.conversation, &thread.last) {
            (Some(conversation), _) => body["conversation"] = conversation.as_str().into(),
            (None, Some(last)) => body["previous_response_id"] = last.as_str().into(),
            (None, None) => {}
        }
        Self { body: Arc::new(body), key: format!("torture-{:x}-{:x}", world.nonce, hash(&turn.prompt)) }
    }
}

/// A reply was accepted, says this answer.
fn accepted(world: &World, thread: &Thread, turn: &Turn, response: &Response) -> Arc<Reply> {
    count(&world.counts.replies);
    let reply = Arc::new(Reply {
        id: id_of(response),
        prompt: turn.prompt.clone(),
        truth: (world.truth)(&turn.prompt),
        fate: turn.fate,
        before: thread.before.clone(),
        followings: Mutex::default(),
        progress: watch::Sender::new(0),
    });
    world.replies.lock().push(Arc::clone(&reply));
    reply
}

fn id_of(response: &Response) -> String {
    let id = response.headers().get("x-response-id").and_then(|id| id.to_str().ok());
    id.unwrap_or("(no x-response-id)").to_owned()
}

/// Asks for a reply until some instance has accepted it; always under the same key.
async fn post(
    world: &World,
    request: &Request,
    random: &mut Rng,
    instance: Option<usize>,
) -> Option<(Response, usize)> {
    let servers = &world.site.servers;
    // Whoever asks again may come after a deletion.
    let may_be_gone = instance.is_none();
    let mut instance = instance.unwrap_or_else(|| random.usize(..servers.len()));
    let mut told = false;
    while !world.is_over() {
        match tokio::time::timeout(HEAD, servers[instance].say(&request.body, &request.key)).await {
            Ok(Ok(response)) => return Some((response, instance)),
            Ok(Err(Error::Refused { status: StatusCode::NOT_FOUND, .. })) if may_be_gone => return None,
            // The turn before has ended: there is nothing to wait for, also where its conversation is said to be busy.
            Ok(Err(error)) if !error.may_pass() => {
                if !std::mem::replace(&mut told, true) {
                    let why = format!("instance {instance}: {error}");
                    world.find(&request.key, "who asked", Fault::Refused { doing: "asking", why });
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok(Err(_)) | Err(_) => count(&world.counts.unavailable),
        }
        tokio::time::sleep(Duration::from_millis(random.u64(20..250))).await;
        instance = random.usize(..servers.len());
    }
    world.find(&request.key, "who asked", Fault::Stuck { events: 0 });
    None
}

/// One who asked for the same under the same key gets the same reply.
async fn meet(world: Arc<World>, reply: Arc<Reply>, second: impl Future<Output = Option<(Response, usize)>>) {
    let Some((response, instance)) = second.await else { return };
    count(&world.counts.retries);
    let id = id_of(&response);
    let who = "who asked again";
    if id != reply.id {
        return world.find(&reply.id, who, Fault::TwoIds { first: reply.id.clone(), second: id });
    }
    let follower =
        Follower { seed: hash(&id), is_browser: false, stays: false, joins_after: Duration::ZERO, avoids: None };
    Client::new(&world, &reply, who.to_owned(), follower).follow(Some((response, instance))).await;
}

/// Stops or deletes a reply when it is time for that.
async fn stop(world: Arc<World>, reply: Arc<Reply>, turn: Turn) {
    let mut random = Rng::with_seed(turn.seed ^ 3);
    if turn.fate == Fate::Whole {
        return;
    }
    reply.reached(turn.after_events).await;
    let id = reply.id.clone();
    if turn.fate == Fate::Cancelled {
        let cancel = |server: Server| {
            let id = id.clone();
            async move { server.cancel(&id).await }
        };
        if insist(&world, &mut random, "cancelling", cancel).await.is_some() {
            count(&world.counts.cancels);
        }
        return;
    }
    let mut tried = false;
    let delete = |server: Server| {
        let (id, again) = (id.clone(), std::mem::replace(&mut tried, true));
        async move {
            match server.delete(&id).await {
                // The time before, though nobody said so.
                Err(Error::Refused { status: StatusCode::NOT_FOUND, .. }) if again => Ok(()),
                result => result,
            }
        }
    };
    if insist(&world, &mut random, "deleting", delete).await.is_some() {
        count(&world.counts.deletions);
    }
}

/// Does something on some instance, and on another one, until one has done it.
async fn insist<T, F: Future<Output = Result<T, Error>>>(
    world: &World,
    random: &mut Rng,
    doing: &'static str,
    mut what: impl FnMut(Server) -> F,
) -> Option<T> {
    while !world.is_over() {
        let instance = random.usize(..world.site.servers.len());
        match what(world.site.servers[instance].clone()).await {
            Ok(done) => return Some(done),
            Err(error) if error.may_pass() => count(&world.counts.unavailable),
            Err(error) => {
                let why = format!("instance {instance}: {error}");
                world.find("", doing, Fault::Refused { doing, why });
                return None;
            }
        }
        tokio::time::sleep(Duration::from_millis(random.u64(20..250))).await;
    }
    world.find("", doing, Fault::Stuck { events: 0 });
    None
}
