//! The log: where everything meets. Ordered, fenced, durable; knows records as bytes and nothing of their meaning.
//!
//! - **Subjects.** A record belongs to a [`Subject`]: the transcript of a thread, the reply log of a reply. Sequences
//!   grow within a subject; 0 means that it is empty.
//! - **Fenced.** [`Records::append`] names the sequence that it expects to be the subject's last. If it is not, nothing
//!   is written and the caller learns which is: of two writers, one goes on.
//! - **Stored first.** What a reader or a [`Subscription`] sees is stored: it survives the process.
//! - **Order of the transcripts.** All transcripts of a [`Shard`] together have one order, the [`Position`]s that the
//!   projection walks along with [`Records::scan`].
//!
//! [`Log`] is an enum, chosen once at start; every implementation passes the contract tests in `tests/contract`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::domain::ids::{ReplyId, ThreadId};
use crate::telemetry::LogUsage;

mod blobs;
pub mod embedded;
pub mod jetstream;
mod leases;
mod membership;
pub mod peers;
mod records;
mod snapshots;
mod recent;
#[cfg(feature = "simulation")]
pub mod simulated;
mod surely;

pub use blobs::Blobs;
pub use embedded::Embedded;
pub use jetstream::JetStream;
pub use leases::Leases;
pub use membership::Membership;
pub use peers::{Life, Peers};
pub use records::Records;
#[cfg(feature = "simulation")]
pub use simulated::Simulated;
pub use snapshots::Snapshots;

/// Where records are stored.
#[derive(Clone)]
pub enum Log {
    /// In `DATA_DIR`, for one instance.
    Embedded(Embedded),
    /// In NATS, for many.
    JetStream(JetStream),
    /// In memory, for many that are simulated.
    #[cfg(feature = "simulation")]
    Simulated(Simulated),
}

/// What a record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The items of a thread, and every change of it.
    Transcript(ThreadId),
    /// How a reply is generated.
    ReplyLog(ReplyId),
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the subject.
    pub sequence: u64,
    /// When it was stored, in milliseconds of Unix time.
    pub at: u64,
    /// The record.
    pub payload: Bytes,
}

/// A part of the log. Every thread belongs to one, with all its records.
pub type Shard = u32;

/// A place in the order of all transcripts of a shard; 0 is before the first.
pub type Position = u64;

/// A transcript's record, in the order of all of its shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// Its place in the order.
    pub position: Position,
    /// Its thread.
    pub thread: ThreadId,
    /// The record.
    pub record: Stored,
}

/// Distinguishes one log from another: a position means something only in the log that it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Made when the log was created.
    pub id: String,
}

/// Records of a subject, as they are stored, from the time of [`Records::subscribe`] on.
pub enum Subscription {
    /// Of the embedded log.
    Embedded(embedded::Subscription),
    /// Of the log in NATS.
    JetStream(Box<jetstream::Subscription>),
    /// Of the simulated log.
    #[cfg(feature = "simulation")]
    Simulated(Box<simulated::Subscription>),
}

/// A subject that is looked at, about once a second while nothing is written here.
pub enum Watch {
    /// Of the log in NATS.
    JetStream(jetstream::Watched),
    /// Of the simulated log.
    #[cfg(feature = "simulation")]
    Simulated(simulated::Watched),
}

/// The last record of a reply log is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Concluded {
    /// Its sequence.
    pub sequence: u64,
    /// Whether the end is in the transcript, too, and the ticket gone; otherwise both are the caller's to do.
    pub in_transcript: bool,
}

/// Why an append wrote nothing, or may have.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The subject's last sequence is another: another instance wrote. Nothing was written.
    #[error("another writer was first (last sequence is {last}, not {expected})")]
    Conflict {
        /// What the caller expected.
        expected: u64,
        /// What it is.
        last: u64,
    },
    /// There is no space. Nothing was written; what is there is safe.
    #[error("the log has no space left")]
    Full,
    /// The log cannot be written now.
    #[error("the log cannot be written: {0}")]
    Unavailable(String),
}

/// The log cannot be read now.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the log cannot be read: {0}")]
pub struct ReadError(pub String);

