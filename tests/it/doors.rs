//! A reply that was begun at any door goes on at every other, after each of its events, also after a kill: the text is the
//! same to the byte, and nothing is generated twice.

mod door;

use crate::support::{Behaviour, upstream::Manner, *};
use door::{Door, Piece, Place, Room};

const WORDS: usize = 16;

/// What a client had seen, and the rest as it came from elsewhere.
struct Rest {
    from: Door,
    to: Door,
    after: Place,
    seen: Vec<u8>,
    task: tokio::task::JoinHandle<Option<Vec<u8>>>,
}

impl Rest {
    /// Goes on from a place at another door, on its own.
    fn begin(given: &Given, room: &Room, (from, to): (Door, Door), after: Place, seen: &[u8]) -> Self {
        // With connections of its own: of many at once one is closed while it is idle.
        let (api, address, room) = (given.server.api(), given.server.address().to_owned(), room.clone());
        let task = tokio::spawn(async move {
            let mut reader = to.go_on(&api, &address, &room, after).await?;
            let mut text = Vec::new();
            while let Some(piece) = reader.next().await {
                // What a door tells from the beginning was seen up to here.
                if piece.number.is_none() || after.number.is_none() || piece.number > after.number {
                    text.extend(piece.text);
                }
                if piece.is_last {
                    break;
                }
            }
            Some(text)
        });
        Self { from, to, after, seen: seen.to_vec(), task }
    }

    /// Asserts that both together are the whole. Gives whether there was anything to go on with.
    async fn check(self, truth: &str) -> bool {
        let about = format!("from {:?} to {:?} after {:?}", self.from, self.to, self.after.number);
        let Some(rest) = self.task.await.unwrap_or_else(|error| panic!("{about}: {error}")) else {
            assert_eq!(self.to, Door::Ui, "{about}: only a chat in which nothing runs has nothing to tell");
            return false;
        };
        // Bare text has no numbers: whoever reads it goes on from the bytes that came.
        let skipped = if self.after.number.is_none() { self.seen.len() } else { 0 };
        let whole = [&self.seen, rest.get(skipped..).unwrap_or_else(|| panic!("{about}: too short"))].concat();
        assert_eq!(String::from_utf8_lossy(&whole).trim_end(), truth, "{about}");
        true
    }
}

#[tokio::test]
async fn a_reply_begun_at_any_door_goes_on_at_every_other_after_each_of_its_events() {
    let given = Given::new().await;
    for from in Door::ALL {
        let about = format!("crossing {from:?}");
        given.upstream.on(&about, Manner::paced(8));
        let prompt = prompt(WORDS, &about);
        let room = Room::make(&given.api, &about).await;
        let (mut reader, room) = from.begin(&given.api, given.server.address(), room, &prompt).await;
        let (mut seen, mut rests, mut number) = (Vec::new(), Vec::new(), None);
        while let Some(Piece { number: now, text, is_last }) = reader.next().await {
            seen.extend(text);
            number = now.or(number);
            if is_last {
                break;
            }
            let others = from.others().map(|to| Rest::begin(&given, &room, (from, to), Place { number }, &seen));
            rests.extend(others);
        }
        let mut counts = std::collections::BTreeMap::new();
        for rest in rests {
            let to = format!("{:?}", rest.to);
            *counts.entry(to).or_insert(0) += usize::from(rest.check(&truth(&prompt)).await);
        }
        assert_eq!(counts.len(), from.others().count());
        assert!(counts.values().all(|count| *count > WORDS / 2), "{about}: {counts:?}");
        assert_eq!(given.upstream.heard(&about).len(), 1, "{about}");
    }
}

#[tokio::test]
async fn a_reply_killed_at_any_door_goes_on_at_every_other_after_each_event_that_was_seen() {
    let mut given = Given::new().await;
    for from in Door::ALL {
        let about = format!("killed {from:?}");
        let slow: [Behaviour; 2] = [Manner::paced(8).into(), Manner::paced(20).into()];
        given.upstream.on_each(&about, slow);
        let prompt = prompt(WORDS * 2, &about);
        let room = Room::make(&given.api, &about).await;
        let (mut reader, room) = from.begin(&given.api, given.server.address(), room, &prompt).await;
        let (mut seen, mut places, mut number) = (Vec::new(), Vec::new(), None);
        while let Some(piece) = reader.next().await {
            seen.extend(piece.text);
            number = piece.number.or(number);
            places.push((Place { number }, seen.clone()));
            if String::from_utf8_lossy(&seen).split_whitespace().count() == WORDS / 2 {
                given.server.kill();
            }
        }
        given = given.restarted().await;
        let mut rests = Vec::new();
        for (place, seen) in &places {
            rests.extend(from.others().map(|to| Rest::begin(&given, &room, (from, to), *place, seen)));
        }
        let mut counts = 0;
        for rest in rests {
            counts += usize::from(rest.check(&truth(&prompt)).await);
        }
        assert!(counts >= (WORDS / 2) * (from.others().count() - 1), "{about}: {counts} of {}", places.len());
    }
}
