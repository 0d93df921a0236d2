//! The replies that this instance generates, and the commands for their tasks.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::domain::ids::ReplyId;
use crate::log::peers::Command;
use crate::telemetry::Metrics;

/// What the task of a reply is told, if anything.
pub(super) type Commands = watch::Receiver<Option<Command>>;

/// The replies that run here.
pub(super) struct Running {
    commands: Mutex<HashMap<ReplyId, watch::Sender<Option<Command>>>>,
    metrics: Arc<Metrics>,
}

impl Running {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { commands: Mutex::default(), metrics }
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.commands.lock().len()
    }

    /// Enters a reply. `None`: it runs already.
    pub(super) fn enter(&self, reply: ReplyId) -> Option<Commands> {
        let mut running = self.commands.lock();
        if running.get(&reply).is_some_and(|commands| commands.receiver_count() > 0) {
            return None;
        }
        let (commands, receiver) = watch::channel(None);
        running.insert(reply, commands);
        self.count(running.len());
        Some(receiver)
    }

    /// Removes a reply whose task is over; another task of the reply stays.
    pub(super) fn leave(&self, reply: ReplyId) {
        let mut running = self.commands.lock();
        if running.get(&reply).is_some_and(|commands| commands.receiver_count() == 0) {
            running.remove(&reply);
        }
        self.count(running.len());
    }

    /// Whether a reply is generated here.
    pub(super) fn contains(&self, reply: ReplyId) -> bool {
        self.commands.lock().contains_key(&reply)
    }

    /// Tells the task of a reply what to do. `false`: none runs here.
    pub(super) fn command(&self, reply: ReplyId, command: Command) -> bool {
        let running = self.commands.lock();
        let Some(commands) = running.get(&reply) else { return false };
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

    fn count(&self, running: usize) {
        self.metrics.replies_running.set(i64::try_from(running).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::ThreadId;

    #[test]
    fn a_deletion_is_not_taken_back_by_a_cancellation() {
        let (running, reply) = (Running::new(Metrics::new()), ReplyId::random(ThreadId::random()));
        assert!(!running.command(reply, Command::Cancel), "it does not run");
        let commands = running.enter(reply).unwrap();
        assert!(running.enter(reply).is_none(), "it runs once");
        for command in [Command::Cancel, Command::Delete, Command::Cancel] {
            assert!(running.command(reply, command));
        }
        assert_eq!(*commands.borrow(), Some(Command::Delete));
        drop(commands);
        running.leave(reply);
        assert!(!running.contains(reply) && running.len() == 0);
    }
}
