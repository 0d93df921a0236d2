//! The doors, as clients of each: how a reply is begun, gone on with, and read.

use hyper::Method;

use crate::support::{Api, Value, json, sse::Events, sse::Frame, websocket::Socket, with};

/// A way to a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// `/v1/responses` as server-sent events.
    Sse,
    /// The same as lines of JSON.
    Lines,
    /// The same as bare text.
    Text,
    /// What browsers have: `/v1/responses/{id}/events`.
    Source,
    /// `/v1/chat/completions`.
    Chat,
    /// `/api/chat`.
    Ui,
    /// A WebSocket.
    Socket,
    /// A conversation, and what happens in it.
    Feed,
}

/// How far a reply was seen. Bare text has no numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) number: Option<u64>,
}

/// What comes through a door at once.
pub(super) struct Piece {
    pub(super) number: Option<u64>,
    pub(super) text: Vec<u8>,
    pub(super) is_last: bool,
}

/// Where a reply is generated: in a chat, which is a conversation, after a first turn.
#[derive(Clone)]
pub(super) struct Room {
    chat: String,
    conversation: String,
    first: String,
    response: String,
    /// The reply's ordinal in the conversation.
    ordinal: String,
}

impl Room {
    /// A new one.
    pub(super) async fn make(api: &Api, chat: &str) -> Self {
        let chat = chat.replace(' ', "-");
        let turn = Door::ui_turn(&chat, "hello");
        let stream = api.try_open(Method::POST, "/api/chat", turn.to_string()).await.expect("a server");
        let first = stream.response_id();
        stream.collect().await;
        let listed = api.get("/v1/conversations").await.ok();
        let mut all = listed["data"].as_array().expect("a list").iter();
        let own = all.find(|one| one["metadata"]["chat"] == *chat).expect("it is listed");
        let conversation = own["id"].as_str().expect("an id").to_owned();
        Self { chat, conversation, first, response: String::new(), ordinal: String::new() }
    }
}

impl Door {
    pub(super) const ALL: [Self; 8] =
        [Self::Sse, Self::Lines, Self::Text, Self::Source, Self::Chat, Self::Ui, Self::Socket, Self::Feed];

    /// Where a reply that was begun here can go on. A chat completion is in no chat.
    pub(super) fn others(self) -> impl Iterator<Item = Self> {
        let is_there = move |to: &Self| self != Self::Chat || !matches!(to, Self::Ui | Self::Feed);
        Self::ALL.into_iter().filter(move |to| *to != self).filter(is_there)
    }

    fn ui_turn(chat: &str, text: &str) -> Value {
        let message = json!({"id": text, "role": "user", "parts": [{"type": "text", "text": text}]});
        json!({"id": chat, "message": message, "trigger": "submit-message", "model": "truth"})
    }

    /// Begins a reply, and gives what reads it.
    pub(super) async fn begin(self, api: &Api, address: &str, mut room: Room, prompt: &str) -> (Reader, Room) {
        let after = json!({"model": "truth", "input": prompt, "previous_response_id": room.first});
        let streamed = with(after.clone(), json!({"stream": true}));
        let feed_path = format!("/v1/conversations/{}/events", room.conversation);
        let mut feed = api.follow(&feed_path).await;
        let mut reader = match self {
            Self::Sse => Reader::stream(self, post(api, "text/event-stream", "/v1/responses", &streamed).await),
            Self::Lines => Reader::stream(self, post(api, "application/x-ndjson", "/v1/responses", &streamed).await),
            Self::Text => Reader::stream(self, post(api, "text/plain", "/v1/responses", &after).await),
            Self::Source => {
                let made = api.post("/v1/responses", with(after, json!({"background": true}))).await.ok();
                room.response = made["id"].as_str().expect("an id").to_owned();
                Reader::stream(self, api.follow(&format!("/v1/responses/{}/events", room.response)).await)
            }
            Self::Chat => {
                let messages = json!([{"role": "user", "content": prompt}]);
                let body = json!({"model": "truth", "messages": messages, "stream": true, "store": true});
                Reader::stream(self, post(api, "text/event-stream", "/v1/chat/completions", &body).await)
            }
            Self::Ui => Reader::stream(
                self,
                post(api, "text/event-stream", "/api/chat", &Self::ui_turn(&room.chat, prompt)).await,
            ),
            Self::Socket => {
                let mut socket = Socket::open(address).await;
                socket.create(with(after, json!({"store": true}))).await;
                Reader { door: self, from: From::Socket(Box::new(socket)), lines: Vec::new(), first: None }
            }
            Self::Feed => {
                let body =
                    json!({"model": "truth", "input": prompt, "conversation": room.conversation, "background": true});
                let made = api.post("/v1/responses", body).await.ok();
                room.response = made["id"].as_str().expect("an id").to_owned();
                Reader::stream(self, api.follow(&feed_path).await)
            }
        };
        if room.response.is_empty() {
            room.response = match &mut reader.from {
                From::Stream(events) => events.response_id(),
                From::Socket(socket) => {
                    let created = socket.next().await.expect("a message");
                    let id = created["response"]["id"].as_str().expect("an id").to_owned();
                    reader.first = Some(created);
                    id
                }
            };
        }
        if self != Self::Chat {
            // What was asked comes before the reply, and without an id.
            let id = loop {
                if let Some(id) = feed.next().await.expect("something happens").id {
                    break id;
                }
            };
            id.split_once('.').expect("two numbers").0.clone_into(&mut room.ordinal);
        }
        (reader, room)
    }

