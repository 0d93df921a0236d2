//! A follower of a reply: joins, leaves, comes back elsewhere, and stores all that it saw.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use fastrand::Rng;
use reqwest::{Response, StatusCode};

use super::checker::{Fate, Fault, Seen};
use super::cluster::{Cluster, Following, Reply, count};
use super::plan::Follower;
use crate::cli::server::{Error, Server};
use crate::llm::sse;

/// How long the head of an answer may take: longer is not waited for a server that may be frozen.
const HEAD: Duration = Duration::from_secs(6);

/// How a stream ended.
enum End {
    /// With the reply.
    Whole,
    /// It was cut, or stalled for too long, or left on purpose.
    Cut,
    /// Cleanly, and without the reply's end.
    Clean,
}

/// A follower.
pub(super) struct Client<'a> {
    cluster: &'a Cluster,
    reply: &'a Reply,
    source: String,
    follower: Follower,
    random: Rng,
    seen: Vec<Seen>,
}

impl<'a> Client<'a> {
    pub(super) fn new(cluster: &'a Cluster, reply: &'a Reply, source: String, follower: Follower) -> Self {
        count(&cluster.counts.follows);
        Self { cluster, reply, source, follower, random: Rng::with_seed(follower.seed), seen: Vec::new() }
    }

    /// Follows to the end, first on a stream that is open already, from an instance.
    pub(super) async fn follow(mut self, first: Option<(Response, usize)>) {
        let mut stream = first;
        while !self.is_done() {
            let (response, instance) = match stream.take() {
                Some(open) => open,
                None => match self.open().await {
                    Some(open) => open,
                    None => break,
                },
            };
            match self.read(response, instance).await {
                End::Whole => break,
                End::Cut => {
                    count(&self.cluster.counts.rejoins);
                    tokio::time::sleep(Duration::from_millis(self.random.u64(0..200))).await;
                }
                End::Clean => {
                    self.find(Fault::LooksWhole { events: self.seen.len() });
                    break;
                }
            }
        }
        self.cluster.counts.events.fetch_add(self.seen.len() as u64, Relaxed);
        self.reply.followings.lock().push(Following { source: self.source, seen: self.seen });
    }

    fn find(&self, fault: Fault) {
        self.cluster.find(&self.reply.id, &self.source, fault);
    }

    fn is_done(&self) -> bool {
        self.seen.last().is_some_and(Seen::is_terminal)
    }

    /// Goes on from what was seen, on some instance. `None`: there is nothing to go on with.
    async fn open(&mut self) -> Option<(Response, usize)> {
        loop {
            if self.cluster.is_over() {
                self.find(Fault::Stuck { events: self.seen.len() });
                return None;
            }
            let instance = self.choose();
            let asked = tokio::time::timeout(HEAD, self.ask(&self.cluster.deployment.servers[instance])).await;
            match asked {
                Ok(Ok(response)) if response.status() == StatusCode::NO_CONTENT => {
                    self.find(Fault::LooksWhole { events: self.seen.len() });
                    return None;
                }
                Ok(Ok(response)) => return Some((response, instance)),
                Ok(Err(Error::Refused { status: StatusCode::NOT_FOUND, .. })) if self.reply.fate == Fate::Deleted => {
                    return None;
                }
                Ok(Err(error)) if !error.may_pass() => {
                    let why = format!("instance {instance}, after {} events: {error}", self.seen.len());
                    self.find(Fault::Refused { doing: "following", why });
                    return None;
                }
                Ok(Err(_)) | Err(_) => {
                    count(&self.cluster.counts.unavailable);
                    tokio::time::sleep(Duration::from_millis(self.random.u64(20..250))).await;
                }
            }
        }
    }

    fn choose(&mut self) -> usize {
        let servers = self.cluster.deployment.servers.len();
        let instance = self.random.usize(..servers);
        if self.follower.avoids == Some(instance) { (instance + 1) % servers } else { instance }
    }

    async fn ask(&self, server: &Server) -> Result<Response, Error> {
        let last = self.seen.last().and_then(|seen| seen.number);
        if self.follower.is_browser {
            server.events(&self.reply.id, last).await
        } else {
            server.rejoin(&self.reply.id, last).await
        }
    }

    /// Reads a stream until it ends, or there is reason to leave it.
    async fn read(&mut self, mut response: Response, instance: usize) -> End {
        let mut decoder = sse::Decoder::default();
        let leaves = !self.follower.stays && self.random.u8(..3) > 0;
        let leave_after = if leaves { self.seen.len() + self.random.usize(1..40) } else { usize::MAX };
        loop {
            let chunk = match tokio::time::timeout(self.cluster.idle, response.chunk()).await {
                Err(_) | Ok(Err(_)) => return End::Cut,
                // A browser's stream may end at any time.
                Ok(Ok(None)) if self.follower.is_browser => return End::Cut,
                Ok(Ok(None)) => return End::Clean,
                Ok(Ok(Some(chunk))) => chunk,
            };
            let seen = &mut self.seen;
            let fed = decoder.feed(&chunk, |frame| {
                if frame.data != b"[DONE]" {
                    seen.push(Seen::new(frame.data, instance));
                }
            });
            if fed.is_err() {
                return End::Cut;
            }
            if self.is_done() {
                self.reply.seen(usize::MAX);
                return End::Whole;
            }
            self.reply.seen(self.seen.len());
            if self.seen.len() >= leave_after || self.cluster.is_over() {
                return End::Cut;
            }
        }
    }
}

/// Reads all of a stream that must end by itself.
pub(super) async fn read_whole(response: Response, instance: usize) -> Result<(Vec<Seen>, bool), Error> {
    let (mut response, mut decoder) = (response, sse::Decoder::default());
    let (mut seen, mut is_done) = (Vec::new(), false);
    loop {
        let chunk = response.chunk().await.map_err(|error| Error::Broken(error.without_url()))?;
        let Some(chunk) = chunk else { return Ok((seen, is_done)) };
        let fed = decoder.feed(&chunk, |frame| {
            if frame.data == b"[DONE]" {
                is_done = true;
            } else {
                seen.push(Seen::new(frame.data, instance));
            }
        });
        fed.map_err(|_| Error::TooLong)?;
    }
}
