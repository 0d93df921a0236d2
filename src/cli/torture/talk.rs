//! A client: sends a message, and as soon as the reply has ended the next; asks twice, stops, and deletes.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use parking_lot::Mutex;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::checker::{Fate, Fault};
use super::cluster::{Cluster, Reply, Thread, count};
use super::follow::Client;
use super::plan::{Again, Follower, Talker, Turn};
use super::truth::hash;
use crate::cli::server::{Error, Server};

/// How long the head of an answer may take.
const HEAD: Duration = Duration::from_secs(8);

/// A request for a reply.
#[derive(Clone)]
struct Request {
    body: Arc<Value>,
    key: String,
}

/// Sends all messages.
pub(super) async fn talk(cluster: Arc<Cluster>, talker: Talker) {
    tokio::time::sleep_until((cluster.begun + talker.begins).into()).await;
    let mut thread = Thread { conversation: None, last: None, before: Vec::new() };
    if talker.in_conversation {
        let mut random = Rng::with_seed(talker.turns[0].seed);
        let made = insist(&cluster, &mut random, "making a conversation", |server: Server| async move {
            server.create_conversation().await
        });
        let Some(Some(conversation)) = made.await else { return };
        thread.conversation = Some(conversation);
    }
    for turn in &talker.turns {
        if !send(&cluster, &mut thread, turn).await {
            break;
        }
    }
    cluster.threads.lock().push(thread);
}

/// Sends one message, and waits until its reply has ended. `false`: it has not.
async fn send(cluster: &Arc<Cluster>, thread: &mut Thread, turn: &Turn) -> bool {
    let request = Request::new(cluster, thread, turn);
    let again = |request: &Request| {
        let (cluster, request, mut random) = (Arc::clone(cluster), request.clone(), Rng::with_seed(turn.seed ^ 1));
        async move { post(&cluster, &request, &mut random, None).await }
    };
    let second = (turn.again == Some(Again::AtOnce)).then(|| cluster.tasks.spawn(again(&request)));
    let mut random = Rng::with_seed(turn.seed);
    let Some((response, instance)) = post(cluster, &request, &mut random, Some(turn.instance)).await else {
        return false;
    };
    let reply = accepted(cluster, thread, turn, &response);
    if let Some(second) = second {
        cluster.tasks.spawn(meet(Arc::clone(cluster), Arc::clone(&reply), async move { second.await.ok().flatten() }));
    } else if turn.again == Some(Again::Later) {
        let (later, second) = (Arc::clone(&reply), again(&request));
        let second = async move {
            later.reached(4).await;
            second.await
        };
        cluster.tasks.spawn(meet(Arc::clone(cluster), Arc::clone(&reply), second));
    }
    for (number, follower) in turn.followers.iter().enumerate() {
        let (world_, reply, follower) = (Arc::clone(cluster), Arc::clone(&reply), *follower);
        cluster.tasks.spawn(async move {
            tokio::time::sleep(follower.joins_after).await;
            Client::new(&world_, &reply, format!("follower {number}"), follower).follow(None).await;
        });
    }
    let stopping = cluster.tasks.spawn(stop(Arc::clone(cluster), Arc::clone(&reply), turn.clone()));
    let poster =
        Follower { seed: turn.seed ^ 2, is_browser: false, stays: true, joins_after: Duration::ZERO, avoids: None };
    Client::new(cluster, &reply, "the client that asked".to_owned(), poster).follow(Some((response, instance))).await;
    // Tasks that wait for more events are released.
    reply.seen(usize::MAX);
    if turn.fate == Fate::Deleted {
        let _ = stopping.await;
    } else {
        thread.last = Some(reply.id.clone());
        thread.before.push(turn.prompt.clone());
    }
    !cluster.is_over()
}

impl Request {
    fn new(cluster: &Cluster, thread: &Thread, turn: &Turn) -> Self {
        let model = cluster.model.as_deref().unwrap_or(turn.model);
        let mut body = json!({"model": model, "input": turn.prompt, "stream": true});
        match (&thread.conversation, &thread.last) {
            (Some(conversation), _) => body["conversation"] = conversation.as_str().into(),
            (None, Some(last)) => body["previous_response_id"] = last.as_str().into(),
            (None, None) => {}
        }
        Self { body: Arc::new(body), key: format!("torture-{:x}-{:x}", cluster.nonce, hash(&turn.prompt)) }
    }
}

