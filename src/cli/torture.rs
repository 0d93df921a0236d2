//! `rejoinder torture`: puts load on servers, kills, freezes and restarts them meanwhile, and checks whether every
//! promise was kept. It knows servers from outside only, and starts them itself unless addresses are given.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::value_parser;
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use self::cluster::{Cluster, Counts};
use self::deployment::{Deployment, Wanted};
use self::plan::{Act, Size, Talker};
use self::report::Report;
use self::upstream::Upstream;
use crate::cli::{Exit, chain};
use crate::config::values::{Expected, duration};

mod checker;
mod plan;
mod script;
mod takeovers;
mod truth;

mod chaos;
mod follow;
mod talk;
mod verdict;
mod cluster;

mod host;
mod postgres;
mod deployment;
mod store;
mod upstream;

mod report;

/// What to do to the servers.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// An instance that runs already; once for each. It is not killed: clients alone do what they can
    #[arg(long, value_name = "URL")]
    pub(crate) url: Vec<String>,

    /// How long things befall the servers (at most 1h); then everything has to come to its end
    #[arg(long = "for", value_name = "DURATION", default_value = "60s", value_parser = at_most_an_hour)]
    pub(crate) lasting: Duration,

    /// Replies in all
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = value_parser!(u32).range(1..=20_000))]
    pub(crate) replies: u32,

    /// Followers of each reply, besides the client that asked
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(0..=20))]
    pub(crate) followers: u32,

    /// Instances
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..=9), conflicts_with = "url")]
    pub(crate) instances: u32,

    /// One instance with the log in its `DATA_DIR`, instead of several on NATS
    #[arg(long, conflicts_with_all = ["url", "instances"])]
    pub(crate) embedded: bool,

    /// Does the same again [default: another one each time]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Instead: N replies on one instance that is killed, and N on one that is frozen, with a model that is always quick:
    /// how long until others go on
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with_all = ["url", "embedded", "lasting"])]
    pub(crate) measure: Option<Measure>,

    /// The model to ask for, of servers that run already; the output of an echo model is known
    #[arg(long, default_value = "echo-20ms", requires = "url")]
    pub(crate) model: String,

    /// Sent as a bearer token to servers that run already
    #[arg(long, env = "REJOINDER_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,

    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Keep the servers' logs and data also when all is well
    #[arg(long)]
    pub(crate) keep: bool,
}

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Measure {
    /// From the end of an instance to the next event on a follower elsewhere.
    Takeover,
}

const EXAMPLES: &str = "\
It starts what it needs: instances of this program, NATS (NATS_SERVER, or nats-server in the PATH), Postgres where it is \
installed (else SQLite), and a model server that breaks off, refuses, stalls and repeats itself. Clients send messages, \
follow replies on any instance, leave and come back, stop and delete, and ask twice under one Idempotency-Key, while \
instances are killed, frozen, ended and started again, NATS is killed, and Postgres is away.

At the end every text must be the model's to the byte; every event numbered without gap or repetition; what was seen, shown \
again; each reply ended once, and once in the store; nothing deleted left there; no conversation locked. The same --seed \
plans the same run; how the machines take their turns is theirs.

Examples:
  rejoinder torture
  rejoinder torture --for 5m --replies 1000 --seed 7
  rejoinder torture --embedded --for 30s
  rejoinder torture --url http://10.0.0.1:8080 --url http://10.0.0.2:8080 --replies 50
  rejoinder torture --measure takeover --replies 200 --followers 1

Exit codes: 0 every promise was kept; 1 one was not (the servers' logs and data are kept), or they could not be started; \
2 the command line is wrong.";

/// A stream without bytes for this long is left: several heartbeats.
const IDLE: Duration = Duration::from_secs(4);
const IDLE_ELSEWHERE: Duration = Duration::from_secs(40);

/// How long everything may take to come to its end, when nothing befalls the servers any more.
const SETTLE: Duration = Duration::from_secs(90);

/// Between two tokens of the model, where takeovers are measured.
const PACE: Duration = Duration::from_millis(100);

fn at_most_an_hour(text: &str) -> Result<Duration, Expected> {
    let duration = duration(text)?;
    let short = duration <= Duration::from_hours(1);
    short.then_some(duration).ok_or_else(|| Expected("at most 1h".to_owned()))
}

/// Runs, and reports what was found.
pub(crate) fn run(args: &Args) -> Exit {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(torture(args)),
        Err(error) => return fail(&error),
    };
    match done {
        Ok(Some(report)) => {
            print(args, &report);
            if report.found.is_empty() { Exit::Done } else { Exit::Bad }
        }
        Ok(None) => Exit::Interrupted,
        Err(error) => fail(&*error),
    }
}

