//! The API through which a chat speaks: where its messages go, and what the answers come through.

use reqwest::{Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::cli::bench::reading::Api;
use crate::cli::bench::socket::Socket;
use crate::cli::bench::target::{self, Target};
use crate::cli::event::doors::{of_chunk, of_completion, of_ui_chunk};
use crate::cli::event::{Event, Happened, of_response};
use crate::cli::server::{Error, Server};
use crate::llm::sse;

/// The longest event that is read.
const MAX_EVENT_BYTES: usize = 64 << 20;

/// A server, and the API in which it is spoken to.
pub(crate) struct Door {
    pub(crate) api: Api,
    pub(crate) server: Server,
    /// Where sockets are opened.
    pub(crate) target: Option<Target>,
}

/// The events of a reply as they come.
pub(crate) enum Source {
    Stream {
        api: Api,
        response: Box<Response>,
        decoder: sse::Decoder,
    },
    Socket {
        socket: Box<Socket>,
        /// A message that was read already.
        first: Option<Event>,
    },
}

impl Door {
    /// Sends a message. The key makes it safe to send it again, except over a WebSocket.
    pub(crate) async fn send_message(&self, body: &Value, key: &str) -> Result<Source, Error> {
        if self.api == Api::Websocket {
            let create = with_type("response.create", body);
            return self.ask(create).await;
        }
        let response = self.server.send_message_at(self.api.path(), "text/event-stream", body, key).await?;
        Ok(Source::of(self.api, response))
    }

    /// Says something, and is answered in one piece.
    pub(crate) async fn send_whole(&self, body: &Value, key: &str) -> Result<Response, Error> {
        self.server.send_message_at(self.api.path(), "application/json", body, key).await
    }

    /// The content of an answer in one piece, in order; its last entry is how it ended.
    pub(crate) fn of_whole(&self, whole: &Value) -> Vec<Happened> {
        if self.api == Api::Chat { of_completion(whole) } else { of_response(whole) }
    }

    /// Goes on with a reply behind an event, or from its beginning; `chat` is the one of `useChat` that it stands in.
    pub(crate) async fn rejoin(&self, reply: &str, chat: Option<&str>, after: Option<u64>) -> Result<Source, Error> {
        match self.api {
            Api::Responses => {}
            Api::Chat => {
                let after = after.map_or_else(String::new, |number| format!("&starting_after={number}"));
                let path = format!("/v1/chat/completions/{}?stream=true{after}", completion(reply));
                return Ok(Source::of(self.api, self.server.stream(&path).await?));
            }
            Api::Ui => {
                let path = format!("/api/chat/{}/stream", chat.unwrap_or_default());
                let response = self.server.stream(&path).await?;
                // Nothing runs there any more: the rest comes from where all replies are.
                if response.status() != StatusCode::NO_CONTENT {
                    return Ok(Source::of(self.api, response));
                }
            }
            Api::Websocket => {
                let mut retrieve = json!({"type": "response.retrieve", "response_id": reply});
                if let Some(after) = after {
                    retrieve["starting_after"] = after.into();
                }
                return self.ask(retrieve).await;
            }
        }
        Ok(Source::of(Api::Responses, self.server.rejoin(reply, after).await?))
    }

    /// Stops a reply.
    pub(crate) async fn stop(&self, reply: &str, chat: Option<&str>) -> Result<(), Error> {
        match chat {
            Some(chat) => self.server.stop_chat(chat).await,
            None => self.server.cancel(&reply.replacen("chatcmpl-", "resp_", 1)).await,
        }
    }

    /// Asks over a new WebSocket, and waits for the first message: a refusal is one, too.
    async fn ask(&self, message: Value) -> Result<Source, Error> {
        let Some(target) = &self.target else { return Err(Error::EndedEarly) };
        let mut socket = target.socket(self.api.path()).await.map_err(refused)?;
        socket.send(message.to_string().into()).await.map_err(Error::Socket)?;
        let first = socket.next().await.map_err(Error::Socket)?.ok_or(Error::EndedEarly)?;
        if let Some(refusal) = refusal(&first) {
            return Err(refusal);
        }
        Ok(Source::Socket { socket: Box::new(socket), first: Event::parse(&first) })
    }
}

impl Source {
    fn of(api: Api, response: Response) -> Self {
        Self::Stream { api, response: Box::new(response), decoder: sse::Decoder::with_limit(MAX_EVENT_BYTES) }
    }

    /// The reply's id, where the head of the answer has it.
    pub(crate) fn reply(&self) -> Option<String> {
        let Self::Stream { response, .. } = self else { return None };
        response.headers().get("x-response-id").and_then(|id| id.to_str().ok()).map(str::to_owned)
    }

    /// The events that come next; `None` when there are no more. Nothing is lost when it is dropped before it is ready.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Event>>, Error> {
        match self {
            Self::Socket { socket, first } => {
                if let Some(event) = first.take() {
                    return Ok(Some(vec![event]));
                }
                let message = socket.next().await.map_err(Error::Socket)?;
                Ok(message.map(|message| Event::parse(&message).into_iter().collect()))
            }
            Self::Stream { api, response, decoder } => {
                let chunk = response.chunk().await.map_err(|error| Error::Broken(error.without_url()))?;
                let Some(bytes) = chunk else { return Ok(None) };
                let mut events = Vec::new();
                let fed = decoder.feed(&bytes, |frame| match api {
                    Api::Chat => events.extend(of_chunk(frame.data)),
                    Api::Ui => events.extend(of_ui_chunk(frame.data, frame.id)),
                    Api::Responses | Api::Websocket => events.extend(Event::parse(frame.data)),
                });
                // What came before what is too long is shown.
                if events.is_empty() {
                    fed.map_err(|_| Error::TooLong)?;
                }
                Ok(Some(events))
            }
        }
    }
}

/// A body as a message of this type.
fn with_type(kind: &str, body: &Value) -> Value {
    let mut fields = Map::from_iter([("type".to_owned(), kind.into())]);
    let own = body.as_object().into_iter().flatten().filter(|(name, _)| *name != "stream");
    fields.extend(own.map(|(name, value)| (name.clone(), value.clone())));
    fields.into()
}

/// A reply's id as Chat Completions have it.
fn completion(reply: &str) -> String {
    reply.replacen("resp_", "chatcmpl-", 1)
}

/// Why a server does not take a WebSocket: one that cannot be reached may be there in a moment.
fn refused(error: target::Error) -> Error {
    use tokio_tungstenite::tungstenite::Error as WebSocketError;
    match &error {
        target::Error::Socket(broken) if let WebSocketError::Http(answer) = &**broken => {
            let message = format!("the server takes no WebSocket: it answered {}", answer.status());
            Error::Refused { status: answer.status(), code: None, message }
        }
        _ => Error::Socket(error),
    }
}

/// The error that stands in a reply's place, if a message is one.
fn refusal(message: &[u8]) -> Option<Error> {
    let message: Value = serde_json::from_slice(message).ok()?;
    if message["type"] != "error" || !message["sequence_number"].is_null() {
        return None;
    }
    let status = message["status"].as_u64().and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok());
    let error = &message["error"];
    Some(Error::Refused {
        status: status.unwrap_or(StatusCode::BAD_REQUEST),
        code: error["code"].as_str().map(str::to_owned),
        message: error["message"].as_str().unwrap_or("the server gave no reason").to_owned(),
    })
}
