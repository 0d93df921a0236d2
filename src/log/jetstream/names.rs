//! The names of streams, subjects and headers.
//!
//! | stream | subject | retention |
//! |---|---|---|
//! | `REJOINDER_TRANSCRIPT_<shard>` | `rejoinder.transcript.<shard>.<thread>` | `LOG_RETENTION` |
//! | `REJOINDER_CHAIN_<shard>` | `rejoinder.chain.<shard>.<thread>.<reply>` | `REPLAY_WINDOW` |
//! | `REJOINDER_SNAPSHOT_<shard>` | `rejoinder.snapshot.<shard>.<thread>.<reply>` | `LOG_RETENTION`, the last of each |
//! | `REJOINDER_PIECES_<shard>` | `rejoinder.pieces.<shard>.<of>`, see [`pieces()`] | a little longer than `LOG_RETENTION` |
//! | `REJOINDER_TICKETS` | `rejoinder.tickets.<instance>` | `LOG_RETENTION` |
//!
//! What is stored in transcripts and reply logs is republished on `rejoinder.stored.<subject>`. On a stream's own
//! subject a subscriber would also see what is not stored yet, and what a fence refuses.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::domain::ids::{InstanceId, ReplyId, ThreadId};
use crate::log::{Shard, Subject};

/// The subjects under which stored records are republished.
pub(super) const STORED: &str = "rejoinder.stored";

/// The subject on which a stream takes tickets.
pub(super) const TICKETS: &str = "rejoinder.tickets";

/// The subjects of all instances' tickets.
pub(super) const ALL_TICKETS: &str = "rejoinder.tickets.*";

/// The sequences of a thread's records before this one, oldest first, the last [`LISTED`] of them.
pub(super) const BEFORE: &str = "Rejoinder-Before";

/// The pieces in which a record stands that is longer than a message may be, see [`super::pieces`].
pub(super) const PIECES: &str = "Rejoinder-Pieces";

/// So many records before itself a record of a transcript lists.
pub(super) const LISTED: usize = 64;

/// The streams of a log. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Names {
    shards: Arc<[OfShard]>,
}

/// The streams of a shard.
#[derive(Debug)]
pub(super) struct OfShard {
    pub(super) transcript: String,
    pub(super) reply_log: String,
    pub(super) snapshot: String,
    pub(super) pieces: String,
}

/// The stream of the tickets of all shards.
pub(super) const TICKETS_STREAM: &str = "REJOINDER_TICKETS";

/// The bucket of the blobs of all shards.
pub(super) const BLOBS: &str = "REJOINDER_BLOBS";

impl Names {
    pub(super) fn new(shards: NonZeroU32) -> Self {
        let of = |shard| OfShard {
            transcript: format!("REJOINDER_TRANSCRIPT_{shard}"),
            reply_log: format!("REJOINDER_CHAIN_{shard}"),
            snapshot: format!("REJOINDER_SNAPSHOT_{shard}"),
            pieces: format!("REJOINDER_PIECES_{shard}"),
        };
        Self { shards: (0..shards.get()).map(of).collect() }
    }

    /// How many shards there are.
    pub(super) fn count(&self) -> Shard {
        Shard::try_from(self.shards.len()).expect("made of so many")
    }

    /// The streams of each shard.
    pub(super) fn all(&self) -> impl Iterator<Item = (Shard, &OfShard)> {
        (0..).zip(&*self.shards)
    }

    /// The streams of a shard.
    pub(super) fn of(&self, shard: Shard) -> &OfShard {
        &self.shards[usize::try_from(shard).expect("32 bits")]
    }

    /// The streams of a thread's shard.
    pub(super) fn of_thread(&self, thread: ThreadId) -> &OfShard {
        self.of(self.shard(thread))
    }

    /// The shard of a thread: its id is random, so that each gets as many.
    pub(super) fn shard(&self, thread: ThreadId) -> Shard {
        let [.., a, b, c, d] = *thread.as_bytes();
        u32::from_be_bytes([a, b, c, d]) % self.count()
    }

