//! Which instance delivers, and how far it read the log.

use super::super::read::unsigned;
use super::super::statement::Statement;
use super::super::{Error, Store};
use crate::domain::ids::InstanceId;

/// Which instance delivers, and how often endpoints were changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// The instance that has the lease; `None`: nobody had it yet, or gave it back.
    pub carrier: Option<InstanceId>,
    /// Until when, without saying so again; in milliseconds of Unix time.
    pub until: u64,
    /// How often endpoints were changed.
    pub revision: u64,
}

/// How far a shard of the log was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadUpTo {
    /// Of the log in which the position means something.
    pub identity: String,
    /// All up to here is delivered, or noted as still to be.
    pub position: u64,
    /// When that was so, in milliseconds of Unix time.
    pub at: u64,
}

const CONTROL: &str = "SELECT carrier, carrier_until, revision FROM webhook_control";

const TAKE: &str =
    "UPDATE webhook_control SET carrier = $1, carrier_until = $2 WHERE carrier = $3 AND carrier_until = $4";

const POSITION: &str = "SELECT identity, position, read_at FROM webhook_positions WHERE shard = $1";

/// A position only rises, whoever moves it: all before it is delivered or noted, whoever did it.
const MOVE: &str = "INSERT INTO webhook_positions (shard, identity, position, read_at) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (shard) DO UPDATE SET identity = excluded.identity, position = excluded.position, read_at = excluded.read_at \
     WHERE webhook_positions.identity <> excluded.identity OR webhook_positions.position <= excluded.position";

const BEGIN: &str = "INSERT INTO webhook_positions (shard, identity, position, read_at) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (shard) DO NOTHING";

impl Store {
    /// Which instance delivers, and how often endpoints were changed.
    pub async fn webhook_control(&self) -> Result<Control, Error> {
        let rows = self.rows::<(String, i64, i64)>(Statement::new(CONTROL)).await?;
        let (carrier, until, revision) = rows.into_iter().next().unwrap_or_default();
        Ok(Control { carrier: carrier.parse().ok(), until: unsigned(until), revision: unsigned(revision) })
    }

    /// Takes the lease, renews it or, with `None`, gives it back, if it is as it was `seen`. Whether that was so.
    pub async fn take_webhook_lease(
        &self,
        seen: Control,
        carrier: Option<InstanceId>,
        until: u64,
    ) -> Result<bool, Error> {
        let text = |instance: Option<InstanceId>| instance.map(|instance| instance.to_string()).unwrap_or_default();
        let take = Statement::new(TAKE).bind(text(carrier)).bind(until).bind(text(seen.carrier)).bind(seen.until);
        Ok(self.execute_one(take).await? == 1)
    }

    /// How far a shard was read.
    pub async fn webhook_position(&self, shard: u32) -> Result<Option<ReadUpTo>, Error> {
        let rows = self.rows::<(String, i64, i64)>(Statement::new(POSITION).bind(u64::from(shard))).await?;
        let read = |(identity, position, at)| ReadUpTo { identity, position: unsigned(position), at: unsigned(at) };
        Ok(rows.into_iter().next().map(read))
    }

    /// Notes from where on a shard is read, if nobody did before.
    pub async fn begin_webhook_position(&self, shard: u32, at: &ReadUpTo) -> Result<(), Error> {
        let statement = Statement::new(BEGIN);
        let statement = statement.bind(u64::from(shard)).bind(at.identity.as_str()).bind(at.position).bind(at.at);
        self.execute_one(statement).await.map(drop)
    }

    /// Notes how far a shard was read.
    pub async fn move_webhook_position(&self, shard: u32, to: &ReadUpTo) -> Result<(), Error> {
        let statement = Statement::new(MOVE);
        let statement = statement.bind(u64::from(shard)).bind(to.identity.as_str()).bind(to.position).bind(to.at);
        self.execute_one(statement).await.map(drop)
    }
}
