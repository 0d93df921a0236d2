//! Instances that share a log in NATS: which of them keeps what, and what they ask each other.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rejoinder::domain::ids::InstanceId;
use rejoinder::log::{JetStream, Log, Peers};

use crate::nats::Nats;

const TOPIC: &str = "test";

/// An instance of its own connections.
async fn instance(nats: &Nats) -> (InstanceId, Peers) {
    let log = JetStream::open(&crate::jetstream::config(nats)).await.expect("a log");
    let id = InstanceId::random();
    (id, Log::JetStream(log).membership().join(id).await.expect("it may join"))
}

/// Waits until each of these knows of so many.
async fn know_each_other(peers: &[&Peers], count: usize) {
    let known = async || match peers.iter().map(|peers| peers.count()).find(|known| *known != count) {
        Some(known) => Err(known),
        None => Ok(()),
    };
    crate::until("all to be known", Duration::from_secs(20), known).await;
}

/// Answers with what it is told, until the test is over.
fn echo(peers: Peers) {
    tokio::spawn(async move {
        peers.answer(TOPIC, |message: Bytes| async move { (message != "nothing").then(|| message.to_vec()) }).await;
    });
}

#[tokio::test]
async fn instances_agree_on_who_keeps_what_and_when_one_goes_only_its_own_moves() {
    let nats = Nats::start().await;
    let ((a_id, a), (b_id, b), (c_id, c)) = (instance(&nats).await, instance(&nats).await, instance(&nats).await);
    know_each_other(&[&a, &b, &c], 3).await;
    let keys: Vec<_> = (0..300).map(|number| format!("acme/{number}")).collect();
    let keepers: Vec<_> = keys.iter().map(|key| a.keeper(key)).collect();
    for (key, keeper) in keys.iter().zip(&keepers) {
        assert_eq!((b.keeper(key), c.keeper(key)), (*keeper, *keeper), "{key}");
    }
    for id in [a_id, b_id, c_id] {
        let share = keepers.iter().filter(|keeper| **keeper == id).count();
        assert!((50..200).contains(&share), "{share} of 300");
    }
    c.leave().await;
    know_each_other(&[&a, &b], 2).await;
    for (key, before) in keys.iter().zip(&keepers) {
        let now = a.keeper(key);
        assert!(now == *before || *before == c_id && now != c_id, "{key} moved from {before} to {now}");
        assert_eq!(b.keeper(key), now);
    }
}

#[tokio::test]
async fn an_instance_answers_what_it_is_asked_and_one_that_does_not_is_not_waited_for() {
    let nats = Nats::start().await;
    let ((_, a), (b_id, b)) = (instance(&nats).await, instance(&nats).await);
    let ask = async |to, message: &str| a.ask(TOPIC, to, message.into(), Duration::from_millis(200)).await;
    assert_eq!(ask(b_id, "hello").await, None, "it does not listen yet");
    echo(b);
    let heard = async || ask(b_id, "hello").await.filter(|answer| answer == "hello").map(drop).ok_or(());
    crate::until("an answer", Duration::from_secs(20), heard).await;
    let begun = Instant::now();
    assert_eq!(ask(b_id, "nothing").await, None);
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(ask(InstanceId::random(), "hello").await, None);
    a.tell(TOPIC, b_id, "nothing".into()).await;
    assert_eq!(ask(b_id, "again").await, Some("again".into()));
}

/// `cargo test --release --test contract -- --ignored --nocapture measure_what_asking_another_instance_costs`
#[tokio::test]
#[ignore = "a measurement, of a release build"]
async fn measure_what_asking_another_instance_costs() {
    let nats = Nats::start().await;
    let ((_, a), (b_id, b)) = (instance(&nats).await, instance(&nats).await);
    echo(b);
    let message = || vec![b'x'; 180];
    let ask = async || a.ask(TOPIC, b_id, message(), Duration::from_millis(20)).await.map(drop).ok_or(());
    crate::until("an answer", Duration::from_secs(20), ask).await;
    let mut times = Vec::new();
    for _ in 0..5000 {
        let begun = Instant::now();
        ask().await.expect("an answer in time");
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    println!("asking another instance takes {:?} (p50), {:?} (p99)", times[2500], times[4950]);
}
