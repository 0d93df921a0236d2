//! The open-loop load: as many clients as wanted, each with a message at fixed moments, whether or not the server keeps
//! up. The clients share as few threads as asked for; the thread that called only watches.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Barrier, OnceLock};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use hyper::Uri;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use super::alarm::Schedule;
use super::client::Client;
use super::figures::Replies;
use super::message::Messages;
use super::process::{self, Sample};
use super::progress::{Bar, Live};
use super::reading::Api;
use super::report::{Figure, MIB, Report};
use super::target::{self, Target};

/// What load to put on which server.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) uri: Uri,
    pub(crate) api: Api,
    pub(crate) messages: Messages,
    pub(crate) clients: usize,
    pub(crate) every: Duration,
    pub(crate) lasting: Duration,
    /// How long a reply may take; also how long the clients may work off what they owe after the end.
    pub(crate) timeout: Duration,
    pub(crate) threads: usize,
    pub(crate) pid: Option<u32>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) replies: Replies,
    /// From the first message due to the last reply read.
    pub(crate) took: Duration,
    pub(crate) server: Option<Cost>,
    pub(crate) generator: Option<Cost>,
}

/// What a process used up during a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    pub(crate) peak_bytes: u64,
}

/// What can keep a load from being put.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Target(#[from] target::Error),
    #[error("cannot start a thread for the clients")]
    Thread(#[source] std::io::Error),
    #[error("a thread of the load generator died")]
    Died,
}

/// How many connections are opened at once: a listen queue holds more, and the server is not what is measured yet.
const CONNECTING_AT_ONCE: usize = 64;
/// Between the last connection and the first message.
const BREATH: Duration = Duration::from_millis(100);

/// Puts the load, and waits for its end or for `stop`.
///
/// # Errors
/// When not every client can connect at the start.
pub(crate) async fn run(plan: Plan, name: &str, stop: &CancellationToken) -> Result<Load, Error> {
    // Each client has a connection and a timer.
    process::allow_open_files(2 * plan.clients + 64).map_err(target::Error::from)?;
    let live = Live::new();
    let bar = Bar::new(name, plan.lasting, live.clone());
    let pid = plan.pid;
    let threads = plan.threads.clamp(1, plan.clients.max(1));
    let plan = Plan { threads, ..plan };
    let meeting = Arc::new(Meeting { barrier: Barrier::new(threads), start: OnceLock::new() });
    let parts = (0..threads).map(|part| spawn(part, &plan, &meeting, &live, stop)).collect::<Result<Vec<_>, _>>()?;
    let all = async {
        let mut replies = Replies::default();
        for part in parts {
            replies.add(&part.await.map_err(|_| Error::Died)??);
        }
        Ok::<_, Error>(replies)
    };
    let replies = tokio::select! {
        replies = all => replies?,
        never = bar.run() => match never {},
    };
    let start = meeting.start.get().ok_or(Error::Died)?;
    Ok(Load {
        replies,
        took: start.at.elapsed(),
        server: Cost::between(start.server, pid.and_then(process::sample)),
        generator: Cost::between(start.generator, process::sample_self()),
    })
}

impl Cost {
    /// `None` where the process could not be seen, or is another one now.
    pub(crate) fn between(before: Option<Sample>, after: Option<Sample>) -> Option<Self> {
        let (before, after) = (before?, after?);
        Some(Self { cpu: after.cpu.checked_sub(before.cpu)?, wall: after.at - before.at, peak_bytes: after.peak_bytes })
    }

    pub(crate) fn percent_of_a_core(&self) -> f64 {
        100.0 * self.cpu.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
    }
}

/// Where the threads wait for each other, so that all clients start from the same moment.
#[derive(Debug)]
struct Meeting {
    barrier: Barrier,
    start: OnceLock<Start>,
}

#[derive(Debug, Clone, Copy)]
struct Start {
    at: Instant,
    server: Option<Sample>,
    generator: Option<Sample>,
}

