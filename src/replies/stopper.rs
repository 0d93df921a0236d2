//! Stops replies: cancellation, which keeps the output, and deletion, which does not.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::feed::Feed;
use super::remote::owner;
use super::reply_log::{ReplyLog, ReplyLogError};
use super::running::Running;
use super::takeover::Takeover;
use super::threads::{Found, Threads};
use super::{Busy, Missing, Result};
use crate::domain::ids::{InstanceId, ReplyId, random_u64};
use crate::domain::record::{Accepted, ReplyLogEntry, ReplyLogRecord, VERSION};
use crate::domain::thread::ReplyEntry;
use crate::log::peers::Command;
use crate::log::{AppendError, Life, Peers, Subject};

/// How long a stop may take before its client is asked to come back.
const TIMEOUT: Duration = Duration::from_secs(10);

/// After this long without an end a stop is commanded again.
const AGAIN: Duration = Duration::from_secs(1);

/// Between two commands of a stop, if the reply is not generated here any more.
const PAUSE: Duration = Duration::from_millis(20);

/// Stops replies, wherever they run.
pub(super) struct Stopper {
    pub(super) threads: Threads,
    pub(super) peers: Peers,
    pub(super) instance: InstanceId,
    pub(super) running: Arc<Running>,
    pub(super) takeover: Arc<Takeover>,
}

impl Stopper {
    /// Stops a reply, and its speech with it. One that has ended stays as it is.
    pub(super) async fn cancel(&self, reply: ReplyId) -> Result<Arc<Feed>> {
        self.stop(reply, Command::Cancel).await
    }

    /// Deletes a reply, running or not.
    pub(super) async fn delete(&self, reply: ReplyId) -> Result<()> {
        let threads = &self.threads;
        let was_there = threads.entry(reply).await?.is_some_and(|entry| !entry.deleted);
        match self.stop(reply, Command::Delete).await {
            Ok(_) => {}
            // Another request deletes it just now; which of the two is first makes no difference to the client.
            Err(error) if error.is_not_found() && was_there => {}
            Err(error) => return Err(error),
        }
        // The lease brings the deletion to its end after a crash in the middle. On a full disk the transcript's record does.
        match threads.log().leases().acquire(self.instance, reply).await {
            Ok(()) | Err(AppendError::Full) => {}
            Err(error) => return Err(error.into()),
        }
        threads.feeds().forget(reply);
        threads.delete_reply(reply).await?;
        threads.log().leases().release(reply);
        Ok(())
    }

    /// Asks the instance that generates a reply to end it; one that does not answer is not waited for.
    async fn stop_elsewhere(&self, reply: ReplyId, command: Command) -> Result<()> {
        let threads = &self.threads;
        let goes_on = |entry: &ReplyEntry| !entry.deleted && entry.runs();
        let Some(entry) = threads.entry(reply).await?.filter(goes_on) else { return Ok(()) };
        let reply_log = ReplyLog::read(threads.log(), &entry.accepted).await?;
        if reply_log.end.is_some() {
            return Ok(());
        }
        let handled = match owner(&reply_log, &entry.accepted) {
            Some(owner) => self.peers.command(owner, reply, command).await,
            None => false,
        };
        if !handled {
            self.takeover.force(&entry.accepted).await?;
            self.running.command(reply, command);
        }
        Ok(())
    }

    async fn find_or_adopt(&self, reply: ReplyId, command: Command) -> Result<Arc<Feed>> {
        match self.threads.find(reply).await? {
            Some(Found::Feed(feed)) => Ok(feed),
            Some(Found::Orphan(accepted)) if command == Command::Delete && self.delete_orphan(&accepted).await? => {
                Err(Missing::Reply(reply).into())
            }
            Some(Found::Orphan(accepted)) => self.takeover.adopt(&accepted).await,
            None => Err(Missing::Reply(reply).into()),
        }
    }

    /// Ends the reply log of an orphaned reply, for its deletion: it need not be taken over for that, and can be deleted also
    /// on a full disk. `false`: an instance may be generating it.
    async fn delete_orphan(&self, accepted: &Arc<Accepted>) -> Result<bool> {
        let (reply, log) = (accepted.reply, self.threads.log());
        let _alone = self.takeover.adoptions.of(reply).await;
        let reply_log = match ReplyLog::read(log, accepted).await {
            Ok(reply_log) => reply_log,
            Err(ReplyLogError::Damaged { readable, .. }) => *readable,
            Err(error) => return Err(error.into()),
        };
        let is_ours = |owner| owner == self.instance || self.peers.life(owner) == Life::Dead;
        if self.running.contains(reply) || reply_log.end.is_some() || !owner(&reply_log, accepted).is_none_or(is_ours) {
            return Ok(false);
        }
        let record =
            ReplyLogRecord { v: VERSION, epoch: reply_log.epoch, nonce: random_u64(), entry: ReplyLogEntry::Deleted };
        match log.records().append_deletion(Subject::ReplyLog(reply), reply_log.last, record.encode().into()).await {
            Ok(_) => Ok(true),
            Err(AppendError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Commands the instance that generates a reply to end it, and waits until it has. Repeats the command if it has
    /// not: an instance may die with its command, and another continue the reply.
    async fn stop(&self, reply: ReplyId, command: Command) -> Result<Arc<Feed>> {
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline {
            let feed = self.find_or_adopt(reply, command).await?;
            if command == Command::Delete {
                feed.give_up();
            }
            // No task here: it has just ended, and its feed shows it, or it is generated elsewhere.
            if !feed.is_closed() && !self.running.command(reply, command) {
                self.stop_elsewhere(reply, command).await?;
            }
            match tokio::time::timeout(AGAIN, feed.wait_closed()).await {
                Ok(Ok(_)) => return Ok(feed),
                // Broken off here: it is being taken over, or written by another.
                Ok(Err(_)) => tokio::time::sleep(PAUSE).await,
                Err(_) => {}
            }
        }
        Err(Busy::Stopping.into())
    }
}
