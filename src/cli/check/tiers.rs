//! How much callers may use: what each tier comes to, and which keys name one that is not there.

use super::row::{Row, Status};
use crate::auth::key_lines;
use crate::config::{Config, DEFAULT_TIER, Tier};

const WHAT: &str = "limits";

pub(super) fn rows(config: &Config) -> Vec<Row> {
    let tiers = config.tiers.all();
    let mut rows: Vec<_> = tiers.iter().map(|tier| Row::new(Status::Ok, WHAT, value(tier), told(tier))).collect();
    if tiers.is_empty() {
        if config.auth.is_on() {
            let row = Row::new(Status::Note, WHAT, "no tiers", "callers may use as much as they like");
            rows.push(row.change("REJOINDER_CONFIG: [[tier]] in that file, see rejoinder.example.toml"));
        }
        return rows;
    }
    rows.extend(unknown(config).map(|name| {
        let detail = format!("no such tier is in the file: keys that name it are held to the tier \"{DEFAULT_TIER}\"");
        Row::new(Status::Warn, WHAT, format!("tier {name}"), detail)
            .change("REJOINDER_CONFIG: a [[tier]] of that name; or the keys")
    }));
    rows
}

fn value(tier: &Tier) -> String {
    format!("tier {}", tier.name)
}

/// The limits of a tier, in words.
fn told(tier: &Tier) -> String {
    let Tier { burst, requests_per_minute, tokens_per_minute, tokens_per_day, replies_at_once, .. } = tier;
    let limits = [
        requests_per_minute.map(|requests| format!("{requests} requests a minute, {burst} at once")),
        tokens_per_minute.map(|tokens| format!("{tokens} tokens a minute")),
        tokens_per_day.map(|tokens| format!("{tokens} tokens a day")),
        replies_at_once.map(|replies| format!("{replies} replies at once")),
        tier.max_output_tokens.map(|tokens| format!("{tokens} tokens of output")),
    ];
    let limits: Vec<_> = limits.into_iter().flatten().collect();
    if limits.is_empty() { "no limits".to_owned() } else { format!("each caller: {}", limits.join("; ")) }
}

/// Tiers that keys name, and that are not there.
fn unknown(config: &Config) -> impl Iterator<Item = String> {
    let lines = config.auth.keys.as_ref().and_then(|keys| key_lines(keys).ok()).unwrap_or_default();
    let known = |name: &str| config.tiers.all().iter().any(|tier| tier.name == name);
    let names: std::collections::BTreeSet<_> =
        lines.into_iter().map(|line| line.tier).filter(|name| !known(name)).collect();
    names.into_iter()
}
