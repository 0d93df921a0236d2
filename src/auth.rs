//! Who asks: from a credential to a [`Caller`], in one place. API keys, tokens of an issuer (JWT), and what this server signs
//! itself for browsers: tickets and sessions.
//!
//! It knows neither headers nor statuses, and nothing of what a caller asks for: that is the matter of the edge.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::HEXLOWER;
use parking_lot::RwLock;
use reqwest::Certificate;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::config::values::Secret;
use crate::domain::caller::{Caller, Owner, Scopes};
use crate::domain::params::SealKey;
pub(crate) use crate::telemetry::AUDIT;
use crate::telemetry::causes;
use crate::telemetry::seldom::Seldom;

mod jwt;
mod key_file;
pub(crate) mod keys;
pub(crate) mod secret;
pub(crate) mod sealing;
mod signed;
#[cfg(test)]
mod fuzz;

pub(crate) use key_file::{KeyFileError, lines as key_lines};
pub(crate) use signed::Purpose;

use jwt::Tokens;
use key_file::Keys;
use signed::Signer;

/// Failures of authentication that are told in a second: whoever tries keys must not fill the disk with it.
const FAILURES_TOLD: u32 = 20;

/// How long a ticket is good.
pub(crate) const TICKET_AGE: Duration = Duration::from_mins(1);

/// The name that a token has instead of the id of a key.
const TOKEN: &str = "jwt";

/// What a request comes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credential<'a> {
    /// Nothing.
    None,
    /// A key or a token.
    Bearer(&'a str),
    /// Something that this server signed.
    Signed(Purpose<'a>, &'a str),
}

/// Who asks, and until when that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authenticated {
    /// Who.
    pub(crate) caller: Caller,
    /// In Unix seconds. `None`: as long as the key is there.
    pub(crate) expires: Option<i64>,
}

/// Why a credential is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// There is none, and one is needed.
    #[error("no credential")]
    Missing,
    /// It has no form that is known here.
    #[error("malformed")]
    Malformed,
    /// Nobody has such a key, or the issuer signs with no such key.
    #[error("unknown key")]
    UnknownKey,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// Its time has not begun.
    #[error("not yet valid")]
    Early,
    /// It was not signed like this, or for this.
    #[error("wrong signature")]
    Signature,
    /// It is signed in another way than its key is for.
    #[error("wrong algorithm")]
    Algorithm,
    /// It was made for or by somebody else, or does not say for whom.
    #[error("claim not accepted: {0}")]
    Claim(&'static str),
    /// The issuer's keys are not known: it may be good.
    #[error("the issuer's keys are not known")]
    NoKeys,
}

/// Why nobody could be let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// The keys.
    #[error("cannot use the API keys: {0}")]
    Keys(#[from] KeyFileError),
    /// The client of the issuer.
    #[error("cannot set up the client for JWT_ISSUER: {0}")]
    Client(#[from] reqwest::Error),
    /// The certificates.
    #[error("cannot use UPSTREAM_CA_FILE={path}: {why}")]
    Certificates { path: PathBuf, why: String },
}

/// Tells who asks. A handle: cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Auth(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What whoever has no credential may do. `None`: nothing.
    anonymous: Option<Caller>,
    keys: Option<Arc<Keys>>,
    tokens: Option<Tokens>,
    signer: RwLock<Signer>,
    /// The first seals, all of them open. Empty: there is no secret that outlives this process.
    sealing: RwLock<Vec<Secret>>,
    session_max_age: Duration,
    /// Of whom nothing need be known.
    nobody: Caller,
    failures: Seldom,
}

impl Auth {
    /// As the configuration has it.
    pub(crate) fn build(config: &config::Auth) -> Result<Self, BuildError> {
        let keys = config.keys.as_ref().map(Keys::open).transpose()?.map(Arc::new);
        let roots = config.ca_file.as_deref().map(certificates).transpose()?.unwrap_or_default();
        let tokens = config.jwt.as_ref().map(|jwt| Tokens::new(jwt, roots)).transpose()?;
        // Whoever asks a server that knows nobody may do everything.
        let is_on = keys.is_some() || tokens.is_some();
        let scopes = if is_on { Scopes::USE } else { Scopes::ALL };
        // Where nothing is looked at, it does not matter what tickets are signed with.
        let secrets = if is_on {
            config.signing_keys.clone()
        } else {
            vec![Secret::new(HEXLOWER.encode(&rand::random::<[u8; 32]>()))]
        };
        Ok(Self(Arc::new(Inner {
            anonymous: config.anonymous.then(|| Caller::anonymous(scopes)),
            keys,
            tokens,
            signer: RwLock::new(Signer::new(secrets)),
            sealing: RwLock::new(config.signing_keys.clone()),
            session_max_age: config.session_max_age,
            nobody: Caller::anonymous(Scopes::NONE),
            failures: Seldom::new(FAILURES_TOLD, Duration::from_secs(1)),
        })))
    }

