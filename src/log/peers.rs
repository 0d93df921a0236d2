//! The other instances: which live, which died, and what one asks of another.
//!
//! Presence decides *when* a reply is taken over; the fenced claim decides *which instance* takes it. So a wrong
//! judgement costs a second call of an upstream, and never a reply.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use crate::domain::ids::{InstanceId, ReplyId};

use super::jetstream::presence::Presence;

/// What is known of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It was heard of a moment ago.
    Alive,
    /// It left, or does not answer any more.
    Dead,
    /// That is being found out.
    Unknown,
}

/// What one instance asks of the one that generates a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// To end it, and keep its output.
    Cancel,
    /// To end it for its deletion.
    Delete,
}

/// The instances that share a log. A handle: cheap to clone.
#[derive(Clone)]
pub enum Peers {
    /// There are no others, and the instance that was here before is dead.
    Alone(InstanceId),
    /// Those that share a log in NATS.
    Nats(Presence),
    /// Those that share a simulated log.
    #[cfg(feature = "simulation")]
    Simulated(super::simulated::presence::Presence),
}

impl Peers {
    /// Whether an instance lives.
    pub fn life(&self, instance: InstanceId) -> Life {
        match self {
            Self::Alone(own) if *own == instance => Life::Alive,
            Self::Alone(_) => Life::Dead,
            Self::Nats(presence) => presence.life(instance),
            #[cfg(feature = "simulation")]
            Self::Simulated(presence) => presence.life(instance),
        }
    }

    /// Since when an instance is dead, if that is known.
    pub fn dead_since(&self, instance: InstanceId) -> Option<Instant> {
        match self {
            Self::Alone(_) => None,
            Self::Nats(presence) => presence.dead_since(instance),
            #[cfg(feature = "simulation")]
            Self::Simulated(presence) => presence.dead_since(instance),
        }
    }

    /// How long ago another instance was heard of last, if it is known.
    pub fn silence(&self, instance: InstanceId) -> Option<Duration> {
        match self {
            Self::Alone(_) => None,
            Self::Nats(presence) => presence.silence(instance),
            #[cfg(feature = "simulation")]
            Self::Simulated(presence) => presence.silence(instance),
        }
    }

    /// Whether it falls to this instance to take over a reply, if its owner is dead. The others agree, as far as they know
    /// of the same instances.
    pub fn is_ours(&self, reply: ReplyId) -> bool {
        match self {
            Self::Alone(_) => true,
            Self::Nats(presence) => presence.is_ours(reply),
            #[cfg(feature = "simulation")]
            Self::Simulated(presence) => presence.is_ours(reply),
        }
    }

    /// Counts the instances that died or left. `None`: there are no others.
    pub fn deaths(&self) -> Option<watch::Receiver<u64>> {
        match self {
            Self::Alone(_) => None,
            Self::Nats(presence) => Some(presence.deaths()),
            #[cfg(feature = "simulation")]
            Self::Simulated(presence) => Some(presence.deaths()),
        }
    }

    /// Asks the instance that generates a reply to stop. `false`: it does not generate it, or does not answer.
    pub async fn command(&self, instance: InstanceId, reply: ReplyId, command: Command) -> bool {
        match self {
            Self::Alone(_) => false,
            Self::Nats(presence) => presence.command(instance, reply, command).await,
            #[cfg(feature = "simulation")]
            Self::Simulated(presence) => presence.command(instance, reply, command).await,
        }
    }

    /// Handles the commands of other instances, until the log is closed. `handle` returns whether the reply runs here.
    pub async fn handle(&self, handle: impl Fn(ReplyId, Command) -> bool + Send) {
        match self {
            Self::Alone(_) => std::future::pending().await,
            Self::Nats(presence) => presence.handle(handle).await,
            #[cfg(feature = "simulation")]
            Self::Simulated(presence) => presence.handle(handle).await,
        }
    }

    /// How many instances live, this one among them.
    pub fn count(&self) -> usize {
        match self {
            Self::Alone(_) => 1,
            Self::Nats(presence) => presence.count(),
            #[cfg(feature = "simulation")]
            Self::Simulated(presence) => presence.count(),
        }
    }

