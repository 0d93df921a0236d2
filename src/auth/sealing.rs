//! Keys with which something is sealed for the one whom it belongs to: made of the server's secret, the owner and a salt, so
//! that any instance with the same secret can open it, and nobody else.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::values::Secret;
use crate::domain::caller::Owner;

/// Sets these keys apart from whatever else is made of the secret.
const PURPOSE: &[u8] = b"rejoinder seal ";

/// The key of this secret, owner and salt.
pub(super) fn key(secret: &Secret, owner: &Owner, salt: &[u8; 16]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes keys of any length");
    mac.update(PURPOSE);
    mac.update(salt);
    mac.update(owner.as_str().as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_that_of_one_secret_one_owner_and_one_salt() {
        let made = |secret: &str, tenant: &str, salt: u8| {
            key(&Secret::new(secret), &Owner::new(tenant, Some("alice")), &[salt; 16])
        };
        assert_eq!(made("s", "acme", 1), made("s", "acme", 1));
        assert_ne!(made("s", "acme", 1), made("t", "acme", 1));
        assert_ne!(made("s", "acme", 1), made("s", "other", 1));
        assert_ne!(made("s", "acme", 1), made("s", "acme", 2));
    }
}
