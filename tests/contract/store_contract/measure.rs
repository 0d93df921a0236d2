//! What it costs to carry a reply into a store.

use std::time::{Duration, Instant};

use rejoinder::conversation::ids::ThreadId;
use rejoinder::store::{Record, Store};

use super::history::{History, Projecting};

const BATCHES: u64 = 300;
const REPLIES: usize = 256;

/// How the replies come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Their ids begin with the time, and so come in order.
    pub(crate) in_order: bool,
    /// They are accepted and ended in one batch.
    pub(crate) at_once: bool,
}

/// Tells what a reply of 20 words costs, in batches as the projection makes them.
#[expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "the figures are its result")]
pub(crate) async fn measure(store: Store, load: Load) {
    let mut projection = Projecting::new(&store);
    let (mut elapsed, mut busy) = (Duration::ZERO, Duration::ZERO);
    for number in 0..BATCHES {
        let batches = batches(number, load);
        let started = (Instant::now(), cpu_time());
        for records in &batches {
            projection.apply(records).await;
        }
        elapsed += started.0.elapsed();
        busy += cpu_time().saturating_sub(started.1);
    }
    let [elapsed, busy] = [elapsed, busy].map(|spent| spent.as_secs_f64() * 1e6 / (BATCHES * REPLIES as u64) as f64);
    println!("{load:?}: {elapsed:.1} µs a reply, of which {busy:.1} µs of CPU");
}

fn batches(number: u64, load: Load) -> Vec<Vec<Record>> {
    let mut told: Vec<History> = (0..REPLIES).map(|_| History::new()).collect();
    for told in &mut told {
        if load.in_order {
            let mut bytes = *told.thread.as_bytes();
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            told.thread = ThreadId::from_bytes(bytes);
        }
        told.whole_reply("What do you know of the sea?", &"wave ".repeat(20));
    }
    let [accepted, ended] = [0, 1].map(|index| told.iter().map(move |told| told.since(index).swap_remove(0)));
    if load.at_once { vec![accepted.chain(ended).collect()] } else { vec![accepted.collect(), ended.collect()] }
}

/// What this process has used of the processors, over all its threads.
fn cpu_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux");
    let spent = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok());
    let nanos = spent.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok());
    Duration::from_nanos(nanos.sum())
}
