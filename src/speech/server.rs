//! A speech server: `POST …/audio/speech` of the `OpenAI` API, streamed.
//!
//! Knows how to ask it and how to read its refusals. Its caller decides how long to wait for what, and whether the
//! answer is speech, and reports that to the call's [`Permit`] through [`Audio`].

use std::time::Duration;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request, Response, Url};
use serde::Serialize;
use serde_json::Value;

use tokio::time::{Instant, sleep_until};

use crate::config::values::Secret;
use crate::domain::params::AudioFormat;
use crate::services::{Fault, FaultKind, Permit, Phase, SendError, Service};

/// The most of a refusal that is read.
const LONGEST_REFUSAL: usize = 16 * 1024;

/// How often waiting calls check whether it is still worth it.
const LOOK: Duration = Duration::from_millis(250);

/// The longest message of a refusal that is passed on.
const LONGEST_MESSAGE: usize = 300;

/// A speech server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct SpeechServer {
    service: Service,
    url: Url,
    models: Url,
    model: Option<String>,
    voice: Option<String>,
}

/// The text to be spoken, and how.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ask {
    /// The text.
    pub(crate) text: String,
    /// The voice; without one, the server's default.
    pub(crate) voice: Option<String>,
    /// The model; without one, the server's default.
    pub(crate) model: Option<String>,
    /// How fast.
    pub(crate) speed: Option<f64>,
    /// Instructions for the voice.
    pub(crate) instructions: Option<String>,
    /// The caller: a key for the fair queue.
    pub(crate) caller: String,
}

/// Audio, as it comes.
#[derive(Debug)]
pub(crate) struct Audio {
    permit: Permit,
    response: Response,
}

/// A call that brought nothing.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// What it means for the server's health.
    pub(crate) fault: Fault,
    /// The server's own words, if it finds the request wrong.
    pub(crate) message: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: &'a str,
    voice: &'a str,
    response_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
}

impl SpeechServer {
    /// A server, with the model and the voice that are used where a request names none.
    pub(crate) fn new(service: Service, model: Option<String>, voice: Option<String>) -> Self {
        let base = service.base_url().clone();
        Self { url: below(&base, &["audio", "speech"]), models: below(&base, &["models"]), service, model, voice }
    }

    /// The service behind it.
    pub(crate) const fn service(&self) -> &Service {
        &self.service
    }

    /// Asks for audio in `format`; returns it once the headers are there, which have to come by `late`. Samples are
    /// asked for as WAV, which has its rate.
    pub(crate) async fn speak(
        &self,
        mut permit: Permit,
        ask: &Ask,
        format: AudioFormat,
        late: Instant,
    ) -> Result<Audio, Refusal> {
        let body = Body {
            model: ask.model.as_deref().or(self.model.as_deref()).unwrap_or("tts-1"),
            input: &ask.text,
            voice: ask.voice.as_deref().or(self.voice.as_deref()).unwrap_or("alloy"),
            response_format: if format.is_samples() { "wav" } else { format.as_str() },
            speed: ask.speed,
            instructions: ask.instructions.as_deref(),
        };
        let body = Bytes::from(serde_json::to_vec(&body).expect("text and numbers are JSON"));
        let request = |key: Option<&Secret>| {
            let mut request = Request::new(Method::POST, self.url.clone());
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static("*/*"));
            authorize(&self.service, &mut request, key);
            *request.body_mut() = Some(body.clone().into());
            request
        };
        let sent = tokio::select! {
            sent = permit.send(request) => sent.map_err(unreachable),
            () = sleep_until(late) => Err(Fault::unavailable("its headers did not come in time")),
            () = self.given_up() => Err(Fault::unavailable("it does not answer health checks")),
        };
        let response = match sent {
            Ok(response) => response,
            Err(fault) => {
                permit.failed(&fault);
                return Err(Refusal { fault, message: None });
            }
        };
        if response.status().as_u16() == 200 {
            return Ok(Audio { permit, response });
        }
        let refusal = refused(response).await;
        permit.failed(&refusal.fault);
        Err(refusal)
    }

    /// Waits until the server is known not to answer: a call that waits for its first audio need not wait any longer.
    pub(crate) async fn given_up(&self) {
        given_up(&self.service).await;
    }

    /// Whether it answers.
    pub(crate) async fn probe(&self) -> Result<(), Fault> {
        probe(&self.service, &self.models).await
    }
}

/// Waits until a service is known not to answer.
pub(super) async fn given_up(service: &Service) {
    loop {
        tokio::time::sleep(LOOK).await;
        if service.status().breaker == Phase::Open {
            return;
        }
    }
}

/// Whether a service answers: it is asked for its models, since speech costs.
pub(super) async fn probe(service: &Service, models: &Url) -> Result<(), Fault> {
    let request = |key: Option<&Secret>| {
        let mut request = Request::new(Method::GET, models.clone());
        authorize(service, &mut request, key);
        request
    };
    let response = service.get(request).await.map_err(unreachable)?;
    match response.status().as_u16() {
        // Not every speech server lists models; one that answers so is healthy.
        200..=299 | 404 | 405 => Ok(()),
        status => Err(Fault::of_status(status, Permit::retry_after(&response))),
    }
}

/// Adds the credentials: a key, or those in the address of the service.
pub(super) fn authorize(service: &Service, request: &mut Request, key: Option<&Secret>) {
    let base = service.base_url();
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    // As a URL carries it.
    let basic = || {
        let pair = format!("{}:{}", decoded(base.username()), decoded(base.password()?));
        Some(format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes())))
    };
    let value = key.map(|key| format!("Bearer {}", key.expose())).or_else(basic);
    if let Some(mut value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
}

impl Audio {
    /// What the server calls it.
    pub(crate) fn content_type(&self) -> Option<&str> {
        self.response.headers().get(CONTENT_TYPE)?.to_str().ok()
    }

    /// What comes next. `None`: that was all. Nothing is lost when the future is dropped before it is ready.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let bytes = self.response.chunk().await.map_err(|error| unreachable(SendError::from(error)))?;
        self.permit.heard();
        Ok(bytes)
    }

    /// Something is heard.
    pub(crate) fn spoke(&mut self) {
        self.permit.spoke();
    }

    /// It was all that it should be.
    pub(crate) fn succeeded(&mut self) {
        self.permit.succeeded();
    }

    /// It was not.
    pub(crate) fn failed(&mut self, fault: &Fault) {
        self.permit.failed(fault);
    }
}

pub(super) async fn refused(mut response: Response) -> Refusal {
    let status = response.status().as_u16();
    let mut fault = Fault::of_status(status, Permit::retry_after(&response));
    // An address without a speech server at it: that is not the request's fault.
    if matches!(status, 300..=399 | 404 | 405) {
        fault.kind = FaultKind::Unavailable;
    }
    if fault.kind != FaultKind::Request {
        return Refusal { fault, message: None };
    }
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_REFUSAL {
            break;
        }
    }
    Refusal { fault, message: message(&body) }
}

/// The message of an error object.
pub(super) fn message(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let error = body.get("error").unwrap_or(&body);
    let text =
        [error.get("message"), error.get("detail"), Some(error)].into_iter().flatten().find_map(Value::as_str)?;
    Some(text.chars().filter(|c| !c.is_control()).take(LONGEST_MESSAGE).collect())
}

pub(super) fn unreachable(error: SendError) -> Fault {
    Fault::unavailable(error.cause())
}

pub(super) fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    let _ = (url.set_username(""), url.set_password(None));
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}
