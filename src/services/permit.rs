//! The right to one call of a service, held from before it is made until its body has ended; and what becomes of it.

use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use reqwest::{Request, Response};
use tokio::time::Instant;

use super::fault::{Fault, Outcome};
use super::gate::Pass;
use super::http::{self, Lease};
use super::limit;
use super::{SendError, Service};
use crate::config::values::Secret;

/// A call that has no answer after so long makes the service be looked at: together with what a health check may take,
/// less than 3 s until it is known that nobody is there.
const SUSPICIOUS: Duration = Duration::from_millis(750);

/// One call of a service. Dropping it without a word says that it was stopped here: that is nobody's fault.
#[derive(Debug)]
pub(crate) struct Permit {
    service: Service,
    /// Given back last of all.
    pass: Pass,
    lease: Option<Lease>,
    begun: Instant,
    /// Whether this call tries a service that had failed.
    trial: bool,
    stage: Stage,
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Unsent,
    Sent,
    Spoke,
    /// It is known how it ended.
    Ended,
}

impl Permit {
    pub(super) fn new(service: Service, pass: Pass, trial: bool) -> Self {
        Self { service, pass, lease: None, begun: Instant::now(), trial, stage: Stage::Unsent }
    }

    /// The service that is called.
    pub(crate) const fn service(&self) -> &Service {
        &self.service
    }

    /// Sends a request, and gives the answer as soon as its headers are there, whatever its status. `request` makes it,
    /// with the key that it is handed; where that key is refused (401) or used up (429), and there is another one, the
    /// request is sent again with that.
    pub(crate) async fn send(&mut self, request: impl Fn(Option<&Secret>) -> Request) -> Result<Response, SendError> {
        (self.begun, self.stage) = (Instant::now(), Stage::Sent);
        let service = self.service.clone();
        let keys = &service.inner.keys;
        let mut tries = keys.tries();
        loop {
            let (index, key) = keys.current();
            let response = self.exchange(request(key)).await?;
            let status = response.status();
            self.heard();
            if status.is_success() {
                self.answered();
            }
            tries -= 1;
            if !matches!(status.as_u16(), 401 | 429) {
                return Ok(response);
            }
            if let Some(next) = keys.refused(index) {
                let (service, status) = (service.name(), status.as_u16());
                tracing::warn!(service, status, key = next, "a key was refused; the next one is used");
            }
            if tries == 0 {
                return Ok(response);
            }
        }
    }

    async fn exchange(&mut self, request: Request) -> Result<Response, SendError> {
        // The one of before, if there is one, is given back first.
        self.lease = None;
        let lease = self.lease.insert(self.service.inner.clients.lease());
        let again = request.try_clone();
        let service = &self.service;
        let client = &lease.client;
        let execute = async |request| {
            let mut answer = std::pin::pin!(client.execute(request));
            if let Ok(answer) = tokio::time::timeout(SUSPICIOUS, &mut answer).await {
                return answer;
            }
            service.suspect();
            answer.await
        };
        let answer = match (execute(request).await, again) {
            // Nobody has read the request.
            (Err(error), Some(again)) if http::died_before_answer(&error) => execute(again).await,
            (result, _) => result,
        };
        answer.map_err(SendError)
    }

    /// The call goes along with another one, as a part of the same request.
    pub(crate) fn goes_along(&mut self) {
        (self.begun, self.stage) = (Instant::now(), Stage::Sent);
    }

    /// A request that several calls went into is over; a word for how, for metrics.
    pub(crate) fn batched(&self, outcome: &'static str) {
        self.service.inner.observer.batched(outcome);
    }

    /// Bytes came: the service lives.
    pub(crate) fn heard(&self) {
        let heard = self.service.inner.epoch.elapsed().as_millis();
        self.service.inner.heard_ms.store(u64::try_from(heard).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The first content came.
    pub(crate) fn spoke(&mut self) {
        if self.stage < Stage::Spoke {
            self.stage = Stage::Spoke;
            self.service.inner.observer.began(self.begun.elapsed());
            self.service.spoke(self.begun);
        }
    }

    /// So many pieces of the answer could not be understood; a word for what they are, for metrics.
    pub(crate) fn unread(&self, piece: &'static str, count: u32) {
        self.service.inner.observer.unread(piece, count);
    }

    /// The call went well to its end.
    pub(crate) fn succeeded(&mut self) {
        if std::mem::replace(&mut self.stage, Stage::Ended) != Stage::Ended {
            self.service.succeeded(self.begun);
            self.tell(Outcome::Completed);
        }
    }

    /// The call failed.
    pub(crate) fn failed(&mut self, fault: &Fault) {
        if std::mem::replace(&mut self.stage, Stage::Ended) != Stage::Ended {
            let request = limit::Request { begun: self.begun, place: self.pass.place() };
            self.service.failed(fault, request, self.trial);
            self.tell(Outcome::Failed(fault.kind.as_str()));
        }
    }

    fn answered(&self) {
        let after = self.begun.elapsed();
        self.service.inner.observer.answered(after);
        self.service.inner.gate.taken(self.pass.place());
        self.service.inner.condition.lock().memory.answered(after);
    }

    fn tell(&self, outcome: Outcome) {
        self.service.inner.observer.ended(outcome, self.begun.elapsed());
    }

    /// How long an answer asks to be left alone.
    pub(crate) fn retry_after(response: &Response) -> Option<Duration> {
        http::retry_after(response.headers(), SystemTime::now())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.stage != Stage::Ended {
            if self.trial {
                self.service.inner.condition.lock().breaker.trial_dropped();
            }
            if self.stage != Stage::Unsent {
                self.tell(Outcome::Dropped);
            }
        }
    }
}