impl Log {
    /// The records of transcripts and reply logs: ordered, fenced, followed.
    pub const fn records(&self) -> Records<'_> {
        Records(self)
    }

    /// Which instance generates which reply, so that what a dead one leaves is found.
    pub const fn leases(&self) -> Leases<'_> {
        Leases(self)
    }

    /// How far a reply got, so that its records need not be read from the first.
    pub const fn snapshots(&self) -> Snapshots<'_> {
        Snapshots(self)
    }

    /// Content that is too large for a record, by its hash.
    pub const fn blobs(&self) -> Blobs<'_> {
        Blobs(self)
    }

    /// The instances that share the log.
    pub const fn membership(&self) -> Membership<'_> {
        Membership(self)
    }

    /// Whether other instances read and write it, too.
    pub const fn is_shared(&self) -> bool {
        !matches!(self, Self::Embedded(_))
    }

    /// What kind of log it is, in a word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Embedded(_) => "embedded",
            Self::JetStream(_) => "jetstream",
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => "simulated",
        }
    }

    /// Erases what is older than `retention` (transcripts that the store holds, snapshots, blobs) and reply logs older
    /// than `replay_window` that no ticket holds.
    pub async fn expire(&self, retention: Duration, replay_window: Duration) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.expire(retention, replay_window).await,
            // The streams see to it themselves.
            Self::JetStream(_) => Ok(()),
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => Ok(()),
        }
    }

    /// Whether something new may be accepted. Does no I/O: returns what the last writes and checks found.
    pub fn admits(&self) -> Result<(), AppendError> {
        match self {
            Self::Embedded(log) => log.admits(),
            Self::JetStream(log) => log.admits(),
            #[cfg(feature = "simulation")]
            Self::Simulated(log) => log.admits(),
        }
    }

    /// Whether something lately found no space. Does no I/O: unlike after [`Log::admits`], a write may be tried.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Embedded(log) => matches!(log.admits(), Err(AppendError::Full)),
            Self::JetStream(log) => log.is_full(),
            #[cfg(feature = "simulation")]
            Self::Simulated(log) => log.is_full(),
        }
    }

    /// Whether it can be reached. Does no I/O: returns the state of the connection.
    pub fn is_connected(&self) -> bool {
        match self {
            Self::Embedded(_) => true,
            Self::JetStream(log) => log.is_connected(),
            #[cfg(feature = "simulation")]
            Self::Simulated(log) => log.is_connected(),
        }
    }

    /// For how long its parts have made no progress with their work.
    pub fn stalls(&self) -> Vec<(&'static str, Duration)> {
        match self {
            Self::Embedded(log) => log.progress().stalls().into(),
            // The operator watches the servers; here their failure shows as a connection that is lost.
            Self::JetStream(_) => Vec::new(),
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => Vec::new(),
        }
    }

    /// Reports that the log cannot go on: the process has to end.
    pub fn fatal(&self, reason: &str) {
        match self {
            Self::Embedded(log) => log.progress().fatal(reason),
            Self::JetStream(_) => tracing::error!(reason, "the log cannot go on"),
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => tracing::error!(reason, "the log cannot go on"),
        }
    }

    /// Waits until the log cannot go on: the process has to end then. Returns the reason.
    pub async fn failed(&self) -> std::sync::Arc<str> {
        match self {
            Self::Embedded(log) => log.progress().failed().await,
            Self::JetStream(_) => std::future::pending().await,
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => std::future::pending().await,
        }
    }

    /// What it stores on this machine, in numbers.
    pub fn usage(&self) -> LogUsage {
        match self {
            Self::Embedded(log) => log.usage(),
            Self::JetStream(log) => log.usage(),
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => LogUsage::default(),
        }
    }

    /// Checks whether there is space; to be called about once a second.
    pub async fn check_space(&self) {
        match self {
            Self::Embedded(log) => log.check_space().await,
            // The servers refuse what they have no space for.
            Self::JetStream(_) => {}
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => {}
        }
    }
}

impl Subscription {
    /// The next record. `None`: the log cannot be read.
    pub async fn next(&mut self) -> Option<Stored> {
        match self {
            Self::Embedded(subscription) => subscription.next().await,
            Self::JetStream(subscription) => subscription.next().await,
            #[cfg(feature = "simulation")]
            Self::Simulated(subscription) => subscription.next().await,
        }
    }
}

impl Watch {
    /// What was written here, up to this sequence, is known.
    pub fn saw(&self, sequence: u64) {
        match self {
            Self::JetStream(watched) => watched.saw(sequence),
            #[cfg(feature = "simulation")]
            Self::Simulated(watched) => watched.saw(sequence),
        }
    }

    /// Waits until there seems to be more than is known.
    pub async fn behind(&self) {
        match self {
            Self::JetStream(watched) => watched.behind().await,
            #[cfg(feature = "simulation")]
            Self::Simulated(watched) => watched.behind().await,
        }
    }
}

/// The time, in milliseconds of Unix time.
pub fn now_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
