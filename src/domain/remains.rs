//! What deletions leave of the records that they erase. No I/O.
//!
//! A record may hold more than what is deleted. The log cannot rewrite a record, only erase it: so the deletion's own record
//! carries what is left of it, and readers of the thread put that back ([`restore`]). A later deletion that concerns
//! it erases the deletion's record, too, and carries on what that one carried ([`Erasure::plan`]).

use std::collections::{BTreeMap, BTreeSet};

use super::record::TranscriptRecord;

/// What a deletion does to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It holds nothing of what is deleted.
    Stays,
    /// The text was taken out; the rest stays.
    Emptied,
    /// Nothing of it stays.
    Goes,
}

/// What a deletion erases of a thread's records, and what it leaves.
#[derive(Debug, Default)]
pub struct Erasure {
    /// The records that are erased, with their sequences in the log.
    pub own: Vec<(u64, TranscriptRecord)>,
    /// The ordinals of those of which nothing is left.
    pub erased: Vec<u64>,
    /// What is left of the others.
    pub left: Vec<TranscriptRecord>,
}

/// Puts what deletions left of erased records back at their ordinals. The records are those of one thread, in order. Of
/// several deletions that left something of a record the last counts.
pub fn restore(records: &mut Vec<TranscriptRecord>) {
    // Of what is `None` a later deletion left nothing.
    let mut newest: BTreeMap<u64, Option<TranscriptRecord>> = BTreeMap::new();
    for record in records.iter_mut().rev() {
        let left = record.change.take_left();
        for ordinal in left.iter().chain([&*record]).flat_map(|record| record.change.erased()) {
            newest.entry(*ordinal).or_insert(None);
        }
        for record in left {
            newest.entry(record.ordinal).or_insert(Some(record));
        }
    }
    for record in newest.into_values().flatten() {
        match records.binary_search_by_key(&record.ordinal, |known| known.ordinal) {
            Ok(place) => records[place] = record,
            Err(place) => records.insert(place, record),
        }
    }
}

impl Erasure {
    /// Plans a deletion. `stored` are the records that the log holds, in order; `delete` applies the deletion to a
    /// record, and returns what it did.
    pub fn plan(stored: &[(u64, TranscriptRecord)], delete: impl Fn(&mut TranscriptRecord) -> Fate) -> Self {
        let holds = |record: &TranscriptRecord| delete(&mut record.clone()) != Fate::Stays;
        let is_concerned = |record: &TranscriptRecord| holds(record) || record.change.left().iter().any(holds);
        let concerned = stored.iter().filter(|(_, record)| is_concerned(record));
        let own: Vec<(u64, TranscriptRecord)> = concerned.cloned().collect();
        if own.is_empty() {
            return Self::default();
        }
        let mut now: Vec<_> = stored.iter().map(|(_, record)| record.clone()).collect();
        restore(&mut now);
        let places: BTreeSet<u64> = own.iter().flat_map(|(_, record)| ordinals(record)).collect();
        let (mut erased, mut left) = (Vec::new(), Vec::new());
        for mut record in now.into_iter().filter(|record| places.contains(&record.ordinal)) {
            match delete(&mut record) {
                Fate::Goes => erased.push(record.ordinal),
                Fate::Stays | Fate::Emptied => left.push(record),
            }
        }
        Self { own, erased, left }
    }
}

