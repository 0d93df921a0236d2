//! Follows one reply through its events, and judges at its end whether it was right. It looks only for the few fields
//! that it needs instead of parsing JSON: the load generator shares the machine with the server that it measures.

use super::field::{field, sequence_number, string_field, unescape};
use crate::llm::sse::Frame;

/// The API in which a server is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Api {
    /// `POST /v1/responses`
    Responses,
    /// `POST /v1/chat/completions`
    Chat,
    /// A WebSocket on `/v1/responses`
    Websocket,
    /// `POST /api/chat`, as `useChat` of the AI SDK asks
    Ui,
}

impl Api {
    /// Where it is.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Responses | Self::Websocket => "/v1/responses",
            Self::Chat => "/v1/chat/completions",
            Self::Ui => "/api/chat",
        }
    }

    /// Its name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Responses => "Responses",
            Self::Chat => "Chat Completions",
            Self::Websocket => "Responses (WebSocket)",
            Self::Ui => "UI messages",
        }
    }
}

/// One reply as far as it has been read.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    api: Api,
    /// The reply's expected text, if it is known.
    expected: Option<&'a [u8]>,
    matched: usize,
    next_sequence: Option<u64>,
    end: Option<End>,
    wrong: Option<Wrong>,
    pub(crate) events: u64,
    pub(crate) tokens: u64,
    pub(crate) done: bool,
}

/// How the server itself ended a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Cut,
}

/// What one event meant for the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Other,
    Token,
}

/// How a reply came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    /// The stream stopped before its end.
    Lost,
    /// The server ended the reply before it was complete: incomplete, failed, out of length.
    Cut,
    Wrong(Wrong),
}

