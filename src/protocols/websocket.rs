//! The Responses API over a WebSocket: messages of clients become commands, and events are messages as they are.
//!
//! Shapes as OpenAI and Open Responses have them; `response.retrieve` is an extension: it rejoins a reply.

use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::json::{self, At, Read, boolean, integer, object, required, short_string, string};
use super::request::CreateResponse;
use super::wire::Envelope;
use crate::domain::event::Event;
use crate::domain::ids::ReplyId;
use crate::domain::record::Accepted;
use crate::domain::reply::Reply;
use crate::replies::feed::{Encoder, Protocol};

/// The most characters of a lane's name.
const LONGEST_LANE: usize = 256;

/// A message of a client.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClientMessage {
    /// The lane that it is for: an answer names it, too.
    pub(crate) lane: Option<String>,
    /// What it asks for, or what is wrong with it.
    pub(crate) event: Result<ClientEvent, ApiError>,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ClientEvent {
    /// `response.create`.
    Create {
        /// The request.
        request: Box<CreateResponse>,
        /// `false`: the input is only kept, for the next reply to follow.
        generate: bool,
    },
    /// `response.retrieve`.
    Retrieve {
        /// The reply.
        reply: ReplyId,
        /// The first event that the client lacks.
        from: u64,
    },
    /// `response.steer`, as it was sent: no model server takes input while it generates.
    Steer(Map<String, Value>),
}

impl ClientMessage {
    /// Reads a message.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let fields = json::parse(text).and_then(|value| object(At::Body, value));
        let mut fields = match fields {
            Ok(fields) => fields,
            Err(error) => return Self { lane: None, event: Err(error) },
        };
        match lane(&mut fields) {
            Ok(lane) => Self { lane, event: event(fields) },
            Err(error) => Self { lane: None, event: Err(error) },
        }
    }
}

fn lane(fields: &mut Map<String, Value>) -> Read<Option<String>> {
    let lane = take(fields, "stream_id");
    lane.map(|value| short_string(At::Body.field("stream_id"), value, LONGEST_LANE)).transpose()
}

fn event(mut fields: Map<String, Value>) -> Read<ClientEvent> {
    let at = At::Body.field("type");
    let kind = string(at, required(At::Body, "type", take(&mut fields, "type"))?)?;
    match kind.as_str() {
        "response.create" => create(fields),
        "response.retrieve" => retrieve(fields),
        "response.steer" => Ok(ClientEvent::Steer(fields)),
        other => Err(ApiError::invalid_value(at, other, &["response.create", "response.retrieve", "response.steer"])),
    }
}

fn create(mut fields: Map<String, Value>) -> Read<ClientEvent> {
    let generate = take(&mut fields, "generate");
    let generate = generate.map_or(Ok(true), |value| boolean(At::Body.field("generate"), &value))?;
    let at = At::Body.field("background");
    if let Some(value) = take(&mut fields, "background")
        && boolean(at, &value)?
    {
        return Err(ApiError::unsupported_parameter(at, "Over a WebSocket every reply is a stream."));
    }
    Ok(ClientEvent::Create { request: Box::new(CreateResponse::of(fields)?), generate })
}

fn retrieve(mut fields: Map<String, Value>) -> Read<ClientEvent> {
    let id =
        string(At::Body.field("response_id"), required(At::Body, "response_id", take(&mut fields, "response_id"))?)?;
    let reply = id.parse().map_err(|_| ApiError::response_not_found(&id))?;
    let after = take(&mut fields, "starting_after");
    let after = after.map(|value| integer(At::Body.field("starting_after"), &value, 0, u64::MAX - 1)).transpose()?;
    Ok(ClientEvent::Retrieve { reply, from: after.map_or(0, |after| after + 1) })
}

fn take(fields: &mut Map<String, Value>, name: &str) -> Option<Value> {
    fields.remove(name).filter(|value| !value.is_null())
}

/// The events of a reply, each a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Messages;

impl Protocol for Messages {
    fn name(&self) -> &'static str {
        "responses/websocket"
    }

    fn encoder(&self, accepted: &Accepted) -> Box<dyn Encoder> {
        Box::new(Writer(Envelope::of(accepted)))
    }
}

#[derive(Clone)]
struct Writer(Envelope);

impl Encoder for Writer {
    fn encode(&mut self, out: &mut Vec<u8>, reply: &Reply, event: &Event, sequence: u64) {
        self.0.write_event(out, reply, event, sequence);
    }

    fn anew(&self) -> Box<dyn Encoder> {
        Box::new(self.clone())
    }
}

/// A message, as one of a lane.
pub(crate) fn in_lane(lane: &str, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + lane.len() + 20);
    out.extend_from_slice(b"{\"stream_id\":");
    super::wire::json(&mut out, lane);
    out.push(b',');
    out.extend_from_slice(message.strip_prefix(b"{").unwrap_or(message));
    out
}