    /// Whether credentials are looked at.
    pub(crate) fn is_on(&self) -> bool {
        self.0.keys.is_some() || self.0.tokens.is_some()
    }

    /// Whoever asks for what is open to all.
    pub(crate) fn nobody(&self) -> Authenticated {
        Authenticated { caller: self.0.nobody.clone(), expires: None }
    }

    /// Signs and seals with this secret from now on.
    pub(crate) fn sign_with(&self, secret: Secret) {
        *self.0.sealing.write() = vec![secret.clone()];
        if self.is_on() {
            *self.0.signer.write() = Signer::new(vec![secret]);
        }
    }

    /// A key to seal something for this owner. `None`: there is no secret.
    pub(crate) fn seal_key(&self, owner: &Owner) -> Option<SealKey> {
        let salt = rand::random();
        let key = sealing::key(self.0.sealing.read().first()?, owner, &salt);
        Some(SealKey { salt, key })
    }

    /// The keys with which something may have been sealed for this owner.
    pub(crate) fn seal_keys(&self, owner: &Owner, salt: &[u8; 16]) -> Vec<[u8; 32]> {
        self.0.sealing.read().iter().map(|secret| sealing::key(secret, owner, salt)).collect()
    }

    /// Keeps keys fresh, until `stop`.
    pub(crate) async fn watch(self, stop: CancellationToken) {
        let keys = async {
            if let Some(keys) = &self.0.keys {
                Arc::clone(keys).watch(stop.clone()).await;
            }
        };
        let tokens = async {
            if let Some(tokens) = &self.0.tokens {
                tokens.watch(stop.clone()).await;
            }
        };
        tokio::join!(keys, tokens);
    }

    /// Tries to fetch the issuer's keys, if there is one. In words, why that fails.
    pub(crate) async fn probe_issuer(&self) -> Option<Result<(), String>> {
        let tokens = self.0.tokens.as_ref()?;
        Some(tokens.probe().await.map_err(|error| causes::chain(&error)))
    }

    /// Who asks with this. Where no credential is looked at, whatever comes is left alone: SDKs always send something.
    pub(crate) async fn authenticate(&self, credential: Credential<'_>) -> Result<Authenticated, Denied> {
        let now = now();
        if let (Some(caller), false) = (&self.0.anonymous, self.is_on()) {
            return Ok(Authenticated { caller: caller.clone(), expires: None });
        }
        match credential {
            Credential::None => {
                let caller = self.0.anonymous.clone().ok_or(Denied::Missing)?;
                Ok(Authenticated { caller, expires: None })
            }
            Credential::Bearer(text) => self.bearer(text, now).await,
            Credential::Signed(purpose, text) => self.signed(purpose, text, now),
        }
    }

    async fn bearer(&self, text: &str, now: i64) -> Result<Authenticated, Denied> {
        match (&self.0.keys, &self.0.tokens) {
            (Some(keys), tokens) if text.starts_with(keys::PREFIX) || tokens.is_none() => {
                let table = keys.table();
                Ok(Authenticated { caller: table.verify(text, now)?.clone(), expires: None })
            }
            (_, Some(tokens)) => {
                let (caller, expires) = tokens.verify(text, now).await?;
                Ok(Authenticated { caller, expires: Some(expires) })
            }
            (_, None) => Err(Denied::UnknownKey),
        }
    }

    /// What was signed for a key is good as long as the key is, and for no more than the key.
    fn signed(&self, purpose: Purpose<'_>, text: &str, now: i64) -> Result<Authenticated, Denied> {
        let (caller, expires) = self.0.signer.read().verify(purpose, text, now)?;
        let expires = Some(expires);
        let caller = match caller.key() {
            None => self.0.anonymous.clone().ok_or(Denied::UnknownKey)?.limited_to(caller.scopes()),
            Some(TOKEN) if self.0.tokens.is_some() => caller,
            Some(id) => {
                let table = self.0.keys.as_ref().map(|keys| keys.table()).ok_or(Denied::UnknownKey)?;
                table.by_id(id, now)?.clone().limited_to(caller.scopes())
            }
        };
        Ok(Authenticated { caller, expires })
    }

    /// A ticket for a resource, and when it expires. `None`: there is no secret to sign with.
    pub(crate) fn ticket(&self, asks: &Authenticated, resource: &str) -> Option<(String, i64)> {
        let caller = asks.caller.clone().limited_to(Scopes::READ);
        self.sign(Purpose::Ticket(resource), &caller, TICKET_AGE, asks.expires)
    }

    /// A session, and when it expires. `None`: there is no secret to sign with.
    pub(crate) fn session(&self, asks: &Authenticated) -> Option<(String, i64)> {
        self.sign(Purpose::Session, &asks.caller, self.0.session_max_age, asks.expires)
    }

