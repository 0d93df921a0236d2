//! Reads a reply's log: how far it got, which instance generates it, whether it is over.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::event::Event;
use crate::domain::ids::{InstanceId, ReplyId};
use crate::domain::layout::{Mismatch, OutputLayout, expand};
use crate::domain::record::{Accepted, Begins, Ended, ReplyLogEntry, ReplyLogRecord, Snapshot};
use crate::domain::reply::Reply;
use crate::log::{Log, ReadError, Subject};
use crate::offload::offload;

/// After so many [`Deaths`] a reply is suspected.
const MOST_DEATHS: u32 = 5;

/// A reply, read from its reply log.
#[derive(Debug)]
pub(crate) struct ReplyLog {
    /// The reply so far.
    pub(crate) reply: Reply,
    /// How its events were cut.
    pub(crate) layout: OutputLayout,
    /// The sequence of the reply log's last record: what the next append has to expect.
    pub(crate) last: u64,
    /// The latest generator: 1 is the instance that accepted the reply.
    pub(crate) epoch: u32,
    /// The instance that claimed last, if any did.
    pub(crate) claimant: Option<InstanceId>,
    /// What may have been its doing.
    pub(crate) deaths: Deaths,
    /// Whether the latest generator left it to another.
    pub(crate) handed_over: bool,
    /// The sequence of the last snapshot, 0 if there is none: what the next one has to expect.
    pub(crate) snapshot: u64,
    /// How the reply log ended.
    pub(crate) end: Option<ReplyLogEnd>,
    /// The end of the text, if that is over; the reply is, too, unless its speech goes on.
    pub(crate) text_end: Option<Arc<Ended>>,
    /// Its audio and transcript, by sequence number: the layout has only their lengths.
    pub(crate) speech: Speech,
    /// The reply's id was just made at random: no other instance can have written.
    pub(crate) is_new: bool,
}

/// Instances in a row that died while they worked on a reply, before they stored an event of it: by its reply log,
/// the reply may have killed them. One that died while the reply waited for its turn does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Deaths {
    count: u32,
    /// The last one worked on no other suspect.
    alone: bool,
}

/// How a reply is continued, given the fate of its earlier instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// There is none.
    None,
    /// It may kill its hosts: once more, beside no other of the kind, it may show that it does not.
    Suspect,
    /// It does.
    Certain,
}

/// The events of a reply's speech, by sequence number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Speech(BTreeMap<u64, Event>);

/// How a reply log ended.
#[derive(Debug)]
pub(crate) enum ReplyLogEnd {
    /// The reply is over.
    Done(Arc<Ended>),
    /// There never was a reply.
    Void,
    /// The reply was deleted.
    Deleted,
}

/// A reply log that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplyLogError {
    /// The log cannot be read now.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// A record is damaged or of a later version.
    #[error("the reply log of {reply} cannot be read at record {sequence}: {message}")]
    Damaged {
        /// Of which reply.
        reply: ReplyId,
        /// Which record.
        sequence: u64,
        /// What is wrong with it.
        message: String,
        /// The reply as of the record before.
        readable: Box<ReplyLog>,
    },
}

impl ReplyLog {
    /// Reads the reply log of an accepted reply: the snapshot, if there is one, and the records after it. Where one is damaged,
    /// only the end is of use, which holds everything.
    pub(crate) async fn read(log: &Log, accepted: &Accepted) -> Result<Self, ReplyLogError> {
        let mut reply_log = Self::start(log, accepted).await?;
        // A snapshot does not hold the speech.
        let (known, is_spoken) = (reply_log.last, accepted.params.audio.is_some());
        let mut damaged: Option<(u64, String)> = None;
        let subject = Subject::ReplyLog(accepted.reply);
        let mut records = log.records().read(subject, if is_spoken { 0 } else { known }).await?;
        if records.is_empty() && known > 0 {
            // Nothing came after the snapshot; or the reply log has expired since, also the record that the snapshot
            // names: then the fence is where the log has it.
            let last = log.records().last(subject).await?.map_or(0, |last| last.sequence);
            if last > known {
                records = log.records().read(subject, known).await?;
            } else {
                reply_log.last = last;
            }
        }
        for stored in records {
            reply_log.last = reply_log.last.max(stored.sequence);
            let record = ReplyLogRecord::decode(&stored.payload).map_err(|error| error.to_string());
            if is_spoken && let Ok(record) = &record {
                reply_log.speech.note(&record.entry);
            }
            if stored.sequence <= known {
                continue;
            }
            let applied = match (record, &damaged) {
                (Ok(record), None) => reply_log.apply(record).map_err(|error| error.to_string()),
                (Ok(record), Some(_)) => reply_log.apply_behind_damage(record),
                (Err(error), _) => Err(error),
            };
            if let Err(message) = applied {
                damaged.get_or_insert((stored.sequence, message));
            }
        }
        match damaged {
            Some((sequence, message)) if reply_log.end.is_none() => {
                Err(ReplyLogError::Damaged { reply: accepted.reply, sequence, message, readable: Box::new(reply_log) })
            }
            _ => Ok(reply_log),
        }
    }

    /// The reply log of a reply that has just been accepted: empty.
    pub(crate) fn opened(accepted: &Accepted, is_new: bool) -> Self {
        Self {
            reply: Reply::opened(accepted.reply, accepted.params.background),
            layout: OutputLayout::default(),
            last: 0,
            epoch: 1,
            claimant: None,
            deaths: Deaths::default(),
            handed_over: false,
            snapshot: 0,
            end: None,
            text_end: None,
            speech: Speech::default(),
            is_new,
        }
    }

