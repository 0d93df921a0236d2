//! What one caller has used of its limits, as the one instance knows that keeps it. Pure: time, day and who lives are given.

use std::collections::HashMap;
use std::time::Duration;

use super::bucket::{Bucket, Rate, Short};
use super::message::{Answer, Ask, Level, Limit, Refusal, Settlement, Standing};
use crate::config::Tier;
use crate::domain::ids::InstanceId;
use crate::domain::usage::Day;

/// When to come again where nobody can tell: a reply has to end first.
const AGAIN: Duration = Duration::from_secs(1);

/// The limits of a tier that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rates {
    requests: Option<Rate>,
    tokens: Option<Rate>,
    tokens_per_day: Option<u64>,
    replies_at_once: Option<u64>,
}

/// When something is decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    /// Since some beginning; never goes back.
    pub(super) now: Duration,
    /// The day of UTC.
    pub(super) day: Day,
    /// How long it still takes.
    pub(super) left: Duration,
}

/// A caller, in all tiers that it comes in.
#[derive(Debug)]
pub(super) struct Account {
    tiers: Vec<(String, Buckets)>,
    today: Today,
    /// Replies that run, by instance.
    running: HashMap<u64, Running>,
    /// When it was last asked or told of.
    touched: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Buckets {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

/// Tokens of a day.
#[derive(Debug, Clone, Copy)]
struct Today {
    day: Day,
    used: u64,
    /// For replies that run.
    reserved: u64,
    /// What was used before this was kept here is in `used`.
    is_known: bool,
}

/// How many replies run on an instance, as it says itself.
#[derive(Debug, Clone, Copy)]
struct Running {
    /// Grows with each message: an older one that comes later does not count.
    version: u64,
    count: u64,
}

impl Rates {
    pub(super) fn of(tier: &Tier) -> Self {
        Self {
            requests: tier.requests_per_minute.map(|per_minute| Rate { per_minute, capacity: tier.burst }),
            tokens: tier.tokens_per_minute.map(Rate::minute),
            tokens_per_day: tier.tokens_per_day,
            replies_at_once: tier.replies_at_once,
        }
    }

    /// What falls to one instance among so many. A day's tokens do not: what was used of them is known everywhere.
    pub(super) fn shared(self, among: u64) -> Self {
        Self {
            requests: self.requests.map(|rate| rate.shared(among)),
            tokens: self.tokens.map(|rate| rate.shared(among)),
            tokens_per_day: self.tokens_per_day,
            replies_at_once: self.replies_at_once.map(|replies| (replies / among.max(1)).max(1)),
        }
    }

    /// Whether what was used before has to be known.
    pub(super) const fn counts_days(self) -> bool {
        self.tokens_per_day.is_some()
    }
}

impl Account {
    /// Of a caller of whom nothing is known.
    pub(super) fn new(when: When) -> Self {
        let today = Today { day: when.day, used: 0, reserved: 0, is_known: false };
        Self { tiers: Vec::new(), today, running: HashMap::new(), touched: when.now }
    }

    /// Whether it is known what was used today before it was kept here.
    pub(super) fn knows_day(&self, day: Day) -> bool {
        // A day that begins while it is kept begins with nothing.
        self.today.is_known || self.today.day < day
    }

    /// So much was used of this day before, as the store and the log tell.
    pub(super) fn learn_day(&mut self, day: Day, used: u64) {
        if self.today.day == day && !self.today.is_known {
            self.today.used = self.today.used.saturating_add(used);
            self.today.is_known = true;
        }
    }

    /// Whether nothing would be lost if it were forgotten: nobody came for so long, and nothing runs.
    pub(super) fn is_idle(&self, now: Duration, after: Duration) -> bool {
        now.saturating_sub(self.touched) >= after && self.running.values().all(|running| running.count == 0)
    }

    /// Forgets what ran on instances that died: it runs on others now, or not at all.
    pub(super) fn forget_dead(&mut self, is_dead: impl Fn(InstanceId) -> bool) {
        self.running.retain(|number, running| running.count > 0 && !is_dead(InstanceId::from_number(*number)));
        if self.running.is_empty() {
            // Also where a settlement was lost.
            self.today.reserved = 0;
        }
    }

    /// Grants what is asked for, all of it or nothing.
    pub(super) fn decide(
        &mut self,
        ask: &Ask,
        rates: Rates,
        when: When,
        is_dead: impl Fn(InstanceId) -> bool,
    ) -> Answer {
        self.begin(when);
        let refusal = self.refusal(ask, rates, when, is_dead);
        let running = if refusal.is_some() && ask.is_request { ask.running.saturating_sub(1) } else { ask.running };
        self.note_running(ask.instance, ask.version, running);
        let buckets = self.buckets(&ask.tier, rates, when);
        if refusal.is_none() {
            if let Some((rate, bucket)) = rates.requests.zip(buckets.requests.as_mut()).filter(|_| ask.is_request) {
                bucket.take(rate, 1, when.now);
            }
            if let Some((rate, bucket)) = rates.tokens.zip(buckets.tokens.as_mut()) {
                bucket.take(rate, ask.tokens, when.now);
            }
            self.today.reserved = self.today.reserved.saturating_add(ask.tokens);
        }
        Answer { refusal, standing: self.standing(&ask.tier, rates, when) }
    }

    fn refusal(
        &mut self,
        ask: &Ask,
        rates: Rates,
        when: When,
        is_dead: impl Fn(InstanceId) -> bool,
    ) -> Option<Refusal> {
        if ask.is_request
            && let Some(most) = rates.replies_at_once
            && self.running_with(ask) > most
        {
            self.forget_dead(is_dead);
            if self.running_with(ask) > most {
                return Some(Refusal { limit: Limit::Replies, most, wait: Some(AGAIN) });
            }
        }
        let day = self.today.used.saturating_add(self.today.reserved);
        let buckets = self.buckets(&ask.tier, rates, when);
        let short = |limit, most, short| {
            let wait = match short {
                Short::For(wait) => Some(wait),
                Short::Forever => None,
            };
            Refusal { limit, most, wait }
        };
        if ask.is_request
            && let Some((rate, bucket)) = rates.requests.zip(buckets.requests.as_mut())
            && let Err(missing) = bucket.has(rate, 1, when.now)
        {
            return Some(short(Limit::Requests, rate.per_minute, missing));
        }
        if let Some(most) = rates.tokens_per_day
            && day.saturating_add(ask.tokens) > most
        {
            let wait = (ask.tokens <= most).then_some(when.left);
            return Some(Refusal { limit: Limit::TokensPerDay, most, wait });
        }
        if let Some((rate, bucket)) = rates.tokens.zip(buckets.tokens.as_mut())
            && let Err(missing) = bucket.has(rate, ask.tokens, when.now)
        {
            return Some(short(Limit::Tokens, rate.per_minute, missing));
        }
        None
    }

    /// Takes in what came of something that was granted.
    pub(super) fn settle(&mut self, settled: &Settlement, rates: Rates, when: When) {
        self.begin(when);
        self.note_running(settled.instance, settled.version, settled.running);
        self.today.used = self.today.used.saturating_add(settled.of_day);
        if settled.is_of_receiver {
            self.today.reserved = self.today.reserved.saturating_sub(settled.reserved);
            let buckets = self.buckets(&settled.tier, rates, when);
            if let Some((rate, bucket)) = rates.tokens.zip(buckets.tokens.as_mut()) {
                match settled.used.checked_sub(settled.reserved) {
                    Some(more) => bucket.take(rate, more, when.now),
                    None => bucket.give_back(rate, settled.reserved - settled.used, when.now),
                }
            }
            if let Some((rate, bucket)) =
                rates.requests.zip(buckets.requests.as_mut()).filter(|_| settled.returns_request)
            {
                bucket.give_back(rate, 1, when.now);
            }
        }
        self.forget_dead(|_| false);
    }

    fn begin(&mut self, when: When) {
        self.touched = when.now;
        if self.today.day < when.day {
            self.today = Today { day: when.day, used: 0, reserved: 0, is_known: true };
        }
    }

    fn note_running(&mut self, instance: InstanceId, version: u64, count: u64) {
        let known = self.running.entry(instance.number()).or_insert(Running { version, count });
        if known.version <= version {
            *known = Running { version, count };
        }
    }

    /// How many would run with what is asked for.
    fn running_with(&self, ask: &Ask) -> u64 {
        let others = self.running.iter().filter(|(number, _)| **number != ask.instance.number());
        others.map(|(_, running)| running.count).sum::<u64>() + ask.running
    }

    fn buckets(&mut self, tier: &str, rates: Rates, when: When) -> &mut Buckets {
        let place = self.tiers.iter().position(|(name, _)| name == tier).unwrap_or_else(|| {
            let full = |rate: Option<Rate>| rate.map(|rate| Bucket::full(rate, when.now));
            let buckets = Buckets { requests: full(rates.requests), tokens: full(rates.tokens) };
            self.tiers.push((tier.to_owned(), buckets));
            self.tiers.len() - 1
        });
        &mut self.tiers[place].1
    }

    fn standing(&mut self, tier: &str, rates: Rates, when: When) -> Standing {
        let today = self.today.used.saturating_add(self.today.reserved);
        let buckets = self.buckets(tier, rates, when);
        let level = |(rate, bucket): (Rate, &mut Bucket)| Level {
            limit: rate.per_minute,
            remaining: bucket.left(rate, when.now),
            reset: bucket.full_in(rate, when.now),
        };
        let of_day = |limit: u64| Level { limit, remaining: limit.saturating_sub(today), reset: when.left };
        let requests = rates.requests.zip(buckets.requests.as_mut()).map(level);
        let tokens = rates.tokens.zip(buckets.tokens.as_mut()).map(level);
        Standing { requests, tokens: tokens.or(rates.tokens_per_day.map(of_day)) }
    }
}

#[cfg(test)]
mod tests;
