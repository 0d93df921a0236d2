//! Figures of micro-batches, for tests/bench/README.md:
//!
//! ```sh
//! cargo build --release
//! REJOINDER_BIN=target/release/rejoinder cargo test --test it micro_batches::measure -- --ignored --nocapture
//! ```

use std::time::Instant;

use super::*;

/// One request by itself takes so long: 120 a second.
const PACE: Duration = Duration::from_micros(8333);

/// Clients that ask again as soon as they have an answer.
const CLIENTS: usize = 16;

const FOR: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, of a release build"]
async fn throughput_and_first_token_by_window() {
    println!("window | {CLIENTS} clients: replies/s, first token p50 | one client: first token p50");
    for window in ["off", "10ms", "25ms", "50ms", "100ms"] {
        let gatherer = Gatherer::start(Batching::Fine, PACE).await;
        let config = Server::bare().env("LLM_BASE_URL", gatherer.base_url()).env("LLM_MODEL", "truth");
        let server = config.env("LLM_BATCH_WINDOW", window).start().await;
        load(&server, CLIENTS, Duration::from_secs(1)).await;
        let (rate, first) = load(&server, CLIENTS, FOR).await;
        let (_, alone) = load(&server, 1, FOR / 2).await;
        println!("{window} | {rate:.0}, {first:.1} ms | {alone:.1} ms");
    }
}

/// Replies a second, and the median time to the first token in milliseconds.
async fn load(server: &Server, clients: usize, time: Duration) -> (f64, f64) {
    let begun = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for client in 0..clients {
        let api = server.api();
        running.spawn(async move {
            let (mut firsts, mut turn) = (Vec::new(), 0);
            while begun.elapsed() < time {
                turn += 1;
                let asked = Instant::now();
                let stream = api.stream(streamed(&format!("topic {client} {turn}"))).await;
                let events = stream.collect().await.into_events();
                let first = events.iter().find(|event| event.delta().is_some()).expect("a token").at;
                firsts.push((first - asked).as_secs_f64() * 1000.0);
            }
            firsts
        });
    }
    let mut firsts: Vec<f64> = running.join_all().await.into_iter().flatten().collect();
    let took = begun.elapsed().as_secs_f64();
    firsts.sort_unstable_by(f64::total_cmp);
    let count = u32::try_from(firsts.len()).expect("few");
    (f64::from(count) / took, firsts[firsts.len() / 2])
}
