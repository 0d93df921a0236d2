//! Endpoints that callers made.

use super::super::read::unsigned;
use super::super::statement::Statement;
use super::super::{Error, Store, Whose};
use super::{owner, secret};
use crate::config::values::Secret;
use crate::domain::caller::Owner;
use crate::domain::webhook::EventType;

/// Where ends of replies are posted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id, `whe_…`.
    pub id: String,
    /// Whom it belongs to.
    pub owner: Owner,
    /// Whether it is told of the replies of all users of its tenant, too.
    pub whole_tenant: bool,
    /// When it was made, in milliseconds of Unix time.
    pub created_at: u64,
    /// When it was changed last.
    pub updated_at: u64,
    /// Counts its changes.
    pub version: u64,
    /// What people call it.
    pub name: String,
    /// Its address.
    pub url: String,
    /// What it is told of.
    pub event_types: Vec<EventType>,
    /// What is sent to it is signed with this.
    pub secret: Secret,
    /// And until a time with this one as well, which it had before.
    pub old_secret: Option<(Secret, u64)>,
}

type Row = (String, String, bool, i64, i64, i64, String, String, String, String, Option<String>, i64);

const CHANGED: Statement = Statement::new("UPDATE webhook_control SET revision = revision + 1");

const ALL: &str = "SELECT id, owner, whole_tenant, created_at, updated_at, version, name, url, event_types, secret, \
     old_secret, old_secret_until FROM webhook_endpoints";

const ONE: &str = "SELECT id, owner, whole_tenant, created_at, updated_at, version, name, url, event_types, secret, \
     old_secret, old_secret_until FROM webhook_endpoints WHERE id = $1";

const OF: &str = "SELECT id, owner, whole_tenant, created_at, updated_at, version, name, url, event_types, secret, \
     old_secret, old_secret_until FROM webhook_endpoints WHERE owner = $1 OR (owner >= $2 AND owner < $3) ORDER BY id";

const INSERT: &str = "INSERT INTO webhook_endpoints (id, owner, whole_tenant, created_at, updated_at, version, name, url, \
     event_types, secret, old_secret, old_secret_until) \
     SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 \
     WHERE (SELECT count(*) FROM webhook_endpoints WHERE owner = $2) < $13";

const UPDATE: &str = "UPDATE webhook_endpoints SET updated_at = $2, version = version + 1, name = $3, url = $4, \
     event_types = $5, secret = $6, old_secret = $7, old_secret_until = $8 WHERE id = $1 AND version = $9";

impl Store {
    /// All endpoints.
    pub async fn webhook_endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        Ok(self.rows::<Row>(Statement::new(ALL)).await?.into_iter().map(Endpoint::of).collect())
    }

    /// An endpoint.
    pub async fn webhook_endpoint(&self, id: &str) -> Result<Option<Endpoint>, Error> {
        Ok(self.rows::<Row>(Statement::new(ONE).bind(id)).await?.into_iter().map(Endpoint::of).next())
    }

    /// The endpoints of an owner, oldest first.
    pub async fn webhook_endpoints_of(&self, whose: &Whose) -> Result<Vec<Endpoint>, Error> {
        let [first, second, third] = whose.owners();
        let rows = self.rows::<Row>(Statement::new(OF).bind(first).bind(second).bind(third)).await?;
        Ok(rows.into_iter().map(Endpoint::of).collect())
    }

    /// Keeps a new endpoint, unless its owner has `most` already. Whether it is kept.
    pub async fn insert_webhook_endpoint(&self, new: &Endpoint, most: u64) -> Result<bool, Error> {
        let insert = Statement::new(INSERT)
            .bind(new.id.as_str())
            .bind(new.owner.as_str())
            .bind(new.whole_tenant)
            .bind(new.created_at)
            .bind(new.updated_at)
            .bind(new.version)
            .bind(new.name.as_str())
            .bind(new.url.as_str())
            .bind(new.types())
            .bind(new.secret.expose())
            .bind(new.old_secret.as_ref().map(|(secret, _)| secret.expose().to_owned()))
            .bind(new.old_secret.as_ref().map_or(0, |(_, until)| *until))
            .bind(most);
        Ok(self.execute(vec![insert, CHANGED]).await?[0] == 1)
    }

    /// Changes an endpoint, if nobody else did since `changed.version`. Whether it is changed.
    pub async fn update_webhook_endpoint(&self, changed: &Endpoint) -> Result<bool, Error> {
        let update = Statement::new(UPDATE)
            .bind(changed.id.as_str())
            .bind(changed.updated_at)
            .bind(changed.name.as_str())
            .bind(changed.url.as_str())
            .bind(changed.types())
            .bind(changed.secret.expose())
            .bind(changed.old_secret.as_ref().map(|(secret, _)| secret.expose().to_owned()))
            .bind(changed.old_secret.as_ref().map_or(0, |(_, until)| *until))
            .bind(changed.version);
        Ok(self.execute(vec![update, CHANGED]).await?[0] == 1)
    }

    /// Deletes an endpoint, with all that is known of it. Whether it was there.
    pub async fn delete_webhook_endpoint(&self, id: &str) -> Result<bool, Error> {
        let of = |sql| Statement::new(sql).bind(id);
        let statements = vec![
            of("DELETE FROM webhook_endpoints WHERE id = $1"),
            of("DELETE FROM webhook_deliveries WHERE endpoint = $1"),
            of("DELETE FROM webhook_states WHERE endpoint = $1"),
            CHANGED,
        ];
        Ok(self.execute(statements).await?[0] == 1)
    }
}

impl Endpoint {
    fn of(row: Row) -> Self {
        let (id, of, whole_tenant, created_at, updated_at, version, name, url, types, own, old, old_until) = row;
        Self {
            id,
            owner: owner(of),
            whole_tenant,
            created_at: unsigned(created_at),
            updated_at: unsigned(updated_at),
            version: unsigned(version),
            name,
            url,
            // A type that only a newer version knows is one that this version does not tell of.
            event_types: types.split(',').filter_map(|one| one.parse().ok()).collect(),
            secret: secret(own),
            old_secret: old.map(|old| (secret(old), unsigned(old_until))),
        }
    }

    fn types(&self) -> String {
        self.event_types.iter().map(|one| one.as_str()).collect::<Vec<_>>().join(",")
    }
}
