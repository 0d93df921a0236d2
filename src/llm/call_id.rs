//! Ids of function calls as a server accepts them: the same id always becomes the same.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use super::dialect::Dialect;

/// Mistral takes ids of exactly this many letters and digits.
const MISTRAL_LENGTH: usize = 9;

/// `OpenAI` takes ids of at most this many characters.
const OPENAI_MAX_LENGTH: usize = 40;

const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The id under which a call is sent to a server of this dialect.
pub(super) fn for_dialect(dialect: Dialect, id: &str) -> Cow<'_, str> {
    match dialect {
        Dialect::Mistral if id.len() == MISTRAL_LENGTH && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            id.into()
        }
        Dialect::Mistral => hashed(id, MISTRAL_LENGTH).into(),
        Dialect::OpenAi | Dialect::Azure if id.len() > OPENAI_MAX_LENGTH => format!("call_{}", hashed(id, 24)).into(),
        _ => id.into(),
    }
}

fn hashed(id: &str, length: usize) -> String {
    let hash = Sha256::digest(id);
    hash.iter().take(length).map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_made_to_fit_and_stay_the_same() {
        let long = "x".repeat(60);
        let mistral = for_dialect(Dialect::Mistral, "call_1");
        assert!(mistral.len() == 9 && mistral.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(mistral, for_dialect(Dialect::Mistral, "call_1"));
        assert_ne!(mistral, for_dialect(Dialect::Mistral, "call_2"));
        assert_eq!(for_dialect(Dialect::Mistral, "abcDEF123"), "abcDEF123");
        assert!(for_dialect(Dialect::OpenAi, &long).len() <= OPENAI_MAX_LENGTH);
        assert_eq!(for_dialect(Dialect::Ollama, &long), long);
    }
}
