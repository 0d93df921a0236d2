//! What this server signs for itself: tickets (one resource, a minute) and sessions (a browser, some hours). Both hold who
//! asks, and nothing is kept of them: any instance with the same secret can tell that they are good.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::Denied;
use crate::config::values::Secret;
use crate::domain::caller::{Caller, Owner, Scopes};

/// The longest text that is looked at.
const LONGEST: usize = 4096;

/// What something signed is for. One is never taken for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose<'a> {
    /// One resource, by its path.
    Ticket(&'a str),
    /// A browser.
    Session,
}

/// Signs, and tells what was signed.
#[derive(Debug)]
pub(super) struct Signer {
    /// The first signs; all of them are good.
    secrets: Vec<Secret>,
}

/// What is signed.
#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(rename = "o")]
    owner: Owner,
    #[serde(rename = "k")]
    key: String,
    #[serde(rename = "s")]
    scopes: String,
    #[serde(rename = "t")]
    tier: String,
    /// In Unix seconds.
    #[serde(rename = "e")]
    expires: i64,
}

impl Signer {
    /// A signer with these secrets.
    pub(super) const fn new(secrets: Vec<Secret>) -> Self {
        Self { secrets }
    }

    /// Signs for this caller, until then. `None`: there is no secret.
    pub(super) fn sign(&self, purpose: Purpose<'_>, caller: &Caller, expires: i64) -> Option<String> {
        let secret = self.secrets.first()?;
        let claims = Claims {
            owner: caller.owner().clone(),
            key: caller.key().unwrap_or_default().to_owned(),
            scopes: caller.scopes().to_string(),
            tier: caller.tier().to_owned(),
            expires,
        };
        let payload = BASE64URL_NOPAD.encode(&serde_json::to_vec(&claims).ok()?);
        let tag = BASE64URL_NOPAD.encode(&mac(secret, purpose, &payload).finalize().into_bytes());
        Some(format!("{payload}.{tag}"))
    }

    /// Who it was signed for, if it was signed for this purpose and is still good; and until when it is.
    pub(super) fn verify(&self, purpose: Purpose<'_>, text: &str, now: i64) -> Result<(Caller, i64), Denied> {
        let (payload, tag) = text.split_once('.').filter(|_| text.len() <= LONGEST).ok_or(Denied::Malformed)?;
        let tag = BASE64URL_NOPAD.decode(tag.as_bytes()).map_err(|_| Denied::Malformed)?;
        let is_ours = |secret| mac(secret, purpose, payload).verify_slice(&tag).is_ok();
        if !self.secrets.iter().any(is_ours) {
            return Err(Denied::Signature);
        }
        let claims = BASE64URL_NOPAD.decode(payload.as_bytes()).map_err(|_| Denied::Malformed)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| Denied::Malformed)?;
        if claims.expires <= now {
            return Err(Denied::Expired);
        }
        let expires = claims.expires;
        Ok((claims.caller()?, expires))
    }
}

impl Claims {
    fn caller(self) -> Result<Caller, Denied> {
        let scopes = match self.scopes.as_str() {
            "" => Scopes::NONE,
            scopes => scopes.parse().map_err(|_| Denied::Malformed)?,
        };
        if self.key.is_empty() {
            return Ok(Caller::anonymous(scopes));
        }
        Ok(Caller::new(self.owner, self.key, scopes, Arc::from(self.tier)))
    }
}

fn mac(secret: &Secret, purpose: Purpose<'_>, payload: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes keys of any length");
    match purpose {
        Purpose::Session => mac.update(b"rejoinder session 1\0"),
        Purpose::Ticket(resource) => {
            mac.update(b"rejoinder ticket 1\0");
            mac.update(resource.as_bytes());
            mac.update(b"\0");
        }
    }
    mac.update(payload.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(secrets: &[&str]) -> Signer {
        Signer::new(secrets.iter().map(|secret| Secret::new(*secret)).collect())
    }

    fn alice() -> Caller {
        Caller::new(Owner::new("acme", Some("alice")), "k1", Scopes::USE, "gold")
    }

    #[test]
    fn what_was_signed_is_good_for_its_purpose_until_its_time() {
        let signer = signer(&["first", "second"]);
        let ticket = signer.sign(Purpose::Ticket("/v1/a"), &alice(), 160).unwrap();
        for _ in 0..2 {
            assert_eq!(signer.verify(Purpose::Ticket("/v1/a"), &ticket, 159), Ok((alice(), 160)));
        }
        assert_eq!(signer.verify(Purpose::Ticket("/v1/a"), &ticket, 160), Err(Denied::Expired));
        for other in [Purpose::Ticket("/v1/b"), Purpose::Ticket("/v1/a\0"), Purpose::Ticket(""), Purpose::Session] {
            assert_eq!(signer.verify(other, &ticket, 159), Err(Denied::Signature), "{other:?}");
        }
    }

    #[test]
    fn a_secret_is_rotated_by_having_two_for_a_while() {
        let session = signer(&["old"]).sign(Purpose::Session, &alice(), 10).unwrap();
        assert!(signer(&["new", "old"]).verify(Purpose::Session, &session, 0).is_ok());
        assert_eq!(signer(&["new"]).verify(Purpose::Session, &session, 0), Err(Denied::Signature));
        assert_eq!(signer(&[]).sign(Purpose::Session, &alice(), 10), None);
    }

    #[test]
    fn whatever_is_changed_is_refused() {
        let signer = signer(&["secret"]);
        let ticket = signer.sign(Purpose::Session, &alice(), 10).unwrap();
        for index in 0..ticket.len() {
            let mut bytes = ticket.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert!(signer.verify(Purpose::Session, &changed, 0).is_err(), "{changed}");
        }
        for wrong in ["", ".", "a.b", &ticket[..ticket.len() - 1], &format!("{ticket}.x"), &"a.".repeat(5000)] {
            assert!(signer.verify(Purpose::Session, wrong, 0).is_err(), "{wrong}");
        }
    }
}
