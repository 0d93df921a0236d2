//! Requests of the JetStream API, as the server takes and gives them.
//!
//! Called directly, since two things decide here that the client library does not report: which error it was
//! ([ADR-7]), and whether it is known that nothing was written. [ADR-31] has the direct gets.
//!
//! [ADR-7]: https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-7.md
//! [ADR-31]: https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-31.md

use async_nats::{HeaderMap, Message, Request, RequestErrorKind, StatusCode};
use bytes::Bytes;
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::connect::{Asking, Writing};
use crate::log::{AppendError, ReadError};

/// “Wrong last sequence”: a fence held.
const WRONG_LAST_SEQUENCE: u64 = 10071;

/// “No message found”.
const NO_MESSAGE: u64 = 10037;

/// The stream has no more space and refuses what is new.
const NO_SPACE: [u64; 3] = [10077, 10047, 10023];

/// A message of a stream.
#[derive(Debug, Clone)]
pub(super) struct StreamMessage {
    pub(super) subject: String,
    pub(super) sequence: u64,
    /// In milliseconds of Unix time.
    pub(super) at: u64,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

#[derive(Deserialize)]
struct Answer {
    seq: Option<u64>,
    error: Option<ApiError>,
    message: Option<Raw>,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct Raw {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    time: String,
}

/// Publishes a record, if the subject's last sequence is the expected one. Returns its own.
pub(super) async fn publish(
    client: &Writing,
    subject: &str,
    expected: u64,
    mut headers: HeaderMap,
    payload: Bytes,
) -> Result<u64, AppendError> {
    headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
    put(client, subject, headers, payload).await.map_err(|error| match error {
        AppendError::Conflict { last, .. } => AppendError::Conflict { expected, last },
        other => other,
    })
}

/// Publishes a message without a fence of ours.
pub(super) async fn put(
    client: &Writing,
    subject: &str,
    headers: HeaderMap,
    payload: Bytes,
) -> Result<u64, AppendError> {
    let request = Request::new().headers(headers).payload(payload);
    let unavailable = |cause: String| AppendError::Unavailable(cause);
    client.crash.pass();
    let message = client.send_request(subject.to_owned(), request).await;
    client.crash.pass();
    let message = message.map_err(|error| unavailable(cause(&error)))?;
    let answer: Answer = serde_json::from_slice(&message.payload).map_err(|error| unavailable(error.to_string()))?;
    match (answer.seq, answer.error) {
        (_, Some(error)) if error.err_code == WRONG_LAST_SEQUENCE => {
            Err(AppendError::Conflict { expected: 0, last: last_number(&error.description) })
        }
        (_, Some(error)) if NO_SPACE.contains(&error.err_code) => Err(AppendError::Full),
        (_, Some(error)) => Err(unavailable(format!("{} ({})", error.description, error.err_code))),
        (Some(sequence), None) => Ok(sequence),
        (None, None) => Err(unavailable("the server's answer to a publication has no sequence".to_owned())),
    }
}

/// Asks the leader for the last message of a subject.
pub(super) async fn last(client: &Asking, stream: &str, subject: &str) -> Result<Option<StreamMessage>, ReadError> {
    get(client, stream, &json!({"last_by_subj": subject})).await
}

/// Asks the leader for a message.
pub(super) async fn at(client: &Asking, stream: &str, sequence: u64) -> Result<Option<StreamMessage>, ReadError> {
    get(client, stream, &json!({"seq": sequence})).await
}

async fn get(client: &Asking, stream: &str, what: &Value) -> Result<Option<StreamMessage>, ReadError> {
    let answer = api(client, &format!("STREAM.MSG.GET.{stream}"), what).await?;
    let answer: Answer = serde_json::from_slice(&answer).map_err(read_error)?;
    match (answer.message, answer.error) {
        (Some(raw), _) => raw.read().map(Some),
        (None, Some(error)) if error.err_code == NO_MESSAGE => Ok(None),
        (None, Some(error)) => Err(ReadError(format!("{} ({})", error.description, error.err_code))),
        (None, None) => Err(ReadError("the server's answer has no message".to_owned())),
    }
}

/// Asks the leader for the next message of a subject from `from` on.
pub(super) async fn next_at_leader(
    client: &Asking,
    stream: &str,
    subject: &str,
    from: u64,
) -> Result<Option<StreamMessage>, ReadError> {
    get(client, stream, &json!({"seq": from, "next_by_subj": subject})).await
}

/// Erases a message, so that it cannot be read from the disk either. One that is not there is no error.
pub(super) async fn erase(client: &Writing, stream: &str, sequence: u64) -> Result<(), AppendError> {
    #[derive(Deserialize)]
    struct Erased {
        #[serde(default)]
        success: bool,
    }
    let unavailable = |error: ReadError| AppendError::Unavailable(error.to_string());
    let answer = change(client, &format!("STREAM.MSG.DELETE.{stream}"), &json!({"seq": sequence})).await;
    let erased = serde_json::from_slice::<Erased>(&answer.map_err(unavailable)?).is_ok_and(|erased| erased.success);
    if erased || at(client, stream, sequence).await.map_err(unavailable)?.is_none() {
        return Ok(());
    }
    Err(AppendError::Unavailable(format!("{stream}: the message {sequence} cannot be erased")))
}

/// The last sequence that a stream has given, whether or not its message is still there.
pub(super) async fn last_sequence(client: &Asking, stream: &str) -> Result<u64, ReadError> {
    state_of(client, stream, "last_seq").await
}

/// The sequence of the oldest message that a stream has. What was before it has expired.
pub(super) async fn first_sequence(client: &Asking, stream: &str) -> Result<u64, ReadError> {
    state_of(client, stream, "first_seq").await
}

/// The subjects that a stream has messages of, and how many of each.
pub(super) async fn subjects(client: &Asking, stream: &str, filter: &str) -> Result<Vec<(String, u64)>, ReadError> {
    let mut found = Vec::new();
    loop {
        let request = json!({"subjects_filter": filter, "offset": found.len()});
        let answer = api(client, &format!("STREAM.INFO.{stream}"), &request).await?;
        let answer: Value = serde_json::from_slice(&answer).map_err(read_error)?;
        if let Some(error) = answer["error"]["description"].as_str() {
            return Err(ReadError(format!("{stream}: {error}")));
        }
        let page = answer["state"]["subjects"].as_object().into_iter().flatten();
        let known = found.len();
        found.extend(page.map(|(subject, count)| (subject.clone(), count.as_u64().unwrap_or(0))));
        let total = answer["total"].as_u64().and_then(|total| usize::try_from(total).ok()).unwrap_or(0);
        if found.len() == known || found.len() >= total {
            return Ok(found);
        }
    }
}

async fn state_of(client: &Asking, stream: &str, number: &str) -> Result<u64, ReadError> {
    let answer = api(client, &format!("STREAM.INFO.{stream}"), &json!({})).await?;
    let answer: Value = serde_json::from_slice(&answer).map_err(read_error)?;
    let missing = || ReadError(format!("{stream}: {}", answer["error"]["description"]));
    answer["state"][number].as_u64().ok_or_else(missing)
}

/// Asks any server that has the stream for the last messages of these subjects.
pub(super) async fn lasts(client: &Asking, stream: &str, subjects: &[String]) -> Result<Vec<StreamMessage>, ReadError> {
    direct(client, stream, &json!({"multi_last": subjects})).await.map(|(found, _)| found)
}

/// Has the API change something; returns the answer, which may be an error.
pub(super) async fn change(client: &Writing, what: &str, request: &Value) -> Result<Bytes, ReadError> {
    client.crash.pass();
    let answer = api(client, what, request).await;
    client.crash.pass();
    answer
}

/// Asks the API something; returns the answer, which may be an error.
pub(super) async fn api(client: &Asking, what: &str, request: &Value) -> Result<Bytes, ReadError> {
    let payload = request.to_string().into();
    let answer = client.request(client.api(what), payload).await;
    Ok(answer.map_err(|error| ReadError(cause(&error)))?.payload)
}

/// Asks any server that has the stream for messages of these subjects from `from` on, at most `limit`.
pub(super) async fn next(
    client: &Asking,
    stream: &str,
    subjects: &str,
    from: u64,
    limit: usize,
) -> Result<Vec<StreamMessage>, ReadError> {
    let mut found: Vec<StreamMessage> = Vec::new();
    let mut from = from;
    while found.len() < limit {
        let batch = (limit - found.len()).min(MOST_AT_ONCE);
        let request = json!({"batch": batch, "seq": from, "next_by_subj": subjects});
        let (messages, more) = direct(client, stream, &request).await?;
        let Some(last) = messages.last() else { break };
        from = last.sequence + 1;
        found.extend(messages);
        if !more {
            break;
        }
    }
    Ok(found)
}

/// As [`next`], but only as many as one answer has, of about so many bytes at most. None: there are no more.
pub(super) async fn some(
    client: &Asking,
    stream: &str,
    subjects: &str,
    from: u64,
    limit: usize,
    bytes: usize,
) -> Result<Vec<StreamMessage>, ReadError> {
    let batch = limit.min(MOST_AT_ONCE);
    let request = json!({"batch": batch, "max_bytes": bytes, "seq": from, "next_by_subj": subjects});
    direct(client, stream, &request).await.map(|(found, _)| found)
}

/// Messages that one direct get asks for.
const MOST_AT_ONCE: usize = 256;

/// How long the next message of a direct get is waited for.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);

/// A direct get of several messages. Also whether there are more.
async fn direct(client: &Asking, stream: &str, request: &Value) -> Result<(Vec<StreamMessage>, bool), ReadError> {
    use futures_util::StreamExt;
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(read_error)?;
    let subject = client.api(&format!("DIRECT.GET.{stream}"));
    client.publish_with_reply(subject, inbox, request.to_string().into()).await.map_err(read_error)?;
    let mut found = Vec::new();
    loop {
        let answer = tokio::time::timeout(TIMEOUT, answers.next()).await;
        let message = answer.map_err(read_error)?.ok_or_else(|| ReadError("the connection was closed".to_owned()))?;
        match message.status {
            None => found.push(StreamMessage::of_direct(message)?),
            // The end of a batch.
            Some(status) if status.as_u16() == 204 => {
                let pending = message.headers.as_ref().and_then(|headers| number(headers, "Nats-Num-Pending"));
                return Ok((found, pending.is_some_and(|pending| pending > 0)));
            }
            Some(StatusCode::NOT_FOUND) => return Ok((found, false)),
            Some(status) => {
                let description = message.description.unwrap_or_default();
                return Err(ReadError(format!("a direct get was answered with {status} {description}")));
            }
        }
    }
}

/// Asks any server that has the stream for one message by its sequence.
pub(super) async fn direct_at(
    client: &Asking,
    stream: &str,
    sequence: u64,
) -> Result<Option<StreamMessage>, ReadError> {
    let payload = json!({"seq": sequence}).to_string().into();
    let answer = client.request(client.api(&format!("DIRECT.GET.{stream}")), payload).await;
    let message = answer.map_err(|error| ReadError(cause(&error)))?;
    match message.status {
        Some(StatusCode::NOT_FOUND) => Ok(None),
        Some(status) => Err(ReadError(format!("a direct get was answered with {status}"))),
        None => StreamMessage::of_direct(message).map(Some),
    }
}

impl StreamMessage {
    /// A message as a direct get gives it, or as it is republished when it is stored.
    pub(super) fn of_direct(message: Message) -> Result<Self, ReadError> {
        let headers = message.headers.unwrap_or_default();
        let missing = |name: &str| ReadError(format!("a message of a stream has no {name}"));
        let text = |name: &'static str| headers.get(name).map(|value| value.as_str().to_owned());
        Ok(Self {
            subject: text("Nats-Subject").ok_or_else(|| missing("Nats-Subject"))?,
            sequence: number(&headers, "Nats-Sequence").ok_or_else(|| missing("Nats-Sequence"))?,
            at: text("Nats-Time-Stamp").as_deref().and_then(milliseconds).ok_or_else(|| missing("Nats-Time-Stamp"))?,
            payload: message.payload,
            headers,
        })
    }

