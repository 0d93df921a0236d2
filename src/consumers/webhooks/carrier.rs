//! Delivers, on one instance at a time: who has the lease.
//!
//! The lease is held against waste, not for what is promised: that all up to a position is delivered or noted is true whoever
//! did it, and an endpoint knows by its `webhook-id` what it got before.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Parts;
use super::board::{Board, Step};
use super::client::Client;
use super::courier::Tools;
use super::reader::Reader;
use super::registry::Registry;
use super::scribe::{self, Scribe};
use super::secrets::Secrets;
use super::target::Target;
use super::tracker::Tracker;
use crate::domain::ids::InstanceId;
use crate::log::{Life, Log, Position, Shard, millis, now_ms};
use crate::store::Store;
use crate::store::webhooks::{Control, ReadUpTo};

/// For so long a lease holds, and how often it is looked at.
const LEASE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(1);
/// How often it is noted how far the log was carried.
const NOTE: Duration = Duration::from_millis(500);
/// How often what is too old is looked for, and how long what was given up is kept.
const CLEAN: Duration = Duration::from_mins(5);
const KEPT: Duration = Duration::from_hours(30 * 24);
/// Deliveries that may be under way or waiting to be written, of all endpoints together.
const UNDER_WAY: usize = 50_000;
/// The longest that the end takes.
const FAREWELL: Duration = Duration::from_secs(3);

/// Delivers, if this instance is the one that does.
pub(crate) struct Carrier {
    pub(super) parts: Parts,
    pub(super) client: Client,
    pub(super) of_file: Vec<Target>,
    pub(super) changed: Arc<Notify>,
    pub(super) board: Board,
    pub(super) retention: Duration,
    pub(super) give_up_after: Duration,
    /// `None`: instances have no store that they share, so that none could go on with what another one left.
    pub(super) store: Option<Store>,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How far a shard was carried.
struct Carried {
    shard: Shard,
    tracker: Tracker,
    noted: Position,
}

impl Carrier {
    /// Notes from where on the log is read, if it never was: before anybody can make an endpoint, so that the first one is told
    /// of the first end. A store that cannot be asked now has no endpoints made either.
    pub(crate) async fn look(&self) {
        /// The longest that a start waits for it.
        const TIMEOUT: Duration = Duration::from_secs(2);
        let Some(store) = &self.store else { return };
        for shard in 0..self.parts.log.records().shards() {
            // Until it is known how far they were read, the log keeps what it has.
            self.parts.log.records().carried(shard, 0);
        }
        let look = async {
            for shard in 0..self.parts.log.records().shards() {
                if store.webhook_position(shard).await?.is_none() {
                    begin_at_the_end(&self.parts.log, store, shard).await?;
                }
                let read = store.webhook_position(shard).await?;
                let identity = identity(&self.parts.log, shard);
                let position = read.filter(|read| read.identity == identity).map_or(0, |read| read.position);
                self.parts.log.records().carried(shard, position);
            }
            Ok::<_, BoxError>(())
        };
        if !matches!(timeout(TIMEOUT, look).await, Ok(Ok(()))) {
            tracing::warn!("cannot yet see where webhooks are to go on");
        }
    }

