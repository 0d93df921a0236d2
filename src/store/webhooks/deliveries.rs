//! What endpoints did not take yet, or was given up; and how they answered.

use super::super::read::unsigned;
use super::super::statement::Statement;
use super::super::{Error, Store};
use super::time;
use crate::domain::ids::ReplyId;
use crate::domain::webhook::{EventType, WebhookEvent};

/// An event that an endpoint did not take yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The endpoint.
    pub endpoint: String,
    /// The `webhook-id`: the same at each try.
    pub id: String,
    /// What it is told.
    pub event: WebhookEvent,
    /// Since when it is tried, in milliseconds of Unix time.
    pub queued_at: u64,
    /// How often it was tried.
    pub attempts: u64,
    /// When it is tried next.
    pub next_at: u64,
    /// What came of the last try.
    pub answer: Option<String>,
    /// It is not tried any more.
    pub given_up: bool,
}

/// How an endpoint answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointState {
    /// Deliveries that it took.
    pub delivered: u64,
    /// Since when it takes nothing, in milliseconds of Unix time.
    pub failing_since: Option<u64>,
    /// When it was tried last.
    pub answered_at: Option<u64>,
    /// What came of that: a status, or why there was none.
    pub answer: Option<String>,
    /// When it said that it is gone for good.
    pub ended_at: Option<u64>,
}

/// How many deliveries of an endpoint there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Still to be tried.
    pub pending: u64,
    /// Not tried any more.
    pub given_up: u64,
}

/// What is to be written down.
#[derive(Debug, Clone)]
pub enum Change {
    /// A delivery is still to be made, or is given up.
    Save(Delivery),
    /// A delivery was made.
    Remove {
        /// The endpoint.
        endpoint: String,
        /// The delivery.
        id: String,
    },
    /// How an endpoint answered; `added` more were delivered.
    State {
        /// The endpoint.
        endpoint: String,
        /// How.
        state: EndpointState,
        /// Deliveries since this was written last.
        added: u64,
    },
}

type Row = (String, String, String, String, i64, i64, i64, i64, Option<String>, bool);

const SAVE: &str = "INSERT INTO webhook_deliveries (endpoint, id, reply, event_type, created_at, queued_at, attempts, next_at, \
     answer, given_up) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
     ON CONFLICT (endpoint, id) DO UPDATE SET attempts = excluded.attempts, next_at = excluded.next_at, \
     answer = excluded.answer, given_up = excluded.given_up, queued_at = excluded.queued_at";

const REMOVE: &str = "DELETE FROM webhook_deliveries WHERE endpoint = $1 AND id = $2";

const STATE: &str = "INSERT INTO webhook_states (endpoint, delivered, failing_since, answered_at, answer, ended_at) \
     VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT (endpoint) DO UPDATE SET delivered = webhook_states.delivered + excluded.delivered, \
     failing_since = excluded.failing_since, answered_at = excluded.answered_at, answer = excluded.answer, \
     ended_at = excluded.ended_at";

const DUE: &str = "SELECT endpoint, id, reply, event_type, created_at, queued_at, attempts, next_at, answer, given_up \
     FROM webhook_deliveries WHERE endpoint = $1 AND NOT given_up AND next_at <= $2 ORDER BY next_at, id LIMIT $3";

const NEXT: &str = "SELECT min(next_at) FROM webhook_deliveries WHERE endpoint = $1 AND NOT given_up";

const LIST: &str = "SELECT endpoint, id, reply, event_type, created_at, queued_at, attempts, next_at, answer, given_up \
     FROM webhook_deliveries WHERE endpoint = $1 AND id < $2 AND (given_up = $3 OR $4) ORDER BY id DESC LIMIT $5";

/// More are not counted: that would take as long as there are many.
const MOST_COUNTED: u64 = 100_000;

const COUNT_PENDING: &str =
    "SELECT count(*) FROM (SELECT 1 FROM webhook_deliveries WHERE endpoint = $1 AND NOT given_up LIMIT $2) AS counted";

