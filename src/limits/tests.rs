//! Limits on one instance, with a real log and a real store.

use tempfile::TempDir;

use super::*;
use crate::config::Tier;
use crate::domain::caller::Scopes;
use crate::domain::usage::Used;
use crate::log::{Embedded, embedded};
use crate::store::{Config, Tables};

fn tier(name: &str) -> Tier {
    Tier {
        name: name.to_owned(),
        requests_per_minute: Some(60_000_000),
        burst: 1_000_000,
        tokens_per_minute: Some(1_000_000_000_000),
        tokens_per_day: None,
        replies_at_once: Some(100),
        max_output_tokens: Some(1000),
    }
}

async fn limits(tier: Tier) -> (Limits, Store, TempDir) {
    let directory = TempDir::new().unwrap();
    let config = embedded::Config {
        dir: directory.path().join("log"),
        sync_always: false,
        min_free_disk: 0,
        segment_bytes: embedded::SEGMENT_BYTES,
    };
    let log = Log::Embedded(Embedded::open(config).unwrap());
    let store = Store::open(&Config::in_dir(directory.path()), Tables::Migrate).await.unwrap();
    let instance = InstanceId::random();
    let peers = (instance, Peers::Alone(instance));
    let tiers = Tiers::new(vec![tier]);
    (Limits::new(tiers, peers, (log, store.clone()), Metrics::new()), store, directory)
}

fn alice() -> Caller {
    Caller::new(Owner::new("acme", Some("alice")), "k", Scopes::USE, "gold")
}

#[tokio::test]
async fn what_comes_to_nothing_costs_nothing_and_what_another_goes_on_with_counts_once() {
    let small = Tier { tokens_per_day: Some(5000), tokens_per_minute: Some(3000), ..tier("default") };
    let (limits, store, _directory) = limits(small).await;
    let left = async |limits: &Limits| {
        let reserved = limits.reserve(&alice(), || 0, Some(0)).await.unwrap();
        reserved.standing().tokens.unwrap().remaining
    };
    drop(limits.reserve(&alice(), || 100, None).await.unwrap());
    assert_eq!(left(&limits).await, 3000);
    limits.reserve(&alice(), || 100, None).await.unwrap().spent().settle(300);
    assert_eq!(left(&limits).await, 2700);
    // Handed over: of the minute it stays taken, of the day it counts where it ends.
    drop(limits.reserve(&alice(), || 0, Some(1000)).await.unwrap().spent());
    assert_eq!(left(&limits).await, 1700);
    let refused = |result: Result<Reservation, Limited>| result.map(drop).unwrap_err();
    assert_eq!(refused(limits.reserve(&alice(), || 0, Some(2000)).await).limit, Limit::Tokens);
    limits.charge(alice().owner(), 3701);
    let limited = refused(limits.reserve(&alice(), || 0, Some(1000)).await);
    assert_eq!((limited.limit, limited.most), (Limit::TokensPerDay, 5000));
    assert_eq!(store.tokens_of(alice().owner(), limits.when().day).await.unwrap(), 0, "nothing of it was a reply's");
}

#[tokio::test]
async fn what_the_store_knows_of_a_day_counts_from_the_first_request_on() {
    let (limits, store, _directory) = limits(Tier { tokens_per_day: Some(1000), ..tier("default") }).await;
    let (owner, day) = (alice().owner().clone(), limits.when().day);
    let used = Used { replies: 1, output: 950, ..Used::default() };
    store.add_usage(&[DailyUsage { owner, day, model: "m".to_owned(), used }]).await.unwrap();
    let limited = limits.reserve(&alice(), || 51, Some(0)).await.map(drop).unwrap_err();
    assert_eq!((limited.limit, limited.wait.is_some()), (Limit::TokensPerDay, true));
    drop(limits.reserve(&alice(), || 50, Some(0)).await.unwrap());
}

#[tokio::test]
async fn an_output_is_that_of_the_request_or_the_tier_and_no_longer() {
    let (limits, ..) = limits(tier("default")).await;
    assert_eq!(limits.max_output(&alice(), None), Ok(Some(1000)));
    assert_eq!(limits.max_output(&alice(), Some(10)), Ok(Some(10)));
    assert_eq!(limits.max_output(&alice(), Some(1001)), Err(TooLong { most: 1000 }));
}

/// `cargo test --release --lib -- --ignored --nocapture measure_what_a_limit_costs`
#[tokio::test]
#[ignore = "a measurement, of a release build"]
#[expect(clippy::print_stdout, reason = "the figure is its result")]
async fn measure_what_a_limit_costs() {
    const TIMES: u32 = 200_000;
    let (limits, ..) = limits(tier("default")).await;
    let callers: Vec<_> = (0..1000)
        .map(|number| Caller::new(Owner::new("acme", Some(&number.to_string())), "k", Scopes::USE, "default"))
        .collect();
    let begun = Instant::now();
    for time in 0..TIMES {
        let caller = &callers[time as usize % callers.len()];
        let reserved = limits.reserve(caller, || 100, Some(100)).await.unwrap();
        std::hint::black_box(&reserved);
        reserved.spent().settle(150);
    }
    println!("a request that is granted and settled here costs {:?}", begun.elapsed() / TIMES);
}
