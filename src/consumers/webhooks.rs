//! Webhooks: posts the ends of replies to the endpoints of their owners, signed as Standard Webhooks have it.
//!
//! - **At least once.** A position in the transcripts, which stands in the store, passes an end only when it is delivered, or
//!   noted as still to be. The `webhook-id` is made of what is told to whom: it is the same at each try, whoever makes it.
//! - **In order.** A reply has one end; ends of several are told as they come, many at once.
//! - **One carrier.** A [lease](carrier) in the store says which instance delivers; when that dies, another goes on.
//! - **Each for itself.** An endpoint has a [queue], a [courier] and a [breaker](backoff): one that hangs holds up
//!   nobody. What it does not take is tried again for a time (`WEBHOOK_GIVE_UP_AFTER`), then kept, to be sent again if
//!   somebody wants that.
//! - **Nothing inside.** [Addresses](address) that are not of the public internet are not called, whatever a name stands for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::auth::Auth;
use crate::config::StaticWebhook;
use crate::domain::ids::InstanceId;
use crate::log::{Log, Peers};
use crate::replies::Ends;
use crate::store::Store;
use crate::telemetry::Metrics;

mod address;
mod backoff;
mod board;
mod carrier;
mod client;
mod courier;
mod endpoints;
mod queue;
mod reader;
mod registry;
mod scribe;
mod secrets;
mod signature;
mod target;
mod tracker;

pub(crate) use address::Guard;
pub(crate) use board::Board;
pub(crate) use carrier::Carrier;
pub(crate) use endpoints::{Answered, Changes, Error, New, Shown, Webhooks, Which};
pub(crate) use target::Reach;

use client::Client;
use secrets::Secrets;
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
    /// For how long a delivery is tried.
    pub(crate) give_up_after: Duration,
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
    /// What secrets of endpoints are sealed with.
    pub(crate) auth: Auth,
    /// The instruments.
    pub(crate) metrics: Arc<Metrics>,
}

/// What callers ask for, what delivers, and what is seen of it.
pub(crate) fn build(config: Config, parts: Parts) -> (Webhooks, Carrier, Board) {
    let client = Client::new(Guard::new(config.allows_private), config.ca_file);
    #[cfg(feature = "simulation")]
    let client = client.simulated(parts.store.hook());
    let (changed, board) = (Arc::<Notify>::default(), Board::default());
    // A file of one instance is not there for another one that has to go on.
    let shares_no_store = parts.log.is_shared() && !parts.store.is_shared();
    let store = (!shares_no_store).then(|| parts.store.clone());
    let secrets = Secrets::new(parts.auth.clone());
    let webhooks = Webhooks::new(store.clone(), client.clone(), config.of_file.clone(), Arc::clone(&changed), secrets);
    let of_file = config.of_file.iter().map(Target::of_file).collect();
    let (board_too, retention, give_up_after) = (board.clone(), config.retention, config.give_up_after);
    let carrier = Carrier { parts, client, of_file, changed, board, retention, give_up_after, store };
    (webhooks, carrier, board_too)
}
