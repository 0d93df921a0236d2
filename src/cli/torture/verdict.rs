//! After the run: everything is told again, on every instance, and compared with what clients saw, with what the model
//! says, and with what the store holds.

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
const PATIENCE: Duration = Duration::from_secs(30);

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
        for (reply, told) in judged {
            let (ending, text) = (ending(&told).cloned(), text(&told));
            found(cluster, reply, "the store", store::checker(&rows, reply, ending.as_ref(), &text));
        }
        unknown(cluster, &rows, &replies);
    }
}

fn found(cluster: &Cluster, reply: &Reply, who: &str, faults: Vec<Fault>) {
    for fault in faults {
        cluster.find(&reply.id, who, fault);
    }
}

/// Judges a reply by all that can be seen of it; gives its events.
async fn reply_verdict(cluster: &Cluster, reply: &Reply) -> Vec<Seen> {
    let truth = reply.truth.as_deref();
    for following in &*reply.followings.lock() {
        found(cluster, reply, &following.who, checker(&following.seen, truth, reply.fate));
    }
    context(cluster, reply);
    let mut first: Option<Vec<Seen>> = None;
    for (instance, server) in cluster.deployment.servers.iter().enumerate() {
        let told = match again(async || replay(server, &reply.id, instance).await).await {
            Ok(told) => told,
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
        whole(cluster, reply, instance, server, &told).await;
        if let Some(first) = &first {
            let same = compare(first, &told).is_empty() && first.len() == told.len();
            let how = || format!("{} events, and {} on instance 0", told.len(), first.len());
            let faults = if same { Vec::new() } else { vec![Fault::Differs { instance, how: how() }] };
            found(cluster, reply, "at the end", faults);
        } else {
            found(cluster, reply, "at the end", checker(&told, truth, reply.fate));
            for following in &*reply.followings.lock() {
                found(cluster, reply, &following.who, compare(&following.seen, &told));
            }
            first = Some(told);
        }
    }
    first.unwrap_or_default()
}

/// The events of a reply that has to be over.
async fn replay(server: &Server, id: &str, instance: usize) -> Result<Vec<Seen>, Error> {
    let (told, is_done) = read_whole(server.rejoin(id, None).await?, instance).await?;
    if is_done { Ok(told) } else { Err(Error::EndedEarly) }
}

/// A reply's events have an end, and its response says the same.
async fn whole(cluster: &Cluster, reply: &Reply, instance: usize, server: &Server, told: &[Seen]) {
    let Some(end) = ending(told) else {
        return found(cluster, reply, "at the end", vec![Fault::Stuck { events: told.len() }]);
    };
    let response = match again(async || server.response(&reply.id).await).await {
        Ok(response) => response,
        Err(error) => {
            let fault = Fault::Refused { doing: "reading it", why: error.to_string() };
            return found(cluster, reply, "at the end", vec![fault]);
        }
    };
    let happened = of_response(&response);
    let said: String = happened.iter().filter_map(text_in).collect();
    if happened.last() != Some(&Happened::Ended(end.clone())) || said != text(told) {
        let how = format!("its response is {}, with {} bytes of text", response["status"], said.len());
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
    let said = again(async || read_json(server.say(&body, &key).await?).await).await;
    let fault = match said {
        Err(error) => Fault::Refused { doing: "a further turn", why: error.to_string() },
        Ok(response) => {
            let happened = of_response(&response);
            let said: String = happened.iter().filter_map(text_in).collect();
            let expected = (cluster.truth)(&prompt).unwrap_or_else(|| said.clone());
            if happened.last() == Some(&Happened::Ended(Ending::Complete)) && said == expected {
                return;
            }
            Fault::Text { said, expected: truth(&prompt) }
        }
    };
    cluster.find(id, "at the end", fault);
}

/// Asks again while the server says that it may pass.
async fn again<T>(ask: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
    let until = tokio::time::Instant::now() + PATIENCE;
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
            let how = format!("nobody was told of this reply; it is {}", row.status);
            cluster.find(&row.id, "the store", Fault::Stored { how });
        }
    }
}
