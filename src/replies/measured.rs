//! What a call of a model took, piece by piece.

use tokio::time::Instant;

/// When the pieces of an answer came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunks {
    begun: Instant,
    first: Option<Instant>,
    last: Instant,
    count: u32,
}

impl Chunks {
    /// A call begins.
    pub(super) fn begin() -> Self {
        let begun = Instant::now();
        Self { begun, first: None, last: begun, count: 0 }
    }

    /// A piece came at this time. Whether it is the first.
    pub(super) fn came(&mut self, now: Instant) -> bool {
        self.last = now;
        self.count += 1;
        self.first.replace(self.first.unwrap_or(now)).is_none()
    }

    /// So long the call has taken.
    pub(super) fn took(&self) -> std::time::Duration {
        self.begun.elapsed()
    }

    /// Until the first piece came.
    pub(super) fn first(&self) -> Option<std::time::Duration> {
        self.first.map(|first| first - self.begun)
    }

    /// Between two pieces, on average.
    pub(super) fn between(&self) -> Option<std::time::Duration> {
        let gaps = self.count.checked_sub(1).filter(|gaps| *gaps > 0)?;
        Some((self.last - self.first?) / gaps)
    }
}
