//! How a client follows a reply: it reads, goes away, and comes back somewhere else by some door.

use serde_json::Value;
use tokio::time::sleep;

use crate::checker::{Checker, Deletion};
use crate::client::{Client, TRIES};
use crate::http::{Answer, Ask, Reader, Sent, ask};
use rejoinder::simulation::Fault;

/// What became of following a reply for a while.
pub(crate) enum Followed {
    /// To its end.
    Ended,
    /// It is gone: it was deleted.
    Gone,
    /// Not to its end: there is more.
    Broken,
}

impl Client {
    /// Follows it from a second place, perhaps.
    pub(crate) async fn watch(&self, id: &str) {
        if self.dice().percent(40) {
            sleep(self.dice().millis(0..2000)).await;
            if self.dice().percent(30) {
                self.look_in(id).await;
            } else {
                self.follow(id, None).await;
            }
        }
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
    pub(crate) async fn follow(&self, id: &str, answer: Option<Answer>) -> Followed {
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
            for Sent { data, .. } in reader.feed(&bytes) {
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
