//! What it costs to carry a reply into a store.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rejoinder::domain::ids::ThreadId;
use rejoinder::store::{Record, Store};

use super::history::{History, Projecting};

const REPLIES: usize = 60_000;

/// How the replies come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Their ids begin with the time, and so come in order.
    pub(crate) in_order: bool,
    /// How many are accepted in a batch.
    pub(crate) batch: usize,
    /// They end so many batches after the one in which they were accepted.
    pub(crate) end_after: usize,
    /// What they say, in bytes.
    pub(crate) text: usize,
}

/// Tells what a reply costs, in batches as the projection makes them, and closes the store. Gives the number of replies.
#[expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "the figures are its result")]
pub(crate) async fn measure(store: Store, load: Load) -> usize {
    let mut projection = Projecting::new(&store);
    let (mut elapsed, mut busy) = (Duration::ZERO, Duration::ZERO);
    let written = bytes_written();
    let mut running = VecDeque::new();
    for _ in 0..REPLIES.div_ceil(load.batch) {
        let records = batch(load, &mut running);
        let started = (Instant::now(), cpu_time());
        projection.apply(&records).await;
        elapsed += started.0.elapsed();
        busy += cpu_time().saturating_sub(started.1);
    }
    store.close().await;
    let written = (bytes_written() - written) / REPLIES as u64;
    let [elapsed, busy] = [elapsed, busy].map(|spent| spent.as_secs_f64() * 1e6 / REPLIES as f64);
    println!("{load:?}: a reply takes {elapsed:.1} µs, of which {busy:.1} µs of CPU, and {written} bytes are written");
    REPLIES
}

/// Accepts replies, and ends those that were accepted some batches before.
fn batch(load: Load, running: &mut VecDeque<Vec<Record>>) -> Vec<Record> {
    let mut told: Vec<History> = (0..load.batch).map(|_| History::new()).collect();
    for told in &mut told {
        if !load.in_order {
            let mut bytes = *told.thread.as_bytes();
            bytes.reverse();
            told.thread = ThreadId::from_bytes(bytes);
        }
        told.whole_reply("What do you know of the sea?", &"wave ".repeat(load.text / 5));
    }
    let [mut records, ended] = [0, 1].map(|index| told.iter().map(|told| told.since(index).swap_remove(0)).collect());
    running.push_back(ended);
    if running.len() > load.end_after {
        records.extend(running.pop_front().unwrap_or_default());
    }
    records
}

/// What this process has used of the processors, over all its threads.
fn cpu_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux");
    let spent = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok());
    let nanos = spent.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok());
    Duration::from_nanos(nanos.sum())
}

/// What this process has given to files.
fn bytes_written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").expect("Linux");
    let written = text.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok());
    written.expect("a number of bytes")
}
