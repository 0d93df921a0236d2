//! One reply as a client reads it, over any number of streams: its numbers, its text, its end. Pure.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::response::Response;
use crate::sse::Frame;
use crate::tally::Check;

/// A reply as far as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Reading<'a> {
    /// What it has to say.
    expected: &'a str,
    /// How many bytes of that it said.
    said: usize,
    /// The number of the next event.
    pub(crate) next: u64,
    /// The next event is the first after a cut.
    pub(crate) rejoining: bool,
    pub(crate) end: Option<End>,
    /// `[DONE]` has come.
    pub(crate) done: bool,
}

/// How a reply ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    /// `completed`, `cancelled`, `incomplete` or `failed`.
    pub(crate) status: String,
    pub(crate) error: Option<String>,
    /// How many words the model was given.
    pub(crate) heard: Option<u64>,
}

/// What an event should not have been.
pub(crate) type Fault = (Check, String);

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    sequence_number: u64,
    #[serde(default)]
    delta: Option<String>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
}

impl<'a> Reading<'a> {
    /// A reply of which nothing was read.
    pub(crate) fn new(expected: &'a str) -> Self {
        Self { expected, said: 0, next: 0, rejoining: false, end: None, done: false }
    }

    /// Whether the end was seen.
    pub(crate) fn is_over(&self) -> bool {
        self.end.is_some()
    }

    /// The number of the last event.
    pub(crate) fn last(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// The text so far.
    pub(crate) fn text(&self) -> &'a str {
        &self.expected[..self.said]
    }

    /// Whether it ended as completed, with all of its text.
    pub(crate) fn is_whole(&self) -> bool {
        self.said == self.expected.len() && self.end.as_ref().is_some_and(|end| end.status == "completed")
    }

    /// Takes the next frame of a stream.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn take(&mut self, frame: Frame<'_>) -> Result<(), Fault> {
        if frame.data == "[DONE]" {
            return self.finish();
        }
        let event: Event<'_> = serde_json::from_str(frame.data)
            .map_err(|error| (Check::Numbers, format!("an event that is none ({error}): {}", frame.data)))?;
        if let Some(end) = &self.end {
            return Err((Check::Ending, format!("{} after it ended as {}", event.kind, end.status)));
        }
        if event.sequence_number != self.next {
            let check = if self.rejoining { Check::Rejoin } else { Check::Numbers };
            return Err((check, format!("number {} in place of {}", event.sequence_number, self.next)));
        }
        if !frame.event.is_empty() && frame.event != event.kind {
            return Err((Check::Numbers, format!("event {} of type {}", frame.event, event.kind)));
        }
        self.next += 1;
        match &*event.kind {
            "response.output_text.delta" => self.say(event.delta.as_deref().unwrap_or_default()),
            "response.completed" | "response.incomplete" | "response.failed" => self.end(event.response),
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), Fault> {
        if !self.is_over() || self.done {
            let why = if self.done { "for the second time" } else { "without an end" };
            return Err((Check::Ending, format!("[DONE] after {} events, {why}", self.next)));
        }
        self.done = true;
        Ok(())
    }

    fn say(&mut self, delta: &str) -> Result<(), Fault> {
        if !delta.is_empty() && self.expected[self.said..].starts_with(delta) {
            self.said += delta.len();
            return Ok(());
        }
        let rest: String = self.expected[self.said..].chars().take(40).collect();
        Err((Check::Text, format!("event {}: {delta:?} in place of {rest:?}…", self.next - 1)))
    }

    fn end(&mut self, response: Option<&RawValue>) -> Result<(), Fault> {
        let response: Response<'_> = serde_json::from_str(response.map_or("null", RawValue::get))
            .map_err(|error| (Check::Ending, format!("a last event without its response: {error}")))?;
        if !response.is_over() {
            return Err((Check::Ending, format!("a last event with the status {}", response.status)));
        }
        let text = response.text();
        if text != self.text() {
            return Err((Check::Text, format!("{} bytes streamed, {} in the response", self.said, text.len())));
        }
        self.end = Some(End {
            heard: response.heard(),
            error: response.error.filter(|error| !error.is_null()).map(|error| error.to_string()),
            status: response.status.into_owned(),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(data: &str) -> Frame<'_> {
        Frame { event: "", data, id: "" }
    }

    fn delta(number: u64, text: &str) -> String {
        format!(r#"{{"type":"response.output_text.delta","sequence_number":{number},"delta":"{text}"}}"#)
    }

    fn end(number: u64, status: &str, text: &str) -> String {
        format!(
            r#"{{"type":"response.completed","sequence_number":{number},"response":{{"id":"r","status":"{status}","output":[{{"content":[{{"text":"{text}"}}]}}],"usage":{{"input_tokens":2}}}}}}"#
        )
    }

    fn read(data: &[String]) -> Result<Reading<'static>, Check> {
        let mut reading = Reading::new("one two");
        for data in data {
            reading.take(frame(data)).map_err(|(check, _)| check)?;
        }
        Ok(reading)
    }

    #[test]
    fn a_reply_as_it_should_be_is_whole() {
        let reading = read(&[delta(0, "one"), delta(1, " two"), end(2, "completed", "one two"), "[DONE]".into()]);
        let reading = reading.expect("nothing is wrong");
        assert!(reading.is_whole() && reading.done);
        assert_eq!((reading.next, reading.end.and_then(|end| end.heard)), (3, Some(2)));
    }

    #[test]
    fn every_fault_is_found() {
        let good = || vec![delta(0, "one"), delta(1, " two"), end(2, "completed", "one two")];
        let wrong = |data: Vec<String>| read(&data).map(|reading| reading.is_whole());
        assert_eq!(wrong(vec![delta(0, "one"), delta(2, " two")]), Err(Check::Numbers), "a gap");
        assert_eq!(wrong(vec![delta(0, "one"), delta(0, "one")]), Err(Check::Numbers), "an event twice");
        assert_eq!(wrong(vec![delta(0, "one"), delta(1, " three")]), Err(Check::Text), "a foreign word");
        assert_eq!(wrong(vec![delta(0, " two")]), Err(Check::Text), "a lost word");
        assert_eq!(wrong(vec![delta(0, "one"), end(1, "completed", "one")]), Ok(false), "half of the text");
        assert_eq!(wrong(vec![delta(0, "one"), end(1, "completed", "one two")]), Err(Check::Text), "two texts");
        assert_eq!(wrong(vec![delta(0, "one"), "[DONE]".into()]), Err(Check::Ending), "no end");
        assert_eq!(wrong([good(), vec![end(3, "completed", "one two")]].concat()), Err(Check::Ending), "two ends");
        assert_eq!(wrong(vec![delta(0, "one"), end(1, "in_progress", "one")]), Err(Check::Ending), "no real end");
        let mut reading = Reading { rejoining: true, next: 5, ..Reading::new("one two") };
        assert_eq!(reading.take(frame(&delta(6, "one"))).map_err(|(check, _)| check), Err(Check::Rejoin));
    }
}
