//! Signatures as [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md)
//! has them, and OpenAI's SDKs check them.

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::HeaderName;
use sha2::Sha256;

use crate::config::values::Secret;

/// What secrets begin with; base64 follows.
const PREFIX: &str = "whsec_";

/// Bytes of a new secret.
const BYTES: usize = 32;

/// A new secret.
pub(super) fn new_secret() -> Secret {
    Secret::new(format!("{PREFIX}{}", BASE64.encode(&rand::random::<[u8; BYTES]>())))
}

/// The headers of a message, signed at this time (Unix seconds) with each of these secrets.
pub(super) fn headers(id: &str, at: u64, body: &[u8], secrets: &[Secret]) -> [(HeaderName, String); 3] {
    let signatures: Vec<_> = secrets.iter().map(|secret| sign(secret, id, at, body)).collect();
    [
        (HeaderName::from_static("webhook-id"), id.to_owned()),
        (HeaderName::from_static("webhook-timestamp"), at.to_string()),
        (HeaderName::from_static("webhook-signature"), signatures.join(" ")),
    ]
}

fn sign(secret: &Secret, id: &str, at: u64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(&key(secret)).expect("HMAC takes keys of any length");
    mac.update(format!("{id}.{at}.").as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
}

/// The bytes of a secret: those that stand in base64 behind the prefix; without it, the text's own.
fn key(secret: &Secret) -> Vec<u8> {
    let text = secret.expose();
    let coded = text.strip_prefix(PREFIX).and_then(|coded| BASE64.decode(coded.as_bytes()).ok());
    coded.unwrap_or_else(|| text.as_bytes().to_vec())
}

/// Tells one secret from another, for people.
pub(super) fn hint(secret: &Secret) -> String {
    const SHOWN: usize = 4;
    let text = secret.expose();
    let last = text.char_indices().rev().nth(SHOWN - 1).map_or(0, |(at, _)| at);
    // Of a short one that somebody chose, four characters would be too many.
    if text.len() < 4 * SHOWN { "…".to_owned() } else { format!("{PREFIX}…{}", &text[last..]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks libraries.
    #[test]
    fn a_message_is_signed_as_the_standards_own_example_is() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let body = br#"{"test": 2432232314}"#;
        let headers = headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body, std::slice::from_ref(&secret));
        assert_eq!(headers[0].1, "msg_p5jXN8AQM9LWM0D4loKWxJek");
        assert_eq!(headers[1].1, "1614265330");
        assert_eq!(headers[2].1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn after_a_rotation_both_secrets_sign() {
        let [one, other] = [new_secret(), new_secret()];
        assert_ne!(one, other);
        let value = |secrets: &[Secret]| headers("wh_1", 7, b"{}", secrets)[2].1.clone();
        let both = value(&[one.clone(), other.clone()]);
        assert_eq!(both, format!("{} {}", value(&[one]), value(&[other])));
    }

    #[test]
    fn a_hint_shows_the_end_and_no_more() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        assert_eq!(hint(&secret), "whsec_…LaSw");
        assert_eq!(hint(&Secret::new("short")), "…");
        assert_eq!(key(&Secret::new("whsec_!")), b"whsec_!", "no base64");
        assert_eq!(key(&new_secret()).len(), BYTES);
    }
}
