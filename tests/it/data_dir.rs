//! A `DATA_DIR` that goes away while the server runs, one of an older form, and one that is damaged.

use std::path::{Path, PathBuf};

use crate::support::{
    server::Server,
    upstream::{Break, Manner},
    *,
};

/// Waits until the server has ended, and has not been ready before.
async fn ends_with_a_word(mut server: Server, word: &str) {
    let status = server.wait().await;
    assert_eq!(status.code(), Some(1), "{status}");
    until("the reason to be told", async || server.output().contains(word).then_some(())).await;
}

#[tokio::test]
async fn a_data_dir_that_is_removed_ends_the_server() {
    let given = Given::new().await;
    std::fs::remove_dir_all(given.server.data_dir().join("data")).expect("its directory");
    ends_with_a_word(given.server, "was removed or replaced").await;
}

#[tokio::test]
async fn a_data_dir_that_is_replaced_ends_the_server() {
    let given = Given::new().await;
    let data = given.server.data_dir().join("data");
    std::fs::rename(&data, data.with_extension("old")).expect("renamed");
    std::fs::create_dir_all(data.join("log")).expect("another in its place");
    std::fs::write(data.join("log/lock"), "").expect("with a lock of its own");
    ends_with_a_word(given.server, "was removed or replaced").await;
}

#[tokio::test]
async fn a_log_of_an_older_form_is_refused_in_words() {
    let config = Server::bare();
    let log = config.data_dir().join("data/log");
    std::fs::create_dir_all(log.join("keyspaces")).expect("made");
    let ended = config.clone().try_start().await.expect_err("it does not start");
    assert_eq!(ended.status.code(), Some(1));
    for word in ["an older version of rejoinder", "move the directory away", "mv "] {
        until("the words", async || config.output().contains(word).then_some(())).await;
    }
    assert!(log.join("keyspaces").is_dir(), "it is left as it is");
}

/// The newest segment of the chains.
fn chains(data_dir: &Path) -> PathBuf {
    let log = data_dir.join("data/log");
    let files = std::fs::read_dir(log).expect("the log").flatten().map(|entry| entry.path());
    let is_chains = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("c-"));
    files.filter(is_chains).max().expect("a segment")
}

#[tokio::test]
async fn a_reply_whose_events_are_damaged_ends_with_what_can_be_read() {
    let given = Given::new().await;
    given.upstream.on("damaged", Manner::paced(10).breaking(30, Break::Silent));
    let question = prompt(60, "what is damaged");
    let mut stream = given.api.stream(streamed(&question)).await;
    let id = stream.response_id();
    let seen = stream.read_words(28).await;
    let text = check::text_of(&seen);
    let config = given.server.stop();
    // A word in the middle of what was said.
    let word = truth(&question).split(' ').nth(14).expect("a word").to_owned();
    let path = chains(config.data_dir());
    let mut content = std::fs::read(&path).expect("a segment");
    let at = content.windows(word.len()).position(|part| part == word.as_bytes()).expect("the word");
    content[at] ^= 1;
    std::fs::write(&path, content).expect("written");

    let server = config.start().await;
    let ended = server.poll(&format!("/v1/responses/{id}"), |answer| answer.json()["status"] == "failed").await.json();
    let left = check::output_text(&ended);
    assert!(!left.is_empty() && text.starts_with(left.trim_end()), "what comes before is there: {left}");
    assert!(ended["error"]["message"].as_str().is_some_and(|message| message.contains("damaged")), "{ended}");
    let health = server.api().get("/healthz").await.json();
    assert!(health["problems"].to_string().contains("damaged"), "{health}");
    server.api().delete(&format!("/v1/responses/{id}")).await.ok();
    server.api().get(&format!("/v1/responses/{id}")).await.unknown("response_id");
    // It is not met again.
    let server = server.restart().await;
    assert_eq!(server.api().gauge("rejoinder_replies_running").await, 0);
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).expect("a directory of our own");
    for entry in std::fs::read_dir(from).expect("a directory").map(|entry| entry.expect("a file")) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copied");
        }
    }
}

/// A restored backup, a power cut: what the store has is still there, and what comes next comes after it.
#[tokio::test]
async fn a_log_that_was_rolled_back_behind_its_store_loses_no_turn_and_uses_no_place_twice() {
    let given = Given::new().await;
    let conversation = given.conversation().await;
    let turn = |text: &str| with(whole(text), json!({"conversation": conversation}));
    let projected = async |server: &server::Server| {
        server.poll("/healthz", |answer| answer.json()["store"]["lag_records"] == 0).await;
    };
    given.api.post("/v1/responses", turn("turn one")).await.ok();
    projected(&given.server).await;
    let log = given.server.data_dir().join("data/log");
    let backup = given.server.data_dir().join("backup");
    // A log that is copied while it is open is like one after a power cut.
    copy(&log, &backup);
    for text in ["turn two", "turn three"] {
        given.api.post("/v1/responses", turn(text)).await.ok();
    }
    projected(&given.server).await;
    let Given { mut server, upstream, .. } = given;
    // Twice: the second start knows it from the first.
    for (start, text) in ["turn four", "turn five"].into_iter().enumerate() {
        let config = server.stop();
        if start == 0 {
            std::fs::remove_dir_all(&log).expect("it is there");
            copy(&backup, &log);
        }
        server = config.start().await;
        let api = server.api();
        api.post("/v1/responses", turn(text)).await.ok();
        let items = api.get(&format!("/v1/conversations/{conversation}/items?order=asc&limit=100")).await.ok();
        let texts = items["data"].to_string();
        for text in ["turn one", "turn two", "turn three", text] {
            assert!(texts.contains(text), "{text} is gone: {texts}");
        }
        assert_eq!(
            upstream.heard_once(text).messages().len(),
            2 * (3 + start) + 1,
            "all turns before it are its context"
        );
        projected(&server).await;
    }
    // A thread that nothing was said in since.
    let other = server.api().post("/v1/responses", whole("another")).await.ok();
    assert_eq!(other["status"], "completed");
}
