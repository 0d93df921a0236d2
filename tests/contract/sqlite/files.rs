//! What the files of a store hold: nothing that was deleted, and not more than they must.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rejoinder::domain::caller::Owner;
use rejoinder::domain::ids::ThreadId;
use rejoinder::domain::params::Metadata;
use rejoinder::domain::record::Change;
use rejoinder::store::{Blob, Config, Record, Store, Tables};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

use super::fresh;
use crate::store_contract::{History, Projecting, message};
use crate::until;

/// As README says: so long after a deletion.
const ERASED_WITHIN: Duration = Duration::from_secs(2);

/// A text that stands nowhere else, as long as it is wanted.
fn text(number: usize, length: usize) -> String {
    format!("<{number:06}>").repeat(length / 8 + 1)
}

/// The numbers of all texts that any file of the directory holds.
fn texts(directory: &Path) -> HashSet<usize> {
    let mut found = HashSet::new();
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect();
    // The log before the file that it is carried to.
    files.sort();
    for file in files.iter().rev() {
        // A log may go away meanwhile.
        let content = std::fs::read(file).unwrap_or_default();
        for place in memchr::memchr_iter(b'<', &content) {
            let Some(b'>') = content.get(place + 7) else { continue };
            let digits = std::str::from_utf8(&content[place + 1..place + 7]);
            found.extend(digits.ok().and_then(|digits| digits.parse::<usize>().ok()));
        }
    }
    found
}

