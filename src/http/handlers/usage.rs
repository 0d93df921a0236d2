//! `/v1/usage`: what a caller's replies used.

use std::time::Duration;

use crate::domain::caller::Caller;
use crate::domain::usage::Day;
use crate::http::Edge;
use crate::http::failure::Failure;
use crate::http::respond::{self, Answer};
use crate::log::now_ms;
use crate::protocols::usage::{self, UsageList};
use crate::replies;

/// How long the store is waited for.
const TIMEOUT: Duration = Duration::from_secs(5);

impl Edge {
    /// As the store has it: it is a moment behind.
    pub(in crate::http) async fn get_usage(&self, caller: &Caller, query: Option<&str>) -> Result<Answer, Failure> {
        let query = usage::parse(caller, query, Day::of(now_ms() / 1000))?;
        let rows = tokio::time::timeout(TIMEOUT, self.inner.store.usage(&query)).await;
        let rows = rows.map_err(replies::Error::unavailable)?.map_err(replies::Error::from)?;
        Ok(respond::json(&UsageList::new(&query, rows)))
    }
}
