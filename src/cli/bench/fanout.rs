//! Follows one reply many times, and measures how far behind each event reaches each follower.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::arrivals::Arrivals;
use super::figures::Tally;
use super::load::Cost;
use super::process;
use super::reading::{Api, Outcome, Reading};
use super::report::{Figure, MIB, Report};
use super::target::{self, Connection, Target, excerpt};
use crate::cli::chain;
use crate::llm::sse::Decoder;

/// Which reply to follow, how often.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    /// A model that takes its time, so that there is something to follow.
    pub(crate) model: String,
    pub(crate) words: usize,
    pub(crate) followers: usize,
    pub(crate) timeout: Duration,
    pub(crate) pid: Option<u32>,
}

const OPENING_AT_ONCE: usize = 64;
/// A reply has its id in its first event; this much without one, and it is no reply.
const MAX_BEFORE_ID: usize = 1 << 20;
const MAX_EVENTS: usize = 1 << 20;
const PATH: &str = "/v1/responses";

/// Starts a reply in the background, follows it, and waits for its end.
///
/// # Errors
/// When the reply or a follower is refused.
pub(crate) async fn run(plan: Plan, stop: &CancellationToken) -> Result<Report, target::Error> {
    process::allow_open_files(plan.followers + 64)?;
    let text = vec!["word"; plan.words].join(" ");
    let id = start_reply(&plan, &text).await?;
    let streams = open_all(&plan, &id).await?;
    let look = || plan.pid.and_then(process::sample);
    let (before, start) = (look(), Instant::now());
    let expected = plan.model.starts_with("echo").then_some(text);
    let following =
        streams.into_iter().enumerate().map(|(index, stream)| follow(index, stream, start, expected.clone())).collect();
    let (tally, arrivals) = collect_arrivals(following, &plan, stop).await;
    Ok(report(&plan, tally, &arrivals, Cost::between(before, look())))
}

#[derive(Debug)]
struct Stream {
    connection: Connection,
    body: Incoming,
}

/// What one follower saw.
#[derive(Debug)]
struct Followed {
    index: usize,
    outcome: Result<Outcome, target::Error>,
    /// When each event came, by its sequence number.
    arrived: Vec<Option<Duration>>,
    events: u64,
}

/// Returns the reply's id. Its first stream is closed then: a reply in the background goes on without it.
async fn start_reply(plan: &Plan, text: &str) -> Result<String, target::Error> {
    let mut connection = plan.target.connect().await?;
    let body = json!({"model": plan.model, "input": text, "background": true, "stream": true}).to_string();
    let response = connection.send(plan.target.post(plan.target.uri(PATH), body.into())).await?;
    let mut body = connection.accepted(PATH, response).await?;
    let (mut decoder, mut id, mut received) = (Decoder::default(), None, Vec::new());
    while let Some(chunk) = connection.chunk(&mut body).await? {
        received.extend_from_slice(&chunk);
        let fed = decoder.feed(&chunk, |event| id = id.take().or_else(|| response_id(event.data)));
        if id.is_some() || fed.is_err() || received.len() > MAX_BEFORE_ID {
            break;
        }
    }
    id.ok_or_else(|| target::Error::Unexpected { path: PATH.into(), body: excerpt(&received) })
}

fn response_id(data: &[u8]) -> Option<String> {
    let event: Value = serde_json::from_slice(data).ok()?;
    Some(event["response"]["id"].as_str()?.to_owned())
}

async fn open_all(plan: &Plan, id: &str) -> Result<Vec<Stream>, target::Error> {
    let path = format!("{PATH}/{id}?stream=true");
    let opening = (0..plan.followers).map(|_| async {
        let mut connection = plan.target.connect().await?;
        let response = connection.send(plan.target.get(plan.target.uri(&path))).await?;
        let body = connection.accepted(&path, response).await?;
        Ok::<_, target::Error>(Stream { connection, body })
    });
    stream::iter(opening).buffered(OPENING_AT_ONCE).try_collect().await
}

