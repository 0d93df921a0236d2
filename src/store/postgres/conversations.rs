//! The list of conversations, in Postgres.

use super::Postgres;
use crate::domain::ids::ThreadId;
use crate::store::Error;
use crate::store::conversations::{BeginningRow, Beginnings, Listed, ListedRow, Listing, beginnings};

const LATEST_FIRST: &str = "SELECT thread, owner, active_at, first_reply FROM conversations \
     WHERE owner = $1 AND NOT deleted AND (active_at, thread) < ($2, $3) ORDER BY active_at DESC, thread DESC LIMIT $4";

const LATEST_LAST: &str = "SELECT thread, owner, active_at, first_reply FROM conversations \
     WHERE owner = $1 AND NOT deleted AND (active_at, thread) > ($2, $3) ORDER BY active_at, thread LIMIT $4";

const MADE: &str = "SELECT thread, ordinal, record FROM changes WHERE thread = ANY($1) \
     AND kind IN ('conversation_created', 'metadata_set')";

const ADDED: &str = "SELECT DISTINCT ON (thread) thread, ordinal, record FROM changes WHERE thread = ANY($1) \
     AND kind = 'items_added' ORDER BY thread, ordinal";

const FIRST_REPLIES: &str = "SELECT id, ordinal, accepted FROM replies WHERE id = ANY($1) AND NOT deleted";

impl Postgres {
    /// See [`crate::store::Store::conversations`].
    pub async fn conversations(&self, listing: &Listing) -> Result<Vec<Listed>, Error> {
        self.ask(async {
            let mut connection = self.connections.take().await?;
            let (active_at, thread) = listing.start();
            let rows = sqlx::query_as(if listing.ascending { LATEST_LAST } else { LATEST_FIRST })
                .bind(super::write::storable(&listing.owner))
                .bind(active_at)
                .bind(thread)
                .bind(i64::try_from(listing.limit).unwrap_or(i64::MAX))
                .persistent(connection.is_session());
            let rows: Vec<ListedRow> = rows.fetch_all(&mut *connection).await?;
            connection.finish().await?;
            Ok(rows.into_iter().filter_map(Listed::of).collect())
        })
        .await
    }

    /// See [`crate::store::Store::listed`].
    pub async fn listed(&self, threads: &[ThreadId]) -> Result<Vec<Listed>, Error> {
        self.ask(async {
            let mut connection = self.connections.take().await?;
            let rows = sqlx::query_as(
                "SELECT thread, owner, active_at, first_reply FROM conversations WHERE thread = ANY($1) AND NOT deleted",
            );
            let rows = rows.bind(ids(threads.iter())).persistent(connection.is_session());
            let rows: Vec<ListedRow> = rows.fetch_all(&mut *connection).await?;
            connection.finish().await?;
            Ok(rows.into_iter().filter_map(Listed::of).collect())
        })
        .await
    }

    /// See [`crate::store::Store::beginnings`].
    pub async fn beginnings(&self, of: &[Listed]) -> Result<Beginnings, Error> {
        self.ask(async {
            let mut connection = self.connections.take().await?;
            let threads = ids(of.iter().map(|listed| listed.thread));
            let first = of.iter().filter_map(|listed| listed.first_reply.clone()).collect();
            let mut rows = Vec::new();
            for (sql, ids) in [(MADE, threads.clone()), (ADDED, threads), (FIRST_REPLIES, first)] {
                let query = sqlx::query_as(sql).bind(ids).persistent(connection.is_session());
                rows.extend::<Vec<BeginningRow>>(query.fetch_all(&mut *connection).await?);
            }
            connection.finish().await?;
            beginnings(rows)
        })
        .await
    }
}

fn ids(ids: impl Iterator<Item = impl ToString>) -> Vec<String> {
    ids.map(|id| id.to_string()).collect()
}
