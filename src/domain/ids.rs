//! Identifiers that carry what is needed to find a thing: every id names its thread, an item's id also the reply
//! it belongs to. So any instance finds any item at once, also before the store has it.
//!
//! | id | form |
//! |---|---|
//! | conversation | `conv_<thread>` |
//! | reply | `resp_<thread><own>` |
//! | item that a reply generates | `msg_<thread><own><n>` (also `rs_`, `fc_`) |
//! | item that a client gives | `msg_<thread><own>i<n>` (also `rs_`, `fc_`, `fco_`) |
//!
//! `<thread>` and `<own>` are 128 bits each, as 26 characters of lower-case base32hex (RFC 4648, no padding). New ones are
//! the time in milliseconds (48 bits) and 80 random bits, so that ids sort by time and an index grows at its end. Those
//! that are derived from an `Idempotency-Key`, and those of earlier versions, have no time in them: nothing reads it.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use data_encoding::BASE32_DNSSEC;
use serde::{Deserialize, Serialize};

/// Characters that 128 bits take in an id.
const PART: usize = 26;

/// A string that is not an id of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a {kind} id")]
pub struct InvalidId {
    kind: &'static str,
}

/// Names a conversation, or the tree of replies that grows from a first one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadId([u8; 16]);

/// Names one reply, and with it its thread.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplyId {
    thread: ThreadId,
    own: [u8; 16],
}

/// Names one run of the server. Random per start: a restarted server is another instance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(u64);

impl ThreadId {
    /// A thread that was never named before.
    pub fn random() -> Self {
        Self(random_after(now_ms()))
    }

    /// The thread with these 128 bits (of a keyed hash, for an `Idempotency-Key`).
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 128 bits.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// This thread as a conversation's id.
    pub fn conversation(&self) -> String {
        format!("conv_{self}")
    }

    /// The thread of a conversation's id.
    ///
    /// # Errors
    /// [`InvalidId`] when `id` is not of the form `conv_<thread>`.
    pub fn from_conversation(id: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId { kind: "conversation" };
        id.strip_prefix("conv_").ok_or(invalid)?.parse()
    }
}

impl ReplyId {
    /// A reply in `thread` that was never named before.
    pub fn random(thread: ThreadId) -> Self {
        Self { thread, own: random_after(now_ms()) }
    }

    /// The reply with these 128 bits in `thread`.
    pub const fn from_bytes(thread: ThreadId, own: [u8; 16]) -> Self {
        Self { thread, own }
    }

    /// The thread it belongs to.
    pub const fn thread(&self) -> ThreadId {
        self.thread
    }

    /// The reply's own 128 bits.
    pub const fn own(&self) -> &[u8; 16] {
        &self.own
    }

    /// The id of the `index`-th item that this reply generates; `prefix` is `msg`, `rs` or `fc`.
    pub fn output_item(&self, prefix: &str, index: usize) -> String {
        format!("{prefix}_{}{}{index}", self.thread, Part(&self.own))
    }

    /// The id of the `index`-th item that a client gave with this reply's request.
    pub fn input_item(&self, prefix: &str, index: usize) -> String {
        format!("{prefix}_{}{}i{index}", self.thread, Part(&self.own))
    }

    /// The reply, or the group of items that a client added at once, which an item's id names.
    ///
    /// # Errors
    /// [`InvalidId`] when `id` was not made here.
    pub fn of_item(id: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId { kind: "item" };
        let (prefix, rest) = id.split_once('_').ok_or_else(|| invalid.clone())?;
        if !matches!(prefix, "msg" | "rs" | "fc" | "fco") || !rest.is_ascii() || rest.len() <= 2 * PART {
            return Err(invalid);
        }
        let (thread, own) = rest[..2 * PART].split_at(PART);
        Ok(Self { thread: thread.parse().map_err(|_| invalid.clone())?, own: decode(own).ok_or(invalid)? })
    }

    /// The reply that generated an item, and the item's place in its output, which the item's id names.
    ///
    /// # Errors
    /// [`InvalidId`] when `id` is of no such item.
    pub fn of_output_item(id: &str) -> Result<(Self, u32), InvalidId> {
        let reply = Self::of_item(id)?;
        let place = id.split_once('_').and_then(|(_, rest)| rest[2 * PART..].parse().ok());
        Ok((reply, place.ok_or(InvalidId { kind: "item" })?))
    }
}

