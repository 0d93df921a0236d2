//! A server of a simulation: the whole program from the bodies of requests down to the log, with what is outside of it
//! simulated, and without sockets. Only with the feature `simulation`.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::shutdown::Shutdown;
use super::watchdog::Watchdog;
use super::{App, Outside};
use crate::auth::Auth;
use crate::config::Config;
use crate::health::startup::Startup;
use crate::http::Door;
use crate::http::server::{Stop, pipes};
use crate::limits::Limits;
use crate::llm::Upstream;
use crate::log::simulated::{Build, Cluster};
use crate::replies::Runtime;
use crate::simulation::Process;
use crate::store::simulated::Database;
use crate::telemetry::Metrics;

pub use crate::llm::simulated::{Asked, Model, Play, Step};

/// What instances share.
#[derive(Clone)]
pub struct World {
    /// The log.
    pub cluster: Cluster,
    /// The store.
    pub database: Database,
    /// The model server.
    pub model: Arc<dyn Model>,
    /// The configuration of all instances, as an environment.
    pub environment: HashMap<String, String>,
}

/// An instance that runs.
pub struct Server {
    pipes: mpsc::UnboundedSender<DuplexStream>,
    shutdown: Shutdown,
    runtime: Runtime,
    limits: Limits,
    ended: AbortOnDropHandle<()>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
#[error("the server does not start: {0}")]
pub struct NotStarted(String);

/// Bytes that wait in a pipe at most.
const PIPE: usize = 64 << 10;

impl Server {
    /// Starts an instance of this build in this process.
    pub async fn start(world: &World, process: Process, build: Build) -> Result<Self, NotStarted> {
        let (config, faults) = Config::with_faults(&world.environment);
        if let Some(fault) = faults.first() {
            return Err(NotStarted(fault.to_string()));
        }
        let not_started = |error: &dyn std::error::Error| NotStarted(error.to_string());
        let auth = Auth::build(&config.auth).map_err(|error| not_started(&error))?;
        let shutdown = Shutdown::default();
        let (startup, metrics) = (Startup::begin(), Metrics::new());
        let door = Door::new(config.http.clone(), metrics, (auth.clone(), startup), shutdown.drain.clone());
        let stop = Stop { drain: shutdown.leave.clone(), abort: shutdown.abort.clone() };
        let (pipes, opened) = mpsc::unbounded_channel();
        let served = AbortOnDropHandle::new(tokio::spawn(pipes::serve(opened, door.clone(), stop)));
        let outside = Outside {
            log: world.cluster.log_of(process.clone(), build),
            store: world.database.store(process.clone()),
            upstream: Upstream::simulated(Arc::clone(&world.model), process),
        };
        let no_signals = AbortOnDropHandle::new(tokio::spawn(std::future::pending()));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, config.http.port));
        let app = App::assemble(
            config,
            address,
            outside,
            (door, served),
            auth,
            (shutdown.clone(), no_signals),
            |log, progress| Ok(Watchdog::new(log, progress)),
        );
        let app = app.await.map_err(|error| not_started(&error))?;
        let (runtime, limits) = (app.runtime.clone(), app.limits.clone());
        let ended = AbortOnDropHandle::new(tokio::spawn(async move { drop(Box::pin(app.run()).await) }));
        Ok(Self { pipes, shutdown, runtime, limits, ended })
    }

    /// A connection to it.
    pub fn connect(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(PIPE);
        // One that takes none any more drops it.
        let _ = self.pipes.send(server);
        client
    }

    /// Asks it to end, as SIGTERM does.
    pub fn terminate(&self) {
        self.shutdown.drain.cancel();
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.is_finished()
    }

    /// What it holds in memory for replies, by its name.
    pub fn holds(&self) -> Vec<(&'static str, usize)> {
        let reserving = ("callers with something reserved", self.limits.open());
        self.runtime.holds().into_iter().chain([reserving]).collect()
    }
}
