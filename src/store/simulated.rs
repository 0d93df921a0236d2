//! A store in memory for several simulated instances: slow, away, or with an answer that is lost after the commit. Its tables
//! are those of the databases. Only with the feature `simulation`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::pages::{NextPage, PAGE, ThreadPages};
use super::read::{texts, unsigned};
use super::recent::{StoredRecent, TURNS, first};
use super::rows::Rows;
use super::statement::Statement;
use super::usage::{Raw, UsageQuery};
use super::{Applied, Batch, Blob, Error, Listed, Listing, Position, StoredReply};
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::usage::DailyUsage;
use crate::simulation::{Dice, Fault, Hook, Process};

mod sql;
mod tables;

use super::conversations::{Beginnings, beginnings};
use sql::Sql;
use tables::Tables;

/// What all instances share. A handle: cheap to clone.
#[derive(Clone)]
pub struct Database(Arc<Shared>);

struct Shared {
    dice: Arc<Dice>,
    tables: Mutex<Tables>,
    /// Until when it does not answer.
    away: Mutex<Instant>,
    webhooks: Option<Webhooks>,
}

/// Where webhooks are kept, and where they are sent.
struct Webhooks {
    sql: Mutex<Sql>,
    hook: Arc<dyn Hook>,
}

/// A process' handle to the store.
#[derive(Clone)]
pub struct Simulated {
    database: Database,
    process: Process,
}

impl std::fmt::Debug for Simulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulated").finish_non_exhaustive()
    }
}

impl Database {
    /// An empty store.
    pub fn new(dice: Arc<Dice>) -> Self {
        Self(Arc::new(Shared { dice, tables: Mutex::default(), away: Mutex::new(Instant::now()), webhooks: None }))
    }

    /// An empty one, which keeps webhooks as well; they are sent there.
    pub fn with_webhooks(dice: Arc<Dice>, hook: Arc<dyn Hook>) -> Result<Self, Error> {
        let webhooks = Some(Webhooks { sql: Mutex::new(Sql::open()?), hook });
        Ok(Self(Arc::new(Shared { dice, tables: Mutex::default(), away: Mutex::new(Instant::now()), webhooks })))
    }

    /// The store, as a process reaches it.
    pub fn store(&self, process: Process) -> super::Store {
        super::Store::Simulated(Simulated { database: self.clone(), process })
    }

    /// It does not answer for so long.
    pub fn go_away(&self, away: Duration) {
        *self.0.away.lock() = Instant::now() + away;
    }

    /// All records that stand in it: to look for what must not, and must.
    pub fn contents(&self) -> Vec<(String, String)> {
        self.0.tables.lock().contents()
    }
}

impl Simulated {
    /// Asks, and is answered after a while, if at all.
    async fn ask<T>(&self, question: impl FnOnce(&mut Tables) -> Result<T, Error>) -> Result<T, Error> {
        let dice = &self.database.0.dice;
        self.process.turn().await;
        if dice.strikes(Fault::StoreSlow) {
            tokio::time::sleep(dice.millis(50..1500)).await;
        } else {
            tokio::task::yield_now().await;
        }
        let away = *self.database.0.away.lock();
        if away > Instant::now() {
            // Sometimes it refuses, sometimes it hangs.
            if dice.percent(50) {
                tokio::time::sleep_until(away).await;
            }
            self.process.turn().await;
            return Err(Error::Unavailable(sqlx::Error::PoolTimedOut));
        }
        let answer = question(&mut self.database.0.tables.lock());
        if dice.strikes(Fault::StoreAnswerLost) {
            self.process.turn().await;
            return Err(Error::Unavailable(sqlx::Error::PoolClosed));
        }
        self.process.turn().await;
        answer
    }

    /// Where webhooks are sent, and by whom.
    pub(super) fn hook(&self) -> Option<(Process, Arc<dyn Hook>)> {
        let webhooks = self.database.0.webhooks.as_ref()?;
        Some((self.process.clone(), Arc::clone(&webhooks.hook)))
    }

    pub(super) async fn rows<T>(&self, statement: Statement) -> Result<Vec<T>, Error>
    where
        T: for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow> + Send + Unpin,
    {
        self.ask(|_| self.webhooks()?.sql.lock().rows(statement)).await
    }

