//! Server-sent events, decoded as they arrive: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
//!
//! Knows the format and its bound, not its content. Also reads what clients that go line by line would
//! read: a field after white space or in capitals, and JSON that stands in the stream without a field.

use memchr::{memchr, memchr2};

/// The longest event that is read by default; also the longest line. A call can carry a whole file in its arguments.
pub(crate) const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// How many bytes are stored of lines that belong to no stream.
const MAX_STRAY_BYTES: usize = 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Bytes in, events out; keeps what is incomplete until the next bytes. Its buffers are used again and again: one that
/// has warmed up allocates nothing per event.
#[derive(Debug)]
pub(crate) struct Decoder {
    limit: usize,
    /// A line whose end has not come.
    line: Vec<u8>,
    /// The data lines of the event that is being read, each followed by a line feed.
    data: Vec<u8>,
    name: Vec<u8>,
    id: Vec<u8>,
    /// The last byte was a CR: a LF that follows belongs to it.
    after_cr: bool,
    /// The event consists of lines without a field: JSON that a gateway wrote into the stream as it is.
    bare: bool,
    /// Lines that belong to no stream, up to the bound.
    stray: Vec<u8>,
}

/// An event of a stream, valid until the decoder continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// The `event` field; empty if the stream had none.
    pub(crate) event: &'a [u8],
    /// The `data` fields, joined by line feeds.
    pub(crate) data: &'a [u8],
    /// The `id` field; empty where this event has none of its own.
    pub(crate) id: &'a [u8],
}

/// An event, or a line, is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {limit} bytes")]
pub(crate) struct TooLong {
    /// The longest that is read.
    pub(crate) limit: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::with_limit(MAX_EVENT_BYTES)
    }
}

