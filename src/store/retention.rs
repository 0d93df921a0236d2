//! What is old: threads in which nothing has happened for long, owner by owner.

use super::statement::Statement;
use super::{Error, Store};
use crate::domain::caller::Owner;
use crate::domain::ids::ThreadId;

const FIRST_OWNER: &str = "SELECT min(owner) FROM (SELECT min(owner) AS owner FROM replies \
     UNION ALL SELECT min(owner) FROM conversations) AS owners";

const NEXT_OWNER: &str = "SELECT min(owner) FROM (SELECT min(owner) AS owner FROM replies WHERE owner > $1 \
     UNION ALL SELECT min(owner) FROM conversations WHERE owner > $1) AS owners";

/// By the index of replies alone: no row is read, as a reply's thread stands in its id. When a reply ended is looked at before anything is deleted.
const IDLE: &str = "SELECT thread FROM (SELECT substr(id, 6, 26) AS thread FROM replies \
     WHERE owner = $1 AND deleted = FALSE AND substr(id, 6, 26) > $2 GROUP BY substr(id, 6, 26) HAVING max(created_at) < $3 \
     UNION SELECT thread FROM conversations WHERE owner = $1 AND NOT deleted AND thread > $2 AND active_at < $4) AS idle \
     WHERE NOT EXISTS (SELECT 1 FROM conversations AS used WHERE used.thread = idle.thread AND NOT used.deleted \
     AND used.active_at >= $4) \
     AND NOT EXISTS (SELECT 1 FROM replies AS used WHERE used.owner = $1 AND used.deleted = FALSE \
     AND substr(used.id, 6, 26) = idle.thread AND used.created_at >= $3) \
     ORDER BY thread LIMIT $5";

impl Store {
    /// The next owner of anything, in the order of their texts.
    pub async fn next_owner(&self, after: Option<&Owner>) -> Result<Option<Owner>, Error> {
        #[cfg(feature = "simulation")]
        if matches!(self, Self::Simulated(_)) {
            return Ok(None);
        }
        let next = match after {
            None => Statement::new(FIRST_OWNER),
            Some(after) => Statement::new(NEXT_OWNER).bind(after.as_str()),
        };
        let rows: Vec<(Option<String>,)> = self.rows(next).await?;
        Ok(rows.into_iter().find_map(|(owner,)| owner).map(Owner::from_text))
    }

    /// Threads of an owner, after one, in which no reply and no item has come since a time in milliseconds of Unix time.
    pub async fn idle_threads(
        &self,
        owner: &Owner,
        before: u64,
        after: Option<ThreadId>,
        limit: u64,
    ) -> Result<Vec<ThreadId>, Error> {
        let after = after.map(|thread| thread.to_string()).unwrap_or_default();
        let idle = Statement::new(IDLE).bind(owner.as_str()).bind(after);
        let idle = idle.bind(before / 1000).bind(before).bind(limit);
        let rows: Vec<(String,)> = self.rows(idle).await?;
        Ok(rows.into_iter().filter_map(|(thread,)| thread.parse().ok()).collect())
    }
}
