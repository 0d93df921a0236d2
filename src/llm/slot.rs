//! Which model server is called: the best of those that have the model, when it has room.

use super::builtin::Builtin;
use super::delta::{UpstreamError, UpstreamErrorKind as Kind};
use super::remote::Serves;
use super::{Upstream, failure};
use crate::domain::event::{ErrorCode, ReplyError};
use crate::services::fallback::{self, Choice};
use crate::services::{Candidate, MaxWait, Permit, Refused, Standing, choose};

/// The right to one call, of a model that has room for it. Given back when it is dropped, or when the call is over.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(super) at: At,
}

#[derive(Debug)]
pub(super) enum At {
    Builtin(Builtin),
    #[cfg(feature = "simulation")]
    Simulated(super::simulated::Simulated),
    Remote {
        index: usize,
        permit: Permit,
        /// Somebody else could be asked instead.
        hurried: bool,
    },
}

/// How often each server has failed in one matter.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tried {
    failed: Vec<u32>,
}

/// Nobody can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSlot {
    /// There is no room, and none came in time.
    Busy(Refused),
    /// Nobody has the model.
    NoModel,
    /// The servers that have it do not continue a reply that broke off.
    NoContinuation,
}

/// A call that failed, and the server that it went to.
#[derive(Debug)]
pub(crate) struct Failed {
    /// What is wrong.
    pub(crate) error: UpstreamError,
    /// The server, by its place in the list.
    pub(crate) server: Option<usize>,
}

/// The server that would be called next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next {
    /// Which, by its place in the list.
    pub(crate) server: usize,
    /// How often it has failed in this matter.
    pub(crate) failed: u32,
    /// Whether it is well, as far as is known.
    pub(crate) is_well: bool,
    /// How many there are to choose from.
    pub(crate) of: usize,
}

impl Tried {
    /// A server failed, once more.
    pub(crate) fn failed(&mut self, server: usize) {
        if self.failed.len() <= server {
            self.failed.resize(server + 1, 0);
        }
        self.failed[server] += 1;
    }

    /// Something went well: what was before does not count any more.
    pub(crate) fn forget(&mut self) {
        self.failed.clear();
    }

    fn of(&self, server: usize) -> u32 {
        self.failed.get(server).copied().unwrap_or(0)
    }
}

impl Upstream {
    /// A slot for a first call of this model, if there is one at once.
    pub(crate) fn try_slot(&self, model: &str) -> Option<Slot> {
        if let Some(builtin) = self.builtin(model) {
            return Some(Slot { at: At::Builtin(builtin) });
        }
        #[cfg(feature = "simulation")]
        if let Some(simulated) = self.inner.simulated.clone() {
            return Some(Slot { at: At::Simulated(simulated) });
        }
        let able = self.able(model, false);
        let candidates = self.candidates(&able, &Tried::default());
        let chosen = choose(&candidates);
        let (index, permit) =
            chosen.iter().find_map(|at| Some((*at, self.inner.remotes[able[*at]].service().try_permit()?)))?;
        Some(Self::taken(&able, &candidates, index, permit))
    }

    /// Waits for a slot for a call of this model. `continues`: there is a prefix to continue; `tried`: how it went
    /// so far. Dropping the future gives up the wait.
    pub(crate) async fn slot(
        &self,
        model: &str,
        continues: bool,
        tried: &Tried,
        caller: &str,
        max_wait: MaxWait,
    ) -> Result<Slot, NoSlot> {
        if let Some(builtin) = self.builtin(model) {
            return Ok(Slot { at: At::Builtin(builtin) });
        }
        #[cfg(feature = "simulation")]
        if let Some(simulated) = self.inner.simulated.clone() {
            return Ok(Slot { at: At::Simulated(simulated) });
        }
        let able = self.able(model, continues);
        if able.is_empty() {
            let known = !self.able(model, false).is_empty();
            return Err(if known { NoSlot::NoContinuation } else { NoSlot::NoModel });
        }
        let choices: Vec<_> = able.iter().map(|index| self.choice(*index, tried)).collect();
        let (index, permit) = fallback::permit(&choices, caller, max_wait).await.map_err(NoSlot::Busy)?;
        Ok(Self::taken(&able, &self.candidates(&able, tried), index, permit))
    }

    /// How long a first call of this model may wait for its slot.
    pub(crate) fn max_wait(&self, model: &str) -> MaxWait {
        let able = self.able(model, false);
        able.first().map_or(MaxWait::Unlimited, |index| self.inner.remotes[*index].service().max_wait())
    }

    /// The server that would be called next. `None`: there is none.
    pub(crate) fn next(&self, model: &str, continues: bool, tried: &Tried) -> Option<Next> {
        #[cfg(feature = "simulation")]
        if self.inner.simulated.is_some() {
            return Some(Next { server: 0, failed: tried.of(0), is_well: true, of: 1 });
        }
        let able = self.able(model, continues);
        let candidates = self.candidates(&able, tried);
        let at = *choose(&candidates).first()?;
        let best = candidates[at];
        Some(Next { server: able[at], failed: best.failed, is_well: best.standing == Standing::Ready, of: able.len() })
    }

    /// The built-in model of this name, unless a server has one of the same.
    fn builtin(&self, model: &str) -> Option<Builtin> {
        let builtin = Builtin::named(model)?;
        let taken = self.inner.remotes.iter().any(|remote| remote.takes_over(model));
        (!taken).then_some(builtin)
    }

    /// The servers that can be asked for this: those that have the model; where that is not known of any, those that
    /// may have it; and else all, so that one of them reports what is wrong.
    fn able(&self, model: &str, continues: bool) -> Vec<usize> {
        let served: Vec<_> = self.inner.remotes.iter().map(|remote| remote.serves(model)).collect();
        let best = served.iter().copied().min().unwrap_or(Serves::No);
        let willing = |index: &usize| !continues || self.inner.remotes[*index].continues();
        (0..served.len()).filter(|index| served[*index] == best).filter(willing).collect()
    }

    fn choice(&self, index: usize, tried: &Tried) -> Choice<'_> {
        Choice { service: self.inner.remotes[index].service(), failed: tried.of(index) }
    }

    fn candidates(&self, able: &[usize], tried: &Tried) -> Vec<Candidate> {
        let choices = able.iter().map(|index| self.choice(*index, tried));
        choices.map(|Choice { service, failed }| Candidate { standing: service.standing(), failed }).collect()
    }

    fn taken(able: &[usize], candidates: &[Candidate], at: usize, permit: Permit) -> Slot {
        let own = candidates[at].failed;
        let is_other = |(other, candidate): (usize, &Candidate)| {
            other != at && candidate.standing == Standing::Ready && candidate.failed <= own
        };
        let hurried = candidates.iter().enumerate().any(is_other);
        Slot { at: At::Remote { index: able[at], permit, hurried } }
    }
}

impl NoSlot {
    /// In the words of an upstream's failure.
    pub(crate) fn into_error(self) -> UpstreamError {
        match self {
            Self::Busy(refused) => UpstreamError {
                error: ReplyError {
                    code: ErrorCode::RateLimitExceeded,
                    message: "The model server has too much to do.".to_owned(),
                },
                cause: refused.to_string(),
                kind: Kind::Retry { after: None },
            },
            Self::NoModel => failure::unsupported("No model server has this model."),
            Self::NoContinuation => UpstreamError {
                error: ReplyError::server("The reply was broken off."),
                cause: "continuing is switched off".to_owned(),
                kind: Kind::Request,
            },
        }
    }
}
