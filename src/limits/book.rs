//! The accounts that this instance keeps.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use super::account::{Account, Rates, When};
use super::message::{Answer, Ask, Settlement};
use crate::domain::caller::Owner;
use crate::domain::ids::InstanceId;

/// After so long an account is forgotten that nobody has asked for: its buckets are full by then, no debt is longer, and what
/// was used of a day is read again.
const FORGET: Duration = Duration::from_hours(1);

/// Accounts by whose they are.
#[derive(Debug, Default)]
pub(super) struct Book(Mutex<HashMap<Owner, Account>>);

impl Book {
    /// Whether it has to be found out what was used today.
    pub(super) fn lacks_day(&self, owner: &Owner, when: When) -> bool {
        let accounts = self.0.lock();
        accounts.get(owner).is_none_or(|account| !account.knows_day(when.day))
    }

    /// That was found out.
    pub(super) fn learn_day(&self, owner: &Owner, when: When, used: u64) {
        self.of(owner, when, |account| account.learn_day(when.day, used));
    }

    pub(super) fn decide(&self, ask: &Ask, rates: Rates, when: When, is_dead: impl Fn(InstanceId) -> bool) -> Answer {
        self.of(&ask.owner, when, |account| account.decide(ask, rates, when, is_dead))
    }

    pub(super) fn settle(&self, settled: &Settlement, rates: Rates, when: When) {
        self.of(&settled.owner, when, |account| account.settle(settled, rates, when));
    }

    /// Forgets those that nobody needs.
    pub(super) fn tidy(&self, now: Duration) {
        self.0.lock().retain(|_, account| !account.is_idle(now, FORGET));
    }

    /// Forgets what ran on instances that died.
    pub(super) fn forget_dead(&self, is_dead: impl Fn(InstanceId) -> bool) {
        for account in self.0.lock().values_mut() {
            account.forget_dead(&is_dead);
        }
    }

    fn of<T>(&self, owner: &Owner, when: When, then: impl FnOnce(&mut Account) -> T) -> T {
        let mut accounts = self.0.lock();
        match accounts.get_mut(owner) {
            Some(account) => then(account),
            None => then(accounts.entry(owner.clone()).or_insert_with(|| Account::new(when))),
        }
    }
}
