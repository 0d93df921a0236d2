//! Endpoints of webhooks in the file: the way to each, and whether it may be called. Nothing is posted.

use futures_util::future::join_all;
use tokio::net::lookup_host;
use tokio::time::timeout;
use url::{Host, Url};

use super::STEP;
use super::reach::{Names, reach};
use super::row::{Row, Status};
use crate::config::{Config, StaticWebhook, database};
use crate::consumers::webhooks::Guard;

/// What says where they are, and how they are called.
pub(super) const VARIABLES: &[&str] =
    &["REJOINDER_CONFIG", "WEBHOOK_ALLOW_PRIVATE", "UPSTREAM_CA_FILE", "DATABASE_URL", "NATS_URL"];

const CHANGE: &str = "url in [[webhook]], in the file of REJOINDER_CONFIG";

const NAMES: Names = Names { resolve: "webhook: resolve", connect: "webhook: connect", change: CHANGE };

pub(super) async fn probe(config: &Config) -> Vec<Row> {
    let guard = Guard::new(config.webhooks.allows_private);
    let rows = join_all(config.webhooks.of_file.iter().map(|webhook| of_endpoint(webhook, &guard))).await;
    let mut rows: Vec<_> = rows.into_iter().flatten().collect();
    if config.log.nats.is_some() && matches!(config.store, database::Config::Sqlite(_)) {
        let row = Row::new(Status::Fail, "webhooks", "", "not delivered: the instances share no store");
        rows.push(row.change("DATABASE_URL, for example DATABASE_URL=postgres://user:password@host/database"));
    }
    rows
}

async fn of_endpoint(webhook: &StaticWebhook, guard: &Guard) -> Vec<Row> {
    if let Some(found) = forbidden(&webhook.url, guard).await {
        let row = Row::new(Status::Fail, "webhook", webhook.name.as_str(), "is not called");
        let why = format!("{found} is not an address of the public internet");
        return vec![row.why(why).change("WEBHOOK_ALLOW_PRIVATE=on, if that is meant")];
    }
    // What stands behind the host may be a secret of its owner.
    let mut shown = webhook.url.clone();
    shown.set_path("");
    shown.set_query(None);
    reach(&shown, &NAMES).await.rows
}

/// An address of the host, if all of them are such that nobody calls them.
async fn forbidden(url: &Url, guard: &Guard) -> Option<String> {
    let found: Vec<_> = match url.host()? {
        Host::Ipv4(address) => vec![address.into()],
        Host::Ipv6(address) => vec![address.into()],
        // One that is not found, the next step tells.
        Host::Domain(name) => {
            let found = timeout(STEP, lookup_host((name, 0))).await.ok()?.ok()?;
            found.map(|address| address.ip()).collect()
        }
    };
    let is_any_called = found.iter().any(|address| guard.allows(*address));
    found.first().filter(|_| !is_any_called).map(ToString::to_string)
}
