//! Other doors to the same replies than that of the Responses API. Their events have the numbers that they have there.

use rejoinder::simulation::Fault;
use serde_json::{Value, json};

use crate::checker::Checker;
use crate::client::{Client, Place};
use crate::http::{Answer, Ask, Reader, Sent, Socket, ask};

/// By which a reply is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Responses,
    ChatCompletions,
    UiMessages,
}

impl Door {
    /// The request for a reply.
    pub(crate) fn ask(self, prompt: &str, place: Place<'_>) -> Ask {
        match self {
            Self::Responses => {
                let mut body = json!({"model": "simulated", "input": prompt, "stream": true});
                match (place.conversation, place.before) {
                    (Some(conversation), _) => body["conversation"] = json!(conversation),
                    (None, Some(before)) => body["previous_response_id"] = json!(before),
                    (None, None) => {}
                }
                Ask::post("/v1/responses", body)
            }
            Self::ChatCompletions => {
                let messages = json!([{"role": "user", "content": prompt}]);
                let body = json!({"model": "simulated", "messages": messages, "stream": true, "store": true});
                Ask::post("/v1/chat/completions", body)
            }
            Self::UiMessages => {
                let message = json!({"id": "m", "role": "user", "parts": [{"type": "text", "text": prompt}]});
                Ask::post("/api/chat", json!({"id": place.chat, "model": "simulated", "message": message}))
            }
        }
    }
}

impl Client {
    /// Asks over a WebSocket, and follows there as long as that goes. `None`: it was refused, or nobody knows.
    pub(crate) async fn ask_by_socket(&self, prompt: &str, place: Place<'_>) -> Option<String> {
        let instance = self.instance().await;
        self.note(format_args!("asks over a WebSocket of instance {}", instance.number));
        let mut socket = Socket::open(&instance).await.ok()?;
        let mut message = Door::Responses.ask(prompt, place).body?;
        message["type"] = json!("response.create");
        socket.send(&message).await.ok()?;
        let leaves_after = self.dice().strikes(Fault::ClientLeaves).then(|| self.dice().number(0..30));
        let (mut id, mut last): (Option<String>, Option<u64>) = (None, None);
        while let Ok(event) = socket.next().await {
            if event["type"] == "error" && event["sequence_number"].is_null() {
                self.note(format_args!("is told {event}"));
                return id;
            }
            if id.is_none() {
                id = event["response"]["id"].as_str().map(str::to_owned);
                let Some(id) = &id else { return None };
                self.checker.accepted(id, prompt, place.conversation);
            }
            let of = id.as_deref().unwrap_or_default();
            last = self.checker.saw(of, &event, last).or(last);
            if Checker::is_terminal(&event) || leaves_after.is_some_and(|after| last > Some(after)) {
                break;
            }
        }
        id
    }

    /// Reads a stream of another door, to its end or until the client has enough of it.
    pub(crate) async fn listen(&self, id: &str, mut stream: Answer) {
        let leaves_after = self.dice().strikes(Fault::ClientLeaves).then(|| self.dice().number(0..30));
        let (mut reader, mut seen) = (Reader::default(), 0);
        while let Ok(Some(bytes)) = stream.next().await {
            for Sent { id: number, data } in reader.feed(&bytes) {
                let chunk: Value = serde_json::from_str(&data).unwrap_or_default();
                if let (Some(number), Some(text)) = (number, text_of_chunk(&chunk)) {
                    self.checker.saw_delta(id, number, text);
                }
                seen += 1;
            }
            if leaves_after.is_some_and(|after| seen > after) {
                return;
            }
        }
    }

    /// Looks at a reply by the door of Chat Completions, from somewhere on.
    pub(crate) async fn look_in(&self, id: &str) {
        let own = id.strip_prefix("resp_").unwrap_or(id);
        let after = self.dice().percent(70).then(|| self.dice().number(0..40));
        let after = after.map(|after| format!("&starting_after={after}")).unwrap_or_default();
        let instance = self.instance().await;
        self.note(format_args!("looks at {id} as a completion at instance {}", instance.number));
        let request = Ask::get(format!("/v1/chat/completions/chatcmpl-{own}?stream=true{after}"));
        if let Ok(answer) = ask(&instance, &request).await
            && answer.status == 200
        {
            self.listen(id, answer).await;
        }
    }
}

/// The text that a chunk of either door adds.
fn text_of_chunk(chunk: &Value) -> Option<&str> {
    match chunk["type"].as_str() {
        Some("text-delta") => chunk["delta"].as_str(),
        Some(_) => None,
        None => chunk["choices"][0]["delta"]["content"].as_str().filter(|text| !text.is_empty()),
    }
}
