//! How long takeovers took, as clients elsewhere saw them. Pure.
//!
//! From the moment at which an instance was killed or frozen while it generated a reply, to the moment at which a
//! follower that was on another instance all the time got the next event, which came of the model's next call. The
//! model's own time from that call to its first token is not counted.
//!
//! Of that, the time is shown separately in which no server could have continued: NATS was away, or every instance was
//! down or frozen. How long instances and NATS take to come up is theirs. Takeovers are separate, too, whose new owner was
//! killed, frozen or ended before its first event was seen: its loss is a takeover of its own.

use std::time::{Duration, Instant};

use super::checker::Seen;
use super::plan::Act;
use super::upstream::Call;

/// What began a takeover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Killed,
    Frozen,
}

/// How long a takeover took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Took {
    pub(super) whole: Duration,
    /// Without the time in which no server could continue.
    pub(super) possible: Duration,
    /// The new owner was lost, too.
    pub(super) was_lost_again: bool,
}

/// One reply's takeovers, where there are so many instances.
pub(super) fn of(
    acts: &[(Instant, Act)],
    instances: usize,
    calls: &[Call],
    followers: &[&[Seen]],
) -> Vec<(Cause, Took)> {
    let takeover = |(at, act): &(Instant, Act)| {
        let (cause, instance) = match act {
            Act::Kill(instance) => (Cause::Killed, *instance),
            Act::Freeze(instance) => (Cause::Frozen, *instance),
            _ => return None,
        };
        let runs = |call: &&Call| call.begun < *at && call.over.is_none_or(|over| over >= *at);
        calls.iter().rfind(|call| call.begun < *at).filter(runs).filter(|call| call.instance == instance)?;
        let next = calls.iter().position(|call| call.begun >= *at)?;
        if calls[next].instance == instance {
            return None;
        }
        // One that thawed before it was missed was not replaced, whatever befell it later.
        let thawed =
            |(when, other): &(Instant, Act)| (*at..calls[next].begun).contains(when) && *other == Act::Thaw(instance);
        if cause == Cause::Frozen && acts.iter().any(thawed) {
            return None;
        }
        // A model that refuses at first is not the servers' delay either.
        let first_token = calls[next..].iter().find_map(|call| call.first_token)?;
        let elsewhere = |pair: &&[Seen]| {
            let stayed = pair[0].instance == pair[1].instance && pair[0].at < first_token;
            stayed && pair[1].instance != instance && pair[1].at >= first_token
        };
        let heard = followers.iter().filter_map(|seen| seen.windows(2).find(elsewhere)).map(|pair| pair[1].at).min()?;
        let whole = (calls[next].begun - *at) + (heard - first_token);
        let waits = [(*at, calls[next].begun), (first_token, heard)];
        let lost = waits.map(|(from, until)| impossible(acts, instances, from, until));
        let possible = whole.saturating_sub(lost.iter().sum());
        let owner = calls[next].instance;
        let loses_owner = |(when, act): &(Instant, Act)| {
            (calls[next].begun..heard).contains(when)
                && matches!(act, Act::Kill(lost) | Act::Freeze(lost) | Act::Terminate(lost) if *lost == owner)
        };
        Some((cause, Took { whole, possible, was_lost_again: acts.iter().any(loses_owner) }))
    };
    acts.iter().filter_map(takeover).collect()
}

/// For how long, of this time, no server could continue any reply.
fn impossible(acts: &[(Instant, Act)], instances: usize, from: Instant, until: Instant) -> Duration {
    let (mut up, mut nats) = (vec![true; instances], true);
    let mut lost = Duration::ZERO;
    let mut since = from;
    for (at, act) in acts.iter().filter(|(at, _)| *at < until) {
        if !nats || !up.contains(&true) {
            lost += at.saturating_duration_since(since);
        }
        since = since.max(*at);
        match *act {
            Act::Kill(instance) | Act::Terminate(instance) | Act::Freeze(instance) => up[instance] = false,
            Act::Start(instance) | Act::Thaw(instance) => up[instance] = true,
            Act::KillNats => nats = false,
            Act::StartNats => nats = true,
            Act::StopPostgres | Act::StartPostgres => {}
        }
    }
    if nats && up.contains(&true) { lost } else { lost + (until - since) }
}

