//! Judges what clients saw of a reply. Pure: events in, faults out.

use std::fmt;

use bytes::Bytes;

use crate::cli::event::{Ending, Event, Happened};

/// An event as a client got it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) data: Bytes,
    pub(super) number: Option<u64>,
    pub(super) happened: Happened,
    /// When it came.
    pub(super) at: std::time::Instant,
    /// From which instance.
    pub(super) instance: usize,
}

/// What clients did to a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing: it has to be generated to its end.
    Whole,
    /// It was cancelled, perhaps after its end.
    Cancelled,
    /// It was deleted, running or not.
    Deleted,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// An event that is none: no JSON, no number.
    NoEvent { data: String },
    /// Numbers with a gap, or a repetition.
    Numbers { expected: u64, found: u64 },
    /// An event after the terminal one.
    AfterEnd { number: u64 },
    /// The text is not what the model generated.
    Text { text: String, expected: String },
    /// The text is right, and not all of it.
    Short { bytes: usize, of: usize },
    /// The message was opened so often.
    Opened { times: usize },
    /// It ended otherwise than it may.
    Ending { ending: Ending },
    /// An event that was seen is different now.
    Changed { number: u64, seen: String, now: String },
    /// More events were seen than there are now.
    TakenBack { seen: usize, now: usize },
    /// No end, in all the time that there was.
    Stuck { events: usize },
    /// The server refused a valid request.
    Refused { doing: &'static str, why: String },
    /// The stream ended as if the reply were over.
    LooksWhole { events: usize },
    /// Two ids for one idempotency key.
    TwoIds { first: String, second: String },
    /// The model was shown another conversation than there was.
    Context { shown: Vec<String>, expected: Vec<String> },
    /// Two instances show the reply differently, or the response does not match its events.
    Differs { instance: usize, how: String },
    /// Something is wrong in the store.
    Stored { how: String },
}

impl Seen {
    /// An event that has just come.
    pub(super) fn new(data: &[u8], instance: usize) -> Self {
        let event = Event::parse(data);
        Self {
            data: Bytes::copy_from_slice(data),
            number: event.as_ref().and_then(|event| event.sequence),
            happened: event.map_or(Happened::Nothing, |event| event.happened),
            at: std::time::Instant::now(),
            instance,
        }
    }

    /// Whether it ends the reply.
    pub(super) const fn is_terminal(&self) -> bool {
        matches!(self.happened, Happened::Ended(_))
    }
}

/// How a reply ended, by these events.
pub(super) fn ending(events: &[Seen]) -> Option<&Ending> {
    events.iter().find_map(|seen| match &seen.happened {
        Happened::Ended(ending) => Some(ending),
        _ => None,
    })
}

/// The text in these events.
pub(super) fn text(events: &[Seen]) -> String {
    let text = |seen: &Seen| if let Happened::Text(text) = &seen.happened { Some(text.clone()) } else { None };
    events.iter().filter_map(text).collect()
}

/// Judges events by themselves: those of one follower, or a replay. `truth` is the model's output, where it is known.
pub(super) fn checker(events: &[Seen], truth: Option<&str>, fate: Fate) -> Vec<Fault> {
    let mut faults = numbers(events);
    if let Some(end) = events.iter().position(Seen::is_terminal)
        && let Some(after) = events.get(end + 1)
    {
        faults.push(Fault::AfterEnd { number: after.number.unwrap_or(0) });
    }
    let times = events.iter().filter(|seen| seen.happened == Happened::Paragraph).count();
    if times > 1 {
        faults.push(Fault::Opened { times });
    }
    let output = text(events);
    let ending = ending(events);
    faults.extend(truth.and_then(|truth| text_fault(&output, truth, ending)));
    match (ending, fate) {
        (None | Some(Ending::Complete), _) | (Some(Ending::Stopped), Fate::Cancelled | Fate::Deleted) => {}
        (Some(ending), _) => faults.push(Fault::Ending { ending: ending.clone() }),
    }
    faults
}

fn numbers(events: &[Seen]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut expected = 0;
    for seen in events {
        match seen.number {
            None => faults.push(Fault::NoEvent { data: excerpt(&seen.data) }),
            Some(found) => {
                if found != expected {
                    faults.push(Fault::Numbers { expected, found });
                }
                expected = found + 1;
            }
        }
    }
    faults
}

