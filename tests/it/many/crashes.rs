//! A crash at every point of what one instance writes to NATS or Postgres: before each request, and between its answer
//! and what follows from it. After each, another instance brings what was begun to its end, and nothing is half done.
//!
//! `CRASH_AFTER_POINTS` ends an instance at its n-th point; each scenario is tried with n = 0, 1, 2, … until it runs
//! through. A few are tried at once, each on a NATS server of its own.

use std::os::unix::process::ExitStatusExt;

use futures_util::{StreamExt, stream};
use hyper::Method;

use crate::support::{
    check::output_text,
    follower::{Place, follow_anywhere, read_on},
    nats::Nats,
    postgres,
    server::{Config, Server},
    sse::Event,
    upstream::{Break, Manner},
    *,
};

/// More points than any scenario has.
const MOST: u64 = 100;

/// So many are tried at once.
const AT_ONCE: usize = 3;

/// What happens on the instance that crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// A reply is accepted, said, and ends.
    Say,
    /// A reply that another instance left is taken over, and ends.
    TakeOver,
    /// A reply that runs there is stopped.
    Cancel,
    /// A reply that runs there is deleted.
    DeleteRunning,
    /// A reply that has ended is deleted.
    DeleteEnded,
}

/// What a client knows when the crash comes.
#[derive(Debug, Default)]
struct Told {
    reply: Option<String>,
    seen: Vec<Event>,
    answered: bool,
}

/// One try.
struct Try {
    what: What,
    upstream: Upstream,
    nats: Nats,
    database: String,
    prompt: String,
    conversation: String,
}

impl Try {
    fn config(&self) -> Config {
        let config = Server::before(&self.upstream).env("NATS_URL", &self.nats.url).env("HEARTBEAT", "200ms");
        let config = if self.database.is_empty() { config } else { config.env("DATABASE_URL", &self.database) };
        config.env("DRAIN_TIMEOUT", "2s")
    }

    /// Everything before the crash: a conversation, and the reply that is taken over or deleted.
    async fn prepare(what: What, database: String) -> (Self, Told) {
        let (upstream, nats) = tokio::join!(Upstream::start(), Nats::start());
        let prompt = prompt(6, "a crash");
        // Says three words and is silent where it is to be stopped or left; whoever asks it to go on hears the rest.
        let silent = Manner::polite().breaking(3, Break::Silent);
        match what {
            What::Say => upstream.on("a crash", Manner::polite().repeating(1)),
            What::TakeOver => upstream.on_each("a crash", [silent.into(), Manner::polite().repeating(1).into()]),
            What::Cancel | What::DeleteRunning => upstream.on("a crash", silent),
            What::DeleteEnded => {}
        }
        let mut one = Self { what, upstream, nats, database, prompt, conversation: String::new() };
        let mut server = one.config().start().await;
        let api = server.api();
        let made = api.post("/v1/conversations", json!({})).await.ok();
        one.conversation = made["id"].as_str().expect("an id").to_owned();
        let mut told = Told::default();
        match what {
            What::TakeOver => {
                let mut stream = api.stream(one.request()).await;
                told.reply = Some(stream.response_id());
                told.seen = stream.read_words(2).await;
                // It hands over what it has, so that nobody needs to find out that it died.
                server.terminate();
                read_on(&mut stream, Place::Responses, &mut told.seen).await;
            }
            What::DeleteEnded => {
                let stream = api.stream(one.request()).await;
                told.reply = Some(stream.response_id());
                assert_eq!(check_reply(&stream.collect().await.into_events()).text, truth(&one.prompt));
                server.terminate();
            }
            What::Say | What::Cancel | What::DeleteRunning => server.terminate(),
        }
        assert!(server.wait().await.success());
        (one, told)
    }

    fn request(&self) -> Value {
        with(streamed(&self.prompt), json!({"conversation": self.conversation}))
    }