    /// The stream that holds a subject's records.
    pub(super) fn stream(&self, subject: Subject) -> &str {
        match subject {
            Subject::Transcript(thread) => &self.of_thread(thread).transcript,
            Subject::ReplyLog(reply) => &self.of_thread(reply.thread()).reply_log,
        }
    }

    /// Where a subject's records are published.
    pub(super) fn subject(&self, subject: Subject) -> String {
        match subject {
            Subject::Transcript(thread) => format!("rejoinder.transcript.{}.{thread}", self.shard(thread)),
            Subject::ReplyLog(reply) => format!("rejoinder.chain.{}.{}", self.shard(reply.thread()), of_reply(reply)),
        }
    }

    /// The stream that holds the pieces of a subject's records.
    pub(super) fn pieces_stream(&self, subject: &str) -> &str {
        &self.of(parts(subject).0).pieces
    }

    /// Where a reply's snapshot is published.
    pub(super) fn snapshot(&self, reply: ReplyId) -> String {
        format!("rejoinder.snapshot.{}.{}", self.shard(reply.thread()), of_reply(reply))
    }
}

/// All subjects of a shard's transcripts.
pub(super) fn all_transcripts(shard: Shard) -> String {
    format!("rejoinder.transcript.{shard}.*")
}

/// Whether these are all subjects of some shard's transcripts.
pub(super) fn is_all_transcripts(subjects: &str) -> bool {
    subjects.starts_with("rejoinder.transcript.")
}

/// All subjects of a shard's reply logs.
pub(super) fn all_reply_logs(shard: Shard) -> String {
    format!("rejoinder.chain.{shard}.*.*")
}

/// All subjects of a shard's snapshots.
pub(super) fn all_snapshots(shard: Shard) -> String {
    format!("rejoinder.snapshot.{shard}.*.*")
}

/// Where the pieces of a subject's records are published: `rejoinder.pieces.<shard>.<family>.<thread>[.<reply>]`. Those of
/// tickets, which belong to no shard, are in the first.
pub(super) fn pieces(subject: &str) -> String {
    let (shard, family, rest) = parts(subject);
    format!("rejoinder.pieces.{shard}.{family}.{rest}")
}

/// All subjects of a shard's pieces.
pub(super) fn all_pieces(shard: Shard) -> String {
    format!("rejoinder.pieces.{shard}.>")
}

/// The shard, the family and the rest of a subject.
fn parts(subject: &str) -> (Shard, &str, &str) {
    let mut parts = subject.splitn(4, '.').skip(1);
    let (family, shard, rest) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next());
    match (shard.parse(), rest) {
        (Ok(shard), Some(rest)) => (shard, family, rest),
        _ => (0, family, shard),
    }
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
        let names = Names::new(NonZeroU32::MIN);
        let reply_log = names.subject(Subject::ReplyLog(reply));
        let parts: Vec<_> = reply_log.split('.').collect();
        assert_eq!(parts[..3], ["rejoinder", "chain", "0"]);
        assert_eq!(format!("resp_{}{}", parts[3], parts[4]), reply.to_string());
        let transcript = names.subject(Subject::Transcript(reply.thread()));
        assert_eq!(thread_of(&transcript), Some(reply.thread()));
        assert_eq!(pieces(&reply_log), format!("rejoinder.pieces.0.chain.{}.{}", parts[3], parts[4]));
        let instance = InstanceId::random();
        assert_eq!(pieces(&tickets(instance)), format!("rejoinder.pieces.0.tickets.{instance}"));
        assert_eq!(instance_of(&tickets(instance)), Some(instance));
    }

    #[test]
    fn threads_spread_over_the_shards_and_take_their_replies_along() {
        let names = Names::new(NonZeroU32::new(4).unwrap());
        let mut counts = [0; 4];
        for _ in 0..1000 {
            let reply = ReplyId::random(ThreadId::random());
            let shard = names.shard(reply.thread());
            counts[shard as usize] += 1;
            assert_eq!(names.stream(Subject::ReplyLog(reply)), format!("REJOINDER_CHAIN_{shard}"));
            assert!(names.snapshot(reply).starts_with(&format!("rejoinder.snapshot.{shard}.")));
        }
        assert!(counts.iter().all(|count| (150..350).contains(count)), "{counts:?}");
    }
}