    /// Goes on with a reply behind a place, or from its beginning. `None`: nothing runs there.
    pub(super) async fn go_on(self, api: &Api, address: &str, room: &Room, Place { number }: Place) -> Option<Reader> {
        let response = &room.response;
        let after = number.map_or_else(String::new, |number| format!("&starting_after={number}"));
        let path = format!("/v1/responses/{response}?stream=true{after}");
        let last = |id: String| number.map_or_else(|| api.clone(), |_| api.clone().header("last-event-id", &id));
        let told = number.unwrap_or_default();
        let events = match self {
            Self::Sse => api.follow(&path).await,
            Self::Lines => get(&api.clone().header("accept", "application/x-ndjson"), &path).await,
            Self::Text => get(&api.clone().header("accept", "text/plain"), &path).await,
            Self::Source => last(told.to_string()).follow(&format!("/v1/responses/{response}/events")).await,
            Self::Feed => {
                // Without an id the feed begins with what happens next: the reply's own beginning has one, too.
                let api = api.clone().header("last-event-id", &format!("{}.{told}", room.ordinal));
                let feed = get(&api, &format!("/v1/conversations/{}/events", room.conversation)).await;
                return Some(Reader::stream(self, feed));
            }
            Self::Chat => {
                let completion = response.replacen("resp_", "chatcmpl-", 1);
                api.follow(&format!("/v1/chat/completions/{completion}?stream=true{after}")).await
            }
            Self::Ui => {
                let events = get(api, &format!("/api/chat/{}/stream", room.chat)).await;
                if events.status == 204 {
                    return None;
                }
                events
            }
            Self::Socket => {
                let mut socket = Socket::open(address).await;
                let retrieve = json!({"type": "response.retrieve", "response_id": response});
                let after = number.map_or_else(|| json!({}), |number| json!({"starting_after": number}));
                socket.send(with(retrieve, after)).await;
                return Some(Reader {
                    door: self,
                    from: From::Socket(Box::new(socket)),
                    lines: Vec::new(),
                    first: None,
                });
            }
        };
        Some(Reader::stream(self, events))
    }
}

async fn post(api: &Api, accept: &'static str, path: &str, body: &Value) -> Events {
    let events = api.clone().header("accept", accept).try_open(Method::POST, path, body.to_string()).await;
    let events = events.expect("a server");
    assert_eq!(events.status, 200, "{path}");
    events
}

async fn get(api: &Api, path: &str) -> Events {
    api.try_open(Method::GET, path, String::new()).await.expect("a server")
}

/// What comes through a door.
pub(super) struct Reader {
    door: Door,
    from: From,
    /// Bytes of a line that has no end yet.
    lines: Vec<u8>,
    /// A message that was read already.
    first: Option<Value>,
}

enum From {
    Stream(Box<Events>),
    Socket(Box<Socket>),
}

impl Reader {
    fn stream(door: Door, events: Events) -> Self {
        Self { door, from: From::Stream(Box::new(events)), lines: Vec::new(), first: None }
    }

    /// The next piece; `None` where the connection ended.
    pub(super) async fn next(&mut self) -> Option<Piece> {
        if let Some(first) = self.first.take() {
            return Some(of_event(&first));
        }
        let events = match &mut self.from {
            From::Socket(socket) => return socket.next().await.ok().map(|message| of_event(&message)),
            From::Stream(events) => events,
        };
        match self.door {
            Door::Text => {
                let text = events.chunk().await.ok()?.to_vec();
                Some(Piece { number: None, text, is_last: false })
            }
            Door::Lines => loop {
                if let Some(end) = self.lines.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.lines.drain(..=end).collect();
                    return Some(of_event(&serde_json::from_slice(&line).expect("JSON")));
                }
                self.lines.extend(events.chunk().await.ok()?);
            },
            _ => {
                let frame = events.next().await.ok().filter(|frame| frame.data != "[DONE]")?;
                Some(of_frame(self.door, &frame))
            }
        }
    }
}

fn of_frame(door: Door, frame: &Frame) -> Piece {
    let body: Value = serde_json::from_str(&frame.data).unwrap_or_else(|error| panic!("{error} in {}", frame.data));
    let text = |value: &Value| value.as_str().unwrap_or_default().as_bytes().to_vec();
    match door {
        Door::Chat => {
            let choice = &body["choices"][0];
            let is_last = choice["finish_reason"].is_string();
            Piece { number: body["sequence_number"].as_u64(), text: text(&choice["delta"]["content"]), is_last }
        }
        Door::Ui => {
            let number = frame.id.as_ref().map(|id| id.parse().expect("a number"));
            Piece { number, text: text(&body["delta"]), is_last: body["type"] == "finish" }
        }
        _ => of_event(&body),
    }
}

fn of_event(body: &Value) -> Piece {
    let is_text = body["type"] == "response.output_text.delta";
    let text = body["delta"].as_str().filter(|_| is_text).unwrap_or_default().as_bytes().to_vec();
    Piece { number: body["sequence_number"].as_u64(), text, is_last: body["type"] == "response.completed" }
}
