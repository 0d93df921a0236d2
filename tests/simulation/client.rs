//! A client: asks, follows, goes away and comes back somewhere else, stops, deletes, and takes the next turn.

use std::sync::Arc;
use std::time::Duration;

use rejoinder::simulation::{Dice, Fault};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::checker::{Checker, Deletion};
use crate::fleet::{Fleet, Instance};
use crate::http::{Answer, Ask, Reader, ask};

/// How often something is tried before a client calls it wrong. Everything is well long before.
const TRIES: u32 = 400;

/// One client.
pub(crate) struct Client {
    pub(crate) number: u64,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) checker: Arc<Checker>,
}

/// What became of following a reply for a while.
enum Followed {
    /// To its end.
    Ended,
    /// It is gone: it was deleted.
    Gone,
    /// Not to its end: there is more.
    Broken,
}

/// What became of a request.
enum Asked {
    /// It was accepted.
    Accepted(String, Answer),
    /// Nobody knows.
    Unknown,
    /// It was refused, and that is right.
    Refused,
}

impl Client {
    fn dice(&self) -> &Dice {
        &self.fleet.dice
    }

    fn note(&self, what: impl std::fmt::Display) {
        self.fleet.trace.note(format_args!("client {}: {what}", self.number));
    }

    /// Talks, as long as there is trouble, and once more.
    pub(crate) async fn run(self, turns: u64) {
        sleep(self.dice().millis(0..2000)).await;
        for talk in 0.. {
            self.talk(talk, turns).await;
            if self.fleet.is_over() {
                return;
            }
            sleep(self.dice().millis(0..1500)).await;
        }
    }

    /// Takes some turns, each after the one before.
    async fn talk(&self, talk: u64, turns: u64) {
        let conversation = if self.dice().percent(50) { self.converse().await } else { None };
        let mut before = None;
        for turn in 0..turns {
            let prompt = format!("p{}c{}t{talk}x{turn}", self.dice().number(0..1 << 40), self.number);
            self.checker.intends(&prompt, before.as_ref());
            let Some(reply) = self.take_turn(&prompt, before.as_ref(), conversation.as_ref()).await else { return };
            before = Some(reply);
            sleep(self.dice().millis(0..1000)).await;
        }
    }

    /// Makes a conversation.
    async fn converse(&self) -> Option<String> {
        for _ in 0..TRIES {
            let instance = self.instance().await;
            if let Ok(answer) = ask(&instance, &Ask::post("/v1/conversations", json!({}))).await
                && answer.status == 200
                && let Ok(made) = answer.json().await
            {
                return made["id"].as_str().map(str::to_owned);
            }
            sleep(self.dice().millis(50..1000)).await;
        }
        self.checker.violation(format!("client {} gets no conversation", self.number));
        None
    }

    /// Asks for a reply and follows it to its end. `None`: it ends here.
    async fn take_turn(&self, prompt: &str, before: Option<&String>, conversation: Option<&String>) -> Option<String> {
        let key = self.dice().percent(60).then(|| format!("key-{prompt}"));
        let mut body = json!({"model": "simulated", "input": prompt, "stream": true});
        match (conversation, before) {
            (Some(conversation), _) => body["conversation"] = json!(conversation),
            (None, Some(before)) => body["previous_response_id"] = json!(before),
            (None, None) => {}
        }
        let ask = Ask { key, ..Ask::post("/v1/responses", body) };
        let (id, answer) = match self.ask(&ask, prompt, before, conversation).await {
            Asked::Accepted(id, answer) => (id, answer),
            Asked::Unknown | Asked::Refused => return None,
        };
        if ask.key.is_some() && self.dice().strikes(Fault::ClientRetries) {
            self.ask_again(&ask, &id, prompt, (before, conversation)).await;
        }
        let following = self.follow(&id, Some(answer));
        let ((), (), followed) = tokio::join!(self.meddle(&id), self.watch(&id), following);
        if !matches!(followed, Followed::Ended) || self.checker.reply(&id).deletion != Deletion::None {
            return None;
        }
        self.look(&id).await;
        if self.dice().percent(10) {
            self.delete(&id).await;
            return None;
        }
        Some(id)
    }

