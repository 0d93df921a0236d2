//! Webhooks: which events there are, and how they and their deliveries are named. Pure.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_DNSSEC;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::event::Outcome;
use super::ids::{ReplyId, ThreadId};
use crate::config::EVENT_TYPES;

/// The events of which endpoints are notified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    /// A reply was generated to its end.
    Completed,
    /// A reply could not be generated to its end.
    Failed,
    /// A reply stopped at a limit or a filter.
    Incomplete,
    /// A reply was stopped by a client.
    Cancelled,
}

/// The end of a reply, to be delivered to endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookEvent {
    /// Which.
    pub event_type: EventType,
    /// The reply.
    pub reply: ReplyId,
    /// When it ended, in milliseconds of Unix time.
    pub at: u64,
}

/// A text that names no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an event type")]
pub struct UnknownEventType(pub String);

impl EventType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Completed, Self::Failed, Self::Incomplete, Self::Cancelled];

    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        EVENT_TYPES[self as usize]
    }
}

impl From<&Outcome> for EventType {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::MaxOutputTokens | Outcome::ContentFilter => Self::Incomplete,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::Failed(_) => Self::Failed,
        }
    }
}

impl FromStr for EventType {
    type Err = UnknownEventType;

    fn from_str(text: &str) -> Result<Self, UnknownEventType> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| UnknownEventType(text.to_owned()))
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl WebhookEvent {
    /// The event's id: the same for all endpoints.
    pub fn id(&self) -> String {
        format!("evt_{}", self.digest(""))
    }

    /// The id of its delivery to an endpoint: the same for every instance and every try. So an endpoint recognises what
    /// it received before, even if the instance that sent it was killed before it took note. The ids sort by time.
    pub fn delivery_id(&self, endpoint: &str) -> String {
        format!("wh_{}", self.digest(endpoint))
    }

    /// 48 bits of time and 80 of a hash, as other ids have them.
    fn digest(&self, endpoint: &str) -> String {
        let name = format!("{endpoint} {} {}", self.event_type, self.reply);
        let hash = Sha256::digest(name);
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&self.at.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&hash[..10]);
        BASE32_DNSSEC.encode(&bytes)
    }
}

/// The id of a new endpoint. They sort by time.
pub fn new_endpoint_id() -> String {
    format!("whe_{}", ThreadId::random())
}

/// The id of an endpoint of the configuration's file: of its name and address, so that one that moves begins anew.
pub fn static_endpoint_id(name: &str, url: &str) -> String {
    let hash = Sha256::digest(format!("{name} {url}"));
    format!("whe_{}", BASE32_DNSSEC.encode(&hash[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::ReplyError;

    #[test]
    fn every_end_of_a_reply_is_an_event_of_the_api() {
        let of = |outcome: Outcome| EventType::from(&outcome).as_str();
        assert_eq!(of(Outcome::Completed), "response.completed");
        assert_eq!(of(Outcome::MaxOutputTokens), "response.incomplete");
        assert_eq!(of(Outcome::ContentFilter), "response.incomplete");
        assert_eq!(of(Outcome::Cancelled), "response.cancelled");
        assert_eq!(of(Outcome::Failed(ReplyError::server("x"))), "response.failed");
        for one in EventType::ALL {
            assert_eq!(one.as_str().parse(), Ok(one));
        }
        assert_eq!(EventType::ALL.map(EventType::as_str), EVENT_TYPES);
        assert!("batch.completed".parse::<EventType>().is_err());
    }

    #[test]
    fn a_delivery_has_one_id_at_each_try_and_another_for_each_endpoint() {
        let reply = ReplyId::random(ThreadId::random());
        let event = |at| WebhookEvent { event_type: EventType::Completed, reply, at };
        let one = event(1_700_000_000_000);
        assert_eq!(one.delivery_id("a"), one.delivery_id("a"));
        assert_ne!(one.delivery_id("a"), one.delivery_id("b"));
        assert_eq!(one.id(), one.id());
        assert_ne!(one.id()[4..], one.delivery_id("a")[3..]);
        assert!(one.delivery_id("a") < event(1_700_000_000_001).delivery_id("a"), "they sort by time");
        let failed = WebhookEvent { event_type: EventType::Failed, ..one };
        assert_ne!(one.id(), failed.id());
    }
}
