//! Looks at the server once a second: what it takes, and whether it says that it is well.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::Method;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use crate::client::Header;
use crate::gauges::{Disk, Process};
use crate::tally::Check;
use crate::world::World;

/// The server at one moment, and what was done by then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// Since the beginning.
    pub(crate) at: Duration,
    /// How long this process has run.
    pub(crate) age: Duration,
    pub(crate) pid: u32,
    pub(crate) is_loaded: bool,
    pub(crate) process: Process,
    pub(crate) disk: Disk,
    /// Sockets of this program: those that the server has besides are its own.
    pub(crate) clients: u64,
    pub(crate) own_cpu: Duration,
    pub(crate) own_memory: u64,
    /// Replies that have ended.
    pub(crate) ended: u64,
}

/// Between two samples.
pub(crate) const EVERY: Duration = Duration::from_secs(1);
/// Between two looks at `/healthz`.
const HEALTH: Duration = Duration::from_millis(500);

/// Samples until the run is over.
pub(crate) async fn watch(world: Arc<World>, data_dir: PathBuf) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = world.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let Some(age) = world.server_age() else { continue };
        let pid = world.pid.load(Relaxed);
        let disk = tokio::task::spawn_blocking({
            let data_dir = data_dir.clone();
            move || Disk::sample(&data_dir)
        });
        let (Some(process), Ok(disk)) = (Process::sample(pid), disk.await) else {
            if world.is_there() && world.pid.load(Relaxed) == pid {
                world.give_up(format!("the server ended by itself at {:.1} s", world.began.elapsed().as_secs_f64()));
            }
            continue;
        };
        let own = Process::sample(std::process::id()).unwrap_or_default();
        // A restart in between would mix two servers.
        if world.is_there() && world.pid.load(Relaxed) == pid {
            world.samples.lock().push(Sample {
                at: world.began.elapsed(),
                age,
                pid,
                is_loaded: world.is_loaded(),
                process,
                disk,
                clients: own.sockets,
                own_cpu: own.cpu,
                own_memory: own.memory,
                ended: world.ended.load(Relaxed),
            });
        }
    }
}

/// Asks for the server's health until the run is over.
pub(crate) async fn ask_health(world: Arc<World>) {
    let mut ticks = interval(HEALTH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = world.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if !world.is_there() {
            continue;
        }
        let answer = world.client.call(Method::GET, "/healthz", "", Header::None).await;
        match answer.and_then(crate::client::Answer::ok) {
            Ok(body) => match serde_json::from_slice::<Value>(&body) {
                Ok(report) if report["status"] == "ok" => world.hold(Check::Health),
                Ok(report) => {
                    let what = format!("{} {}", report["status"], report["problems"]);
                    world.fail(Check::Health, "/healthz", &what);
                }
                Err(error) => drop(world.fail(Check::Health, "/healthz", &error)),
            },
            Err(_) if world.is_away() => {}
            Err(error) => drop(world.fail(Check::Health, "/healthz", &error)),
        }
    }
}
