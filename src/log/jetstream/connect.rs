//! Connections to NATS: how they are set up, and how long a start waits for them.

use std::error::Error as _;
use std::fmt;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{Context, ContextBuilder};
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerError};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::login;
use super::names::Names;
use super::open_error::{LEAST_PAYLOAD, OpenError};
use super::streams::{self, Transcript};
use crate::config::faults::CrashPoint;
use crate::config::nats::{Api, Servers};
use crate::telemetry::causes::chain;

/// The oldest server that knows direct gets of several messages.
const OLDEST: (i64, i64, i64) = (2, 11, 0);

/// How long an answer is waited for. Longer than a publication takes on a busy cluster, shorter than a client
/// waits.
const TIMEOUT: Duration = Duration::from_secs(1);

/// How long a start waits for servers that refuse us, or that we do not trust: they may be about to learn of a new user, or to
/// get a new certificate.
const REFUSED_TIMEOUT: Duration = Duration::from_secs(20);

/// The first pause between two tries of a start, and the longest: each is twice the one before.
const START_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// The longest pause between two tries to connect again.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Messages that may wait for a subscriber here. One that is slower misses some, and finds that out by their numbers.
const SUBSCRIPTION: usize = 4096;

/// How the log is set up in NATS.
#[derive(Debug, Clone)]
pub struct Config {
    /// The addresses of the servers, and the login for each.
    pub servers: Servers,
    /// A file of credentials.
    pub credentials: Option<PathBuf>,
    /// Certificates of the authorities that signed the servers', instead of those of the system.
    pub ca_file: Option<PathBuf>,
    /// Where JetStream is asked.
    pub api: Api,
    /// Copies of each stream: 1, 3 or 5.
    pub replicas: usize,
    /// Streams that each family is spread over. Fixed when the log is made.
    pub shards: NonZeroU32,
    /// How long transcripts, snapshots, tickets and blobs are stored.
    pub retention: Duration,
    /// How long reply logs are stored.
    pub replay_window: Duration,
    /// Bytes that each family of streams may take on the servers' disks; what is new is refused beyond.
    pub max_bytes: Option<u64>,
}

impl Config {
    /// The addresses, without what is secret in them.
    pub fn shown(&self) -> String {
        self.servers.to_string()
    }

    /// The API of JetStream.
    pub(super) fn context(&self, client: &Client) -> Context {
        ContextBuilder::new().api_prefix(self.api.prefix()).build(client.clone())
    }
}

/// The log's connections. What decides things does not wait behind what is many.
#[derive(Clone)]
pub(super) struct Connections {
    pub(super) append: Writing,
    pub(super) read: Asking,
    /// The last permission that a server denied.
    pub(super) denied: Denied,
}

/// A connection on which JetStream can be asked.
#[derive(Clone)]
pub(super) struct Asking {
    client: Client,
    api: Arc<str>,
}

/// The connection on which everything is written.
#[derive(Clone)]
pub(super) struct Writing {
    asking: Asking,
    /// Passed before each write, and after its answer, before that is heard.
    pub(super) crash: Arc<CrashPoint>,
}

/// A request without permission is not answered: the server's error comes separately.
#[derive(Debug, Clone, Default)]
pub(super) struct Denied(Arc<Mutex<Option<String>>>);

impl Denied {
    fn hear(&self, event: &Event) {
        if let Event::ServerError(ServerError::Other(text)) = event
            && text.to_ascii_lowercase().contains("permissions violation")
        {
            *self.0.lock() = Some(text.clone());
        }
    }

    /// The last error since the previous call.
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().take()
    }
}

impl Asking {
    /// The subject of a request.
    pub(super) fn api(&self, what: &str) -> String {
        format!("{}.{what}", self.api)
    }
}

impl Deref for Asking {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Deref for Writing {
    type Target = Asking;