    /// The sequences that a record of a transcript lists.
    pub(super) fn before(&self) -> Vec<u64> {
        let list = self.headers.get(super::names::BEFORE).map_or("", |list| list.as_str());
        list.split(',').filter_map(|sequence| sequence.parse().ok()).collect()
    }
}

impl Raw {
    fn read(self) -> Result<StreamMessage, ReadError> {
        let payload = BASE64.decode(self.data.as_bytes()).map_err(read_error)?;
        let headers = BASE64.decode(self.hdrs.as_bytes()).map_err(read_error)?;
        let headers = header_map(&String::from_utf8_lossy(&headers));
        let at = milliseconds(&self.time).ok_or_else(|| ReadError("a message of a stream has no time".to_owned()))?;
        Ok(StreamMessage { subject: self.subject, sequence: self.seq, at, headers, payload: payload.into() })
    }
}

/// Headers as they are stored: a line with the version, and one for each.
fn header_map(text: &str) -> HeaderMap {
    let lines = text.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.fold(HeaderMap::new(), |mut headers, (name, value)| {
        headers.insert(name.trim(), value.trim());
        headers
    })
}

/// The number in a header.
pub(super) fn number(headers: &HeaderMap, name: &'static str) -> Option<u64> {
    headers.get(name)?.as_str().parse().ok()
}

/// A time as the server writes it.
fn milliseconds(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

/// The number at the end of “wrong last sequence: 7”.
fn last_number(text: &str) -> u64 {
    text.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn cause(error: &async_nats::RequestError) -> String {
    match error.kind() {
        RequestErrorKind::TimedOut => "NATS does not answer".to_owned(),
        RequestErrorKind::NoResponders => "NATS has no JetStream here, or no leader now".to_owned(),
        _ => error.to_string(),
    }
}

pub(super) fn read_error(error: impl std::fmt::Display) -> ReadError {
    ReadError(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_writes_is_read() {
        assert_eq!(milliseconds("1970-01-01T00:00:01.0025Z"), Some(1002));
        assert_eq!(milliseconds("yesterday"), None);
        assert_eq!(last_number("wrong last sequence: 42"), 42);
        let raw = Raw {
            subject: "a.b".into(),
            seq: 7,
            hdrs: BASE64.encode(b"NATS/1.0\r\nRejoinder-Before: 1,5\r\n\r\n"),
            data: BASE64.encode(b"text"),
            time: "2026-01-01T00:00:00Z".into(),
        };
        let message = raw.read().unwrap();
        assert_eq!((message.before(), &message.payload[..]), (vec![1, 5], &b"text"[..]));
    }
}
