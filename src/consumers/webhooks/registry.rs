//! The endpoints that are delivered to, each with its queue and its courier.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::courier::{Courier, Tools};
use super::queue::{Queue, Shown};
use super::target::Target;
use crate::domain::caller::Owner;
use crate::domain::webhook::WebhookEvent;
use crate::store;
use crate::store::webhooks::Control;

/// The endpoints that are delivered to.
pub(super) struct Registry {
    tools: Tools,
    /// Those of the configuration's file.
    of_file: Vec<Target>,
    inner: Mutex<Inner>,
    couriers: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct Inner {
    revision: Option<u64>,
    queues: BTreeMap<String, Arc<Queue>>,
}

impl Registry {
    pub(super) fn new(tools: Tools, of_file: Vec<Target>, stop: CancellationToken) -> Self {
        Self { tools, of_file, inner: Mutex::default(), couriers: TaskTracker::new(), stop }
    }

    /// Takes over what was changed. What was there when it is called is known afterwards.
    pub(super) async fn refresh(&self) -> Result<(), store::Error> {
        let control = self.tools.store.webhook_control().await?;
        self.refresh_to(&control).await
    }

    /// The same, where it is known how often endpoints were changed.
    pub(super) async fn refresh_to(&self, control: &Control) -> Result<(), store::Error> {
        if self.inner.lock().revision == Some(control.revision) {
            return Ok(());
        }
        let endpoints = self.tools.store.webhook_endpoints().await?;
        let made = endpoints.iter().filter_map(|endpoint| Target::of(endpoint, &self.tools.secrets));
        let targets: BTreeMap<_, _> =
            self.of_file.iter().cloned().chain(made).map(|target| (target.id.clone(), target)).collect();
        self.set(control.revision, targets);
        Ok(())
    }

    fn set(&self, revision: u64, targets: BTreeMap<String, Target>) {
        let mut inner = self.inner.lock();
        // Of two who looked at the same time, the later look counts.
        if inner.revision.is_some_and(|known| known > revision) {
            return;
        }
        inner.revision = Some(revision);
        inner.queues.retain(|id, queue| {
            let stays = targets.contains_key(id);
            if !stays {
                queue.stop.cancel();
            }
            stays
        });
        for (id, target) in targets {
            if let Some(queue) = inner.queues.get(&id) {
                if *queue.target() != target {
                    queue.set_target(target);
                }
                // What was given up may be to be sent again.
                queue.look_again();
            } else {
                let queue = Arc::new(Queue::new(target, self.stop.child_token()));
                self.couriers.spawn(Courier::new(self.tools.clone(), Arc::clone(&queue)).run());
                inner.queues.insert(id, queue);
            }
        }
    }

    /// The queues of those who are told of an event.
    pub(super) fn wanting(&self, event: &WebhookEvent, owner: &Owner) -> Vec<Arc<Queue>> {
        let inner = self.inner.lock();
        inner.queues.values().filter(|queue| queue.target().wants(event, owner)).cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inner.lock().queues.is_empty()
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.inner.lock().queues.keys().cloned().collect()
    }

    /// How each endpoint is.
    pub(super) fn shown(&self) -> Vec<(String, Shown)> {
        self.inner.lock().queues.iter().map(|(id, queue)| (id.clone(), queue.shown())).collect()
    }

    pub(super) const fn tools(&self) -> &Tools {
        &self.tools
    }

    /// Waits until all couriers have come back, after they were told to.
    pub(super) async fn wait(&self) {
        self.couriers.close();
        self.couriers.wait().await;
    }
}
