//! Retention: deletes threads in which nothing has happened for longer than their owner's retention.
//!
//! What is old is found in the store, and deleted through the log, under the thread's fence: a client that continues a thread
//! at that moment is first, or learns that it is gone. A few at a time, with pauses, so that the load stays low.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::eraser::Eraser;
use super::{Error, Result};
use crate::config::Retention;
use crate::domain::caller::Owner;
use crate::domain::ids::{InstanceId, ThreadId};
use crate::domain::thread::{ReplyEntry, Thread};
use crate::log::{Peers, millis, now_ms};
use crate::store::Store;

/// Threads that are asked for at once.
const PAGE: u64 = 32;

/// Between two threads that are deleted.
const PAUSE: Duration = Duration::from_millis(20);

/// How often old threads are looked for, at most and at least: a tenth of the shortest retention.
const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_hours(1);

/// By this name the instance is found that does it for all.
const KEEPER: &str = "store retention";

/// Deletes what is old.
#[derive(Clone)]
pub(super) struct Keeper {
    retention: Retention,
    store: Store,
    eraser: Eraser,
    instance: InstanceId,
    peers: Peers,
}

impl Keeper {
    pub(super) fn new(
        retention: Retention,
        (store, eraser): (Store, Eraser),
        (instance, peers): (InstanceId, Peers),
    ) -> Self {
        Self { retention, store, eraser, instance, peers }
    }

    /// Runs until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let Some(shortest) = self.retention.shortest() else { return };
        let every = (shortest / 10).clamp(OFTEN, SELDOM);
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            if self.peers.keeper(KEEPER) != self.instance {
                continue;
            }
            match stop.run_until_cancelled(Box::pin(self.sweep())).await {
                None | Some(Ok(0)) => {}
                Some(Ok(threads)) => {
                    tracing::info!(threads, "deleted what was not used for longer than STORE_RETENTION");
                }
                Some(Err(error)) => tracing::warn!(%error, "cannot delete what is older than STORE_RETENTION yet"),
            }
        }
    }

    /// Looks through all owners. How many threads were deleted.
    async fn sweep(&self) -> Result<usize> {
        let (mut owner, mut deleted) = (None, 0);
        while let Some(next) = self.store.next_owner(owner.as_ref()).await.map_err(Error::unavailable)? {
            if let Some(kept) = self.retention.of(&next.tenant()) {
                deleted += self.sweep_owner(&next, now_ms().saturating_sub(millis(kept))).await?;
            }
            owner = Some(next);
        }
        Ok(deleted)
    }

    async fn sweep_owner(&self, owner: &Owner, before: u64) -> Result<usize> {
        let (mut after, mut deleted) = (None, 0);
        loop {
            let threads = self.store.idle_threads(owner, before, after, PAGE).await.map_err(Error::unavailable)?;
            let Some(last) = threads.last() else { return Ok(deleted) };
            after = Some(*last);
            for thread in threads {
                deleted += usize::from(self.delete(thread, before).await);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Deletes a thread that is idle; returns whether it was.
    async fn delete(&self, thread: ThreadId, before: u64) -> bool {
        match self.eraser.delete(thread, |thread| is_idle(thread, before)).await {
            Ok(was_deleted) => was_deleted,
            // The others do not wait for it.
            Err(error) => {
                tracing::warn!(%thread, %error, "cannot delete a thread that is older than STORE_RETENTION");
                false
            }
        }
    }
}

/// Whether nothing runs in a thread, and nothing has come since a time in milliseconds of Unix time.
fn is_idle(thread: &Thread, before: u64) -> bool {
    !thread.replies().any(ReplyEntry::runs) && thread.active_at() < before
}
