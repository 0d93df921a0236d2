//! Limits that several instances keep together.

use std::time::Duration;

use hyper::Method;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Keys, limits::limited, new_key, with_key};
use crate::support::{Api, Cluster, json, server::Config, until, whole};

/// What each caller may have in a minute, and at once.
const PER_MINUTE: u32 = 120;
const BURST: u32 = 4;

/// How many callers ask for how long, and whether an instance dies in the middle.
#[derive(Clone, Copy)]
struct Load {
    callers: usize,
    time: Duration,
    kills: bool,
}

fn tiers(config: Config) -> Config {
    limited(config, &format!("requests_per_minute = {PER_MINUTE}\nburst = {BURST}"))
}

/// A cluster, and clients of all its instances for each caller.
async fn cluster(callers: usize) -> (Cluster, Vec<Vec<Api>>) {
    let keys: Vec<_> =
        (0..callers).map(|number| new_key(&format!("--tenant acme --user user{number} --tier small"))).collect();
    let lines: Vec<_> = keys.iter().map(|key| key.line.as_str()).collect();
    let env = vec![("AUTH", "keys".to_owned()), ("API_KEYS", lines.join(";"))];
    let cluster = Cluster::with_config(tiers, env).await;
    let apis = keys.iter().map(|key| cluster.instances.iter().map(|server| with_key(server, &key.secret)).collect());
    let apis = apis.collect();
    (cluster, apis)
}

/// Asks twice as often as one may, of one instance after the other; gives how often that was granted.
async fn ask_on(apis: Vec<Api>, first: usize, until: Instant) -> u32 {
    let mut ticks = interval(Duration::from_mins(1) / (2 * PER_MINUTE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let body = json!({"model": "truth", "input": "hello", "store": false}).to_string();
    let mut granted = 0;
    for turn in first.. {
        ticks.tick().await;
        if Instant::now() >= until {
            break;
        }
        match apis[turn % apis.len()].try_call(Method::POST, "/v1/responses", body.clone()).await {
            Ok(answer) if answer.status == 200 => granted += 1,
            // One that was killed.
            Err(_) => {}
            Ok(answer) => assert_eq!(answer.status, 429, "{answer:?}"),
        }
    }
    granted
}

/// Nobody has more than the limit and one burst, or two where an instance died; nobody has much less than the limit.
async fn limits_hold(load: Load) {
    let (mut cluster, apis) = cluster(load.callers).await;
    cluster.settled_for(&apis[0][0]).await;
    let begun = Instant::now();
    let asking: Vec<_> = apis
        .into_iter()
        .enumerate()
        .map(|(number, apis)| tokio::spawn(ask_on(apis, number, begun + load.time)))
        .collect();
    if load.kills {
        tokio::time::sleep_until(begun + load.time / 2).await;
        cluster.instances[0].kill();
    }
    let mut counts = Vec::new();
    for one in asking {
        counts.push(one.await.expect("no panic"));
    }
    // The last answers may have come a little later.
    let seconds = begun.elapsed().as_secs_f64();
    let flow = f64::from(PER_MINUTE) / 60.0;
    let bursts = if load.kills { 2 } else { 1 };
    let (most, least) = (seconds * flow + f64::from(bursts * BURST), load.time.as_secs_f64() * flow * 0.95);
    let (max, min) = (counts.iter().max().copied().unwrap_or(0), counts.iter().min().copied().unwrap_or(0));
    println!("{} callers, {seconds:.1} s: from {min} to {max} granted, {least:.1} to {most:.1} expected", counts.len());
    assert!(f64::from(max) <= most, "one of {} had {max}, and {most} were allowed", counts.len());
    // With a third of all questions to an instance that is dead, twice as much is asked for only just.
    let least = if load.kills { least * 2.0 / 3.0 } else { least };
    assert!(f64::from(min) >= least, "one of {} had {min}, and {least} were due", counts.len());
}

#[tokio::test]
async fn three_instances_grant_together_what_one_would() {
    limits_hold(Load { callers: 24, time: Duration::from_secs(6), kills: false }).await;
}

#[tokio::test]
async fn an_instance_that_dies_costs_one_burst_at_most() {
    limits_hold(Load { callers: 24, time: Duration::from_secs(8), kills: true }).await;
}

/// `REJOINDER_BIN=target/release/rejoinder cargo test --test it -- --ignored --nocapture three_hundred_callers`
#[tokio::test]
#[ignore = "takes a minute, and wants a release build"]
async fn three_hundred_callers_for_half_a_minute_with_and_without_a_death() {
    for kills in [false, true] {
        limits_hold(Load { callers: 300, time: Duration::from_secs(30), kills }).await;
    }
}

#[tokio::test]
async fn replies_that_run_count_wherever_they_run_also_when_the_keeper_of_the_account_dies() {
    fn two_at_once(config: Config) -> Config {
        limited(config, "replies_at_once = 2")
    }
    let keys = Keys::new(&[("alice", "--tenant acme --user alice --tier small")]);
    let env = vec![("AUTH", "keys".to_owned()), ("API_KEYS", keys.lines().replace('\n', ";"))];
    let mut cluster = Cluster::with_config(two_at_once, env).await;
    cluster.upstream.on("held", crate::support::Behaviour::Hang);
    let api = |cluster: &Cluster, instance: usize| keys.api(&cluster.instances[instance], "alice");
    let held = [
        api(&cluster, 0).stream(crate::support::streamed("held a")).await,
        api(&cluster, 1).stream(crate::support::streamed("held b")).await,
    ];
    let third = async |cluster: &Cluster, instance: usize| {
        api(cluster, instance).post("/v1/responses", whole("third")).await.status.as_u16()
    };
    for instance in 0..3 {
        // At first they do not know each other.
        until("the limit", async || (third(&cluster, instance).await == 429).then_some(())).await;
    }
    // Whoever kept the account: one of these three is the one.
    cluster.instances[2].kill();
    cluster.instances.truncate(2);
    until("the death to be known", async || {
        (third(&cluster, 0).await == 429 && third(&cluster, 1).await == 429).then_some(())
    })
    .await;
    let id = held[1].response_id();
    api(&cluster, 0).post(&format!("/v1/responses/{id}/cancel"), json!({})).await.ok();
    until("a place", async || (third(&cluster, 0).await == 200).then_some(())).await;
}
