//! A server that transcribes: `POST …/audio/transcriptions` of the `OpenAI` API.

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Response, Url};
use tokio::time::{Instant, sleep_until};

use super::events::Events;
use super::{Deltas, Detail, Request, Transcript};
use crate::config::values::Secret;
use crate::domain::ids::random_u64;
use crate::services::{Fault, Permit, SendError, Service};
use crate::speech::server::{Refusal, authorize, below, given_up, probe, refused, unreachable};

/// The longest answer that is read.
const LONGEST_ANSWER: usize = 8 * 1024 * 1024;

/// A server that transcribes. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct HearingServer {
    service: Service,
    url: Url,
    models: Url,
    model: Option<String>,
}

impl HearingServer {
    /// A server, with the model that is used where a request names none.
    pub(crate) fn new(service: Service, model: Option<String>) -> Self {
        let base = service.base_url().clone();
        Self { url: below(&base, &["audio", "transcriptions"]), models: below(&base, &["models"]), service, model }
    }

    /// The service behind it.
    pub(crate) const fn service(&self) -> &Service {
        &self.service
    }

    /// Whether it answers.
    pub(crate) async fn probe(&self) -> Result<(), Fault> {
        probe(&self.service, &self.models).await
    }

    /// Asks for a transcript, which has to be there by `late`.
    pub(super) async fn transcribe(
        &self,
        mut permit: Permit,
        asked: &Request,
        deltas: &mut Deltas,
        late: Instant,
    ) -> Result<Transcript, Refusal> {
        let result = tokio::select! {
            result = self.exchange(&mut permit, asked, deltas) => result,
            () = sleep_until(late) => Err(fault("its transcript did not come in time")),
            () = given_up(&self.service) => Err(fault("it does not answer health checks")),
        };
        match &result {
            Ok(_) => permit.succeeded(),
            Err(refusal) => permit.failed(&refusal.fault),
        }
        result
    }

    async fn exchange(&self, permit: &mut Permit, asked: &Request, deltas: &mut Deltas) -> Result<Transcript, Refusal> {
        let mut streams = deltas.are_wanted();
        let mut response = self.send(permit, asked, streams).await?;
        // A server that does not know how to stream may say so.
        if streams && matches!(response.status().as_u16(), 400 | 422) {
            streams = false;
            response = self.send(permit, asked, streams).await?;
        }
        if response.status().as_u16() != 200 {
            return Err(refused(response).await);
        }
        if streams && is_stream(&response) {
            return read_events(permit, response, deltas).await;
        }
        read_whole(permit, response).await
    }

    async fn send(&self, permit: &mut Permit, asked: &Request, streams: bool) -> Result<Response, Refusal> {
        let (content_type, body) = self.form(asked, streams);
        let accept = if streams { "text/event-stream, application/json" } else { "application/json" };
        let request = |key: Option<&Secret>| {
            let mut request = reqwest::Request::new(Method::POST, self.url.clone());
            request.headers_mut().insert(CONTENT_TYPE, content_type.clone());
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
            authorize(&self.service, &mut request, key);
            *request.body_mut() = Some(body.clone().into());
            request
        };
        permit.send(request).await.map_err(|error| Refusal { fault: unreachable(error), message: None })
    }

    /// The form that is sent, with its type.
    fn form(&self, asked: &Request, streams: bool) -> (HeaderValue, Bytes) {
        let boundary = format!("rejoinder-{:016x}{:016x}", random_u64(), random_u64());
        let recording = &asked.recording;
        let mut form = Form { boundary: &boundary, body: Vec::with_capacity(recording.bytes().len() + 2048) };
        form.field("model", asked.model.as_deref().or(self.model.as_deref()).unwrap_or("whisper-1"));
        form.field("response_format", if asked.detail == Detail::Text { "json" } else { "verbose_json" });
        if asked.detail == Detail::Words {
            form.field("timestamp_granularities[]", "segment");
            form.field("timestamp_granularities[]", "word");
        }
        if streams {
            form.field("stream", "true");
        }
        for (name, value) in [("language", &asked.language), ("prompt", &asked.prompt)] {
            if let Some(value) = value {
                form.field(name, value);
            }
        }
        if let Some(temperature) = asked.temperature {
            form.field("temperature", &temperature.to_string());
        }
        let body = form.file(recording.file_name(), recording.media_type(), recording.bytes());
        let content_type = HeaderValue::try_from(format!("multipart/form-data; boundary={boundary}"));
        (content_type.expect("hexadecimal digits are ASCII"), body.into())
    }
}

/// Whether the server streams, as it was asked to.
fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream")
}

async fn read_whole(permit: &mut Permit, mut response: Response) -> Result<Transcript, Refusal> {
    let mut body = Vec::new();
    while let Some(chunk) = chunk(permit, &mut response).await? {
        if body.len() + chunk.len() > LONGEST_ANSWER {
            return Err(fault("its answer never ends"));
        }
        body.extend_from_slice(&chunk);
    }
    Transcript::read(&body).map_err(fault)
}

async fn read_events(permit: &mut Permit, mut response: Response, deltas: &mut Deltas) -> Result<Transcript, Refusal> {
    let (mut events, mut read) = (Events::new(), 0);
    while !events.have_ended()
        && let Some(chunk) = chunk(permit, &mut response).await?
    {
        read += chunk.len();
        if read > LONGEST_ANSWER {
            return Err(fault("its answer never ends"));
        }
        events.feed(&chunk, deltas).map_err(fault)?;
    }
    events.finish(deltas).map_err(fault)
}

/// What comes next of an answer.
async fn chunk(permit: &mut Permit, response: &mut Response) -> Result<Option<Bytes>, Refusal> {
    let chunk = response.chunk().await;
    let chunk = chunk.map_err(|error| Refusal { fault: unreachable(SendError::from(error)), message: None })?;
    if chunk.is_some() {
        permit.heard();
        permit.spoke();
    }
    Ok(chunk)
}

/// `multipart/form-data` (RFC 7578), as it is written. One that reqwest makes can be sent only once, and a request that is
/// refused for its key is sent again.
struct Form<'a> {
    boundary: &'a str,
    body: Vec<u8>,
}

impl Form<'_> {
    fn field(&mut self, name: &str, value: &str) {
        let head = format!("--{}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n", self.boundary);
        self.body.extend_from_slice(head.as_bytes());
        self.body.extend_from_slice(value.as_bytes());
        self.body.extend_from_slice(b"\r\n");
    }

    fn file(mut self, name: &str, media_type: &str, content: &[u8]) -> Vec<u8> {
        let head = format!(
            "--{}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: {media_type}\r\n\r\n",
            self.boundary
        );
        self.body.extend_from_slice(head.as_bytes());
        self.body.extend_from_slice(content);
        self.body.extend_from_slice(format!("\r\n--{}--\r\n", self.boundary).as_bytes());
        self.body
    }
}

fn fault(cause: impl Into<String>) -> Refusal {
    Refusal { fault: Fault::unavailable(cause), message: None }
}