impl InstanceId {
    /// A new instance's id.
    pub fn random() -> Self {
        Self(random_u64())
    }

    /// The instance of this number.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// 64 random bits that cannot be guessed: from a cryptographic generator that the operating system seeds.
pub fn random_u64() -> u64 {
    u64::from_ne_bytes(random())
}

/// 128 bits that sort by time: 48 of milliseconds, most significant first, and 80 random ones, which cannot be guessed.
fn random_after(ms: u64) -> [u8; 16] {
    let mut bytes = random();
    bytes[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    bytes
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes);
    bytes
}

fn decode(part: &str) -> Option<[u8; 16]> {
    BASE32_DNSSEC.decode(part.as_bytes()).ok()?.try_into().ok()
}

struct Part<'a>(&'a [u8; 16]);

impl fmt::Display for Part<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; PART];
        BASE32_DNSSEC.encode_mut(self.0, &mut text);
        f.write_str(std::str::from_utf8(&text).expect("base32 is ASCII"))
    }
}

impl fmt::Display for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Part(&self.0).fmt(f)
    }
}

impl fmt::Display for ReplyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "resp_{}{}", self.thread, Part(&self.own))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for ThreadId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId { kind: "conversation" };
        if text.len() != PART {
            return Err(invalid);
        }
        decode(text).map(Self).ok_or(invalid)
    }
}

impl FromStr for ReplyId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId { kind: "response" };
        let rest = text.strip_prefix("resp_").ok_or_else(|| invalid.clone())?;
        if rest.len() != 2 * PART || !rest.is_ascii() {
            return Err(invalid);
        }
        let (thread, own) = rest.split_at(PART);
        let thread = decode(thread).ok_or_else(|| invalid.clone())?;
        Ok(Self { thread: ThreadId(thread), own: decode(own).ok_or(invalid)? })
    }
}

impl FromStr for InstanceId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        u64::from_str_radix(text, 16).map(Self).map_err(|_| InvalidId { kind: "instance" })
    }
}

/// Ids are written as their text everywhere: in `Debug`, in JSON, in the store.
macro_rules! as_text {
    ($($id:ty),*) => {$(
        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $id {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(ThreadId, ReplyId, InstanceId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_as_they_were_written() {
        let reply = ReplyId::random(ThreadId::random());
        assert_eq!(reply.to_string().parse(), Ok(reply));
        assert_eq!(ReplyId::of_item(&reply.output_item("msg", 3)), Ok(reply));
        assert_eq!(ReplyId::of_item(&reply.input_item("fco", 0)), Ok(reply));
        assert_eq!(ReplyId::of_output_item(&reply.output_item("rs", 12)), Ok((reply, 12)));
        assert!(ReplyId::of_output_item(&reply.input_item("msg", 12)).is_err());
        assert_eq!(ThreadId::from_conversation(&reply.thread().conversation()), Ok(reply.thread()));
        assert_eq!(reply.to_string().len(), 57);
    }

    #[test]
    fn new_ids_sort_by_time_as_bytes_and_as_text() {
        let thread = ThreadId::random();
        let at = |ms| ReplyId::from_bytes(thread, random_after(ms));
        let times = [0, 1, 255, 256, 1_700_000_000_000, 1_700_000_000_001, (1 << 48) - 1];
        let ids: Vec<ReplyId> = times.into_iter().map(at).collect();
        assert!(ids.is_sorted_by(|a, b| a < b && a.to_string() < b.to_string()), "{ids:?}");
        assert_ne!(at(7), at(7), "80 bits are random");
        let mut after = [0; 8];
        after[2..].copy_from_slice(&ThreadId::random().as_bytes()[..6]);
        assert!(u64::from_be_bytes(after).abs_diff(now_ms()) < 60_000);
    }

    #[test]
    fn a_foreign_id_is_refused_and_never_panics() {
        for text in ["", "resp_", "resp_abc", "resp_ä", &format!("resp_{}", "ä".repeat(26)), &"z".repeat(57)] {
            assert!(text.parse::<ReplyId>().is_err(), "{text}");
            assert!(ReplyId::of_item(text).is_err(), "{text}");
        }
        assert!(ReplyId::of_item(&format!("msg_{}", "ä".repeat(40))).is_err());
        assert!(ThreadId::from_conversation("conv_").is_err());
    }
}
