//! Deletion of one item of a conversation: its text is erased, also from the reply that generated it or had it as
//! input.
//!
//! The reply itself stays: its other items and the numbers of its events are as its clients have seen them.

use std::sync::Arc;

use bytes::Bytes;

use super::super::reply_log::Speech;
use super::super::{Busy, Result};
use super::Threads;
use crate::domain::erase::ItemErasure;
use crate::domain::event::Event;
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::items::Item;
use crate::domain::record::{Change, Done, Ended, ReplyLogEntry, ReplyLogRecord, TranscriptRecord, VERSION};
use crate::domain::remains::{Erasure, Fate};
use crate::domain::thread::Thread;
use crate::log::{AppendError, Stored, Subject};

impl Threads {
    /// Deletes an item of a conversation, if `check` allows it, and erases its text.
    pub(crate) async fn delete_item(
        &self,
        id: ThreadId,
        item: &str,
        check: impl Fn(&Thread) -> Result<()>,
    ) -> Result<Thread> {
        let erasure = ItemErasure::of(item);
        let delete = |record: &mut TranscriptRecord| if erasure.apply(record) { Fate::Emptied } else { Fate::Stays };
        for _ in 0..super::MOST_TRIES {
            let mut known = self.read(id).await?;
            check(&known.thread)?;
            let Erasure { own, left, .. } = Erasure::plan(&self.log_records(id).await?, delete);
            if !self.append(&mut known, Change::ItemDeleted { item: item.to_owned(), left: left.clone() }).await? {
                continue;
            }
            self.erase_item(id, Some(&known.thread), item, &left, own).await?;
            return Ok(known.thread);
        }
        Err(Busy::Contention.into())
    }

    /// Erases the text of an item, once it is marked as deleted; `left` is what its deletion carries.
    pub(super) async fn erase_item(
        &self,
        id: ThreadId,
        thread: Option<&Thread>,
        item: &str,
        left: &[TranscriptRecord],
        own: Vec<(u64, TranscriptRecord)>,
    ) -> Result<()> {
        let erasure = ItemErasure::of(item);
        for record in left {
            match &record.change {
                Change::Accepted(accepted) if erasure.is_among(&accepted.input) => self.show_anew(accepted.reply),
                Change::Ended(ended) if erasure.is_among(&ended.content.output) => {
                    self.show_anew(ended.reply);
                    self.erase_output(&erasure, ended).await?;
                }
                _ => {}
            }
        }
        // They go last: as long as they are there, the deletion is not complete.
        self.erase_records(id, thread, own).await
    }

    /// Shows new followers of a reply what is left of it. Its present followers keep what they have seen; one
    /// that runs is followed further.
    fn show_anew(&self, reply: ReplyId) {
        if self.feeds.get(reply).is_some_and(|feed| feed.is_closed()) {
            self.feeds.forget(reply);
        }
    }

    /// Takes an item out of the reply log of the reply that generated it: what is left of its end becomes the last record, and all
    /// before it goes. The audio of a reply goes with the message that was spoken, and stays otherwise.
    async fn erase_output(&self, erasure: &ItemErasure<'_>, ended: &Arc<Ended>) -> Result<()> {
        let keeps_speech = self.keeps_speech(erasure, ended).await?;
        for _ in 0..super::MOST_TRIES {
            let (subject, records) = (Subject::ReplyLog(ended.reply), self.log.records());
            let stored = records.read(subject, 0).await?;
            let Some(last) = stored.last() else { return Ok(self.log.snapshots().seal(ended.reply).await?) };
            let (mut holding, speech) = if keeps_speech { beside_speech(&stored) } else { Default::default() };
            if let Some(done) = left_of_end(&last.payload, erasure, ended) {
                match self.end_reply_log(ended.reply, last.sequence, speech, done).await {
                    Ok(fence) if !keeps_speech => records.erase_before(subject, fence).await?,
                    Ok(_) => records.erase(subject, holding).await?,
                    // It was completed elsewhere meanwhile.
                    Err(AppendError::Conflict { .. }) => continue,
                    Err(error) => return Err(error.into()),
                }
            } else if keeps_speech {
                holding.retain(|sequence| *sequence < last.sequence);
                records.erase(subject, holding).await?;
            } else {
                records.erase_before(subject, last.sequence).await?;
            }
            return Ok(self.log.snapshots().seal(ended.reply).await?);
        }
        Err(Busy::Contention.into())
    }

