//! What was taken for one request, until it is known what it used.

use super::message::{Settlement, Standing};
use super::{Limited, Limits};
use crate::config::Tier;
use crate::domain::caller::Owner;
use crate::domain::ids::InstanceId;

/// What was taken for one request. Dropped before it is [spent](Reservation::spent), all is given back; after, nothing is.
#[must_use = "what was taken is given back when it is dropped"]
pub(crate) struct Reservation {
    limits: Limits,
    owner: Owner,
    /// `None`: there are no limits.
    tier: Option<String>,
    /// Tokens of the input, as far as they are reckoned with.
    input: u64,
    /// Tokens that were granted.
    reserved: u64,
    /// Who granted them. `None`: this instance, of its share.
    keeper: Option<InstanceId>,
    standing: Standing,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was granted yet.
    Asked,
    /// It may come to nothing.
    Granted,
    /// Something came of it.
    Spent,
    Settled,
}

impl Reservation {
    /// Where nothing is limited.
    pub(super) fn unlimited(limits: Limits, owner: Owner) -> Self {
        Self {
            limits,
            owner,
            tier: None,
            input: 0,
            reserved: 0,
            keeper: None,
            standing: Standing::default(),
            state: State::Settled,
        }
    }

    /// Before anything was granted.
    pub(super) fn begin(limits: Limits, owner: Owner, tier: &Tier, input: u64) -> Self {
        limits.0.open.enter(&owner, &tier.name);
        let tier = Some(tier.name.clone());
        Self {
            limits,
            owner,
            tier,
            input,
            reserved: 0,
            keeper: None,
            standing: Standing::default(),
            state: State::Asked,
        }
    }

    pub(super) const fn owner(&self) -> &Owner {
        &self.owner
    }

    pub(super) fn tier(&self) -> Option<&str> {
        self.tier.as_deref()
    }

    pub(super) const fn stands(&mut self, standing: Standing) {
        self.standing = standing;
    }

    pub(super) fn granted(&mut self, tokens: u64, keeper: Option<InstanceId>) {
        if self.state == State::Asked {
            (self.state, self.keeper) = (State::Granted, keeper);
        }
        // What another granted cannot be given back to the first.
        if self.keeper == keeper {
            self.reserved = self.reserved.saturating_add(tokens);
        }
    }

    /// Tokens of the input, as far as they are reckoned with. 0: nothing is limited, and nothing was reckoned.
    pub(crate) const fn input(&self) -> u64 {
        self.input
    }

    /// What is left to the caller now.
    pub(crate) const fn standing(&self) -> Standing {
        self.standing
    }

    /// The input is of so many tokens, as is known now: takes what is more than was reckoned with.
    pub(crate) async fn grow(&mut self, input: impl FnOnce() -> u64 + Send) -> Result<(), Limited> {
        if self.tier.is_none() {
            return Ok(());
        }
        let input = input();
        let more = input.saturating_sub(self.input);
        if more == 0 {
            return Ok(());
        }
        let limits = self.limits.clone();
        limits.take(self, more, false).await?;
        self.input = input;
        Ok(())
    }

    /// The same, of which something comes from here on.
    pub(crate) fn spent(mut self) -> Self {
        if self.state == State::Granted {
            self.state = State::Spent;
        }
        self
    }

    /// So many tokens were used.
    pub(crate) fn settle(mut self, used: u64) {
        if matches!(self.state, State::Granted | State::Spent) {
            self.end(used, used, false);
        }
    }

    fn end(&mut self, used: u64, of_day: u64, returns_request: bool) {
        let was_granted = self.state != State::Asked;
        self.state = State::Settled;
        let Some(tier) = self.tier.take() else { return };
        let limits = self.limits.clone();
        limits.0.open.leave(&self.owner);
        if !was_granted {
            return;
        }
        let (version, running) = limits.0.open.count(&self.owner);
        let settled = Settlement {
            owner: self.owner.clone(),
            tier,
            instance: limits.0.instance,
            version,
            running,
            reserved: self.reserved,
            used,
            of_day,
            returns_request,
            is_of_receiver: false,
        };
        limits.settle(settled, self.keeper);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        match self.state {
            State::Settled => {}
            State::Asked | State::Granted => self.end(0, 0, true),
            // Another goes on with it, and tells what it used in all.
            State::Spent => self.end(self.reserved, 0, false),
        }
    }
}