const COUNT_GIVEN_UP: &str =
    "SELECT count(*) FROM (SELECT 1 FROM webhook_deliveries WHERE endpoint = $1 AND given_up LIMIT $2) AS counted";

impl Store {
    /// Writes down what came of deliveries.
    pub async fn note_webhook_deliveries(&self, changes: &[Change]) -> Result<(), Error> {
        self.execute(changes.iter().map(Change::statement).collect()).await.map(drop)
    }

    /// Deliveries of an endpoint that are to be tried now, the oldest first.
    pub async fn due_webhook_deliveries(&self, endpoint: &str, now: u64, most: u64) -> Result<Vec<Delivery>, Error> {
        let rows = self.rows::<Row>(Statement::new(DUE).bind(endpoint).bind(now).bind(most)).await?;
        Ok(rows.into_iter().filter_map(Delivery::of).collect())
    }

    /// When the next delivery of an endpoint is to be tried. `None`: there is none.
    pub async fn next_webhook_delivery(&self, endpoint: &str) -> Result<Option<u64>, Error> {
        let rows = self.rows::<(Option<i64>,)>(Statement::new(NEXT).bind(endpoint)).await?;
        Ok(rows.into_iter().next().and_then(|(next,)| time(next)))
    }

    /// Deliveries of an endpoint, the newest first: after this one, and those that are still to be tried or were given up.
    pub async fn webhook_deliveries(
        &self,
        endpoint: &str,
        after: Option<&str>,
        given_up: Option<bool>,
        most: u64,
    ) -> Result<Vec<Delivery>, Error> {
        let list = Statement::new(LIST).bind(endpoint).bind(after.unwrap_or("wh_~"));
        let list = list.bind(given_up.unwrap_or_default()).bind(given_up.is_none()).bind(most);
        Ok(self.rows::<Row>(list).await?.into_iter().filter_map(Delivery::of).collect())
    }

    /// How many deliveries of an endpoint there are; of each kind no more than 100,000 are counted.
    pub async fn count_webhook_deliveries(&self, endpoint: &str) -> Result<Counts, Error> {
        let count = async |sql| {
            let rows = self.rows::<(i64,)>(Statement::new(sql).bind(endpoint).bind(MOST_COUNTED)).await?;
            Ok::<_, Error>(rows.first().map_or(0, |(count,)| unsigned(*count)))
        };
        Ok(Counts { pending: count(COUNT_PENDING).await?, given_up: count(COUNT_GIVEN_UP).await? })
    }

    /// How an endpoint answered.
    pub async fn webhook_state(&self, endpoint: &str) -> Result<EndpointState, Error> {
        type Row = (i64, Option<i64>, Option<i64>, Option<String>, Option<i64>);
        let sql =
            "SELECT delivered, failing_since, answered_at, answer, ended_at FROM webhook_states WHERE endpoint = $1";
        let rows = self.rows::<Row>(Statement::new(sql).bind(endpoint)).await?;
        let read = |(delivered, failing_since, answered_at, answer, ended_at)| EndpointState {
            delivered: unsigned(delivered),
            failing_since: time(failing_since),
            answered_at: time(answered_at),
            answer,
            ended_at: time(ended_at),
        };
        Ok(rows.into_iter().next().map(read).unwrap_or_default())
    }

    /// An endpoint that was gone is there again, or answers again: what waits for it is tried now.
    pub async fn hurry_webhook_deliveries(&self, endpoint: &str, now: u64) -> Result<(), Error> {
        let sql = "UPDATE webhook_deliveries SET next_at = $2 WHERE endpoint = $1 AND NOT given_up AND next_at > $2";
        self.execute_one(Statement::new(sql).bind(endpoint).bind(now)).await.map(drop)
    }