fn text_fault(text: &str, truth: &str, ending: Option<&Ending>) -> Option<Fault> {
    if !truth.starts_with(text) {
        let at = text.bytes().zip(truth.bytes()).take_while(|(a, b)| a == b).count();
        return Some(Fault::Text { text: around(text, at), expected: around(truth, at) });
    }
    let is_short = ending == Some(&Ending::Complete) && text.len() < truth.len();
    is_short.then_some(Fault::Short { bytes: text.len(), of: truth.len() })
}

/// Compares what a follower saw with the replay at the end: nothing that was seen may have changed.
pub(super) fn compare(seen: &[Seen], now: &[Seen]) -> Vec<Fault> {
    let changed = seen.iter().zip(now).find(|(seen, now)| !is_same(&seen.data, &now.data));
    let mut faults = Vec::new();
    if let Some((seen, now)) = changed {
        let number = seen.number.unwrap_or(0);
        faults.push(Fault::Changed { number, seen: excerpt(&seen.data), now: excerpt(&now.data) });
    }
    if seen.len() > now.len() {
        faults.push(Fault::TakenBack { seen: seen.len(), now: now.len() });
    }
    faults
}

/// As JSON, where the bytes differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    a == b || (json(a).is_some() && json(a) == json(b))
}

fn excerpt(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(200).collect()
}

