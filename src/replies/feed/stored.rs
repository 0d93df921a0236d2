//! The events that a feed shows, in order. The last ones are as they came; older ones are packed, so that a reply of many
//! small pieces takes little more memory than its text.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use crate::domain::event::Event;

/// The most events of a batch: so many are encoded at once.
const MOST_EVENTS: usize = 512;

/// So many small batches are packed into one …
const LOOSE: usize = 64;

/// … unless their text is longer than this, in bytes: then little would be won.
const MUCH_TEXT: usize = 128 * 1024;

/// The events of a reply that were stored.
#[derive(Debug, Default)]
pub(super) struct StoredEvents {
    batches: Vec<Arc<Batch>>,
    /// Of these, the last are as they came.
    loose: usize,
    /// The sequence number of the next event.
    next: u64,
}

/// Events that follow each other.
#[derive(Debug)]
pub(super) struct Batch {
    /// The sequence number of the first.
    first: u64,
    events: Events,
    /// When the last of them was stored.
    pub(super) stored: Instant,
}

#[derive(Debug)]
enum Events {
    Loose(Box<[Event]>),
    Packed { text: Box<str>, pieces: Box<[Piece]> },
}

/// A packed event.
#[derive(Debug)]
enum Piece {
    /// A delta without probabilities: so many bytes of the text.
    Delta {
        item: u32,
        bytes: u32,
    },
    Other(Box<Event>),
}

impl StoredEvents {
    /// The sequence number of the next event.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// The batches with the events from this one on.
    pub(super) fn from(&self, sequence: u64) -> &[Arc<Batch>] {
        let at = self.batches.partition_point(|batch| batch.end() <= sequence);
        &self.batches[at..]
    }

    /// Adds events that were stored together.
    pub(super) fn extend(&mut self, events: Vec<Event>) {
        let stored = Instant::now();
        // A long reply that is replayed comes as one.
        let is_long = events.len() > MOST_EVENTS;
        let mut events = events.into_iter();
        while events.len() > 0 {
            let some: Box<[Event]> = events.by_ref().take(MOST_EVENTS).collect();
            let (first, count) = (self.next, some.len());
            let events = if is_long { Events::packed(some.into_vec()) } else { Events::Loose(some) };
            self.batches.push(Arc::new(Batch { first, events, stored }));
            self.next += count as u64;
            self.loose = if is_long { 0 } else { self.loose + 1 };
        }
        if self.loose >= LOOSE {
            self.pack();
        }
    }

    /// Packs what is as it came.
    fn pack(&mut self) {
        let loose = self.batches.split_off(self.batches.len() - self.loose);
        self.loose = 0;
        let mut group: Vec<Arc<Batch>> = Vec::new();
        let (mut count, mut bytes) = (0, 0);
        for batch in loose {
            if count + batch.len() > MOST_EVENTS || bytes > MUCH_TEXT {
                self.batches.extend(Batch::packed(&std::mem::take(&mut group)));
                (count, bytes) = (0, 0);
            }
            (count, bytes) = (count + batch.len(), bytes + batch.text_bytes());
            group.push(batch);
        }
        self.batches.extend(Batch::packed(&group));
    }
}

impl Batch {
    /// How many events.
    pub(super) fn len(&self) -> usize {
        match &self.events {
            Events::Loose(events) => events.len(),
            Events::Packed { pieces, .. } => pieces.len(),
        }
    }

    /// The sequence number after the last.
    fn end(&self) -> u64 {
        self.first + self.len() as u64
    }

    /// The text and audio that they bring.
    pub(super) fn text_bytes(&self) -> usize {
        match &self.events {
            Events::Loose(events) => events.iter().map(text_bytes).sum(),
            Events::Packed { text, pieces } => {
                let other = |piece: &Piece| if let Piece::Other(event) = piece { text_bytes(event) } else { 0 };
                text.len() + pieces.iter().map(other).sum::<usize>()
            }
        }
    }

