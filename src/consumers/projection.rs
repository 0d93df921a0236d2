//! The projection: carries the transcripts from the log to the store, in batches, in the background. No client waits
//! for it: a store that is slow or away shows as lag, and as nothing else.
//!
//! Its position stands in the store and moves with the rows, so that nothing is carried twice and nothing is left
//! out. When the log is another than the one that the position was read from (it was made anew, or a power cut took
//! its end), everything that the log has is carried again: that changes nothing that is there.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::config::faults::CrashPoint;
use crate::domain::record::TranscriptRecord;
use crate::log::{Log, ReadError, Scanned, Shard, now_ms};
use crate::replies::{self, Deletions, Hash, referenced};
use crate::store::{self, Batch, Blob, Position, Record, Store};
use crate::telemetry::spans::projection_span;

mod position;
mod progress;

use position::{ProjectionPosition, digest};
pub(crate) use progress::Progress;

/// About so many bytes of records are carried at once. After a long outage much waits, and hundreds of large records
/// would not fit into a small machine.
const BATCH_BYTES: usize = 8 << 20;
/// So many records are read before their size is known, at least and at most.
const SLICE: [usize; 2] = [16, 64];
/// A record has no more bytes than this.
const LARGEST_RECORD: usize = 512 << 10;

/// How the projection paces itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Config {
    /// Records of a batch, at most; as soon as so many wait, they go.
    pub(crate) batch: usize,
    /// The longest that the first of them waits for others.
    pub(crate) wait_for_batch: Duration,
    /// How often it looks whether another instance still carries.
    pub(crate) look: Duration,
    /// The longest pause between two tries when the store is away.
    pub(crate) longest_pause: Duration,
    /// The longest that it goes on after it was asked to stop.
    pub(crate) farewell: Duration,
    /// How long the log keeps transcripts.
    pub(crate) retention: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            batch: 1000,
            wait_for_batch: Duration::from_millis(200),
            look: Duration::from_millis(500),
            longest_pause: Duration::from_secs(5),
            farewell: Duration::from_secs(3),
            retention: Duration::from_hours(7 * 24),
        }
    }
}

/// Carries the transcripts to the store.
pub(crate) struct Projection {
    config: Config,
    log: Log,
    store: Store,
    deletions: Deletions,
    progress: Arc<Progress>,
}

/// Carries those of one shard.
struct Carrier {
    config: Config,
    log: Log,
    store: Store,
    deletions: Deletions,
    progress: Arc<Progress>,
    shard: Shard,
    /// What the store is known to have; `None`: to be read.
    place: Option<ProjectionPosition>,
    /// Bytes of the largest record that was read last.
    largest: usize,
    /// Passed before each batch, and when it is in the store, before that is known.
    crash: Arc<CrashPoint>,
}

/// Why a pass did not reach its end. The next one begins where the store is.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("a deletion cannot be completed: {0}")]
    Deletion(#[from] replies::Error),
}

/// Records that come next.
struct Scan {
    records: Vec<Scanned>,
    /// There were no more.
    is_last: bool,
}

/// What a pass came to.
enum Passed {
    /// The store has what the log has.
    CaughtUp,
    /// Another instance carries.
    Overtaken,
}

impl Projection {
    /// A projection from this log to this store.
    pub(crate) fn new(config: Config, log: Log, store: Store, deletions: Deletions) -> Self {
        let progress = Arc::new(Progress::new(log.clone(), store.was_reached()));
        Self { config, log, store, deletions, progress }
    }

    /// How far it is, to be looked at while it runs.
    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Holds the store against the log before anything is read: threads of a log that lost its end are read from both. A store
    /// that cannot be asked now is asked later.
    pub(crate) async fn look(&self) {
        /// The longest that a start waits for it.
        const TIMEOUT: Duration = Duration::from_secs(2);
        let look = async {
            for shard in 0..self.log.records().shards() {
                let place = position::find(&self.log, &self.store, shard, self.config.retention).await?;
                self.deletions.ask_store_until(place.behind_until);
            }
            Ok::<_, PassError>(())
        };
        match tokio::time::timeout(TIMEOUT, look).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot yet see whether the log has all that the store has"),
            Err(_) => tracing::warn!("cannot yet see whether the log has all that the store has"),
        }
    }

    /// Runs until `stop`, and then once more, so that the store has what the log had. A store that hangs does not hold up
    /// the end: what it lacks is in the log.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let crash = Arc::new(CrashPoint::from_env("CRASH_AFTER_BATCHES"));
        let carriers = (0..self.log.records().shards()).map(|shard| Carrier {
            config: self.config,
            log: self.log.clone(),
            store: self.store.clone(),
            deletions: self.deletions.clone(),
            progress: Arc::clone(&self.progress),
            shard,
            place: None,
            largest: LARGEST_RECORD,
            crash: Arc::clone(&crash),
        });
        let farewell = self.config.farewell;
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(farewell).await;
        };
        tokio::select! {
            _ = join_all(carriers.map(|carrier| carrier.carry_until(&stop))) => {}
            () = late => tracing::warn!("the store is slow and lacks some records; it gets them at the next start"),
        }
    }
}

