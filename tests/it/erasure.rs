//! Erasure is physical: what was deleted is in no file of the server any more two seconds later, also when the server is
//! killed in the middle. (That its space is given back is tried on the log alone.)

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::{
    nats::Nats,
    server::{Config, Server},
    upstream::{Break, Manner},
    *,
};

mod items;

/// So long after a DELETE no file holds the text.
const WITHIN: Duration = Duration::from_secs(2);

/// Whether the files of SQLite are looked into, too.
const STORE_TOO: bool = true;

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![dir.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                Ok(_) => found.push(entry.path()),
                Err(_) => {}
            }
        }
    }
    let is_store = |path: &PathBuf| path.to_string_lossy().contains("rejoinder.db");
    found.retain(|path| STORE_TOO || !is_store(path));
    found
}

/// Which file holds one of these words.
pub(crate) fn holder(dir: &Path, words: &[String]) -> Option<String> {
    for path in files(dir) {
        let Ok(content) = std::fs::read(&path) else { continue };
        for word in words {
            if memchr(&content, word.as_bytes()) {
                return Some(format!("{} holds {word}", path.display()));
            }
        }
    }
    None
}

fn memchr(content: &[u8], word: &[u8]) -> bool {
    content.windows(word.len()).any(|part| part == word)
}

/// That no file holds any of these words two seconds after the deletion.
pub(crate) async fn are_gone(dir: &Path, words: &[String], what: &str) {
    let begun = Instant::now();
    let mut holds = holder(dir, words);
    while let Some(found) = &holds {
        assert!(begun.elapsed() < WITHIN, "{what}: {found}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        holds = holder(dir, words);
    }
}

/// Words that can be told from all others.
fn secret(name: &str) -> String {
    format!("geheimnis-{name}")
}

/// A reply to this prompt, and all that is secret of it.
async fn reply(given: &Given, prompt: &str, more: Value) -> (String, Vec<String>) {
    let reply = given.api.post("/v1/responses", with(whole(prompt), more)).await.ok();
    let text = check::output_text(&reply);
    let begin: String = text.chars().take(40).collect();
    (id_of(&reply), vec![prompt.to_owned(), begin])
}

#[tokio::test]
async fn the_text_of_a_deleted_reply_is_in_no_file() {
    let given = Given::new().await;
    let dir = given.server.data_dir().to_owned();
    let short = reply(&given, &prompt(6, &secret("short")), json!({})).await;
    // Long enough for snapshots, with an image that is a blob.
    let image = format!("data:image/png;base64,{}", "c2VjcmV0".repeat(20_000));
    let question = prompt(900, &secret("long"));
    let input = json!([{"role": "user", "content": [
        {"type": "input_text", "text": question}, {"type": "input_image", "image_url": image, "detail": "auto"},
    ]}]);
    let (long, mut words) = reply(&given, &question, json!({"input": input})).await;
    words.push("c2VjcmV0c2VjcmV0".to_owned());
    for (id, words) in [short, (long, words)] {
        assert!(holder(&dir, &words).is_some(), "it was there");
        given.api.delete(&format!("/v1/responses/{id}")).await.ok();
        are_gone(&dir, &words, &id).await;
    }
}

#[tokio::test]
async fn the_text_of_a_cancelled_reply_and_of_one_that_runs_is_in_no_file() {
    let given = Given::new().await;
    let dir = given.server.data_dir().to_owned();
    given.upstream.on("geheimnis", Manner::polite().breaking(40, Break::Silent));
    for cancels in [true, false] {
        let question = prompt(60, &secret(if cancels { "cancelled" } else { "running" }));
        let mut stream = given.api.stream(streamed(&question)).await;
        let id = stream.response_id();
        stream.read_words(30).await;
        if cancels {
            given.api.post(&format!("/v1/responses/{id}/cancel"), json!({})).await.ok();
        }
        let begin: String = truth(&question).chars().take(8).collect();
        let words = vec![question, begin];
        assert!(holder(&dir, &words[..1]).is_some(), "it was there");
        given.api.delete(&format!("/v1/responses/{id}")).await.ok();
        are_gone(&dir, &words, &id).await;
    }
}

#[tokio::test]
async fn what_clients_wrote_into_a_deleted_conversation_is_in_no_file() {
    let given = Given::new().await;
    let dir = given.server.data_dir().to_owned();
    let (first, later, note) = (secret("first"), secret("later"), secret("note"));
    let item = |text: &str| json!({"role": "user", "content": text});
    let made =
        given.api.post("/v1/conversations", json!({"items": [item(&first)], "metadata": {"n": note}})).await.ok();
    let path = format!("/v1/conversations/{}", id_of(&made));
    let image = format!("data:image/png;base64,{}", "c2VjcmV0".repeat(20_000));
    let shown = json!({"role": "user", "content": [{"type": "input_image", "image_url": image}]});
    given.api.post(&format!("{path}/items"), json!({"items": [item(&later), shown]})).await.ok();
    let words = [first, later, note, "c2VjcmV0c2VjcmV0".to_owned()];
    assert!(words.iter().all(|word| holder(&dir, std::slice::from_ref(word)).is_some()), "it was there");
    given.api.delete(&path).await.ok();
    are_gone(&dir, &words, "a conversation").await;
}

/// A kill before every write of a deletion, and a start: it is done then, or was not begun.
#[cfg(feature = "crash-points")]
#[tokio::test]
async fn a_deletion_that_a_crash_broke_off_is_completed() {
    let upstream = Upstream::start().await;
    let question = prompt(300, &secret("crash"));
    for writes in 0..60 {
        let given = Server::before(&upstream).start().await;
        let api = given.api();
        let made = api.post("/v1/responses", whole(&question)).await.ok();
        let words = vec![question.clone(), check::output_text(&made).chars().take(40).collect()];
        let path = format!("/v1/responses/{}", id_of(&made));
        given.poll("/healthz", |answer| answer.json()["store"]["lag_records"] == 0).await;
        let config = given.stop();
        let mut crashing = config.clone().env("CRASH_AFTER_WRITES", writes).start().await;
        let answered = crashing.api().try_call(hyper::Method::DELETE, &path, "").await.is_ok();
        if crashing.ended().is_none() && answered {
            crashing.terminate();
        }
        let crashed = !crashing.wait().await.success();
        let server = config.start().await;
        let known = server.api().get(&path).await;
        if known.status == 404 {
            are_gone(server.data_dir(), &words, &format!("a crash before write {writes}")).await;
        } else {
            assert!(!answered, "a deletion that was acknowledged is done");
        }
        if !crashed {
            assert!(writes > 2, "it crashed in between");
            return;
        }
    }
    panic!("it never ran through");
}

#[tokio::test]
async fn on_nats_nothing_is_left_of_a_deleted_reply_either() {
    let nats = Nats::start().await;
    let given = Given::with(|config: Config| config.env("NATS_URL", &nats.url)).await;
    let question = prompt(300, &secret("on-nats"));
    let (id, words) = reply(&given, &question, json!({})).await;
    let dir = nats.directory().to_owned();
    until("the text to be in the stream", async || holder(&dir, &words[..1])).await;
    given.api.delete(&format!("/v1/responses/{id}")).await.ok();
    are_gone(&dir, &words, "on NATS").await;
    are_gone(given.server.data_dir(), &words, "beside NATS").await;
}

/// Of records and snapshots that stand in pieces, and of an image.
#[tokio::test]
async fn on_nats_nothing_is_left_of_what_was_longer_than_a_message() {
    let nats = Nats::with_max_payload(64 << 10).await;
    let given = Given::with(|config: Config| config.env("NATS_URL", &nats.url)).await;
    let question = format!("{} {}", prompt(9_000, &secret("long-on-nats")), secret("padding ").repeat(20_000));
    let image = format!("data:image/png;base64,{}", "c2VjcmV0".repeat(20_000));
    let input = json!([{"role": "user", "content": [
        {"type": "input_text", "text": question}, {"type": "input_image", "image_url": image, "detail": "auto"},
    ]}]);
    let (id, mut words) = reply(&given, &question, json!({"input": input})).await;
    words[0] = secret("long-on-nats");
    words.extend([secret("padding"), "c2VjcmV0c2VjcmV0".to_owned()]);
    let dir = nats.directory().to_owned();
    for word in &words {
        until("the text to be in the stream", async || holder(&dir, std::slice::from_ref(word))).await;
    }
    given.api.delete(&format!("/v1/responses/{id}")).await.ok();
    are_gone(&dir, &words, "on NATS").await;
    are_gone(given.server.data_dir(), &words, "beside NATS").await;
}
