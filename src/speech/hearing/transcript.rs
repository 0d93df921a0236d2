//! The transcript of a recording: the text, and if a server sends it, the time of each part. Pure.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Detail, Request};

/// A transcript.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Transcript {
    /// The text, without white space around it.
    pub(crate) text: String,
    /// The language, as the server calls it.
    pub(crate) language: Option<String>,
    /// How long the recording is, in seconds.
    pub(crate) duration: Option<f64>,
    /// Its parts.
    pub(crate) segments: Vec<Segment>,
    /// Its words, if they were asked for and the server sends them.
    pub(crate) words: Vec<Word>,
}

/// A part of a transcript.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Segment {
    /// Its place.
    #[serde(default)]
    pub(crate) id: u64,
    /// When it begins, in seconds.
    pub(crate) start: f64,
    /// When it ends.
    pub(crate) end: f64,
    /// Its text.
    pub(crate) text: String,
    /// The server's other fields.
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

/// A word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Word {
    /// The word.
    #[serde(rename = "word")]
    pub(crate) text: String,
    /// When it begins, in seconds.
    pub(crate) start: f64,
    /// When it ends.
    pub(crate) end: f64,
}

impl Transcript {
    /// A text of which nothing else is known; each line of it is one that was heard.
    pub(super) fn plain(text: &str) -> Self {
        Self { text: text.split_whitespace().collect::<Vec<_>>().join(" "), ..Self::default() }
    }

    /// As a server's answer has it: an object with `text`. What is odd about the rest is left out.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let mut fields = match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err("it sent JSON that is no transcript".to_owned()),
            Err(_) if body.is_empty() => return Err("it sent nothing".to_owned()),
            Err(_) => return Err("it sent no JSON".to_owned()),
        };
        let Some(Value::String(text)) = fields.remove("text") else {
            return Err(if fields.contains_key("error") {
                "it sent an error as a success".to_owned()
            } else {
                "it sent JSON without a text".to_owned()
            });
        };
        let duration = match fields.remove("duration") {
            // Some servers write it as text, as OpenAI's first ones did.
            Some(Value::String(text)) => text.parse().ok(),
            other => other.and_then(|value| value.as_f64()),
        };
        Ok(Self {
            text: text.trim().to_owned(),
            language: fields.remove("language").and_then(|value| value.as_str().map(str::to_owned)),
            duration: duration.filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0),
            segments: list(fields.remove("segments")),
            words: list(fields.remove("words")),
        })
    }

    /// With what is known of the recording itself; what is asked for is there, if only as one part.
    pub(super) fn of(mut self, request: &Request) -> Self {
        let own = request.recording.duration().map(|duration| duration.as_secs_f64());
        self.duration = self.duration.or(own);
        self.language = self.language.or_else(|| request.language.clone());
        if request.detail != Detail::Words {
            self.words.clear();
        }
        if request.detail == Detail::Text {
            self.segments.clear();
        } else if self.segments.is_empty() && !self.text.is_empty() {
            let (text, end) = (self.text.clone(), self.duration.unwrap_or_default());
            self.segments = vec![Segment { end, text, ..Segment::default() }];
        }
        self
    }
}

/// What of a list is as it should be.
fn list<T: serde::de::DeserializeOwned>(value: Option<Value>) -> Vec<T> {
    let Some(Value::Array(list)) = value else { return Vec::new() };
    list.into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_with_what_can_be_understood_of_it() {
        let whole = br#"{"task":"transcribe","language":"english","duration":"1.5","text":" Hi there. ","segments":
            [{"id":0,"start":0.0,"end":0.7,"text":" Hi","seek":0,"tokens":[1]},{"start":"?"}],"words":[{"word":"Hi","start":0,"end":0.3}]}"#;
        let heard = Transcript::read(whole).unwrap();
        assert_eq!(
            (heard.text.as_str(), heard.language.as_deref(), heard.duration),
            ("Hi there.", Some("english"), Some(1.5))
        );
        assert_eq!((heard.segments.len(), heard.words.len()), (1, 1));
        assert_eq!(heard.segments[0].rest["tokens"], serde_json::json!([1]));
        assert_eq!(Transcript::read(br#"{"text":""}"#).unwrap(), Transcript::default());
    }

    #[test]
    fn what_is_no_transcript_is_refused() {
        for (body, problem) in [
            (&b""[..], "nothing"),
            (b"<html>Welcome</html>", "no JSON"),
            (b"[]", "no transcript"),
            (b"{\"text\":3}", "without a text"),
            (b"{\"error\":\"failed to read audio\"}", "error as a success"),
            (b"{\"text\":\"cut o", "no JSON"),
        ] {
            let error = Transcript::read(body).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }
}
