//! Why the log cannot be stored on the NATS servers: in words, with what to change.

use std::num::NonZeroU32;
use std::path::PathBuf;

use crate::config::nats::Api;

/// The least `max_payload` of a server: the fence and the list of a record of a transcript have to fit beside a quarter of it.
pub(super) const LEAST_PAYLOAD: usize = 32 << 10;

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
    /// The certificates cannot be used.
    #[error("cannot use {path} (NATS_CA_FILE): {reason}")]
    Certificates {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// No connection by TLS.
    #[error("cannot connect to {url} (NATS_URL) by TLS: {reason}")]
    Tls {
        /// Where, without a password.
        url: String,
        /// Why not.
        reason: String,
    },
    /// It is too old.
    #[error("the NATS server {url} has version {version}; 2.11 or later is needed")]
    TooOld {
        /// Which.
        url: String,
        /// Its version.
        version: String,
    },
    /// It takes no messages that the log could live on.
    #[error(
        "the NATS server {url} takes messages of {max_payload} bytes (max_payload); {LEAST_PAYLOAD} or more are needed"
    )]
    MaxPayload {
        /// Which.
        url: String,
        /// The longest message that it takes.
        max_payload: usize,
    },
    /// It does not know us.
    #[error("NATS at {url} refuses the user, the password, the token or the credentials: {reason}")]
    Refused {
        /// Where.
        url: String,
        /// Its words.
        reason: String,
    },
    /// It has no JetStream, or it is in another domain.
    #[error("the NATS server {url} has no JetStream for this account{}", at_api(.api))]
    NoJetStream {
        /// Which.
        url: String,
        /// Where it was asked.
        api: Api,
    },
    /// The account demands a size of everything.
    #[error("the NATS account requires a size for each stream and each bucket (max_bytes)")]
    MaxBytes,
    /// A stream is not there, and we may not make it.
    #[error("the stream {stream} is not there, and this user may not make it: {reason}")]
    MayNotMake {
        /// Which.
        stream: String,
        /// The server's words.
        reason: String,
    },
    /// We may not ask for what the log needs.
    #[error("this NATS user lacks permissions that the log needs: {0}")]
    MayNot(String),
    /// A stream is there that the log cannot live on, and we cannot change it.
    #[error("the stream {stream} is not as the log needs it: {}", .faults.join(", "))]
    Unfit {
        /// Which.
        stream: String,
        /// What is wrong with it.
        faults: Vec<String>,
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

impl OpenError {
    /// Whether it may be gone in a while without anything being changed here.
    pub(super) const fn may_pass(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Refused { .. }
            | Self::NoJetStream { .. }
            | Self::Stream { .. } => true,
            Self::Credentials { .. }
            | Self::Certificates { .. }
            | Self::TooOld { .. }
            | Self::MaxPayload { .. }
            | Self::MaxBytes
            | Self::MayNotMake { .. }
            | Self::MayNot(_)
            | Self::Unfit { .. }
            | Self::Shards { .. } => false,
        }
    }

    /// What to change.
    pub fn change(&self) -> String {
        match self {
            Self::Connect { .. } => "NATS_URL, or start the server".to_owned(),
            Self::Credentials { .. } => "NATS_CREDENTIALS, to a file that this user may read".to_owned(),
            Self::Certificates { .. } => {
                "NATS_CA_FILE, to a file of certificates (PEM) that this user may read".to_owned()
            }
            Self::Tls { .. } => {
                "NATS_CA_FILE, to the certificate of the authority that signed the server's; the host in \
                                 NATS_URL has to be one that its certificate names; a server without TLS needs no \
                                 NATS_CA_FILE, and nats:// instead of tls://"
                    .to_owned()
            }
            Self::Refused { .. } => "NATS_URL, for example NATS_URL=nats://user:password@host:4222 or \
                                     nats://token@host:4222 (what is no letter or digit as %2F and so on); or \
                                     NATS_CREDENTIALS, to a file of credentials"
                .to_owned(),
            Self::TooOld { .. } => "the server: NATS 2.11 or later".to_owned(),
            Self::MaxPayload { .. } => "max_payload in the server's configuration".to_owned(),
            Self::NoJetStream { api: Api::Own, .. } => {
                "the server: start it with --jetstream, and let the account use it; or, where JetStream is in a \
                 domain (of a hub, say), NATS_DOMAIN=<its name>; or, where the account imports another one's, \
                 NATS_API_PREFIX=<the subject under which it does>"
                    .to_owned()
            }
            Self::NoJetStream { api: Api::Domain(_), .. } => {
                "NATS_DOMAIN, to the domain of a JetStream that this account may use; or leave it empty".to_owned()
            }
            Self::NoJetStream { api: Api::Prefix(_), .. } => {
                "NATS_API_PREFIX, to the subject under which this account imports the API of another one; or leave it \
                 empty"
                    .to_owned()
            }
            Self::MaxBytes => "LOG_MAX_BYTES, for example LOG_MAX_BYTES=1GiB: each family of streams, and the bucket, \
                               may take so much"
                .to_owned(),
            Self::MayNotMake { .. } => "have the streams made beforehand: run rejoinder migrate with the NATS_URL or \
                                        NATS_CREDENTIALS of a user with the permission; infra/README.md lists them"
                .to_owned(),
            Self::MayNot(_) => "the user's permissions; infra/README.md lists what is needed".to_owned(),
            Self::Unfit { .. } => "the stream, or run rejoinder migrate as a user that may change it; infra/README.md \
                                   lists how each has to be"
                .to_owned(),
            Self::Shards { made_with, .. } => format!("LOG_SHARDS={made_with}"),
            Self::Stream { .. } => "LOG_REPLICAS, LOG_MAX_BYTES, or the limits of the account or the server".to_owned(),
        }
    }
}

fn at_api(api: &Api) -> String {
    match api {
        Api::Own => String::new(),
        Api::Domain(domain) => format!(" in the domain {domain} (NATS_DOMAIN)"),
        Api::Prefix(prefix) => format!(" under {prefix} (NATS_API_PREFIX)"),
    }
}
