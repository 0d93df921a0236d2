//! A client: asks, follows, stops, deletes, and takes the next turn.

use std::sync::Arc;
use std::time::Duration;

use rejoinder::simulation::{Dice, Fault};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::checker::{Checker, Deletion};
use crate::doors::Door;
use crate::fleet::{Fleet, Instance};
use crate::following::Followed;
use crate::http::{Answer, Ask, ask};

/// How often something is tried before a client calls it wrong. Everything is well long before.
pub(crate) const TRIES: u32 = 400;

/// One client.
pub(crate) struct Client {
    pub(crate) number: u64,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) checker: Arc<Checker>,
}

/// Where a turn is taken: after a reply, in a conversation, or in a chat of the AI SDK.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) before: Option<&'a String>,
    pub(crate) conversation: Option<&'a String>,
    pub(crate) chat: Option<&'a str>,
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
    pub(crate) fn dice(&self) -> &Dice {
        &self.fleet.dice
    }

    pub(crate) fn note(&self, what: impl std::fmt::Display) {
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
        let is_chat = conversation.is_none() && self.dice().percent(25);
        let chat = is_chat.then(|| format!("chat{}t{talk}", self.number));
        let mut before = None;
        for turn in 0..turns {
            let mut prompt = format!("p{}c{}t{talk}x{turn}", self.dice().number(0..1 << 40), self.number);
            if self.dice().percent(1) {
                // Longer than some logs take at once.
                prompt += &"x".repeat(40_000);
            }
            self.checker.intends(&prompt, before.as_ref());
            let place = Place { before: before.as_ref(), conversation: conversation.as_ref(), chat: chat.as_deref() };
            let Some(reply) = self.take_turn(&prompt, place).await else { return };
            before = Some(reply);
            // Who has seen the end may take the next turn at once, wherever that is.
            if self.dice().percent(50) {
                sleep(self.dice().millis(0..1000)).await;
            }
        }
        if let Some(conversation) = conversation.filter(|_| self.dice().percent(15)) {
            self.delete_conversation(&conversation).await;
        }
    }

    /// Deletes a conversation. Its replies stay.
    async fn delete_conversation(&self, id: &str) {
        self.checker.loses_conversation(id, true);
        for _ in 0..TRIES {
            let instance = self.instance().await;
            self.note(format_args!("deletes {id} at instance {}", instance.number));
            if let Ok(answer) = ask(&instance, &Ask::delete(format!("/v1/conversations/{id}"))).await {
                match answer.status.as_u16() {
                    // The answer to another try may have been lost.
                    200 | 404 => return,
                    429 | 503 => {}
                    status => return self.checker.violation(format!("{id} is not deleted: {status}")),
                }
            }
            sleep(self.dice().millis(50..1000)).await;
        }
        self.checker.violation(format!("{id} is never deleted"));
    }

    /// Asks for another turn in a conversation in which one is taken: whoever comes too early is refused, and nobody later.
    async fn push_in(&self, conversation: &str) {
        sleep(self.dice().millis(0..1500)).await;
        let prompt = format!("q{}c{}", self.dice().number(0..1 << 40), self.number);
        let body = json!({"model": "simulated", "input": prompt, "conversation": conversation, "stream": true});
        let instance = self.instance().await;
        self.note(format_args!("pushes in at instance {}", instance.number));
        // Whatever comes of it, this client does not know any more what comes next there.
        self.checker.loses_conversation(conversation, false);
        if let Ok(answer) = ask(&instance, &Ask::post("/v1/responses", body)).await
            && answer.status != 200
        {
            let status = answer.status.as_u16();
            let error = answer.json().await.unwrap_or_default();
            if self.is_wrong(status, &error, None) {
                self.checker.violation(format!("a turn in {conversation} was refused: {status} {error}"));
            }
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
    async fn take_turn(&self, prompt: &str, place: Place<'_>) -> Option<String> {
        let key = self.dice().percent(60).then(|| format!("key-{}", &prompt[..prompt.len().min(60)]));
        let door = self.door(place);
        let (id, answer) = if key.is_none() && door == Door::Responses && self.dice().percent(40) {
            (self.ask_by_socket(prompt, place).await?, None)
        } else {
            let request = Ask { key, ..door.ask(prompt, place) };
            let (id, answer) = match self.ask(&request, prompt, place).await {
                Asked::Accepted(id, answer) => (id, answer),
                Asked::Unknown | Asked::Refused => return None,
            };
            if request.key.is_some() && self.dice().strikes(Fault::ClientRetries) {
                self.ask_again(&request, &id, prompt, place).await;
            }
            (id, Some(answer))
        };
        if self.dice().strikes(Fault::ClientGone) {
            // It never comes back; its reply is said all the same.
            self.note(format_args!("is gone from {id}"));
            return None;
        }
        let following = async {
            match (door, answer) {
                (Door::ChatCompletions | Door::UiMessages, Some(answer)) => {
                    self.listen(&id, answer).await;
                    self.follow(&id, None).await
                }
                (_, answer) => self.follow(&id, answer).await,
            }
        };
        let pushing = async {
            if let Some(conversation) = place.conversation.filter(|_| self.dice().percent(15)) {
                self.push_in(conversation).await;
            }
        };
        let ((), (), (), followed) = tokio::join!(self.meddle(&id), self.watch(&id), pushing, following);
        if place.conversation.is_some_and(|id| self.checker.has_lost_conversation(id)) {
            return None;
        }
        if !matches!(followed, Followed::Ended) || self.checker.reply(&id).deletion != Deletion::None {
            return None;
        }
        if self.dice().percent(50) {
            self.look(&id).await;
        }
        if self.dice().percent(10) {
            self.delete(&id).await;
            return None;
        }
        Some(id)
    }

    /// Whose door a turn comes through.
    fn door(&self, place: Place<'_>) -> Door {
        if place.chat.is_some() {
            return Door::UiMessages;
        }
        let is_first = place.before.is_none() && place.conversation.is_none();
        if is_first && self.dice().percent(25) { Door::ChatCompletions } else { Door::Responses }
    }

    /// Some instance, as soon as there is one.
    pub(crate) async fn instance(&self) -> Arc<Instance> {
        loop {
            if let Some(instance) = self.fleet.any() {
                return instance;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn ask(&self, request: &Ask, prompt: &str, place: Place<'_>) -> Asked {
        let name = &prompt[..prompt.len().min(60)];
        for _ in 0..TRIES {
            let instance = self.instance().await;
            self.note(format_args!("asks {name:?} of instance {}", instance.number));
            let Ok(answer) = ask(&instance, request).await else {
                if request.key.is_none() {
                    return Asked::Unknown;
                }
                sleep(self.dice().millis(20..800)).await;
                continue;
            };
            let status = answer.status.as_u16();
            if let (200, Some(id)) = (status, answer.reply.clone()) {
                self.note(format_args!("{name:?} is {id}"));
                self.checker.accepted(&id, prompt, place.conversation);
                return Asked::Accepted(id, answer);
            }
            let error = answer.json().await.unwrap_or_default();
            self.note(format_args!("{name:?} is refused: {status} {error}"));
            if self.is_wrong(status, &error, place.before) {
                self.checker.violation(format!("{name:?} was refused: {status} {error}"));
                return Asked::Refused;
            }
            // An answer that says that it may have been accepted is to be trusted only with a key.
            if status == 503 && request.key.is_none() {
                return Asked::Unknown;
            }
            sleep(self.dice().millis(200..1500)).await;
        }
        self.checker.violation(format!("{name:?} is never accepted"));
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
    async fn ask_again(&self, request: &Ask, id: &str, prompt: &str, place: Place<'_>) {
        if let Asked::Accepted(other, _) = self.ask(request, prompt, place).await
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
}
