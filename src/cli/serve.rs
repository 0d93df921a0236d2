//! `rejoinder`, without a word: serve.

use std::io::Write;

use super::{Exit, chain};
use crate::app::App;
use crate::config::{Config, ConfigError, environment};
use crate::telemetry::Telemetry;

/// Serves until a signal ends it.
pub(super) fn run() -> Exit {
    let config = match configuration() {
        Ok(config) => config,
        Err(error) => return complain("the configuration is wrong", &error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain("cannot start", &error),
    };
    runtime.block_on(serve(config))
}

fn configuration() -> Result<Config, ConfigError> {
    Config::from_env_map(&environment()?)
}

async fn serve(config: Config) -> Exit {
    let telemetry = match Telemetry::start(&config.telemetry) {
        Ok(telemetry) => telemetry,
        Err(error) => return complain("cannot start", &error),
    };
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let app = match App::build(config).await {
        Ok(app) => app,
        Err(error) => return complain("cannot start", &error),
    };
    // Whoever started it may have closed the terminal since.
    let _ = writeln!(std::io::stdout(), "{}", app.greeting());
    app.run().await;
    telemetry.shut_down().await;
    Exit::Done
}

fn complain(what: &str, error: &dyn std::error::Error) -> Exit {
    let _ = writeln!(std::io::stderr(), "rejoinder: {what}: {}", chain(error));
    Exit::Bad
}
