//! Takes a stream of server-sent events apart as the HTML standard says (section 9.2.6), ids included. Strict: what is no
//! field is no stream of ours.

use memchr::memchr;

/// Bytes without the end of an event: more is not a stream of events.
const LONGEST: usize = 16 << 20;

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) event: &'a str,
    pub(crate) data: &'a str,
    pub(crate) id: &'a str,
}

/// A stream being taken apart. The server ends its lines with LF.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    buffer: Vec<u8>,
}

impl Scanner {
    /// Reads a chunk and calls `take` for every event that it completes.
    ///
    /// # Errors
    /// What is no stream of events, in words.
    pub(crate) fn feed(&mut self, chunk: &[u8], mut take: impl FnMut(Frame<'_>)) -> Result<(), String> {
        self.buffer.extend_from_slice(chunk);
        let mut from = 0;
        while let Some(length) = end_of_event(&self.buffer[from..]) {
            let block = str::from_utf8(&self.buffer[from..from + length]).map_err(|_| "text that is no UTF-8")?;
            if let Some(frame) = frame(block)? {
                take(frame);
            }
            from += length;
        }
        self.buffer.drain(..from);
        if self.buffer.len() > LONGEST { Err("an event without end".to_owned()) } else { Ok(()) }
    }

    /// Whether nothing of a further event was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// The length of the first event, its blank line included.
fn end_of_event(bytes: &[u8]) -> Option<usize> {
    let mut line = 0;
    while let Some(length) = memchr(b'\n', &bytes[line..]) {
        if length == 0 {
            return Some(line + 1);
        }
        line += length + 1;
    }
    None
}

fn frame(block: &str) -> Result<Option<Frame<'_>>, String> {
    let mut frame = Frame { event: "", data: "", id: "" };
    for line in block.lines().filter(|line| !line.is_empty()) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => frame.event = value,
            "data" if frame.data.is_empty() => frame.data = value,
            "id" => frame.id = value,
            "" | "retry" => {}
            _ => return Err(format!("a line that is no field: {line:?}")),
        }
    }
    Ok((!frame.data.is_empty()).then_some(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_cut_in_two_at_any_byte_reads_the_same() {
        let stream =
            "retry: 5\n\n: hello\n\nevent: a\ndata: one\n\nid: 7.1\ndata: {\"ä\":1}\n\ndata: [DONE]\n\ndata: never";
        for cut in 0..=stream.len() {
            let mut scanner = Scanner::default();
            let mut seen = Vec::new();
            for part in [&stream.as_bytes()[..cut], &stream.as_bytes()[cut..]] {
                let take = |frame: Frame<'_>| seen.push([frame.event, frame.data, frame.id].map(str::to_owned));
                scanner.feed(part, take).expect("a stream of events");
            }
            let expected = [["a", "one", ""], ["", "{\"ä\":1}", "7.1"], ["", "[DONE]", ""]];
            assert_eq!(seen, expected.map(|frame| frame.map(str::to_owned)), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_stream_of_events_is_refused() {
        assert!(Scanner::default().feed(b"<html>\n\n", |_| {}).is_err());
        assert!(Scanner::default().feed(b"data: \xff\n\n", |_| {}).is_err());
    }
}
