//! Recordings of speech, as the parts of messages that hold them.

use bytes::Bytes;
use data_encoding::BASE64;
use serde_json::{Map, Value};

use crate::domain::items::{AudioData, Part};
use crate::protocols::error::ApiError;
use crate::protocols::json::{At, Read, object, required, short_string, string};
use crate::speech::hearing::{MOST_BYTES, Recording};

/// The longest name of a format.
const LONGEST_NAME: usize = 32;

/// The longest base64 of a recording.
const LONGEST_DATA: usize = MOST_BYTES.div_ceil(3) * 4;

/// `input_audio`: `{"type": "input_audio", "input_audio": {"data": …, "format": …}}`. One that comes back with its
/// `transcript`, as this server gave it, is not transcribed again.
pub(in crate::protocols) fn recording(at: At, fields: &mut Map<String, Value>) -> Read<Part> {
    let take = |fields: &mut Map<String, Value>, name: &str| fields.remove(name).filter(|value| !value.is_null());
    let transcript = take(fields, "transcript").map(|value| string(at.field("transcript"), value)).transpose()?;
    let value = required(at, "input_audio", take(fields, "input_audio"))?;
    let at = at.field("input_audio");
    let mut audio = object(at, value)?;
    let data = string(at.field("data"), required(at, "data", take(&mut audio, "data"))?)?;
    let format = short_string(at.field("format"), required(at, "format", take(&mut audio, "format"))?, LONGEST_NAME)?;
    check(at, &data, &format)?;
    Ok(Part::InputAudio { input_audio: AudioData { data, format }, transcript: transcript.filter(|it| !it.is_empty()) })
}

/// A recording as a data URL of this type of audio.
pub(in crate::protocols) fn of_data_url(at: At, subtype: &str, url: &str) -> Read<Part> {
    let head = url.split_once(',').filter(|(head, _)| {
        let head = head.to_ascii_lowercase();
        head.starts_with("data:") && head.ends_with(";base64")
    });
    let Some((_, data)) = head else {
        return Err(ApiError::unsupported_parameter(at, "Send the recording itself, as a data URL in base64."));
    };
    // `audio/webm;codecs=opus`
    let format = subtype.split(';').next().unwrap_or_default().trim().to_owned();
    check(at, data, &format)?;
    Ok(Part::InputAudio { input_audio: AudioData { data: data.to_owned(), format }, transcript: None })
}

/// Looks at the audio before anything acts on it.
fn check(at: At, data: &str, format: &str) -> Read<()> {
    if data.len() > LONGEST_DATA {
        return Err(ApiError::too_large(MOST_BYTES as u64).with_param(at));
    }
    let bytes = BASE64.decode(data.as_bytes()).map_err(|_| ApiError::invalid(at.field("data"), "expected base64."))?;
    let read = Recording::read(Bytes::from(bytes), Some(format));
    read.map(drop).map_err(|unreadable| ApiError::invalid(at, &unreadable.to_string()))
}