    pub(super) async fn execute(&self, statements: Vec<Statement>) -> Result<Vec<u64>, Error> {
        self.ask(|_| self.webhooks()?.sql.lock().execute(statements)).await
    }

    fn webhooks(&self) -> Result<&Webhooks, Error> {
        self.database.0.webhooks.as_ref().ok_or(Error::Unavailable(sqlx::Error::PoolClosed))
    }

    pub(super) async fn position(&self, shard: u32) -> Result<Option<Position>, Error> {
        self.ask(|tables| Ok(tables.positions.get(&shard).cloned())).await
    }

    pub(super) async fn apply(&self, batch: &Batch) -> Result<Applied, Error> {
        let rows = Rows::of(&batch.records).await;
        self.ask(|tables| tables.apply(batch, &rows)).await
    }

    pub(super) async fn put_blobs(&self, blobs: &[Blob]) -> Result<(), Error> {
        self.ask(|tables| {
            for blob in blobs {
                tables.blobs.entry((blob.thread, blob.hash)).or_insert_with(|| blob.content.clone());
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn blob(&self, thread: ThreadId, hash: [u8; 32]) -> Result<Option<Bytes>, Error> {
        self.ask(|tables| Ok(tables.blobs.get(&(thread, hash)).cloned())).await
    }

    pub(super) async fn read_page(&self, pages: &mut ThreadPages) -> Result<(), Error> {
        let thread = pages.thread;
        match pages.place.clone() {
            NextPage::Watermark => {
                let ordinal = self.ask(|tables| Ok(tables.last_ordinal(thread))).await?;
                pages.take_watermark(ordinal);
                Ok(())
            }
            NextPage::Replies(after) => {
                let rows = self.ask(|tables| Ok(tables.replies_after(thread, &after, page()))).await?;
                pages.take_replies(rows)
            }
            NextPage::Changes(after) => {
                let rows = self.ask(|tables| Ok(tables.changes_after(thread, unsigned(after), page()))).await?;
                pages.take_changes(rows)
            }
            NextPage::End => Ok(()),
        }
    }

    pub(super) async fn recent(&self, thread: ThreadId, until: u64) -> Result<StoredRecent, Error> {
        let turns = usize::try_from(TURNS).unwrap_or(usize::MAX);
        self.ask(|tables| {
            let last = tables.last_of_turns(thread, turns);
            let replies = tables.last_replies(thread, until, turns);
            let changes = tables.changes_for_recent(thread, unsigned(first(&replies)));
            StoredRecent::of(thread, last, replies, changes)
        })
        .await
    }

    pub(super) async fn projected_reply(&self, reply: ReplyId) -> Result<Option<StoredReply>, Error> {
        self.ask(|tables| {
            let Some(row) = tables.replies.get(&reply.to_string()) else { return Ok(None) };
            let read = || texts(reply.thread(), &row.accepted, row.ended.as_ref().map(|(_, ended)| ended.as_str()));
            let texts = if row.is_deleted { None } else { Some(read()?) };
            Ok(Some(StoredReply { ordinal: row.ordinal, texts }))
        })
        .await
    }

    pub(super) async fn conversations(&self, listing: &Listing) -> Result<Vec<Listed>, Error> {
        self.ask(|tables| Ok(tables.list(listing))).await
    }

    pub(super) async fn listed(&self, threads: &[ThreadId]) -> Result<Vec<Listed>, Error> {
        self.ask(|tables| Ok(threads.iter().filter_map(|thread| tables.listed(*thread)).collect())).await
    }

    pub(super) async fn beginnings(&self, of: &[Listed]) -> Result<Beginnings, Error> {
        self.ask(|tables| beginnings(tables.beginnings(of))).await
    }

    pub(super) async fn usage(&self, query: &UsageQuery) -> Result<Vec<Raw>, Error> {
        self.ask(|tables| Ok(tables.usage(query))).await
    }

    pub(super) async fn add_usage(&self, rows: &[DailyUsage]) -> Result<(), Error> {
        self.ask(|tables| {
            for row in rows {
                tables.use_up(row.owner.as_str(), row.day, &row.model, row.used);
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn ping(&self) -> Result<(), Error> {
        self.ask(|_| Ok(())).await
    }
}

fn page() -> usize {
    usize::try_from(PAGE).unwrap_or(usize::MAX)
}