impl Decoder {
    /// Reads events of so many bytes at most.
    pub(crate) const fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            data: Vec::new(),
            name: Vec::new(),
            id: Vec::new(),
            after_cr: false,
            bare: false,
            stray: Vec::new(),
        }
    }

    /// Forgets everything, to start on another stream with the same buffers.
    pub(crate) fn reset(&mut self) {
        for buffer in [&mut self.line, &mut self.data, &mut self.name, &mut self.id, &mut self.stray] {
            buffer.clear();
        }
        (self.after_cr, self.bare) = (false, false);
    }

    /// Takes the next bytes, cut anywhere, and gives the events that they complete.
    ///
    /// # Errors
    /// [`TooLong`]; the decoder is of no use afterwards.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut sink: impl FnMut(Frame<'_>)) -> Result<(), TooLong> {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', bytes) else { return self.hold(bytes) };
            self.after_cr = bytes[end] == b'\r';
            if self.line.is_empty() {
                self.line_ends(&bytes[..end], &mut sink)?;
            } else {
                self.hold(&bytes[..end])?;
                let mut line = std::mem::take(&mut self.line);
                self.line_ends(&line, &mut sink)?;
                line.clear();
                self.line = line;
            }
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    /// The stream is over: gives the event that its server forgot to end with an empty line. The standard would
    /// have it dropped, but a `[DONE]` without one is common.
    pub(crate) fn finish(&mut self, mut sink: impl FnMut(Frame<'_>)) {
        let line = std::mem::take(&mut self.line);
        if self.line_ends(&line, &mut sink).is_ok() {
            self.dispatch(&mut sink);
        }
    }

    /// The lines that belong to no stream, without their ends: the answer of a server that cannot stream.
    pub(crate) fn stray(&self) -> &[u8] {
        &self.stray
    }

    fn hold(&mut self, part: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + self.data.len() + part.len() > self.limit {
            return Err(TooLong { limit: self.limit });
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn line_ends(&mut self, line: &[u8], sink: &mut impl FnMut(Frame<'_>)) -> Result<(), TooLong> {
        if line.is_empty() {
            self.dispatch(sink);
            return Ok(());
        }
        let (field, value) = match memchr(b':', line) {
            Some(0) => return Ok(()),
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => self.add_data(value),
            b"event" => {
                self.set_name(value);
                Ok(())
            }
            b"id" => {
                self.id.clear();
                self.id.extend_from_slice(value);
                Ok(())
            }
            b"retry" => Ok(()),
            _ => self.other_line(line, field, value),
        }
    }

    /// A line that the standard would pass over.
    fn other_line(&mut self, line: &[u8], field: &[u8], value: &[u8]) -> Result<(), TooLong> {
        let field = field.strip_prefix(BYTE_ORDER_MARK).unwrap_or(field).trim_ascii();
        if self.bare || matches!(field.first(), Some(b'{' | b'[')) {
            self.bare = true;
            return self.add_data(line);
        }
        // Not in the standard: how older builds of llama.cpp report that they failed.
        if field.eq_ignore_ascii_case(b"error") {
            self.set_name(b"error");
            return self.add_data(value);
        }
        if field.eq_ignore_ascii_case(b"data") {
            return self.add_data(value);
        }
        if field.eq_ignore_ascii_case(b"event") {
            self.set_name(value);
        } else if !line.trim_ascii().is_empty() && self.stray.len() + line.len() < MAX_STRAY_BYTES {
            self.stray.extend_from_slice(line);
            self.stray.push(b'\n');
        }
        Ok(())
    }

    fn set_name(&mut self, name: &[u8]) {
        self.name.clear();
        self.name.extend_from_slice(name);
    }

    fn add_data(&mut self, value: &[u8]) -> Result<(), TooLong> {
        if self.data.len() + value.len() > self.limit {
            return Err(TooLong { limit: self.limit });
        }
        self.data.extend_from_slice(value);
        self.data.push(b'\n');
        Ok(())
    }

    fn dispatch(&mut self, sink: &mut impl FnMut(Frame<'_>)) {
        if self.data.pop().is_some() {
            sink(Frame { event: &self.name, data: &self.data, id: &self.id });
        }
        self.data.clear();
        self.name.clear();
        self.id.clear();
        self.bare = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
        let mut sink = |frame: Frame<'_>| {
            frames.push(format!("{}|{}", String::from_utf8_lossy(frame.event), String::from_utf8_lossy(frame.data)));
        };
        for chunk in chunks {
            decoder.feed(chunk, &mut sink).unwrap();
        }
        decoder.finish(sink);
        frames
    }

    #[test]
    fn every_line_end_the_standard_knows_ends_a_line() {
        for end in ["\n", "\r", "\r\n"] {
            let text =
                ["data: a", "data:b", "", "event: x", "data:  c", "id: 7", "retry: 1", "", ": alive", "data", "", ""]
                    .join(end);
            assert_eq!(decode([text.as_bytes()]), ["|a\nb", "x| c", "|"], "{end:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped_wherever_a_gateway_left_one() {
        let text = "\u{feff}data: a\n\n\u{feff}data: b\n\ndata: c\n\n";
        assert_eq!(decode([text.as_bytes()]), ["|a", "|b", "|c"]);
    }

    #[test]
    fn a_field_is_read_after_white_space_and_in_capitals() {
        let text = " data: a\n\nData: b\n\n\tDATA:c\nEvent: x\n\n";
        assert_eq!(decode([text.as_bytes()]), ["|a", "|b", "x|c"]);
    }

    #[test]
    fn json_without_a_field_is_an_event() {
        let text = "data: a\n\n{\"error\": \"x\"}\n\n{\n \"error\":\n \"y\"\n}\n\ndata: b\n\n";
        assert_eq!(decode([text.as_bytes()]), ["|a", "|{\"error\": \"x\"}", "|{\n \"error\":\n \"y\"\n}", "|b"]);
    }

    #[test]
    fn lines_of_no_stream_are_stored_up_to_a_bound() {
        let mut decoder = Decoder::default();
        decoder.feed(b"upstream connect error\nid: 7\nretry: 1\n", |_| ()).unwrap();
        decoder.feed(&[b'x'; MAX_STRAY_BYTES], |_| ()).unwrap();
        decoder.finish(|_| ());
        assert_eq!(decoder.stray(), b"upstream connect error\n");
    }

    #[test]
    fn an_event_without_data_is_none_and_does_not_name_the_next() {
        assert_eq!(decode(["event: x\n\ndata: a\n\n".as_bytes()]), ["|a"]);
    }

    #[test]
    fn an_error_field_is_an_error_event() {
        assert_eq!(decode([br#"error: {"code":500}"#.as_slice(), b"\n\n"]), [r#"error|{"code":500}"#]);
    }

    #[test]
    fn what_was_not_ended_by_an_empty_line_comes_at_the_end() {
        assert_eq!(decode([b"data: a\n\ndata: [DONE]".as_slice()]), ["|a", "|[DONE]"]);
    }

    #[test]
    fn an_event_over_the_bound_is_an_error_in_one_line_or_many() {
        let mut decoder = Decoder::default();
        decoder.feed(b"data: ", |_| ()).unwrap();
        let too_long = Err(TooLong { limit: MAX_EVENT_BYTES });
        assert_eq!(decoder.feed(&vec![b'x'; MAX_EVENT_BYTES], |_| ()), too_long);
        let (mut decoder, line) = (Decoder::default(), [b"data:", &vec![b'x'; 1 << 16][..], b"\n"].concat());
        assert!((0..300).any(|_| decoder.feed(&line, |_| ()) == too_long));
    }

    #[test]
    fn a_reset_decoder_has_forgotten_the_stream_before() {
        let (mut decoder, mut seen) = (Decoder::default(), Vec::new());
        decoder.feed(b"event: x\ndata: half\nstray\n{", |_| panic!("nothing is complete")).unwrap();
        decoder.reset();
        decoder.feed(b"data: new\n\n", |frame| seen.push((frame.event.to_vec(), frame.data.to_vec()))).unwrap();
        assert_eq!((seen, decoder.stray()), (vec![(b"".to_vec(), b"new".to_vec())], &b""[..]));
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_frames(
            lines in prop::collection::vec("(data|event|error|id|)(:|: |)[a-zä{}\u{feff}]{0,6}(\r|\n|\r\n){1,2}", 0..12),
            size in 1usize..9,
        ) {
            let text = lines.concat();
            prop_assert_eq!(decode(text.as_bytes().chunks(size)), decode([text.as_bytes()]));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1usize..50) {
            prop_assert_eq!(decode(bytes.chunks(size)), decode([bytes.as_slice()]));
        }
    }
}
