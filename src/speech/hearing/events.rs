//! The events of a transcript as servers send them: those of OpenAI (`transcript.text.delta`, `transcript.text.done`), and those
//! of vLLM (`transcription.chunk`, as of a chat). Pure.

use serde_json::Value;

use super::{Deltas, Transcript};
use crate::services::sse::{Decoder, Frame};

/// The longest event.
const LONGEST: usize = 1024 * 1024;

/// Reads one stream.
#[derive(Debug)]
pub(super) struct Events {
    decoder: Decoder,
    end: Option<Result<Transcript, String>>,
}

impl Events {
    pub(super) const fn new() -> Self {
        Self { decoder: Decoder::with_limit(LONGEST), end: None }
    }

    /// Takes the next bytes. What is wrong with them, in words.
    pub(super) fn feed(&mut self, bytes: &[u8], deltas: &mut Deltas) -> Result<(), String> {
        let end = &mut self.end;
        let fed = self.decoder.feed(bytes, |frame| take(frame, end, deltas));
        fed.map_err(|too_long| too_long.to_string())
    }

    /// Whether the transcript is there, or why there will be none.
    pub(super) const fn have_ended(&self) -> bool {
        self.end.is_some()
    }

    /// What it was. A stream that just ends was cut.
    pub(super) fn finish(mut self, deltas: &mut Deltas) -> Result<Transcript, String> {
        let end = &mut self.end;
        self.decoder.finish(|frame| take(frame, end, deltas));
        self.end.unwrap_or_else(|| Err("its stream broke off".to_owned()))
    }
}

fn take(frame: Frame<'_>, end: &mut Option<Result<Transcript, String>>, deltas: &mut Deltas) {
    if end.is_some() {
        return;
    }
    if frame.data == b"[DONE]" {
        // (vLLM says no more than that.)
        *end = Some(Ok(Transcript { text: deltas.told().trim().to_owned(), ..Transcript::default() }));
        return;
    }
    let Ok(event) = serde_json::from_slice::<Value>(frame.data) else {
        *end = Some(Err("it sent an event that is no JSON".to_owned()));
        return;
    };
    if let Some(error) = event.get("error").filter(|error| !error.is_null()) {
        let message = error.get("message").unwrap_or(error).as_str().unwrap_or("without saying why");
        *end = Some(Err(format!("it failed in the middle: {}", message.chars().take(200).collect::<String>())));
        return;
    }
    match event["type"].as_str() {
        Some("transcript.text.delta") => deltas.push(event["delta"].as_str().unwrap_or_default()),
        Some("transcript.text.done") => *end = Some(Transcript::read(frame.data)),
        _ => deltas.push(event["choices"][0]["delta"]["content"].as_str().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &str) -> (String, Result<String, String>) {
        let (mut deltas, mut events) = (Deltas::default(), Events::new());
        // Cut anywhere.
        for byte in stream.as_bytes() {
            events.feed(&[*byte], &mut deltas).unwrap();
        }
        let end = events.finish(&mut deltas).map(|transcript| transcript.text);
        (deltas.told().to_owned(), end)
    }

    const DELTA: &str = "data: {\"type\":\"transcript.text.delta\",\"delta\":\"Good \"}\n\n";

    #[test]
    fn streams_of_openai_and_of_vllm_are_read() {
        let done = "event: x\ndata: {\"type\":\"transcript.text.done\",\"text\":\"Good day.\"}\n\n";
        let odd = "data: {\"type\":\"transcript.text.segment\",\"text\":\"no\"}\n\n: ping\n\n";
        let (told, end) = read(&[DELTA, odd, done, "data: [DONE]\n\n"].concat());
        assert_eq!((told.as_str(), end), ("Good ", Ok("Good day.".to_owned())));
        let chunk = |text: &str| {
            format!(
                "data: {{\"object\":\"transcription.chunk\",\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n"
            )
        };
        let (told, end) = read(&[chunk(" Good"), chunk(" day. "), "data: [DONE]".to_owned()].concat());
        assert_eq!((told.as_str(), end), ("Good day. ", Ok("Good day.".to_owned())));
    }

    #[test]
    fn what_goes_wrong_in_the_middle_is_told_apart() {
        for (rest, problem) in [
            ("", "broke off"),
            ("data: {\"type\":\"transcript.text.del", "no JSON"),
            ("data: {\"type\":\"error\",\"error\":{\"message\":\"out of memory\"}}\n\n", "out of memory"),
            ("data: {\"error\":\"no\"}\n\n", "middle: no"),
            ("data: {\"type\":\"transcript.text.done\"}\n\n", "without a text"),
        ] {
            let (told, end) = read(&[DELTA, rest].concat());
            assert!(end.as_ref().is_err_and(|told| told.contains(problem)), "{rest}: {end:?}");
            assert_eq!(told, "Good ");
        }
    }
}
