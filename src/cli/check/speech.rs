//! The speech servers: the way to each, and whether it answers. Nothing is spoken: that costs.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use tokio::time::timeout;
use url::Url;

use super::STEP;
use super::reach::{Names, in_clear, reach, shown};
use super::row::{Row, Status};
use crate::app;
use crate::config::Config;
use crate::services::{Fault, Unobserved};
use crate::speech::server::SpeechServer;

/// What says how to call them.
pub(super) const VARIABLES: &[&str] = &[
    "TTS_BASE_URL",
    "TTS_API_KEY",
    "TTS_MODEL",
    "TTS_VOICE",
    "TTS_CONNECT_TIMEOUT",
    "TTS_FIRST_TIMEOUT",
    "TTS_IDLE_TIMEOUT",
    "TTS_MAX_IN_FLIGHT",
    "UPSTREAM_CA_FILE",
    "REJOINDER_CONFIG",
];

const CHANGE: &str = "TTS_BASE_URL, for example TTS_BASE_URL=http://localhost:8000/v1";

const NAMES: Names = Names { resolve: "speech: resolve", connect: "speech: connect", change: CHANGE };

pub(super) async fn probe(config: &Config) -> Vec<Row> {
    match app::speech_servers(config, |_| Arc::new(Unobserved)) {
        Ok(servers) => {
            let rows = join_all(servers.iter().map(of_server)).await.into_iter().flatten();
            let with_key = config.speech.servers.iter().map(|one| &one.server).filter(|server| !server.keys.is_empty());
            rows.chain(with_key.filter_map(|server| in_clear("speech: key", &server.base_url, "TTS_BASE_URL")))
                .collect()
        }
        Err(error) => {
            let row = Row::new(Status::Fail, "speech", "", "cannot be called");
            vec![row.why(crate::cli::chain(&error)).change(CHANGE)]
        }
    }
}

async fn of_server(server: &SpeechServer) -> Vec<Row> {
    let base = server.service().base_url();
    of_service("speech", (base, &NAMES), server.probe(), ["TTS_BASE_URL, or TTS_API_KEY", "the speech server"]).await
}

/// The way to a service, and whether it answers; `changes` is what to change where it refuses, and where it says nothing.
pub(super) async fn of_service(
    what: &'static str,
    (base, names): (&Url, &Names),
    probe: impl Future<Output = Result<(), Fault>>,
    [refused, silent]: [&'static str; 2],
) -> Vec<Row> {
    let reached = reach(base, names).await;
    let mut rows = reached.rows;
    if reached.connected {
        let begun = Instant::now();
        let row = |status, detail: &str| Row::new(status, what, shown(base), detail).took(begun.elapsed());
        rows.push(match timeout(STEP, probe).await {
            Ok(Ok(())) => row(Status::Ok, "answers"),
            Ok(Err(fault)) => row(Status::Fail, "does not work").why(fault.cause).change(refused),
            Err(_) => row(Status::Fail, "takes connections, and does not answer").change(silent),
        });
    }
    rows
}