/// The text from a little before a byte on.
fn around(text: &str, at: usize) -> String {
    let start = (0..=at.saturating_sub(20).min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[start..].chars().take(60).collect()
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEvent { data } => write!(f, "not an event: {data}"),
            Self::Numbers { expected, found } => write!(f, "event {found} came where {expected} had to come"),
            Self::AfterEnd { number } => write!(f, "event {number} came after the terminal event"),
            Self::Text { text, expected } => write!(f, "the text is “{text}” where it had to be “{expected}”"),
            Self::Short { bytes, of } => write!(f, "completed with {bytes} of {of} bytes of text"),
            Self::Opened { times } => write!(f, "the message was opened {times} times"),
            Self::Ending { ending } => write!(f, "unexpected end: {ending:?}"),
            Self::Changed { number, seen, now } => write!(f, "event {number} was “{seen}” and is now “{now}”"),
            Self::TakenBack { seen, now } => write!(f, "{seen} events were seen, and {now} are there now"),
            Self::Stuck { events } => write!(f, "no end in time, after {events} events"),
            Self::Refused { doing, why } => write!(f, "{doing} was refused: {why}"),
            Self::LooksWhole { events } => {
                write!(f, "the stream ended cleanly after {events} events, without their end")
            }
            Self::TwoIds { first, second } => write!(f, "one idempotency key, and two replies: {first} and {second}"),
            Self::Context { shown, expected } => {
                write!(f, "the model was shown the turns {shown:?} where there were {expected:?}")
            }
            Self::Differs { instance, how } => write!(f, "instance {instance} shows it differently: {how}"),
            Self::Stored { how } => write!(f, "in the store: {how}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn seen(body: &Value) -> Seen {
        Seen::new(body.to_string().as_bytes(), 0)
    }

    fn events(texts: &[&str], end: Option<&str>) -> Vec<Seen> {
        let mut bodies = vec![json!({"type": "response.created", "response": {"id": "resp_1"}})];
        bodies.push(json!({"type": "response.content_part.added"}));
        bodies.extend(texts.iter().map(|text| json!({"type": "response.output_text.delta", "delta": text})));
        let response = match end {
            Some("completed") => Some(("completed", json!({"status": "completed"}))),
            Some("cancelled") => {
                let details = json!({"reason": "cancelled"});
                Some(("incomplete", json!({"status": "cancelled", "incomplete_details": details})))
            }
            Some(_) => Some(("failed", json!({"status": "failed", "error": {"message": "no"}}))),
            None => None,
        };
        if let Some((kind, response)) = response {
            bodies.push(json!({"type": format!("response.{kind}"), "response": response}));
        }
        for (number, body) in bodies.iter_mut().enumerate() {
            body["sequence_number"] = number.into();
        }
        bodies.iter().map(seen).collect()
    }

    const TRUTH: Option<&str> = Some("one two three");

    #[test]
    fn a_reply_as_it_should_be_has_no_fault() {
        let whole = events(&["one ", "two ", "three"], Some("completed"));
        assert_eq!(checker(&whole, TRUTH, Fate::Whole), []);
        assert_eq!(checker(&whole, TRUTH, Fate::Cancelled), [], "it was cancelled too late");
        assert_eq!(checker(&whole[..3], TRUTH, Fate::Whole), [], "a follower that left");
        assert_eq!(checker(&events(&["one "], Some("cancelled")), TRUTH, Fate::Cancelled), []);
        assert_eq!(checker(&events(&["one "], Some("cancelled")), TRUTH, Fate::Deleted), []);
        assert_eq!(compare(&whole[..3], &whole), []);
    }

    #[test]
    fn a_gap_and_a_repetition_are_found() {
        let mut gap = events(&["one ", "two ", "three"], Some("completed"));
        gap.remove(1);
        assert!(checker(&gap, None, Fate::Whole).contains(&Fault::Numbers { expected: 1, found: 2 }));
        let mut twice = events(&["one two three"], Some("completed"));
        twice.insert(1, twice[1].clone());
        assert!(checker(&twice, None, Fate::Whole).contains(&Fault::Numbers { expected: 2, found: 1 }));
        assert!(matches!(checker(&[Seen::new(b"nothing", 0)], None, Fate::Whole)[..], [Fault::NoEvent { .. }]));
    }

    #[test]
    fn a_wrong_word_a_doubled_one_and_a_missing_one_are_found() {
        for texts in [["one ", "too "], ["one ", "one "], ["two ", "three"], ["one two three", " four"]] {
            let faults = checker(&events(&texts, None), TRUTH, Fate::Whole);
            assert!(matches!(faults[..], [Fault::Text { .. }]), "{texts:?}: {faults:?}");
        }
        let short = checker(&events(&["one "], Some("completed")), TRUTH, Fate::Whole);
        assert_eq!(short, [Fault::Short { bytes: 4, of: 13 }]);
    }

    #[test]
    fn an_end_that_nobody_asked_for_is_found() {
        let stopped = checker(&events(&["one "], Some("cancelled")), TRUTH, Fate::Whole);
        assert_eq!(stopped, [Fault::Ending { ending: Ending::Stopped }]);
        for fate in [Fate::Whole, Fate::Cancelled, Fate::Deleted] {
            let failed = checker(&events(&["one "], Some("failed")), TRUTH, fate);
            assert!(matches!(failed[..], [Fault::Ending { .. }]), "{failed:?}");
        }
    }

    #[test]
    fn two_ends_and_two_messages_are_found() {
        let mut twice = events(&["one two three"], Some("completed"));
        let mut last = twice.last().unwrap().clone();
        last.number = Some(4);
        twice.push(last);
        assert_eq!(checker(&twice, TRUTH, Fate::Whole), [Fault::AfterEnd { number: 4 }]);
        let mut opened = events(&["one two three"], Some("completed"));
        let again = seen(&json!({"type": "response.content_part.added", "sequence_number": 3}));
        opened[3].number = Some(4);
        opened.insert(3, again);
        assert_eq!(checker(&opened, TRUTH, Fate::Whole), [Fault::Opened { times: 2 }]);
    }

    #[test]
    fn what_was_seen_and_is_no_more_is_found() {
        let (seen, now) = (events(&["one ", "two "], None), events(&["one ", "too "], None));
        assert!(matches!(compare(&seen, &now)[..], [Fault::Changed { number: 3, .. }]));
        assert_eq!(compare(&seen, &seen[..2]), [Fault::TakenBack { seen: 4, now: 2 }]);
    }

    #[test]
    fn the_order_of_keys_is_no_change() {
        let (one, two) = (Seen::new(br#"{"a":1,"b":2}"#, 0), Seen::new(br#"{"b":2,"a":1}"#, 0));
        assert_eq!(compare(&[one], &[two]), []);
    }
}
