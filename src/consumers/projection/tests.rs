//! The projection against a real log and a real store.

use bytes::Bytes;
use tempfile::TempDir;

use super::progress::Lag;
use super::*;
use crate::domain::caller::Owner;
use crate::domain::ids::ThreadId;
use crate::domain::items::{Extra, Item, ItemStatus, Message, Part, Role};
use crate::domain::params::Metadata;
use crate::domain::record::Change;
use crate::log::{Embedded, Subject, embedded};

/// The embedded log is one shard.
const SHARD: Shard = 0;

/// A log and a store in a directory of their own.
struct Server {
    directory: TempDir,
    log: Log,
    store: Store,
}

impl Server {
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let log = open_log(&directory, "data");
        let store = open_store(&directory).await;
        Self { directory, log, store }
    }

    async fn append(&self, thread: ThreadId, ordinal: u64, change: Change) {
        let record = TranscriptRecord { v: 1, ordinal, at: 0, change }.encode();
        let subject = Subject::Transcript(thread);
        self.log.records().append(subject, ordinal - 1, record.into()).await.unwrap();
    }

    /// Makes a conversation.
    async fn converse(&self) -> ThreadId {
        let thread = ThreadId::random();
        self.append(thread, 1, created(Vec::new())).await;
        thread
    }

    fn deletions(&self) -> Deletions {
        Deletions::new(self.log.clone(), self.store.clone())
    }

    fn carrier(&self) -> Carrier {
        Carrier {
            config: Config::default(),
            log: self.log.clone(),
            store: self.store.clone(),
            deletions: self.deletions(),
            progress: Arc::new(Progress::new(self.log.clone(), true)),
            shard: SHARD,
            place: None,
            largest: LARGEST_RECORD,
            crash: Arc::new(CrashPoint::from_env("CRASH_AFTER_BATCHES")),
        }
    }

    fn project(&self) -> Running {
        let projection = Projection::new(Config::default(), self.log.clone(), self.store.clone(), self.deletions());
        let (progress, stop) = (projection.progress(), CancellationToken::new());
        Running { progress, task: tokio::spawn(projection.run(stop.clone())), stop }
    }

    async fn knows(&self, thread: ThreadId) -> bool {
        self.store.thread(thread).await.unwrap().watermark > 0
    }
}

