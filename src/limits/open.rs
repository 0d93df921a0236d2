//! What was granted and has not ended on this instance, by whose it is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::domain::caller::Owner;

/// Replies that run, and that are being asked for.
#[derive(Debug, Default)]
pub(super) struct Open {
    owners: Mutex<HashMap<Owner, (u64, String)>>,
    version: AtomicU64,
}

impl Open {
    /// One more of this owner, who comes in this tier.
    pub(super) fn enter(&self, owner: &Owner, tier: &str) {
        let mut owners = self.owners.lock();
        match owners.get_mut(owner) {
            Some((count, _)) => *count += 1,
            None => drop(owners.insert(owner.clone(), (1, tier.to_owned()))),
        }
    }

    /// One less.
    pub(super) fn leave(&self, owner: &Owner) {
        let mut owners = self.owners.lock();
        if let Some((count, _)) = owners.get_mut(owner) {
            *count -= 1;
            if *count == 0 {
                owners.remove(owner);
            }
        }
    }

    /// The number of a message, and how many of this owner there are as of it.
    pub(super) fn count(&self, owner: &Owner) -> (u64, u64) {
        let owners = self.owners.lock();
        let version = self.version.fetch_add(1, Ordering::Relaxed);
        (version, owners.get(owner).map_or(0, |(count, _)| *count))
    }

    /// Those who have some, each with its tier.
    pub(super) fn owners(&self) -> Vec<(Owner, String)> {
        self.owners.lock().iter().map(|(owner, (_, tier))| (owner.clone(), tier.clone())).collect()
    }
}