/// The ordinals of a record and of those that it carries.
fn ordinals(record: &TranscriptRecord) -> impl Iterator<Item = u64> {
    record.change.left().iter().chain([record]).map(|record| record.ordinal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::erase::ItemErasure;
    use crate::domain::items::Item;
    use crate::domain::record::Change;
    use serde_json::json;

    fn record(ordinal: u64, change: Change) -> TranscriptRecord {
        TranscriptRecord { v: 1, ordinal, at: ordinal, change }
    }

    fn added(ordinal: u64, names: &[&str]) -> TranscriptRecord {
        let item = |name: &&str| -> Item {
            let part = json!({"type": "input_text", "text": format!("text-{name}")});
            let item = json!({"type": "message", "id": name, "status": "completed", "role": "user", "content": [part]});
            serde_json::from_value(item).unwrap()
        };
        record(ordinal, Change::ItemsAdded { items: names.iter().map(item).collect() })
    }

    /// A log whose records are erased by a deletion.
    struct Log(Vec<(u64, TranscriptRecord)>);

    impl Log {
        fn of(records: Vec<TranscriptRecord>) -> Self {
            Self(records.into_iter().map(|record| (record.ordinal * 10, record)).collect())
        }

        fn push(&mut self, change: Change) -> u64 {
            let ordinal = self.0.last().unwrap().1.ordinal + 1;
            self.0.push((ordinal * 10, record(ordinal, change)));
            ordinal
        }

        /// Deletes an item; where it crashes, what is to be erased stays.
        fn delete(&mut self, item: &str, crashes: bool) {
            let delete = |record: &mut TranscriptRecord| {
                if ItemErasure::of(item).apply(record) { Fate::Emptied } else { Fate::Stays }
            };
            let Erasure { own, erased, left } = Erasure::plan(&self.0, delete);
            assert!(erased.is_empty());
            self.push(Change::ItemDeleted { item: item.to_owned(), left });
            if !crashes {
                self.0.retain(|(sequence, _)| own.iter().all(|(other, _)| other != sequence));
            }
        }

        fn read(&self) -> Vec<TranscriptRecord> {
            let mut records: Vec<_> = self.0.iter().map(|(_, record)| record.clone()).collect();
            restore(&mut records);
            records
        }

        fn bytes(&self) -> String {
            self.0.iter().map(|(_, record)| String::from_utf8(record.encode()).unwrap()).collect()
        }
    }

    fn shown(records: &[TranscriptRecord]) -> Vec<(u64, String)> {
        let text = |record: &TranscriptRecord| match &record.change {
            Change::ItemsAdded { items } => items
                .iter()
                .map(|item| match item {
                    Item::Message(message) => {
                        message.content.iter().map(crate::domain::items::Part::text).collect::<String>()
                    }
                    _ => unreachable!(),
                })
                .collect::<Vec<_>>()
                .join(","),
            change => format!(
                "{} {}",
                change.left().len(),
                match change {
                    Change::ItemDeleted { item, .. } => item.as_str(),
                    _ => "other",
                }
            ),
        };
        records.iter().map(|record| (record.ordinal, text(record))).collect()
    }

    fn expect(log: &Log, wanted: &[(u64, &str)]) {
        let wanted: Vec<_> = wanted.iter().map(|(ordinal, text)| (*ordinal, (*text).to_owned())).collect();
        assert_eq!(shown(&log.read()), wanted);
    }

    #[test]
    fn what_is_left_of_a_record_stands_where_it_stood() {
        let mut log = Log::of(vec![added(1, &["a", "b"]), added(2, &["c"])]);
        log.delete("a", false);
        assert!(!log.bytes().contains("text-a"));
        expect(&log, &[(1, ",text-b"), (2, "text-c"), (3, "0 a")]);
    }

    #[test]
    fn items_of_one_record_are_deleted_one_after_the_other() {
        for crashes in [false, true] {
            let mut log = Log::of(vec![added(1, &["a", "b", "c"]), added(2, &["d", "e"])]);
            for item in ["b", "d", "a", "e"] {
                log.delete(item, crashes);
                assert!(crashes || !log.bytes().contains(&format!("text-{item}")), "{item}");
            }
            let deletions = [(3, "0 b"), (4, "0 d"), (5, "0 a"), (6, "0 e")];
            expect(&log, &[&[(1, ",,text-c"), (2, ",")], &deletions[..]].concat());
        }
    }

    #[test]
    fn a_later_deletion_of_the_whole_leaves_nothing_of_what_an_earlier_one_carried() {
        let mut log = Log::of(vec![added(1, &["a", "b"]), added(2, &["c"])]);
        log.delete("a", false);
        let Erasure { own, erased, left } = Erasure::plan(&log.0, |record| match record.change {
            Change::ItemsAdded { .. } => Fate::Goes,
            _ => Fate::Stays,
        });
        assert_eq!(own.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [20, 30]);
        assert_eq!((erased.as_slice(), left.len(), left[0].ordinal), (&[1, 2][..], 1, 3));
        log.push(Change::ConversationDeleted { erased, left, owner: crate::domain::caller::Owner::anonymous() });
        // Also where a crash comes before the records are erased, an earlier one brings nothing back.
        log.0.remove(0);
        log.0.retain(|(_, record)| record.ordinal != 2);
        expect(&log, &[(3, "0 a"), (4, "0 other")]);
        log.0.retain(|(_, record)| record.ordinal != 3);
        expect(&log, &[(3, "0 a"), (4, "0 other")]);
    }
}