impl Carrier {
    async fn carry_until(mut self, stop: &CancellationToken) {
        let mut outage = Outage::default();
        while !stop.is_cancelled() {
            match self.pass().await {
                Ok(Passed::CaughtUp) => {
                    outage.over();
                    stop.run_until_cancelled(self.wait_for_batch()).await;
                }
                Ok(Passed::Overtaken) => {
                    outage.over();
                    stop.run_until_cancelled(self.stand_back()).await;
                }
                Err(error) => {
                    self.progress.failed(self.shard, matches!(error, PassError::Store(_)));
                    let pause = outage.pause(&error, self.config.longest_pause);
                    stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                }
            }
        }
        if let Err(error) = self.pass().await {
            tracing::warn!(%error, "the store lacks some records; it gets them at the next start");
        }
    }

    /// Waits for a record, and then a little for others.
    async fn wait_for_batch(&self) {
        let position = self.progress.position(self.shard);
        self.log.records().wait_after(self.shard, position).await;
        self.progress.waits(self.shard);
        let full = self.log.records().wait_after(self.shard, position + self.config.batch as u64 - 1);
        let _ = tokio::time::timeout(self.config.wait_for_batch, full).await;
    }

    /// Looks on while another instance carries: two that carry by turns would both do all of the work. Ends when the
    /// store's position has stood still for a while.
    async fn stand_back(&mut self) {
        let mut seen = None;
        loop {
            let looked = now_ms();
            tokio::time::sleep(self.config.look).await;
            // The next pass reports what is wrong with the store or the log.
            let Ok(place) = self.find().await else { return };
            let position = place.position;
            self.progress.reached(self.shard, position);
            if position >= self.log.records().last_position(self.shard) {
                self.progress.caught_up(self.shard);
            } else if seen != Some(position) {
                self.progress.waits_since(self.shard, looked);
            }
            self.place = Some(place);
            if seen == Some(position) {
                return;
            }
            seen = Some(position);
        }
    }

    /// Finds out where the store is. A log that lacks what the store has is not trusted alone.
    async fn find(&self) -> Result<ProjectionPosition, PassError> {
        let place = position::find(&self.log, &self.store, self.shard, self.config.retention).await?;
        self.deletions.ask_store_until(place.behind_until);
        Ok(place)
    }

    /// Carries what waits, until so little is left that more should collect first.
    async fn pass(&mut self) -> Result<Passed, PassError> {
        loop {
            let place = match self.place.take() {
                Some(place) => place,
                None => self.find().await?,
            };
            self.progress.reached(self.shard, place.position);
            let Scan { records, is_last } = self.scan(place.position).await?;
            let place = if records.is_empty() {
                place
            } else {
                match self.carry(place, records).await {
                    Ok(place) => place,
                    // Somebody else carried it, or part of it.
                    Err(PassError::Store(store::Error::Moved)) => return Ok(Passed::Overtaken),
                    Err(error) => return Err(error),
                }
            };
            self.log.records().projected(self.shard, place.position);
            self.progress.reached(self.shard, place.position);
            self.place = Some(place);
            if is_last {
                self.progress.caught_up(self.shard);
                return Ok(Passed::CaughtUp);
            }
        }
    }

    /// Reads what comes next: no more records than a batch may have, and about [`BATCH_BYTES`] of them.
    async fn scan(&mut self, after: u64) -> Result<Scan, PassError> {
        let (mut records, mut bytes, mut after) = (Vec::new(), 0, after);
        while records.len() < self.config.batch && bytes < BATCH_BYTES {
            let [least, most] = SLICE;
            let fitting = ((BATCH_BYTES - bytes) / self.largest).clamp(least, most);
            let limit = fitting.min(self.config.batch - records.len());
            let slice = self.log.records().scan(self.shard, after, limit).await?;
            let sizes = || slice.iter().map(|one| one.record.payload.len());
            bytes += sizes().sum::<usize>();
            self.largest = sizes().max().unwrap_or_default().max(1);
            let count = slice.len();
            after = slice.last().map_or(after, |last| last.position);
            records.extend(slice);
            // The log may give fewer than there are, and may not know of those that others have just written.
            if count == 0 || count < limit && after >= self.log.records().last_position(self.shard) {
                return Ok(Scan { records, is_last: true });
            }
        }
        Ok(Scan { records, is_last: false })
    }

