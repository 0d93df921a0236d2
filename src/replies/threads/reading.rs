//! The store on a request's path: it has a quarter of a second, and where it did not answer lately it is not asked at
//! all, until one who asks in the background has an answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::{Error, Result};
use super::breaker::Breaker;
use crate::causes::chain;
use crate::conversation::ids::ThreadId;
use crate::store::{self, Store, StoredThread};

/// The longest that a request waits for the store.
const PATIENCE: Duration = Duration::from_millis(250);

/// Between two tries to find out whether it answers again: at first, and at most.
const PROBES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Reads the store for requests. A handle: cheap to clone.
#[derive(Clone)]
pub(super) struct Reading {
    store: Store,
    breaker: Arc<Breaker>,
}

impl Reading {
    pub(super) fn new(store: Store) -> Self {
        Self { store, breaker: Arc::default() }
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
        !self.breaker.is_open()
    }

    async fn ask<T>(&self, question: impl Future<Output = Result<T, store::Error>>) -> Result<T> {
        if self.breaker.is_open() {
            return Err(Error::unavailable("the store does not answer"));
        }
        let reason = match timeout(PATIENCE, question).await {
            Ok(Ok(answer)) => {
                self.breaker.succeeded();
                return Ok(answer);
            }
            // It answers, if only that it is broken.
            Ok(Err(error)) if !error.is_passing() => {
                self.breaker.succeeded();
                return Err(Error::unavailable(error));
            }
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("the store does not answer within {PATIENCE:?}"),
        };
        if self.breaker.failed() {
            tracing::warn!(reason, "store unavailable: reads go to the log until it answers");
        }
        Err(Error::unavailable(reason))
    }

    /// Finds out when a store that is not asked any more answers again. Runs until `stop`.
    pub(super) async fn watch(&self, stop: &CancellationToken) {
        let watching = async {
            loop {
                self.breaker.opened().await;
                self.until_it_answers().await;
                self.breaker.close();
                tracing::info!("store available again");
            }
        };
        stop.run_until_cancelled(watching).await;
    }

    async fn until_it_answers(&self) {
        let (mut pause, longest) = PROBES;
        loop {
            tokio::time::sleep(pause).await;
            if matches!(timeout(PATIENCE, self.store.ping()).await, Ok(Ok(()))) {
                return;
            }
            pause = (pause * 2).min(longest);
        }
    }
}
