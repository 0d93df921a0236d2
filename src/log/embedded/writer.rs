//! Writes the embedded log: fences, commits, acknowledges. One at a time; from a thread of its own, which gathers
//! what waits in its queue, or right where a write is asked for (see [`super::shortcut`]).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fjall::{OwnedWriteBatch, PersistMode};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::op::{Heads, Op, Stage, Written};
use super::{AppendError, Position, Shared, Subject};
use crate::crash::CrashPoint;
use crate::log::now_ms;

/// Writes that are committed together at most.
const BATCH: usize = 512;

/// So many writes at once say that there is more to come: waiting a little for it makes fewer and larger batches, and
/// wakes fewer threads.
const BUSY: usize = 8;

/// How long a busy writer waits.
const GATHER: Duration = Duration::from_micros(200);

/// Subjects whose last sequence is remembered, in each of two generations.
const HEADS: usize = 16 * 1024;

/// A write that waits, and who is to be told of it.
pub(super) struct Command {
    pub(super) op: Op,
    pub(super) done: Option<oneshot::Sender<Result<Written, AppendError>>>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    heads: Heads,
    next_position: Position,
    crash: CrashPoint,
}

/// A batch, before it is committed.
struct Draft {
    batch: OwnedWriteBatch,
    records: Vec<(Subject, u64)>,
    at: u64,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let next_position = shared.last_position.load(Ordering::Relaxed) + 1;
        Self { shared, heads: Heads::new(HEADS), next_position, crash: CrashPoint::from_env("CRASH_AFTER_WRITES") }
    }

    /// Whether writes are counted; then all are made by the thread, each on its own.
    pub(super) const fn is_counting(&self) -> bool {
        self.crash.is_armed()
    }

    /// Writes what comes through the queue, until every handle of the log is gone.
    pub(super) fn run(writer: &Mutex<Self>, mut queue: mpsc::Receiver<Command>) {
        let most = if writer.lock().is_counting() { 1 } else { BATCH };
        let mut commands = Vec::with_capacity(most);
        loop {
            let taken = queue.blocking_recv_many(&mut commands, most);
            if taken == 0 {
                return;
            }
            writer.lock().write_all(&mut commands);
            if taken >= BUSY {
                std::thread::sleep(GATHER);
            }
        }
    }

    /// Makes one write.
    pub(super) fn write(&mut self, op: Op) -> Result<Written, AppendError> {
        let mut draft = self.draft();
        let written = self.stage(&mut draft, op)?;
        self.commit(draft)?;
        Ok(written)
    }

    /// Makes writes as one batch, and tells those who wait for them.
    fn write_all(&mut self, commands: &mut Vec<Command>) {
        let mut draft = self.draft();
        let staged: Vec<_> =
            commands.drain(..).map(|Command { op, done }| (done, self.stage(&mut draft, op))).collect();
        let committed = self.commit(draft);
        for (done, result) in staged {
            let Some(done) = done else { continue };
            let result = match &committed {
                Ok(()) => result,
                Err(AppendError::Unavailable(error)) => result.and(Err(AppendError::Unavailable(error.clone()))),
                Err(_) => unreachable!("a commit fails in one way"),
            };
            let _ = done.send(result);
        }
    }

    fn draft(&self) -> Draft {
        Draft { batch: self.shared.tables.database.batch(), records: Vec::new(), at: now_ms() }
    }

    fn stage(&mut self, draft: &mut Draft, op: Op) -> Result<Written, AppendError> {
        let stage = &mut Stage {
            tables: &self.shared.tables,
            batch: &mut draft.batch,
            heads: &mut self.heads,
            next_position: &mut self.next_position,
            records: &mut draft.records,
            at: draft.at,
        };
        stage.stage(op)
    }

    /// Fails with [`AppendError::Unavailable`] only.
    fn commit(&mut self, draft: Draft) -> Result<(), AppendError> {
        if draft.batch.is_empty() {
            return Ok(());
        }
        self.crash.pass();
        let mode = if self.shared.config.sync_always { PersistMode::SyncData } else { PersistMode::Buffer };
        if let Err(error) = draft.batch.durability(Some(mode)).commit() {
            return Err(self.fail(&error));
        }
        let last = self.next_position - 1;
        if self.shared.last_position.swap(last, Ordering::Release) != last {
            self.shared.moved.send_replace(last);
        }
        self.shared.subscribers.publish(draft.records.into_iter());
        Ok(())
    }

    /// fjall takes no more writes after one that failed: what it has on disk is read again at the next start.
    fn fail(&mut self, error: &fjall::Error) -> AppendError {
        if !self.shared.broken.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the log cannot be written; restart the server when the cause is mended");
        }
        self.heads = Heads::new(HEADS);
        self.next_position = self.shared.last_position.load(Ordering::Relaxed) + 1;
        AppendError::Unavailable(error.to_string())
    }
}
