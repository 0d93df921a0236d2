//! The list of conversations, in `SQLite`.

use super::Sqlite;
use crate::domain::ids::ThreadId;
use crate::store::Error;
use crate::store::conversations::{BeginningRow, Beginnings, Listed, ListedRow, Listing, beginnings};

const LATEST_FIRST: &str = "SELECT thread, owner, active_at, first_reply FROM conversations \
     WHERE owner = ? AND NOT deleted AND (active_at, thread) < (?, ?) ORDER BY active_at DESC, thread DESC LIMIT ?";

const LATEST_LAST: &str = "SELECT thread, owner, active_at, first_reply FROM conversations \
     WHERE owner = ? AND NOT deleted AND (active_at, thread) > (?, ?) ORDER BY active_at, thread LIMIT ?";

impl Sqlite {
    /// See [`crate::store::Store::conversations`].
    pub async fn conversations(&self, listing: &Listing) -> Result<Vec<Listed>, Error> {
        let (active_at, thread) = listing.start();
        let rows = sqlx::query_as(if listing.ascending { LATEST_LAST } else { LATEST_FIRST })
            .bind(listing.owner.clone())
            .bind(active_at)
            .bind(thread)
            .bind(i64::try_from(listing.limit).unwrap_or(i64::MAX));
        Ok(listed(rows.fetch_all(&self.readers).await?))
    }

    /// See [`crate::store::Store::listed`].
    pub async fn listed(&self, threads: &[ThreadId]) -> Result<Vec<Listed>, Error> {
        let rows = sqlx::query_as(
            "SELECT thread, owner, active_at, first_reply FROM conversations \
             WHERE thread IN (SELECT value FROM json_each(?)) AND NOT deleted",
        );
        Ok(listed(rows.bind(list(threads.iter())).fetch_all(&self.readers).await?))
    }

    /// See [`crate::store::Store::beginnings`].
    pub async fn beginnings(&self, of: &[Listed]) -> Result<Beginnings, Error> {
        let threads = list(of.iter().map(|listed| listed.thread));
        let made = sqlx::query_as(
            "SELECT thread, ordinal, record FROM changes WHERE thread IN (SELECT value FROM json_each(?)) \
             AND kind IN ('conversation_created', 'metadata_set')",
        );
        let mut rows: Vec<BeginningRow> = made.bind(threads.clone()).fetch_all(&self.readers).await?;
        // (The record is that of the least ordinal.)
        let added = sqlx::query_as(
            "SELECT thread, min(ordinal), record FROM changes WHERE thread IN (SELECT value FROM json_each(?)) \
             AND kind = 'items_added' GROUP BY thread",
        );
        rows.extend(added.bind(threads).fetch_all(&self.readers).await?);
        let replies = sqlx::query_as(
            "SELECT id, ordinal, accepted FROM replies WHERE id IN (SELECT value FROM json_each(?)) AND NOT deleted",
        );
        let first = list(of.iter().filter_map(|listed| listed.first_reply.as_ref()));
        rows.extend(replies.bind(first).fetch_all(&self.readers).await?);
        beginnings(rows)
    }
}

fn listed(rows: Vec<ListedRow>) -> Vec<Listed> {
    rows.into_iter().filter_map(Listed::of).collect()
}

/// A list of ids as JSON.
fn list(ids: impl Iterator<Item = impl ToString>) -> String {
    ids.map(|id| id.to_string()).collect::<serde_json::Value>().to_string()
}