    fn sign(
        &self,
        purpose: Purpose<'_>,
        caller: &Caller,
        age: Duration,
        at_most: Option<i64>,
    ) -> Option<(String, i64)> {
        let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        let expires = now().saturating_add(age).min(at_most.unwrap_or(i64::MAX));
        Some((self.0.signer.read().sign(purpose, caller, expires)?, expires))
    }

    /// Notes that somebody was not let in. Never what they came with.
    pub(crate) fn note_failure(
        &self,
        reason: &dyn std::fmt::Display,
        route: &str,
        key: Option<&str>,
        peer: std::net::IpAddr,
    ) {
        if let Some(times) = self.0.failures.happened(1) {
            let suppressed = times - 1;
            tracing::warn!(target: AUDIT, %reason, route, key, %peer, suppressed, "refused a request");
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, BuildError> {
    let fail = |why: String| BuildError::Certificates { path: path.to_owned(), why };
    let pem = std::fs::read(path).map_err(|error| fail(error.to_string()))?;
    Certificate::from_pem_bundle(&pem).map_err(|error| fail(causes::chain(&error)))
}

/// In Unix seconds.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ApiKeys;

    /// `cargo test --release --lib -- --ignored --nocapture measure_what_a_key_costs`
    #[tokio::test]
    #[ignore = "a measurement, of a release build"]
    #[expect(clippy::print_stdout, reason = "the figure is its result")]
    async fn measure_what_a_key_costs() {
        const TIMES: u32 = 200_000;
        let lines: Vec<_> = (0..1000).map(|_| keys::generate(keys::tests::grant(Some("alice"), None))).collect();
        let own = lines.iter().map(|(_, line)| line.to_string()).collect::<Vec<_>>().join(";");
        let auth = Auth::build(&config::Auth {
            anonymous: false,
            keys: Some(ApiKeys { file: None, own: Some(Secret::new(own)) }),
            jwt: None,
            signing_keys: Vec::new(),
            session_max_age: Duration::from_secs(1),
            ca_file: None,
        })
        .unwrap();
        let begun = std::time::Instant::now();
        for time in 0..TIMES {
            let (key, _) = &lines[time as usize % lines.len()];
            std::hint::black_box(auth.authenticate(Credential::Bearer(key)).await.unwrap());
        }
        println!("a key costs {:?}", begun.elapsed() / TIMES);
    }

    /// A server of keys with one of its own, and a token that was signed with it.
    async fn issuer() -> (String, String) {
        use ring::signature::{Ed25519KeyPair, KeyPair};
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let encode = |part: &[u8]| data_encoding::BASE64URL_NOPAD.encode(part);
        let pair = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let keys = serde_json::json!({"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": encode(pair.public_key().as_ref())}
        ]});
        let keys = keys.to_string();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let _ = socket.read(&mut [0; 4096]).await;
                let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", keys.len());
                let _ = socket.write_all(format!("{head}{keys}").as_bytes()).await;
            }
        });
        let claims = serde_json::json!({"iss": address, "aud": "chat", "sub": "alice", "exp": now() + 3600});
        let signed = format!("{}.{}", encode(br#"{"alg":"EdDSA","kid":"a"}"#), encode(claims.to_string().as_bytes()));
        let token = format!("{signed}.{}", encode(pair.sign(signed.as_bytes()).as_ref()));
        (address, token)
    }

    /// `cargo test --release --lib -- --ignored --nocapture measure_what_a_token_costs`
    #[tokio::test]
    #[ignore = "a measurement, of a release build"]
    #[expect(clippy::print_stdout, reason = "the figure is its result")]
    async fn measure_what_a_token_costs() {
        const TIMES: u32 = 200_000;
        let (address, token) = issuer().await;
        let claims = config::Claims { tenant: None, user: "sub".to_owned(), scopes: None, tier: None };
        let jwks = Some(format!("{address}/keys").parse().unwrap());
        let auth = Auth::build(&config::Auth {
            anonymous: false,
            keys: None,
            jwt: Some(config::Jwt { issuer: address, audience: vec!["chat".to_owned()], jwks, claims }),
            signing_keys: Vec::new(),
            session_max_age: Duration::from_secs(1),
            ca_file: None,
        })
        .unwrap();
        let begun = std::time::Instant::now();
        auth.authenticate(Credential::Bearer(&token)).await.unwrap();
        println!("the first token, with its issuer's keys, costs {:?}", begun.elapsed());
        let begun = std::time::Instant::now();
        for _ in 0..TIMES {
            std::hint::black_box(auth.authenticate(Credential::Bearer(&token)).await.unwrap());
        }
        println!("a token from the cache costs {:?}", begun.elapsed() / TIMES);
    }
}
