//! The replies that this instance generates, and the commands for their tasks.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::feed::Feed;
use crate::domain::ids::ReplyId;
use crate::log::peers::Command;
use crate::telemetry::Metrics;

/// The latest command for the task of a reply, if any.
pub(super) type Commands = watch::Receiver<Option<Command>>;

/// The replies that run here.
pub(super) struct Running {
    commands: Mutex<HashMap<ReplyId, watch::Sender<Option<Command>>>>,
    /// A task was dropped with its work undone.
    abandoned: Notify,
    metrics: Arc<Metrics>,
}

/// A reply's place among those that run here, held by its task. Dropped, whether in good order, in a panic, or
/// because a future is not polled any more, it is given up: the reply does not count as running, its followers here are
/// sent away to come back, and it is looked for anew.
pub(super) struct Registration {
    running: Arc<Running>,
    reply: ReplyId,
    /// The commands for its task.
    pub(super) commands: Commands,
    feed: Option<Arc<Feed>>,
    is_done: bool,
}

impl Running {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { commands: Mutex::default(), abandoned: Notify::new(), metrics }
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.commands.lock().len()
    }

    /// Enters a reply. `None`: it runs already.
    pub(super) fn enter(self: &Arc<Self>, reply: ReplyId) -> Option<Registration> {
        let mut running = self.commands.lock();
        if running.get(&reply).is_some_and(is_served) {
            return None;
        }
        let (sender, commands) = watch::channel(None);
        running.insert(reply, sender);
        self.count(running.len());
        Some(Registration { running: Arc::clone(self), reply, commands, feed: None, is_done: false })
    }

    /// Whether a reply is generated here.
    pub(super) fn contains(&self, reply: ReplyId) -> bool {
        self.commands.lock().get(&reply).is_some_and(is_served)
    }

    /// Sends a command to the task of a reply. `false`: none runs here.
    pub(super) fn command(&self, reply: ReplyId, command: Command) -> bool {
        let running = self.commands.lock();
        let Some(commands) = running.get(&reply).filter(|commands| is_served(commands)) else { return false };
        // A deletion stays one, whatever comes after it.
        commands.send_if_modified(|current| {
            let changes = *current != Some(Command::Delete) && *current != Some(command);
            if changes {
                *current = Some(command);
            }
            changes
        });
        true
    }

    /// Waits until a task was dropped with its work undone.
    pub(super) async fn abandoned(&self) {
        self.abandoned.notified().await;
    }

    fn count(&self, running: usize) {
        self.metrics.replies_running.set(i64::try_from(running).unwrap_or(i64::MAX));
    }
}

/// Whether there is a task that listens.
fn is_served(commands: &watch::Sender<Option<Command>>) -> bool {
    commands.receiver_count() > 0
}

impl Registration {
    /// Notes what the reply's followers here look at.
    pub(super) fn fills(&mut self, feed: &Arc<Feed>) {
        self.feed = Some(Arc::clone(feed));
    }

    /// Gives the place up in good order: the work is done, or another task's.
    pub(super) fn leave(mut self) {
        self.is_done = true;
    }

    /// Gives the place up in good order; another task fills the feed from now on.
    pub(super) fn hand_over(mut self) {
        self.feed = None;
        self.is_done = true;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut running = self.running.commands.lock();
        // Nobody else enters it as long as these commands are listened to.
        running.remove(&self.reply);
        self.running.count(running.len());
        drop(running);
        if let Some(feed) = self.feed.take() {
            feed.break_off();
        }
        if !self.is_done {
            self.running.abandoned.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::ThreadId;

    #[test]
    fn a_deletion_is_not_taken_back_by_a_cancellation() {
        let (running, reply) = (Arc::new(Running::new(Metrics::new())), ReplyId::random(ThreadId::random()));
        assert!(!running.command(reply, Command::Cancel), "it does not run");
        let registration = running.enter(reply).unwrap();
        assert!(running.enter(reply).is_none(), "it runs once");
        for command in [Command::Cancel, Command::Delete, Command::Cancel] {
            assert!(running.command(reply, command));
        }
        assert_eq!(*registration.commands.borrow(), Some(Command::Delete));
        registration.leave();
        assert!(!running.contains(reply) && running.len() == 0);
    }

    #[tokio::test]
    async fn a_reply_whose_task_panics_does_not_run_and_is_looked_for() {
        let (running, reply) = (Arc::new(Running::new(Metrics::new())), ReplyId::random(ThreadId::random()));
        let registration = running.enter(reply).unwrap();
        let task = tokio::spawn(async move {
            let _registration = registration;
            panic!("a fault of ours");
        });
        assert!(task.await.is_err());
        assert!(!running.contains(reply) && !running.command(reply, Command::Cancel) && running.len() == 0);
        running.abandoned().await;
        assert!(running.enter(reply).is_some(), "somebody else may go on");
    }
}
