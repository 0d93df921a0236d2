//! `rejoinder bench`: puts load on any server that speaks the Responses or the Chat Completions API, and measures how it
//! answers. It knows servers from outside only.

use std::time::Duration;

use clap::value_parser;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::load::Plan;
use self::message::Messages;
use self::reading::Api;
use self::report::Report;
use self::target::Target;
use crate::cli::{Exit, chain, duration};

pub mod load;

pub mod client;
pub mod message;
pub mod reading;
pub mod target;

pub mod figures;
pub mod process;
pub mod progress;
pub mod report;

pub mod alarm;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// The server, with or without /v1 at the end
    pub url: String,

    /// The API to speak
    #[arg(long, value_enum, default_value_t = Api::Responses)]
    pub api: Api,

    /// The model to ask for; what a model named echo… says is compared with what it was told
    #[arg(long, default_value = "echo")]
    pub model: String,

    /// How many clients, each with a connection of its own
    #[arg(long, short = 'c', default_value_t = 10, value_parser = value_parser!(u32).range(1..=20_000))]
    pub clients: u32,

    /// Each client says something this often, whether or not the last reply has come
    #[arg(long, default_value = "200ms", value_parser = duration::parse_positive)]
    pub every: Duration,

    /// How long (at most 1h)
    #[arg(long = "for", default_value = "10s", value_parser = at_most_an_hour)]
    pub lasting: Duration,

    /// Words in each message
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(1..=10_000))]
    pub words: u32,

    /// A reply that is not complete after this is lost
    #[arg(long, default_value = "30s", value_parser = at_most_an_hour)]
    pub timeout: Duration,

    /// Threads for the clients
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=64))]
    pub threads: u32,

    /// Sent as a bearer token
    #[arg(long, env = "REJOINDER_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,

    /// The server's process on this machine, to measure its CPU and memory
    #[arg(long)]
    pub pid: Option<u32>,

    /// Print JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Latency counts from the moment a message was due, so a server that stalls cannot hide it. A reply is
  ok       complete
  lost     without its end: no terminal event, a broken connection, no answer in time, never sent
  cut      ended by the server as failed or incomplete
  refused  answered with an error
  wrong    not what it had to be: the text of an echo, gaps in the sequence numbers

Examples:
  rejoinder bench http://127.0.0.1:8080
  rejoinder bench http://127.0.0.1:8080 --clients 1000 --every 200ms --for 60s --pid $(pidof rejoinder)
  rejoinder bench http://127.0.0.1:11434 --api chat --model llama3.2 --clients 4 --every 5s --timeout 2m

Exit codes: 0 every reply was ok; 1 some were not; 2 the command line is wrong; 3 the server cannot be reached.";

/// One server to measure.
#[derive(Debug, Clone)]
struct Server {
    target: Target,
    api: Api,
    model: String,
    pid: Option<u32>,
}

/// Measures, and prints what it found.
pub fn run(args: Args) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, Exit::Bad),
    };
    runtime.block_on(measure(&args))
}

async fn measure(args: &Args) -> Exit {
    let target = match Target::resolve(&args.url, args.api_key.as_deref()) {
        Ok(target) => target,
        Err(error) => return fail(&error, Exit::Usage),
    };
    let server = Server { target, api: args.api, model: args.model.clone(), pid: args.pid };
    let stop = stop_at_ctrl_c();
    let report = match load(args, &server, &stop).await {
        Ok(report) => report,
        Err(error) => return fail(&error, Exit::Unreachable),
    };
    print(args, &report);
    if report.bad == 0 { Exit::Done } else { Exit::Bad }
}

async fn load(args: &Args, server: &Server, stop: &CancellationToken) -> Result<Report, load::Error> {
    let uri = server.target.uri(match server.api {
        Api::Responses => "/v1/responses",
        Api::Chat => "/v1/chat/completions",
    });
    let plan = Plan {
        target: server.target.clone(),
        uri,
        api: server.api,
        messages: Messages::new(server.api, &server.model, args.words as usize),
        clients: args.clients as usize,
        every: args.every,
        lasting: args.lasting,
        timeout: args.timeout,
        threads: args.threads as usize,
        pid: server.pid,
    };
    let name = server.target.to_string();
    let about = format!(
        "{:?} API, model {}, {} words, {} clients, a message every {:?}, for {:?}",
        server.api, server.model, args.words, args.clients, args.every, args.lasting
    );
    Ok(load::run(plan, &name, stop).await?.report(name, about))
}

fn print(args: &Args, report: &Report) {
    if args.json {
        println!("{:#}", json!({ "runs": [report.json()] }));
    } else {
        print!("{}", report.text());
    }
}

/// The first Ctrl-C ends the run early, with what was measured so far; a second one ends the process.
fn stop_at_ctrl_c() -> CancellationToken {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        for exit in [false, true] {
            if tokio::signal::ctrl_c().await.is_err() {
                return;
            }
            if exit {
                std::process::exit(130);
            }
            stopped.cancel();
        }
    });
    stop
}

fn at_most_an_hour(text: &str) -> Result<Duration, String> {
    duration::parse_positive(text).and_then(|d| if d <= Duration::from_secs(3600) { Ok(d) } else { Err("at most 1h".into()) })
}

fn fail(error: &dyn std::error::Error, exit: Exit) -> Exit {
    eprintln!("rejoinder bench: {}", chain(error));
    exit
}
