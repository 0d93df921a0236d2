//! Reads subjects: reply logs in one go, threads by the sequences that their records list.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;

use super::append::next_list;
use super::names::LISTED;
use super::wire::{self, StreamMessage};
use super::{AT_ONCE, JetStream};
use crate::domain::ids::ThreadId;
use crate::log::{ReadError, Stored, Subject};

impl JetStream {
    /// See [`crate::log::Records::last`].
    pub async fn last_record(&self, subject: Subject) -> Result<Option<Stored>, ReadError> {
        match self.last(subject).await? {
            Some(last) => self.shared.pieces.whole(last).await.map(Some),
            None => Ok(None),
        }
    }

    /// See [`crate::log::Records::read`].
    pub async fn read(&self, subject: Subject, after: u64) -> Result<Vec<Stored>, ReadError> {
        self.shared.pieces.all_whole(self.messages(subject, after).await?).await
    }

    /// The messages of a subject's records after the sequence `after`, in order.
    pub(super) async fn messages(&self, subject: Subject, after: u64) -> Result<Vec<StreamMessage>, ReadError> {
        match subject {
            Subject::ReplyLog(_) => self.read_reply_log(subject, after).await,
            Subject::Transcript(thread) => self.read_transcript(thread, after).await,
        }
    }

    async fn read_reply_log(&self, subject: Subject, after: u64) -> Result<Vec<StreamMessage>, ReadError> {
        let (client, stream) = (&self.shared.connections.read, self.shared.names.stream(subject));
        let name = self.shared.names.subject(subject);
        // The messages from any replica, and from the leader how far they have to reach.
        let (last, found) =
            tokio::join!(wire::last(client, stream, &name), wire::next(client, stream, &name, after + 1, usize::MAX));
        let Some(last) = last? else { return Ok(Vec::new()) };
        let mut found = found?;
        let mut reached = found.last().map_or(after, |message| message.sequence);
        while reached < last.sequence {
            let next = wire::next_at_leader(client, stream, &name, reached + 1).await?;
            let Some(next) = next else { break };
            reached = next.sequence;
            found.push(next);
        }
        Ok(found)
    }

    async fn read_transcript(&self, thread: ThreadId, after: u64) -> Result<Vec<StreamMessage>, ReadError> {
        let Some(last) = self.last(Subject::Transcript(thread)).await? else { return Ok(Vec::new()) };
        self.shared.lists.lock().set(thread, (last.sequence, next_list(&last.before(), last.sequence)));
        let mut found = Vec::new();
        let mut oldest = last;
        while oldest.sequence > after {
            let listed = oldest.before();
            let wanted: Vec<_> = listed.iter().copied().filter(|sequence| *sequence > after).collect();
            let reached = oldest.sequence;
            found.push(oldest);
            let mut older = self.fetch(thread, &wanted).await?;
            if listed.len() < LISTED || wanted.len() < listed.len() {
                found.extend(older);
                break;
            }
            // The oldest one that is there leads on, by its own list.
            if older.is_empty() {
                if self.has_expired(thread, &wanted).await? {
                    break;
                }
                found.extend(self.scan_thread(thread, after, reached).await?);
                break;
            }
            oldest = older.remove(0);
            found.extend(older);
        }
        found.sort_by_key(|message| message.sequence);
        Ok(found)
    }

    /// Whether all of these records have expired, and with them all before; otherwise some were erased.
    async fn has_expired(&self, thread: ThreadId, sequences: &[u64]) -> Result<bool, ReadError> {
        let Some(newest) = sequences.iter().max() else { return Ok(true) };
        let shard = self.shard(self.shared.names.shard(thread));
        // It only grows.
        if *newest < shard.first_position.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let stream = &self.shared.names.of_thread(thread).transcript;
        let first = wire::first_sequence(&self.shared.connections.read, stream).await?;
        shard.first_position.fetch_max(first, Ordering::Relaxed);
        Ok(*newest < first)
    }

    /// Records of a thread between two sequences, looked for: where so many in a row were erased that no list leads on.
    async fn scan_thread(&self, thread: ThreadId, after: u64, before: u64) -> Result<Vec<StreamMessage>, ReadError> {
        let (client, stream) = (&self.shared.connections.read, &self.shared.names.of_thread(thread).transcript);
        let name = self.shared.names.subject(Subject::Transcript(thread));
        let mut found = wire::next(client, stream, &name, after + 1, usize::MAX).await?;
        found.retain(|message| message.sequence < before);
        Ok(found)
    }

    /// Records of transcripts by their sequences, without those that were erased or have expired, in order.
    async fn fetch(&self, thread: ThreadId, sequences: &[u64]) -> Result<Vec<StreamMessage>, ReadError> {
        let (client, stream) = (&self.shared.connections.read, &self.shared.names.of_thread(thread).transcript);
        let mut found = Vec::with_capacity(sequences.len());
        for some in sequences.chunks(AT_ONCE) {
            let fetched = join_all(some.iter().map(async |sequence| {
                match wire::direct_at(client, stream, *sequence).await? {
                    // A replica that lags does not have it yet.
                    None => wire::at(client, stream, *sequence).await,
                    message => Ok(message),
                }
            }));
            for message in fetched.await {
                found.extend(message?);
            }
        }
        Ok(found)
    }

    pub(super) async fn last(&self, subject: Subject) -> Result<Option<StreamMessage>, ReadError> {
        let (client, stream) = (&self.shared.connections.read, self.shared.names.stream(subject));
        wire::last(client, stream, &self.shared.names.subject(subject)).await
    }
}
