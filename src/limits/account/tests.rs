//! Accounts on given time.

use super::*;
use crate::domain::caller::Owner;

const SECOND: Duration = Duration::from_secs(1);

fn tier() -> Tier {
    Tier {
        name: "default".to_owned(),
        requests_per_minute: Some(60),
        burst: 5,
        tokens_per_minute: Some(1000),
        tokens_per_day: Some(3000),
        replies_at_once: Some(3),
        max_output_tokens: None,
    }
}

fn rates() -> Rates {
    Rates::of(&tier())
}

fn at(seconds: u64) -> When {
    let day = Day::of(seconds);
    When { now: Duration::from_secs(seconds), day, left: Duration::from_secs(Day::seconds_left(seconds)) }
}

fn ask(instance: u64, version: u64, running: u64, tokens: u64) -> Ask {
    let owner = Owner::new("acme", Some("alice"));
    let instance = InstanceId::from_number(instance);
    Ask { owner, tier: "default".to_owned(), instance, version, running, tokens, is_request: true }
}

fn settled(ask: &Ask, version: u64, running: u64, used: u64) -> Settlement {
    Settlement {
        owner: ask.owner.clone(),
        tier: ask.tier.clone(),
        instance: ask.instance,
        version,
        running,
        reserved: ask.tokens,
        used,
        of_day: used,
        returns_request: false,
        is_of_receiver: true,
    }
}

fn nobody_died(_: InstanceId) -> bool {
    false
}

fn refused(answer: Answer) -> Option<(Limit, Option<u64>)> {
    answer.refusal.map(|refusal| (refusal.limit, refusal.wait.map(|wait| wait.as_secs())))
}

#[test]
fn a_request_needs_room_under_every_limit_and_takes_nothing_if_one_is_reached() {
    let mut account = Account::new(at(0));
    let granted = account.decide(&ask(1, 1, 1, 600), rates(), at(0), nobody_died);
    assert_eq!(refused(granted), None);
    let Standing { requests, tokens } = granted.standing;
    assert_eq!(requests, Some(Level { limit: 60, remaining: 4, reset: SECOND }));
    assert_eq!(tokens, Some(Level { limit: 1000, remaining: 400, reset: SECOND * 36 }));
    let second = account.decide(&ask(1, 2, 2, 600), rates(), at(0), nobody_died);
    assert_eq!(refused(second), Some((Limit::Tokens, Some(12))));
    assert_eq!(second.standing, granted.standing, "nothing was taken");
    assert_eq!(refused(account.decide(&ask(1, 3, 2, 1001), rates(), at(0), nobody_died)), Some((Limit::Tokens, None)));
    for version in 4..8 {
        let running = account.decide(&ask(1, version, 1, 1), rates(), at(0), nobody_died);
        assert_eq!(refused(running), None);
    }
    assert_eq!(
        refused(account.decide(&ask(1, 9, 1, 1), rates(), at(0), nobody_died)),
        Some((Limit::Requests, Some(1)))
    );
}

#[test]
fn replies_are_counted_over_all_instances_and_the_dead_do_not_count() {
    let mut account = Account::new(at(0));
    let one = |account: &mut Account, instance, version, running, dead: Option<u64>| {
        let is_dead = |instance: InstanceId| Some(instance.number()) == dead;
        refused(account.decide(&ask(instance, version, running, 0), rates(), at(version), is_dead))
    };
    assert_eq!(one(&mut account, 1, 1, 1, None), None);
    assert_eq!(one(&mut account, 1, 2, 2, None), None);
    assert_eq!(one(&mut account, 2, 3, 1, None), None);
    assert_eq!(one(&mut account, 2, 4, 2, None), Some((Limit::Replies, Some(1))));
    assert_eq!(one(&mut account, 2, 5, 2, Some(1)), None, "instance 1 is dead");
    // Another keeps the account now, and learns what runs as it is told.
    let mut other = Account::new(at(10));
    other.settle(&Settlement { is_of_receiver: false, ..settled(&ask(2, 11, 0, 0), 11, 3, 0) }, rates(), at(10));
    assert_eq!(one(&mut other, 3, 12, 1, None), Some((Limit::Replies, Some(1))));
}

#[test]
fn a_message_that_comes_late_does_not_count_what_runs() {
    let mut account = Account::new(at(0));
    let first = ask(1, 1, 1, 10);
    account.settle(&settled(&first, 5, 0, 10), rates(), at(0));
    account.note_running(InstanceId::from_number(1), 9, 3);
    account.settle(&settled(&first, 8, 1, 0), rates(), at(0));
    assert_eq!(refused(account.decide(&ask(2, 1, 1, 0), rates(), at(0), nobody_died)), Some((Limit::Replies, Some(1))));
}

