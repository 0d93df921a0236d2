//! Users whose deletion was asked for, what belongs to them, and what is left of them once their text is erased.
//!
//! Like webhooks, and unlike all else in the store, this is not projected from the log.

use super::read::unsigned;
use super::statement::Statement;
use super::{Error, Store};
use crate::domain::caller::Owner;
use crate::domain::ids::ThreadId;

/// A user whose deletion was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserDeletion {
    /// Who.
    pub owner: Owner,
    /// When it was asked for, in milliseconds of Unix time: what came later is kept.
    pub asked_at: u64,
}

/// Asked again, what came since is deleted as well.
const BEGIN: &str = "INSERT INTO user_deletions (owner, asked_at, worked_at) VALUES ($1, $2, $2) \
     ON CONFLICT (owner) DO UPDATE SET asked_at = excluded.asked_at, worked_at = excluded.worked_at";

const IDLE: &str = "SELECT owner, asked_at, worked_at FROM user_deletions WHERE worked_at <= $1 ORDER BY owner";

const CLAIM: &str = "UPDATE user_deletions SET worked_at = $3 WHERE owner = $1 AND asked_at = $2 AND worked_at <= $4 AND worked_at < $3";

/// The thread of a reply stands in its id.
const THREADS: &str = "SELECT thread FROM (SELECT substr(id, 6, 26) AS thread FROM replies \
     WHERE owner = $1 AND deleted = FALSE AND substr(id, 6, 26) > $2 \
     UNION SELECT thread FROM conversations WHERE owner = $1 AND thread > $2 AND NOT deleted) AS own \
     ORDER BY thread LIMIT $3";

/// What a user used goes on counting for the tenant.
const PASS_ON_USAGE: &str = "INSERT INTO usage (owner, day, model, replies, input, cached, output, reasoning) \
     SELECT $2, day, model, replies, input, cached, output, reasoning FROM usage WHERE owner = $1 \
     ON CONFLICT (owner, day, model) DO UPDATE SET replies = usage.replies + excluded.replies, \
     input = usage.input + excluded.input, cached = usage.cached + excluded.cached, \
     output = usage.output + excluded.output, reasoning = usage.reasoning + excluded.reasoning";

/// What is known of endpoints, and of replies of the user that wait for the endpoints of others.
const DELIVERIES: &str = "DELETE FROM webhook_deliveries \
     WHERE endpoint IN (SELECT id FROM webhook_endpoints WHERE owner = $1 AND created_at <= $2) \
     OR reply IN (SELECT id FROM replies WHERE owner = $1 AND deleted = TRUE)";

const STATES: &str = "DELETE FROM webhook_states \
     WHERE endpoint IN (SELECT id FROM webhook_endpoints WHERE owner = $1 AND created_at <= $2)";

/// Rows of what was deleted stand under the tenant's name, also in what is left of their records.
const CHANGES: &str = "UPDATE changes SET owner = $2, record = replace(record, $3, $4) \
     WHERE thread IN (SELECT thread FROM conversations WHERE owner = $1 AND deleted)";

const CONVERSATIONS: &str = "UPDATE conversations SET owner = $2 WHERE owner = $1 AND deleted";

const REPLIES: &str = "UPDATE replies SET owner = $2 WHERE owner = $1 AND deleted = TRUE";

impl Store {
    /// Keeps that a user is to be deleted, until [`Store::end_user_deletion`].
    pub async fn begin_user_deletion(&self, deletion: &UserDeletion) -> Result<(), Error> {
        let begin = Statement::new(BEGIN).bind(deletion.owner.as_str()).bind(deletion.asked_at);
        self.execute(vec![begin]).await.map(drop)
    }

    /// Deletions that nobody has worked at since a time.
    pub async fn idle_user_deletions(&self, since: u64) -> Result<Vec<UserDeletion>, Error> {
        #[cfg(feature = "simulation")]
        if matches!(self, Self::Simulated(_)) {
            return Ok(Vec::new());
        }
        let rows: Vec<(String, i64, i64)> = self.rows(Statement::new(IDLE).bind(since)).await?;
        let deletion =
            |(owner, asked_at, _)| UserDeletion { owner: Owner::from_text(owner), asked_at: unsigned(asked_at) };
        Ok(rows.into_iter().map(deletion).collect())
    }

    /// Notes that somebody works at a deletion, if nobody has since a time. Whether that is so.
    pub async fn claim_user_deletion(&self, deletion: &UserDeletion, now: u64, since: u64) -> Result<bool, Error> {
        let claim = Statement::new(CLAIM).bind(deletion.owner.as_str()).bind(deletion.asked_at).bind(now).bind(since);
        Ok(self.execute(vec![claim]).await?[0] == 1)
    }

    /// Threads in which something of an owner is left, after one, in order.
    pub async fn threads_of(&self, owner: &Owner, after: Option<ThreadId>, limit: u64) -> Result<Vec<ThreadId>, Error> {
        let after = after.map(|thread| thread.to_string()).unwrap_or_default();
        let rows: Vec<(String,)> =
            self.rows(Statement::new(THREADS).bind(owner.as_str()).bind(after).bind(limit)).await?;
        Ok(rows.into_iter().filter_map(|(thread,)| thread.parse().ok()).collect())
    }

    /// Deletes what is kept of a user beside transcripts, and takes the name out of what is left of these.
    pub async fn forget_user(&self, deletion: &UserDeletion) -> Result<(), Error> {
        let (user, tenant) = (deletion.owner.as_str(), deletion.owner.tenant_owner());
        let of_user = |sql| Statement::new(sql).bind(user);
        let named = |owner: &Owner| format!("\"caller\":{}", serde_json::Value::from(owner.as_str()));
        let statements = vec![
            of_user(PASS_ON_USAGE).bind(tenant.as_str()),
            of_user("DELETE FROM usage WHERE owner = $1"),
            of_user(DELIVERIES).bind(deletion.asked_at),
            of_user(STATES).bind(deletion.asked_at),
            of_user("DELETE FROM webhook_endpoints WHERE owner = $1 AND created_at <= $2").bind(deletion.asked_at),
            Statement::new("UPDATE webhook_control SET revision = revision + 1"),
            of_user(CHANGES).bind(tenant.as_str()).bind(named(&deletion.owner)).bind(named(&tenant)),
            of_user(CONVERSATIONS).bind(tenant.as_str()),
            of_user(REPLIES).bind(tenant.as_str()),
        ];
        self.execute(statements).await.map(drop)
    }

    /// Notes that a deletion is complete, unless it was asked for again.
    pub async fn end_user_deletion(&self, deletion: &UserDeletion) -> Result<(), Error> {
        let end = Statement::new("DELETE FROM user_deletions WHERE owner = $1 AND asked_at = $2");
        self.execute(vec![end.bind(deletion.owner.as_str()).bind(deletion.asked_at)]).await.map(drop)
    }
}