/// An error, as a message: `{"type":"error","status",…,"error":{…}}`.
pub(crate) fn error(error: &ApiError) -> Vec<u8> {
    let mut out = format!("{{\"type\":\"error\",\"status\":{},", error.status).into_bytes();
    let body = error.body();
    out.extend_from_slice(body.strip_prefix(b"{").unwrap_or(&body));
    out
}

/// That input which is to steer a reply is not taken, and why; the client gets it back.
pub(crate) fn not_steered(mut steer: Map<String, Value>) -> Vec<u8> {
    let (previous, input) = (take(&mut steer, "previous_response_id"), take(&mut steer, "input"));
    let message = "Replies are not steered here. Wait until the response has ended, or cancel it, and create the next.";
    let failed = json!({
        "type": "response.steer.failed",
        "sequence_number": 0,
        "steer": {"previous_response_id": previous, "input": input},
        "error": {"type": "invalid_request_error", "code": "steering_not_supported", "message": message},
    });
    failed.to_string().into_bytes()
}

/// That a connection has lasted as long as it may.
pub(crate) fn limit_reached(minutes: u64) -> ApiError {
    let message = format!("A WebSocket connection lasts {minutes} minutes. Open a new one to go on.");
    ApiError::client(400, message).with_code("websocket_connection_limit_reached")
}

/// That more is asked for at once than a connection may have.
pub(crate) fn too_many(what: &str, most: usize) -> ApiError {
    let message = format!("There are {most} {what} on this connection already, the most that there may be.");
    ApiError { kind: super::error::ErrorKind::RateLimit, ..ApiError::client(429, message) }
        .with_code("rate_limit_exceeded")
}

/// A message that is not text.
pub(crate) fn not_text() -> ApiError {
    ApiError::client(400, "Messages are JSON in text frames; this one is binary.").with_code("invalid_message")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &Value) -> ClientMessage {
        ClientMessage::parse(value.to_string().as_bytes())
    }

    #[test]
    fn a_request_is_that_of_http_without_what_is_of_http_alone() {
        let body = json!({"type": "response.create", "model": "m", "input": "hi", "store": false, "stream_id": "a"});
        let ClientMessage { lane, event: Ok(ClientEvent::Create { request, generate }) } = parsed(&body) else {
            panic!("a request")
        };
        assert_eq!((lane.as_deref(), generate, request.params.store), (Some("a"), true, false));
        let refused = |more: Value| {
            let mut body = json!({"type": "response.create", "model": "m", "input": "hi"});
            body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            parsed(&body).event.map(drop).map_err(|error| error.param)
        };
        assert_eq!(refused(json!({"background": false, "stream": true, "generate": false})), Ok(()));
        for (more, param) in [
            (json!({"background": true}), "background"),
            (json!({"generate": 1}), "generate"),
            (json!({"type": "session.update"}), "type"),
            (json!({"stream_id": ""}), "stream_id"),
            (json!({"temperature": 9}), "temperature"),
        ] {
            assert_eq!(refused(more.clone()), Err(Some(param.to_owned())), "{more}");
        }
        for text in ["", "[]", "{\"type\":", "null"] {
            assert!(ClientMessage::parse(text.as_bytes()).event.is_err(), "{text}");
        }
    }

    #[test]
    fn errors_and_lanes_are_told_beside_what_there_is() {
        let told: Value =
            serde_json::from_slice(&error(&ApiError::previous_response_not_found("resp_x"))).expect("JSON");
        assert_eq!((&told["type"], &told["status"]), (&json!("error"), &json!(400)));
        assert_eq!(told["error"]["code"], "previous_response_not_found");
        let told: Value = serde_json::from_slice(&in_lane("a\"b", b"{\"type\":\"x\"}")).expect("JSON");
        assert_eq!(told, json!({"stream_id": "a\"b", "type": "x"}));
        let steer = json!({"type": "response.steer", "previous_response_id": "resp_x", "input": "no"});
        let ClientEvent::Steer(fields) = parsed(&steer).event.expect("an event") else { panic!("steering") };
        let told: Value = serde_json::from_slice(&not_steered(fields)).expect("JSON");
        assert_eq!((&told["error"]["code"], &told["steer"]["input"]), (&json!("steering_not_supported"), &json!("no")));
    }

    #[test]
    fn a_reply_is_rejoined_after_the_event_that_a_client_saw() {
        let id = ReplyId::random(crate::domain::ids::ThreadId::random());
        let retrieve = |more: Value| {
            let mut body = json!({"type": "response.retrieve", "response_id": id.to_string()});
            body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            parsed(&body).event
        };
        assert_eq!(retrieve(json!({})), Ok(ClientEvent::Retrieve { reply: id, from: 0 }));
        assert_eq!(retrieve(json!({"starting_after": 7})), Ok(ClientEvent::Retrieve { reply: id, from: 8 }));
        assert_eq!(retrieve(json!({"response_id": "x"})).map_err(|error| error.status), Err(404));
        assert!(retrieve(json!({"starting_after": u64::MAX})).is_err());
    }
}
