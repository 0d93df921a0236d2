//! A recording in, its transcript out.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use multer::{Multipart, parse_boundary};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::domain::caller::{Caller, Owner};
use crate::domain::event::Usage;
use crate::domain::tokens;
use crate::domain::usage::{DailyUsage, Day, Used};
use crate::http::Edge;
use crate::http::body::Body;
use crate::http::budget::{NoRoom, Share};
use crate::http::failure::Failure;
use crate::http::middleware::limits;
use crate::http::respond::{self, Answer};
use crate::http::upload::Upload;
use crate::limits::{Limits, Reservation};
use crate::log::now_ms;
use crate::protocols::ApiError;
use crate::protocols::transcriptions::{self, CreateTranscription};
use crate::replies;
use crate::speech::hearing::{self, Hearing, MOST_BYTES, Recording, Transcript, Unheard};

/// What transcripts count for where no model is named.
const HEARING: &str = "hearing";

/// What a form may have beside the recording.
const FORM: usize = 64 * 1024;

impl Edge {
    /// The plain endpoint of the API.
    pub(in crate::http) async fn create_transcription(
        &self,
        caller: &Caller,
        request: Request<Incoming>,
    ) -> Result<Answer, Failure> {
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let boundary = content_type.and_then(|value| parse_boundary(value).ok()).ok_or_else(ApiError::no_form)?;
        let Upload { bytes, mut share } = self.body(request, MOST_BYTES + FORM).await?;
        // What is sent on is a copy.
        share.grow(bytes.len()).await.map_err(|NoRoom| ApiError::no_memory())?;
        let (asked, recording) = read(bytes, boundary).await?;
        let reserved = self.inner.limits.reserve(caller, || 0, Some(0)).await.map_err(replies::Error::from)?;
        let standing = reserved.standing();
        let request = hearing::Request {
            recording,
            model: asked.model.clone(),
            language: asked.language.clone(),
            prompt: asked.prompt.clone(),
            temperature: asked.temperature,
            detail: asked.detail(),
            caller: caller.owner().as_str().to_owned(),
        };
        let account = Account {
            limits: self.inner.limits.clone(),
            owner: caller.owner().clone(),
            model: asked.model.clone().unwrap_or_else(|| HEARING.to_owned()),
            reserved,
            _share: share,
        };
        let mut answer = if asked.stream {
            Pieces::begin(self.inner.hearing.clone(), request, account).answer(asked.media_type()).await?
        } else {
            let transcript = self.inner.hearing.transcribe(&request).await?;
            account.settle(&transcript);
            respond::file(asked.media_type(), asked.write(&transcript).into())
        };
        limits::tell(&mut answer, standing);
        Ok(answer)
    }
}

/// What a transcript takes of its caller's limits, and of memory, while it is made.
struct Account {
    limits: Limits,
    owner: Owner,
    model: String,
    reserved: Reservation,
    _share: Share,
}

impl Account {
    fn settle(self, transcript: &Transcript) {
        let used = Used::of_reply(Usage { output: tokens::of_text(&transcript.text), ..Usage::default() });
        self.reserved.settle(used.tokens());
        let day = Day::of(now_ms() / 1000);
        self.limits.note_unrecorded(DailyUsage { owner: self.owner, day, model: self.model, used });
    }
}

/// The events of a transcript, as it is made.
struct Pieces {
    heard: mpsc::UnboundedReceiver<String>,
    /// Ends when nobody listens any more.
    making: AbortOnDropHandle<Result<Transcript, Unheard>>,
    sent: u64,
    is_over: bool,
}

impl Pieces {
    fn begin(hearing: Hearing, request: hearing::Request, account: Account) -> Self {
        let (sender, heard) = mpsc::unbounded_channel();
        let making = async move {
            let transcript = hearing.transcribe_in_pieces(&request, sender).await?;
            account.settle(&transcript);
            Ok(transcript)
        };
        let making = AbortOnDropHandle::new(tokio::spawn(making.in_current_span()));
        Self { heard, making, sent: 0, is_over: false }
    }

    /// The next event. `None`: that was all. An error: nothing was sent, and nothing will be.
    async fn next(&mut self) -> Option<Result<Vec<u8>, Unheard>> {
        if self.is_over {
            return None;
        }
        if let Some(piece) = self.heard.recv().await {
            self.sent += 1;
            return Some(Ok(transcriptions::delta(&piece)));
        }
        self.is_over = true;
        let made = (&mut self.making).await.unwrap_or(Err(Unheard::Nobody("The transcription failed.")));
        Some(match made {
            Ok(transcript) => Ok(transcriptions::done(&transcript)),
            Err(unheard) if self.sent == 0 => Err(unheard),
            Err(unheard) => Ok(transcriptions::failed(&ApiError::from(&unheard), self.sent)),
        })
    }

    /// An answer, as soon as there is something to send. What goes wrong before that is an error of HTTP.
    async fn answer(mut self, media_type: &'static str) -> Result<Answer, Failure> {
        let first = self.next().await.transpose()?;
        let rest = stream::unfold(self, |mut pieces| async move {
            let event = pieces.next().await?.ok()?;
            Some((Bytes::from(event), pieces))
        });
        let all = stream::iter(first.map(Bytes::from)).chain(rest);
        Ok(respond::stream(media_type, Body::Events(Box::pin(all))))
    }
}

/// What a form asks for, and its recording.
async fn read(bytes: Bytes, boundary: String) -> Result<(CreateTranscription, Recording), ApiError> {
    let (mut asked, mut file) = (CreateTranscription::default(), None);
    let mut form = Multipart::new(stream::iter([Ok::<_, std::convert::Infallible>(bytes)]), boundary);
    while let Some(field) = form.next_field().await.map_err(|error| ApiError::damaged_form(&error))? {
        let name = field.name().unwrap_or_default().to_owned();
        let value = field.bytes().await.map_err(|error| ApiError::damaged_form(&error))?;
        if name == "file" {
            if value.len() > MOST_BYTES {
                return Err(ApiError::too_large(MOST_BYTES as u64).with_param("file"));
            }
            file = Some(value);
        } else {
            let value = std::str::from_utf8(&value);
            asked.set(&name, value.map_err(|_| ApiError::invalid(&name, "expected text in UTF-8."))?)?;
        }
    }
    asked.check()?;
    let file = file.ok_or_else(|| ApiError::missing_parameter("file"))?;
    let recording = Recording::read(file, None);
    let recording = recording.map_err(|unreadable| ApiError::invalid("file", &unreadable.to_string()))?;
    Ok((asked, recording))
}
