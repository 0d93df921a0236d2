//! `rejoinder bench`: puts load on any server that serves the Responses or the Chat Completions API, and measures how it
//! answers. It knows servers from outside only.

#![expect(clippy::cast_precision_loss, reason = "figures are for people: the 52 bits of a float are exact enough")]

use std::path::PathBuf;
use std::time::Duration;

use clap::value_parser;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use self::load::Plan;
use self::message::Messages;
use self::reading::Api;
use self::report::Report;
use self::target::Target;
use crate::cli::{Exit, chain};
use crate::config::values::{Expected, duration};

mod fanout;
mod idle;
mod load;

mod alarm;
mod arrivals;
mod client;
mod field;
mod message;
mod process;
pub(crate) mod reading;
pub(crate) mod socket;
pub(crate) mod target;
mod wire;

mod figures;
mod progress;
mod report;
mod svg;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The server, with or without /v1 at the end
    pub(crate) url: String,

    /// The API to use; with websocket each client has a socket of its own, with ui each message is in a new chat
    #[arg(long, value_enum, default_value_t = Api::Responses)]
    pub(crate) api: Api,

    /// The model to ask for [default: echo, with --fanout echo-20ms]; the output of a model named echo… is compared with
    /// its input
    #[arg(long)]
    pub(crate) model: Option<String>,

    /// How many clients, each with a connection of its own
    #[arg(long, short = 'c', value_name = "N", default_value_t = 10, value_parser = value_parser!(u32).range(1..=20_000))]
    pub(crate) clients: u32,

    /// Each client sends a message this often, whether or not the last reply has come
    #[arg(long, value_name = "DURATION", default_value = "200ms", value_parser = duration)]
    pub(crate) every: Duration,

    /// How long (at most 1h)
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = at_most_an_hour)]
    pub(crate) lasting: Duration,

    /// Words in each message [default: 20, with --fanout 250]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) words: Option<u32>,

    /// A reply that is not complete after this is lost
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = at_most_an_hour)]
    pub(crate) timeout: Duration,

    /// Threads for the clients
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=64))]
    pub(crate) threads: u32,

    /// Sent as a bearer token
    #[arg(long, env = "REJOINDER_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,

    /// The server's process on this machine, to measure its CPU and memory
    #[arg(long)]
    pub(crate) pid: Option<u32>,

    /// Instead: hold N event streams on which nothing happens, and see what each costs (memory and CPU need --pid)
    #[arg(long, value_name = "N", conflicts_with_all = ["fanout", "clients", "every", "words"], value_parser = value_parser!(u32).range(1..=60_000))]
    pub(crate) idle: Option<u32>,

    /// All idle streams on one conversation, instead of a conversation each
    #[arg(long, requires = "idle")]
    pub(crate) idle_shared: bool,

    /// Instead: follow one reply N times, and see how far the followers are apart
    #[arg(long, value_name = "N", conflicts_with_all = ["clients", "every", "lasting"], value_parser = value_parser!(u32).range(1..=20_000))]
    pub(crate) fanout: Option<u32>,

    /// Measure a second server in turns with the first, and print the ratios
    #[arg(long, value_name = "URL")]
    pub(crate) compare: Option<String>,

    /// The second server's API [default: as the first]
    #[arg(long, value_enum, requires = "compare")]
    pub(crate) compare_api: Option<Api>,

    /// The second server's model [default: as the first]
    #[arg(long, requires = "compare")]
    pub(crate) compare_model: Option<String>,

    /// The second server's process
    #[arg(long, requires = "compare")]
    pub(crate) compare_pid: Option<u32>,

    /// Measure this often, and take it together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=100))]
    pub(crate) turns: u32,

    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,

    /// Draw the latency distribution
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Latency counts from the moment a message was due, so a server that stalls cannot hide it: a client whose last reply is \
still coming sends the next message late, and that counts too. A reply is
  ok       complete
  lost     without its end: no terminal event, a broken connection, no answer in time, never sent
  cut      ended by the server as failed or incomplete
  refused  answered with an error
  wrong    not what it had to be: the text of an echo, gaps in the sequence numbers

Examples:
  rejoinder bench http://127.0.0.1:8080
  rejoinder bench http://127.0.0.1:8080 --clients 1000 --every 200ms --for 60s --pid $(pidof rejoinder)
  rejoinder bench http://127.0.0.1:8080 --api websocket --clients 1000 --compare http://127.0.0.1:8080 --compare-api responses
  rejoinder bench http://127.0.0.1:8080 --idle 8000 --for 30s --pid $(pidof rejoinder)
  rejoinder bench http://127.0.0.1:8080 --fanout 1000 --compare http://127.0.0.1:9090 --compare-model prepared
  rejoinder bench http://127.0.0.1:11434 --api chat --model llama3.2 --clients 4 --every 5s --timeout 2m

Exit codes: 0 every reply was ok; 1 some were not; 2 the command line is wrong; 3 the server cannot be reached; \
130 stopped early with Ctrl-C.";

/// One server to measure.
#[derive(Debug, Clone)]
struct Server {
    target: Target,
    api: Api,
    model: String,
    pid: Option<u32>,
}

