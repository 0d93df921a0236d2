//! How much callers may use, by tier: requests, tokens, replies at once. Asked before anything is accepted.
//!
//! - **Reserved, then settled.** What a reply may take is taken at once, and what it did not take is given back at its end.
//!   So fifty calls at once get no more than one after the other would.
//! - **One keeper.** A caller's [account] is kept by one instance, the same one for whoever asks (rendezvous
//!   hashing over those that live). One that does not answer at once is not waited for: then each has its share.
//! - **Days** are in the store, by the projection and for what no record tells of by the [ledger]. Whoever begins to
//!   keep an account reads there, and in the log's tail, what was used today.
//!
//! It knows no HTTP and no request: who asks, and how many tokens it may take.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use crate::config::{DEFAULT_TIER, Tiers};
use crate::domain::caller::{Caller, Owner};
use crate::domain::ids::InstanceId;
use crate::domain::usage::{DailyUsage, Day};
use crate::log::{Log, Peers};
use crate::store::Store;
use crate::telemetry::seldom::Seldom;
use crate::telemetry::{AUDIT, Metrics};

mod account;
mod book;
mod bucket;
mod ledger;
mod message;
mod open;
mod reservation;
mod spent;
mod together;

pub(crate) use message::{Level, Limit, Standing};
pub(crate) use reservation::Reservation;

use account::When;
use book::Book;
use ledger::Ledger;
use message::{Ask, Settlement};
use open::Open;
use spent::Spent;

/// Tokens that are reserved for an output of which neither request nor tier tells how long it may be.
const OUTPUT: u64 = 4096;

/// How often replies at once are counted before one is refused for them, and the pause between.
const TRIES: u32 = 4;
const SETTLES: Duration = Duration::from_millis(20);

/// Messages that wait to be sent.
const OUTBOX: usize = 16_384;

/// Limits that were reached of which lines tell in a second.
const TOLD: u32 = 20;

/// The limits of callers. A handle: cheap to clone.
#[derive(Clone)]
pub(crate) struct Limits(Arc<Inner>);

struct Inner {
    tiers: Tiers,
    instance: InstanceId,
    peers: Peers,
    store: Store,
    spent: Spent,
    ledger: Ledger,
    /// Accounts that are kept here.
    kept: Book,
    /// What falls to this instance of those that others keep and do not answer for.
    shares: Book,
    /// What runs here.
    open: Open,
    /// What is to be told to others.
    outbox: mpsc::Sender<Told>,
    told_by: parking_lot::Mutex<Option<mpsc::Receiver<Told>>>,
    /// When store and log were last asked in vain.
    failed: parking_lot::Mutex<Option<Instant>>,
    metrics: Arc<Metrics>,
    told: Seldom,
    begun: Instant,
}

/// A message, and for whom it is.
type Told = (InstanceId, Vec<u8>);

/// A limit is reached. Nothing was taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the limit of {most} {} is reached", limit.as_str())]
pub(crate) struct Limited {
    /// Which.
    pub(crate) limit: Limit,
    /// How much it is.
    pub(crate) most: u64,
    /// Tokens that were asked for.
    pub(crate) tokens: u64,
    /// After which there is room. `None`: there never is, for so much at once.
    pub(crate) wait: Option<Duration>,
    /// What is left.
    pub(crate) standing: Standing,
}

/// More output is asked for than the tier allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong {
    /// The most that may be asked for.
    pub(crate) most: u64,
}

impl Limits {
    /// The limits of these tiers, on this instance among its peers.
    pub(crate) fn new(
        tiers: Tiers,
        (instance, peers): (InstanceId, Peers),
        (log, store): (Log, Store),
        metrics: Arc<Metrics>,
    ) -> Self {
        let (outbox, told_by) = mpsc::channel(OUTBOX);
        Self(Arc::new(Inner {
            tiers,
            instance,
            peers,
            spent: Spent::new(log, store.clone()),
            store,
            ledger: Ledger::default(),
            kept: Book::default(),
            shares: Book::default(),
            open: Open::default(),
            outbox,
            told_by: parking_lot::Mutex::new(Some(told_by)),
            failed: parking_lot::Mutex::default(),
            metrics,
            told: Seldom::new(TOLD, Duration::from_secs(1)),
            begun: Instant::now(),
        }))
    }