    /// Some instance, as soon as there is one.
    async fn instance(&self) -> Arc<Instance> {
        loop {
            if let Some(instance) = self.fleet.any() {
                return instance;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn ask(&self, request: &Ask, prompt: &str, before: Option<&String>, conversation: Option<&String>) -> Asked {
        for _ in 0..TRIES {
            let instance = self.instance().await;
            self.note(format_args!("asks {prompt:?} of instance {}", instance.number));
            let Ok(answer) = ask(&instance, request).await else {
                if request.key.is_none() {
                    return Asked::Unknown;
                }
                sleep(self.dice().millis(20..800)).await;
                continue;
            };
            let status = answer.status.as_u16();
            if let (200, Some(id)) = (status, answer.reply.clone()) {
                self.note(format_args!("{prompt:?} is {id}"));
                self.checker.accepted(&id, prompt, conversation);
                return Asked::Accepted(id, answer);
            }
            let error = answer.json().await.unwrap_or_default();
            self.note(format_args!("{prompt:?} is refused: {status} {error}"));
            if self.is_wrong(status, &error, before) {
                self.checker.violation(format!("{prompt:?} was refused: {status} {error}"));
                return Asked::Refused;
            }
            // An answer that says that it may have been accepted is to be trusted only with a key.
            if status == 503 && request.key.is_none() {
                return Asked::Unknown;
            }
            sleep(self.dice().millis(200..1500)).await;
        }
        self.checker.violation(format!("{prompt:?} is never accepted"));
        Asked::Refused
    }

    /// Whether a refusal has no reason that this client knows of.
    fn is_wrong(&self, status: u16, error: &Value, before: Option<&String>) -> bool {
        let message = error["error"]["message"].as_str().unwrap_or_default();
        match status {
            429 | 503 => false,
            400 if error["error"]["code"] == "conversation_locked" => {
                // By a reply whose end was seen it is not locked any more.
                let replies = self.checker.replies();
                replies.iter().any(|(id, reply)| message.contains(id.as_str()) && reply.end.is_some())
            }
            // What it answers to may be deleted.
            400 | 404 => before.is_none_or(|before| self.checker.reply(before).deletion == Deletion::None),
            _ => true,
        }
    }

    /// Asks again under the same key: it is the same reply.
    async fn ask_again(
        &self,
        request: &Ask,
        id: &str,
        prompt: &str,
        (before, conversation): (Option<&String>, Option<&String>),
    ) {
        if let Asked::Accepted(other, _) = self.ask(request, prompt, before, conversation).await
            && other != id
        {
            self.checker.violation(format!("one key made two replies: {id} and {other}"));
        }
    }

    /// Stops or deletes the reply while it is followed, perhaps.
    async fn meddle(&self, id: &str) {
        let what = self.dice().number(0..10);
        if what < 2 {
            sleep(self.dice().millis(0..2500)).await;
            if what == 0 { self.cancel(id).await } else { self.delete(id).await }
        }
    }

    /// Follows it from a second place, perhaps.
    async fn watch(&self, id: &str) {
        if self.dice().percent(40) {
            sleep(self.dice().millis(0..2000)).await;
            self.follow(id, None).await;
        }
    }

    async fn cancel(&self, id: &str) {
        self.checker.cancels(id);
        for _ in 0..TRIES {
            let instance = self.instance().await;
            self.note(format_args!("cancels {id} at instance {}", instance.number));
            let asked = ask(&instance, &Ask::post(format!("/v1/responses/{id}/cancel"), json!({}))).await;
            if let Ok(answer) = asked {
                let (status, known) = (answer.status.as_u16(), self.checker.reply(id));
                let Ok(body) = answer.json().await else { continue };
                match status {
                    200 => return self.checker.saw_whole(id, &body, &known),
                    404 if known.deletion != Deletion::None => return,
                    429 | 503 => {}
                    _ => return self.checker.violation(format!("{id} is not cancelled: {status} {body}")),
                }
            }
            sleep(self.dice().millis(50..1000)).await;
        }
        self.checker.violation(format!("{id} is never cancelled"));
    }

    async fn delete(&self, id: &str) {
        self.checker.deletes(id, Deletion::Asked);
        for tries in 0..TRIES {
            let instance = self.instance().await;
            self.note(format_args!("deletes {id} at instance {}", instance.number));
            if let Ok(answer) = ask(&instance, &Ask::delete(format!("/v1/responses/{id}"))).await {
                match answer.status.as_u16() {
                    200 => return self.checker.deletes(id, Deletion::Done),
                    // The answer to another try was lost.
                    404 if tries > 0 => return self.checker.deletes(id, Deletion::Done),
                    429 | 503 => {}
                    status => return self.checker.violation(format!("{id} is not deleted: {status}")),
                }
            }
            sleep(self.dice().millis(50..1000)).await;
        }
        self.checker.violation(format!("{id} is never deleted"));
    }

    /// Looks at the whole reply.
    pub(crate) async fn look(&self, id: &str) {
        for _ in 0..TRIES {
            let (instance, known) = (self.instance().await, self.checker.reply(id));
            if let Ok(answer) = ask(&instance, &Ask::get(format!("/v1/responses/{id}"))).await {
                let status = answer.status.as_u16();
                match answer.json().await {
                    Ok(body) if status == 200 => return self.checker.saw_whole(id, &body, &known),
                    Ok(_) if status == 404 && self.checker.reply(id).deletion != Deletion::None => return,
                    Ok(body) if status != 503 && status != 429 => {
                        return self.checker.violation(format!("{id} is not shown: {status} {body}"));
                    }
                    _ => {}
                }
            }
            sleep(self.dice().millis(50..1000)).await;
        }
        self.checker.violation(format!("{id} is never shown"));
    }

    /// Follows a reply to its end, wherever that takes it.
    async fn follow(&self, id: &str, answer: Option<Answer>) -> Followed {
        let mut last = None;
        let mut answer = answer.map(|answer| (answer, false));
        for _ in 0..TRIES {
            if let Some((stream, may_end)) = answer.take() {
                match self.read(id, stream, may_end, &mut last).await {
                    Followed::Broken => {}
                    followed => return followed,
                }
                sleep(self.dice().millis(0..1500)).await;
            }
            match self.rejoin(id, last).await {
                Ok(stream) => answer = Some(stream),
                Err(Some(followed)) => return followed,
                Err(None) => sleep(self.dice().millis(50..1000)).await,
            }
        }
        self.checker.violation(format!("{id} is never followed to its end, after {last:?}"));
        Followed::Gone
    }

    /// Reads a stream, to its end or until the client has enough of it.
    async fn read(&self, id: &str, mut stream: Answer, may_end: bool, last: &mut Option<u64>) -> Followed {
        let leaves_after = self.dice().strikes(Fault::ClientLeaves).then(|| self.dice().number(0..30));
        let mut seen = 0;
        let mut reader = Reader::default();
        let mut is_over = false;
        loop {
            let bytes = match stream.next().await {
                Err(_) => return if is_over { Followed::Ended } else { Followed::Broken },
                Ok(None) if is_over => return Followed::Ended,
                Ok(None) if may_end => return Followed::Broken,
                Ok(None) => {
                    self.checker.violation(format!("{id}: a stream ends well after {last:?}, which is no end"));
                    return Followed::Broken;
                }
                Ok(Some(bytes)) => bytes,
            };
            for data in reader.feed(&bytes) {
                if data == "[DONE]" {
                    continue;
                }
                let event: Value = serde_json::from_str(&data).unwrap_or_default();
                if is_over {
                    self.checker.violation(format!("{id}: after its end came {event}"));
                }
                // An error of a stream that began stands before the end.
                if event["type"] == "error" && event["sequence_number"].is_null() {
                    continue;
                }
                if let Some(number) = self.checker.saw(id, &event, *last) {
                    *last = Some(number);
                }
                is_over = Checker::is_terminal(&event);
                seen += 1;
                if leaves_after.is_some_and(|after| seen > after) && !is_over {
                    self.note(format_args!("leaves {id} after {last:?}"));
                    return Followed::Broken;
                }
            }
        }
    }

    /// Comes back to a reply by some door; also whether its streams may end early. An error: how it ended, if it did.
    async fn rejoin(&self, id: &str, last: Option<u64>) -> Result<(Answer, bool), Option<Followed>> {
        let by_events = self.dice().percent(30);
        let request = match (by_events, last) {
            (true, last) => Ask { last_event: last, ..Ask::get(format!("/v1/responses/{id}/events")) },
            (false, Some(last)) => Ask::get(format!("/v1/responses/{id}?stream=true&starting_after={last}")),
            (false, None) => Ask::get(format!("/v1/responses/{id}?stream=true")),
        };
        let (instance, known) = (self.instance().await, self.checker.reply(id));
        self.note(format_args!("rejoins {id} after {last:?} at instance {}", instance.number));
        let answer = ask(&instance, &request).await.map_err(|_| None)?;
        match answer.status.as_u16() {
            200 => Ok((answer, by_events)),
            204 if known.end == last || known.deletion != Deletion::None => Err(Some(Followed::Ended)),
            404 if self.checker.reply(id).deletion != Deletion::None => Err(Some(Followed::Gone)),
            429 | 503 => Err(None),
            status => {
                let body = answer.json().await.unwrap_or_default();
                self.checker.violation(format!("{id} cannot be rejoined after {last:?}: {status} {body}"));
                Err(Some(Followed::Gone))
            }
        }
    }
}
