//! The issuer's keys, fetched over the network: by OIDC discovery, or from an address that is set.
//!
//! One fetch at a time, each with a bound on its time and size. The keys that were fetched last stay good while the issuer
//! is away. A token with an unknown key has the keys fetched again, and that not more often than every 30 s.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use reqwest::{Certificate, Client, Url};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::key_set::{InvalidKeySet, KeySet};
use crate::config;

/// Between two fetches, whoever wants them.
const PAUSE: Duration = Duration::from_secs(30);

/// After that, keys are fetched again without being asked for: so long a key is good that the issuer withdrew.
const REFRESH: Duration = Duration::from_mins(5);

/// The longest that a connection takes, and that a whole document takes.
const CONNECT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(5);

/// The largest document.
const LARGEST: usize = 512 << 10;

/// Where an issuer says what it has (`OpenID` Connect Discovery 1.0).
const DISCOVERY: &str = ".well-known/openid-configuration";

/// Fetches keys, and keeps them.
#[derive(Debug)]
pub(super) struct Issuer {
    name: String,
    /// Where the keys are. `None`: the issuer tells.
    jwks: Option<Url>,
    client: Client,
    current: RwLock<Current>,
    /// When a fetch was begun last. Who holds it fetches.
    last: Mutex<Option<Instant>>,
}

/// Keys, and how often they were others before.
#[derive(Debug, Clone, Default)]
pub(super) struct Current {
    pub(super) keys: Option<Arc<KeySet>>,
    pub(super) generation: u64,
    document: Vec<u8>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{0} does not answer as it should")]
    Http(Url, #[source] reqwest::Error),
    #[error("{0} answered with status {1}")]
    Status(Url, u16),
    #[error("{0} sent more than {LARGEST} bytes")]
    TooLarge(Url),
    #[error("{0} did not answer in time")]
    Late(Url),
    #[error("{0} is no OpenID configuration with a jwks_uri")]
    Discovery(Url),
    #[error("{0} calls itself {1}, which is not JWT_ISSUER")]
    OtherIssuer(Url, String),
    #[error("what {0} gives cannot be used")]
    Keys(Url, #[source] InvalidKeySet),
}

#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

impl Issuer {
    pub(super) fn new(config: &config::Jwt, roots: Vec<Certificate>) -> Result<Self, reqwest::Error> {
        // Fails only where the process has chosen a provider before: that one serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::builder()
            .user_agent(concat!("rejoinder/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT)
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(0)
            .tls_certs_merge(roots)
            .build()?;
        Ok(Self {
            name: config.issuer.clone(),
            jwks: config.jwks.clone(),
            client,
            current: RwLock::default(),
            last: Mutex::default(),
        })
    }

    /// The keys as they are now.
    pub(super) fn current(&self) -> (Option<Arc<KeySet>>, u64) {
        let current = self.current.read();
        (current.keys.clone(), current.generation)
    }

    /// The keys, after a look at whether the issuer has others by now, where it was not asked lately.
    pub(super) async fn look_again(&self) -> (Option<Arc<KeySet>>, u64) {
        let before = self.current().1;
        let mut last = self.last.lock().await;
        // While this one waited, another may have fetched what it wants.
        let is_due = last.is_none_or(|last| last.elapsed() >= PAUSE);
        if is_due && self.current().1 == before {
            *last = Some(Instant::now());
            self.fetch_and_keep().await;
        }
        drop(last);
        self.current()
    }

    /// Fetches the keys now and then, until `stop`.
    pub(super) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let Some((keys, _)) = stop.run_until_cancelled(self.look_again()).await else { return };
            let pause = if keys.is_some() { REFRESH } else { PAUSE };
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
        }
    }

    async fn fetch_and_keep(&self) {
        match self.fetch().await {
            Ok((keys, document)) => {
                let mut current = self.current.write();
                if current.document != document {
                    *current = Current { keys: Some(Arc::new(keys)), generation: current.generation + 1, document };
                    tracing::info!(target: crate::auth::AUDIT, issuer = self.name, "the issuer's keys changed");
                }
            }
            Err(error) => {
                let has_keys = self.current().0.is_some();
                let error = crate::telemetry::causes::chain(&error);
                tracing::warn!(
                    error,
                    has_keys,
                    "cannot fetch the keys of the issuer of tokens; those from before stay good"
                );
            }
        }
    }

    /// Fetches the keys: what a start does, too, and a check.
    pub(super) async fn fetch(&self) -> Result<(KeySet, Vec<u8>), FetchError> {
        let jwks = match &self.jwks {
            Some(jwks) => jwks.clone(),
            None => self.discover().await?,
        };
        let document = self.get(&jwks).await?;
        let keys = KeySet::parse(&document).map_err(|error| FetchError::Keys(jwks, error))?;
        Ok((keys, document))
    }

    async fn discover(&self) -> Result<Url, FetchError> {
        let url = format!("{}/{DISCOVERY}", self.name.trim_end_matches('/'));
        let url = Url::parse(&url).expect("the configuration has looked at it");
        let document = self.get(&url).await?;
        let Discovered { issuer, jwks_uri } =
            serde_json::from_slice(&document).map_err(|_| FetchError::Discovery(url.clone()))?;
        // (OpenID Connect Discovery 1.0, 4.3)
        if issuer != self.name {
            return Err(FetchError::OtherIssuer(url, issuer));
        }
        // What came by TLS is not traded for what did not.
        let jwks = Url::parse(&jwks_uri).ok().filter(|jwks| jwks.scheme() == "https" || jwks.scheme() == url.scheme());
        jwks.ok_or(FetchError::Discovery(url))
    }

    async fn get(&self, url: &Url) -> Result<Vec<u8>, FetchError> {
        let get = async {
            let failed = |error| FetchError::Http(url.clone(), error);
            let mut answer = self.client.get(url.clone()).send().await.map_err(failed)?;
            if !answer.status().is_success() {
                return Err(FetchError::Status(url.clone(), answer.status().as_u16()));
            }
            let mut body = Vec::new();
            while let Some(piece) = answer.chunk().await.map_err(failed)? {
                if body.len() + piece.len() > LARGEST {
                    return Err(FetchError::TooLarge(url.clone()));
                }
                body.extend_from_slice(&piece);
            }
            Ok(body)
        };
        tokio::time::timeout(TIMEOUT, get).await.unwrap_or_else(|_| Err(FetchError::Late(url.clone())))
    }
}
