//! The encoded events that are buffered for followers: all of a short reply, of a long one those that some follower has
//! not read yet.

use std::collections::VecDeque;

use super::rendition::Frame;

/// This much is buffered even if every follower has read it, in bytes: of most replies all.
const ALWAYS: usize = 1 << 20;

/// The most that is buffered for slow readers. For a reader further behind the fastest it is encoded again.
const MOST: usize = 8 << 20;

/// What an event takes in memory beside its bytes.
const BESIDE: usize = size_of::<Frame>();

/// Encoded events that follow each other.
#[derive(Debug, Default)]
pub(super) struct Window {
    frames: VecDeque<Frame>,
    /// The sequence number of the first.
    first: u64,
    /// In all of them.
    bytes: usize,
    /// Everything is buffered: for late or slow readers.
    pub(super) keeps_all: bool,
    /// The next event of each reader. One that left leaves a gap.
    readers: Vec<Option<u64>>,
    gaps: Vec<usize>,
}

/// The place of a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reader(usize);

impl Window {
    /// Of a reply of which nothing is encoded yet.
    pub(super) fn new(keeps_all: bool) -> Self {
        Self { keeps_all, ..Self::default() }
    }

    /// The sequence number after the last.
    pub(super) fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    /// Whether a reader from here on misses nothing: what is not there yet is to come.
    pub(super) const fn serves(&self, sequence: u64) -> bool {
        sequence >= self.first
    }

    /// The event of this number, and how many more are there.
    pub(super) fn get(&self, sequence: u64) -> Option<(&Frame, usize)> {
        let at = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.frames.get(at).map(|frame| (frame, self.frames.len() - at - 1))
    }

    /// What it takes.
    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Somebody reads, from this event on.
    pub(super) fn enter(&mut self, sequence: u64) -> Reader {
        let Some(gap) = self.gaps.pop() else {
            self.readers.push(Some(sequence));
            return Reader(self.readers.len() - 1);
        };
        self.readers[gap] = Some(sequence);
        Reader(gap)
    }

    /// They have read as far as this.
    pub(super) fn moved(&mut self, reader: Reader, sequence: u64) {
        self.readers[reader.0] = Some(sequence);
    }

    /// They read no more.
    pub(super) fn leave(&mut self, reader: Reader) {
        self.readers[reader.0] = None;
        self.gaps.push(reader.0);
    }

    /// Adds events, and drops what no reader needs any more.
    pub(super) fn extend(&mut self, frames: impl IntoIterator<Item = Frame>) {
        for frame in frames {
            self.bytes += frame.bytes.len() + BESIDE;
            self.frames.push_back(frame);
        }
        if !self.keeps_all && self.bytes > ALWAYS {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        let readers = || self.readers.iter().flatten().copied();
        let (slowest, fastest) = (readers().min().unwrap_or(self.first), readers().max().unwrap_or(self.first));
        // Half of it, so that this is not looked at for every event.
        while self.bytes > ALWAYS / 2
            && (self.first < slowest || (self.first < fastest && self.bytes > MOST))
            && let Some(frame) = self.frames.pop_front()
        {
            self.bytes -= frame.bytes.len() + BESIDE;
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;

    use super::super::rendition::Stage;
    use super::*;

    fn frame(bytes: usize) -> Frame {
        Frame { bytes: Bytes::from(vec![b'x'; bytes]), stored: Instant::now(), stage: Stage::Running }
    }

    const SIZE: usize = 1024 - BESIDE;

    #[test]
    fn a_short_reply_stays_whole_and_of_a_long_one_what_some_reader_needs() {
        let mut window = Window::default();
        let (fast, slow) = (window.enter(0), window.enter(0));
        for number in 0..1024 {
            window.extend([frame(SIZE)]);
            window.moved(fast, number + 1);
        }
        assert!(window.serves(0), "it is short");
        window.moved(slow, 300);
        window.extend([frame(SIZE)]);
        assert_eq!((window.serves(299), window.serves(300)), (false, true));
        assert!(window.get(299).is_none() && window.get(300).is_some() && window.get(1025).is_none());
        assert_eq!(window.end(), 1025);
        window.leave(slow);
        window.moved(fast, 1025);
        for number in 1025..2000 {
            window.extend([frame(SIZE)]);
            window.moved(fast, number + 1);
        }
        assert!(window.bytes <= ALWAYS && !window.serves(900) && window.serves(1999), "nobody needs the rest");
        assert_eq!(window.enter(1999), slow, "in the gap");
    }

    #[test]
    fn a_reader_far_behind_is_not_waited_for_but_what_nobody_has_read_stays() {
        let mut window = Window::default();
        let (fast, slow) = (window.enter(0), window.enter(0));
        window.moved(slow, 1);
        let frames = u64::try_from(MOST / 1024).unwrap();
        window.extend((0..frames + 100).map(|_| frame(SIZE)));
        assert!(window.serves(1) && window.bytes > MOST);
        window.moved(fast, frames);
        window.extend([frame(SIZE)]);
        assert!(window.bytes <= MOST && !window.serves(1) && window.serves(frames));
        let mut window = Window::new(true);
        let reader = window.enter(0);
        window.moved(reader, frames);
        window.extend((0..frames).map(|_| frame(SIZE)));
        assert!(window.serves(0));
    }
}
