//! A recording in, its transcript out.

use bytes::Bytes;
use futures_util::stream;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use multer::{Multipart, parse_boundary};

use crate::domain::caller::Caller;
use crate::domain::event::Usage;
use crate::domain::tokens;
use crate::domain::usage::{DailyUsage, Day, Used};
use crate::http::Edge;
use crate::http::budget::NoRoom;
use crate::http::failure::Failure;
use crate::http::middleware::limits;
use crate::http::respond::{self, Answer};
use crate::http::upload::Upload;
use crate::log::now_ms;
use crate::protocols::ApiError;
use crate::protocols::transcriptions::CreateTranscription;
use crate::replies;
use crate::speech::hearing::{self, MOST_BYTES, Recording};

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
        let transcript = self.inner.hearing.transcribe(&request).await?;
        let used = Used::of_reply(Usage { output: tokens::of_text(&transcript.text), ..Usage::default() });
        reserved.settle(used.tokens());
        let (owner, day) = (caller.owner().clone(), Day::of(now_ms() / 1000));
        let model = asked.model.clone().unwrap_or_else(|| HEARING.to_owned());
        self.inner.limits.note_unrecorded(DailyUsage { owner, day, model, used });
        let mut answer = respond::file(asked.media_type(), asked.write(&transcript).into());
        limits::tell(&mut answer, standing);
        Ok(answer)
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
