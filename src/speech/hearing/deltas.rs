//! A transcript as it is made: what of it was told to whoever waits for it.

use tokio::sync::mpsc::UnboundedSender;

/// Takes the pieces of a transcript as they come. What they are in all is bounded by the longest answer of a server.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    /// `None`: only the whole is wanted.
    sender: Option<UnboundedSender<String>>,
    told: String,
}

impl Deltas {
    pub(super) const fn to(sender: UnboundedSender<String>) -> Self {
        Self { sender: Some(sender), told: String::new() }
    }

    /// Whether pieces are wanted.
    pub(super) const fn are_wanted(&self) -> bool {
        self.sender.is_some()
    }

    /// Whether a piece was told: then the rest has to come from the same server.
    pub(super) const fn have_begun(&self) -> bool {
        !self.told.is_empty()
    }

    /// What was told in all.
    pub(super) fn told(&self) -> &str {
        &self.told
    }

    /// The next piece. White space before the first word is none of the transcript's.
    pub(super) fn push(&mut self, piece: &str) {
        let piece = if self.told.is_empty() { piece.trim_start() } else { piece };
        if piece.is_empty() {
            return;
        }
        self.told.push_str(piece);
        if let Some(sender) = &self.sender {
            // Whoever does not listen any more drops the whole request.
            let _ = sender.send(piece.to_owned());
        }
    }

    /// The transcript is there. Where it came in one piece, so it is told.
    pub(super) fn finish(&mut self, text: &str) {
        if !self.have_begun() {
            self.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn pieces_are_told_as_they_come_and_a_whole_as_one() {
        let told = |pieces: &[&str], text: &str| {
            let (sender, mut receiver) = mpsc::unbounded_channel();
            let mut deltas = Deltas::to(sender);
            for piece in pieces {
                deltas.push(piece);
            }
            deltas.finish(text);
            drop(deltas);
            std::iter::from_fn(|| receiver.blocking_recv()).collect::<Vec<_>>()
        };
        assert_eq!(told(&["", " ", " Good", " day."], "Good day."), ["Good", " day."]);
        assert_eq!(told(&[], "Good day."), ["Good day."]);
        assert!(told(&[" "], "").is_empty());
    }
}
