//! Deletion of users: of all that belongs to one, wherever it is.
//!
//! What is theirs is found in the store, so the store has to have what the log has first. That a user is to be deleted is
//! kept there until it is done: an instance that finds an orphaned deletion continues it. Everything that a
//! deletion does can be done again, so two that work at one get into each other's way at worst.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::eraser::Eraser;
use super::{Error, Result};
use crate::domain::caller::Owner;
use crate::domain::ids::ThreadId;
use crate::domain::thread::Thread;
use crate::log::{millis, now_ms};
use crate::store::{Store, UserDeletion};

/// Threads that are asked for at once.
const PAGE: u64 = 100;

/// How often it is looked whether deletions were left, and how long one at which somebody works stands still at most.
const LOOK: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(10);

/// The longest that a store which is behind the log is waited for, and how often it is looked at.
const BEHIND: Duration = Duration::from_secs(10);
const LOOK_BEHIND: Duration = Duration::from_millis(20);

/// Deletes users. A handle: cheap to clone.
#[derive(Clone)]
pub(super) struct Departures {
    store: Store,
    eraser: Eraser,
}

impl Departures {
    pub(super) const fn new(store: Store, eraser: Eraser) -> Self {
        Self { store, eraser }
    }

    /// Deletes all that belongs to a user now.
    pub(super) async fn delete(&self, owner: Owner) -> Result<()> {
        let deletion = UserDeletion { owner, asked_at: now_ms() };
        self.store.begin_user_deletion(&deletion).await.map_err(Error::unavailable)?;
        // A later look notes it as done: what the stopped replies used is counted in a moment.
        self.work_at(&deletion).await
    }

    /// Goes on with deletions at which nobody works, until `stop`.
    pub(super) async fn complete(&self, stop: CancellationToken) {
        // What is in a log of our own, nobody works at when we start.
        let mut idle = if self.eraser.threads().log().is_shared() { IDLE } else { Duration::ZERO };
        while !stop.is_cancelled() {
            let completed = stop.run_until_cancelled(Box::pin(self.complete_idle(idle))).await;
            if let Some(Err(error)) = completed {
                tracing::warn!(%error, "cannot complete the deletion of a user yet");
            }
            idle = IDLE;
            stop.run_until_cancelled(tokio::time::sleep(LOOK)).await;
        }
    }

    async fn complete_idle(&self, idle: Duration) -> Result<()> {
        let since = now_ms().saturating_sub(millis(idle));
        let deletions = self.store.idle_user_deletions(since).await.map_err(Error::unavailable)?;
        for deletion in deletions {
            let claimed = self.store.claim_user_deletion(&deletion, now_ms(), since).await;
            if claimed.map_err(Error::unavailable)? {
                self.work_at(&deletion).await?;
                self.store.end_user_deletion(&deletion).await.map_err(Error::unavailable)?;
            }
        }
        Ok(())
    }

    async fn work_at(&self, deletion: &UserDeletion) -> Result<()> {
        let mut outcome = Ok(());
        self.catch_up().await?;
        let (mut after, mut claimed) = (None, Instant::now());
        loop {
            let threads = self.store.threads_of(&deletion.owner, after, PAGE).await.map_err(Error::unavailable)?;
            let Some(last) = threads.last() else { break };
            after = Some(*last);
            for thread in threads {
                // One that cannot be deleted does not keep the others.
                if let Err(error) = self.delete_thread(deletion, thread).await {
                    tracing::warn!(%thread, %error, "cannot delete a thread of a user");
                    outcome = Err(error);
                }
                if claimed.elapsed() > IDLE / 3 {
                    claimed = Instant::now();
                    let claim = self.store.claim_user_deletion(deletion, now_ms(), u64::MAX >> 1);
                    claim.await.map_err(Error::unavailable)?;
                }
            }
        }
        outcome?;
        // The rows lose their text, and then the name.
        self.catch_up().await?;
        self.store.forget_user(deletion).await.map_err(Error::unavailable)
    }

    /// Deletes a thread of the user's, unless it began later.
    async fn delete_thread(&self, deletion: &UserDeletion, thread: ThreadId) -> Result<bool> {
        let is_meant = |thread: &Thread| {
            let conversation = thread.conversation().map(|known| (&known.owner, known.created_at));
            let reply = thread.replies().next().map(|entry| (&entry.accepted.owner, entry.accepted.created_at));
            let begun = conversation.or(reply);
            begun.is_some_and(|(owner, at)| *owner == deletion.owner && at <= deletion.asked_at / 1000)
        };
        self.eraser.delete(thread, is_meant).await
    }

    /// Waits until the store has what the log has now.
    async fn catch_up(&self) -> Result<()> {
        let (records, deadline) = (self.eraser.threads().log().records(), Instant::now() + BEHIND);
        for shard in 0..records.shards() {
            let last = records.look_last_position(shard).await?;
            let identity = records.identity(shard).id;
            loop {
                let stored = self.store.position(shard).await.map_err(Error::unavailable)?;
                let reached = stored.filter(|stored| stored.log() == identity).map_or(0, |stored| stored.position);
                if reached >= last {
                    break;
                }
                if Instant::now() > deadline {
                    return Err(Error::unavailable("the store lags behind the log"));
                }
                tokio::time::sleep(LOOK_BEHIND).await;
            }
        }
        Ok(())
    }
}