    /// How often another instance missed its heartbeats for too long, and was asked whether it lives.
    pub fn heartbeats_missed(&self) -> u64 {
        match self {
            Self::Nats(presence) => presence.missed(),
            _ => 0,
        }
    }

    /// The instance that owns this key: the same one for every caller, as far as they know of the same instances.
    pub fn keeper(&self, key: &str) -> InstanceId {
        match self {
            Self::Alone(own) => *own,
            Self::Nats(presence) => presence.keeper(key),
            #[cfg(feature = "simulation")]
            Self::Simulated(presence) => presence.keeper(key),
        }
    }

    /// Asks another instance about a topic. `None`: it does not answer in time.
    pub async fn ask(
        &self,
        topic: &'static str,
        instance: InstanceId,
        message: Vec<u8>,
        timeout: Duration,
    ) -> Option<Bytes> {
        match self {
            Self::Alone(_) => None,
            Self::Nats(presence) => presence.ask_about(topic, instance, message, timeout).await,
            #[cfg(feature = "simulation")]
            Self::Simulated(presence) => presence.ask_about(topic, instance, message, timeout).await,
        }
    }

    /// Sends another instance a message, which may be lost.
    pub async fn tell(&self, topic: &'static str, instance: InstanceId, message: Vec<u8>) {
        match self {
            Self::Alone(_) => {}
            Self::Nats(presence) => presence.tell(topic, instance, message).await,
            #[cfg(feature = "simulation")]
            Self::Simulated(presence) => presence.tell(topic, instance, message).await,
        }
    }

    /// Answers the questions and messages of other instances about a topic, until the log is closed.
    pub async fn answer<A>(&self, topic: &'static str, answer: impl Fn(Bytes) -> A + Send)
    where
        A: Future<Output = Option<Vec<u8>>> + Send + 'static,
    {
        match self {
            Self::Alone(_) => std::future::pending().await,
            Self::Nats(presence) => presence.answer(topic, answer).await,
            #[cfg(feature = "simulation")]
            Self::Simulated(presence) => presence.answer(topic, answer).await,
        }
    }

    /// Leaves: others continue at once with what was left.
    pub async fn leave(&self) {
        match self {
            Self::Alone(_) => {}
            Self::Nats(presence) => presence.leave().await,
            #[cfg(feature = "simulation")]
            Self::Simulated(presence) => presence.leave().await,
        }
    }
}

/// The instance that takes over a reply: the same one for every caller. `None`: there is none.
pub(super) fn owner_of(reply: ReplyId, instances: impl Iterator<Item = InstanceId>) -> Option<InstanceId> {
    choose(reply.own(), instances)
}

/// Which of these instances something falls to (rendezvous hashing): when one comes or goes, only its own change.
pub(super) fn choose(
    key: &(impl std::hash::Hash + ?Sized),
    instances: impl Iterator<Item = InstanceId>,
) -> Option<InstanceId> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    // Alike in all instances of one version; in a rolling deploy two may differ.
    let weight = |instance: &InstanceId| {
        let mut hasher = DefaultHasher::new();
        instance.number().hash(&mut hasher);
        key.hash(&mut hasher);
        (hasher.finish(), instance.number())
    };
    instances.max_by_key(weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::ThreadId;

    #[test]
    fn replies_of_a_dead_instance_are_shared_and_each_has_one_owner() {
        let instances: Vec<_> = (0..4).map(|_| InstanceId::random()).collect();
        let mut counts = std::collections::HashMap::new();
        for _ in 0..400 {
            let reply = ReplyId::random(ThreadId::random());
            let owner = owner_of(reply, instances.iter().copied()).unwrap();
            assert_eq!(owner_of(reply, instances.iter().rev().copied()), Some(owner));
            *counts.entry(owner.number()).or_insert(0) += 1;
        }
        assert!(counts.len() == 4 && counts.values().all(|count| *count > 40), "{counts:?}");
    }
}
