//! Appends: fences, what is not known to be stored, and the list of earlier records that each record of a transcript carries.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::HeaderMap;
use bytes::Bytes;

use super::names::{self, LISTED};
use super::{AppendError, Concluded, JetStream, List, Shared, Subject};
use crate::domain::ids::{InstanceId, ReplyId, ThreadId};
use crate::log::{Log, surely};

impl JetStream {
    /// See [`crate::log::Records::append`].
    pub async fn append(&self, subject: Subject, expected: u64, payload: Bytes) -> Result<u64, AppendError> {
        match subject {
            Subject::ReplyLog(_) => self.publish(subject, expected, HeaderMap::new(), payload).await,
            Subject::Transcript(thread) => self.append_transcript(thread, expected, payload).await,
        }
    }

    /// See [`crate::log::Records::begin`].
    pub async fn begin(&self, subject: Subject, payload: Bytes) -> Result<u64, AppendError> {
        self.append(subject, 0, payload).await
    }

    /// See [`crate::log::Records::accept`].
    pub async fn accept(
        &self,
        instance: InstanceId,
        reply: ReplyId,
        expected: Option<u64>,
        payload: Bytes,
    ) -> Result<u64, AppendError> {
        surely::accept(&Log::JetStream(self.clone()), instance, reply, expected.unwrap_or(0), payload).await
    }

    /// See [`crate::log::Records::conclude`]. The end in the transcript is left to the caller: a client does not wait for it.
    pub async fn conclude(&self, reply: ReplyId, expected: Option<u64>, done: Bytes) -> Result<Concluded, AppendError> {
        let sequence = self.append(Subject::ReplyLog(reply), expected.unwrap_or(0), done).await?;
        Ok(Concluded { sequence, in_transcript: false })
    }

    async fn append_transcript(&self, thread: ThreadId, expected: u64, payload: Bytes) -> Result<u64, AppendError> {
        let list = self.list(thread, expected).await?;
        let mut headers = HeaderMap::new();
        if !list.is_empty() {
            let text: Vec<_> = list.iter().map(u64::to_string).collect();
            headers.insert(names::BEFORE, text.join(","));
        }
        let sequence = self.publish(Subject::Transcript(thread), expected, headers, payload).await?;
        self.shared.lists.lock().set(thread, (sequence, next_list(&list, sequence)));
        self.moved(self.shared.names.shard(thread), sequence);
        Ok(sequence)
    }

    /// The sequences that a record after `expected` lists.
    async fn list(&self, thread: ThreadId, expected: u64) -> Result<List, AppendError> {
        if expected == 0 {
            return Ok(Arc::default());
        }
        if let Some((last, list)) = self.shared.lists.lock().get(&thread)
            && last == expected
        {
            return Ok(list);
        }
        let last = self.last(Subject::Transcript(thread)).await;
        let last = last.map_err(|error| AppendError::Unavailable(error.to_string()))?;
        match last {
            Some(last) if last.sequence == expected => Ok(next_list(&last.before(), expected)),
            last => Err(AppendError::Conflict { expected, last: last.map_or(0, |last| last.sequence) }),
        }
    }

    async fn publish(
        &self,
        subject: Subject,
        expected: u64,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<u64, AppendError> {
        let name = self.shared.names.subject(subject);
        let size = payload.len();
        let appended = self.shared.pieces.publish(&name, expected, headers, payload).await;
        self.note_space(self.shared.names.stream(subject), size, &appended);
        match appended {
            // Some servers do not report the last sequence.
            Err(AppendError::Conflict { expected, last: 0 }) if expected > 0 => {
                let last = self.last(subject).await.ok().flatten().map_or(0, |last| last.sequence);
                Err(AppendError::Conflict { expected, last })
            }
            result => result,
        }
    }

    /// Notes whether a stream has space. Small records may still fit where larger ones do not.
    pub(super) fn note_space<T>(&self, stream: &str, size: usize, appended: &Result<T, AppendError>) {
        let Shared { refused, is_full, .. } = &*self.shared;
        match appended {
            Err(AppendError::Full) => {
                let mut refused = refused.lock();
                if refused.is_empty() {
                    tracing::error!(stream, "NATS has no space left: new replies are refused, and what runs waits");
                }
                let smallest = refused.entry(stream.to_owned()).or_insert(size);
                *smallest = size.min(*smallest);
                is_full.store(true, Ordering::Relaxed);
            }
            Ok(_) if is_full.load(Ordering::Relaxed) => {
                let mut refused = refused.lock();
                if refused.get(stream).is_some_and(|smallest| size >= *smallest) {
                    refused.remove(stream);
                }
                if refused.is_empty() && is_full.swap(false, Ordering::Relaxed) {
                    tracing::info!("NATS has space again");
                }
            }
            _ => {}
        }
    }
}

/// What the next record lists, when the record `newest` lists these.
pub(super) fn next_list(listed: &[u64], newest: u64) -> List {
    let skip = (listed.len() + 1).saturating_sub(LISTED);
    Arc::new(listed.iter().copied().skip(skip).chain([newest]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_lists_the_last_ones_before_it() {
        assert_eq!(*next_list(&[], 7), [7]);
        assert_eq!(*next_list(&[3, 5], 7), [3, 5, 7]);
        let full: Vec<u64> = (1..=LISTED as u64).collect();
        let next = next_list(&full, 100);
        assert_eq!((next.len(), next[0], next[LISTED - 1]), (LISTED, 2, 100));
    }
}
