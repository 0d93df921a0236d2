//! Secrets of endpoints as they stand in the store: sealed for their owner, where the server has a secret to seal with
//! (`SECRET_KEY`). Plain ones, from before or from where there was none, are read as they are.

use crate::auth::{Auth, sealing};
use crate::config::values::Secret;
use crate::domain::caller::Owner;

/// What sealed ones begin with.
const PREFIX: &str = "rejoinder-webhook1.";

/// What is told of an endpoint whose secret cannot be opened: nothing is sent to it, since it could not be signed.
pub(super) const SEALED_ELSEWHERE: &str =
    "its secret was sealed with another SECRET_KEY; rotate_secret gives it a new one";

/// Seals and opens secrets. A handle: cheap to clone.
#[derive(Clone)]
pub(super) struct Secrets(Auth);

impl Secrets {
    pub(super) const fn new(auth: Auth) -> Self {
        Self(auth)
    }

    /// A secret as it goes into the store.
    pub(super) fn seal(&self, owner: &Owner, secret: &Secret) -> Secret {
        let sealed = self.0.seal_key(owner).map(|key| Secret::new(sealing::seal(PREFIX, &key, secret.expose())));
        sealed.unwrap_or_else(|| secret.clone())
    }

    /// A secret of the store. `None`: it was sealed with another secret of the server, or for somebody else.
    pub(super) fn open(&self, owner: &Owner, stored: &Secret) -> Option<Secret> {
        if !Self::is_sealed(stored) {
            return Some(stored.clone());
        }
        sealing::open(PREFIX, stored.expose(), |salt| self.0.seal_keys(owner, salt)).map(Secret::new)
    }

    /// Seals what stands there plain.
    pub(super) fn seal_plain(&self, owner: &Owner, stored: &mut Secret) {
        if !Self::is_sealed(stored) {
            *stored = self.seal(owner, stored);
        }
    }

    /// Whether a secret of the store is sealed.
    pub(super) fn is_sealed(stored: &Secret) -> bool {
        stored.expose().starts_with(PREFIX)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::Config;

    /// With this secret of the server. `None`: it has none.
    pub(in crate::consumers::webhooks) fn secrets(key: Option<&str>) -> Secrets {
        let key = key.map(|key| ("SECRET_KEY".to_owned(), key.repeat(32)));
        let config = Config::from_env_map(&key.into_iter().collect()).unwrap();
        Secrets::new(Auth::build(&config.auth).unwrap())
    }

    #[test]
    fn a_secret_is_sealed_for_its_owner_and_a_plain_one_is_read() {
        let (alice, bob) = (Owner::new("acme", Some("alice")), Owner::new("acme", Some("bob")));
        let (ours, others, none) = (secrets(Some("a")), secrets(Some("b")), secrets(None));
        let plain = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let sealed = ours.seal(&alice, &plain);
        assert!(Secrets::is_sealed(&sealed) && !sealed.expose().contains("MfKQ9r8G"));
        assert_eq!(ours.open(&alice, &sealed), Some(plain.clone()));
        for (secrets, owner) in [(&ours, &bob), (&others, &alice), (&none, &alice)] {
            assert_eq!(secrets.open(owner, &sealed), None);
        }
        assert_eq!(none.seal(&alice, &plain), plain, "there is nothing to seal with");
        let mut stored = plain.clone();
        assert_eq!(ours.open(&alice, &stored), Some(plain.clone()));
        ours.seal_plain(&alice, &mut stored);
        let once = stored.clone();
        ours.seal_plain(&alice, &mut stored);
        assert!(Secrets::is_sealed(&once) && stored == once);
    }
}
