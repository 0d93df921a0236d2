//! The store on a request's path: it has a quarter of a second to answer, and if it did not lately it is not asked
//! at all, until a probe in the background has an answer. What is long takes longer: a thread is read page by page, and a
//! question whose answer takes its time is no sign that the store is away, as long as that answers others.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::super::{Error, Result};
use crate::domain::ids::{ReplyId, ThreadId};
use crate::services::Phase;
use crate::services::breaker::Breaker;
use crate::store::{self, Beginnings, Listed, Listing, Position, Store, StoredRecent, StoredReply, StoredThread};
use crate::telemetry::causes::chain;

/// The longest that a request waits for a store that does not answer.
const TIMEOUT: Duration = Duration::from_millis(250);

/// After this long it is asked whether it answers at all; it has as long again for that, which makes [`TIMEOUT`].
const DOUBT: Duration = Duration::from_millis(125);

/// The longest that a request waits for one answer of a store that answers others.
const LONGEST: Duration = Duration::from_secs(5);

/// The longest that it waits for all pages of a thread.
const LONGEST_THREAD: Duration = Duration::from_secs(30);

/// Failures in a row after which it is not asked any more. A single one may be chance.
const THRESHOLD: u32 = 3;

/// Between two tries to find out whether it answers again: at first, and at most.
const PROBES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// There was no answer.
enum Waited {
    InVain,
    /// This question only is too much.
    OthersAreAnswered,
}

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
        let begun = Instant::now();
        let mut pages = self.store.pages(id);
        while self.ask(self.store.read_page(&mut pages)).await? {
            if begun.elapsed() > LONGEST_THREAD {
                return Err(Error::unavailable("the thread is too long to be read in time"));
            }
            // Others have their turn between two pages.
            tokio::task::yield_now().await;
        }
        Ok(pages.finish())
    }

    /// The last turns that the store knows of a thread, up to an ordinal.
    pub(super) async fn recent(&self, id: ThreadId, until: u64) -> Result<StoredRecent> {
        self.ask(self.store.recent(id, until)).await
    }

    /// What the store knows of one reply.
    pub(super) async fn reply(&self, reply: ReplyId) -> Result<Option<StoredReply>> {
        self.ask(self.store.projected_reply(reply)).await
    }

    /// A blob of a thread.
    pub(super) async fn blob(&self, thread: ThreadId, hash: [u8; 32]) -> Result<Option<Bytes>> {
        self.ask(self.store.blob(thread, hash)).await
    }

    /// How far the store was written to in a shard.
    pub(super) async fn position(&self, shard: u32) -> Result<Option<Position>> {
        self.ask(self.store.position(shard)).await
    }

    /// See [`Store::conversations`].
    pub(super) async fn conversations(&self, listing: &Listing) -> Result<Vec<Listed>> {
        self.ask(self.store.conversations(listing)).await
    }

    /// See [`Store::listed`].
    pub(super) async fn listed(&self, threads: &[ThreadId]) -> Result<Vec<Listed>> {
        self.ask(self.store.listed(threads)).await
    }

    /// See [`Store::beginnings`].
    pub(super) async fn beginnings(&self, of: &[Listed]) -> Result<Beginnings> {
        self.ask(self.store.beginnings(of)).await
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
        let reason = match self.wait(question).await {
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
            Err(Waited::OthersAreAnswered) => {
                return Err(Error::unavailable(format!("the store does not answer this within {LONGEST:?}")));
            }
            Err(Waited::InVain) => format!("the store does not answer within {TIMEOUT:?}"),
        };
        if self.breaker.lock().failed(false, Instant::now()).is_some() {
            self.opened.notify_one();
            tracing::warn!(reason, "store unavailable: reads go to the log until it answers");
        }
        Err(Error::unavailable(reason))
    }

    /// Waits for an answer: in doubt, until it is known that there is none for any request.
    async fn wait<T>(&self, question: impl Future<Output = T>) -> Result<T, Waited> {
        let mut question = std::pin::pin!(question);
        if let Ok(answer) = timeout(DOUBT, &mut question).await {
            return Ok(answer);
        }
        let mut others = std::pin::pin!(timeout(DOUBT, self.store.ping()));
        tokio::select! {
            answer = &mut question => return Ok(answer),
            answered = &mut others => {
                if !matches!(answered, Ok(Ok(()))) {
                    return Err(Waited::InVain);
                }
            }
        }
        timeout(LONGEST, question).await.map_err(|_| Waited::OthersAreAnswered)
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

    /// Waits until the store answers; returns when that question was asked.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Config, Tables};

    async fn reading() -> (Reading, tempfile::TempDir) {
        let directory = tempfile::TempDir::new().unwrap();
        let store = Store::open(&Config::in_dir(directory.path()), Tables::Migrate).await.unwrap();
        (Reading::new(store), directory)
    }

    #[tokio::test]
    async fn a_slow_answer_is_waited_for_and_does_not_count_against_the_store() {
        let (reading, _directory) = reading().await;
        for _ in 0..=THRESHOLD {
            let long = async {
                tokio::time::sleep(TIMEOUT * 2).await;
                Ok("long")
            };
            assert_eq!(reading.ask(long).await.unwrap(), "long");
        }
        assert!(reading.is_asked());
    }

    #[tokio::test]
    async fn a_store_that_answers_nobody_is_not_waited_for() {
        let (reading, _directory) = reading().await;
        reading.store.close().await;
        for _ in 0..THRESHOLD {
            let begun = Instant::now();
            assert!(reading.ask(std::future::pending::<Result<(), store::Error>>()).await.is_err());
            assert!(begun.elapsed() < LONGEST);
        }
        assert!(!reading.is_asked());
    }
}
