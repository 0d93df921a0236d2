//! How many tokens somebody used today, as store and log tell: the store up to where the projection got, the log from there.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::domain::caller::Owner;
use crate::domain::ids::ReplyId;
use crate::domain::record::{Change, TranscriptRecord};
use crate::domain::usage::{Day, Used};
use crate::log::{Log, ReadError};
use crate::store::{self, Position, Store};

/// How long the log's tail is taken for what it was when it was read.
const FRESH: Duration = Duration::from_secs(1);

/// Records that one scan gives, and the most that are read: where the store was away for hours, not all of them are.
const SCAN: usize = 500;
const MOST: usize = 20_000;

/// How often store and log are read again, where the projection moved meanwhile.
const TRIES: usize = 3;

/// Reads what was used. A handle to log and store.
pub(super) struct Spent {
    log: Log,
    store: Store,
    tail: Mutex<Option<Tail>>,
}

/// What the log has that the store lacks.
struct Tail {
    read: Instant,
    /// Where the store was.
    after: Vec<Option<Position>>,
    tokens: HashMap<(Owner, Day), u64>,
}

/// It is not known now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unknown {
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Spent {
    pub(super) fn new(log: Log, store: Store) -> Self {
        Self { log, store, tail: Mutex::default() }
    }

    /// Tokens of replies that ended on a day.
    pub(super) async fn of(&self, owner: &Owner, day: Day) -> Result<u64, Unknown> {
        let mut tail = self.tail.lock().await;
        let mut tries = 1;
        loop {
            let before = self.positions().await?;
            let stored = self.store.tokens_of(owner, day).await?;
            // What is carried between two looks would count twice, or not at all.
            if self.positions().await? != before && tries < TRIES {
                tries += 1;
                continue;
            }
            let is_fresh = |tail: &Tail| tail.read.elapsed() < FRESH && tail.after == before;
            if !tail.as_ref().is_some_and(is_fresh) {
                *tail = Some(self.read_tail(before).await?);
            }
            let rest = tail.as_ref().and_then(|tail| tail.tokens.get(&(owner.clone(), day)));
            return Ok(stored.saturating_add(rest.copied().unwrap_or_default()));
        }
    }

    async fn positions(&self) -> Result<Vec<Option<Position>>, store::Error> {
        let mut positions = Vec::new();
        for shard in 0..self.log.records().shards() {
            positions.push(self.store.position(shard).await?);
        }
        Ok(positions)
    }

    async fn read_tail(&self, after: Vec<Option<Position>>) -> Result<Tail, Unknown> {
        let (mut tail, mut left) = (Tail { read: Instant::now(), tokens: HashMap::new(), after: Vec::new() }, MOST);
        for (shard, position) in (0..).zip(&after) {
            let log = self.log.records();
            let is_of_log = |position: &&Position| position.identity.starts_with(&log.identity(shard).id);
            let mut place = position.as_ref().filter(is_of_log).map_or(0, |position| position.position);
            let (mut owners, mut ended) = (HashMap::new(), HashSet::new());
            while left > 0 {
                let scanned = log.scan(shard, place, SCAN.min(left)).await?;
                let Some(last) = scanned.last() else { break };
                place = last.position;
                left -= scanned.len().min(left);
                for one in scanned {
                    self.take(&one.record.payload, &mut tail, (&mut owners, &mut ended)).await?;
                }
            }
        }
        if left == 0 {
            tracing::warn!(records = MOST, "the store is far behind the log: not all that was used today is counted");
        }
        tail.after = after;
        Ok(tail)
    }

    /// Takes in a record of a transcript.
    async fn take(
        &self,
        payload: &[u8],
        tail: &mut Tail,
        (owners, ended): (&mut HashMap<ReplyId, Owner>, &mut HashSet<ReplyId>),
    ) -> Result<(), Unknown> {
        match TranscriptRecord::decode(payload).map(|record| record.change) {
            Ok(Change::Accepted(accepted)) => {
                owners.entry(accepted.reply).or_insert_with(|| accepted.owner.clone());
            }
            Ok(Change::Ended(end)) if ended.insert(end.reply) => {
                let (Some(usage), Some(at)) = (end.end().and_then(|end| end.usage), end.content.ended_at) else {
                    return Ok(());
                };
                let Some(owner) = self.owner_of(end.reply, owners).await? else { return Ok(()) };
                *tail.tokens.entry((owner, Day::of(at))).or_default() += Used::of_reply(usage).tokens();
            }
            // Also what cannot be read: the projection tells of it.
            _ => {}
        }
        Ok(())
    }

    /// Whom a reply belongs to that was accepted in the tail, or before it.
    async fn owner_of(&self, reply: ReplyId, owners: &HashMap<ReplyId, Owner>) -> Result<Option<Owner>, store::Error> {
        if let Some(owner) = owners.get(&reply) {
            return Ok(Some(owner.clone()));
        }
        let stored = self.store.projected_reply(reply).await?;
        Ok(stored.and_then(|stored| stored.texts).map(|(accepted, _)| accepted.owner.clone()))
    }
}