    fn deref(&self) -> &Asking {
        &self.asking
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("state", &self.append.connection_state()).finish_non_exhaustive()
    }
}

/// Called with the reason why a start waits.
pub type Waits = Arc<dyn Fn(&OpenError) + Send + Sync>;

/// A log that was found, or made.
type Started = (Connections, ObjectStore, Vec<Transcript>);

/// Connects, and makes or checks the streams. Where everything starts at once, NATS may be the last to be there, and a
/// cluster has no leader at first: that is waited for.
pub(super) async fn start(config: &Config, names: &Names, waits: &Waits) -> Result<Started, OpenError> {
    patiently(async || try_start(config, names).await, waits).await
}

/// Tries again what may succeed later: NATS may also go while a start is half done.
pub(super) async fn patiently<T>(what: impl AsyncFn() -> Result<T, OpenError>, waits: &Waits) -> Result<T, OpenError> {
    let begun = tokio::time::Instant::now();
    let (mut pause, longest) = START_PAUSES;
    loop {
        let error = match what().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let refused_for_long =
            matches!(error, OpenError::Refused { .. } | OpenError::Tls { .. }) && begun.elapsed() > REFUSED_TIMEOUT;
        if !error.may_pass() || refused_for_long {
            return Err(error);
        }
        waits(&error);
        // Many instances do not come at once when it is back.
        let wait = pause.mul_f64(rand::random_range(0.75..1.25));
        tracing::warn!(%error, change = error.change(), again_after_ms = wait.as_millis(), "waiting for NATS");
        tokio::time::sleep(wait).await;
        pause = longest.min(pause * 2);
    }
}

async fn try_start(config: &Config, names: &Names) -> Result<Started, OpenError> {
    let connections = connect(config).await?;
    let (blobs, transcripts) = streams::make(&connections, config, names).await?;
    Ok((connections, blobs, transcripts))
}

/// Connects, and sees to it that the server is one that the log can live on.
pub(super) async fn connect(config: &Config) -> Result<Connections, OpenError> {
    let denied = Denied::default();
    let heard = denied.clone();
    let report = move |event| {
        heard.hear(&event);
        tracing::info!(%event, "NATS");
    };
    let append = client(config, "rejoinder: appends", report).await?;
    let read = client(config, "rejoinder: reads", |_| {}).await?;
    let info = append.server_info();
    if !append.is_server_compatible(OLDEST.0, OLDEST.1, OLDEST.2) {
        return Err(OpenError::TooOld { url: config.shown(), version: info.version });
    }
    if info.max_payload < LEAST_PAYLOAD {
        return Err(OpenError::MaxPayload { url: config.shown(), max_payload: info.max_payload });
    }
    let api: Arc<str> = config.api.prefix().into();
    let asking = |client| Asking { client, api: Arc::clone(&api) };
    let crash = Arc::new(CrashPoint::from_env("CRASH_AFTER_POINTS"));
    Ok(Connections { append: Writing { asking: asking(append), crash }, read: asking(read), denied })
}

/// Connects. `heard` is called with the events of the connection.
pub(super) async fn client(
    config: &Config,
    name: &str,
    heard: impl Fn(Event) + Send + Sync + 'static,
) -> Result<Client, OpenError> {
    let (options, tries) = login::options(&config.servers);
    let options = with_files(config, options).await?;
    let options = options
        .name(name)
        .request_timeout(Some(TIMEOUT))
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
    for _ in 1..tries {
        if let Ok(client) = options.clone().connect(config.servers.addresses()).await {
            return Ok(client);
        }
    }
    options.connect(config.servers.addresses()).await.map_err(|error| refusal(config, &error))
}

/// Options with what stands in files: credentials, and certificates.
async fn with_files(config: &Config, mut options: ConnectOptions) -> Result<ConnectOptions, OpenError> {
    if let Some(path) = &config.credentials {
        let read = options.credentials_file(path).await;
        options = read.map_err(|source| OpenError::Credentials { path: path.clone(), source })?;
    }
    if let Some(path) = &config.ca_file {
        let read = tokio::fs::read(path).await;
        let found = read.map_err(|error| error.to_string()).and_then(|pem| certificates(&pem));
        found.map_err(|reason| OpenError::Certificates { path: path.clone(), reason })?;
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    Ok(options)
}

/// Whether there are certificates in a file. The client library reads them at each connection, and takes none for none.
fn certificates(pem: &[u8]) -> Result<(), String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(found) if found.is_empty() => Err("there is no certificate in it".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn refusal(config: &Config, error: &ConnectError) -> OpenError {
    let (url, reason) = (config.shown(), chain(error));
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            OpenError::Refused { url, reason }
        }
        ConnectErrorKind::Tls => OpenError::Tls { url, reason },
        _ if is_of_tls(error) => OpenError::Tls { url, reason },
        _ => OpenError::Connect { url, reason },
    }
}

/// Whether TLS failed. The client library reports that like any failure to read or write.
fn is_of_tls(error: &ConnectError) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        let within = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if cause.is::<rustls::Error>() || within.is_some_and(|within| within.downcast_ref::<rustls::Error>().is_some())
        {
            return true;
        }
        next = cause.source();
    }
    false
}
