//! What hostile clients cost the others, in figures:
//! `cargo test --release --test it -- --ignored --nocapture --test-threads=1 hostile::measure`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::Instant;

use super::http2::asked_and_reset;
use super::*;

/// Requests of the healthy client, in each of so many rounds.
const REQUESTS: usize = 1500;
const ROUNDS: usize = 5;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Files that this process may have open: as many as it gets.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// How long a healthy client waits for its replies, one after the other: the median and the 99th percentile.
async fn waits(given: &Given) -> (Duration, Duration) {
    let mut times = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        let begun = Instant::now();
        given.api.post("/v1/responses", json!({"model": "truth", "input": "hello", "store": false})).await.ok();
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    (times[REQUESTS / 2], times[REQUESTS * 99 / 100])
}

/// Resident memory of the server, in MiB.
fn memory(given: &Given) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", given.server.pid())).expect("our own child");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

/// An attack that goes on until it is told to stop; gives how much it did.
#[derive(Clone, Copy, Debug)]
enum Attack {
    None,
    /// 2,000 connections, each of which sends a byte of its head in every second.
    SlowLoris,
    /// Four connections at a time, each of which resets what it asks for, 100 in each 100 ms.
    RapidReset,
    /// 1,000 connections in each second that say nothing.
    Flood,
    /// Four connections at a time that send pings, 100 in each 10 ms.
    Pings,
}

impl Attack {
    async fn run(self, address: String, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
        match self {
            Self::None => {}
            Self::SlowLoris => slow_loris(&address, &stop, &done).await,
            Self::RapidReset => {
                let frames =
                    |turn: u32| (0..100).flat_map(|next| asked_and_reset(2 * (turn * 100 + next) + 1)).collect();
                repeat(&address, &stop, &done, Duration::from_millis(100), frames).await;
            }
            Self::Pings => {
                let frames = |_| b"\0\0\x08\x06\0\0\0\0\0pingpong".repeat(100);
                repeat(&address, &stop, &done, Duration::from_millis(10), frames).await;
            }
            Self::Flood => {
                let mut ticks = tokio::time::interval(Duration::from_millis(10));
                while !stop.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    for _ in 0..10 {
                        done.fetch_add(u64::from(TcpStream::connect(&address).await.is_ok()), Ordering::Relaxed);
                    }
                }
            }
        }
    }
}

async fn slow_loris(address: &str, stop: &AtomicBool, done: &AtomicU64) {
    let head = b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\nx-slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let (mut sockets, mut turn) = (Vec::new(), 0);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    while !stop.load(Ordering::Relaxed) {
        while sockets.len() < 2000 {
            let Ok(socket) = TcpStream::connect(address).await else { break };
            sockets.push(socket);
        }
        ticks.tick().await;
        let mut alive = Vec::new();
        for mut socket in sockets {
            // Those that were ended are made anew.
            if socket.write_all(&head[turn % head.len()..=turn % head.len()]).await.is_ok() {
                alive.push(socket);
                done.fetch_add(1, Ordering::Relaxed);
            }
        }
        (sockets, turn) = (alive, turn + 1);
    }
}

/// Four connections that send such frames again and again, and are made anew where they were ended.
async fn repeat(
    address: &str,
    stop: &AtomicBool,
    done: &AtomicU64,
    pause: Duration,
    frames: impl Fn(u32) -> Vec<u8> + Copy,
) {
    let one = async || {
        while !stop.load(Ordering::Relaxed) {
            let Ok(socket) = TcpStream::connect(address).await else { continue };
            let (mut answers, mut socket) = socket.into_split();
            let reading = tokio::spawn(async move { tokio::io::copy(&mut answers, &mut tokio::io::sink()).await });
            let mut ticks = tokio::time::interval(pause);
            let mut is_open = socket.write_all(PREFACE).await.is_ok();
            for turn in 0.. {
                if !is_open || stop.load(Ordering::Relaxed) {
                    break;
                }
                ticks.tick().await;
                is_open = socket.write_all(&frames(turn)).await.is_ok();
                done.fetch_add(100, Ordering::Relaxed);
            }
            reading.abort();
        }
    };
    tokio::join!(one(), one(), one(), one());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, of a release build"]
async fn a_healthy_client_beside_each_attack() {
    raise_open_files();
    let given = Given::with(|config| config.env("HANDSHAKE_TIMEOUT", "10s")).await;
    // The first requests warm up what is made once.
    waits(&given).await;
    for attack in [Attack::SlowLoris, Attack::RapidReset, Attack::Flood, Attack::Pings] {
        let mut figures = [Vec::new(), Vec::new()];
        let done = Arc::new(AtomicU64::new(0));
        // By turns, so that what else the machine does meets both.
        for _ in 0..ROUNDS {
            for (figures, attack) in figures.iter_mut().zip([Attack::None, attack]) {
                let stop = Arc::new(AtomicBool::new(false));
                let running =
                    tokio::spawn(attack.run(given.server.address().to_owned(), Arc::clone(&stop), Arc::clone(&done)));
                if !matches!(attack, Attack::None) {
                    let before = done.load(Ordering::Relaxed);
                    until("the attack to begin", async || (done.load(Ordering::Relaxed) > before).then_some(())).await;
                }
                figures.push(waits(&given).await);
                stop.store(true, Ordering::Relaxed);
                running.await.expect("no panic");
            }
        }
        let median = |figures: &[(Duration, Duration)], of: fn(&(Duration, Duration)) -> Duration| {
            let mut all: Vec<_> = figures.iter().map(of).collect();
            all.sort_unstable();
            all[all.len() / 2]
        };
        let [quiet, attacked] = figures;
        let (p50, p99) = (|figures: &[_]| median(figures, |one| one.0), |figures: &[_]| median(figures, |one| one.1));
        println!(
            "{attack:?} ({} done): p50 {:?} and {:?}, p99 {:?} and {:?} (× {:.2}), {} MiB",
            done.load(Ordering::Relaxed),
            p50(&quiet),
            p50(&attacked),
            p99(&quiet),
            p99(&attacked),
            p99(&attacked).as_secs_f64() / p99(&quiet).as_secs_f64(),
            memory(&given)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, of a release build"]
async fn ten_thousand_uploads_that_stand_still() {
    raise_open_files();
    let given = Given::with(|config| config.env("BODY_TIMEOUT", "10m").env("BODY_MIN_RATE", "off")).await;
    let (quiet, before) = (waits(&given).await, memory(&given));
    let head = b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n";
    let (mut stalled, piece) = (Vec::new(), vec![b' '; 100_000]);
    for _ in 0..10_000 {
        let mut socket = connect(&given).await;
        socket.write_all(head).await.expect("written");
        // As much as the server takes at once.
        let _ = tokio::time::timeout(Duration::from_millis(20), socket.write_all(&piece)).await;
        stalled.push(socket);
    }
    let (figures, buffered) = (waits(&given).await, given.api.gauge("rejoinder_buffered_bytes").await);
    println!(
        "{} stalled uploads: {before} MiB before, {} MiB with them, of which {} MiB of bodies (256 MiB may be); p50 {:?} and {:?}, p99 {:?} and {:?}",
        stalled.len(),
        memory(&given),
        buffered >> 20,
        quiet.0,
        figures.0,
        quiet.1,
        figures.1,
    );
}
