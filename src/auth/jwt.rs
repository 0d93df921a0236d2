//! Tokens of an issuer that the server trusts (JWT, RFC 7519). The key says which algorithm a token has to be signed with,
//! and never the token.

use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use reqwest::Certificate;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::Denied;
use crate::config;
use crate::domain::caller::Caller;

mod algorithm;
mod cache;
mod claims;
mod issuer;
mod key_set;
#[cfg(test)]
mod fuzz;

pub(crate) use issuer::FetchError;

use cache::{Cache, Verified};
use issuer::Issuer;
use key_set::KeySet;

/// The longest token that is looked at.
const LONGEST: usize = 16 << 10;

/// How far the clocks of issuer and server may be apart, in seconds.
const LEEWAY: u64 = 30;

/// Verifies tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    config: config::Jwt,
    issuer: Arc<Issuer>,
    cache: Cache,
}

impl Tokens {
    pub(super) fn new(config: &config::Jwt, roots: Vec<Certificate>) -> Result<Self, reqwest::Error> {
        algorithm::install();
        let issuer = Arc::new(Issuer::new(config, roots)?);
        Ok(Self { config: config.clone(), issuer, cache: Cache::default() })
    }

    /// Keeps the issuer's keys fresh, until `stop`.
    pub(super) async fn watch(&self, stop: CancellationToken) {
        Arc::clone(&self.issuer).watch(stop).await;
    }

    /// Tries to fetch the issuer's keys.
    pub(super) async fn probe(&self) -> Result<(), FetchError> {
        self.issuer.fetch().await.map(drop)
    }

    /// Who a token is, and until when.
    pub(super) async fn verify(&self, token: &str, now: i64) -> Result<(Caller, i64), Denied> {
        if token.len() > LONGEST {
            return Err(Denied::Malformed);
        }
        let digest = Sha256::digest(token).into();
        let (keys, generation) = self.issuer.current();
        if let Some(Verified { caller, expires, .. }) = self.cache.get(&digest, generation, now) {
            return Ok((caller, expires));
        }
        let header = decode_header(token).map_err(|_| Denied::Malformed)?;
        // (RFC 7515, 4.1.11: what must be understood, and is not, makes the token invalid.)
        if header.crit.is_some() {
            return Err(Denied::Malformed);
        }
        let kid = header.kid.as_deref();
        let is_known = keys.as_ref().is_some_and(|keys| keys.find(kid).is_some());
        let (keys, generation) = if is_known { (keys, generation) } else { self.issuer.look_again().await };
        let keys = keys.ok_or(Denied::NoKeys)?;
        let (caller, expires) = self.verify_with(&keys, kid, token)?;
        self.cache.put(digest, Verified { caller: caller.clone(), expires, generation });
        Ok((caller, expires))
    }

    fn verify_with(&self, keys: &KeySet, kid: Option<&str>, token: &str) -> Result<(Caller, i64), Denied> {
        let key = keys.find(kid).ok_or(Denied::UnknownKey)?;
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.config.issuer]);
        validation.set_audience(&self.config.audience);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let token =
            decode::<Map<String, Value>>(token, &key.material, &validation).map_err(|error| denied(error.kind()))?;
        let caller = claims::caller(&token.claims, &self.config.claims)?;
        let expires = token.claims.get("exp").and_then(Value::as_f64).ok_or(Denied::Malformed)?;
        #[expect(clippy::cast_possible_truncation, reason = "beyond the end of time it is good for ever")]
        Ok((caller, (expires as i64).saturating_add(LEEWAY.cast_signed())))
    }
}

fn denied(error: &ErrorKind) -> Denied {
    match error {
        ErrorKind::ExpiredSignature => Denied::Expired,
        ErrorKind::ImmatureSignature => Denied::Early,
        ErrorKind::InvalidIssuer => Denied::Claim("iss"),
        ErrorKind::InvalidAudience => Denied::Claim("aud"),
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => Denied::Algorithm,
        ErrorKind::InvalidSignature => Denied::Signature,
        ErrorKind::MissingRequiredClaim(_) => Denied::Claim("missing"),
        _ => Denied::Malformed,
    }
}