/// Measures, and prints what it found.
pub(crate) fn run(args: &Args) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, Exit::Bad),
    };
    let servers = match servers(args) {
        Ok(servers) => servers,
        Err(error) => return fail(&error, Exit::Usage),
    };
    let measured = runtime.block_on(async {
        let signals = Signals::listen();
        signals.at_once.run_until_cancelled(take_turns(args, &servers, &signals.stop)).await
    });
    runtime.shutdown_background();
    let (reports, interrupted) = match measured {
        Some(Ok(measured)) => measured,
        Some(Err(error)) => return fail(&error, Exit::Unreachable),
        None => return Exit::Interrupted,
    };
    print(args, &reports);
    if let Some(path) = &args.svg
        && let Err(error) = std::fs::write(path, svg::draw(&reports))
    {
        return fail(&error, Exit::Bad);
    }
    match reports.iter().all(|report| report.bad == 0) {
        _ if interrupted => Exit::Interrupted,
        true => Exit::Done,
        false => Exit::Bad,
    }
}

fn servers(args: &Args) -> Result<Vec<Server>, target::Error> {
    let key = args.api_key.as_deref();
    let model =
        args.model.clone().unwrap_or_else(|| if args.fanout.is_some() { "echo-20ms".into() } else { "echo".into() });
    let mut servers =
        vec![Server { target: Target::resolve(&args.url, key)?, api: args.api, model: model.clone(), pid: args.pid }];
    if let Some(url) = &args.compare {
        servers.push(Server {
            target: Target::resolve(url, key)?,
            api: args.compare_api.unwrap_or(args.api),
            model: args.compare_model.clone().unwrap_or(model),
            pid: args.compare_pid,
        });
    }
    Ok(servers)
}

/// Measures each server once per turn, so that what else happens on the machine meets all of them alike. Also returns
/// whether somebody wanted it to end early.
async fn take_turns(
    args: &Args,
    servers: &[Server],
    stop: &CancellationToken,
) -> Result<(Vec<Report>, bool), load::Error> {
    let mut reports: Vec<Report> = Vec::new();
    for turn in 0..args.turns {
        for (index, server) in servers.iter().enumerate() {
            if stop.is_cancelled() && turn > 0 {
                return Ok((reports, true));
            }
            let report = measure(args, server, stop).await?;
            match reports.get_mut(index) {
                Some(sum) => sum.add(&report),
                None => reports.push(report),
            }
        }
    }
    Ok((reports, stop.is_cancelled()))
}

async fn measure(args: &Args, server: &Server, stop: &CancellationToken) -> Result<Report, load::Error> {
    let Server { target, model, pid, .. } = server.clone();
    if let Some(streams) = args.idle {
        let plan =
            idle::Plan { target, streams: streams as usize, shared: args.idle_shared, lasting: args.lasting, pid };
        return Ok(idle::run(plan, stop).await?);
    }
    if let Some(followers) = args.fanout {
        let words = args.words.unwrap_or(250) as usize;
        let plan = fanout::Plan { target, model, words, followers: followers as usize, timeout: args.timeout, pid };
        return Ok(fanout::run(plan, stop).await?);
    }
    put_load(args, server, stop).await
}

async fn put_load(args: &Args, server: &Server, stop: &CancellationToken) -> Result<Report, load::Error> {
    let Server { target, api, model, pid } = server.clone();
    let words = args.words.unwrap_or(20) as usize;
    let plan = Plan {
        uri: target.uri(api.path()),
        messages: Messages::new(api, &model, words),
        target,
        api,
        clients: args.clients as usize,
        every: args.every,
        lasting: args.lasting,
        timeout: args.timeout,
        threads: args.threads as usize,
        pid,
    };
    let name = server.target.to_string();
    let about = format!(
        "{} API, model {model}, {words} words, {} clients, a message every {:?}, for {:?}",
        api.name(),
        args.clients,
        args.every,
        args.lasting
    );
    Ok(load::run(plan, &name, stop).await?.report(name, about))
}

#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
fn print(args: &Args, reports: &[Report]) {
    let ratios = match reports {
        [first, second] => report::ratios(first, second),
        _ => Vec::new(),
    };
    if args.json {
        let runs: Vec<_> = reports.iter().map(Report::json).collect();
        let ratios: serde_json::Map<_, _> =
            ratios.into_iter().map(|(name, ratio)| (name.replace(' ', "_"), json!(ratio))).collect();
        println!("{:#}", json!({ "runs": runs, "ratios": ratios }));
        return;
    }
    println!("{}", reports.iter().map(Report::text).collect::<Vec<_>>().join("\n"));
    if !ratios.is_empty() {
        println!("first / second");
    }
    for (name, ratio) in ratios {
        println!("{name:<36}{ratio:>8.2}×");
    }
}

/// The first Ctrl-C ends the run early, with what was measured so far; a second one ends it at once.
struct Signals {
    stop: CancellationToken,
    at_once: CancellationToken,
    _listening: AbortOnDropHandle<()>,
}

impl Signals {
    fn listen() -> Self {
        let (stop, at_once) = (CancellationToken::new(), CancellationToken::new());
        let tokens = [stop.clone(), at_once.clone()];
        let listening = tokio::spawn(async move {
            for token in tokens {
                if tokio::signal::ctrl_c().await.is_err() {
                    return;
                }
                token.cancel();
            }
        });
        Self { stop, at_once, _listening: AbortOnDropHandle::new(listening) }
    }
}

fn at_most_an_hour(text: &str) -> Result<Duration, Expected> {
    duration(text)
        .and_then(|d| if d <= Duration::from_hours(1) { Ok(d) } else { Err(Expected("at most 1h".to_owned())) })
}

fn fail(error: &dyn std::error::Error, exit: Exit) -> Exit {
    eprintln!("rejoinder bench: {}", chain(error));
    exit
}
