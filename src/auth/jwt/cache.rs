//! Tokens that were verified lately: a signature costs a hundred times what finding it here does.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::domain::caller::Caller;

/// Tokens in each of the two halves.
const HALF: usize = 8192;

/// SHA-256 of a token: the token itself is not kept.
pub(super) type Digest = [u8; 32];

/// What a token was found to be.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    pub(super) caller: Caller,
    /// In Unix seconds.
    pub(super) expires: i64,
    /// Of the issuer's keys: with others it has to be verified again.
    pub(super) generation: u64,
}

/// When the newer half is full, it becomes the older one, which is forgotten: what is used is carried over.
#[derive(Debug, Default)]
pub(super) struct Cache(Mutex<[HashMap<Digest, Verified>; 2]>);

impl Cache {
    /// What the token of this digest was found to be, if that still holds.
    pub(super) fn get(&self, digest: &Digest, generation: u64, now: i64) -> Option<Verified> {
        let mut halves = self.0.lock();
        let holds = |found: &&Verified| found.generation == generation && found.expires > now;
        if let Some(found) = halves[0].get(digest).filter(holds) {
            return Some(found.clone());
        }
        let found = halves[1].remove(digest).filter(|found| holds(&found))?;
        put(&mut halves, *digest, found.clone());
        Some(found)
    }

    /// Remembers what a token was found to be.
    pub(super) fn put(&self, digest: Digest, verified: Verified) {
        put(&mut self.0.lock(), digest, verified);
    }
}

fn put(halves: &mut [HashMap<Digest, Verified>; 2], digest: Digest, verified: Verified) {
    if halves[0].len() >= HALF {
        halves[1] = std::mem::take(&mut halves[0]);
    }
    halves[0].insert(digest, verified);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::caller::Scopes;

    fn digest(number: usize) -> Digest {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        digest
    }

    #[test]
    fn what_is_used_stays_and_there_is_a_bound() {
        let cache = Cache::default();
        let verified = Verified { caller: Caller::anonymous(Scopes::USE), expires: 10, generation: 1 };
        for number in 0..10 * HALF {
            cache.put(digest(number), verified.clone());
            assert!(cache.get(&digest(0), 1, 9).is_some(), "{number}");
        }
        let held: usize = cache.0.lock().iter().map(HashMap::len).sum();
        assert!(held <= 2 * HALF, "{held}");
        assert!(cache.get(&digest(0), 2, 9).is_none(), "the issuer has other keys");
        assert!(cache.get(&digest(0), 1, 10).is_none(), "it has expired");
    }
}
