//! The servers that transcribe: the way to each, and whether it answers. Nothing is transcribed: that costs.

use std::sync::Arc;

use futures_util::future::join_all;

use super::reach::{Names, in_clear};
use super::row::{Row, Status};
use super::speech::of_service;
use crate::app;
use crate::config::Config;
use crate::services::Unobserved;
use crate::speech::hearing::server::HearingServer;

/// What says how to call them.
pub(super) const VARIABLES: &[&str] = &[
    "ASR_BASE_URL",
    "ASR_API_KEY",
    "ASR_MODEL",
    "ASR_CONNECT_TIMEOUT",
    "ASR_TIMEOUT",
    "ASR_MAX_IN_FLIGHT",
    "UPSTREAM_CA_FILE",
    "REJOINDER_CONFIG",
];

const CHANGE: &str = "ASR_BASE_URL, for example ASR_BASE_URL=http://localhost:8000/v1";

const NAMES: Names = Names { resolve: "hearing: resolve", connect: "hearing: connect", change: CHANGE };

pub(super) async fn probe(config: &Config) -> Vec<Row> {
    match app::hearing_servers(config, |_| Arc::new(Unobserved)) {
        Ok(servers) => {
            let rows = join_all(servers.iter().map(of_server)).await.into_iter().flatten();
            let with_key =
                config.hearing.servers.iter().map(|one| &one.server).filter(|server| !server.keys.is_empty());
            rows.chain(with_key.filter_map(|server| in_clear("hearing: key", &server.base_url, "ASR_BASE_URL")))
                .collect()
        }
        Err(error) => {
            let row = Row::new(Status::Fail, "hearing", "", "cannot be called");
            vec![row.why(crate::cli::chain(&error)).change(CHANGE)]
        }
    }
}

async fn of_server(server: &HearingServer) -> Vec<Row> {
    let base = server.service().base_url();
    let changes = ["ASR_BASE_URL, or ASR_API_KEY", "the transcription server"];
    of_service("hearing", (base, &NAMES), server.probe(), changes).await
}
