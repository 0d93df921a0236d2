//! `POST /v1/audio/transcriptions`: a form with a recording, and the forms of its transcript.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

use super::error::ApiError;
use super::stream::{DONE, Framing};
use crate::speech::hearing::{Detail, Segment, Transcript, Word};

/// The longest name of a model or a language.
const LONGEST_NAME: usize = 256;

/// The longest prompt.
const LONGEST_PROMPT: usize = 8192;

/// What is asked for, beside the recording.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CreateTranscription {
    /// The model, as the client named it.
    pub(crate) model: Option<String>,
    /// The language that is spoken.
    pub(crate) language: Option<String>,
    /// Words that are likely.
    pub(crate) prompt: Option<String>,
    /// From 0 to 1.
    pub(crate) temperature: Option<f64>,
    /// How the transcript is written.
    pub(crate) format: Format,
    /// Whether it is to come as events.
    pub(crate) stream: bool,
    /// Whether each word is to have its times.
    words: bool,
}

/// How a transcript is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// An object with the text.
    #[default]
    Json,
    /// The text.
    Text,
    /// An object with the text, its parts and their times.
    VerboseJson,
    /// `SubRip` subtitles.
    Srt,
    /// `WebVTT` subtitles (W3C).
    Vtt,
}

const FORMATS: &[(&str, Format)] = &[
    ("json", Format::Json),
    ("text", Format::Text),
    ("srt", Format::Srt),
    ("verbose_json", Format::VerboseJson),
    ("vtt", Format::Vtt),
];

#[derive(Serialize)]
struct Verbose<'a> {
    task: &'static str,
    language: &'a str,
    duration: f64,
    text: &'a str,
    segments: &'a [Segment],
    #[serde(skip_serializing_if = "<[Word]>::is_empty")]
    words: &'a [Word],
}

impl CreateTranscription {
    /// Takes a field of the form. What is not known is ignored, as in other requests.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), ApiError> {
        let short = |most: usize| match value {
            "" => Ok(None),
            text if text.chars().count() <= most => Ok(Some(text.to_owned())),
            text => Err(ApiError::string_too_long(name, most, text.chars().count())),
        };
        match name {
            "model" => self.model = short(LONGEST_NAME)?,
            "language" => self.language = short(LONGEST_NAME)?,
            "prompt" => self.prompt = short(LONGEST_PROMPT)?,
            "response_format" => self.format = choice(name, value, FORMATS)?,
            "stream" => {
                self.stream =
                    choice(name, value, &[("true", true), ("false", false), ("True", true), ("False", false)])?;
            }
            "temperature" => {
                let number = value.parse().ok().filter(|number: &f64| (0.0..=1.0).contains(number));
                let expected = || ApiError::invalid(name, "expected a number from 0 to 1.");
                self.temperature = Some(number.ok_or_else(expected)?);
            }
            "timestamp_granularities" | "timestamp_granularities[]" => {
                self.words |= choice(name, value, &[("word", true), ("segment", false)])?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Checks what no field can tell by itself.
    ///
    /// # Errors
    /// What does not go together.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        if self.stream && !matches!(self.format, Format::Json | Format::Text) {
            return Err(ApiError::invalid("stream", "it is only for the response formats json and text."));
        }
        if self.words && self.format != Format::VerboseJson {
            let problem = "it is only for the response format verbose_json.";
            return Err(ApiError::invalid("timestamp_granularities", problem));
        }
        Ok(())
    }

    /// What is wanted beside the text.
    pub(crate) const fn detail(&self) -> Detail {
        match self.format {
            _ if self.words => Detail::Words,
            Format::Json | Format::Text => Detail::Text,
            Format::VerboseJson | Format::Srt | Format::Vtt => Detail::Segments,
        }
    }

    /// The media type of the answer.
    pub(crate) const fn media_type(&self) -> &'static str {
        match self.format {
            _ if self.stream => Framing::SSE.content_type,
            Format::Json | Format::VerboseJson => "application/json",
            Format::Text | Format::Srt => "text/plain; charset=utf-8",
            Format::Vtt => "text/vtt; charset=utf-8",
        }
    }

    /// The transcript, as it was asked for, where it was not asked for as events.
    pub(crate) fn write(&self, transcript: &Transcript) -> Vec<u8> {
        let text = &transcript.text;
        match self.format {
            Format::Json => to_json(&plain(transcript)),
            Format::Text => format!("{text}\n").into_bytes(),
            Format::VerboseJson => to_json(&Verbose {
                task: "transcribe",
                language: transcript.language.as_deref().unwrap_or_default(),
                duration: transcript.duration.unwrap_or_default(),
                text,
                segments: &transcript.segments,
                words: &transcript.words,
            }),
            Format::Srt => subtitles(&transcript.segments, ',', true).into_bytes(),
            Format::Vtt => format!("WEBVTT\n\n{}", subtitles(&transcript.segments, '.', false)).into_bytes(),
        }
    }
}

fn choice<T: Copy>(name: &str, value: &str, choices: &[(&str, T)]) -> Result<T, ApiError> {
    let found = choices.iter().find(|(known, _)| *known == value).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(known, _)| *known).collect();
        ApiError::invalid_value(name, value, &names)
    })
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("a transcript is JSON")
}

fn plain(transcript: &Transcript) -> serde_json::Value {
    match transcript.duration {
        Some(seconds) => json!({"text": transcript.text, "usage": {"type": "duration", "seconds": seconds.ceil()}}),
        None => json!({"text": transcript.text}),
    }
}

