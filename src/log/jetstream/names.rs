//! What streams, subjects and headers are called.
//!
//! | stream | subject | kept |
//! |---|---|---|
//! | `REJOINDER_TRANSCRIPT_<shard>` | `rejoinder.transcript.<shard>.<thread>` | `LOG_RETENTION` |
//! | `REJOINDER_CHAIN_<shard>` | `rejoinder.chain.<shard>.<thread>.<reply>` | `REPLAY_WINDOW` |
//! | `REJOINDER_SNAPSHOT_<shard>` | `rejoinder.snapshot.<shard>.<thread>.<reply>` | `LOG_RETENTION`, the last of each |
//! | `REJOINDER_TICKETS` | `rejoinder.tickets.<instance>` | `LOG_RETENTION` |
//!
//! What is stored in transcripts and chains is told again on `rejoinder.stored.<subject>`. On a stream's own subject a
//! subscriber would also see what is not stored yet, and what a fence refuses.

use crate::conversation::ids::{InstanceId, ReplyId, ThreadId};
use crate::log::Subject;

/// The only shard so far.
pub(super) const SHARD: u32 = 0;

/// The subjects under which stored records are told again.
pub(super) const STORED: &str = "rejoinder.stored";

/// The subject on which a stream takes tickets.
pub(super) const TICKETS: &str = "rejoinder.tickets";

/// The sequences of a thread's records before this one, oldest first, the last [`LISTED`] of them.
pub(super) const BEFORE: &str = "Rejoinder-Before";

/// So many records before itself a record of a transcript lists.
pub(super) const LISTED: usize = 64;

/// The streams of a log.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) transcript: String,
    pub(super) chain: String,
    pub(super) snapshot: String,
    pub(super) tickets: String,
    pub(super) blobs: String,
}

impl Names {
    pub(super) fn new() -> Self {
        Self {
            transcript: format!("REJOINDER_TRANSCRIPT_{SHARD}"),
            chain: format!("REJOINDER_CHAIN_{SHARD}"),
            snapshot: format!("REJOINDER_SNAPSHOT_{SHARD}"),
            tickets: "REJOINDER_TICKETS".to_owned(),
            blobs: "REJOINDER_BLOBS".to_owned(),
        }
    }

    /// The stream that holds a subject's records.
    pub(super) fn stream(&self, subject: Subject) -> &str {
        match subject {
            Subject::Transcript(_) => &self.transcript,
            Subject::Chain(_) => &self.chain,
        }
    }
}

/// All subjects of the transcripts.
pub(super) fn all_transcripts() -> String {
    format!("rejoinder.transcript.{SHARD}.*")
}

/// All subjects of the chains.
pub(super) fn all_chains() -> String {
    format!("rejoinder.chain.{SHARD}.*.*")
}

/// All subjects of the snapshots.
pub(super) fn all_snapshots() -> String {
    format!("rejoinder.snapshot.{SHARD}.*.*")
}

/// Where a subject's records are published.
pub(super) fn subject(subject: Subject) -> String {
    match subject {
        Subject::Transcript(thread) => format!("rejoinder.transcript.{SHARD}.{thread}"),
        Subject::Chain(reply) => format!("rejoinder.chain.{SHARD}.{}", of_reply(reply)),
    }
}

/// Where a reply's snapshot is published.
pub(super) fn snapshot(reply: ReplyId) -> String {
    format!("rejoinder.snapshot.{SHARD}.{}", of_reply(reply))
}

/// Where an instance's tickets are published.
pub(super) fn tickets(instance: InstanceId) -> String {
    format!("{TICKETS}.{instance}")
}

/// The name of a blob in the object store.
pub(super) fn blob(thread: ThreadId, hash: &[u8; 32]) -> String {
    format!("{thread}.{}", data_encoding::HEXLOWER.encode(hash))
}

/// The thread of a transcript's subject.
pub(super) fn thread_of(subject: &str) -> Option<ThreadId> {
    subject.rsplit('.').next()?.parse().ok()
}

/// The instance of a subject of tickets.
pub(super) fn instance_of(subject: &str) -> Option<InstanceId> {
    subject.rsplit('.').next()?.parse().ok()
}

fn of_reply(reply: ReplyId) -> String {
    let (thread, whole) = (reply.thread().to_string(), reply.to_string());
    let own = whole.split_once(&thread).map_or(&*whole, |(_, own)| own);
    format!("{thread}.{own}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_names_thread_and_reply() {
        let reply = ReplyId::random(ThreadId::random());
        let chain = subject(Subject::Chain(reply));
        let parts: Vec<_> = chain.split('.').collect();
        assert_eq!(parts[..3], ["rejoinder", "chain", "0"]);
        assert_eq!(format!("resp_{}{}", parts[3], parts[4]), reply.to_string());
        let transcript = subject(Subject::Transcript(reply.thread()));
        assert_eq!(thread_of(&transcript), Some(reply.thread()));
        let instance = InstanceId::random();
        assert_eq!(instance_of(&tickets(instance)), Some(instance));
    }
}
