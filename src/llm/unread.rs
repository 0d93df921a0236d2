//! What of an answer could not be understood: counted and logged, never its text.

/// What it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Data that is no chunk.
    Event,
    /// Text, or what stands where text should.
    Text,
    /// A function call, or a part of one.
    Call,
    /// The arguments of a call.
    Arguments,
    /// The reason to stop.
    Reason,
    /// A tag that closes thoughts which no tag opened: what came before it was emitted as text.
    Thoughts,
}

/// How often that was.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    counts: [u32; Piece::ALL.len()],
    any: bool,
    /// Characters came in halves.
    halves: bool,
}

impl Piece {
    /// All of them.
    pub(super) const ALL: [Self; 6] =
        [Self::Event, Self::Text, Self::Call, Self::Arguments, Self::Reason, Self::Thoughts];

    /// A word for it, for metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Text => "text",
            Self::Call => "call",
            Self::Arguments => "arguments",
            Self::Reason => "reason",
            Self::Thoughts => "thoughts",
        }
    }
}

impl Unread {
    pub(super) const fn note(&mut self, piece: Piece) {
        self.counts[piece as usize] += 1;
        self.any = true;
    }

    /// What was not understood since this was asked.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (Piece, u32)> + use<> {
        let counts = std::mem::take(&mut self.counts);
        self.any = false;
        Piece::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0)
    }

    /// Whether there is anything to be [taken](Self::take).
    pub(super) const fn any(&self) -> bool {
        self.any
    }

    pub(super) const fn found_halves(&mut self) {
        self.halves = true;
    }

    pub(super) const fn has_halves(&self) -> bool {
        self.halves
    }
}
