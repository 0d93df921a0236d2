//! `rejoinder serve`, and `rejoinder` without a word: the server itself.

use std::io::Write;

use super::configured::configuration;
use super::{Exit, chain};
use crate::app::App;
use crate::config::Config;
use crate::telemetry::Telemetry;

/// Threads that read and write files, at most; what comes beyond waits. Each keeps some memory.
const BLOCKING_THREADS: usize = 64;

/// How long what blocks may still take at the end.
const LAST_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

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

Exit codes: 0 ended by a signal, in good order; 1 it could not start, or its log cannot go on (standard error says why).";

/// Serves until a signal ends it.
pub(crate) fn run() -> Exit {
    let Some(config) = configuration() else { return Exit::Bad };
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build() {
            Ok(runtime) => runtime,
            Err(error) => return complain(&error),
        };
    let exit = runtime.block_on(serve(config));
    // A thread that hangs in a write does not hold up the end, and a second signal waits for nothing.
    runtime.shutdown_timeout(if exit == Exit::Interrupted { std::time::Duration::ZERO } else { LAST_WAIT });
    exit
}

async fn serve(config: Config) -> Exit {
    let telemetry = match Telemetry::start(&config.telemetry) {
        Ok(telemetry) => telemetry,
        Err(error) => return complain(&error),
    };
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let app = match App::build(config).await {
        Ok(app) => app,
        Err(error) => return complain(&error),
    };
    // Whoever started it may have closed the terminal since.
    let _ = writeln!(std::io::stdout(), "{}", app.greeting());
    let ended = app.run().await;
    if !matches!(ended, Ok(false)) {
        telemetry.shut_down().await;
    }
    match ended {
        Ok(true) => Exit::Done,
        Ok(false) => Exit::Interrupted,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "rejoinder: {}", chain(&error));
            Exit::Bad
        }
    }
}

fn complain(error: &dyn std::error::Error) -> Exit {
    let _ = writeln!(std::io::stderr(), "rejoinder: cannot start: {}", chain(error));
    Exit::Bad
}