    /// Carries a batch, which is not empty.
    async fn carry(&self, place: ProjectionPosition, scanned: Vec<Scanned>) -> Result<ProjectionPosition, PassError> {
        self.progress.waits_since(self.shard, scanned[0].record.at);
        self.copy_blobs(&scanned).await?;
        self.finish_deletions(&scanned).await?;
        let last = &scanned[scanned.len() - 1];
        let position = Position {
            identity: place.identity(&self.log.records().identity(self.shard).id),
            position: last.position,
            last_record: digest(&last.record.payload),
        };
        let records = scanned.into_iter().map(|one| Record { thread: one.thread, payload: one.record.payload });
        let batch =
            Batch { shard: self.shard, expected: place.stored, position: position.clone(), records: records.collect() };
        self.crash.pass();
        // Replies that were accepted in it, and are traced.
        let spans: Vec<_> =
            batch.records.iter().filter_map(|record| trace_of(&record.payload)).map(projection_span).collect();
        let applied = self.store.apply(&batch).await;
        drop(spans);
        self.crash.pass();
        let applied = applied?;
        if applied.unreadable > 0 {
            let (until, count) = (position.position, applied.unreadable);
            tracing::error!(until, count, "records of the log cannot be read and are not in the store");
        }
        Ok(ProjectionPosition { position: position.position, stored: Some(position), behind_until: place.behind_until })
    }

    /// Completes deletions that a crash broke off: until that is done, the position does not pass their records.
    async fn finish_deletions(&self, scanned: &[Scanned]) -> Result<(), PassError> {
        for one in scanned.iter().filter(|one| may_delete(&one.record.payload)) {
            if let Ok(record) = TranscriptRecord::decode(&one.record.payload) {
                self.deletions.finish(one.thread, &record.change).await?;
            }
        }
        Ok(())
    }

    /// Copies the blobs that records refer to. Those that are gone were deleted meanwhile, or are in the store.
    async fn copy_blobs(&self, scanned: &[Scanned]) -> Result<(), PassError> {
        for one in scanned {
            for hash in blobs_of(&one.record.payload) {
                if let Some(content) = self.log.blobs().get(one.thread, hash).await? {
                    self.store.put_blobs(&[Blob { thread: one.thread, hash, content }]).await?;
                }
            }
        }
        Ok(())
    }
}

/// Blobs of a record in its JSON form; hardly any has some.
fn blobs_of(payload: &[u8]) -> Vec<Hash> {
    if memchr::memmem::find(payload, b"\"blob:").is_none() {
        return Vec::new();
    }
    TranscriptRecord::decode(payload).map_or_else(|_| Vec::new(), |record| referenced(&record.change))
}

/// The trace that a record which accepts a reply is of. It stands before all that a client wrote, but for the client's name.
fn trace_of(payload: &[u8]) -> Option<&str> {
    const NAME: &[u8] = b"\"trace\":\"";
    /// Bytes of the record before it, at most.
    const HEAD: usize = 1024;
    /// Bytes of a `traceparent`.
    const LENGTH: usize = 55;
    let head = &payload[..payload.len().min(HEAD)];
    let at = memchr::memmem::find(head, NAME)? + NAME.len();
    std::str::from_utf8(head.get(at..at + LENGTH)?).ok()
}

/// Whether a record in its JSON form may be that of a deletion: what it changes stands near its beginning.
fn may_delete(payload: &[u8]) -> bool {
    /// Bytes before that: the version, the ordinal, the time.
    const HEAD: usize = 128;
    let head = &payload[..payload.len().min(HEAD)];
    memchr::memmem::find(head, b"_deleted\"").is_some()
}

/// The time during which nothing can be carried. Logged once, and again when it is over.
#[derive(Default)]
struct Outage {
    tries: u32,
}

impl Outage {
    const FIRST_PAUSE: Duration = Duration::from_millis(50);

    /// How long to wait before the next try: twice as long each time.
    fn pause(&mut self, error: &PassError, longest: Duration) -> Duration {
        if self.tries == 0 {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(%error, cause, "the store refuses records; the log keeps them");
        }
        let pause = Self::FIRST_PAUSE.saturating_mul(1 << self.tries.min(16));
        self.tries += 1;
        pause.min(longest)
    }

    fn over(&mut self) {
        if std::mem::take(&mut self.tries) > 0 {
            tracing::info!("the store has caught up with the log");
        }
    }
}

#[cfg(test)]
mod tests;
