//! What operators set, as their platforms and hosters give it to them, and what of it is away when a server starts.

use crate::support::{server::Config, *};

mod nats;
mod pooler;
mod start;

/// What `rejoinder check` says of a configuration: its exit code, and the row of the worst that it found about `what`.
fn checked(config: &Config, what: &str) -> (Option<i32>, Value) {
    let (code, printed) = config.run("check --json");
    let report: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    let rank = |row: &&Value| ["ok", "note", "warn", "fail"].iter().position(|word| row["status"] == *word);
    let rows = report["rows"].as_array().expect("rows").iter().filter(|row| row["check"] == what);
    (code, rows.max_by_key(rank).unwrap_or_else(|| panic!("no row {what}: {report}")).clone())
}

/// That it fails, for this cause, and that this is what to change.
#[track_caller]
fn assert_fails((code, row): &(Option<i32>, Value), why: &str, change: &str) {
    assert_eq!((*code, &row["status"]), (Some(1), &json!("fail")), "{row}");
    assert!(row["why"].as_str().is_some_and(|text| text.contains(why)), "{why}: {row}");
    assert!(row["change"].as_str().is_some_and(|text| text.contains(change)), "{change}: {row}");
}

/// That it works.
#[track_caller]
fn assert_works((code, row): &(Option<i32>, Value)) {
    assert_eq!((*code, &row["status"]), (Some(0), &json!("ok")), "{row}");
}