#[test]
fn what_was_reserved_is_given_back_as_far_as_it_was_not_used() {
    let mut account = Account::new(at(0));
    let first = ask(1, 1, 1, 900);
    assert_eq!(refused(account.decide(&first, rates(), at(0), nobody_died)), None);
    account.settle(&settled(&first, 2, 0, 100), rates(), at(0));
    let second = ask(1, 3, 1, 900);
    let granted = account.decide(&second, rates(), at(0), nobody_died);
    assert_eq!((refused(granted), granted.standing.tokens.map(|level| level.remaining)), (None, Some(0)));
    // One that was not even begun costs nothing at all.
    let unused = Settlement { returns_request: true, ..settled(&second, 4, 0, 0) };
    account.settle(&unused, rates(), at(0));
    let third = account.decide(&ask(1, 5, 1, 0), rates(), at(0), nobody_died);
    assert_eq!(third.standing.requests.map(|level| level.remaining), Some(3));
    assert_eq!(third.standing.tokens.map(|level| level.remaining), Some(900));
}

#[test]
fn what_another_granted_changes_no_bucket_but_counts_for_the_day() {
    let mut account = Account::new(at(0));
    let elsewhere = Settlement { is_of_receiver: false, ..settled(&ask(1, 1, 1, 900), 2, 0, 2900) };
    account.settle(&elsewhere, rates(), at(0));
    let answer = account.decide(&ask(1, 3, 1, 101), rates(), at(0), nobody_died);
    assert_eq!(refused(answer), Some((Limit::TokensPerDay, Some(24 * 60 * 60))));
    assert_eq!(answer.standing.tokens.map(|level| level.remaining), Some(1000));
}

#[test]
fn the_tokens_of_a_day_are_known_from_before_and_begin_anew_at_midnight() {
    const MIDNIGHT: u64 = 24 * 60 * 60;
    let mut account = Account::new(at(MIDNIGHT - 100));
    assert!(!account.knows_day(at(MIDNIGHT - 100).day));
    account.learn_day(Day::of(0), 2500);
    account.learn_day(Day::of(0), 2500);
    assert!(account.knows_day(Day::of(0)));
    let when = at(MIDNIGHT - 60);
    assert_eq!(
        refused(account.decide(&ask(1, 1, 1, 501), rates(), when, nobody_died)),
        Some((Limit::TokensPerDay, Some(60)))
    );
    assert_eq!(refused(account.decide(&ask(1, 2, 1, 500), rates(), when, nobody_died)), None);
    assert_eq!(
        refused(account.decide(&ask(1, 3, 2, 1), rates(), when, nobody_died)),
        Some((Limit::TokensPerDay, Some(60)))
    );
    assert_eq!(refused(account.decide(&ask(1, 4, 2, 1), rates(), at(MIDNIGHT), nobody_died)), None);
    assert!(account.knows_day(at(MIDNIGHT).day));
}

#[test]
fn tiers_of_one_caller_have_buckets_of_their_own_and_one_day() {
    let mut account = Account::new(at(0));
    assert_eq!(refused(account.decide(&ask(1, 1, 1, 1000), rates(), at(0), nobody_died)), None);
    let gold = Ask { tier: "gold".to_owned(), ..ask(1, 2, 2, 1000) };
    assert_eq!(refused(account.decide(&gold, rates(), at(0), nobody_died)), None);
    let more = Ask { tier: "platinum".to_owned(), ..ask(1, 3, 3, 1001) };
    assert_eq!(
        refused(account.decide(&more, rates(), at(0), nobody_died)),
        Some((Limit::TokensPerDay, Some(24 * 60 * 60)))
    );
}

#[test]
fn a_share_is_a_part_of_what_flows_and_of_what_runs_and_never_nothing() {
    let shared = rates().shared(3);
    assert_eq!(shared.requests, Some(Rate { per_minute: 20, capacity: 1 }));
    assert_eq!(shared.tokens, Some(Rate::minute(333)));
    assert_eq!((shared.tokens_per_day, shared.replies_at_once), (Some(3000), Some(1)));
    assert_eq!(rates().shared(1000).requests, Some(Rate { per_minute: 1, capacity: 1 }));
}

#[test]
fn an_account_is_idle_when_nobody_came_for_long_and_nothing_runs() {
    let mut account = Account::new(at(0));
    let first = ask(1, 1, 1, 10);
    account.decide(&first, rates(), at(0), nobody_died);
    assert!(!account.is_idle(SECOND * 7000, SECOND * 600));
    account.settle(&settled(&first, 2, 0, 10), rates(), at(1));
    assert!(!account.is_idle(SECOND * 600, SECOND * 600) && account.is_idle(SECOND * 601, SECOND * 600));
}
