//! After the run: everything is replayed on every instance, and compared with what clients saw, with the model's
//! output, and with what the store holds.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use reqwest::StatusCode;
use serde_json::json;

use super::checker::{Fate, Fault, Seen, checker, compare, ending, text};
use super::cluster::{Cluster, Reply, Thread};
use super::follow::read_whole;
use super::script::PREFILLED;
use super::store::{self, Rows};
use super::truth::{prompt, truth};
use crate::cli::event::{Ending, Happened, of_response};
use crate::cli::server::{Error, Server, read_json};

/// Replies that are looked at at once.
const AT_ONCE: usize = 8;

/// How long one question may take, with all its repetitions.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long the store may lag behind.
const LAG: Duration = Duration::from_secs(30);

/// Looks at everything.
pub(super) async fn look(cluster: &Arc<Cluster>) {
    let replies = cluster.replies.lock().clone();
    let judged = stream::iter(&replies).map(async |reply| (reply, reply_verdict(cluster, reply).await));
    let judged: Vec<_> = judged.buffer_unordered(AT_ONCE).collect().await;
    let threads = cluster.threads.lock().clone();
    let goes_on = threads.iter().enumerate().map(|(number, thread)| goes_on(cluster, number, thread));
    let () = stream::iter(goes_on).buffer_unordered(AT_ONCE).collect().await;
    if let Some(upstream) = &cluster.deployment.upstream {
        for nonsense in upstream.nonsense() {
            cluster.find("", "the model", Fault::Refused { doing: "a call of the model", why: nonsense });
        }
    }
    if let Some(store) = &cluster.deployment.store {
        let rows = stored(store, &replies).await;
        for (reply, events) in judged {
            let (ending, text) = (ending(&events).cloned(), text(&events));
            found(cluster, reply, "the store", store::checker(&rows, reply, ending.as_ref(), &text));
        }
        unknown(cluster, &rows, &replies);
    }
}

fn found(cluster: &Cluster, reply: &Reply, source: &str, faults: Vec<Fault>) {
    for fault in faults {
        cluster.find(&reply.id, source, fault);
    }
}

/// Judges a reply by all that can be seen of it; returns its events.
async fn reply_verdict(cluster: &Cluster, reply: &Reply) -> Vec<Seen> {
    let truth = reply.truth.as_deref();
    for following in &*reply.followings.lock() {
        found(cluster, reply, &following.source, checker(&following.seen, truth, reply.fate));
    }
    context(cluster, reply);
    let mut first: Option<Vec<Seen>> = None;
    for (instance, server) in cluster.deployment.servers.iter().enumerate() {
        let events = match again(async || replay(server, &reply.id, instance).await).await {
            Ok(events) => events,
            Err(Error::Refused { status: StatusCode::NOT_FOUND, .. }) if reply.fate == Fate::Deleted => continue,
            Err(error) => {
                found(
                    cluster,
                    reply,
                    "at the end",
                    vec![Fault::Refused { doing: "replaying", why: error.to_string() }],
                );
                continue;
            }
        };
        if reply.fate == Fate::Deleted {
            found(cluster, reply, "at the end", vec![Fault::Differs { instance, how: "it was deleted".to_owned() }]);
            continue;
        }
        whole(cluster, reply, instance, server, &events).await;
        if let Some(first) = &first {
            let same = compare(first, &events).is_empty() && first.len() == events.len();
            let how = || format!("{} events, and {} on instance 0", events.len(), first.len());
            let faults = if same { Vec::new() } else { vec![Fault::Differs { instance, how: how() }] };
            found(cluster, reply, "at the end", faults);
        } else {
            found(cluster, reply, "at the end", checker(&events, truth, reply.fate));
            for following in &*reply.followings.lock() {
                found(cluster, reply, &following.source, compare(&following.seen, &events));
            }
            first = Some(events);
        }
    }
    first.unwrap_or_default()
}

/// The events of a reply that has to be over.
async fn replay(server: &Server, id: &str, instance: usize) -> Result<Vec<Seen>, Error> {
    let (events, is_done) = read_whole(server.rejoin(id, None).await?, instance).await?;
    if is_done { Ok(events) } else { Err(Error::EndedEarly) }
}