/// Registers a reply that was accepted with this answer.
fn accepted(cluster: &Cluster, thread: &Thread, turn: &Turn, response: &Response) -> Arc<Reply> {
    count(&cluster.counts.replies);
    let reply = Arc::new(Reply {
        id: id_of(response),
        prompt: turn.prompt.clone(),
        truth: (cluster.truth)(&turn.prompt),
        fate: turn.fate,
        before: thread.before.clone(),
        followings: Mutex::default(),
        progress: watch::Sender::new(0),
    });
    cluster.replies.lock().push(Arc::clone(&reply));
    reply
}

fn id_of(response: &Response) -> String {
    let id = response.headers().get("x-response-id").and_then(|id| id.to_str().ok());
    id.unwrap_or("(no x-response-id)").to_owned()
}

/// Asks for a reply until some instance has accepted it; always under the same key.
async fn post(
    cluster: &Cluster,
    request: &Request,
    random: &mut Rng,
    instance: Option<usize>,
) -> Option<(Response, usize)> {
    let servers = &cluster.deployment.servers;
    // A second request may come after a deletion.
    let may_be_gone = instance.is_none();
    let mut instance = instance.unwrap_or_else(|| random.usize(..servers.len()));
    let mut reported = false;
    while !cluster.is_over() {
        match tokio::time::timeout(HEAD, servers[instance].send_message(&request.body, &request.key)).await {
            Ok(Ok(response)) => return Some((response, instance)),
            Ok(Err(Error::Refused { status: StatusCode::NOT_FOUND, .. })) if may_be_gone => return None,
            // The turn before has ended: there is nothing to wait for, even if its conversation is reported as busy.
            Ok(Err(error)) if !error.may_pass() => {
                if !std::mem::replace(&mut reported, true) {
                    let why = format!("instance {instance}: {error}");
                    cluster.find(&request.key, "the client that asked", Fault::Refused { doing: "asking", why });
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok(Err(_)) | Err(_) => count(&cluster.counts.unavailable),
        }
        tokio::time::sleep(Duration::from_millis(random.u64(20..250))).await;
        instance = random.usize(..servers.len());
    }
    cluster.find(&request.key, "the client that asked", Fault::Stuck { events: 0 });
    None
}

/// A second request under the same key gets the same reply.
async fn meet(cluster: Arc<Cluster>, reply: Arc<Reply>, second: impl Future<Output = Option<(Response, usize)>>) {
    let Some((response, instance)) = second.await else { return };
    count(&cluster.counts.retries);
    let id = id_of(&response);
    let source = "the client that asked again";
    if id != reply.id {
        return cluster.find(&reply.id, source, Fault::TwoIds { first: reply.id.clone(), second: id });
    }
    let follower =
        Follower { seed: hash(&id), is_browser: false, stays: false, joins_after: Duration::ZERO, avoids: None };
    Client::new(&cluster, &reply, source.to_owned(), follower).follow(Some((response, instance))).await;
}

/// Stops or deletes a reply when it is time for that.
async fn stop(cluster: Arc<Cluster>, reply: Arc<Reply>, turn: Turn) {
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
        if insist(&cluster, &mut random, "cancelling", cancel).await.is_some() {
            count(&cluster.counts.cancels);
        }
        return;
    }
    let mut tried = false;
    let delete = |server: Server| {
        let (id, again) = (id.clone(), std::mem::replace(&mut tried, true));
        async move {
            match server.delete(&id).await {
                // The try before deleted it, although its answer was lost.
                Err(Error::Refused { status: StatusCode::NOT_FOUND, .. }) if again => Ok(()),
                result => result,
            }
        }
    };
    if insist(&cluster, &mut random, "deleting", delete).await.is_some() {
        count(&cluster.counts.deletions);
    }
}

/// Does something on some instance, and on another one, until one has done it.
async fn insist<T, F: Future<Output = Result<T, Error>>>(
    cluster: &Cluster,
    random: &mut Rng,
    doing: &'static str,
    mut what: impl FnMut(Server) -> F,
) -> Option<T> {
    while !cluster.is_over() {
        let instance = random.usize(..cluster.deployment.servers.len());
        match what(cluster.deployment.servers[instance].clone()).await {
            Ok(done) => return Some(done),
            Err(error) if error.may_pass() => count(&cluster.counts.unavailable),
            Err(error) => {
                let why = format!("instance {instance}: {error}");
                cluster.find("", doing, Fault::Refused { doing, why });
                return None;
            }
        }
        tokio::time::sleep(Duration::from_millis(random.u64(20..250))).await;
    }
    cluster.find("", doing, Fault::Stuck { events: 0 });
    None
}