struct Running {
    progress: Arc<Progress>,
    task: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

fn open_log(directory: &TempDir, name: &str) -> Log {
    let config = embedded::Config {
        dir: directory.path().join(name),
        sync_always: false,
        min_free_disk: 0,
        segment_bytes: embedded::SEGMENT_BYTES,
    };
    Log::Embedded(Embedded::open(config).unwrap())
}

async fn open_store(directory: &TempDir) -> Store {
    Store::open(&store::Config::in_dir(directory.path()), store::Tables::Migrate).await.unwrap()
}

fn created(items: Vec<Item>) -> Change {
    Change::ConversationCreated { metadata: Metadata::new(), items, owner: Owner::anonymous() }
}

fn image(url: String) -> Item {
    let content = vec![Part::InputImage { detail: "auto".to_owned(), image_url: url }];
    let (status, role) = (ItemStatus::Completed, Role::User);
    Item::Message(Message { id: "msg_x".to_owned(), status, role, content, extra: Extra::new() })
}

async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn records_reach_the_store_and_then_nothing_lags() {
    let server = Server::new().await;
    let before = server.converse().await;
    let running = server.project();
    until("what was there", || server.knows(before)).await;
    let after = server.converse().await;
    until("what came", || server.knows(after)).await;
    until("no lag", async || running.progress.lag() == Lag::default()).await;
    assert!(running.progress.store_is_up());
    running.stop().await;
}

#[tokio::test]
async fn stopping_carries_everything_appended_until_then() {
    let server = Server::new().await;
    let running = server.project();
    let mut threads = Vec::new();
    for _ in 0..20 {
        threads.push(server.converse().await);
    }
    running.stop().await;
    for thread in threads {
        assert!(server.knows(thread).await);
    }
}

#[tokio::test]
async fn a_projection_goes_on_where_the_one_before_it_stopped() {
    let server = Server::new().await;
    for _ in 0..3 {
        server.converse().await;
    }
    server.project().stop().await;
    let place = position::find(&server.log, &server.store, SHARD, Duration::ZERO).await.unwrap();
    assert_eq!(place.position, 3);
    let next = server.converse().await;
    server.project().stop().await;
    assert!(server.knows(next).await);
}

#[tokio::test]
async fn another_log_is_carried_from_its_first_record() {
    let mut server = Server::new().await;
    let old = server.converse().await;
    server.converse().await;
    server.project().stop().await;
    server.log = open_log(&server.directory, "another");
    let new = server.converse().await;
    server.project().stop().await;
    assert!(server.knows(new).await && server.knows(old).await);
}

#[tokio::test]
async fn a_log_that_lost_its_end_is_carried_again() {
    let server = Server::new().await;
    server.converse().await;
    server.converse().await;
    server.project().stop().await;
    let there = server.store.position(SHARD).await.unwrap().unwrap();
    for changed in [
        Position { last_record: "of another record".to_owned(), ..there.clone() },
        Position { position: 7, ..there.clone() },
    ] {
        let expected = server.store.position(SHARD).await.unwrap();
        let batch = Batch { shard: SHARD, expected, position: changed, records: Vec::new() };
        server.store.apply(&batch).await.unwrap();
        let lost = server.converse().await;
        server.project().stop().await;
        assert!(server.knows(lost).await);
        let position = server.store.position(SHARD).await.unwrap().unwrap().position;
        assert_eq!(position, server.log.records().last_position(SHARD));
    }
}

#[tokio::test]
async fn of_two_projections_nothing_is_lost() {
    let server = Server::new().await;
    let (one, other) = (server.project(), server.project());
    let mut threads = Vec::new();
    for _ in 0..300 {
        threads.push(server.converse().await);
    }
    one.stop().await;
    threads.push(server.converse().await);
    until("the other to go on alone", || server.knows(threads[300])).await;
    other.stop().await;
    for thread in threads {
        assert!(server.knows(thread).await);
    }
}

#[tokio::test]
async fn a_store_that_is_away_shows_as_lag_and_catches_up() {
    let server = Server::new().await;
    let path = server.directory.path().join("rejoinder.db");
    let lock = sqlx::SqlitePool::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    let broken = "ALTER TABLE positions RENAME TO hidden";
    sqlx::query(broken).execute(&lock).await.unwrap();
    let thread = server.converse().await;
    let running = server.project();
    until("the outage shows", async || !running.progress.store_is_up()).await;
    until("it ages", async || running.progress.lag().age > Duration::ZERO).await;
    assert_eq!(running.progress.lag().records, 1);

    sqlx::query("ALTER TABLE hidden RENAME TO positions").execute(&lock).await.unwrap();
    until("it catches up", || server.knows(thread)).await;
    until("it is up", async || running.progress.store_is_up()).await;
    running.stop().await;
}

#[tokio::test]
async fn blobs_come_to_the_store_before_the_records_that_refer_to_them() {
    let server = Server::new().await;
    let (thread, hash) = (ThreadId::random(), [0xab; 32]);
    server.log.blobs().put(thread, hash, Bytes::from_static(b"an image")).await.unwrap();
    let gone = "blob:".to_owned() + &"cd".repeat(32);
    let items = vec![image(format!("blob:{}", "ab".repeat(32))), image(gone), image("https://x/y.png".to_owned())];
    server.append(thread, 1, created(items)).await;
    server.project().stop().await;
    assert_eq!(server.store.blob(thread, hash).await.unwrap(), Some(Bytes::from_static(b"an image")));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_does_not_hold_up_the_others() {
    let server = Server::new().await;
    let subject = Subject::Transcript(ThreadId::random());
    server.log.records().append(subject, 0, Bytes::from_static(b"nonsense")).await.unwrap();
    let thread = server.converse().await;
    server.project().stop().await;
    assert!(server.knows(thread).await);
}

#[tokio::test]
async fn a_batch_is_bounded_in_bytes_and_in_records_also_the_first() {
    let server = Server::new().await;
    let mut carrier = server.carrier();
    let (large, small) = (ThreadId::random(), ThreadId::random());
    let record = |length| image("x".repeat(length));
    for ordinal in 1..=60 {
        server.append(large, ordinal, Change::ItemsAdded { items: vec![record(500 << 10)] }).await;
    }
    for ordinal in 1..=300 {
        server.append(small, ordinal, Change::ItemsAdded { items: vec![record(10)] }).await;
    }
    let (mut after, mut batches) = (0, Vec::new());
    loop {
        let scan = carrier.scan(after).await.unwrap();
        let bytes: usize = scan.records.iter().map(|one| one.record.payload.len()).sum();
        assert!(bytes <= BATCH_BYTES + SLICE[0] * LARGEST_RECORD, "{bytes}");
        after = scan.records.last().map_or(after, |last| last.position);
        batches.push(scan.records.len());
        if scan.is_last {
            break;
        }
    }
    assert_eq!((batches.iter().sum::<usize>(), after), (360, 360), "none is left out");
    assert!(batches.len() < 6, "{batches:?}");
    carrier.config.batch = 100;
    assert_eq!(carrier.scan(60).await.unwrap().records.len(), 100);
}

#[test]
fn an_outage_is_waited_out_with_longer_and_longer_pauses() {
    let mut outage = Outage::default();
    let error = PassError::Log(ReadError("gone".to_owned()));
    let pauses: Vec<u128> = (0..9).map(|_| outage.pause(&error, Duration::from_secs(5)).as_millis()).collect();
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    outage.over();
    assert_eq!(outage.pause(&error, Duration::from_secs(5)).as_millis(), 50);
}
