//! Replies that were not accepted although nothing was wrong with the request: what an operator has to know.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Busy, Error, Result};

/// How long the last refusal is shown: long enough to be seen by a periodic check.
const SHOWN: Duration = Duration::from_secs(30);

/// What was refused lately.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Option<Last>>);

#[derive(Debug)]
struct Last {
    reason: String,
    at: Instant,
    /// How many were since it began.
    count: u64,
    /// It lasts until a reply is accepted, and is no matter of time.
    lasts: bool,
    accepted: bool,
}

/// Replies are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Why the last one was.
    pub(crate) reason: String,
    /// How many were.
    pub(crate) count: u64,
}

impl Refusals {
    /// Takes note of what came of a request for a reply.
    pub(super) fn note<T>(&self, result: &Result<T>) {
        self.note_at(result, Instant::now());
    }

    /// Why replies are refused, if they are.
    pub(super) fn current(&self) -> Option<Refusal> {
        self.current_at(Instant::now())
    }

    fn note_at<T>(&self, result: &Result<T>, now: Instant) {
        let mut last = self.0.lock();
        let Err(error) = result else {
            if let Some(last) = &mut *last {
                last.accepted = true;
            }
            return;
        };
        let lasts = match error {
            Error::Full | Error::Unavailable(_) => true,
            Error::Busy(Busy::Replies | Busy::ModelServer) | Error::Upstream { .. } | Error::Internal => false,
            // The client's doing, or another's turn.
            _ => return,
        };
        let count = last.as_ref().filter(|last| last.is_shown(now)).map_or(0, |last| last.count) + 1;
        *last = Some(Last { reason: error.to_string(), at: now, count, lasts, accepted: false });
    }

    fn current_at(&self, now: Instant) -> Option<Refusal> {
        let last = self.0.lock();
        let last = last.as_ref().filter(|last| last.is_shown(now))?;
        Some(Refusal { reason: last.reason.clone(), count: last.count })
    }
}

impl Last {
    fn is_shown(&self, now: Instant) -> bool {
        now.duration_since(self.at) < SHOWN || (self.lasts && !self.accepted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_shown_for_a_while_and_a_lasting_one_until_a_reply_is_accepted() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.current_at(now), None);
        refusals.note_at::<()>(&Err(Error::KeyReused), now);
        assert_eq!(refusals.current_at(now), None, "the client's own fault");
        refusals.note_at::<()>(&Err(Busy::Replies.into()), now);
        assert!(refusals.current_at(now).is_some_and(|refusal| refusal.reason.contains("too many replies")));
        assert_eq!(refusals.current_at(now + SHOWN), None);
        refusals.note_at::<()>(&Err(Error::Full), now);
        refusals.note_at::<()>(&Err(Error::Full), now + SHOWN * 2);
        let later = now + SHOWN * 4;
        assert_eq!(refusals.current_at(later), Some(Refusal { reason: Error::Full.to_string(), count: 3 }));
        refusals.note_at(&Ok(()), later);
        assert_eq!(refusals.current_at(later), None);
    }
}