    /// The most output that a caller may ask for, and gets where it asks for none.
    pub(crate) fn max_output(&self, caller: &Caller, asked: Option<u64>) -> Result<Option<u64>, TooLong> {
        let most = self.0.tiers.of(caller.tier()).and_then(|tier| tier.max_output_tokens);
        match (most, asked) {
            (Some(most), Some(asked)) if asked > most => Err(TooLong { most }),
            (most, asked) => Ok(asked.or(most)),
        }
    }

    /// Takes what a request may use: the tokens of its input, and as many of output as it may have. What comes of it is told
    /// to the [`Reservation`].
    pub(crate) async fn reserve(
        &self,
        caller: &Caller,
        input: impl FnOnce() -> u64 + Send,
        output: Option<u64>,
    ) -> Result<Reservation, Limited> {
        let owner = caller.owner().clone();
        let Some(tier) = self.0.tiers.of(caller.tier()) else { return Ok(Reservation::unlimited(self.clone(), owner)) };
        let output = output.unwrap_or_else(|| OUTPUT.min(tier.tokens_per_minute.unwrap_or(OUTPUT) / 2));
        let input = input();
        let tokens = input.saturating_add(output);
        let mut reservation = Reservation::begin(self.clone(), owner, tier, input);
        let mut tries = 1;
        loop {
            match self.take(&mut reservation, tokens, true).await {
                Ok(()) => return Ok(reservation),
                // The client of a reply that has just ended may be here before its settlement is.
                Err(limited) if limited.limit == Limit::Replies && tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(SETTLES).await;
                }
                Err(limited) => {
                    self.note(caller, &limited);
                    return Err(limited);
                }
            }
        }
    }

    /// Has more tokens be taken for a reservation, or the first.
    async fn take(&self, reservation: &mut Reservation, tokens: u64, is_request: bool) -> Result<(), Limited> {
        let Some(tier) = reservation.tier().and_then(|name| self.0.tiers.of(name)) else { return Ok(()) };
        let (version, running) = self.0.open.count(reservation.owner());
        let ask = Ask {
            owner: reservation.owner().clone(),
            tier: tier.name.clone(),
            instance: self.0.instance,
            version,
            running,
            tokens,
            is_request,
        };
        let (answer, keeper) = self.ask(ask, tier).await;
        reservation.stands(answer.standing);
        let Some(refusal) = answer.refusal else {
            reservation.granted(tokens, keeper);
            return Ok(());
        };
        let (limit, most, wait) = (refusal.limit, refusal.most, refusal.wait);
        Err(Limited { limit, most, tokens, wait, standing: answer.standing })
    }

    /// Counts what was used by something that was granted on another instance, which is gone: for the day.
    pub(crate) fn charge(&self, owner: &Owner, used: u64) {
        if self.0.tiers.all().is_empty() {
            return;
        }
        let (version, running) = self.0.open.count(owner);
        let settled = Settlement {
            owner: owner.clone(),
            tier: DEFAULT_TIER.to_owned(),
            instance: self.0.instance,
            version,
            running,
            reserved: 0,
            used,
            of_day: used,
            returns_request: false,
            is_of_receiver: false,
        };
        self.send(settled, self.0.peers.keeper(owner.as_str()));
    }

    /// Notes what somebody used that no record tells of.
    pub(crate) fn note_unrecorded(&self, usage: DailyUsage) {
        self.0.ledger.add(usage);
    }

    /// Notes that somebody was refused. Never what they asked for.
    pub(crate) fn note(&self, caller: &Caller, limited: &Limited) {
        let limit = limited.limit;
        self.0.metrics.limit_reached(limit.label());
        if let Some(times) = self.0.told.happened(1) {
            let (owner, key, tier, suppressed) = (caller.owner(), caller.key(), caller.tier(), times - 1);
            tracing::warn!(target: AUDIT, %owner, key, tier, limit = limit.as_str(), suppressed, "limit reached");
        }
    }

    /// Callers of whom something runs here, or is asked for.
    #[cfg(feature = "simulation")]
    pub(crate) fn open(&self) -> usize {
        self.0.open.owners().len()
    }

    fn when(&self) -> When {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let left = Duration::from_secs(Day::seconds_left(seconds));
        When { now: self.0.begun.elapsed(), day: Day::of(seconds), left }
    }
}

#[cfg(test)]
mod tests;
