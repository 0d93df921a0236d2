//! Holds many event streams open on which nothing happens, and measures what each of them costs the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use hyper::body::Incoming;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::figures::Latencies;
use super::load::Cost;
use super::process::{self, Sample};
use super::report::{Figure, MIB, Report};
use super::target::{self, Connection, Target, excerpt};

/// Which streams to hold, for how long.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) streams: usize,
    /// All streams on one conversation instead of one each.
    pub(crate) shared: bool,
    pub(crate) lasting: Duration,
    pub(crate) pid: Option<u32>,
}

/// Connections for making conversations, and streams opened at once.
const CONNECTIONS: usize = 8;
const OPENING_AT_ONCE: usize = 64;
/// How long the server may tidy up before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(2);

/// Holds the streams, until the time is over or `stop` is cancelled.
///
/// # Errors
/// When a conversation or a stream is refused.
pub(crate) async fn run(plan: Plan, stop: &CancellationToken) -> Result<Report, target::Error> {
    super::process::allow_open_files(plan.streams + CONNECTIONS + 64)?;
    let look = || plan.pid.and_then(process::sample);
    let at_first = look();
    let conversations = make_conversations(&plan.target, if plan.shared { 1 } else { plan.streams }).await?;
    tokio::time::sleep(SETTLE).await;
    let before = look();
    let (streams, opened) = open_all(&plan, &conversations).await?;
    tokio::time::sleep(SETTLE).await;
    let after = look();
    let held = Arc::new(Held::default());
    let holding = hold(streams, &held);
    tokio::select! {
        () = tokio::time::sleep(plan.lasting) => {}
        () = stop.cancelled() => {}
    }
    let report = report(&plan, [at_first, before, after, look()], opened, &held);
    // Only now: closing the streams costs the server something too, and it is not what was asked.
    drop(holding);
    Ok(report)
}

#[derive(Debug)]
struct Stream {
    connection: Connection,
    body: Incoming,
}

/// What came on the streams while they were held.
#[derive(Debug, Default)]
struct Held {
    ended: AtomicU64,
    chunks: AtomicU64,
}

async fn make_conversations(target: &Target, count: usize) -> Result<Vec<String>, target::Error> {
    let workers = CONNECTIONS.min(count);
    let shares = (0..workers).map(|worker| {
        let share = (worker..count).step_by(workers).count();
        async move {
            let mut connection = target.connect().await?;
            let mut ids = Vec::with_capacity(share);
            for _ in 0..share {
                ids.push(make_conversation(target, &mut connection).await?);
            }
            Ok::<_, target::Error>(ids)
        }
    });
    Ok(futures_util::future::try_join_all(shares).await?.concat())
}

async fn make_conversation(target: &Target, connection: &mut Connection) -> Result<String, target::Error> {
    const PATH: &str = "/v1/conversations";
    let response = connection.send(target.post(target.uri(PATH), Bytes::from_static(b"{}"))).await?;
    let mut body = connection.accepted(PATH, response).await?;
    let answer = connection.rest(&mut body).await?;
    let id = serde_json::from_slice::<Value>(&answer).ok().and_then(|value| Some(value["id"].as_str()?.to_owned()));
    id.ok_or_else(|| target::Error::Unexpected { path: PATH.into(), body: excerpt(&answer) })
}

async fn open_all(plan: &Plan, conversations: &[String]) -> Result<(Vec<Stream>, Latencies), target::Error> {
    let opening = conversations.iter().cycle().take(plan.streams).map(|id| async move {
        let start = Instant::now();
        let stream = open(&plan.target, &format!("/v1/conversations/{id}/events")).await?;
        Ok::<_, target::Error>((stream, start.elapsed()))
    });
    let opened: Vec<_> = stream::iter(opening).buffer_unordered(OPENING_AT_ONCE).try_collect().await?;
    let mut latencies = Latencies::default();
    for (_, latency) in &opened {
        latencies.record(*latency);
    }
    Ok((opened.into_iter().map(|(stream, _)| stream).collect(), latencies))
}

async fn open(target: &Target, path: &str) -> Result<Stream, target::Error> {
    let mut connection = target.connect().await?;
    let response = connection.send(target.get(target.uri(path))).await?;
    let body = connection.accepted(path, response).await?;
    Ok(Stream { connection, body })
}

fn hold(streams: Vec<Stream>, held: &Arc<Held>) -> JoinSet<()> {
    let read = |Stream { mut connection, mut body }: Stream| {
        let held = held.clone();
        async move {
            while let Ok(Some(_)) = connection.chunk(&mut body).await {
                held.chunks.fetch_add(1, Relaxed);
            }
            held.ended.fetch_add(1, Relaxed);
        }
    };
    streams.into_iter().map(read).collect()
}

fn report(plan: &Plan, looks: [Option<Sample>; 4], opened: Latencies, held: &Held) -> Report {
    let lost = held.ended.load(Relaxed);
    let counts =
        vec![("ok", plan.streams as u64 - lost), ("lost", lost), ("chunks_while_held", held.chunks.load(Relaxed))];
    let conversations = if plan.shared { "one conversation" } else { "a conversation each" };
    Report {
        server: plan.target.to_string(),
        about: format!("{} idle event streams on {conversations}, held for {:?}", plan.streams, plan.lasting),
        counts,
        latencies: vec![("opened", opened)],
        figures: figures(plan, looks).unwrap_or_default(),
        bad: lost,
        problems: (lost > 0)
            .then(|| "lost: the server ended streams that were to stay open".to_owned())
            .into_iter()
            .collect(),
    }
}

/// `None` where the server could not be seen.
fn figures(plan: &Plan, [at_first, before, after, at_last]: [Option<Sample>; 4]) -> Option<Vec<Figure>> {
    let (at_first, before, after, at_last) = (at_first?, before?, after?, at_last?);
    let streams = plan.streams as f64;
    let kib_more = |from: Sample, to: Sample| (to.resident_bytes as f64 - from.resident_bytes as f64) / 1024.0;
    let cost = Cost::between(Some(after), Some(at_last))?;
    Some(vec![
        Figure::mean("memory_kib_per_stream", kib_more(before, after) / streams, "KiB"),
        Figure::mean("memory_kib_per_stream_at_end", kib_more(before, at_last) / streams, "KiB"),
        Figure::mean("memory_kib_with_conversations_at_end", kib_more(at_first, at_last) / streams, "KiB"),
        Figure::mean("server_cpu_percent", cost.percent_of_a_core(), "% of a core"),
        Figure::mean(
            "server_cpu_us_per_stream_per_second",
            cost.cpu.as_secs_f64() * 1e6 / cost.wall.as_secs_f64().max(1e-9) / streams,
            "µs",
        ),
        Figure::max("server_resident_mib", at_last.resident_bytes as f64 / MIB, "MiB"),
        Figure::max("server_peak_mib", at_last.peak_bytes as f64 / MIB, "MiB"),
    ])
}
