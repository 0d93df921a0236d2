//! The composition root: builds the parts, tells each what it needs of the others, and runs them to their end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::app::shutdown::Shutdown;
use crate::auth::{self, Auth};
use crate::config::Config;
use crate::consumers::projection::{self, Projection};
use crate::consumers::webhooks;
use crate::domain::ids::InstanceId;
use crate::health::Latches;
use crate::health::startup::Startup;
use crate::http::server::Side;
use crate::http::{self, Door, Edge};
use crate::limits::Limits;
use crate::llm::{self, Upstream};
use crate::log::{self, Embedded, JetStream, Log, Peers};
use crate::replies::{self, Runtime};
use crate::services::{self, Observer};
use crate::speech::Speech;
use crate::speech::hearing::Hearing;
use crate::store::{self, Store};
use crate::telemetry::Metrics;
use crate::telemetry::otlp::MetricsExport;

mod greeting;
pub(crate) mod open_files;
mod parts;
pub(crate) mod shutdown;
#[cfg(feature = "simulation")]
pub mod simulated;
mod status;
mod watchdog;

pub(crate) use parts::hearing_servers;
pub(crate) use parts::nats as nats_config;
pub(crate) use parts::speech_servers;
pub(crate) use parts::upstream as upstream_config;

use status::ServerStatus;
use watchdog::Watchdog;

/// How often old records are looked for.
const EXPIRY: Duration = Duration::from_mins(1);

/// How often the disk's space is looked at.
const SPACE: Duration = Duration::from_secs(1);

/// A server that listens and is put together. What goes on beside requests does not run yet.
pub(crate) struct App {
    config: Config,
    served: AbortOnDropHandle<()>,
    auth: Auth,
    log: Log,
    store: Store,
    upstream: Upstream,
    runtime: Runtime,
    speech: Speech,
    hearing: Hearing,
    limits: Limits,
    projection: Projection,
    webhooks: webhooks::Carrier,
    status: Arc<ServerStatus>,
    shutdown: Shutdown,
    signals: AbortOnDropHandle<()>,
    greeting: String,
    peers: Peers,
}

/// What a server reaches over a network, or on a disk.
struct Outside {
    log: Log,
    store: Store,
    upstream: Upstream,
}

/// How the watchdog begins.
type Watch = fn(Log, Arc<projection::Progress>) -> Result<Arc<Watchdog>, io::Error>;

