//! Connections to NATS: how they are set up, and what a start that cannot have them says.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::object_store::ObjectStore;
use async_nats::{Client, ConnectOptions, Event};

use super::names::Names;
use super::streams::{self, Transcript};
use crate::config::faults::CrashPoint;
use crate::telemetry::causes::chain;

/// The oldest server that knows direct gets of several messages.
const OLDEST: (i64, i64, i64) = (2, 11, 0);

/// How long an answer is waited for. Longer than a publication takes on a busy cluster, shorter than a client's
/// patience.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a start waits for NATS.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// The longest pause between two tries to connect again.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Messages that may wait for a subscriber here. One that is slower misses some, and finds that out by their numbers.
const SUBSCRIPTION: usize = 4096;

/// How the log is set up in NATS.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses of servers: one, or several of a cluster with commas between.
    pub url: String,
    /// A file of credentials.
    pub credentials: Option<PathBuf>,
    /// Copies of each stream: 1, 3 or 5.
    pub replicas: usize,
    /// Streams that each family is spread over. Fixed when the log is made.
    pub shards: NonZeroU32,
    /// How long transcripts, snapshots, tickets and blobs are kept.
    pub retention: Duration,
    /// How long chains are kept.
    pub replay_window: Duration,
    /// Bytes that each family of streams may take on the servers' disks; what is new is refused beyond.
    pub max_bytes: Option<u64>,
}

impl Config {
    /// The addresses, without what is secret in them.
    pub fn shown(&self) -> String {
        shown(&self.url)
    }
}

/// Why the log cannot be used. In words, with what to change.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// NATS cannot be reached.
    #[error("cannot connect to {url} (NATS_URL): {reason}")]
    Connect {
        /// Where, without a password.
        url: String,
        /// Why not.
        reason: String,
    },
    /// The credentials cannot be read.
    #[error("cannot read {path} (NATS_CREDENTIALS): {source}")]
    Credentials {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is too old.
    #[error("the NATS server {url} has version {version}; 2.11 or later is needed")]
    TooOld {
        /// Which.
        url: String,
        /// Its version.
        version: String,
    },
    /// It has no JetStream.
    #[error("the NATS server {url} has no JetStream for this account; start it with --jetstream")]
    NoJetStream {
        /// Which.
        url: String,
    },
    /// The log was made with another number of shards, by which its threads are found.
    #[error("the log was made with LOG_SHARDS={made_with}, and that cannot be changed to {wanted} afterwards")]
    Shards {
        /// How many it has.
        made_with: NonZeroU32,
        /// How many are configured.
        wanted: NonZeroU32,
    },
    /// A stream cannot be made.
    #[error("cannot make or change the stream {stream}: {reason}")]
    Stream {
        /// Which.
        stream: String,
        /// Why not.
        reason: String,
    },
}

/// The log's connections. What decides things does not wait behind what is many.
#[derive(Clone)]
pub(super) struct Connections {
    pub(super) append: Writing,
    pub(super) read: Client,
}

/// The connection on which everything is written.
#[derive(Clone)]
pub(super) struct Writing {
    client: Client,
    /// Passed before each write, and after its answer, before that is heard.
    pub(super) crash: Arc<CrashPoint>,
}

impl Deref for Writing {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("state", &self.append.connection_state()).finish_non_exhaustive()
    }
}

/// A log that was found, or made.
type Started = (Connections, ObjectStore, Vec<Transcript>);

/// Connects, and makes or checks the streams. Where everything starts at once, NATS may be the last to be there, and a
/// cluster has no leader at first: that is waited for.
pub(super) async fn start(config: &Config, names: &Names) -> Result<Started, OpenError> {
    patiently(async || try_start(config, names).await).await
}

/// Tries again what may succeed in a moment: NATS may also go while a start is half done.
pub(super) async fn patiently<T>(what: impl AsyncFn() -> Result<T, OpenError>) -> Result<T, OpenError> {
    let begun = tokio::time::Instant::now();
    loop {
        let error = match what().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let may_pass =
            !matches!(error, OpenError::Credentials { .. } | OpenError::TooOld { .. } | OpenError::Shards { .. });
        if !may_pass || begun.elapsed() > START_PATIENCE {
            return Err(error);
        }
        tracing::warn!(%error, "waiting for NATS");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn try_start(config: &Config, names: &Names) -> Result<Started, OpenError> {
    let connections = connect(config).await?;
    let (blobs, transcripts) = streams::make(&connections, config, names).await?;
    Ok((connections, blobs, transcripts))
}

/// Connects, and sees to it that the server is one that the log can live on.
pub(super) async fn connect(config: &Config) -> Result<Connections, OpenError> {
    let tell = |event| tracing::info!(%event, "NATS");
    let append = client(config, "rejoinder: appends", tell).await?;
    let read = client(config, "rejoinder: reads", |_| {}).await?;
    let info = append.server_info();
    if !append.is_server_compatible(OLDEST.0, OLDEST.1, OLDEST.2) {
        return Err(OpenError::TooOld { url: shown(&config.url), version: info.version });
    }
    let crash = Arc::new(CrashPoint::from_env("CRASH_AFTER_POINTS"));
    Ok(Connections { append: Writing { client: append, crash }, read })
}

/// Connects. `heard` is told of what happens to the connection.
pub(super) async fn client(
    config: &Config,
    name: &str,
    heard: impl Fn(Event) + Send + Sync + 'static,
) -> Result<Client, OpenError> {
    let heard = Arc::new(heard);
    let mut options = ConnectOptions::new()
        .name(name)
        .request_timeout(Some(PATIENCE))
        .connection_timeout(Duration::from_secs(3))
        .ping_interval(Duration::from_secs(10))
        .subscription_capacity(SUBSCRIPTION)
        .reconnect_delay_callback(|attempts| {
            LONGEST_PAUSE.min(Duration::from_millis(20) * u32::try_from(attempts).unwrap_or(u32::MAX).min(100))
        })
        .event_callback(move |event| {
            heard(event);
            std::future::ready(())
        });
    if let Some(path) = &config.credentials {
        let read = options.credentials_file(path).await;
        options = read.map_err(|source| OpenError::Credentials { path: path.clone(), source })?;
    }
    let servers: Vec<_> = config.url.split(',').map(|url| url.trim().to_owned()).collect();
    let connected = options.connect(servers).await;
    connected.map_err(|error| OpenError::Connect { url: shown(&config.url), reason: chain(&error) })
}

/// Addresses without what is secret in them.
pub(super) fn shown(url: &str) -> String {
    let hide = |one: &str| match (one.split_once("://"), one.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        (_, None) => one.to_owned(),
    };
    url.split(',').map(|one| hide(one.trim())).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_passwords() {
        assert_eq!(shown("nats://me:secret@a:4222, nats://b:4222"), "nats://a:4222,nats://b:4222");
        assert_eq!(shown("token@a"), "a");
    }
}