    /// Appends what is left of a reply log: the speech that stood beside text, and its end. Returns the sequence of
    /// that.
    async fn end_reply_log(&self, reply: ReplyId, last: u64, speech: Speech, done: Done) -> Result<u64, AppendError> {
        let mut last = last;
        let runs = speech.runs().into_iter();
        let speech = runs.map(|(first, events)| ReplyLogEntry::Events { first, events, begins: None });
        for entry in speech.chain([ReplyLogEntry::Done(done)]) {
            let record = Bytes::from(ReplyLogRecord { v: VERSION, epoch: 0, nonce: 0, entry }.encode());
            last = self.log.records().append_deletion(Subject::ReplyLog(reply), last, record).await?;
        }
        Ok(last)
    }

    /// Whether a reply was spoken, and the item is not the one that was.
    async fn keeps_speech(&self, erasure: &ItemErasure<'_>, ended: &Arc<Ended>) -> Result<bool> {
        let is_spoken = |item: &Item| {
            matches!(item, Item::Message(_)) && !item.is_compaction() && erasure.is_among(std::slice::from_ref(item))
        };
        let entry = self.entry(ended.reply).await?;
        let has_speech = entry.is_some_and(|entry| entry.accepted.params.audio.is_some());
        Ok(has_speech && !ended.content.output.iter().any(is_spoken))
    }
}

/// The sequences of a reply log's records that hold more than speech, and the speech that they hold.
fn beside_speech(stored: &[Stored]) -> (Vec<u64>, Speech) {
    let (mut holding, mut speech) = (Vec::new(), Speech::default());
    for record in stored {
        let entry = ReplyLogRecord::decode(&record.payload).map(|record| record.entry);
        match &entry {
            Ok(ReplyLogEntry::Events { events, .. }) if events.iter().all(Event::is_speech) => continue,
            Ok(entry) => speech.note(entry),
            Err(_) => {}
        }
        holding.push(record.sequence);
    }
    (holding, speech)
}

/// What the end of a reply log becomes. `None`: it holds nothing of the item. A reply whose item is deleted has ended:
/// if its reply log does not show it, the transcript counts.
fn left_of_end(payload: &[u8], erasure: &ItemErasure<'_>, ended: &Arc<Ended>) -> Option<Done> {
    match ReplyLogRecord::decode(payload).ok().map(|record| record.entry) {
        Some(ReplyLogEntry::Done(mut done)) => erasure.apply_to_end(&mut done.ended).then_some(done),
        Some(ReplyLogEntry::Deleted | ReplyLogEntry::Void) => None,
        _ => {
            let ended = Ended { speaking: false, ..Ended::clone(ended) };
            Some(Done { first: 0, ended: Arc::new(ended) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_that_stands_beside_text_is_found_and_speech_alone_stays() {
        let audio = |text: &str| Event::Audio(text.into());
        let delta = Event::Delta { item: 0, text: "secret".into(), logprobs: Vec::new() };
        let records = [(3, vec![delta.clone(), audio("a"), audio("b")]), (6, vec![audio("c")]), (7, vec![delta])];
        let stored: Vec<_> = (10..)
            .zip(records)
            .map(|(sequence, (first, events))| {
                let entry = ReplyLogEntry::Events { first, events, begins: None };
                let payload = ReplyLogRecord { v: VERSION, epoch: 1, nonce: 0, entry }.encode().into();
                Stored { sequence, at: 0, payload }
            })
            .collect();
        let (holding, speech) = beside_speech(&stored);
        assert_eq!(holding, [10, 12]);
        assert_eq!(speech.runs(), [(4, vec![audio("a"), audio("b")])]);
    }
}