/// A piece of a transcript, as an event.
pub(crate) fn delta(piece: &str) -> Vec<u8> {
    event(&json!({"type": "transcript.text.delta", "delta": piece}))
}

/// The end of a transcript, as an event, and that of its stream.
pub(crate) fn done(transcript: &Transcript) -> Vec<u8> {
    let mut done = plain(transcript);
    done["type"] = "transcript.text.done".into();
    [&event(&done), DONE].concat()
}

/// What went wrong after the first piece, as an event, and the end of its stream.
pub(crate) fn failed(error: &ApiError, sequence: u64) -> Vec<u8> {
    let mut out = b"data: ".to_vec();
    error.append_event(&mut out, sequence);
    out.extend_from_slice(b"\n\n");
    out.extend_from_slice(DONE);
    out
}

fn event(value: &serde_json::Value) -> Vec<u8> {
    format!("data: {value}\n\n").into_bytes()
}

fn subtitles(segments: &[Segment], point: char, numbered: bool) -> String {
    let mut out = String::new();
    for (index, segment) in segments.iter().enumerate() {
        if numbered {
            let _ = writeln!(out, "{}", index + 1);
        }
        let (start, end) = (clock(segment.start, point), clock(segment.end, point));
        // A blank line would end the subtitle, and an arrow begin another.
        let text = segment.text.split_whitespace().collect::<Vec<_>>().join(" ").replace("-->", "->");
        let _ = write!(out, "{start} --> {end}\n{text}\n\n");
    }
    out
}

/// `01:02:03,004`
fn clock(seconds: f64, point: char) -> String {
    let duration = std::time::Duration::try_from_secs_f64(seconds.clamp(0.0, 360_000.0)).unwrap_or_default();
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    format!("{:02}:{:02}:{:02}{point}{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(fields: &[(&str, &str)]) -> Result<CreateTranscription, ApiError> {
        let mut request = CreateTranscription::default();
        fields.iter().try_for_each(|(name, value)| request.set(name, value))?;
        request.check().map(|()| request)
    }

    fn written(fields: &[(&str, &str)]) -> String {
        let segment = |id, start, end, text: &str| {
            let (text, rest) = (text.to_owned(), serde_json::Map::new());
            Segment { id, start, end, text, rest }
        };
        let transcript = Transcript {
            text: "Good day. And good night.".to_owned(),
            language: Some("en".to_owned()),
            duration: Some(3661.5),
            segments: vec![segment(0, 0.0, 1.25, " Good day."), segment(1, 1.25, 3661.5, "And\n\ngood --> night.")],
            words: Vec::new(),
        };
        String::from_utf8(asked(fields).unwrap().write(&transcript)).unwrap()
    }

    #[test]
    fn a_transcript_is_written_in_every_form() {
        assert_eq!(
            written(&[]),
            r#"{"text":"Good day. And good night.","usage":{"type":"duration","seconds":3662.0}}"#
        );
        assert_eq!(written(&[("response_format", "text")]), "Good day. And good night.\n");
        let srt =
            "1\n00:00:00,000 --> 00:00:01,250\nGood day.\n\n2\n00:00:01,250 --> 01:01:01,500\nAnd good -> night.\n\n";
        assert_eq!(written(&[("response_format", "srt")]), srt);
        let vtt = written(&[("response_format", "vtt")]);
        assert!(vtt.starts_with("WEBVTT\n\n00:00:00.000 --> 00:00:01.250\nGood day.\n\n"), "{vtt}");
        let verbose: serde_json::Value =
            serde_json::from_str(&written(&[("response_format", "verbose_json")])).unwrap();
        assert_eq!((&verbose["task"], &verbose["language"]), (&json!("transcribe"), &json!("en")));
        assert_eq!((&verbose["segments"][1]["end"], verbose.get("words")), (&json!(3661.5), None));
    }

    #[test]
    fn a_transcript_is_written_in_events_and_so_is_its_failure() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let whole = Transcript { text: "Good day.".to_owned(), ..Transcript::default() };
        assert_eq!(text(delta("Good ")), "data: {\"type\":\"transcript.text.delta\",\"delta\":\"Good \"}\n\n");
        let end = "data: {\"text\":\"Good day.\",\"type\":\"transcript.text.done\"}\n\ndata: [DONE]\n\n";
        assert_eq!(text(done(&whole)), end);
        let failed = text(failed(&ApiError::bad_gateway("It broke off."), 3));
        let event = failed.strip_prefix("data: ").and_then(|rest| rest.strip_suffix("\n\ndata: [DONE]\n\n")).unwrap();
        let event: serde_json::Value = serde_json::from_str(event).unwrap();
        let told = (&event["type"], &event["sequence_number"], &event["error"]["message"]);
        assert_eq!(told, (&json!("error"), &json!(3), &json!("It broke off.")));
    }

    #[test]
    fn what_is_wrong_with_a_field_is_said_by_its_name() {
        for (fields, param) in [
            (&[("response_format", "xml")][..], "response_format"),
            (&[("temperature", "2")], "temperature"),
            (&[("temperature", "NaN")], "temperature"),
            (&[("stream", "perhaps")], "stream"),
            (&[("stream", "true"), ("response_format", "srt")], "stream"),
            (&[("timestamp_granularities[]", "letter")], "timestamp_granularities[]"),
            (&[("timestamp_granularities[]", "word")], "timestamp_granularities"),
            (&[("model", &"m".repeat(300))], "model"),
        ] {
            let error = asked(fields).unwrap_err();
            assert_eq!((error.status, error.param.as_deref()), (400, Some(param)));
        }
        assert!(asked(&[("chunking_strategy", "auto"), ("language", "")]).is_ok());
    }
}