type Part = oneshot::Receiver<Result<Replies, target::Error>>;

fn spawn(
    part: usize,
    plan: &Plan,
    meeting: &Arc<Meeting>,
    live: &Live,
    stop: &CancellationToken,
) -> Result<Part, Error> {
    let (plan, meeting, live, stop) = (plan.clone(), meeting.clone(), live.clone(), stop.clone());
    let (result, received) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
    let work = move || {
        let local = LocalSet::new();
        // Nobody waits for it any more only when the whole run was given up.
        let _ = result.send(local.block_on(&runtime, run_part(part, Rc::new(plan), &meeting, live, stop)));
    };
    std::thread::Builder::new().name(format!("bench-{part}")).spawn(work).map_err(Error::Thread)?;
    Ok(received)
}

async fn run_part(
    part: usize,
    plan: Rc<Plan>,
    meeting: &Meeting,
    live: Live,
    stop: CancellationToken,
) -> Result<Replies, target::Error> {
    let replies = Rc::new(RefCell::new(Replies::default()));
    let connecting = (part..plan.clients)
        .step_by(plan.threads)
        .map(|index| Client::connect(index, plan.clone(), replies.clone(), live.clone()));
    let connected = stream::iter(connecting).buffer_unordered(CONNECTING_AT_ONCE).try_collect::<Vec<_>>().await;
    // Every client comes to the meeting, even if it failed: the others would wait for ever.
    meeting.barrier.wait();
    let clients = connected?;
    let start = meeting.start.get_or_init(|| Start {
        at: Instant::now() + BREATH,
        server: plan.pid.and_then(process::sample),
        generator: process::sample_self(),
    });
    let schedule = Schedule { start: start.at, every: plan.every, lasting: plan.lasting, clients: plan.clients };
    let running: Vec<_> = clients.into_iter().map(|client| tokio::task::spawn_local(client.run(schedule))).collect();
    tokio::select! {
        () = join(running) => {}
        () = stop.cancelled() => {}
    }
    Ok(replies.take())
}

async fn join(running: Vec<tokio::task::JoinHandle<()>>) {
    for client in running {
        if let Err(error) = client.await {
            // A panic in a client is a defect of ours: it must not look like a good figure.
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

impl Load {
    /// Reports the results, for people and scripts.
    pub(crate) fn report(self, server: String, about: String) -> Report {
        let Replies { tally, .. } = &self.replies;
        let answered = (tally.replies() - tally.lost).max(1) as f64;
        let mut figures =
            vec![Figure::mean("replies_per_second", tally.ok as f64 / self.took.as_secs_f64().max(1e-9), "replies/s")];
        if let Some(cost) = self.server {
            figures.push(Figure::mean("server_cpu_us_per_reply", cost.cpu.as_secs_f64() * 1e6 / answered, "µs"));
            figures.push(Figure::mean("server_cpu_percent", cost.percent_of_a_core(), "% of a core"));
            figures.push(Figure::max("server_peak_mib", cost.peak_bytes as f64 / MIB, "MiB"));
        }
        if let Some(cost) = self.generator {
            figures.push(Figure::mean("generator_cpu_us_per_reply", cost.cpu.as_secs_f64() * 1e6 / answered, "µs"));
            figures.push(Figure::mean("generator_cpu_percent", cost.percent_of_a_core(), "% of a core"));
        }
        let counts = vec![
            ("ok", tally.ok),
            ("lost", tally.lost),
            ("cut", tally.cut),
            ("refused", tally.refused),
            ("wrong", tally.wrong),
            ("without_done", tally.without_done),
            ("reconnects", tally.reconnects),
            ("events", tally.events),
        ];
        let latencies = self.replies.rows().map(|(name, latencies)| (name, latencies.clone())).to_vec();
        Report { server, about, bad: tally.bad(), problems: tally.problems.clone(), counts, latencies, figures }
    }
}
