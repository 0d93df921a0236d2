//! The NATS servers that keep the log: whether one can be reached, is new enough, and has JetStream.

use std::time::Instant;

use url::Url;

use super::reach::{Names, reach, shown};
use super::row::{Row, Status};
use crate::cli::chain;
use crate::log::jetstream::{Config, inspect};

/// The variables that this depends on.
pub(super) const VARIABLES: &[&str] =
    &["NATS_URL", "NATS_CREDENTIALS", "LOG_REPLICAS", "LOG_SHARDS", "LOG_MAX_BYTES", "LOG_RETENTION", "REPLAY_WINDOW"];

const NAMES: Names = Names {
    resolve: "log: resolve",
    connect: "log: connect",
    change: "NATS_URL, for example NATS_URL=nats://localhost:4222; or leave it empty: the log is then kept in DATA_DIR",
};

const WHAT: &str = "log: JetStream";

pub(super) async fn probe(config: Config) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut connected = 0;
    for url in addresses(&config.url) {
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
                .change("NATS_URL or NATS_CREDENTIALS, or the server: NATS 2.11 or later, started with --jetstream");
        }
    };
    if let Some(made_with) = found.shards.filter(|made_with| *made_with != config.shards) {
        return row(Status::Fail, format!("the log there has {made_with} shards"))
            .why(format!(
                "LOG_SHARDS={}: threads are found by it, so that it is fixed when the log is made",
                config.shards
            ))
            .change(format!("LOG_SHARDS={made_with}"));
    }
    let streams = if found.shards.is_some() { "its streams are there" } else { "its streams will be made" };
    let detail = format!("NATS {}, {streams}", found.version);
    if config.replicas > found.servers {
        return row(Status::Warn, detail)
            .why(format!("LOG_REPLICAS={} copies, and {} server was told of", config.replicas, found.servers))
            .change("LOG_REPLICAS, for example LOG_REPLICAS=1; or add servers to the cluster");
    }
    row(Status::Ok, detail)
}

/// The servers' addresses, without what is secret in them.
fn addresses(urls: &str) -> Vec<Url> {
    let parse = |one: &str| {
        let one = one.trim();
        let (_, rest) = one.split_once("://").unwrap_or(("nats", one));
        // Of this scheme a URL knows numbers from names.
        let mut url: Url = shown(&format!("http://{rest}").parse().ok()?).parse().ok()?;
        if url.port().is_none() {
            url.set_port(Some(4222)).ok()?;
        }
        Some(url)
    };
    urls.split(',').filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port_and_no_secret() {
        let found: Vec<_> = addresses("nats://me:pw@a, b:1,tls://c").iter().map(ToString::to_string).collect();
        assert_eq!(found, ["http://a:4222/", "http://b:1/", "http://c:4222/"]);
    }
}
