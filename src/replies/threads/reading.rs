//! The store on a request's path: it has a quarter of a second, and where it did not answer lately it is not asked at
//! all, until a probe in the background has an answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::super::{Error, Result};
use crate::domain::ids::ThreadId;
use crate::services::Phase;
use crate::services::breaker::Breaker;
use crate::store::{self, Store, StoredThread};
use crate::telemetry::causes::chain;

/// The longest that a request waits for the store.
const TIMEOUT: Duration = Duration::from_millis(250);

/// Failures in a row after which it is not asked any more. A single one may be chance.
const THRESHOLD: u32 = 3;

/// Between two tries to find out whether it answers again: at first, and at most.
const PROBES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Reads the store for requests. A handle: cheap to clone.
#[derive(Clone)]
pub(super) struct Reading {
    store: Store,
    breaker: Arc<Mutex<Breaker>>,
    opened: Arc<Notify>,
}

impl Reading {
    pub(super) fn new(store: Store) -> Self {
        let breaker = Breaker::opening_after(THRESHOLD, Instant::now());
        Self { store, breaker: Arc::new(Mutex::new(breaker)), opened: Arc::default() }
    }

    /// All that the store knows of a thread.
    pub(super) async fn thread(&self, id: ThreadId) -> Result<StoredThread> {
        self.ask(self.store.thread(id)).await
    }

    /// A blob of a thread.
    pub(super) async fn blob(&self, thread: ThreadId, hash: [u8; 32]) -> Result<Option<Bytes>> {
        self.ask(self.store.blob(thread, hash)).await
    }

    /// Whether it is asked: it answered lately, or nothing else is known.
    pub(super) fn is_asked(&self) -> bool {
        self.breaker.lock().phase() == Phase::Closed
    }

    async fn ask<T>(&self, question: impl Future<Output = Result<T, store::Error>>) -> Result<T> {
        if !self.is_asked() {
            return Err(Error::unavailable("the store does not answer"));
        }
        let begun = Instant::now();
        let reason = match timeout(TIMEOUT, question).await {
            Ok(Ok(answer)) => {
                self.breaker.lock().succeeded(begun, Instant::now());
                return Ok(answer);
            }
            // It answers, if only that it is broken.
            Ok(Err(error)) if !error.is_passing() => {
                self.breaker.lock().succeeded(begun, Instant::now());
                return Err(Error::unavailable(error));
            }
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("the store does not answer within {TIMEOUT:?}"),
        };
        if self.breaker.lock().failed(false, Instant::now()).is_some() {
            self.opened.notify_one();
            tracing::warn!(reason, "store unavailable: reads go to the log until it answers");
        }
        Err(Error::unavailable(reason))
    }

    /// Finds out when a store that is not asked any more answers again. Runs until `stop`.
    pub(super) async fn watch(&self, stop: &CancellationToken) {
        let watching = async {
            loop {
                self.opened.notified().await;
                let answered = self.until_it_answers().await;
                self.breaker.lock().spoke(answered);
                tracing::info!("store available again");
            }
        };
        stop.run_until_cancelled(watching).await;
    }

    /// Gives when it was asked what it answered.
    async fn until_it_answers(&self) -> Instant {
        let (mut pause, longest) = PROBES;
        loop {
            tokio::time::sleep(pause).await;
            let begun = Instant::now();
            if matches!(timeout(TIMEOUT, self.store.ping()).await, Ok(Ok(()))) {
                return begun;
            }
            pause = (pause * 2).min(longest);
        }
    }
}