async fn follow(index: usize, mut stream: Stream, start: Instant, expected: Option<String>) -> Followed {
    let mut reading = Reading::new(Api::Responses, expected.as_deref().map(str::as_bytes));
    let mut decoder = Decoder::default();
    let mut arrived = Vec::new();
    let outcome = loop {
        match stream.connection.chunk(&mut stream.body).await {
            Ok(Some(chunk)) => {
                let now = start.elapsed();
                let fed = decoder.feed(&chunk, |event| {
                    reading.take(event);
                    note(&mut arrived, reading.last_sequence(), now);
                });
                if fed.is_err() {
                    break Ok(Outcome::Lost);
                }
            }
            Ok(None) => break Ok(reading.outcome()),
            Err(error) => break Err(error),
        }
    };
    Followed { index, outcome, arrived, events: reading.events }
}

/// A number beyond any reply's is not taken: it would only make the table grow.
fn note(arrived: &mut Vec<Option<Duration>>, sequence: Option<u64>, now: Duration) {
    let Some(sequence) = sequence.and_then(|number| usize::try_from(number).ok()).filter(|number| *number < MAX_EVENTS)
    else {
        return;
    };
    if arrived.len() <= sequence {
        arrived.resize(sequence + 1, None);
    }
    arrived[sequence].get_or_insert(now);
}

async fn collect_arrivals(
    mut following: JoinSet<Followed>,
    plan: &Plan,
    stop: &CancellationToken,
) -> (Tally, Arrivals) {
    let (mut tally, mut arrivals) = (Tally::default(), Arrivals::default());
    let mut deadline = pin!(tokio::time::sleep(plan.timeout));
    loop {
        let followed = tokio::select! {
            followed = following.join_next() => followed,
            () = &mut deadline => break,
            () = stop.cancelled() => break,
        };
        let Some(followed) = followed else { break };
        // A panic in a follower is a defect of ours: it must not look like a good figure.
        let followed = followed.unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()));
        tally.events += followed.events;
        arrivals.add(followed.index, followed.arrived);
        match followed.outcome {
            Ok(outcome) => tally.count(outcome),
            Err(error) => {
                tally.lost += 1;
                tally.note(|| format!("lost: {}", chain(&error)));
            }
        }
    }
    if !following.is_empty() {
        tally.lost += following.len() as u64;
        tally.note(|| format!("lost: not at the end of the reply after {:?}", plan.timeout));
    }
    (tally, arrivals)
}

fn report(plan: &Plan, mut tally: Tally, arrivals: &Arrivals, cost: Option<Cost>) -> Report {
    let delays = arrivals.delays();
    if delays.behind_earliest.count() == 0 {
        tally.note(|| {
            "nothing measured: the reply ended before everybody had joined; take more --words or a slower --model"
                .into()
        });
    }
    let mut figures = vec![Figure::mean("events_measured", delays.events as f64, "events")];
    if let Some(cost) = cost {
        figures.push(Figure::mean(
            "server_cpu_us_per_event",
            cost.cpu.as_secs_f64() * 1e6 / tally.events.max(1) as f64,
            "µs",
        ));
        figures.push(Figure::mean("server_cpu_percent", cost.percent_of_a_core(), "% of a core"));
        figures.push(Figure::max("server_peak_mib", cost.peak_bytes as f64 / MIB, "MiB"));
    }
    Report {
        server: plan.target.to_string(),
        about: format!("one reply of {} words by {}, followed {} times", plan.words, plan.model, plan.followers),
        counts: vec![
            ("ok", tally.ok),
            ("lost", tally.lost),
            ("cut", tally.cut),
            ("wrong", tally.wrong),
            ("events", tally.events),
        ],
        latencies: vec![
            ("behind first", delays.behind_earliest),
            ("behind one", delays.behind_one),
            ("pace", delays.pace),
        ],
        figures,
        bad: tally.bad(),
        problems: tally.problems,
    }
}