    /// What is done on the instance that crashes. `None`: it has crashed meanwhile.
    async fn perform(&self, api: &Api, told: &mut Told) -> Option<()> {
        match self.what {
            What::Say => self.post(api, told, Event::is_terminal).await,
            What::TakeOver => {
                let path = format!("/v1/responses/{}?stream=true", told.reply.as_ref()?);
                let mut stream = api.try_open(Method::GET, &path, String::new()).await.ok()?;
                let mut seen = Vec::new();
                while !seen.last().is_some_and(Event::is_terminal) {
                    seen.push(sse::as_named_event(&stream.next().await.ok()?));
                    if seen.len() > told.seen.len() {
                        told.seen.clone_from(&seen);
                    }
                }
                Some(())
            }
            What::Cancel | What::DeleteRunning => {
                self.post(api, told, |event| event.delta().is_some()).await?;
                self.stop(api, told).await
            }
            What::DeleteEnded => self.stop(api, told).await,
        }
    }

    async fn post(&self, api: &Api, told: &mut Told, enough: impl Fn(&Event) -> bool) -> Option<()> {
        let mut stream = api.try_open(Method::POST, "/v1/responses", self.request().to_string()).await.ok()?;
        if stream.status != 200 {
            return None;
        }
        told.reply = Some(stream.response_id());
        while !told.seen.last().is_some_and(&enough) {
            told.seen.push(sse::as_named_event(&stream.next().await.ok().filter(|frame| frame.data != "[DONE]")?));
        }
        Some(())
    }

    async fn stop(&self, api: &Api, told: &mut Told) -> Option<()> {
        let path = format!("/v1/responses/{}", told.reply.as_ref()?);
        let answer = if self.what == What::Cancel {
            api.try_call(Method::POST, &format!("{path}/cancel"), "{}").await
        } else {
            api.try_call(Method::DELETE, &path, "").await
        };
        // A NATS or Postgres that takes more than a second on a busy machine is a 503: nothing was promised.
        let answer = answer.ok().filter(|answer| answer.status != 503)?;
        answer.ok();
        told.answered = true;
        Some(())
    }

    /// Another instance brings it to its end.
    async fn check(&self, api: &Api, told: Told) {
        let deletes = matches!(self.what, What::DeleteRunning | What::DeleteEnded);
        match told.reply {
            Some(id) if deletes => self.check_deleted(api, &id, told.answered).await,
            Some(id) => self.check_reply(api, &id, told.seen, told.answered).await,
            None => {}
        }
        if self.what == What::Cancel || self.what == What::DeleteRunning {
            self.stop_unknown(api).await;
        }
        self.is_unlocked(api).await;
    }

    async fn check_reply(&self, api: &Api, id: &str, seen: Vec<Event>, answered: bool) {
        if self.what == What::Cancel {
            let path = format!("/v1/responses/{id}/cancel");
            until("it to be stopped", async || Some(api.post(&path, json!({})).await).filter(|one| one.status == 200))
                .await;
        }
        let before: Vec<_> = bodies(&seen).into_iter().cloned().collect();
        let events = follow_anywhere(std::slice::from_ref(api), id, Place::Responses, seen).await;
        let again = follow_anywhere(std::slice::from_ref(api), id, Place::Responses, Vec::new()).await;
        assert_eq!(
            bodies(&again[..before.len()]),
            before.iter().collect::<Vec<_>>(),
            "what was seen is never taken back"
        );
        let reply = check_reply(&events);
        if self.what == What::Cancel {
            assert!(!answered || reply.status == "cancelled", "a stop that was acknowledged is one");
            assert!(truth(&self.prompt).starts_with(&reply.text));
        } else {
            assert_eq!((reply.text, reply.status.as_str()), (truth(&self.prompt), "completed"));
        }
    }

    async fn check_deleted(&self, api: &Api, id: &str, answered: bool) {
        let path = format!("/v1/responses/{id}");
        let found = until("an answer", async || Some(api.get(&path).await).filter(|one| one.status != 503)).await;
        assert!(found.status == 404 || !answered, "a deletion that was acknowledged is done");
        let gone = async || Some(api.delete(&path).await).filter(|one| [200, 404].contains(&one.status.as_u16()));
        until("it to be deleted", gone).await;
        api.get(&path).await.unknown("response_id");
    }

