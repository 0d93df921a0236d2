//! A client of `/v1/responses` as a WebSocket: sends requests, reads messages, and says how a connection ended.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::{HeaderName, HeaderValue, Response},
        protocol::frame::coding::CloseCode,
    },
};

use super::{sse::Event, wait::soon};

/// An open connection.
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this code.
    Code(u16),
    /// Without a word.
    Cut,
}

impl Socket {
    /// Opens a connection to a server, whose address is like `127.0.0.1:8080`.
    pub async fn open(address: &str) -> Self {
        Self::try_open(address, &[]).await.unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    /// The same with further headers, or how it is refused.
    pub async fn try_open(address: &str, headers: &[(&'static str, &str)]) -> Result<Self, Response<Option<Vec<u8>>>> {
        let mut request = format!("ws://{address}/v1/responses").into_client_request().expect("an address");
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).expect("a header value");
            request.headers_mut().insert(HeaderName::from_static(name), value);
        }
        let stream = TcpStream::connect(address).await.expect("a server");
        stream.set_nodelay(true).expect("a socket");
        match soon("a handshake", client_async(request, stream)).await {
            Ok((stream, _)) => Ok(Self { stream }),
            Err(Error::Http(refusal)) => Err(*refusal),
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends `response.create` with these fields.
    pub async fn create(&mut self, fields: Value) {
        self.send(super::with(json!({"type": "response.create", "model": "truth"}), fields)).await;
    }

    /// Sends a message.
    pub async fn send(&mut self, message: Value) {
        self.send_raw(Message::text(message.to_string())).await;
    }

    /// Sends anything.
    pub async fn send_raw(&mut self, message: Message) {
        soon("a message to be sent", self.stream.send(message)).await.expect("an open connection");
    }

    /// The next message, or how the connection ended. Pings are answered on the way.
    pub async fn next(&mut self) -> Result<Value, Ended> {
        loop {
            match soon("the next message", self.stream.next()).await {
                Some(Ok(Message::Text(text))) => {
                    return Ok(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}")));
                }
                Some(Ok(Message::Close(frame))) => {
                    return Err(
                        frame.map_or(Ended::Code(CloseCode::Status.into()), |frame| Ended::Code(frame.code.into()))
                    );
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Binary(bytes))) => panic!("{bytes:?}"),
                Some(Err(_)) | None => return Err(Ended::Cut),
            }
        }
    }

    /// The events of a reply to its end, or the error in its place.
    pub async fn reply(&mut self) -> Result<Vec<Event>, Value> {
        let mut events = Vec::new();
        while !events.last().is_some_and(Event::is_terminal) {
            let message = self.next().await.unwrap_or_else(|ended| panic!("{ended:?} after {events:#?}"));
            if message["type"] == "error" && message.get("sequence_number").is_none() {
                return Err(message);
            }
            events.push(event(message));
        }
        Ok(events)
    }

    /// Reads on until so many words have come.
    pub async fn read_words(&mut self, words: usize) -> Vec<Event> {
        let (mut events, mut text) = (Vec::new(), String::new());
        while text.split_whitespace().count() < words {
            let event = event(self.next().await.expect("more messages"));
            text.push_str(event.delta().unwrap_or_default());
            events.push(event);
        }
        events
    }

    /// How the connection ends, whatever else is said before.
    pub async fn ended(mut self) -> Ended {
        loop {
            if let Err(ended) = self.next().await {
                return ended;
            }
        }
    }

    /// The connection, for what this client does not do.
    pub fn stream_mut(&mut self) -> &mut WebSocketStream<TcpStream> {
        &mut self.stream
    }

    /// The client of a connection.
    pub const fn of(stream: WebSocketStream<TcpStream>) -> Self {
        Self { stream }
    }

    /// The connection itself.
    pub fn into_stream(self) -> WebSocketStream<TcpStream> {
        self.stream
    }
}

/// A message as an event.
pub fn event(body: Value) -> Event {
    let number = body["sequence_number"].as_u64().unwrap_or_else(|| panic!("no number in {body}"));
    let kind = body["type"].as_str().expect("a type").to_owned();
    Event { number, kind, body, at: std::time::Instant::now() }
}
