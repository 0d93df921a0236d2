//! Reads server-sent events out of bytes as they come from the network, cut anywhere. Follows the parsing rules of
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>; knows nothing of what
//! the events say.

use memchr::memchr2;

/// Takes chunks of a stream and hands out its events. Its buffers are used again and again: a scanner that has warmed
/// up allocates nothing per event.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    event: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The last chunk ended in CR: a LF at the start of the next one belongs to it.
    after_cr: bool,
}

/// One event of a stream, valid until the scanner goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// The event's name, empty where the stream gave none.
    pub(crate) event: &'a [u8],
    /// Its data; several `data:` lines are joined by LF.
    pub(crate) data: &'a [u8],
}

impl Scanner {
    /// Reads a chunk and calls `take` for every event that it completes.
    pub(crate) fn feed(&mut self, mut chunk: &[u8], mut take: impl FnMut(Frame<'_>)) {
        if self.after_cr && chunk.first() == Some(&b'\n') {
            chunk = &chunk[1..];
        }
        if !chunk.is_empty() {
            self.after_cr = false;
        }
        while let Some(end) = memchr2(b'\n', b'\r', chunk) {
            let rest = match &chunk[end..] {
                [b'\r', b'\n', rest @ ..] | [_, rest @ ..] => rest,
                [] => &[],
            };
            self.after_cr = rest.is_empty() && chunk[end..] == *b"\r";
            if self.line.is_empty() {
                self.read_line(&chunk[..end], &mut take);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&chunk[..end]);
                self.read_line(&line, &mut take);
                line.clear();
                self.line = line;
            }
            chunk = rest;
        }
        self.line.extend_from_slice(chunk);
    }

    /// How many bytes wait for the end of their event: the bound of what a stream can make us hold.
    pub(crate) fn pending(&self) -> usize {
        self.line.len() + self.data.len()
    }

    /// Forgets everything, to start on another stream with the same buffers.
    pub(crate) fn reset(&mut self) {
        self.line.clear();
        self.event.clear();
        self.data.clear();
        self.has_data = false;
        self.after_cr = false;
    }

    fn read_line(&mut self, line: &[u8], take: &mut impl FnMut(Frame<'_>)) {
        match line {
            [] => self.dispatch(take),
            [b'd', b'a', b't', b'a', b':', value @ ..] => self.append_data(without_space(value)),
            [b'e', b'v', b'e', b'n', b't', b':', value @ ..] => {
                self.event.clear();
                self.event.extend_from_slice(without_space(value));
            }
            b"data" => self.append_data(b""),
            _ => {}
        }
    }

    fn append_data(&mut self, value: &[u8]) {
        if self.has_data {
            self.data.push(b'\n');
        }
        self.has_data = true;
        self.data.extend_from_slice(value);
    }

    /// An event without data is none, says the standard: its name is forgotten.
    fn dispatch(&mut self, take: &mut impl FnMut(Frame<'_>)) {
        if self.has_data {
            take(Frame { event: &self.event, data: &self.data });
        }
        self.event.clear();
        self.data.clear();
        self.has_data = false;
    }
}

fn without_space(value: &[u8]) -> &[u8] {
    value.strip_prefix(b" ").unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\n\nevent: a\ndata: one\n\ndata: two\ndata:three\ndata\n\nevent: lost\n\ndata: ä\r\n\r\nid: 7\rdata: [DONE]\r\rdata: never ended\n";

    fn expected() -> Vec<(String, String)> {
        [("a", "one"), ("", "two\nthree\n"), ("", "ä"), ("", "[DONE]")].map(|(e, d)| (e.into(), d.into())).to_vec()
    }

    fn scan<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<(String, String)> {
        let mut scanner = Scanner::default();
        let mut seen = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        for chunk in chunks {
            scanner.feed(chunk, |frame| seen.push((text(frame.event), text(frame.data))));
        }
        seen
    }

    #[test]
    fn a_stream_cut_in_two_at_any_byte_reads_the_same() {
        for cut in 0..=STREAM.len() {
            let (head, tail) = STREAM.as_bytes().split_at(cut);
            assert_eq!(scan([head, tail]), expected(), "cut at {cut}");
        }
    }

    #[test]
    fn a_stream_in_chunks_of_any_size_reads_the_same() {
        for size in 1..=STREAM.len() {
            assert_eq!(scan(STREAM.as_bytes().chunks(size)), expected(), "chunks of {size}");
        }
    }

    #[test]
    fn a_reset_scanner_has_forgotten_the_stream_before() {
        let mut scanner = Scanner::default();
        scanner.feed(b"event: x\ndata: half", |_| panic!("nothing is complete"));
        assert!(scanner.pending() > 0);
        scanner.reset();
        let mut seen = Vec::new();
        scanner.feed(b"data: new\n\n", |frame| seen.push((frame.event.to_vec(), frame.data.to_vec())));
        assert_eq!(seen, [(b"".to_vec(), b"new".to_vec())]);
    }
}
