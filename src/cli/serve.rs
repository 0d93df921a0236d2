//! `rejoinder serve`, and `rejoinder` without a word: the server itself.

use std::io::Write;
use std::time::Duration;

use super::configured::configuration;
use super::{Exit, chain};
use crate::app::App;
use crate::config::Config;
use crate::telemetry::Telemetry;

/// Threads that read and write files, at most; what comes beyond waits. Each keeps some memory.
const BLOCKING_THREADS: usize = 64;

/// How long what blocks may still take at the end.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Nothing: a server is set up by its environment.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {}

const EXAMPLES: &str = "\
It is set up by environment variables, or by a file .env in the current directory; .env.example lists them all. \
`rejoinder check` says beforehand what will not work.

Examples:
  rejoinder serve
  LLM_BASE_URL=http://localhost:11434/v1 rejoinder serve
  HOST=0.0.0.0 AUTH=none PORT=80 DATA_DIR=/var/lib/rejoinder rejoinder serve

Exit codes: 0 ended by a signal, in good order; 1 it could not start, or its log cannot go on (standard error says why). \
A log on NATS that is away is waited for.";

/// Serves until a signal ends it.
pub(crate) fn run() -> Exit {
    let Some(config) = configuration() else { return Exit::Bad };
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build() {
            Ok(runtime) => runtime,
            Err(error) => return complain(&error),
        };
    let (exit, last_wait) = runtime.block_on(serve(config));
    runtime.shutdown_timeout(last_wait);
    exit
}

/// How it ended, and how long what blocks may still take.
async fn serve(config: Config) -> (Exit, Duration) {
    let telemetry = match Telemetry::start(&config.telemetry) {
        Ok(telemetry) => telemetry,
        Err(error) => return (complain(&error), Duration::ZERO),
    };
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let app = match App::build(config).await {
        Ok(Some(app)) => app,
        // Nothing was taken in that would have to be brought to an end.
        Ok(None) => {
            tracing::info!("ended by a signal before it had started");
            return (Exit::Done, Duration::ZERO);
        }
        Err(error) => return (complain(&error), LAST_WAIT),
    };
    // Whoever started it may have closed the terminal since.
    let _ = writeln!(std::io::stdout(), "{}", app.greeting());
    let ended = Box::pin(app.run()).await;
    if !matches!(ended, Ok(false)) {
        telemetry.shut_down().await;
    }
    match ended {
        // A thread that hangs in a write does not hold up the end, and a second signal waits for nothing.
        Ok(true) => (Exit::Done, LAST_WAIT),
        Ok(false) => (Exit::Interrupted, Duration::ZERO),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "rejoinder: {}", chain(&error));
            (Exit::Bad, LAST_WAIT)
        }
    }
}

fn complain(error: &dyn std::error::Error) -> Exit {
    let _ = writeln!(std::io::stderr(), "rejoinder: cannot start: {}", chain(error));
    Exit::Bad
}