    /// The reply's events so far.
    ///
    /// # Errors
    /// [`Mismatch`] if the records do not belong together.
    pub(crate) fn events(&self, background: bool) -> Result<Vec<Event>, Mismatch> {
        let expand = || expand(background, self.reply.content(), &self.layout);
        let mut events = offload(self.layout.cost(), expand)?;
        self.speech.restore(&mut events);
        Ok(events)
    }

    async fn start(log: &Log, accepted: &Accepted) -> Result<Self, ReplyLogError> {
        let background = accepted.params.background;
        let mut reply_log = Self::opened(accepted, false);
        // A snapshot that cannot be read is no loss: the reply log has the same.
        let snapshot = log.snapshots().get(accepted.reply).await?;
        reply_log.snapshot = snapshot.as_ref().map_or(0, |snapshot| snapshot.sequence);
        if let Some(snapshot) = snapshot.and_then(|snapshot| Snapshot::decode(&snapshot.payload).ok())
            && let Ok(events) = expand(background, &snapshot.content, &snapshot.layout)
        {
            let mut reply = Reply::new(accepted.reply);
            if events.iter().all(|event| reply.apply(event).is_ok()) {
                reply_log.reply = reply;
                reply_log.layout = snapshot.layout;
                reply_log.last = snapshot.chain_sequence;
                reply_log.epoch = snapshot.epoch;
                reply_log.claimant = snapshot.claimant;
            }
        }
        Ok(reply_log)
    }

    fn apply(&mut self, record: ReplyLogRecord) -> Result<(), crate::domain::reply::OutOfOrder> {
        self.epoch = self.epoch.max(record.epoch);
        match record.entry {
            ReplyLogEntry::Events { first, events, begins } => {
                self.go_on(first, &events)?;
                if let Some(begins) = begins {
                    self.deaths.begins(begins);
                }
            }
            ReplyLogEntry::TextEnded { first, events, ended } => {
                self.go_on(first, &events)?;
                self.text_end = Some(ended);
            }
            ReplyLogEntry::Claim { instance } => {
                self.claimant = Some(instance);
                self.handed_over = false;
            }
            ReplyLogEntry::HandedOver => {
                self.deaths = Deaths::default();
                self.handed_over = true;
            }
            ReplyLogEntry::Done(done) => self.end = Some(ReplyLogEnd::Done(done.ended)),
            ReplyLogEntry::Void => self.end = Some(ReplyLogEnd::Void),
            ReplyLogEntry::Deleted => self.end = Some(ReplyLogEnd::Deleted),
        }
        Ok(())
    }

    /// Of a record after a damaged one: its events belong to nothing.
    fn apply_behind_damage(&mut self, record: ReplyLogRecord) -> Result<(), String> {
        match record.entry {
            ReplyLogEntry::Events { .. } | ReplyLogEntry::TextEnded { .. } => {
                self.epoch = self.epoch.max(record.epoch);
                Ok(())
            }
            _ => self.apply(record).map_err(|error| error.to_string()),
        }
    }

    fn go_on(&mut self, first: u64, events: &[Event]) -> Result<(), crate::domain::reply::OutOfOrder> {
        if !events.is_empty() {
            self.deaths = Deaths::default();
        }
        let known = self.reply.next_sequence();
        if first > known {
            return Err(crate::domain::reply::OutOfOrder { sequence: first });
        }
        let skip = usize::try_from(known.saturating_sub(first)).unwrap_or(usize::MAX);
        for event in events.iter().skip(skip) {
            self.reply.apply(event)?;
            self.layout.push(event);
        }
        Ok(())
    }
}

impl Deaths {
    const fn begins(&mut self, begins: Begins) {
        self.count += 1;
        self.alone = begins.alone;
    }

    /// What they suggest about the reply.
    pub(crate) const fn suspicion(self) -> Suspicion {
        match self {
            Self { alone: true, .. } => Suspicion::Certain,
            Self { count, .. } if count >= MOST_DEATHS => Suspicion::Suspect,
            _ => Suspicion::None,
        }
    }
}

impl Speech {
    /// Takes in what a record holds of it.
    pub(crate) fn note(&mut self, entry: &ReplyLogEntry) {
        let (ReplyLogEntry::Events { first, events, .. } | ReplyLogEntry::TextEnded { first, events, .. }) = entry
        else {
            return;
        };
        let spoken = (*first..).zip(events).filter(|(_, event)| event.is_speech());
        self.0.extend(spoken.map(|(sequence, event)| (sequence, event.clone())));
    }

    /// The speech, as records of a reply log hold it: events that follow each other, with the number of the first.
    pub(crate) fn runs(self) -> Vec<(u64, Vec<Event>)> {
        /// Bytes of a record, about.
        const MOST: usize = 256 << 10;
        let mut runs: Vec<(u64, Vec<Event>)> = Vec::new();
        let mut size = 0;
        for (sequence, event) in self.0 {
            size += match &event {
                Event::Audio(text) | Event::Transcript(text) => text.len(),
                _ => 0,
            };
            match runs.last_mut() {
                Some((first, run)) if *first + run.len() as u64 == sequence && size < MOST => run.push(event),
                _ => {
                    size = 0;
                    runs.push((sequence, vec![event]));
                }
            }
        }
        runs
    }

    /// Puts the speech in the place of the empty events that a layout expands to.
    pub(crate) fn restore(&self, events: &mut [Event]) {
        for (sequence, spoken) in &self.0 {
            let empty = usize::try_from(*sequence).ok().and_then(|place| events.get_mut(place));
            if let Some(empty) = empty.filter(|event| event.is_speech()) {
                *empty = spoken.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests;
