use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A breaker that was opened by failures in a row.
fn opened(now: Instant) -> Breaker {
    let mut breaker = Breaker::new(now);
    for _ in 0..IN_A_ROW {
        breaker.failed(false, now);
    }
    assert_eq!(breaker.phase(), Phase::Open);
    breaker
}

#[test]
fn failures_in_a_row_open_it_and_no_fewer() {
    let now = Instant::now();
    let mut breaker = Breaker::new(now);
    for _ in 1..IN_A_ROW {
        assert_eq!(breaker.failed(false, now), None);
    }
    assert_eq!(breaker.spoke(now), None, "it was closed");
    for _ in 1..IN_A_ROW {
        assert_eq!(breaker.failed(false, now), None);
    }
    assert_eq!(breaker.failed(false, now), Some(Change::Opened(Why::InARow(IN_A_ROW))));
    assert_eq!(breaker.admits(now), Admits::No);
}

#[test]
fn a_share_of_failures_opens_it_within_a_minute_and_not_over_longer() {
    let start = Instant::now();
    for (gap, opens) in [(SECOND, true), (SECOND * 20, false)] {
        let (mut breaker, mut now) = (Breaker::new(start), start);
        let changes = (0..30).filter_map(|call| {
            now += gap;
            if call % 2 == 0 { breaker.succeeded(now, now) } else { breaker.failed(false, now) }
        });
        let opened = changes.into_iter().next();
        assert_eq!(opened, opens.then_some(Change::Opened(Why::Share { failed: 5, of: 10 })), "{gap:?}");
    }
}

#[test]
fn one_request_tries_it_and_its_success_closes_it() {
    let start = Instant::now();
    let mut breaker = opened(start);
    assert_eq!(breaker.goes(start), (false, None), "too soon");
    let now = start + FIRST_PAUSE;
    assert_eq!(breaker.goes(now), (true, Some(Change::HalfOpened)));
    assert_eq!(breaker.admits(now), Admits::No, "one is enough");
    assert_eq!(breaker.spoke(start), None, "begun before it opened … or at once with it");
    assert_eq!(breaker.spoke(now), Some(Change::Closed));
    assert_eq!(breaker.admits(now), Admits::Yes);
}

#[test]
fn a_trial_that_fails_opens_it_for_longer_up_to_a_bound() {
    let start = Instant::now();
    let (mut breaker, mut now) = (opened(start), start);
    for pause in [FIRST_PAUSE, FIRST_PAUSE * 2, LONGEST_PAUSE, LONGEST_PAUSE] {
        assert_eq!(breaker.admits(now + pause - Duration::from_millis(1)), Admits::No);
        now += pause;
        assert!(breaker.goes(now).0);
        assert_eq!(breaker.failed(false, now), None, "not the one that tries it");
        assert_eq!(breaker.failed(true, now), Some(Change::Opened(Why::Trial)));
    }
}

#[test]
fn a_trial_that_says_nothing_leaves_the_trial_to_another() {
    let start = Instant::now();
    let mut breaker = opened(start);
    assert!(breaker.goes(start + FIRST_PAUSE).0);
    breaker.trial_dropped();
    assert_eq!(breaker.admits(start + FIRST_PAUSE), Admits::Trial);
}

#[test]
fn a_check_that_fails_opens_it_at_once_and_one_that_succeeds_has_it_tried() {
    let now = Instant::now();
    let mut breaker = Breaker::new(now);
    assert_eq!(breaker.check_failed(now), Some(Change::Opened(Why::Check)));
    assert!(breaker.is_away());
    assert_eq!(breaker.admits(now + LONGEST_PAUSE), Admits::No, "checks tell when it is back");
    assert_eq!(breaker.check_failed(now), None, "it was open");
    assert_eq!(breaker.check_succeeded(now + SECOND), Some(Change::HalfOpened));
    assert_eq!(breaker.admits(now + SECOND), Admits::Trial);
    assert_eq!(breaker.check_succeeded(now + SECOND), None);
}

#[test]
fn a_check_does_not_overrule_what_requests_have_found() {
    let now = Instant::now();
    let mut breaker = opened(now);
    assert_eq!(breaker.check_succeeded(now + SECOND), None);
    assert_eq!(breaker.check_succeeded(now + FIRST_PAUSE), Some(Change::HalfOpened));
}

#[test]
fn a_check_that_is_wrong_does_not_keep_it_open_for_ever() {
    let now = Instant::now();
    let mut breaker = opened(now);
    breaker.check_failed(now);
    for seconds in 1..60 {
        breaker.check_failed(now + SECOND * seconds);
    }
    assert_eq!(breaker.admits(now + LONGEST_DOUBT), Admits::Trial);
}

#[test]
fn a_request_that_goes_because_there_is_nobody_else_closes_it_when_it_goes_well() {
    let start = Instant::now();
    let mut breaker = opened(start);
    let begun = start + Duration::from_millis(1);
    assert_eq!(breaker.goes(begun), (false, None));
    assert_eq!(breaker.spoke(begun), Some(Change::Closed));
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Wait(u64),
    Go,
    Speak,
    Succeed,
    Fail,
    Drop,
    Check(bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        (0u64..20_000).prop_map(Act::Wait),
        Just(Act::Go),
        Just(Act::Go),
        Just(Act::Speak),
        Just(Act::Succeed),
        Just(Act::Fail),
        Just(Act::Fail),
        Just(Act::Drop),
        any::<bool>().prop_map(Act::Check),
    ];
    prop::collection::vec(act, 0..200)
}

proptest! {
    /// Whatever happens: one trial at a time, changes that follow one another, and never shut for good.
    #[test]
    fn it_never_gets_stuck(acts in acts()) {
        let mut now = Instant::now();
        let mut breaker = Breaker::new(now);
        let mut calls: Vec<(Instant, bool)> = Vec::new();
        for act in acts {
            let before = breaker.phase();
            let change = match act {
                Act::Wait(millis) => { now += Duration::from_millis(millis); None }
                Act::Go => {
                    let (trial, change) = breaker.goes(now);
                    calls.push((now, trial));
                    change
                }
                Act::Speak => calls.first().and_then(|(begun, _)| breaker.spoke(*begun)),
                Act::Succeed if !calls.is_empty() => breaker.succeeded(calls.remove(0).0, now),
                Act::Fail if !calls.is_empty() => breaker.failed(calls.remove(0).1, now),
                Act::Drop if !calls.is_empty() => {
                    if calls.remove(0).1 { breaker.trial_dropped(); }
                    None
                }
                Act::Check(true) => breaker.check_succeeded(now),
                Act::Check(false) => breaker.check_failed(now),
                Act::Succeed | Act::Fail | Act::Drop => None,
            };
            let after = match change {
                None => before,
                Some(Change::Opened(_)) => Phase::Open,
                Some(Change::HalfOpened) => Phase::HalfOpen,
                Some(Change::Closed) => Phase::Closed,
            };
            prop_assert_eq!(breaker.phase(), after, "what changes is told");
            prop_assert!(change.is_none() || before != after, "what is told has changed");
        }
        // Every call ends: then a request gets through after a while, and its success closes it.
        for (_, trial) in calls {
            if trial { breaker.trial_dropped(); }
        }
        now += LONGEST_DOUBT;
        prop_assert_ne!(breaker.admits(now), Admits::No);
        breaker.goes(now);
        breaker.spoke(now);
        prop_assert_eq!(breaker.admits(now), Admits::Yes);
    }
}