    /// Gives up deliveries of an endpoint that are tried since before a time. Gives how many.
    pub async fn give_up_webhook_deliveries(&self, endpoint: &str, before: u64) -> Result<u64, Error> {
        let sql =
            "UPDATE webhook_deliveries SET given_up = TRUE WHERE endpoint = $1 AND NOT given_up AND queued_at < $2";
        self.execute_one(Statement::new(sql).bind(endpoint).bind(before)).await
    }

    /// Has deliveries that were given up be tried again: one, or all of an endpoint. Gives how many.
    pub async fn resend_webhook_deliveries(&self, endpoint: &str, id: Option<&str>, now: u64) -> Result<u64, Error> {
        let sql = "UPDATE webhook_deliveries SET given_up = FALSE, queued_at = $2, next_at = $2, attempts = 0 \
             WHERE endpoint = $1 AND given_up AND (id = $3 OR $4)";
        let resend = Statement::new(sql).bind(endpoint).bind(now).bind(id.unwrap_or_default()).bind(id.is_none());
        let changed = vec![resend, Statement::new("UPDATE webhook_control SET revision = revision + 1")];
        Ok(self.execute(changed).await?[0])
    }

    /// An endpoint that had ended is to be told again.
    pub async fn revive_webhook_endpoint(&self, endpoint: &str) -> Result<(), Error> {
        let sql = "UPDATE webhook_states SET ended_at = NULL, failing_since = NULL WHERE endpoint = $1";
        let revive = Statement::new(sql).bind(endpoint);
        self.execute(vec![revive, Statement::new("UPDATE webhook_control SET revision = revision + 1")]).await.map(drop)
    }

    /// The endpoints that there are deliveries of.
    pub async fn webhook_delivery_endpoints(&self) -> Result<Vec<String>, Error> {
        let rows = self.rows::<(String,)>(Statement::new("SELECT DISTINCT endpoint FROM webhook_deliveries")).await?;
        Ok(rows.into_iter().map(|(endpoint,)| endpoint).collect())
    }

    /// Forgets deliveries of an endpoint that were given up, if they are tried since before a time; all, where it is no more.
    pub async fn forget_webhook_deliveries(&self, endpoint: &str, before: Option<u64>) -> Result<u64, Error> {
        let sql = "DELETE FROM webhook_deliveries WHERE endpoint = $1 AND (given_up AND queued_at < $2 OR $3)";
        let forget = Statement::new(sql).bind(endpoint).bind(before.unwrap_or_default()).bind(before.is_none());
        self.execute_one(forget).await
    }
}

impl Change {
    fn statement(&self) -> Statement {
        match self {
            Self::Save(delivery) => Statement::new(SAVE)
                .bind(delivery.endpoint.as_str())
                .bind(delivery.id.as_str())
                .bind(delivery.event.reply.to_string())
                .bind(delivery.event.event_type.as_str())
                .bind(delivery.event.at)
                .bind(delivery.queued_at)
                .bind(delivery.attempts)
                .bind(delivery.next_at)
                .bind(delivery.answer.clone())
                .bind(delivery.given_up),
            Self::Remove { endpoint, id } => Statement::new(REMOVE).bind(endpoint.as_str()).bind(id.as_str()),
            Self::State { endpoint, state, added } => Statement::new(STATE)
                .bind(endpoint.as_str())
                .bind(*added)
                .bind(state.failing_since)
                .bind(state.answered_at)
                .bind(state.answer.clone())
                .bind(state.ended_at),
        }
    }
}

impl Delivery {
    /// From a row. `None`: of a reply or an event that this version does not know.
    fn of(row: Row) -> Option<Self> {
        let (endpoint, id, reply, event_type, created_at, queued_at, attempts, next_at, answer, given_up) = row;
        let (reply, event_type): (ReplyId, EventType) = (reply.parse().ok()?, event_type.parse().ok()?);
        Some(Self {
            endpoint,
            id,
            event: WebhookEvent { event_type, reply, at: unsigned(created_at) },
            queued_at: unsigned(queued_at),
            attempts: unsigned(attempts),
            next_at: unsigned(next_at),
            answer,
            given_up,
        })
    }
}