    /// Whoever crashed may have accepted a reply that nobody was told of, and whose model is silent.
    async fn stop_unknown(&self, api: &Api) {
        let request = with(whole("Say 1 word to see."), json!({"conversation": self.conversation}));
        let stopped = async || {
            let answer = api.post("/v1/responses", request.clone()).await;
            if answer.status == 400 {
                let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
                let id =
                    message.split(|c: char| !c.is_alphanumeric() && c != '_').find(|word| word.starts_with("resp_"));
                api.post(&format!("/v1/responses/{}/cancel", id?), json!({})).await;
            }
            (answer.status == 200).then_some(())
        };
        until("nothing to run", stopped).await;
    }

    async fn is_unlocked(&self, api: &Api) {
        let request = with(whole("Say 2 words afterwards."), json!({"conversation": self.conversation}));
        let answer = async || Some(api.post("/v1/responses", request.clone()).await).filter(|one| one.status == 200);
        let answer = until("the conversation to be unlocked", answer).await;
        assert_eq!(output_text(&answer.ok()), truth("Say 2 words afterwards."));
    }
}

/// Crashes at the point `n`. Gives whether it ran through without a crash, and whether a client was told of a reply.
async fn crash_at(what: What, variable: &str, n: u64, database: String) -> (bool, bool) {
    let (one, mut told) = Try::prepare(what, database).await;
    let crashing = one.config().env(variable, n);
    let ran_through = match crashing.try_start().await {
        Err(_) => false,
        Ok(mut server) => {
            let done = one.perform(&server.api(), &mut told).await.is_some();
            // What it still had to write, it writes before it ends.
            if server.ended().is_none() {
                server.terminate();
            }
            let status = server.wait().await;
            assert!(status.success() || status.signal() == Some(6), "{what:?} {n}: it ended in its own way: {status}");
            done && status.success()
        }
    };
    println!("{what:?}: point {n}, {}", if ran_through { "run through" } else { "crashed" });
    let mut other = one.config().start().await;
    let knows_reply = told.reply.is_some();
    one.check(&other.api(), told).await;
    // What is left for the store, it carries before it ends.
    other.terminate();
    assert!(other.wait().await.success());
    (ran_through, knows_reply)
}

/// Crashes at every point.
async fn crash_everywhere(what: What) {
    let mut tries = stream::iter(0..MOST)
        .map(|n| async move { (n, crash_at(what, "CRASH_AFTER_POINTS", n, String::new()).await.0) })
        .buffered(AT_ONCE);
    while let Some((n, ran_through)) = tries.next().await {
        if ran_through {
            assert!(n > 4, "a scenario of {n} points tries nothing");
            return;
        }
    }
    panic!("{what:?}: more than {MOST} points");
}

#[tokio::test]
async fn while_a_reply_is_accepted_and_said() {
    crash_everywhere(What::Say).await;
}

#[tokio::test]
async fn while_a_reply_is_taken_over() {
    crash_everywhere(What::TakeOver).await;
}

#[tokio::test]
async fn while_a_reply_is_stopped() {
    crash_everywhere(What::Cancel).await;
}

#[tokio::test]
async fn while_a_reply_that_runs_is_deleted() {
    crash_everywhere(What::DeleteRunning).await;
}

#[tokio::test]
async fn while_a_reply_that_has_ended_is_deleted() {
    crash_everywhere(What::DeleteEnded).await;
}

/// Around the batches that are carried to Postgres: each reply is there once, in the end, and the deleted one is not.
#[tokio::test]
async fn while_what_was_said_is_carried_to_postgres() {
    for what in [What::Say, What::DeleteEnded] {
        for n in 0..8 {
            let cluster = postgres::shared();
            let database = cluster.database();
            let (ran_through, knows_reply) = crash_at(what, "CRASH_AFTER_BATCHES", n, cluster.url(&database)).await;
            let text = truth(&prompt(6, "a crash"));
            let count = |of: &str| cluster.sql(&database, &format!("SELECT count(*) FROM replies WHERE {of}"));
            assert_eq!(count("ended IS NULL AND NOT deleted"), "0", "{what:?} {n}");
            let found = count(&format!("ended LIKE '%{text}%'"));
            // A reply may have been accepted whose client was not told before the crash.
            let said: &[&str] = match (what, knows_reply) {
                (What::Say, true) => &["1"],
                (What::Say, false) => &["0", "1"],
                _ => &["0"],
            };
            assert!(said.contains(&found.as_str()), "{what:?} {n}: {found}");
            if ran_through {
                break;
            }
        }
    }
}
