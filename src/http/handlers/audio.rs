//! What is heard: the audio of a reply by itself, and texts that are spoken by themselves.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64;
use futures_util::Stream;
use futures_util::stream::{self, BoxStream};
use hyper::Request;
use hyper::body::Incoming;

use super::responses::parse_reply;
use crate::domain::caller::Caller;
use crate::domain::event::{Event, Usage};
use crate::domain::tokens;
use crate::domain::usage::{DailyUsage, Day, Used};
use crate::http::Edge;
use crate::http::body::{Body, OpenStream};
use crate::http::failure::Failure;
use crate::http::middleware::limits;
use crate::http::respond::{self, Answer};
use crate::limits::Reservation;
use crate::log::now_ms;
use crate::protocols::ApiError;
use crate::protocols::request::CreateSpeech;
use crate::replies;
use crate::replies::feed::{BrokenOff, Events, Feed};
use crate::speech::{SpeechRequest, SpokenText};
use crate::telemetry::StreamKind;

/// What texts that are spoken count for where no model is named.
const SPEECH: &str = "speech";

/// How long headers wait for the first audio.
const HEADERS: Duration = Duration::from_secs(5);

/// The audio of a reply, from its beginning, as it is made.
struct Listening {
    events: Events,
    /// What was read, and not looked at.
    read: std::vec::IntoIter<Event>,
    _open: OpenStream,
}

impl Edge {
    /// One body that grows while the reply is spoken: a browser's `<audio src>` plays it meanwhile. It is cut, and looks
    /// so, where the speech had to end early.
    pub(in crate::http) async fn response_audio(&self, caller: &Caller, id: &str) -> Result<Answer, Failure> {
        let feed = self.inner.replies.follow(caller, parse_reply(id)?, 0).await?;
        let Some(format) = feed.accepted().params.audio.as_ref().map(|audio| audio.format) else {
            return Err(ApiError::no_audio(id, "It was not asked to be spoken.").with_code("not_spoken").into());
        };
        let open = OpenStream::new(&self.inner.metrics, StreamKind::Audio);
        let mut listening =
            Listening { events: Events::new(Arc::clone(&feed)), read: Vec::new().into_iter(), _open: open };
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
    pub(in crate::http) async fn create_speech(
        &self,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Result<Answer, Failure> {
        let body = self.json_body(request).await?;
        let CreateSpeech { input, model, voice, format, speed, instructions } = CreateSpeech::parse(&body)?;
        let used = Used::of_reply(Usage { input: tokens::of_text(&input), ..Usage::default() });
        let reserved = self.inner.limits.reserve(caller, || used.input, Some(0)).await.map_err(replies::Error::from)?;
        let (standing, named) = (reserved.standing(), model.clone());
        let request = SpeechRequest { caller: caller.clone(), input, voice, format, speed, model, instructions };
        let SpokenText { format, audio } = self.inner.speech.synthesize(request).await?;
        let (owner, day) = (caller.owner().clone(), Day::of(now_ms() / 1000));
        let model = named.unwrap_or_else(|| SPEECH.to_owned());
        self.inner.limits.note_unrecorded(DailyUsage { owner, day, model, used });
        let audio = futures_util::TryStreamExt::map_err(audio, |_| BrokenOff);
        // What is being spoken runs: until its client has all of it, or is gone.
        let audio = Counted { audio: Box::pin(audio), reserved: Some(reserved.spent()), used: used.tokens() };
        let mut answer = respond::audio(format, Body::Audio(Box::pin(audio)));
        limits::tell(&mut answer, standing);
        Ok(answer)
    }
}

impl Listening {
    /// The next piece. `None`: that was all. An error: there should be more.
    async fn next(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        loop {
            let Some(event) = self.read.next() else {
                match self.events.next().await? {
                    Ok(read) => self.read = read.into_iter(),
                    Err(broken) => return Some(Err(broken)),
                }
                continue;
            };
            match event {
                Event::Audio(base64) => {
                    return Some(BASE64.decode(base64.as_bytes()).map(Bytes::from).map_err(|_| BrokenOff));
                }
                Event::AudioDone(Some(_)) => return Some(Err(BrokenOff)),
                Event::AudioDone(None) => return None,
                _ => {}
            }
        }
    }
}

/// Audio of a text, which counts as a reply until it ends.
struct Counted {
    audio: BoxStream<'static, Result<Bytes, BrokenOff>>,
    reserved: Option<Reservation>,
    used: u64,
}

impl Stream for Counted {
    type Item = Result<Bytes, BrokenOff>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.audio.as_mut().poll_next(cx)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(reserved) = self.reserved.take() {
            reserved.settle(self.used);
        }
    }
}

/// Why there is nothing to hear.
fn unspoken(id: &str, feed: &Feed) -> ApiError {
    let reply = feed.reply();
    let reason = reply.content().degraded.as_ref().map_or("It has no text that can be spoken.", |why| &why.reason);
    ApiError::no_audio(id, reason).with_code("not_spoken")
}
