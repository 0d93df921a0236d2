//! Webhooks: posts the ends of replies to the endpoints of their owners, signed as Standard Webhooks have it.
//!
//! - **At least once.** A position in the transcripts, which stands in the store, passes an end only when it is delivered, or
//!   noted as still to be. The `webhook-id` is made of what is told to whom: it is the same at each try, whoever makes it.
//! - **In order.** A reply has one end; ends of several are told as they come, many at once.
//! - **One carrier.** A [lease](carrier) in the store says which instance delivers; when that dies, another goes on.
//! - **Each for itself.** An endpoint has a [queue], a [courier] and a [breaker](backoff): one that hangs holds up
//!   nobody. What it does not take is tried again for 72 hours, then kept, to be sent again if somebody wants that.
//! - **Nothing inside.** [Addresses](address) that are not of the public internet are not called, whatever a name stands for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config::StaticWebhook;
use crate::domain::ids::InstanceId;
use crate::log::{Log, Peers, now_ms};
use crate::replies::Ends;
use crate::store::Store;
use crate::telemetry::{Metrics, ObservedWebhook};

mod address;
mod backoff;
mod carrier;
mod client;
mod courier;
mod endpoints;
mod queue;
mod reader;
mod registry;
mod scribe;
mod signature;
mod target;
mod tracker;

pub(crate) use address::Guard;
pub(crate) use carrier::Carrier;
pub(crate) use endpoints::{Answered, Changes, Error, New, Shown, Webhooks, Which};
pub(crate) use target::Reach;

use client::Client;
use registry::Registry;
use target::Target;

/// How webhooks are set up.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Endpoints of the configuration's file.
    pub(crate) of_file: Vec<StaticWebhook>,
    /// Whether addresses are called that are not of the public internet.
    pub(crate) allows_private: bool,
    /// Certificates to be trusted beside the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// How long the log keeps transcripts.
    pub(crate) retention: Duration,
}

/// What webhooks need of others.
#[derive(Clone)]
pub(crate) struct Parts {
    /// Where ends are read.
    pub(crate) log: Log,
    /// Where endpoints are kept, and what is still to be done.
    pub(crate) store: Store,
    /// Whose replies are.
    pub(crate) ends: Ends,
    /// This instance.
    pub(crate) instance: InstanceId,
    /// The others.
    pub(crate) peers: Peers,
    /// The instruments.
    pub(crate) metrics: Arc<Metrics>,
}

/// What goes on, for those who look at it from outside. A handle: cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<Mutex<Option<Arc<Registry>>>>);

/// What callers ask for, what delivers, and what is seen of it.
pub(crate) fn build(config: Config, parts: Parts) -> (Webhooks, Carrier, Board) {
    let client = Client::new(Guard::new(config.allows_private), config.ca_file);
    #[cfg(feature = "simulation")]
    let client = client.simulated(parts.store.hook());
    let (changed, board) = (Arc::<Notify>::default(), Board::default());
    // A file of one instance is not there for another one that has to go on.
    let shares_no_store = parts.log.is_shared() && !parts.store.is_shared();
    let store = (!shares_no_store).then(|| parts.store.clone());
    let webhooks = Webhooks::new(store.clone(), client.clone(), config.of_file.clone(), Arc::clone(&changed));
    let of_file = config.of_file.iter().map(Target::of_file).collect();
    let (board_too, retention) = (board.clone(), config.retention);
    let carrier = Carrier { parts, client, of_file, changed, board, retention, store };
    (webhooks, carrier, board_too)
}

impl Board {
    fn set(&self, registry: Option<Arc<Registry>>) {
        *self.0.lock() = registry;
    }

    /// How each endpoint is, if this instance delivers.
    pub(crate) fn observed(&self) -> Vec<ObservedWebhook> {
        let shown = self.0.lock().as_ref().map(|registry| registry.shown()).unwrap_or_default();
        let now = now_ms();
        let observe = |(endpoint, shown): (String, queue::Shown)| ObservedWebhook {
            endpoint,
            pending: shown.pending,
            failing: shown.failing_since.map(|since| Duration::from_millis(now.saturating_sub(since))),
            is_ended: shown.is_ended,
        };
        shown.into_iter().map(observe).collect()
    }
}