    /// The events from this one on.
    pub(super) fn events(&self, sequence: u64) -> impl Iterator<Item = Cow<'_, Event>> {
        let skip = usize::try_from(sequence.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let (loose, packed) = match &self.events {
            Events::Loose(events) => (Some(events.iter().skip(skip).map(Cow::Borrowed)), None),
            Events::Packed { text, pieces } => (None, Some(unpacked(text, pieces).skip(skip))),
        };
        loose.into_iter().flatten().chain(packed.into_iter().flatten())
    }

    fn packed(group: &[Arc<Self>]) -> Option<Arc<Self>> {
        let (first, stored) = (group.first()?.first, group.last()?.stored);
        if let [alone] = group {
            return Some(Arc::clone(alone));
        }
        let events = group.iter().flat_map(|batch| batch.events(batch.first)).map(Cow::into_owned);
        Some(Arc::new(Self { first, events: Events::packed(events.collect()), stored }))
    }
}

impl Events {
    fn packed(events: Vec<Event>) -> Self {
        let mut text = String::with_capacity(events.iter().map(text_bytes).sum());
        let pack = |event| match event {
            Event::Delta { item, text: delta, logprobs } if logprobs.is_empty() => match u32::try_from(delta.len()) {
                Ok(bytes) => {
                    text.push_str(&delta);
                    Piece::Delta { item, bytes }
                }
                Err(_) => Piece::Other(Box::new(Event::Delta { item, text: delta, logprobs })),
            },
            other => Piece::Other(Box::new(other)),
        };
        let pieces = events.into_iter().map(pack).collect();
        Self::Packed { text: text.into_boxed_str(), pieces }
    }
}

fn unpacked<'a>(text: &'a str, pieces: &'a [Piece]) -> impl Iterator<Item = Cow<'a, Event>> {
    let mut rest = text;
    pieces.iter().map(move |piece| match piece {
        Piece::Delta { item, bytes } => {
            let (delta, after) = rest.split_at(*bytes as usize);
            rest = after;
            Cow::Owned(Event::Delta { item: *item, text: delta.to_owned(), logprobs: Vec::new() })
        }
        Piece::Other(event) => Cow::Borrowed(&**event),
    })
}

/// The text or audio that an event brings.
pub(super) fn text_bytes(event: &Event) -> usize {
    match event {
        Event::Delta { text, .. } => text.len(),
        Event::Audio(audio) => audio.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn delta(item: u32, text: &str) -> Event {
        Event::Delta { item, text: text.to_owned(), logprobs: Vec::new() }
    }

    fn all(stored: &StoredEvents, sequence: u64) -> Vec<Event> {
        let batches = stored.from(sequence).iter();
        batches.flat_map(|batch| batch.events(sequence)).map(Cow::into_owned).collect()
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            8 => (0u32..3, "\\PC{0,9}").prop_map(|(item, text)| delta(item, &text)),
            1 => Just(Event::Delta { item: 0, text: "x".to_owned(), logprobs: vec![json!({"token": "x"})] }),
            1 => Just(Event::TextDone(1)),
            1 => Just(Event::Audio("YXVkaW8=".into())),
        ]
    }

    proptest! {
        /// However they came, from wherever they are read, they are what was stored.
        #[test]
        fn what_was_stored_is_read(
            pushes in prop::collection::vec(prop::collection::vec(event(), 0..9), 0..200),
            at_once in prop::collection::vec(event(), 0..1500),
            from in 0u64..3000,
        ) {
            let mut stored = StoredEvents::default();
            stored.extend(at_once.clone());
            for events in &pushes {
                stored.extend(events.clone());
            }
            let expected: Vec<_> = at_once.into_iter().chain(pushes.into_iter().flatten()).collect();
            prop_assert_eq!(stored.next(), expected.len() as u64);
            prop_assert_eq!(all(&stored, 0), expected.clone());
            let skip = usize::try_from(from).unwrap();
            prop_assert_eq!(all(&stored, from), expected.into_iter().skip(skip).collect::<Vec<_>>());
        }
    }

    #[test]
    fn small_pieces_take_few_batches() {
        let mut stored = StoredEvents::default();
        (0..10_000).for_each(|_| stored.extend(vec![delta(0, "a")]));
        assert!(stored.batches.len() < 10_000 / LOOSE + LOOSE + 1, "{}", stored.batches.len());
        assert!(size_of::<Piece>() <= 16);
    }
}
