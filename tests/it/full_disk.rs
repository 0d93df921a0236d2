//! A disk that is full: replies that run wait, new ones are refused at once, deletions work; when there is space again,
//! everything goes on by itself.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::{server::Server, sse::Event, upstream::Manner, *};

/// A small file system of the test's own.
struct Disk(PathBuf);

impl Disk {
    /// `None`: none can be mounted here, which is said.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a directory");
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        if mounted.as_ref().is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(at.to_owned()));
        }
        println!("SKIPPED: this test needs to mount a small file system, which it may not: {mounted:?}");
        None
    }

    /// Takes all space that is left, to the last byte, and what others give back, until this is dropped.
    fn fill(&self) -> Full {
        let (stop, path) = (Arc::new(AtomicBool::new(false)), self.0.join("filler"));
        let mut file = std::fs::File::create(&path).expect("a file");
        let mut take = move || {
            for size in [1 << 20, 4096, 1] {
                while file.write_all(&vec![b'x'; size]).is_ok() {}
            }
        };
        take();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                take();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Full { stop, thread: Some(thread), path }
    }

    /// Which file of the log holds these words.
    fn holder(&self, words: &str) -> Option<PathBuf> {
        holder_in(&self.0.join("log"), words)
    }

    /// Which file of the log or of the store holds these words.
    fn any_holder(&self, words: &str) -> Option<PathBuf> {
        self.holder(words).or_else(|| holder_in(&self.0, words))
    }
}

fn holder_in(dir: &Path, words: &str) -> Option<PathBuf> {
    let files = std::fs::read_dir(dir).expect("a directory").flatten().map(|entry| entry.path());
    let holds = |path: &PathBuf| {
        let content = std::fs::read(path).unwrap_or_default();
        content.windows(words.len()).any(|part| part == words.as_bytes())
    };
    files.filter(|path| path.is_file() && !path.ends_with("filler")).find(holds)
}

/// A disk that is full, until this is dropped.
struct Full {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

impl Drop for Full {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

/// A server on a small disk, in front of an upstream that takes its time.
async fn given(size: &str) -> Option<(Disk, Given)> {
    let upstream = Upstream::start().await;
    upstream.on("patience", Manner::paced(20));
    let config = Server::before(&upstream).env("MIN_FREE_DISK", "0");
    let disk = Disk::mount(&config.data_dir().join("data"), size)?;
    let server = config.start().await;
    Some((disk, Given { api: server.api(), server, upstream }))
}

/// Asks until a reply is refused for want of space: some may still fit.
async fn refused(given: &Given) {
    until("a refusal", async || {
        let begun = Instant::now();
        // In the background: the last one that fits may wait for its end.
        let body = with(whole("Say 3 words too many."), json!({"background": true}));
        let answer = given.api.post("/v1/responses", body).await;
        if answer.status == 200 {
            return None;
        }
        answer.refused(503, Value::Null, Value::Null);
        assert!(begun.elapsed() < Duration::from_secs(1), "it waited {:?}", begun.elapsed());
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        Some(())
    })
    .await;
}

/// Asks until a reply is taken again.
async fn is_taken(given: &Given) {
    until("a new reply to be taken", async || {
        let answer = given.api.post("/v1/responses", whole("Say 3 words again.")).await;
        (answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn on_a_full_disk_replies_wait_and_go_on_when_there_is_space() {
    let Some((disk, given)) = given("24m").await else { return };
    let deleted = prompt(40, "what is deleted on a full disk");
    let finished = given.api.post("/v1/responses", whole(&deleted)).await.ok();
    let prompts: Vec<_> = (0..3).map(|number| prompt(300, &format!("patience {number}"))).collect();
    let mut streams = Vec::new();
    for prompt in &prompts {
        let mut stream = given.api.stream(streamed(prompt)).await;
        let seen = stream.read_words(3).await;
        streams.push((stream, seen));
    }
    given.upstream.on("haste", Manner::paced(1));
    let mut unwanted = given.api.stream(streamed(&prompt(60_000, "haste"))).await;
    let mut unwanted_seen = unwanted.read_words(3).await;

    let (filled, full) = (disk.fill(), Instant::now());
    refused(&given).await;
    given.server.poll("/healthz", |answer| answer.json()["log"]["problem"].is_string()).await;
    // It uses up what the log had claimed before, and then it waits, too.
    while let Ok(event) = tokio::time::timeout(Duration::from_secs(1), unwanted.next()).await {
        unwanted_seen.push(sse::as_named_event(&event.expect("it goes on")));
    }
    // What frees space needs none.
    assert!(disk.holder(&deleted).is_some());
    let deleted_ids = [id_of(&finished), unwanted.response_id()];
    for id in &deleted_ids {
        let begun = Instant::now();
        let answer = given.api.delete(&format!("/v1/responses/{id}")).await;
        assert_eq!(answer.ok()["deleted"], true);
        assert!(begun.elapsed() < Duration::from_secs(3), "it took {:?}", begun.elapsed());
        given.api.get(&format!("/v1/responses/{id}")).await.unknown("response_id");
    }
    assert_eq!(disk.holder(&deleted), None, "its text is gone from the log");
    unwanted_seen.extend(unwanted.collect().await.into_events());
    assert_eq!(check_reply(&unwanted_seen).status, "cancelled", "its followers see it end");
    // The replies wait for longer than a log that is away would be waited for.
    tokio::time::sleep(Duration::from_secs(33).saturating_sub(full.elapsed())).await;
    refused(&given).await;

    drop(filled);
    // The store cannot change its files before there is space.
    until("the text to be in no file", async || disk.any_holder(&deleted).is_none().then_some(())).await;
    for ((mut stream, mut seen), prompt) in streams.into_iter().zip(&prompts) {
        while !seen.last().is_some_and(Event::is_terminal) {
            seen.push(sse::as_named_event(&stream.next().await.expect("it goes on")));
        }
        assert_eq!(check_reply(&seen).text, truth(prompt), "nothing is lost, and nothing half written");
    }
    is_taken(&given).await;
    given
        .server
        .poll("/healthz", |answer| {
            let health = answer.json();
            health["log"]["problem"].is_null() && health["store"]["lag_records"] == 0
        })
        .await;
    let given = given.restarted().await;
    for id in &deleted_ids {
        given.api.get(&format!("/v1/responses/{id}")).await.unknown("response_id");
    }
    let health = given.api.get("/healthz").await.json();
    assert!(health["log"]["problem"].is_null(), "{health}");
}

#[tokio::test]
async fn a_disk_that_is_full_and_empty_by_turns_loses_nothing() {
    let Some((disk, given)) = given("24m").await else { return };
    let mut kept = Vec::new();
    for round in 0..5 {
        let question = prompt(100, &format!("patience in round {round}"));
        let mut stream = given.api.stream(streamed(&question)).await;
        let mut seen = stream.read_words(2).await;
        let filled = disk.fill();
        refused(&given).await;
        drop(filled);
        while !seen.last().is_some_and(Event::is_terminal) {
            seen.push(sse::as_named_event(&stream.next().await.expect("it goes on")));
        }
        assert_eq!(check_reply(&seen).text, truth(&question));
        kept.push((stream.response_id(), question));
        is_taken(&given).await;
    }
    let given = given.restarted().await;
    for (id, question) in kept {
        let events = given.replay(&id).await;
        assert_eq!(check_reply(&events).text, truth(&question), "round of {id}");
    }
}
