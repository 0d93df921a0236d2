//! Micro-batches: calls that come within a short window go to the server as one, `POST …/chat/completions/batch` as
//! vLLM defines it: `messages` is a list of conversations, the answer has a choice for each by its index, and nothing
//! is streamed. For servers that are faster with several requests at once, and do not batch them themselves.
//!
//! ```text
//! call ──▶ open batch of its parameters ──window over, or full──▶ one request ──▶ a choice for each call
//!                                                                    └─ breaks ──▶ each call by itself
//! ```
//!
//! Calls in a batch do not share its fate: a cancelled call is left out, and if the batch fails or lacks the answer to
//! a call, that call is made again by itself, as if there were no batches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use reqwest::Response;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::TaskTracker;

use super::client::{self, Client};
use super::delta::UpstreamError;
use super::failure;
use super::wire::MAX_BODY_BYTES;
use crate::domain::ids::random_u64;
use crate::offload::offload;
use crate::services::Permit;

mod body;

/// How long a server that has no such endpoint is not asked for it again.
const REFUSED_FOR: Duration = Duration::from_mins(10);

/// Collects calls of one server into batches. A handle: cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Batches {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    window: Duration,
    most: usize,
    client: Client,
    tasks: TaskTracker,
    open: Mutex<HashMap<String, Open>>,
    refused_until: Mutex<Option<Instant>>,
}

/// A batch that takes more calls.
#[derive(Debug)]
struct Open {
    id: u64,
    members: Vec<Member>,
}

/// A call that waits for its batch.
#[derive(Debug)]
struct Member {
    messages: Box<RawValue>,
    permit: Permit,
    /// When the answer has to be there.
    limit: Instant,
    answer: oneshot::Sender<Joined>,
}

/// What became of a call that joined a batch.
#[derive(Debug)]
pub(super) enum Joined {
    /// Its answer, as if it had been made by itself.
    Answered(Permit, Box<Response>),
    /// It is to be made by itself.
    Single(Permit),
}

impl Batches {
    /// Batches of at most so many calls, of those that come within the window.
    pub(super) fn new(window: Duration, most: usize, client: Client, tasks: TaskTracker) -> Self {
        let (open, refused_until) = (Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { window, most, client, tasks, open, refused_until }) }
    }

    /// Whether the server is asked for batches now.
    pub(super) fn are_taken(&self) -> bool {
        self.inner.refused_until.lock().is_none_or(|until| Instant::now() >= until)
    }

    /// Has the call with this body made together with others. Dropping the future leaves it out. `None`: the task of the
    /// batch ended early.
    pub(super) async fn join(&self, body: &[u8], permit: Permit, limit: Instant) -> Option<Joined> {
        let split = offload(body.len(), || body::split(body));
        let Some((shared, messages)) = split else { return Some(Joined::Single(permit)) };
        let (answer, answered) = oneshot::channel();
        self.enter(shared, Member { messages, permit, limit, answer });
        answered.await.ok()
    }

    fn enter(&self, shared: String, member: Member) {
        let mut batches = self.inner.open.lock();
        let batch = batches.entry(shared.clone()).or_insert_with(|| {
            let id = random_u64();
            self.inner.tasks.spawn(self.clone().close_later(shared.clone(), id));
            Open { id, members: Vec::with_capacity(self.inner.most) }
        });
        batch.members.retain(Member::is_wanted);
        batch.members.push(member);
        if batch.members.len() >= self.inner.most
            && let Some(batch) = batches.remove(&shared)
        {
            self.inner.tasks.spawn(self.clone().send(shared, batch.members));
        }
    }

    /// Sends a batch when its window is over, unless it was full before.
    async fn close_later(self, shared: String, id: u64) {
        sleep(self.inner.window).await;
        let batch = {
            let mut batches = self.inner.open.lock();
            let is_it = batches.get(&shared).is_some_and(|batch| batch.id == id);
            if is_it { batches.remove(&shared) } else { None }
        };
        if let Some(batch) = batch {
            self.send(shared, batch.members).await;
        }
    }

    async fn send(self, shared: String, mut members: Vec<Member>) {
        members.retain(Member::is_wanted);
        if members.len() < 2 {
            // Alone it is streamed.
            members.into_iter().for_each(Member::alone);
            return;
        }
        let limit = members.iter().map(|member| member.limit).min().unwrap_or_else(Instant::now);
        let size = members.iter().map(|member| member.messages.get().len()).sum();
        let body = offload(size, || body::join(&shared, members.iter().map(|member| &*member.messages)));
        let [Member { permit, answer, .. }, others @ ..] = members.as_mut_slice() else { return };
        for member in others.iter_mut() {
            member.permit.goes_along();
        }
        let exchange = timeout_at(limit, self.exchange(permit, body));
        let answers = std::iter::once(answer).chain(others.iter_mut().map(|member| &mut member.answer));
        let result = tokio::select! {
            result = exchange => result.unwrap_or_else(|_| Err(late())),
            // Nobody waits for it any more.
            _ = join_all(answers.map(oneshot::Sender::closed)) => return,
        };
        self.share_out(members, result);
    }

    /// Hands each call its answer.
    fn share_out(&self, members: Vec<Member>, result: Result<Vec<u8>, UpstreamError>) {
        let service = self.inner.client.service().name();
        let lengths: Vec<usize> = members.iter().map(|member| member.messages.get().len()).collect();
        let answers = result.and_then(|answer| {
            offload(answer.len(), || body::answers(&answer, &lengths))
                .ok_or_else(|| failure::unreachable("The batch failed.", "no batch of answers"))
        });
        let Ok(answers) = answers else {
            // The server's message may quote a key: keys are taken out where the calls are made again.
            tracing::warn!(service, calls = members.len(), "a batch broke; each call is made alone");
            members[0].permit.batched("broken");
            return members.into_iter().for_each(Member::alone);
        };
        members[0].permit.batched("answered");
        for (member, answer) in members.into_iter().zip(answers) {
            match answer {
                Some(answer) => member.answered(answer),
                None => member.alone(),
            }
        }
    }

    /// The answer to a batch.
    async fn exchange(&self, permit: &mut Permit, body: Vec<u8>) -> Result<Vec<u8>, UpstreamError> {
        let response = self.inner.client.batch(permit, body).await?;
        if matches!(response.status().as_u16(), 404 | 405 | 501) {
            let service = self.inner.client.service().name();
            tracing::warn!(service, "the model server has no /chat/completions/batch: calls are made one by one");
            *self.inner.refused_until.lock() = Some(Instant::now() + REFUSED_FOR);
        }
        let mut response = client::accept(response).await?;
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(client::broken)? {
            permit.heard();
            if answer.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(failure::unreachable("The model server sent too much at once.", "a batch without an end"));
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(answer)
    }
}

fn late() -> UpstreamError {
    failure::unreachable("The model server did not answer in time.", "no answer to a batch in time")
}

impl Member {
    /// Whether its caller still waits for it.
    fn is_wanted(&self) -> bool {
        !self.answer.is_closed()
    }

    fn alone(self) {
        // A caller that has stopped waiting needs no answer.
        drop(self.answer.send(Joined::Single(self.permit)));
    }

    fn answered(self, answer: Vec<u8>) {
        let response = hyper::Response::new(Bytes::from(answer));
        drop(self.answer.send(Joined::Answered(self.permit, Box::new(Response::from(response)))));
    }
}
