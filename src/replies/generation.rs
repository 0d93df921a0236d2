//! Generation: accepts replies, says them, goes on with those that were left, and stops them.
//!
//! A reply is one task, which listens to an upstream, and to orders, and writes through the reply's
//! [`Appender`](crate::replies::appender::Appender). Clients are not known here: what is stored is seen by whoever
//! follows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::conversation::ids::{InstanceId, ReplyId};
use crate::conversation::record::Accepted;
use crate::log::{Peers, peers};
use crate::replies::command::{Generator, Joined, NewReply};
use crate::replies::feed::Feed;
use crate::replies::threads::Threads;
use crate::replies::{Error, Result};
use crate::speech::Speech;
use crate::telemetry::Metrics;
use crate::upstream::Upstream;

use super::admit::Admitted;
use super::adoptions::Adoptions;

/// How generation is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Replies that run at once at most; more are refused with 503.
    pub max_running: usize,
    /// The longest that a reply may take, over all attempts and takeovers, from its acceptance.
    pub reply_deadline: Duration,
    /// Whether a reply that was broken off is continued.
    pub continues: bool,
    /// How long a reply waits for a log that cannot be written.
    pub log_patience: Duration,
}

/// Says replies. A handle: cheap to clone.
#[derive(Clone)]
pub struct Generation {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) config: Config,
    pub(super) threads: Threads,
    pub(super) upstream: Upstream,
    pub(super) speech: Speech,
    pub(super) metrics: Arc<Metrics>,
    pub(super) instance: InstanceId,
    pub(super) peers: Peers,
    pub(super) running: Mutex<HashMap<ReplyId, watch::Sender<Order>>>,
    pub(super) adoptions: Adoptions,
    pub(super) tasks: TaskTracker,
    /// Hand over what runs, accept nothing.
    pub(super) leave: CancellationToken,
}

/// What the task of a reply is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    GoOn,
    Cancel,
    Delete,
}

impl Generation {
    /// Generation on this instance, which the others know by this id. When `leave` is cancelled it hands over what runs.
    pub fn new(
        config: Config,
        threads: Threads,
        (upstream, speech): (Upstream, Speech),
        metrics: Arc<Metrics>,
        (instance, peers): (InstanceId, Peers),
        leave: CancellationToken,
    ) -> Self {
        let inner = Inner {
            config,
            threads,
            upstream,
            speech,
            metrics,
            instance,
            peers,
            running: Mutex::default(),
            adoptions: Adoptions::default(),
            tasks: TaskTracker::new(),
            leave,
        };
        Self { inner: Arc::new(inner) }
    }

    /// How many replies run here.
    pub fn running(&self) -> usize {
        self.inner.running.lock().len()
    }

    /// Waits until nothing runs here any more; to be called after `leave` was cancelled.
    pub async fn wait(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Enters a reply among those that run here. `None`: it does already.
    pub(super) fn enter(&self, reply: ReplyId) -> Option<watch::Receiver<Order>> {
        let mut running = self.inner.running.lock();
        if running.get(&reply).is_some_and(|orders| orders.receiver_count() > 0) {
            return None;
        }
        let (orders, receiver) = watch::channel(Order::GoOn);
        running.insert(reply, orders);
        self.inner.metrics.replies_running.set(i64::try_from(running.len()).unwrap_or(i64::MAX));
        Some(receiver)
    }

    /// Takes a reply whose task is over from those that run here; another task of the reply stays.
    pub(super) fn leave(&self, reply: ReplyId) {
        let mut running = self.inner.running.lock();
        if running.get(&reply).is_some_and(|orders| orders.receiver_count() == 0) {
            running.remove(&reply);
        }
        self.inner.metrics.replies_running.set(i64::try_from(running.len()).unwrap_or(i64::MAX));
    }

    /// Whether a reply is said here.
    pub(super) fn is_running(&self, reply: ReplyId) -> bool {
        self.inner.running.lock().contains_key(&reply)
    }

    /// Does what other instances ask for, until the log is closed.
    pub async fn obey(self) {
        let obey = |reply, order| {
            let order = match order {
                peers::Order::Cancel => Order::Cancel,
                peers::Order::Delete => Order::Delete,
            };
            self.order(reply, order)
        };
        self.inner.peers.obey(obey).await;
    }

    /// Tells the task of a reply what to do. `false`: none runs here.
    pub(super) fn order(&self, reply: ReplyId, order: Order) -> bool {
        let running = self.inner.running.lock();
        let Some(orders) = running.get(&reply) else { return false };
        // A deletion stays one, whatever comes after it.
        orders.send_if_modified(|current| {
            let changes = *current != Order::Delete && *current != order;
            if changes {
                *current = order;
            }
            changes
        });
        true
    }
}

impl Generator for Generation {
    fn accept(&self, new: NewReply) -> BoxFuture<'static, Result<Joined>> {
        let generation = self.clone();
        // While it waits for a slot it has not begun, and a client that goes away takes it along.
        Box::pin(async move {
            match generation.admit(&new).await? {
                Admitted::Known(joined) => Ok(joined),
                Admitted::New { model, slot } => {
                    let accepting = Self::accept_reply(generation.clone(), new, model, slot);
                    generation.detached(accepting).await
                }
            }
        })
    }

    fn adopt(&self, accepted: Arc<Accepted>) -> BoxFuture<'static, Result<Arc<Feed>>> {
        let generation = self.clone();
        self.detached(async move { generation.adopt_reply(&accepted).await })
    }

    fn cancel(&self, reply: ReplyId) -> BoxFuture<'static, Result<Arc<Feed>>> {
        let generation = self.clone();
        self.detached(async move { generation.cancel_reply(reply).await })
    }

    fn delete(&self, reply: ReplyId) -> BoxFuture<'static, Result<()>> {
        let generation = self.clone();
        self.detached(async move { generation.delete_reply(reply).await })
    }
}

impl Generation {
    /// Runs to its end also when the client that asked for it goes away in the middle.
    fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let task = self.inner.tasks.spawn(work);
        Box::pin(async move { task.await.unwrap_or_else(|_| Err(Error::Internal)) })
    }
}