/// A reply's events have an end, and its response matches them.
async fn whole(cluster: &Cluster, reply: &Reply, instance: usize, server: &Server, events: &[Seen]) {
    let Some(end) = ending(events) else {
        return found(cluster, reply, "at the end", vec![Fault::Stuck { events: events.len() }]);
    };
    let response = match again(async || server.response(&reply.id).await).await {
        Ok(response) => response,
        Err(error) => {
            let fault = Fault::Refused { doing: "reading it", why: error.to_string() };
            return found(cluster, reply, "at the end", vec![fault]);
        }
    };
    let happened = of_response(&response);
    let output: String = happened.iter().filter_map(text_in).collect();
    if happened.last() != Some(&Happened::Ended(end.clone())) || output != text(events) {
        let how = format!("its response is {}, with {} bytes of text", response["status"], output.len());
        found(cluster, reply, "at the end", vec![Fault::Differs { instance, how }]);
    }
}

fn text_in(happened: &Happened) -> Option<&str> {
    if let Happened::Text(text) = happened { Some(text) } else { None }
}

/// The model was always shown the turns that there were.
fn context(cluster: &Cluster, reply: &Reply) {
    let Some(upstream) = &cluster.deployment.upstream else { return };
    for shown in upstream.heard(&reply.prompt).before {
        if shown != reply.before {
            let expected = reply.before.clone();
            found(cluster, reply, "the model", vec![Fault::Context { shown, expected }]);
        }
    }
}

/// A further turn works: no lock was left.
async fn goes_on(cluster: &Cluster, number: usize, thread: &Thread) {
    let prompt = prompt(2, &format!("the end {number}"));
    let mut body = json!({"model": cluster.model.as_deref().unwrap_or(PREFILLED), "input": prompt});
    let (field, id) = match (&thread.conversation, &thread.last) {
        (Some(conversation), _) => ("conversation", conversation),
        (None, Some(last)) => ("previous_response_id", last),
        (None, None) => return,
    };
    body[field] = id.as_str().into();
    let server = &cluster.deployment.servers[number % cluster.deployment.servers.len()];
    let key = format!("torture-{:x}-end-{number}", cluster.nonce);
    let answer = again(async || read_json(server.send_message(&body, &key).await?).await).await;
    let fault = match answer {
        Err(error) => Fault::Refused { doing: "a further turn", why: error.to_string() },
        Ok(response) => {
            let happened = of_response(&response);
            let output: String = happened.iter().filter_map(text_in).collect();
            let expected = (cluster.truth)(&prompt).unwrap_or_else(|| output.clone());
            if happened.last() == Some(&Happened::Ended(Ending::Complete)) && output == expected {
                return;
            }
            Fault::Text { text: output, expected: truth(&prompt) }
        }
    };
    cluster.find(id, "at the end", fault);
}

/// Asks again while the server answers that it is temporary.
async fn again<T>(ask: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
    let until = tokio::time::Instant::now() + TIMEOUT;
    loop {
        match tokio::time::timeout_at(until, ask()).await {
            Ok(Err(error)) if error.may_pass() && tokio::time::Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Ok(result) => return result,
            Err(_) => return Err(Error::EndedEarly),
        }
    }
}

/// The store's rows, once everything has arrived, or should have.
async fn stored(store: &super::deployment::Store, replies: &[Arc<Reply>]) -> Rows {
    let begun = tokio::time::Instant::now();
    let mut rows = Rows::default();
    while begun.elapsed() < LAG {
        if let Ok(read) = store::read(store).await {
            rows = read;
            if store::is_complete(&rows, replies.iter().map(AsRef::as_ref)) {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    rows
}

/// Replies that are stored and that no client knows of.
fn unknown(cluster: &Cluster, rows: &Rows, replies: &[Arc<Reply>]) {
    for row in &rows.replies {
        let is_known = replies.iter().any(|reply| reply.id == row.id);
        if !is_known && !row.accepted.contains("words about the end ") {
            let how = format!("no client knows this reply; it is {}", row.status);
            cluster.find(&row.id, "the store", Fault::Stored { how });
        }
    }
}
