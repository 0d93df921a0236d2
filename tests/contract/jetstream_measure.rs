//! What many instances cost each other and NATS: each hears the beats of all.
//!
//! ```text
//! cargo test --release --test contract measure_presence -- --ignored --nocapture
//! ```

use std::time::{Duration, Instant};

use rejoinder::domain::ids::InstanceId;
use rejoinder::log::JetStream;

use crate::nats::Nats;

/// Processor time that a process used, in clock ticks of 10 ms.
fn ticks(pid: &str) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process of ours");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

#[tokio::test]
#[ignore = "a measurement, of a release build"]
async fn measure_presence_of_many_instances() {
    const LONG: Duration = Duration::from_secs(10);
    for instances in [3, 20, 50, 100] {
        let nats = Nats::start().await;
        let log = JetStream::open(&crate::jetstream::config(&nats)).await.expect("a log");
        let mut joined = Vec::new();
        for _ in 0..instances {
            joined.push(log.join(InstanceId::random()).await.expect("a place among them"));
        }
        let pid = nats.pid().to_string();
        let before = (ticks("self"), ticks(&pid), Instant::now());
        tokio::time::sleep(LONG).await;
        let took = before.2.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
        let share = |now: u64, before: u64| (now - before) as f64 / took;
        let (own, server) = (share(ticks("self"), before.0), share(ticks(&pid), before.1));
        println!(
            "{instances} instances: NATS {server:.1} % of a core, each instance {:.2} %",
            own / f64::from(instances)
        );
    }
}