    /// Runs until `stop`, and then lets another instance go on. A store that hangs does not hold up the end.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let Some(store) = self.store.clone() else {
            if !self.of_file.is_empty() {
                tracing::error!("[[webhook]] is not delivered to: several instances need DATABASE_URL=postgres://…");
            }
            return;
        };
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(2 * FAREWELL).await;
        };
        tokio::select! {
            () = self.deliver(store, &stop) => {}
            () = late => tracing::warn!("the store is slow; some webhooks will be sent again"),
        }
    }

    /// Delivers whenever this instance has the lease to.
    async fn deliver(&self, store: Store, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            match self.acquire(&store).await {
                Ok(carries) => {
                    self.board.goes_on(Step::Lease);
                    if carries {
                        self.carry(&store, stop).await;
                    }
                }
                Err(error) => {
                    if self.board.waits(Step::Lease, || crate::telemetry::causes::chain(&error)) {
                        tracing::warn!(%error, "webhooks wait for the store");
                    }
                }
            }
            let mut deaths = self.parts.peers.deaths();
            let death = async {
                match &mut deaths {
                    Some(deaths) => _ = deaths.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = death => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Takes the lease, if nobody has it who lives.
    async fn acquire(&self, store: &Store) -> Result<bool, crate::store::Error> {
        let seen = store.webhook_control().await?;
        let is_dead =
            |instance: InstanceId| instance == self.parts.instance || self.parts.peers.life(instance) == Life::Dead;
        if seen.until > now_ms() && !seen.carrier.is_none_or(is_dead) {
            return Ok(false);
        }
        store.take_webhook_lease(seen, Some(self.parts.instance), now_ms() + millis(LEASE)).await
    }

    /// Delivers until the lease is lost, or until `stop`.
    async fn carry(&self, store: &Store, stop: &CancellationToken) {
        tracing::debug!("this instance delivers webhooks");
        let (scribe, notes) = Scribe::new();
        let (client, metrics) = (self.client.clone(), Arc::clone(&self.parts.metrics));
        let secrets = Secrets::new(self.parts.auth.clone());
        let give_up_after = self.give_up_after;
        let tools = Tools { client, store: store.clone(), scribe, metrics, secrets, give_up_after };
        let leave = stop.child_token();
        let registry = Arc::new(Registry::new(tools, self.of_file.clone(), leave.child_token()));
        let writing = tokio::spawn(scribe::run(store.clone(), notes, self.board.clone()));
        self.board.begins(Arc::clone(&registry));
        self.parts.metrics.webhooks.carries(true);
        let readers = TaskTracker::new();
        let carried = leave.run_until_cancelled(self.begin(store, &registry, &readers, &leave)).await;
        let mut carried = carried.unwrap_or_default();
        readers.spawn(clean(Arc::clone(&registry), leave.clone()));
        self.hold(store, &registry, &mut carried, &leave).await;

        leave.cancel();
        readers.close();
        readers.wait().await;
        registry.wait().await;
        self.board.ends();
        self.parts.metrics.webhooks.carries(false);
        drop(registry);
        // Nobody has anything written any more: the scribe ends once all is.
        if timeout(FAREWELL, writing).await.is_err() {
            tracing::warn!("the store is slow; some webhooks will be sent again");
        }
        let _ = timeout(FAREWELL, self.finish(store, &mut carried)).await;
    }

    /// Begins to read all shards where they were left.
    async fn begin(
        &self,
        store: &Store,
        registry: &Arc<Registry>,
        readers: &TaskTracker,
        leave: &CancellationToken,
    ) -> Vec<Carried> {
        let permits = Arc::new(Semaphore::new(UNDER_WAY));
        let mut all = Vec::new();
        for shard in 0..self.parts.log.records().shards() {
            let position = self.position(store, shard).await;
            self.parts.log.records().carried(shard, position);
            let tracker = Tracker::new(position);
            let reader = Reader {
                log: self.parts.log.clone(),
                shard,
                ends: self.parts.ends.clone(),
                registry: Arc::clone(registry),
                tracker: tracker.clone(),
                permits: Arc::clone(&permits),
                changed: Arc::clone(&self.changed),
                board: self.board.clone(),
                retention: self.retention,
                known: super::reader::Replies::default(),
            };
            readers.spawn(reader.read(position, leave.clone()));
            all.push(Carried { shard, tracker, noted: position });
        }
        all
    }

    /// Where to go on in a shard. Asks until it is known.
    async fn position(&self, store: &Store, shard: Shard) -> Position {
        loop {
            match self.try_position(store, shard).await {
                Ok(position) => return position,
                Err(error) => tracing::warn!(%error, "cannot yet see where webhooks are to go on"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn try_position(&self, store: &Store, shard: Shard) -> Result<Position, BoxError> {
        let records = self.parts.log.records();
        let identity = records.identity(shard).id;
        match store.webhook_position(shard).await? {
            Some(read) if read.identity == identity => {
                let away = Duration::from_millis(now_ms().saturating_sub(read.at));
                if away > self.retention && self.lacks(shard, read.position).await? {
                    tracing::error!(
                        away_h = away.as_secs() / 3600,
                        "nobody delivered webhooks for longer than LOG_RETENTION: the log did not wait for them, and what \
                         ended before that is not told"
                    );
                }
                Ok(read.position)
            }
            // Another log: all that it has is new.
            Some(_) => Ok(0),
            None => {
                begin_at_the_end(&self.parts.log, store, shard).await?;
                let read = store.webhook_position(shard).await?;
                read.map(|read| read.position).ok_or_else(|| "its position was not kept".into())
            }
        }
    }

    /// Whether the log had records after this position that it has not any more.
    async fn lacks(&self, shard: Shard, position: Position) -> Result<bool, BoxError> {
        let records = self.parts.log.records();
        let last = records.look_last_position(shard).await?;
        let first = records.scan(shard, position, 1).await?.first().map(|first| first.position);
        Ok(last > position && first.is_none_or(|first| first > position + 1))
    }

    /// Keeps the lease, notes how far it is, and looks what was changed, until the lease is lost or `leave`.
    async fn hold(&self, store: &Store, registry: &Registry, carried: &mut [Carried], leave: &CancellationToken) {
        let mut ticks = tokio::time::interval(NOTE);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looked = None::<std::time::Instant>;
        loop {
            tokio::select! {
                () = leave.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
                // While the store is away nobody else can take the lease either.
                if let Ok(control) = store.webhook_control().await {
                    let _ = registry.refresh_to(&control).await;
                    if !self.renew(store, control).await {
                        tracing::warn!("another instance delivers webhooks from now on");
                        return;
                    }
                }
                looked = Some(std::time::Instant::now());
            }
            self.note(store, carried).await;
        }
    }

    /// `false`: another instance has the lease.
    async fn renew(&self, store: &Store, control: Control) -> bool {
        if control.carrier != Some(self.parts.instance) {
            return false;
        }
        if control.until > now_ms() + millis(LEASE) / 2 {
            return true;
        }
        // (An error leaves open who has it: the next look tells.)
        store.take_webhook_lease(control, Some(self.parts.instance), now_ms() + millis(LEASE)).await.unwrap_or(true)
    }

    /// Notes how far the log was carried.
    async fn note(&self, store: &Store, carried: &mut [Carried]) {
        for one in carried {
            let position = one.tracker.carried();
            if position == one.noted {
                continue;
            }
            let identity = identity(&self.parts.log, one.shard);
            if store.move_webhook_position(one.shard, &ReadUpTo { identity, position, at: now_ms() }).await.is_ok() {
                one.noted = position;
                self.parts.log.records().carried(one.shard, position);
            }
        }
    }

    /// Notes how far it came, and gives the lease back.
    async fn finish(&self, store: &Store, carried: &mut [Carried]) {
        self.note(store, carried).await;
        if let Ok(control) = store.webhook_control().await
            && control.carrier == Some(self.parts.instance)
        {
            let _ = store.take_webhook_lease(control, None, 0).await;
        }
    }
}

/// Gives up what was tried for long enough, and forgets what was given up long ago.
async fn clean(registry: Arc<Registry>, leave: CancellationToken) {
    let mut ticks = tokio::time::interval(CLEAN);
    loop {
        tokio::select! {
            () = leave.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = clean_once(&registry).await {
            tracing::debug!(%error, "old webhooks are looked for later");
        }
    }
}

async fn clean_once(registry: &Registry) -> Result<(), crate::store::Error> {
    let Tools { store, give_up_after, .. } = registry.tools();
    registry.refresh().await?;
    let ids = registry.ids();
    let now = now_ms();
    for id in &ids {
        let count = store.give_up_webhook_deliveries(id, now.saturating_sub(millis(*give_up_after))).await?;
        if count > 0 {
            tracing::warn!(
                endpoint = id,
                count,
                "webhooks were given up: their endpoint did not take them within WEBHOOK_GIVE_UP_AFTER"
            );
            registry.tools().metrics.webhooks.given_up(count);
        }
        store.forget_webhook_deliveries(id, Some(now.saturating_sub(millis(KEPT)))).await?;
    }
    // What was written for an endpoint while it was deleted; or it is not in the file any more.
    for gone in store.webhook_delivery_endpoints().await?.iter().filter(|id| !ids.contains(id)) {
        store.forget_webhook_deliveries(gone, None).await?;
    }
    Ok(())
}

/// From now on. It is noted at once: what comes next is to be told also after a crash.
async fn begin_at_the_end(log: &Log, store: &Store, shard: Shard) -> Result<(), BoxError> {
    let position = log.records().look_last_position(shard).await?;
    let read = ReadUpTo { identity: identity(log, shard), position, at: now_ms() };
    Ok(store.begin_webhook_position(shard, &read).await?)
}

fn identity(log: &Log, shard: Shard) -> String {
    log.records().identity(shard).id
}