/// The value below which this part of them lies.
pub(super) fn quantile(sorted: &[Duration], part: f64) -> Option<Duration> {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few")]
    let at = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn seen(instance: usize, at: Instant) -> Seen {
        Seen { at, ..Seen::new(b"{}", instance) }
    }

    #[test]
    fn a_takeover_is_timed_without_what_the_model_takes() {
        let start = Instant::now();
        let at = |millis: u32| start + millis * MS;
        let call = |instance, begun, first, over: Option<u32>| Call {
            instance,
            begun: at(begun),
            first_token: Some(at(first)),
            over: over.map(at),
        };
        // Killed at 1000; called again at 1800; the model thinks until 2800; a follower hears it at 2810.
        let calls = [call(0, 0, 10, Some(1000)), call(1, 1800, 2800, None)];
        let followers = [vec![seen(1, at(990)), seen(1, at(2810))], vec![seen(0, at(900)), seen(2, at(2805))]];
        let followers = followers.each_ref().map(Vec::as_slice);
        let of = |act, calls: &[Call]| super::of(&[(at(1000), act)], 3, calls, &followers);
        let took = Took { whole: 810 * MS, possible: 810 * MS, was_lost_again: false };
        assert_eq!(of(Act::Kill(0), &calls), [(Cause::Killed, took)]);
        assert_eq!(of(Act::Freeze(0), &calls), [(Cause::Frozen, took)]);
        assert_eq!(of(Act::Kill(1), &calls), [], "another instance generated it");
        let acts = [(at(1000), Act::Freeze(0)), (at(1500), Act::Thaw(0))];
        assert_eq!(super::of(&acts, 3, &calls, &followers), [], "it thawed in time");
        let over = [call(0, 0, 10, Some(500)), call(1, 1800, 2800, None)];
        assert_eq!(of(Act::Kill(0), &over), [], "it was not being generated");
        let acts = [(at(1000), Act::Kill(0)), (at(2801), Act::Freeze(1))];
        let lost = Took { was_lost_again: true, ..took };
        assert_eq!(super::of(&acts, 3, &calls, &followers)[0], (Cause::Killed, lost));
    }

    #[test]
    fn the_time_in_which_no_server_could_continue_is_separate() {
        let start = Instant::now();
        let at = |millis: u32| start + millis * MS;
        let call = |instance, begun, over: Option<u32>| Call {
            instance,
            begun: at(begun),
            first_token: Some(at(begun)),
            over: over.map(at),
        };
        let calls = [call(0, 0, Some(1000)), call(2, 9000, None)];
        let seen = [seen(1, at(990)), seen(1, at(9310))];
        let acts = [
            (at(100), Act::KillNats),
            (at(200), Act::StartNats),
            (at(1000), Act::Kill(0)),
            (at(1500), Act::KillNats),
            (at(2500), Act::StartNats),
            (at(3000), Act::Freeze(1)),
            (at(3100), Act::StopPostgres),
            (at(4000), Act::Terminate(2)),
            // Nobody is left.
            (at(5000), Act::KillNats),
            (at(6000), Act::Start(2)),
            (at(7000), Act::StartNats),
            (at(7500), Act::Thaw(1)),
            // Until a follower hears the next call, too.
            (at(9100), Act::KillNats),
            (at(9200), Act::StartNats),
        ];
        let took = Took { whole: 8310 * MS, possible: 4210 * MS, was_lost_again: false };
        assert_eq!(super::of(&acts, 3, &calls, &[&seen]), [(Cause::Killed, took)]);
    }

    #[test]
    fn quantiles_are_of_what_there_is() {
        let sorted: Vec<_> = (1..=10).map(|number| number * MS).collect();
        assert_eq!(quantile(&sorted, 0.5), Some(5 * MS));
        assert_eq!(quantile(&sorted, 0.99), Some(10 * MS));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