#[expect(clippy::print_stdout, reason = "the report is what the command is for")]
fn print(args: &Args, report: &Report) {
    if args.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.text());
    }
}

fn fail(error: &dyn std::error::Error) -> Exit {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "rejoinder: {}", chain(error));
    Exit::Bad
}

type Failure = Box<dyn std::error::Error>;

/// `None`: somebody wanted it to end.
async fn torture(args: &Args) -> Result<Option<Report>, Failure> {
    let seed = args.seed.unwrap_or_else(|| u64::from(fastrand::u32(..)));
    let deployment = build(args, seed).await?;
    let amount = Size {
        seed,
        lasting: args.lasting,
        replies: args.replies as usize,
        followers: args.followers as usize,
        instances: deployment.servers.len(),
    };
    let (talkers, acts) = planned(args, &amount, &deployment);
    let name = describe(args, &deployment);
    let cluster = Arc::new(cluster(args, deployment, acts.last().map_or(amount.lasting, |(at, _)| *at)));
    cluster.log(&format!("seed {seed}, {name}"));
    let ran = tokio::select! {
        ran = go(&cluster, talkers, &acts) => ran,
        _ = tokio::signal::ctrl_c() => return Ok(None),
    };
    ran?;
    let mut directory_left = None;
    let is_bad = !cluster.found.lock().is_empty();
    let report = |directory_left| Report::of(&cluster, seed, name, directory_left);
    if let Some(directory) = &cluster.deployment.directory
        && (is_bad || args.keep)
    {
        directory.keep();
        directory_left = Some(directory.path.clone());
    }
    Ok(Some(report(directory_left)))
}

async fn build(args: &Args, seed: u64) -> Result<Deployment, Failure> {
    if !args.url.is_empty() {
        return Ok(Deployment::elsewhere(&args.url, args.api_key.as_deref())?);
    }
    let upstream = Upstream::start(seed, args.measure.map(|_| PACE)).await?;
    let instances = if args.embedded { 1 } else { args.instances as usize };
    Ok(Deployment::build(Wanted { instances, embedded: args.embedded }, upstream).await?)
}

fn planned(args: &Args, amount: &Size, deployment: &Deployment) -> (Vec<Talker>, Vec<(Duration, Act)>) {
    if args.measure.is_some() {
        return plan::takeovers(amount);
    }
    let acts = if args.url.is_empty() {
        plan::acts(amount, deployment.has_nats(), deployment.has_postgres())
    } else {
        Vec::new()
    };
    (plan::talkers(amount), acts)
}

fn describe(args: &Args, deployment: &Deployment) -> String {
    let instances = deployment.servers.len();
    let store = if deployment.has_postgres() { "Postgres" } else { "SQLite (no Postgres is installed)" };
    match (args.url.is_empty(), args.embedded) {
        (false, _) => format!("{instances} instances elsewhere"),
        (true, true) => "1 instance with the embedded log and SQLite".to_owned(),
        (true, false) => format!("{instances} instances on NATS JetStream with {store}"),
    }
}

fn cluster(args: &Args, deployment: Deployment, lasting: Duration) -> Cluster {
    let begun = Instant::now();
    let is_own = args.url.is_empty();
    let truth: fn(&str) -> Option<String> = if is_own {
        |prompt| Some(truth::truth(prompt))
    } else if args.model.starts_with("echo") {
        |prompt| Some(prompt.to_owned())
    } else {
        |_| None
    };
    Cluster {
        deployment,
        model: (!is_own).then(|| args.model.clone()),
        truth,
        nonce: fastrand::u64(..),
        begun,
        deadline: begun + lasting.max(args.lasting) + SETTLE,
        idle: if is_own { IDLE } else { IDLE_ELSEWHERE },
        counts: Counts::default(),
        tasks: TaskTracker::new(),
        replies: Mutex::default(),
        threads: Mutex::default(),
        acts: Mutex::default(),
        found: Mutex::default(),
        talks: !args.json,
    }
}

/// Lets everybody talk, and everything happen, until all of it is over; then looks at what is left.
async fn go(cluster: &Arc<Cluster>, talkers: Vec<Talker>, acts: &[(Duration, Act)]) -> Result<(), Failure> {
    for talker in talkers {
        cluster.tasks.spawn(talk::talk(Arc::clone(cluster), talker));
    }
    cluster.tasks.close();
    chaos::run(cluster, acts).await?;
    cluster.log("no more faults are injected");
    cluster.tasks.wait().await;
    cluster.log("all clients are done; checking the replies");
    verdict::look(cluster).await;
    Ok(())
}
