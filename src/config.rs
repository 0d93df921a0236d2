//! The configuration: the only reader of the environment. Every component gets its own part, checked.
//!
//! The environment comes in as a map of strings, so that a test can hand one in. A value that is not understood is
//! an error that names the variable, the value and what was expected; nothing is guessed.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::config::values::Secret;
use crate::telemetry;

mod auth;
pub(crate) mod database;
mod environment;
pub(crate) mod faults;
mod file;
mod hearing;
mod model_server;
pub(crate) mod nats;
mod parts;
mod retention;
mod speech;
mod tiers;
pub mod values;
mod variables;
mod webhooks;

pub(crate) use auth::{AllowedHosts, ApiKeys, Auth, Claims, Jwt};
pub(crate) use environment::{environment, variable};
pub(crate) use model_server::{ContinuationPolicy, Dialect, ModelServer, Thinks};
pub(crate) use retention::Retention;
pub(crate) use tiers::{DEFAULT_TIER, Tier, Tiers};
pub(crate) use variables::{VARIABLES, Variable};
pub(crate) use webhooks::{EVENT_TYPES, StaticWebhook, Webhooks};

/// All that can be set.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Where the log, and unless it is elsewhere the store, live.
    pub(crate) data_dir: PathBuf,
    /// The log.
    pub(crate) log: Log,
    /// The store.
    pub(crate) store: database::Config,
    /// How long it keeps what is not used any more.
    pub(crate) retention: Retention,
    /// What a start does about its tables.
    pub(crate) tables: database::Tables,
    /// The model servers.
    pub(crate) upstream: Upstream,
    /// The voice.
    pub(crate) speech: Speech,
    /// Speech recognition.
    pub(crate) hearing: Hearing,
    /// Generation of replies.
    pub(crate) generation: Generation,
    /// The edge.
    pub(crate) http: Http,
    /// Who may use the server.
    pub(crate) auth: Auth,
    /// How much they may use.
    pub(crate) tiers: Tiers,
    /// Where ends of replies are posted to.
    pub(crate) webhooks: Webhooks,
    /// How the server ends.
    pub(crate) drain: Drain,
    /// What it tells of itself.
    pub(crate) telemetry: telemetry::Config,
    /// What is odd about the environment, in words, to be logged: variables whose names look mistyped.
    pub(crate) warnings: Vec<String>,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Log {
    /// How safe a record is once it is stored.
    pub(crate) sync: Sync,
    /// How long transcripts and snapshots are kept after the store has them.
    pub(crate) retention: Duration,
    /// How long the reply logs of finished replies are kept.
    pub(crate) replay_window: Duration,
    /// The servers that it is kept on. `None`: it is kept in the data directory, for one instance.
    pub(crate) nats: Option<Nats>,
    /// The longest record that is accepted, in bytes: a request with all that it refers to.
    pub(crate) max_record_bytes: usize,
    /// Nothing is accepted when the disk has less space than this left, in bytes.
    pub(crate) min_free_disk: u64,
}

/// NATS servers that the log is kept on, for many instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Nats {
    /// Where they are, and who one is there.
    pub(crate) servers: nats::Servers,
    /// A file of credentials.
    pub(crate) credentials: Option<PathBuf>,
    /// Certificates of the authorities that signed the servers', instead of those of the system.
    pub(crate) ca_file: Option<PathBuf>,
    /// Where JetStream is asked.
    pub(crate) api: nats::Api,
    /// Copies of each stream: 1, 3 or 5.
    pub(crate) replicas: usize,
    /// Streams that each family is spread over: 1 to 64. Fixed when the log is made.
    pub(crate) shards: NonZeroU32,
    /// Bytes that each family of streams may take.
    pub(crate) max_bytes: Option<u64>,
}

/// How safe a stored record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// It survives the process: it is with the operating system.
    Os,
    /// It survives a power cut: it is on the disk.
    Always,
}

/// The model servers that replies come from.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    /// In the order in which they are asked. Empty: the built-in models.
    pub(crate) servers: Vec<ModelServer>,
    /// The model when a request names none. `None`: the default of the first server that tells one.
    pub(crate) model: Option<String>,
    /// How long a whole reply may take, over all attempts.
    pub(crate) total: Duration,
}

/// What all outside services have in common.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// Its name, in logs and metrics.
    pub(crate) name: String,
    /// Its address, up to and including `/v1`, without a slash at its end.
    pub(crate) base_url: Url,
    /// Its keys, in the order in which they are used.
    pub(crate) keys: Vec<Secret>,
    /// How long a connection may take.
    pub(crate) connect: Duration,
    /// How much it is given at once.
    pub(crate) limits: Limits,
    /// A file of certificates to be trusted beside the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

/// How much a service is given at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Calls that have not ended.
    pub(crate) max_in_flight: usize,
    /// Requests that wait for that; beyond, they are refused.
    pub(crate) max_queued: usize,
    /// How long they wait.
    pub(crate) queue_timeout: Duration,
}

/// Who speaks replies.
#[derive(Debug, Clone)]
pub(crate) struct Speech {
    /// Speech servers, the best first.
    pub(crate) servers: Vec<SpeechServer>,
    /// The program of this machine that speaks where no server does, and what it is called with. Empty: none.
    pub(crate) command: Vec<String>,
    /// How long to wait for the first audio.
    pub(crate) first: Duration,
    /// How long to wait between two pieces of audio.
    pub(crate) idle: Duration,
}

