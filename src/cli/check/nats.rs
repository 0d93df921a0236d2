//! The NATS servers that keep the log: whether one can be reached, is new enough, and has JetStream.

use std::time::Instant;

use async_nats::ServerAddr;
use url::Url;

use super::reach::{Names, reach};
use super::row::{Row, Status};
use crate::cli::chain;
use crate::log::jetstream::{Config, Servers, inspect};

/// The variables that this depends on.
pub(super) const VARIABLES: &[&str] = &[
    "NATS_URL",
    "NATS_CREDENTIALS",
    "NATS_CA_FILE",
    "NATS_DOMAIN",
    "NATS_API_PREFIX",
    "LOG_REPLICAS",
    "LOG_SHARDS",
    "LOG_MAX_BYTES",
    "LOG_RETENTION",
    "REPLAY_WINDOW",
];

const NAMES: Names = Names {
    resolve: "log: resolve",
    connect: "log: connect",
    change: "NATS_URL, for example NATS_URL=nats://localhost:4222; or leave it empty: the log is then kept in DATA_DIR",
};

const WHAT: &str = "log: JetStream";

pub(super) async fn probe(config: Config) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut connected = 0;
    for url in addresses(&config.servers) {
        let reached = reach(&url, &NAMES).await;
        connected += usize::from(reached.connected);
        rows.extend(reached.rows);
    }
    if connected == 0 {
        return rows;
    }
    // Of several servers, one that is away is no failure: the others have the log.
    for row in &mut rows {
        row.status = row.status.min(Status::Warn);
    }
    rows.push(speak(&config).await);
    rows
}

async fn speak(config: &Config) -> Row {
    let begun = Instant::now();
    let row = |status, detail: String| Row::new(status, WHAT, config.shown(), detail).took(begun.elapsed());
    let found = match inspect(config).await {
        Ok(found) => found,
        Err(error) => {
            return row(Status::Fail, "the log cannot be kept there".to_owned())
                .why(chain(&error))
                .change(error.change());
        }
    };
    let streams = match (found.missing.len(), found.shards) {
        (0, _) => "its streams are there".to_owned(),
        (_, None) => "its streams will be made".to_owned(),
        (missing, Some(_)) => format!("{missing} of its streams will be made"),
    };
    let detail = format!("NATS {}, {streams}", found.version);
    if config.replicas > found.servers {
        return row(Status::Warn, detail)
            .why(format!("LOG_REPLICAS={} copies, and {} server was told of", config.replicas, found.servers))
            .change("LOG_REPLICAS, for example LOG_REPLICAS=1; or add servers to the cluster");
    }
    if !found.differing.is_empty() {
        return row(Status::Warn, detail)
            .why(format!("this user may not change what differs: {}", found.differing.join("; ")))
            .change("LOG_RETENTION, REPLAY_WINDOW, LOG_MAX_BYTES or LOG_REPLICAS, or those streams");
    }
    row(Status::Ok, detail)
}

/// The servers' addresses, as [`reach`] wants them.
fn addresses(servers: &Servers) -> Vec<Url> {
    let url = |address: &ServerAddr| {
        // Of this scheme a URL knows numbers from names.
        let host = address.as_url_str().split_once("://").map_or("", |(_, rest)| rest);
        let mut url: Url = format!("http://{host}").parse().ok()?;
        url.set_port(Some(address.port())).ok()?;
        Some(url)
    };
    servers.addresses().iter().filter_map(url).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port_and_no_secret() {
        let servers = "nats://me:pw@a, b:1,tls://c,[::1]".parse().unwrap();
        let found: Vec<_> = addresses(&servers).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["http://a:4222/", "http://b:1/", "http://c:4222/", "http://[::1]:4222/"]);
    }
}