/// Why a server could not be started: in words, for the person who starts it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The log.
    #[error(transparent)]
    Log(#[from] log::embedded::OpenError),
    /// The log on NATS.
    #[error("{0} (to change: {change})", change = .0.change())]
    Nats(#[from] log::jetstream::OpenError),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// The upstream's client.
    #[error("cannot call the model server: {0}")]
    Upstream(#[from] llm::BuildError),
    /// A speech server's client.
    #[error("cannot call the speech server (TTS_BASE_URL): {0}")]
    Speech(services::BuildError),
    /// The client of a server that transcribes.
    #[error("cannot call the transcription server (ASR_BASE_URL): {0}")]
    Hearing(services::BuildError),
    /// The address.
    #[error("cannot listen on {address} ({variables}): {source}")]
    Address {
        /// Which.
        address: SocketAddr,
        /// What it is set by.
        variables: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Those who may use it.
    #[error(transparent)]
    Auth(#[from] auth::BuildError),
    /// What tickets and sessions are signed with.
    #[error("cannot keep the secret of tickets and sessions in DATA_DIR: {0}")]
    Secret(io::Error),
    /// The thread that watches cannot be started.
    #[error("cannot start a thread: {0}")]
    Watchdog(io::Error),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(io::Error),
}

/// The log cannot be written any more. What was acknowledged is safe; a new start may find the cause gone.
#[derive(Debug, thiserror::Error)]
#[error("the log cannot go on: {0}")]
pub(crate) struct LogFailed(Arc<str>);

impl App {
    /// Binds the address, opens log and store, and puts the parts together. `None`: a signal came meanwhile.
    pub(crate) async fn build(mut config: Config) -> Result<Option<Self>, StartError> {
        config.http.max_connections = open_files::connections(config.http.max_connections);
        // First of all: a signal that comes while it starts is to end it in good order, too.
        let shutdown = Shutdown::default();
        let signals = shutdown.listen().map_err(StartError::Signals)?;
        let drain = shutdown.drain.clone();
        let listener = bind(SocketAddr::new(config.http.host, config.http.port), "HOST, PORT")?;
        let admin = config.http.admin.map(|address| bind(address, "ADMIN_ADDR")).transpose()?;
        let address = local_addr(&listener);
        tracing::info!(%address, "listening");
        let (auth, startup) = (Auth::build(&config.auth)?, Startup::begin());
        let door = Door::new(config.http.clone(), Metrics::new(), (auth.clone(), startup.clone()), drain.clone());
        let stop = http::server::Stop { drain: shutdown.leave.clone(), abort: shutdown.abort.clone() };
        let served = serve(listener, admin, &door, &stop);
        tokio::select! {
            () = drain.cancelled() => Ok(None),
            app = Box::pin(Self::put_together(config, address, (door, served), (auth, startup), (shutdown, signals))) => app.map(Some),
        }
    }

    /// Waits for what has to be there, and puts the parts together.
    async fn put_together(
        config: Config,
        address: SocketAddr,
        (door, served): (Door, AbortOnDropHandle<()>),
        (auth, startup): (Auth, Startup),
        (shutdown, signals): (Shutdown, AbortOnDropHandle<()>),
    ) -> Result<Self, StartError> {
        let (metrics, tasks) = (Arc::clone(door.metrics()), TaskTracker::new());
        let log = async {
            let log = open_log(&config, &startup).await?;
            // Whoever has the log open is alone in its directory, and nobody else makes another secret there.
            find_secret(&config, &auth).await.map_err(StartError::Secret)?;
            Ok::<_, StartError>(log)
        };
        let (log, store) = tokio::join!(log, open_store(&config, &startup));
        let (log, store) = (log?, store?);
        let observer = |name: &str| Arc::new(parts::Measured::new(name, services::TEXT, &metrics)) as Arc<dyn Observer>;
        let upstream = Upstream::build(parts::upstream(&config, observer, &tasks))?;
        let outside = Outside { log, store, upstream };
        Self::assemble(config, address, outside, (door, served), auth, (shutdown, signals), Watchdog::start).await
    }

    /// Puts the parts together.
    async fn assemble(
        config: Config,
        address: SocketAddr,
        Outside { log, store, upstream }: Outside,
        (door, served): (Door, AbortOnDropHandle<()>),
        auth: Auth,
        (shutdown, signals): (Shutdown, AbortOnDropHandle<()>),
        watch: Watch,
    ) -> Result<Self, StartError> {
        let (metrics, tasks) = (Arc::clone(door.metrics()), TaskTracker::new());
        let instance = InstanceId::random();
        let peers = log.membership().join(instance).await?;
        let speech = parts::speech(&config, &metrics, &tasks).map_err(StartError::Speech)?;
        let hearing = parts::hearing(&config, &metrics).map_err(StartError::Hearing)?;
        let greeting = greeting::greeting(&config, &upstream, address).await;
        // Whoever asks an open server is told all that its operator is.
        let public = if auth.is_on() { greeting::public() } else { greeting.clone() };

        let limits = Limits::new(
            config.tiers.clone(),
            (instance, peers.clone()),
            (log.clone(), store.clone()),
            Arc::clone(&metrics),
        );
        let parts = replies::Parts {
            log: log.clone(),
            store: store.clone(),
            upstream: upstream.clone(),
            speech: speech.clone(),
            hearing: hearing.clone(),
            limits: limits.clone(),
            metrics: Arc::clone(&metrics),
            instance,
            peers: peers.clone(),
            leave: shutdown.leave.clone(),
        };
        let (replies, runtime) = replies::build(parts::replies(&config), parts);
        let projecting = projection::Config { retention: config.log.retention, ..projection::Config::default() };
        let projection = Projection::new(projecting, log.clone(), store.clone(), runtime.deletions());
        projection.look().await;
        let parts = webhooks::Parts {
            log: log.clone(),
            store: store.clone(),
            ends: runtime.ends(),
            instance,
            peers: peers.clone(),
            auth: auth.clone(),
            metrics: Arc::clone(&metrics),
        };
        let (endpoints, webhooks, board) = webhooks::build(parts::webhooks(&config), parts);
        webhooks.look().await;
        let watchdog = watch(log.clone(), projection.progress()).map_err(StartError::Watchdog)?;
        let status = Arc::new(ServerStatus {
            latches: Latches::default(),
            watchdog,
            log: log.clone(),
            store: store.kind(),
            runtime: runtime.clone(),
            retention: config.log.retention,
            projection: projection.progress(),
            webhooks: board,
            services: upstream.services().chain(speech.services()).chain(hearing.services()).cloned().collect(),
            upstream: upstream.clone(),
            speech: speech.clone(),
            hearing: hearing.clone(),
            metrics: Arc::clone(&metrics),
            started: std::time::Instant::now(),
        });
        status.latches.log_reached();
        let edge = Edge::new(
            (config.http.clone(), public, auth.clone()),
            (replies, speech.clone(), hearing.clone()),
            (limits.clone(), store.clone(), endpoints),
            upstream.clone(),
            Arc::clone(&status) as Arc<dyn http::Health>,
            &door,
            shutdown.drain.clone(),
        );
        // Whoever is told where it listens finds it there.
        door.open(edge);
        Ok(Self {
            config,
            served,
            auth,
            log,
            store,
            upstream,
            runtime,
            speech,
            hearing,
            limits,
            projection,
            webhooks,
            status,
            shutdown,
            signals,
            greeting,
            peers,
        })
    }

    /// What a person who starts it wants to know.
    pub(crate) fn greeting(&self) -> &str {
        &self.greeting
    }

    /// Runs until a signal ends it, or the log cannot go on. Whether everything was handed over and written: a second
    /// signal ends it at once.
    pub(crate) async fn run(self) -> Result<bool, LogFailed> {
        let (log, at_once) = (self.log.clone(), self.shutdown.at_once.clone());
        tokio::select! {
            () = self.run_to_the_end() => Ok(true),
            () = at_once.cancelled() => Ok(false),
            reason = log.failed() => Err(LogFailed(reason)),
        }
    }

    async fn run_to_the_end(self) {
        let _signals = self.signals;
        let Shutdown { drain, leave, abort, .. } = self.shutdown;
        let tasks = TaskTracker::new();
        let projecting = CancellationToken::new();
        tasks.spawn(self.runtime.clone().sweep(leave.clone()));
        tasks.spawn(self.upstream.watch(leave.clone()));
        let commands = tokio::spawn(self.runtime.clone().handle_commands());
        let answering = tokio::spawn(self.limits.clone().answer());
        let counting = tokio::spawn(self.limits.run(projecting.clone()));
        let exporting = self.config.telemetry.otlp.as_ref().and_then(MetricsExport::to).map(|export| {
            let status = Arc::clone(&self.status);
            tokio::spawn(export.run(move || http::Health::metrics(&*status), projecting.clone()))
        });
        tasks.spawn(maintain(self.log.clone(), self.config.log.clone(), leave.clone()));
        tasks.spawn(self.runtime.clone().watch_store(leave.clone()));
        tasks.spawn(self.runtime.clone().complete_departures(leave.clone()));
        tasks.spawn(self.runtime.clone().keep_retention(leave.clone()));
        tasks.spawn(self.speech.watch(leave.clone()));
        tasks.spawn(self.hearing.watch(leave.clone()));
        let projected = tokio::spawn(self.projection.run(projecting.clone()));
        let delivering = tokio::spawn(self.webhooks.run(projecting.clone()));
        tasks.spawn(self.auth.watch(leave.clone()));

        drain.cancelled().await;
        self.status.latches.drain();
        wait_idle(&self.runtime, self.config.drain.generation()).await;
        leave.cancel();
        self.runtime.wait().await;
        self.peers.leave().await;
        commands.abort();
        answering.abort();
        // Clients take what they still have to be sent.
        if tokio::time::timeout(crate::config::Drain::GRACE, self.served).await.is_err() {
            abort.cancel();
        }
        self.runtime.close().await;
        tasks.close();
        tasks.wait().await;
        projecting.cancel();
        if projected.await.is_err() {
            tracing::error!("the projection ended early; what it has not written remains in the log");
        }
        let _ = counting.await;
        if let Some(exporting) = exporting {
            let _ = exporting.await;
        }
        if delivering.await.is_err() {
            tracing::error!("the delivery of webhooks ended early; the next start goes on with it");
        }
        self.store.close().await;
    }
}

/// A server that is alone with its log makes its own secret. Of several, each would refuse what another signed.
async fn find_secret(config: &Config, auth: &Auth) -> io::Result<()> {
    if !config.auth.signing_keys.is_empty() {
        return Ok(());
    }
    if config.log.nats.is_some() {
        if auth.is_on() {
            tracing::warn!("SECRET_KEY is not set: there are neither tickets nor sessions for browsers");
        }
        return Ok(());
    }
    let dir = config.data_dir.clone();
    let secret = tokio::task::spawn_blocking(move || auth::secret::of_dir(&dir)).await.map_err(io::Error::other)??;
    auth.sign_with(secret);
    Ok(())
}

/// Serves clients, and operators where they have a listener of their own, until both are drained.
fn serve(
    public: TcpListener,
    admin: Option<TcpListener>,
    door: &Door,
    stop: &http::server::Stop,
) -> AbortOnDropHandle<()> {
    let clients = http::server::serve(public, door.clone(), Side::Public, stop.clone());
    let operators = admin.map(|admin| http::server::serve(admin, door.clone(), Side::Admin, stop.clone()));
    AbortOnDropHandle::new(tokio::spawn(async {
        tokio::join!(clients, futures_util::future::OptionFuture::from(operators));
    }))
}

fn bind(address: SocketAddr, variables: &'static str) -> Result<TcpListener, StartError> {
    // Many clients come back at once after a restart.
    let listening = reserve(address).and_then(|socket| socket.listen(4096));
    listening.map_err(|source| StartError::Address { address, variables, source })
}

/// The address for ourselves, without listening there yet.
pub(crate) fn reserve(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn local_addr(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("a bound socket has an address")
}

/// Waits until nothing runs, at most this long.
async fn wait_idle(runtime: &Runtime, at_most: Duration) {
    let idle = async {
        while runtime.running() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = tokio::time::timeout(at_most, idle).await;
}

/// Opens the log where it is configured to be.
async fn open_log(config: &Config, startup: &Startup) -> Result<Log, StartError> {
    if let Some(nats) = parts::nats(config) {
        let awaited = startup.wait_for("log", nats.shown());
        let waits = move |error: &log::jetstream::OpenError| awaited.failed(error.to_string(), error.change());
        return Ok(Log::JetStream(JetStream::open_telling(&nats, Arc::new(waits)).await?));
    }
    let embedded = parts::log(config);
    let _awaited = startup.wait_for("log", embedded.dir.display().to_string());
    let opened = tokio::task::spawn_blocking(move || Embedded::open(embedded)).await;
    Ok(Log::Embedded(opened.expect("opening the log does not panic")?))
}

async fn open_store(config: &Config, startup: &Startup) -> Result<Store, StartError> {
    let address = match &config.store {
        store::Config::Sqlite(path) => path.display().to_string(),
        store::Config::Postgres(postgres) => {
            postgres.address().map_or_else(|| "a local socket".to_owned(), |(host, port)| format!("{host}:{port}"))
        }
    };
    let awaited = startup.wait_for("store", address);
    let store = Store::open(&config.store, config.tables).await?;
    awaited.reached();
    Ok(store)
}

/// Keeps the log in order.
async fn maintain(log: Log, config: crate::config::Log, stop: CancellationToken) {
    let mut space = tokio::time::interval(SPACE);
    let mut expiry = tokio::time::interval(EXPIRY.min(config.replay_window));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = space.tick() => log.check_space().await,
            _ = expiry.tick() => {
                if let Err(error) = log.expire(config.retention, config.replay_window).await {
                    tracing::warn!(%error, "cannot erase old records from the log");
                }
            }
        }
    }
}
