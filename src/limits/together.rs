//! One account of each caller among several instances: who keeps it is asked, and told what came of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::account::Rates;
use super::book::Book;
use super::message::{Answer, Ask, Message, Settlement};
use super::{Inner, Limits};
use crate::config::Tier;
use crate::domain::caller::Owner;
use crate::domain::ids::InstanceId;
use crate::log::Life;

/// How long the keeper of an account is waited for.
const KEEPER: Duration = Duration::from_millis(20);

/// How long store and log are waited for, to tell what was used today; and when they are asked again.
const DAY: Duration = Duration::from_millis(250);
const DAY_AGAIN: Duration = Duration::from_secs(5);

/// Between two looks at who lives.
const LOOK: Duration = Duration::from_secs(1);

/// Under which name instances ask each other.
const TOPIC: &str = "limits";

impl Limits {
    /// Asks whoever keeps the account; gives who answered. `None`: nobody did, and it was decided here.
    pub(super) async fn ask(&self, ask: Ask, tier: &Tier) -> (Answer, Option<InstanceId>) {
        let Inner { instance, peers, shares, .. } = &*self.0;
        let keeper = peers.keeper(ask.owner.as_str());
        if keeper == *instance {
            return (self.decide(&self.0.kept, &ask, Rates::of(tier)).await, Some(keeper));
        }
        let message = Message::Ask(ask.clone()).encode();
        let answer = peers.ask(TOPIC, keeper, message, KEEPER).await;
        if let Some(answer) = answer.and_then(|answer| serde_json::from_slice(&answer).ok()) {
            return (answer, Some(keeper));
        }
        let among = u64::try_from(peers.count()).unwrap_or(u64::MAX);
        (self.decide(shares, &ask, Rates::of(tier).shared(among)).await, None)
    }

    async fn decide(&self, book: &Book, ask: &Ask, rates: Rates) -> Answer {
        if rates.counts_days() && book.lacks_day(&ask.owner, self.when()) {
            self.find_day(book, &ask.owner).await;
        }
        let is_dead = |instance| self.0.peers.life(instance) == Life::Dead;
        book.decide(ask, rates, self.when(), is_dead)
    }

    /// Finds out what was used today. What is not known in time counts as nothing, until it is.
    async fn find_day(&self, book: &Book, owner: &Owner) {
        if self.0.failed.lock().is_some_and(|failed| failed.elapsed() < DAY_AGAIN) {
            return;
        }
        let when = self.when();
        let reason = match tokio::time::timeout(DAY, self.0.spent.of(owner, when.day)).await {
            Ok(Ok(used)) => return book.learn_day(owner, when, used),
            Ok(Err(error)) => crate::telemetry::causes::chain(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        *self.0.failed.lock() = Some(Instant::now());
        tracing::warn!(%reason, "cannot yet count what was used today before this instance began to");
    }

    /// Tells what came of a reservation: to whoever granted it, and to whoever keeps the account now.
    pub(super) fn settle(&self, mut settled: Settlement, keeper: Option<InstanceId>) {
        let Inner { peers, shares, tiers, .. } = &*self.0;
        let now = peers.keeper(settled.owner.as_str());
        let Some(tier) = tiers.of(&settled.tier) else { return };
        if keeper.is_none() {
            let among = u64::try_from(peers.count()).unwrap_or(u64::MAX);
            settled.is_of_receiver = true;
            shares.settle(&settled, Rates::of(tier).shared(among), self.when());
        }
        let granted = keeper.filter(|keeper| *keeper != now && peers.life(*keeper) != Life::Dead);
        for receiver in granted.into_iter().chain([now]) {
            settled.is_of_receiver = keeper == Some(receiver);
            self.send(settled.clone(), receiver);
        }
    }

    pub(super) fn send(&self, settled: Settlement, receiver: InstanceId) {
        let Some(tier) = self.0.tiers.of(&settled.tier) else { return };
        if receiver == self.0.instance {
            return self.0.kept.settle(&settled, Rates::of(tier), self.when());
        }
        // One that is lost is made up for when nothing of the caller runs any more.
        let _ = self.0.outbox.try_send((receiver, Message::Settle(settled).encode()));
    }
}

/// What goes on beside requests.
impl Limits {
    /// Answers the other instances, until the log is closed.
    pub(crate) async fn answer(self) {
        let peers = self.0.peers.clone();
        peers
            .answer(TOPIC, |message| {
                let limits = self.clone();
                async move { limits.take_message(&message).await }
            })
            .await;
    }

    async fn take_message(&self, message: &Bytes) -> Option<Vec<u8>> {
        match serde_json::from_slice(message).ok()? {
            Message::Ask(ask) => {
                let rates = Rates::of(self.0.tiers.of(&ask.tier)?);
                let answer = self.decide(&self.0.kept, &ask, rates).await;
                Some(serde_json::to_vec(&answer).expect("plain data"))
            }
            Message::Settle(settled) => {
                let rates = Rates::of(self.0.tiers.of(&settled.tier)?);
                self.0.kept.settle(&settled, rates, self.when());
                None
            }
        }
    }

    /// Writes what no record tells of, and tells whoever keeps an account from now on what runs here. Until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let looking = async {
            let mut living = self.0.peers.count();
            let mut deaths = self.0.peers.deaths();
            while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
                self.0.kept.tidy(self.0.begun.elapsed());
                self.0.shares.tidy(self.0.begun.elapsed());
                let died = deaths.as_mut().is_some_and(|deaths| deaths.has_changed().unwrap_or(false));
                if died || self.0.peers.count() != living {
                    living = self.0.peers.count();
                    if let Some(deaths) = &mut deaths {
                        deaths.mark_unchanged();
                    }
                    self.0.kept.forget_dead(|instance| self.0.peers.life(instance) == Life::Dead);
                    self.tell_what_runs();
                }
            }
        };
        let telling = stop.run_until_cancelled(self.tell());
        tokio::join!(looking, telling, self.0.ledger.write_until(&self.0.store, &stop));
    }

    async fn tell(&self) {
        let told_by = self.0.told_by.lock().take();
        let Some(mut told_by) = told_by else { return };
        while let Some((receiver, message)) = told_by.recv().await {
            self.0.peers.tell(TOPIC, receiver, message).await;
        }
    }

    fn tell_what_runs(&self) {
        for (owner, tier) in self.0.open.owners() {
            let (version, running) = self.0.open.count(&owner);
            let told = Settlement {
                owner,
                tier,
                instance: self.0.instance,
                version,
                running,
                reserved: 0,
                used: 0,
                of_day: 0,
                returns_request: false,
                is_of_receiver: false,
            };
            let keeper = self.0.peers.keeper(told.owner.as_str());
            self.send(told, keeper);
        }
    }
}