/// What was wrong with a reply that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    Text,
    Sequence,
    AfterEnd,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(api: Api, expected: Option<&'a [u8]>) -> Self {
        Self {
            api,
            expected,
            matched: 0,
            next_sequence: None,
            end: None,
            wrong: None,
            events: 0,
            tokens: 0,
            done: false,
        }
    }

    /// Reads the next event.
    pub(crate) fn take(&mut self, frame: Frame<'_>) -> Step {
        self.events += 1;
        if self.done {
            self.wrong = Some(Wrong::AfterEnd);
            return Step::Other;
        }
        if frame.data == b"[DONE]" {
            self.done = true;
            return Step::Other;
        }
        match self.api {
            Api::Responses => self.take_response_event(frame),
            Api::Chat => self.take_chunk(frame.data),
            Api::Ui => self.take_ui_chunk(frame.data),
            Api::Websocket => {
                let step = self.take_response_event(frame);
                // Nothing follows the last event: the connection is the next reply's.
                self.done = self.end.is_some();
                step
            }
        }
    }

    /// The number of the event that was read last, if it had one.
    pub(crate) fn last_sequence(&self) -> Option<u64> {
        self.next_sequence.map(|next| next - 1)
    }

    /// Judges the reply once its stream has ended.
    pub(crate) fn outcome(&self) -> Outcome {
        match (self.wrong, self.end) {
            (Some(wrong), _) => Outcome::Wrong(wrong),
            (None, None) => Outcome::Lost,
            // Chat Completions and UI messages promise a last `[DONE]`; OpenAI's own Responses API never sends one.
            (None, Some(_)) if matches!(self.api, Api::Chat | Api::Ui) && !self.done => Outcome::Lost,
            (None, Some(End::Cut)) => Outcome::Cut,
            (None, Some(End::Complete)) if self.expected.is_some_and(|text| self.matched != text.len()) => {
                Outcome::Wrong(Wrong::Text)
            }
            (None, Some(End::Complete)) => Outcome::Ok,
        }
    }

    fn take_response_event(&mut self, frame: Frame<'_>) -> Step {
        self.check_sequence(frame.data);
        let kind = if frame.event.is_empty() {
            string_field(frame.data, b"\"type\"").unwrap_or_default()
        } else {
            frame.event
        };
        match kind {
            b"response.output_text.delta" => {
                if let Some(delta) = string_field(frame.data, b"\"delta\"") {
                    self.check_text(delta);
                }
                self.tokens += 1;
                return Step::Token;
            }
            b"response.completed" => self.end = Some(End::Complete),
            b"response.incomplete" | b"response.failed" | b"response.cancelled" => self.end = Some(End::Cut),
            b"error" => self.end = self.end.or(Some(End::Cut)),
            _ => {}
        }
        Step::Other
    }

    fn take_chunk(&mut self, data: &[u8]) -> Step {
        let mut step = Step::Other;
        if let Some(content) = string_field(data, b"\"content\"").filter(|content| !content.is_empty()) {
            self.check_text(content);
            self.tokens += 1;
            step = Step::Token;
        }
        match string_field(data, b"\"finish_reason\"") {
            Some(b"stop" | b"tool_calls") => self.end = Some(End::Complete),
            Some(_) => self.end = Some(End::Cut),
            None if field(data, b"\"error\"").is_some_and(|error| error.starts_with(b"{")) => {
                self.end = self.end.or(Some(End::Cut));
            }
            None => {}
        }
        step
    }

    fn take_ui_chunk(&mut self, data: &[u8]) -> Step {
        match string_field(data, b"\"type\"").unwrap_or_default() {
            b"text-delta" => {
                if let Some(delta) = string_field(data, b"\"delta\"") {
                    self.check_text(delta);
                }
                self.tokens += 1;
                return Step::Token;
            }
            b"finish" => {
                let reason = string_field(data, b"\"finishReason\"");
                let is_complete = matches!(reason, Some(b"stop" | b"tool-calls"));
                self.end = self.end.or(Some(if is_complete { End::Complete } else { End::Cut }));
            }
            b"error" | b"abort" => self.end = Some(End::Cut),
            _ => {}
        }
        Step::Other
    }

    fn check_sequence(&mut self, data: &[u8]) {
        // Servers without numbers are not held to them.
        let Some(number) = sequence_number(data) else { return };
        if number != self.next_sequence.unwrap_or(0) {
            self.wrong.get_or_insert(Wrong::Sequence);
        }
        self.next_sequence = Some(number + 1);
    }

    fn check_text(&mut self, delta: &[u8]) {
        let Some(expected) = self.expected else { return };
        // The texts of a load are plain words, so an escape can only be a slower spelling of one of them.
        let unescaped;
        let delta = if memchr::memchr(b'\\', delta).is_some() {
            unescaped = unescape(delta);
            unescaped.as_slice()
        } else {
            delta
        };
        if expected[self.matched..].starts_with(delta) {
            self.matched += delta.len();
        } else {
            self.wrong.get_or_insert(Wrong::Text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(api: Api, expected: Option<&str>, events: &[&str]) -> Outcome {
        let mut reading = Reading::new(api, expected.map(str::as_bytes));
        for data in events {
            reading.take(Frame { event: b"", data: data.as_bytes(), id: b"" });
        }
        reading.outcome()
    }

    const CREATED: &str = r#"{"type":"response.created","sequence_number":0,"response":{"id":"resp_1"}}"#;
    const HELLO: &str = r#"{"type":"response.output_text.delta","sequence_number":1,"delta":"hello "}"#;
    const WORLD: &str = r#"{ "type": "response.output_text.delta", "sequence_number": 2, "delta": "w\u006frld" }"#;
    const COMPLETED: &str = r#"{"type":"response.completed","sequence_number":3,"response":{}}"#;

    #[test]
    fn a_reply_with_the_expected_text_is_ok() {
        assert_eq!(
            read(Api::Responses, Some("hello world"), &[CREATED, HELLO, WORLD, COMPLETED, "[DONE]"]),
            Outcome::Ok
        );
        assert_eq!(read(Api::Responses, None, &[CREATED, HELLO, WORLD, COMPLETED]), Outcome::Ok);
    }

    #[test]
    fn a_reply_of_other_words_or_too_few_is_wrong() {
        for text in ["hello there", "hello world!", "jello world"] {
            assert_eq!(
                read(Api::Responses, Some(text), &[CREATED, HELLO, WORLD, COMPLETED]),
                Outcome::Wrong(Wrong::Text),
                "{text}"
            );
        }
    }

    #[test]
    fn a_gap_a_repetition_and_a_wrong_start_are_seen() {
        for events in [[CREATED, WORLD, COMPLETED], [CREATED, CREATED, HELLO], [HELLO, WORLD, COMPLETED]] {
            assert_eq!(read(Api::Responses, None, &events), Outcome::Wrong(Wrong::Sequence));
        }
    }

    #[test]
    fn a_stream_without_its_end_is_lost() {
        assert_eq!(read(Api::Responses, None, &[]), Outcome::Lost);
        assert_eq!(read(Api::Responses, None, &[CREATED, HELLO]), Outcome::Lost);
        assert_eq!(
            read(Api::Chat, None, &[r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#]),
            Outcome::Lost
        );
    }

    #[test]
    fn what_the_server_ended_early_is_cut() {
        let failed = r#"{"type":"response.failed","sequence_number":1}"#;
        assert_eq!(read(Api::Responses, Some("hello"), &[CREATED, failed, "[DONE]"]), Outcome::Cut);
        let length = r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#;
        assert_eq!(read(Api::Chat, None, &[length, "[DONE]"]), Outcome::Cut);
    }

    #[test]
    fn an_event_after_done_is_wrong() {
        assert_eq!(
            read(Api::Responses, None, &[CREATED, HELLO, WORLD, COMPLETED, "[DONE]", COMPLETED]),
            Outcome::Wrong(Wrong::AfterEnd)
        );
    }

    #[test]
    fn ui_chunks_are_read() {
        let hello = r#"{"type":"text-delta","id":"t1","delta":"hello"}"#;
        let finish = r#"{"type":"finish","finishReason":"stop"}"#;
        assert_eq!(read(Api::Ui, Some("hello"), &[r#"{"type":"start"}"#, hello, finish, "[DONE]"]), Outcome::Ok);
        assert_eq!(read(Api::Ui, Some("hello"), &[hello, finish]), Outcome::Lost);
        assert_eq!(read(Api::Ui, Some("hello"), &[finish, "[DONE]"]), Outcome::Wrong(Wrong::Text));
        assert_eq!(read(Api::Ui, None, &[r#"{"type":"error","errorText":"no"}"#, finish, "[DONE]"]), Outcome::Cut);
    }

    #[test]
    fn a_reply_over_a_websocket_is_over_with_its_last_event() {
        assert_eq!(read(Api::Websocket, Some("hello world"), &[CREATED, HELLO, WORLD, COMPLETED]), Outcome::Ok);
        assert_eq!(read(Api::Websocket, None, &[r#"{"type":"error","status":429,"error":{}}"#]), Outcome::Cut);
        assert_eq!(read(Api::Websocket, None, &[CREATED, COMPLETED, HELLO]), Outcome::Wrong(Wrong::AfterEnd));
    }

    #[test]
    fn chat_chunks_are_read() {
        let chunk = |content: &str| {
            format!(
                r#"{{"choices":[{{"index":0,"delta":{{"role":"assistant","content":"{content}"}},"finish_reason":null}}]}}"#
            )
        };
        let last = r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{}}"#;
        assert_eq!(
            read(Api::Chat, Some("hello world"), &[&chunk(""), &chunk("hello "), &chunk("world"), last, "[DONE]"]),
            Outcome::Ok
        );
    }
}
