//! Counts what a client sends over HTTP/2 beside requests and their bodies: frames that cost it nothing, and us something
//! each (CVE-2019-9512, -9513, -9515, -9518). Pure: bytes in, numbers out.

/// Octets before the first frame (RFC 9113, 3.4) …
const PREFACE: usize = 24;

/// … and of what each frame begins with (RFC 9113, 4.1).
const HEADER: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;

/// Walks along the frames of a connection.
#[derive(Debug)]
pub(super) struct Frames {
    /// Octets to pass over.
    skip: usize,
    header: [u8; HEADER],
    known: usize,
}

/// What came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Frames that carry nothing: pings, settings, priorities, resets, empty data, and what nobody knows.
    pub(super) control: u32,
    /// That more may be sent: the more is, the more of these there are.
    pub(super) updates: u32,
}

impl Frames {
    /// Of a connection whose client has said nothing yet.
    pub(super) const fn new() -> Self {
        Self { skip: PREFACE, header: [0; HEADER], known: 0 }
    }

    /// Takes what comes next.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Counts {
        let mut counts = Counts::default();
        loop {
            let passed = self.skip.min(bytes.len());
            (self.skip, bytes) = (self.skip - passed, &bytes[passed..]);
            let more = (HEADER - self.known).min(bytes.len());
            self.header[self.known..self.known + more].copy_from_slice(&bytes[..more]);
            (self.known, bytes) = (self.known + more, &bytes[more..]);
            if self.known < HEADER {
                return counts;
            }
            let [high, middle, low, kind, flags, ..] = self.header;
            self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            self.known = 0;
            match kind {
                WINDOW_UPDATE => counts.updates += 1,
                // What they carry is bounded elsewhere.
                HEADERS | CONTINUATION => {}
                DATA if self.skip > 0 || flags & END_STREAM != 0 => {}
                _ => counts.control += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let head = [length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        head.into_iter().chain(std::iter::repeat_n(6, payload)).collect()
    }

    #[test]
    fn frames_that_carry_nothing_are_counted_however_they_are_cut() {
        let stream = [
            vec![b'P'; PREFACE],
            frame(4, 0, 18),
            frame(HEADERS, 5, 300),
            frame(DATA, 0, 70_000),
            frame(DATA, 0, 0),
            frame(DATA, END_STREAM, 0),
            frame(6, 0, 8),
            frame(6, 0, 8),
            frame(WINDOW_UPDATE, 0, 4),
            frame(99, 0, 1),
            frame(3, 0, 4),
        ]
        .concat();
        for size in [1, 2, 7, 9, 24, 1000, stream.len()] {
            let mut frames = Frames::new();
            let mut sum = Counts::default();
            for piece in stream.chunks(size) {
                let Counts { control, updates } = frames.take(piece);
                (sum.control, sum.updates) = (sum.control + control, sum.updates + updates);
            }
            assert_eq!(sum, Counts { control: 6, updates: 1 }, "in pieces of {size}");
        }
    }
}
