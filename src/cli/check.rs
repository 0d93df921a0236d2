//! `rejoinder check`: reads the configuration, tries every address in it, and says what will not work, why, and what to
//! change.
//!
//! A probe looks at one thing and gives rows of a table; it neither prints nor knows of the others. All are tried at once, and
//! none leaves anything behind: what is not there yet is not made.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};

use self::row::{Row, Status};
use super::Exit;
use crate::config::{Config, ConfigError, environment};

mod row;
mod table;
mod tiers;

mod settings;
mod speech;

mod address;
mod callers;
mod hearing;
mod log;
mod model;
mod nats;
mod platform;
mod running;
mod store;
mod traces;
mod webhooks;

mod reach;

/// How much to try.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Also have the default model say something, and measure how long its first token takes
    #[arg(long)]
    pub(crate) deep: bool,

    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

const EXAMPLES: &str = "\
It reads what `rejoinder serve` would read (the environment, and .env in the current directory), and changes nothing. \
Each line is
  ok    it works
  note  it works, and is worth knowing
  warn  it works, and may not do what was meant
  FAIL  it does not work: below it stands why, and what to change

Examples:
  rejoinder check
  LLM_BASE_URL=http://localhost:11434/v1 rejoinder check --deep
  rejoinder check --json | jq '.rows[] | select(.status == \"fail\")'

Exit codes: 0 everything works, perhaps with warnings; 1 something does not; 2 the command line is wrong.";

/// The longest that one probe takes; what `--deep` waits for is not counted.
const TIMEOUT: Duration = Duration::from_secs(9);

/// The longest that one step of a probe takes: a name, a connection.
const STEP: Duration = Duration::from_secs(3);

/// Something to try, and the variables that say how.
struct Probe<'a> {
    what: &'static str,
    variables: &'static [&'static str],
    rows: BoxFuture<'a, Vec<Row>>,
}

/// Checks, and prints what it found.
pub(crate) fn run(args: &Args) -> Exit {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "rejoinder check: {error}");
            return Exit::Bad;
        }
    };
    let rows = runtime.block_on(check(args.deep));
    // A name that is being looked up cannot be stopped, and nobody waits for it any more.
    runtime.shutdown_background();
    print(args.json, &rows)
}

async fn check(deep: bool) -> Vec<Row> {
    let set = match environment() {
        Ok(set) => set,
        // Nothing else can be known.
        Err(fault) => return vec![settings::fault(&fault)],
    };
    let (config, faults) = Config::with_faults(&set);
    let mut rows = settings::rows(&set, &config, &faults);
    rows.extend(platform::rows(&set, &config));
    let found = join_all(probes(&config, deep).into_iter().map(|probe| probe.look(&faults))).await;
    rows.extend(found.into_iter().flatten());
    rows
}

/// Everything that is tried, in the order in which it is shown.
fn probes(config: &Config, deep: bool) -> Vec<Probe<'_>> {
    let probe = |what, variables, rows| Probe { what, variables, rows };
    let mut probes = vec![
        probe("address", &["HOST", "PORT", "AUTH"], Box::pin(limited("address", address::probe(config)))),
        probe("callers", callers::VARIABLES, Box::pin(limited("callers", callers::probe(config)))),
        match crate::app::nats_config(config) {
            Some(nats) => probe("log", nats::VARIABLES, Box::pin(limited("log", nats::probe(nats)))),
            None => probe("log", &["DATA_DIR", "MIN_FREE_DISK"], Box::pin(limited("log", log::probe(config)))),
        },
        probe("store", store::VARIABLES, Box::pin(limited("store", store::probe(config)))),
        probe("model", model::VARIABLES, Box::pin(model::probe(config, deep))),
    ];
    if !config.speech.servers.is_empty() {
        probes.push(probe("speech", speech::VARIABLES, Box::pin(limited("speech", speech::probe(config)))));
    }
    if !config.hearing.servers.is_empty() {
        probes.push(probe("hearing", hearing::VARIABLES, Box::pin(limited("hearing", hearing::probe(config)))));
    }
    if !config.webhooks.of_file.is_empty() {
        let rows = Box::pin(limited("webhooks", webhooks::probe(config)));
        probes.push(probe("webhooks", webhooks::VARIABLES, rows));
    }
    if let Some(otlp) = &config.telemetry.otlp {
        let variables = &["OTEL_EXPORTER_OTLP_ENDPOINT"];
        probes.push(probe("traces", variables, Box::pin(limited("traces", traces::probe(otlp)))));
    }
    probes
}

impl Probe<'_> {
    /// What it finds. What a wrong value would have said how to do is not tried with a default: that is not what was
    /// meant.
    async fn look(self, faults: &[ConfigError]) -> Vec<Row> {
        match faults.iter().find(|fault| self.variables.contains(&fault.name)) {
            Some(fault) => vec![Row::new(Status::Note, self.what, "", format!("not tried: {} is wrong", fault.name))],
            None => self.rows.await,
        }
    }
}

/// A probe that ends in time, whatever it looks at does.
async fn limited(what: &'static str, probe: impl Future<Output = Vec<Row>>) -> Vec<Row> {
    let late = |_| vec![Row::new(Status::Fail, what, "", format!("nothing came within {} s", TIMEOUT.as_secs()))];
    tokio::time::timeout(TIMEOUT, probe).await.unwrap_or_else(late)
}

fn print(json: bool, rows: &[Row]) -> Exit {
    let mut out = std::io::stdout();
    let text = if json { row::json(rows) } else { table::text(rows, out.is_terminal() && super::colour::is_wanted()) };
    match out.write_all(text.as_bytes()) {
        Ok(()) if rows.iter().all(|row| row.status != Status::Fail) => Exit::Done,
        _ => Exit::Bad,
    }
}
