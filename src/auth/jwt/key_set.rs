//! The keys of an issuer, as its JWKS document has them. Pure.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::algorithm;

/// Keys of an issuer, at most. Real ones have two or three.
const MOST: usize = 64;

/// What an issuer signs with.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Key>);

/// A key, and the one algorithm that it is for: a token has no say in that.
#[derive(Debug)]
pub(super) struct Key {
    kid: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) material: DecodingKey,
}

/// A document that holds no keys that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidKeySet {
    #[error("its keys are no JSON Web Key Set")]
    Form,
    #[error("it has {0} keys, where {MOST} are the most")]
    TooMany(usize),
    #[error("none of its keys is one for signatures that can be verified here")]
    NoKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a document. Keys that are for something else are passed over.
    pub(super) fn parse(document: &[u8]) -> Result<Self, InvalidKeySet> {
        let Document { keys } = serde_json::from_slice(document).map_err(|_| InvalidKeySet::Form)?;
        if keys.len() > MOST {
            return Err(InvalidKeySet::TooMany(keys.len()));
        }
        let keys: Vec<_> = keys.into_iter().filter_map(|key| Key::read(&serde_json::from_value(key).ok()?)).collect();
        if keys.is_empty() { Err(InvalidKeySet::NoKey) } else { Ok(Self(keys)) }
    }

    /// The key of this id. A token that names none is meant to be signed with the only one.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<&Key> {
        match (kid, self.0.as_slice()) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(kid), keys) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)),
        }
    }
}

impl Key {
    fn read(jwk: &Jwk) -> Option<Self> {
        if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
            return None;
        }
        let algorithm = match jwk.common.key_algorithm {
            Some(algorithm) => named(algorithm)?,
            None => of_kind(&jwk.algorithm)?,
        };
        let is_of_family = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => jsonwebtoken::AlgorithmFamily::Rsa,
            AlgorithmParameters::EllipticCurve(_) => jsonwebtoken::AlgorithmFamily::Ec,
            AlgorithmParameters::OctetKeyPair(_) => jsonwebtoken::AlgorithmFamily::Ed,
            // A secret that is published is none.
            _ => return None,
        }
        .algorithms()
        .contains(&algorithm);
        let material = DecodingKey::from_jwk(jwk).ok()?;
        (is_of_family && algorithm::is_known(algorithm)).then(|| Self {
            kid: jwk.common.key_id.clone(),
            algorithm,
            material,
        })
    }
}

fn named(algorithm: KeyAlgorithm) -> Option<Algorithm> {
    // Both have the names of RFC 7518.
    algorithm.to_string().parse().ok()
}

/// What keys are for that do not say it.
fn of_kind(parameters: &AlgorithmParameters) -> Option<Algorithm> {
    match parameters {
        AlgorithmParameters::RSA(_) => Some(Algorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => Some(Algorithm::ES256),
            EllipticCurve::P384 => Some(Algorithm::ES384),
            _ => None,
        },
        AlgorithmParameters::OctetKeyPair(_) => Some(Algorithm::EdDSA),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn parse(keys: &Value) -> Result<KeySet, InvalidKeySet> {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
    }

    #[test]
    fn keys_that_cannot_be_used_are_passed_over() {
        let ed = json!({"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": X});
        let others = json!([
            {"kty": "oct", "kid": "s", "k": "c2VjcmV0", "alg": "HS256"},
            {"kty": "OKP", "crv": "Ed25519", "kid": "enc", "x": X, "use": "enc"},
            {"kty": "RSA", "kid": "hmac", "n": "AQAB", "e": "AQAB", "alg": "HS256"},
            {"kty": "RSA", "kid": "oaep", "n": "AQAB", "e": "AQAB", "alg": "RSA-OAEP"},
            {"kty": "EC", "crv": "P-256", "kid": "mixed", "x": X, "y": X, "alg": "RS256"},
            {"kty": "quantum"}, 7,
        ]);
        assert_eq!(parse(&others).map(drop), Err(InvalidKeySet::NoKey));
        let mut all = others.as_array().unwrap().clone();
        all.push(ed);
        let keys = parse(&all.into()).unwrap();
        assert_eq!(keys.find(Some("a")).map(|key| key.algorithm), Some(Algorithm::EdDSA));
        assert!(["s", "enc", "hmac", "oaep", "mixed"].iter().all(|kid| keys.find(Some(kid)).is_none()));
        assert!(keys.find(None).is_some(), "the only one need not be named");
    }

    #[test]
    fn a_document_with_too_many_keys_is_refused_before_they_are_read() {
        let key = json!({"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": X});
        assert_eq!(parse(&vec![key; 10_000].into()).map(drop), Err(InvalidKeySet::TooMany(10_000)));
        for wrong in ["", "[]", "{}", "{\"keys\":{}}", "<html>"] {
            assert_eq!(KeySet::parse(wrong.as_bytes()).map(drop), Err(InvalidKeySet::Form), "{wrong}");
        }
    }
}
