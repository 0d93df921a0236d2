//! What a run came to, for people and for scripts.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::cluster::{Cluster, Found};
use super::takeovers::{Cause, Took, quantile};

/// See the module.
#[derive(Debug)]
pub(super) struct Report {
    seed: u64,
    took: Duration,
    deployment: String,
    counts: Vec<(&'static str, u64)>,
    takeovers: [(Cause, Vec<Took>); 2],
    pub(super) found: Vec<Found>,
    preserved: Option<PathBuf>,
}

impl Report {
    /// Of a run that is over.
    pub(super) fn of(cluster: &Cluster, seed: u64, deployment: String, preserved: Option<PathBuf>) -> Self {
        let mut takeovers = [(Cause::Killed, Vec::new()), (Cause::Frozen, Vec::new())];
        let acts = cluster.acts.lock().clone();
        let instances = cluster.deployment.servers.len();
        for reply in &*cluster.replies.lock() {
            let Some(upstream) = &cluster.deployment.upstream else { break };
            let followings = reply.followings.lock();
            let events: Vec<_> = followings.iter().map(|following| following.seen.as_slice()).collect();
            for (cause, took) in super::takeovers::of(&acts, instances, &upstream.heard(&reply.prompt).calls, &events) {
                takeovers[usize::from(cause == Cause::Frozen)].1.push(took);
            }
        }
        let mut counts = cluster.counts.all();
        if let Some(upstream) = &cluster.deployment.upstream {
            counts.push(("model_calls", upstream.calls() as u64));
        }
        Self {
            seed,
            took: cluster.begun.elapsed(),
            deployment,
            counts,
            takeovers,
            found: cluster.found.lock().clone(),
            preserved,
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = format!("seed {}, {}, {:.0} s\n", self.seed, self.deployment, self.took.as_secs_f64());
        let counts = self.counts.iter().map(|(name, count)| format!("{count} {}", name.replace('_', " ")));
        let _ = writeln!(text, "{}", counts.collect::<Vec<_>>().join(", "));
        for (cause, all) in &self.takeovers {
            if all.is_empty() {
                continue;
            }
            let what = if *cause == Cause::Killed { "kill -9" } else { "freeze" };
            let line = |times: Vec<Duration>| {
                let at = |part| quantile(&times, part).unwrap_or_default().as_secs_f64();
                let [half, most, nearly_all, longest] = [0.5, 0.9, 0.99, 1.0].map(at);
                let count = times.len();
                format!("p50 {half:.2} s, p90 {most:.2} s, p99 {nearly_all:.2} s, max {longest:.2} s ({count} replies)")
            };
            let whole = line(sorted(all.iter().map(|took| took.whole)));
            let _ = writeln!(text, "{what} to the next event on a follower elsewhere: {whole}");
            let possible = line(sorted(possible(all)));
            let _ = writeln!(
                text,
                "  whose new owner was not lost as well, without the time in which NATS or every instance was away: {possible}"
            );
        }
        if self.takeovers.iter().any(|(_, all)| !all.is_empty()) {
            text.push_str(
                "(whatever else befell the servers meanwhile is in these times; what the model takes is not)\n",
            );
        }
        match self.found.len() {
            0 => text.push_str("every promise was kept\n"),
            1 => text.push_str("1 promise was NOT kept:\n"),
            many => {
                let _ = writeln!(text, "{many} promises were NOT kept:");
            }
        }
        for Found { reply, source, fault } in &self.found {
            let _ = writeln!(text, "  {reply} ({source}): {fault}");
        }
        if let Some(path) = &self.preserved {
            let _ = writeln!(text, "the logs of all servers, and their data, are in {}", path.display());
        }
        text
    }

    /// For scripts.
    pub(super) fn json(&self) -> Value {
        let counts: Map<_, _> = self.counts.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
        let times = |all: &[Took]| {
            let spread = |all: Vec<Duration>| {
                let at = |part| quantile(&all, part).map(|took| took.as_millis());
                json!({"count": all.len(), "p50_ms": at(0.5), "p90_ms": at(0.9), "p99_ms": at(0.99), "max_ms": at(1.0)})
            };
            let mut times = spread(sorted(all.iter().map(|took| took.whole)));
            times["while_possible"] = spread(sorted(possible(all)));
            times
        };
        let found: Vec<_> = self
            .found
            .iter()
            .map(|found| json!({"reply": found.reply, "who": found.source, "fault": found.fault.to_string()}))
            .collect();
        json!({
            "seed": self.seed,
            "took_s": self.took.as_secs(),
            "deployment": self.deployment,
            "counts": counts,
            "takeovers": {"killed": times(&self.takeovers[0].1), "frozen": times(&self.takeovers[1].1)},
            "violations": found,
            "kept": self.preserved,
        })
    }
}

/// What the servers took, where they could go on, and whoever went on was not lost, too.
fn possible(all: &[Took]) -> impl Iterator<Item = Duration> {
    all.iter().filter(|took| !took.was_lost_again).map(|took| took.possible)
}

fn sorted(times: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times
}