/// A speech server.
#[derive(Debug, Clone)]
pub(crate) struct SpeechServer {
    /// What it has in common with other services.
    pub(crate) server: Server,
    /// Its model. `None`: what most servers take for their own.
    pub(crate) model: Option<String>,
    /// The voice when a request names none.
    pub(crate) voice: Option<String>,
}

/// What transcribes speech.
#[derive(Debug, Clone)]
pub(crate) struct Hearing {
    /// Servers, the best first.
    pub(crate) servers: Vec<HearingServer>,
    /// The program of this machine that transcribes where no server does, and its arguments. Empty: none.
    pub(crate) command: Vec<String>,
    /// How long one of them may take for a whole transcript.
    pub(crate) timeout: Duration,
}

/// A server that transcribes speech.
#[derive(Debug, Clone)]
pub(crate) struct HearingServer {
    /// What it has in common with other services.
    pub(crate) server: Server,
    /// Its model. `None`: what most servers take for their own.
    pub(crate) model: Option<String>,
}

/// Generation of replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation {
    /// From acceptance on; past it a reply is ended and nobody starts it again. Shorter than the replay window.
    pub(crate) reply_deadline: Duration,
    /// Replies that are generated at once; beyond, requests are refused.
    pub(crate) max_running_replies: NonZeroUsize,
    /// The most that is generated of one reply, in bytes; then it ends as incomplete.
    pub(crate) max_reply_bytes: NonZeroUsize,
}

/// The edge.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    /// The address to listen on.
    pub(crate) host: IpAddr,
    /// The port; 0 takes any that is free.
    pub(crate) port: u16,
    /// The longest body of a request, in bytes.
    pub(crate) max_body_bytes: usize,
    /// Between two comments on a stream that is silent.
    pub(crate) heartbeat: Duration,
    /// After which streams of browsers (`EventSource`) are rotated.
    pub(crate) stream_max_age: Option<Duration>,
    /// Between two pings over a WebSocket; a third of it is left for the answer.
    pub(crate) websocket_ping: Duration,
    /// How long a WebSocket connection may last.
    pub(crate) websocket_max_age: Duration,
    /// After which a client that reads nothing is let go.
    pub(crate) client_stall_timeout: Duration,
    /// For the head of a request.
    pub(crate) handshake_timeout: Duration,
    /// For a whole body.
    pub(crate) body_timeout: Duration,
    /// The least that a client sends of a body in a second, in bytes. 0: any.
    pub(crate) body_min_rate: u64,
    /// The most that bodies and answers take in memory, in bytes.
    pub(crate) max_buffered_bytes: usize,
    /// The most connections.
    pub(crate) max_connections: usize,
    /// The most of one address.
    pub(crate) max_connections_per_address: usize,
    /// The most requests at once on one connection of HTTP/2.
    pub(crate) max_http2_streams: u32,
    /// Pages of other sites that may call.
    pub(crate) cors_origins: CorsOrigins,
    /// By which names it may be called.
    pub(crate) allowed_hosts: AllowedHosts,
    /// Where health and figures are told to whoever reaches it, and only there.
    pub(crate) admin: Option<SocketAddr>,
}

/// Which pages of other sites may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CorsOrigins {
    /// None.
    None,
    /// All.
    Any,
    /// These origins, as browsers write them.
    List(Vec<String>),
}

/// How the server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Drain {
    /// From the signal to the end of the process: what the platform gives.
    pub(crate) timeout: Duration,
}

/// A value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value}: expected {expected}")]
pub(crate) struct ConfigError {
    /// The variable.
    pub(crate) name: &'static str,
    /// What it holds, without secrets.
    pub(crate) value: String,
    /// What it should.
    pub(crate) expected: String,
}

impl Config {
    /// Reads the configuration from an environment. Variables that are empty count as not set.
    #[cfg(test)]
    pub(crate) fn from_env_map(environment: &HashMap<String, String>) -> Result<Self, ConfigError> {
        parts::config(environment)
    }

    /// Reads the configuration from an environment, where variables that are empty count as not set. Goes on after a wrong
    /// value, with its default instead, so that everything that is wrong is reported at once.
    pub(crate) fn with_faults(environment: &HashMap<String, String>) -> (Self, Vec<ConfigError>) {
        let mut environment = environment.clone();
        let mut faults = Vec::new();
        loop {
            match parts::config(&environment) {
                Ok(config) => return (config, faults),
                // A file may have many.
                Err(fault) if fault.name == variables::REJOINDER_CONFIG.name => {
                    faults.extend(parts::faults_of_file(&environment));
                    environment.remove(fault.name);
                }
                Err(fault) => {
                    // Where a default is at fault, it is for the replay window that is set beside it.
                    let mut removed = environment.remove(fault.name);
                    removed = removed.or_else(|| environment.remove(variables::REPLAY_WINDOW.name));
                    if removed.is_none() {
                        environment.clear();
                    }
                    faults.push(fault);
                }
            }
        }
    }
}

#[cfg(test)]
impl Default for Limits {
    fn default() -> Self {
        Self { max_in_flight: 1000, max_queued: 256, queue_timeout: Duration::from_secs(10) }
    }
}

impl Drain {
    /// What is left after generation has stopped: for handing replies over, and for telling of it.
    const RESERVE: Duration = Duration::from_secs(2);

    /// How long clients are sent what they still have to get after replies were handed over.
    pub(crate) const GRACE: Duration = Duration::from_millis(1500);

    /// How long replies are generated on after the signal.
    pub(crate) const fn generation(self) -> Duration {
        self.timeout.saturating_sub(Self::RESERVE)
    }
}

#[cfg(test)]
mod tests;
