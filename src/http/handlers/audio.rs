//! What is heard: the audio of a reply by itself, and texts that are spoken by themselves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use futures_util::stream;
use hyper::Request;
use hyper::body::Incoming;
use serde::Deserialize;

use crate::api::ApiError;
use crate::api::request::CreateSpeech;
use crate::http::Edge;
use crate::http::body::{Body, OpenStream};
use crate::http::failure::Failure;
use crate::http::request::{self, check_content_type};
use crate::http::respond::{self, Answer};
use crate::log::feed::{BrokenOff, Feed, Follower, Frame};
use crate::telemetry::StreamKind;
use crate::threads::command::{SpeechRequest, SpokenText};

/// How long headers wait for the first audio.
const HEADERS: Duration = Duration::from_secs(5);

/// The audio of a reply, from its beginning, as it is made.
struct Listening {
    follower: Follower,
    _open: OpenStream,
}

impl Edge {
    /// One body that grows while the reply is spoken: a browser's `<audio src>` plays it meanwhile. It is cut, and looks
    /// so, where the speech had to end early.
    pub(in crate::http) async fn response_audio(&self, id: &str) -> Result<Answer, Failure> {
        let feed = self.feed(id).await?;
        let Some(format) = feed.envelope().audio() else {
            return Err(ApiError::no_audio(id, "It was not asked to be spoken.").with_code("not_spoken").into());
        };
        let open = OpenStream::new(&self.inner.metrics, StreamKind::Audio);
        let mut listening = Listening { follower: Follower::new(Arc::clone(&feed), 0), _open: open };
        // The first piece tells whether there is any. Where it does not come soon the client is not kept waiting for
        // headers.
        let first = match tokio::time::timeout(HEADERS, listening.next()).await {
            Err(_) => Bytes::new(),
            Ok(Some(Ok(first))) if !first.is_empty() => first,
            Ok(Some(Ok(_))) => {
                let error = ApiError::no_audio(id, "It is not kept any more; the text is.");
                return Err(error.with_code("audio_expired").into());
            }
            Ok(Some(Err(_)) | None) => return Err(unspoken(id, &feed).into()),
        };
        let rest = stream::unfold(listening, |mut listening| async move {
            let next = listening.next().await?;
            Some((next, listening))
        });
        let audio = futures_util::StreamExt::chain(stream::iter([Ok(first)]), rest);
        Ok(respond::audio(format, Body::Audio(Box::pin(audio))))
    }

    /// The plain endpoint of the API: a text in, audio out.
    pub(in crate::http) async fn create_speech(&self, request: Request<Incoming>) -> Result<Answer, Failure> {
        check_content_type(request.headers())?;
        let body = request::body(request, self.inner.config.max_body_bytes).await?;
        let CreateSpeech { input, model, voice, format, speed, instructions } = CreateSpeech::parse(&body)?;
        let caller = self.caller();
        let request = SpeechRequest { caller, input, voice, format, speed, model, instructions };
        let SpokenText { format, audio } = self.inner.speaker.synthesize(request).await?;
        let audio = futures_util::TryStreamExt::map_err(audio, |_| BrokenOff);
        Ok(respond::audio(format, Body::Audio(Box::pin(audio))))
    }
}

impl Listening {
    /// The next piece. `None`: that was all. An error: there should be more.
    async fn next(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        loop {
            let frame = match self.follower.next().await? {
                Ok(frame) => frame,
                Err(broken) => return Some(Err(broken)),
            };
            match frame.kind {
                "response.audio.delta" => return Some(decode(&frame).ok_or(BrokenOff)),
                "response.audio.done" if is_degraded(&frame) => return Some(Err(BrokenOff)),
                "response.audio.done" => return None,
                _ => {}
            }
        }
    }
}

fn decode(frame: &Frame) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Delta<'a> {
        #[serde(borrow)]
        delta: std::borrow::Cow<'a, str>,
    }
    let json = frame.json();
    let delta: Delta<'_> = serde_json::from_slice(&json).ok()?;
    BASE64.decode(delta.delta.as_bytes()).ok().map(Bytes::from)
}

fn is_degraded(frame: &Frame) -> bool {
    #[derive(Deserialize)]
    struct Done {
        rejoinder: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<Done>(&frame.json()).is_ok_and(|done| done.rejoinder.is_some())
}

/// Why there is nothing to hear.
fn unspoken(id: &str, feed: &Feed) -> ApiError {
    let reply = feed.reply();
    let reason = reply.said().degraded.as_ref().map_or("It has no text that can be spoken.", |why| &why.reason);
    ApiError::no_audio(id, reason).with_code("not_spoken")
}
