//! Answers: the few forms that all handlers share.

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::body::{Body, retry_line};
use super::inflate::CODINGS;
use crate::domain::ids::ReplyId;
use crate::domain::params::AudioFormat;
use crate::protocols::ApiError;
use crate::protocols::error::UNSUPPORTED_ENCODING;
use crate::protocols::stream::Framing;

pub(super) type Answer = Response<Body>;

/// JSON.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Answer {
    json_bytes(serde_json::to_vec(value).expect("answers are JSON"))
}

/// JSON that was written already.
pub(super) fn json_bytes(bytes: Vec<u8>) -> Answer {
    with_type(StatusCode::OK, "application/json", bytes)
}

/// JSON, of a server that is not ready.
pub(super) fn not_yet<T: Serialize + ?Sized>(value: &T) -> Answer {
    let mut answer = json(value);
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(1));
    answer
}

/// Plain text.
pub(super) fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    with_type(status, "text/plain; charset=utf-8", text)
}

/// A file of this type.
pub(super) fn file(media: &'static str, content: Bytes) -> Answer {
    with_type(StatusCode::OK, media, content)
}

/// That the process lives.
pub(super) fn live() -> Answer {
    text(StatusCode::OK, "ok\n")
}

/// Nothing.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Body::Whole(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

/// The start of a stream of this type.
pub(super) fn stream(content_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    answer
}

/// What an `EventSource` is answered instead of 503: a stream that ends, and says when to come back. At an error it would
/// give up for good (HTML standard, 9.2.2).
pub(super) fn come_back() -> Answer {
    stream(Framing::EVENT_SOURCE.content_type, Body::Whole(retry_line()))
}

/// Audio, as it is made.
pub(super) fn audio(format: AudioFormat, body: Body) -> Answer {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    answer
}

/// Names the reply that an answer is about. It is accepted: a blind retry would pay twice.
pub(super) fn name_reply(answer: &mut Answer, reply: ReplyId) {
    let id = HeaderValue::from_str(&reply.to_string()).expect("ids are ASCII");
    answer.headers_mut().insert("x-response-id", id);
    answer.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
}

/// An error object, with its status.
pub(super) fn error(error: &ApiError) -> Answer {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = with_type(status, "application/json", error.body());
    if let Some(after) = error.retry_after {
        let seconds = u64::try_from(after.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.code == Some(UNSUPPORTED_ENCODING) {
        answer.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(CODINGS));
    }
    answer
}

/// That a protocol is not spoken, and which is (RFC 9110, 15.5.22).
pub(super) fn upgrade_required(protocol: &str) -> Answer {
    let mut answer = error(&ApiError::upgrade_required(protocol));
    answer.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("HTTP/1.1"));
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    answer
}

fn with_type(status: StatusCode, content_type: &'static str, bytes: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Body::Whole(bytes.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
