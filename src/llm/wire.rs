//! From the bytes of an answer to its content: distinguishes a stream of events from a whole JSON text, since some
//! servers send the one when asked for the other, under either content type.

use std::borrow::Cow;

use super::decode::{Decoder, Deltas};
use super::delta::UpstreamError;
use super::failure;
use super::sse::{self, MAX_EVENT_BYTES};
use super::unread::Unread;

/// The longest answer that is read as a whole.
pub(crate) const MAX_BODY_BYTES: usize = MAX_EVENT_BYTES;

/// Reads one answer.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    form: Form,
    decoder: Decoder,
}

#[derive(Debug, Default)]
enum Form {
    /// Only white space so far.
    #[default]
    Unknown,
    Events(sse::Decoder),
    Body(Vec<u8>),
}

impl Wire {
    /// Reads an answer with this decoder.
    pub(crate) fn new(decoder: Decoder) -> Self {
        Self { form: Form::Unknown, decoder }
    }

    /// Takes the next bytes, cut anywhere. Deltas that came before an error are given all the same.
    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut Deltas) -> Result<(), UpstreamError> {
        if let Form::Unknown = self.form {
            let Some(start) = bytes.iter().position(|byte| !b" \t\r\n\xEF\xBB\xBF".contains(byte)) else {
                return Ok(());
            };
            self.form = match bytes[start] {
                b'{' | b'[' | b'<' => Form::Body(Vec::new()),
                _ => Form::Events(sse::Decoder::default()),
            };
            return self.feed(&bytes[start..], out);
        }
        match &mut self.form {
            Form::Unknown => {}
            Form::Events(events) => {
                let (decoder, mut result) = (&mut self.decoder, Ok(()));
                let fed = events.feed(bytes, |frame| {
                    if result.is_ok() {
                        result = decoder.event(&text(frame.event), &text(frame.data), out);
                    }
                });
                result?;
                fed.map_err(|error| {
                    failure::unreachable("The model server sent too much at once.", error.to_string())
                })?;
            }
            Form::Body(body) if body.len() + bytes.len() > MAX_BODY_BYTES => {
                let cause = format!("an answer that is not a stream, over {MAX_BODY_BYTES} bytes");
                return Err(failure::unreachable("The model server sent too much at once.", cause));
            }
            Form::Body(body) => body.extend_from_slice(bytes),
        }
        Ok(())
    }

    /// Whether the server marked the end.
    pub(crate) const fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// Whether it gave a reason for its end.
    pub(crate) const fn gave_reason(&self) -> bool {
        self.decoder.gave_reason()
    }

    /// Whether the server has begun to generate, though the output may still be held back.
    pub(crate) const fn has_begun(&self) -> bool {
        self.decoder.has_begun()
    }

    /// What could not be understood.
    pub(crate) const fn unread(&mut self) -> &mut Unread {
        self.decoder.unread()
    }

    /// The answer is over, in good order.
    pub(crate) fn end(&mut self, out: &mut Deltas) -> Result<(), UpstreamError> {
        match std::mem::take(&mut self.form) {
            Form::Unknown => {}
            Form::Events(mut events) => {
                let (decoder, mut result) = (&mut self.decoder, Ok(()));
                events.finish(|frame| result = decoder.event(&text(frame.event), &text(frame.data), out));
                if !self.decoder.gave_reason() {
                    result?;
                }
                let stray = text(events.stray());
                if !stray.is_empty() && !self.decoder.has_begun() && !self.decoder.gave_reason() {
                    return Err(failure::stray(&stray));
                }
            }
            Form::Body(body) => self.decoder.body(&text(&body), out)?,
        }
        self.decoder.end(out)
    }

    /// The answer broke off, or stalled.
    pub(crate) fn cut(&mut self, error: UpstreamError, out: &mut Deltas) -> Result<(), UpstreamError> {
        self.decoder.cut(error, out)
    }
}

/// Bytes that are not UTF-8 are replaced.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::llm::delta::{Delta, FinishReason};

    fn read(bytes: &[u8], size: usize) -> (Vec<Delta>, Result<(), String>) {
        let (mut wire, mut deltas) = (Wire::default(), Deltas::new());
        let fed = bytes.chunks(size).try_for_each(|chunk| wire.feed(chunk, &mut deltas));
        let ended = fed.and_then(|()| wire.end(&mut deltas));
        (deltas.into(), ended.map_err(|error| error.cause))
    }

    const STREAM: &str = concat!(
        "\u{feff}: OPENROUTER PROCESSING\r\n\r\n",
        "data:{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\r\n\r\n",
        "data:\r\n\r\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"Grüß\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\" dich\"},\"finish_reason\":\"stop\"}]}\r\r",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
        "data: [DONE]",
    );

    #[test]
    fn an_answer_reads_alike_however_it_is_cut() {
        let whole = read(STREAM.as_bytes(), usize::MAX);
        assert!(whole.1.is_ok(), "{whole:?}");
        assert_eq!(whole.0.last(), Some(&Delta::Finish(FinishReason::Stop)));
        assert_eq!(whole.0.len(), 4);
        for size in 1..40 {
            assert_eq!(read(STREAM.as_bytes(), size), whole, "{size}");
        }
    }

    #[test]
    fn a_json_body_is_one_chunk() {
        let body = r#"
            {"choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"length"}],
             "usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#;
        let (deltas, ended) = read(body.as_bytes(), 7);
        assert_eq!(ended, Ok(()));
        assert_eq!(deltas[0], Delta::Content { text: "Hi".to_owned(), logprobs: vec![] });
        assert_eq!(deltas[2], Delta::Finish(FinishReason::Length));
    }

    #[test]
    fn a_web_page_is_reported_as_one() {
        let mut wire = Wire::default();
        wire.feed(b"<!DOCTYPE html><html>", &mut Deltas::new()).unwrap();
        let error = wire.end(&mut Deltas::new()).unwrap_err();
        assert!(error.error.message.contains("web page"), "{error:?}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), size in 1usize..60) {
            let _ = read(&bytes, size);
        }

        #[test]
        fn no_damage_to_a_stream_makes_it_panic(at in 0..STREAM.len(), byte in any::<u8>(), size in 1usize..60) {
            let mut bytes = STREAM.as_bytes().to_vec();
            bytes[at] = byte;
            prop_assert_eq!(read(&bytes, size), read(&bytes, usize::MAX));
        }

        #[test]
        fn no_chunk_makes_it_panic(
            parts in prop::collection::vec(
                "\\{|\\}|\\[|\\]|:|,|\"(choices|delta|content|tool_calls|index|id|function|name|arguments|error|usage|\
                 finish_reason|reasoning|logprobs|code|message|stop)\"|null|[0-9]{1,20}|-1|1e300|true",
                0..30,
            ),
        ) {
            let _ = read(format!("data: {{\"choices\":[{{{}}}]}}\n\n", parts.concat()).as_bytes(), usize::MAX);
            let _ = read(parts.concat().as_bytes(), usize::MAX);
        }
    }
}