/// Waits until of these texts none is in a file.
async fn gone(directory: &Path, deleted: &HashSet<usize>) {
    until("deleted texts leave the files", ERASED_WITHIN, async || {
        let left: Vec<usize> = texts(directory).intersection(deleted).copied().collect();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

/// A connection past the store.
async fn connect(directory: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(directory.join("rejoinder.db")).connect().await.unwrap()
}

/// Reads threads, so that at any time some reads are under way, until it is dropped.
struct Reads(std::sync::Arc<AtomicBool>);

impl Reads {
    fn of(store: &Store, threads: &[ThreadId]) -> Self {
        let over = std::sync::Arc::new(AtomicBool::new(false));
        for reader in 0..4 {
            let (store, threads, over) = (store.clone(), threads.to_vec(), over.clone());
            tokio::spawn(async move {
                for index in (reader..).step_by(7) {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    store.thread(threads[index % threads.len()]).await.unwrap();
                }
            });
        }
        Self(over)
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_holds_what_was_deleted_also_while_others_read() {
    const LENGTHS: [usize; 6] = [20, 700, 1500, 3000, 9000, 40_000];
    let (store, directory) = fresh().await;
    let mut projection = Projecting::new(&store);
    // Replies of all sizes, most of which end long after they were accepted: their rows grow, and move.
    let (mut told, mut replies) = (Vec::new(), Vec::new());
    for number in 0..2000 {
        let mut history = History::new();
        let reply = history.accept(&text(number, LENGTHS[number * 7 % 5]), false);
        history.end(reply, &text(number, LENGTHS[number * 5 % 6]));
        told.push(history);
        replies.push(reply);
    }
    let records = |range: std::ops::Range<usize>, index: usize| -> Vec<Record> {
        told[range].iter().map(|told| told.since(index).swap_remove(0)).collect()
    };
    for begin in (0..2000).step_by(50) {
        projection.apply(&records(begin..begin + 50, 0)).await;
        if begin >= 200 {
            projection.apply(&records(begin - 200..begin - 150, 1)).await;
        }
    }
    projection.apply(&records(1800..2000, 1)).await;
    assert_eq!(texts(directory.path()).len(), 2000);

    let reads = Reads::of(&store, &told.iter().map(|told| told.thread).collect::<Vec<_>>());
    let mut deleted = HashSet::new();
    for round in 0..4 {
        for number in (round..2000).step_by(11) {
            told[number].push(Change::ReplyDeleted { reply: replies[number], erased: Vec::new(), left: vec![] });
            projection.apply(&told[number].since(2)).await;
            deleted.insert(number);
        }
        gone(directory.path(), &deleted).await;
    }
    drop(reads);
    assert_eq!(texts(directory.path()).len(), 2000 - deleted.len(), "the others stay");
    whole(directory.path()).await;
}

/// Rows that grow on a full page move to another one, and leave a copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_holds_copies_of_rows_that_moved_before_they_were_deleted() {
    let (store, directory) = fresh().await;
    let mut projection = Projecting::new(&store);
    let mut deleted = HashSet::new();
    let mut deletions = Vec::new();
    for group in 0..40 {
        let numbers: Vec<usize> = (group * 50..group * 50 + 50).collect();
        let told = numbers.iter().map(|number| {
            let mut told = History::new();
            let reply = told.accept(&text(*number, [1, 400, 1200][number % 3]), false);
            told.end(reply, &text(*number, [1, 1200, 2700][number * 2 % 3]));
            if number % 3 == 0 {
                told.push(Change::ReplyDeleted { reply, erased: Vec::new(), left: vec![] });
                deleted.insert(*number);
                deletions.extend(told.since(2));
            }
            told
        });
        let told: Vec<History> = told.collect();
        projection.apply(&told.iter().map(|told| told.since(0).swap_remove(0)).collect::<Vec<_>>()).await;
        for parity in [0, 1] {
            let ends = told.iter().skip(parity).step_by(2).map(|told| told.since(1).swap_remove(0));
            projection.apply(&ends.collect::<Vec<_>>()).await;
        }
    }
    projection.apply(&deletions).await;
    gone(directory.path(), &deleted).await;
    assert_eq!(texts(directory.path()).len(), 2000 - deleted.len(), "the others stay");
    whole(directory.path()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_holds_what_was_deleted_of_a_conversation_or_its_blobs() {
    let (store, directory) = fresh().await;
    let mut projection = Projecting::new(&store);
    let mut told: Vec<History> = (0..100).map(|_| History::new()).collect();
    for (number, told) in (0..).step_by(10).zip(&mut told) {
        told.create_conversation(&text(number, 300));
        let items = [1, 2].map(|next| message(&text(number + next, 1200), told.item_id()));
        told.push(Change::ItemsAdded { items: items.to_vec() });
        told.push(Change::MetadataSet { metadata: Metadata::from([("key".into(), text(number + 3, 200))]) });
        let hash = [u8::try_from(number / 10).unwrap(); 32];
        let content = Bytes::from(text(number + 4, 300_000));
        store.put_blobs(&[Blob { thread: told.thread, hash, content }]).await.unwrap();
        told.whole_reply(&format!("blob:{}", data_encoding::HEXLOWER.encode(&hash)), &text(number + 5, 5000));
        projection.apply(&told.since(0)).await;
    }
    assert_eq!(texts(directory.path()).len(), 600);

    let mut deleted = HashSet::new();
    for (number, told) in (0..).step_by(10).zip(&mut told).take(50) {
        let before = told.len();
        let item = match &told.records()[1].change {
            Change::ItemsAdded { items } => items[0].id().to_owned(),
            other => panic!("{other:?}"),
        };
        let reply = told.replies()[0];
        told.push(Change::ItemDeleted { item, left: vec![] });
        told.push(Change::ReplyDeleted { reply, erased: Vec::new(), left: vec![] });
        deleted.extend([1, 4, 5].map(|next| number + next));
        if number % 20 == 0 {
            told.push(Change::ConversationDeleted { erased: Vec::new(), left: vec![], owner: Owner::anonymous() });
            deleted.extend([0, 2, 3].map(|next| number + next));
        }
        projection.apply(&told.since(before)).await;
    }
    gone(directory.path(), &deleted).await;
    assert_eq!(texts(directory.path()).len(), 600 - deleted.len(), "the others stay");
    whole(directory.path()).await;
}

#[tokio::test]
async fn what_was_deleted_before_a_crash_is_gone_after_the_next_start() {
    let (store, directory) = fresh().await;
    let mut projection = Projecting::new(&store);
    let mut told = History::new();
    let reply = told.accept(&text(1, 20_000), false);
    told.end(reply, &text(2, 500));
    told.whole_reply(&text(3, 100), &text(4, 100));
    projection.apply(&told.since(0)).await;

    // A read that does not end keeps the log as it is, as if the process were killed right after the commit.
    let mut reader = connect(directory.path()).await;
    let mut read = reader.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM replies").fetch_one(&mut *read).await.unwrap();
    told.push(Change::ReplyDeleted { reply, erased: Vec::new(), left: vec![] });
    projection.apply(&told.since(4)).await;
    let after = TempDir::new().unwrap();
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), after.path().join(file.file_name())).unwrap();
    }
    assert_eq!(texts(after.path()), [1, 2, 3, 4].into(), "the test is none if they are gone");

    let again = Store::open(&Config::in_dir(after.path()), Tables::Migrate).await.unwrap();
    gone(after.path(), &[1, 2].into()).await;
    assert_eq!(texts(after.path()), [3, 4].into());
    assert!(again.projected_reply(reply).await.unwrap().expect("its tombstone").texts.is_none());

    // Here it is gone as soon as the read ends.
    assert_eq!(texts(directory.path()).len(), 4);
    read.rollback().await.unwrap();
    gone(directory.path(), &[1, 2].into()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_write_ahead_log_stays_small_while_reads_overlap_without_a_gap() {
    let (store, directory) = fresh().await;
    let over = std::sync::Arc::new(AtomicBool::new(false));
    let count = std::sync::Arc::new(AtomicUsize::new(0));
    let reads = (0..3).map(|_| {
        let (over, count, path) = (over.clone(), count.clone(), directory.path().to_owned());
        tokio::spawn(async move {
            let mut connection = connect(&path).await;
            while !over.load(Ordering::Relaxed) {
                let mut read = connection.begin().await.unwrap();
                sqlx::query("SELECT count(*) FROM positions").fetch_one(&mut *read).await.unwrap();
                tokio::time::sleep(Duration::from_millis(15)).await;
                read.rollback().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let reads: Vec<_> = reads.collect();
    let mut projection = Projecting::new(&store);
    let mut largest = 0;
    for _ in 0..100 {
        let mut told: Vec<History> = (0..50).map(|_| History::new()).collect();
        let records = told.iter_mut().flat_map(|told| {
            told.whole_reply("hello", &"x".repeat(20_000));
            told.since(0)
        });
        projection.apply(&records.collect::<Vec<_>>()).await;
        largest = largest.max(std::fs::metadata(directory.path().join("rejoinder.db-wal")).unwrap().len());
    }
    over.store(true, Ordering::Relaxed);
    for read in reads {
        read.await.unwrap();
    }
    assert!(count.load(Ordering::Relaxed) > 20, "they did read");
    assert!(largest > 1 << 20, "it is used: {largest}");
    assert!(largest < 48 << 20, "100 MB were written, and the log was as large as {largest}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_space_of_what_was_deleted_is_given_back() {
    let (store, directory) = fresh().await;
    let mut projection = Projecting::new(&store);
    let mut told = History::new();
    let replies: Vec<_> = (0..1500).map(|number| told.whole_reply("hello", &text(number, 30_000)).0).collect();
    projection.apply(&told.since(0)).await;
    let size = || std::fs::metadata(directory.path().join("rejoinder.db")).unwrap().len();
    until(
        "all is in the file",
        Duration::from_secs(20),
        async || if size() > 45_000_000 { Ok(()) } else { Err(size()) },
    )
    .await;

    let before = told.len();
    for reply in &replies[..1400] {
        told.push(Change::ReplyDeleted { reply: *reply, erased: Vec::new(), left: vec![] });
    }
    projection.apply(&told.since(before)).await;
    until("the file shrinks", Duration::from_secs(20), async || if size() < 15_000_000 { Ok(()) } else { Err(size()) })
        .await;
    whole(directory.path()).await;
    assert_eq!(store.thread(told.thread).await.unwrap().records.len(), 200 + 1400);
}

#[tokio::test]
async fn a_file_of_an_earlier_version_is_used_as_it_is_and_written_anew_when_that_is_asked_for() {
    let directory = TempDir::new().unwrap();
    let config = Config::in_dir(directory.path());
    let options = SqliteConnectOptions::new()
        .filename(directory.path().join("rejoinder.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let mut earlier = options.connect().await.unwrap();
    sqlx::migrate!("migrations/sqlite").run(&mut earlier).await.unwrap();
    earlier.close().await.unwrap();
    assert!(Store::history(&config).await.unwrap().is_old);

    let store = Store::open(&config, Tables::Migrate).await.unwrap();
    let mut projection = Projecting::new(&store);
    let mut told = History::new();
    let (reply, _) = told.whole_reply(&text(1, 9000), &text(2, 9000));
    let (kept, _) = told.whole_reply(&text(3, 9000), &text(4, 9000));
    projection.apply(&told.since(0)).await;
    told.push(Change::ReplyDeleted { reply, erased: Vec::new(), left: vec![] });
    projection.apply(&told.since(4)).await;
    gone(directory.path(), &[1, 2].into()).await;
    let refused = Store::migrate(&config).await.unwrap_err();
    assert!(refused.to_string().contains("stop rejoinder serve"), "{refused}");
    store.close().await;

    Store::migrate(&config).await.unwrap();
    assert!(!Store::history(&config).await.unwrap().is_old);
    let store = Store::open(&config, Tables::Migrate).await.unwrap();
    assert!(store.projected_reply(kept).await.unwrap().expect("the reply").texts.is_some());
    let mut file = connect(directory.path()).await;
    let layout: (i64, i64) =
        sqlx::query_as("SELECT * FROM pragma_page_size, pragma_auto_vacuum").fetch_one(&mut file).await.unwrap();
    assert_eq!(layout, (8192, 2), "as in a new one");
}

/// Has `SQLite` look whether its file is as it should be.
async fn whole(directory: &Path) {
    let found: Vec<String> =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut connect(directory).await).await.unwrap();
    assert_eq!(found, ["ok"]);
}
