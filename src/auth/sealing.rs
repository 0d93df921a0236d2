//! Sealing: texts that are encrypted (AES-256-GCM, NIST SP 800-38D) for the one whom they belong to.
//!
//! A key is made for one text, of the server's secret, the owner and a salt, so that any instance with the same secret can open
//! it, and nobody else. The salt stands before the ciphertext; so a nonce is not needed to tell two uses of a key apart.

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::Sha256;

use crate::config::values::Secret;
use crate::domain::caller::Owner;
use crate::domain::params::SealKey;

/// The bytes of a salt.
pub(crate) const SALT: usize = 16;

/// Sets these keys apart from whatever else is made of the secret.
const PURPOSE: &[u8] = b"rejoinder seal ";

/// Seals a text. The prefix stands before it, tells what it is, and cannot be exchanged for another.
pub(crate) fn seal(prefix: &str, key: &SealKey, text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    cipher(&key.key)
        .seal_in_place_append_tag(nonce(), bound(prefix, &key.salt), &mut bytes)
        .expect("a text is shorter than what AES-GCM takes");
    let mut sealed = prefix.to_owned();
    BASE64URL_NOPAD.encode_append(&[&key.salt[..], &bytes].concat(), &mut sealed);
    sealed
}

/// Opens a text that was sealed under this prefix with one of the keys that `keys` has for its salt.
pub(crate) fn open(prefix: &str, sealed: &str, keys: impl Fn(&[u8; SALT]) -> Vec<[u8; 32]>) -> Option<String> {
    let bytes = BASE64URL_NOPAD.decode(sealed.strip_prefix(prefix)?.as_bytes()).ok()?;
    let (salt, sealed) = bytes.split_first_chunk::<SALT>()?;
    keys(salt).iter().find_map(|key| {
        let mut bytes = sealed.to_vec();
        let text = cipher(key).open_in_place(nonce(), bound(prefix, salt), &mut bytes).ok()?;
        String::from_utf8(text.to_vec()).ok()
    })
}

/// What is sealed along with a text: the salt that stands before it cannot be exchanged.
fn bound(prefix: &str, salt: &[u8; SALT]) -> Aad<Vec<u8>> {
    Aad::from([prefix.as_bytes(), salt].concat())
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("a key of 32 bytes"))
}

/// Each key seals one text.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// The key of this secret, owner and salt.
pub(super) fn key(secret: &Secret, owner: &Owner, salt: &[u8; SALT]) -> [u8; 32] {
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

    const PREFIX: &str = "rejoinder-sealed1.";

    fn sealing(byte: u8) -> SealKey {
        SealKey { salt: [byte; SALT], key: [byte; 32] }
    }

    #[test]
    fn what_is_sealed_is_opened_with_its_key_alone_and_only_as_it_is() {
        let sealed = seal(PREFIX, &sealing(1), "we launch on Tuesday, ü");
        assert!(!sealed.contains("Tuesday") && sealed.starts_with(PREFIX));
        let keys = |salt: &[u8; SALT]| vec![[9; 32], [salt[0]; 32]];
        assert_eq!(open(PREFIX, &sealed, keys).as_deref(), Some("we launch on Tuesday, ü"));
        assert_eq!(open(PREFIX, &sealed, |_| vec![[2; 32]]), None);
        assert_eq!(open(PREFIX, &sealed, |_| Vec::new()), None);
        for index in PREFIX.len()..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("text");
            assert_eq!(open(PREFIX, &changed, |_| vec![[1; 32]]), None, "{changed}");
        }
        assert_eq!(open("rejoinder-other1.", &sealed.replace(PREFIX, "rejoinder-other1."), keys), None);
        for foreign in ["", PREFIX, "gAAAAABo", "rejoinder1.e30", "rejoinder-sealed1.AAAA"] {
            assert_eq!(open(PREFIX, foreign, keys), None, "{foreign}");
        }
    }
}
