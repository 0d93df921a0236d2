//! Speech that is asked for: with a reply, or by itself.

use serde_json::Value;

use crate::domain::params::{AudioFormat, AudioParams, Params};
use crate::protocols::error::ApiError;
use crate::protocols::json::{
    self, At, Read, at_most, choice, decimal, entries, object, required, short_string, string, word,
};

/// The longest name of a voice or a model.
const LONGEST_NAME: usize = 256;

/// The longest text that is spoken by itself, as with `OpenAI`.
const LONGEST_TEXT: usize = 4096;

/// In what a reply comes; always also as text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::protocols) enum Modalities {
    #[default]
    Text,
    TextAndAudio,
}

/// `POST /v1/audio/speech`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CreateSpeech {
    /// The text.
    pub(crate) input: String,
    /// The model, as the client named it.
    pub(crate) model: Option<String>,
    /// The voice; without one, the server's default.
    pub(crate) voice: Option<String>,
    /// The form of the audio; without one, what there is.
    pub(crate) format: Option<AudioFormat>,
    /// How fast, from 0.25 to 4.
    pub(crate) speed: Option<f64>,
    /// How to speak.
    pub(crate) instructions: Option<String>,
}

/// `modalities`.
pub(in crate::protocols) fn modalities(at: At, value: Value) -> Read<Modalities> {
    let words = entries(at, value, |at, value| word(at, value, &["text", "audio"]))?;
    let has = |word: &str| words.iter().any(|other| other == word);
    match (has("text"), has("audio")) {
        (true, false) => Ok(Modalities::Text),
        (true, true) => Ok(Modalities::TextAndAudio),
        (false, _) if words.is_empty() => Err(ApiError::empty_array(at)),
        (false, _) => {
            Err(ApiError::invalid(at, "a reply always has text: expected [\"text\"] or [\"text\", \"audio\"]."))
        }
    }
}

/// `audio` of a reply.
pub(in crate::protocols) fn audio(at: At, value: Value) -> Read<AudioParams> {
    let mut audio = AudioParams { voice: None, format: AudioFormat::Wav };
    for (key, value) in object(at, value)?.into_iter().filter(|(_, value)| !value.is_null()) {
        let at = at.field(&key);
        match key.as_str() {
            "voice" => audio.voice = Some(voice(at, value)?),
            "format" => audio.format = choice(at, value, AudioFormat::NAMES)?,
            _ => {}
        }
    }
    Ok(audio)
}

/// A voice by its name; newer clients name one of their own as `{"id": …}`.
fn voice(at: At, value: Value) -> Read<String> {
    match value {
        Value::Object(mut fields) => {
            let id = required(at, "id", fields.remove("id"))?;
            short_string(at.field("id"), id, LONGEST_NAME)
        }
        value => short_string(at, value, LONGEST_NAME),
    }
}

/// What is asked of a voice and whether one is asked for have to agree.
pub(in crate::protocols) fn agree(modalities: Modalities, params: &mut Params) -> Read<()> {
    match (modalities, &params.audio) {
        (Modalities::Text, None) => Ok(()),
        (Modalities::TextAndAudio, _) if params.wants_json() => {
            Err(ApiError::invalid("modalities", "JSON is not spoken: leave out 'audio', or 'text.format'."))
        }
        (Modalities::TextAndAudio, _) => {
            params.audio.get_or_insert(AudioParams { voice: None, format: AudioFormat::Wav });
            Ok(())
        }
        (Modalities::Text, Some(_)) => Err(ApiError::invalid(
            "audio",
            "it is for replies that are spoken: set 'modalities' to [\"text\", \"audio\"].",
        )),
    }
}

impl CreateSpeech {
    /// Reads a request's body.
    ///
    /// # Errors
    /// What is wrong with it, with the path of the field that is to blame.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut request = Self::default();
        let mut input = None;
        for (name, value) in object(At::Body, json::parse(body)?)?.into_iter().filter(|(_, value)| !value.is_null()) {
            let at = At::Body.field(&name);
            match name.as_str() {
                "input" => input = Some(short_string(at, value, LONGEST_TEXT)?),
                "model" => request.model = Some(short_string(at, value, LONGEST_NAME)?),
                "voice" => request.voice = Some(voice(at, value)?),
                "response_format" => request.format = Some(choice(at, value, AudioFormat::NAMES)?),
                "speed" => {
                    let speed = decimal(at, &value, 0, 4)?;
                    if speed < 0.25 {
                        return Err(ApiError::invalid(at, "expected a number from 0.25 to 4."));
                    }
                    request.speed = Some(speed);
                }
                "instructions" => request.instructions = Some(at_most(at, string(at, value)?, LONGEST_TEXT)?),
                "stream_format" => drop(word(at, value, &["audio"])?),
                _ => {}
            }
        }
        request.input = input.ok_or_else(|| ApiError::missing_parameter("input"))?;
        Ok(request)
    }
}
