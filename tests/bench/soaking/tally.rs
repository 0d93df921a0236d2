//! What has to hold, how often it was looked at, and what did not hold. Bounded: of each check a few examples are kept.

use std::fmt::Display;

use parking_lot::Mutex;

/// Examples that are kept of each check.
const EXAMPLES: usize = 5;
/// … and how long each may be.
const LONGEST: usize = 400;

/// What has to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    Ending,
    Numbers,
    Text,
    Rejoin,
    Continued,
    Streams,
    Refusals,
    Retries,
    Followers,
    Stops,
    Deletions,
    Conversations,
    Context,
    Images,
    ReadBack,
    FromStore,
    Deleted,
    AtTheEnd,
    Health,
}

impl Check {
    /// All, in the order of the report.
    pub(crate) const ALL: [Self; 19] = [
        Self::Ending,
        Self::Numbers,
        Self::Text,
        Self::Rejoin,
        Self::Continued,
        Self::Streams,
        Self::Refusals,
        Self::Retries,
        Self::Followers,
        Self::Stops,
        Self::Deletions,
        Self::Conversations,
        Self::Context,
        Self::Images,
        Self::ReadBack,
        Self::FromStore,
        Self::Deleted,
        Self::AtTheEnd,
        Self::Health,
    ];

    /// What has to hold, in words.
    pub(crate) fn claim(self) -> &'static str {
        match self {
            Self::Ending => "every accepted reply ends, and once",
            Self::Numbers => "events are numbered without a gap",
            Self::Text => "replies say what they have to",
            Self::Rejoin => "a stream that is rejoined goes on at the exact next event",
            Self::Continued => "what ran when the server went away went on and ended",
            Self::Streams => "no stream is cut while the server is there",
            Self::Refusals => "no request is refused while the server is there",
            Self::Retries => "a retry with the same key joins the reply",
            Self::Followers => "further followers see the same events",
            Self::Stops => "a cancelled reply ends as cancelled and keeps its text",
            Self::Deletions => "a deleted reply is not found, at once",
            Self::Conversations => "a conversation holds its items, in order",
            Self::Context => "the model is given the whole context",
            Self::Images => "images come back as they were sent",
            Self::ReadBack => "finished replies read back, at once",
            Self::FromStore => "… and when the log has dropped them",
            Self::Deleted => "deleted replies are not found when the log has dropped them",
            Self::AtTheEnd => "replies of the whole run are as they were, at its end and after a restart",
            Self::Health => "/healthz says ok",
        }
    }
}

/// How often each check held, and did not.
#[derive(Debug)]
pub(crate) struct Tally {
    counts: [Mutex<Count>; Check::ALL.len()],
}

/// … of one check.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count {
    pub(crate) held: u64,
    pub(crate) broken: u64,
    pub(crate) examples: Vec<String>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { counts: std::array::from_fn(|_| Mutex::default()) }
    }

    pub(crate) fn hold(&self, check: Check) {
        self.counts[check as usize].lock().held += 1;
    }

    pub(crate) fn fail(&self, check: Check, what: &dyn Display) {
        let mut count = self.counts[check as usize].lock();
        count.broken += 1;
        if count.examples.len() < EXAMPLES {
            count.examples.push(what.to_string().chars().take(LONGEST).collect());
        }
    }

    pub(crate) fn count(&self, check: Check) -> Count {
        self.counts[check as usize].lock().clone()
    }
}
