//! The splice is where a second attempt's text meets the first one's. It takes the manners out of a continuation: a
//! preamble ("Sure, continuing:"), an overlap of the last words or of everything, a doubled or missing space.
//!
//! It reads the continuation character by character, so that what comes of it does not depend on how an upstream
//! cuts it, and holds text back only as long as a rule may still apply to it. An upstream that continues exactly where
//! the text ends is changed only if its text looks just like one of these manners.

mod lost_space;
mod overlap;
mod preamble;

use self::lost_space::{Insert, LostSpace};
use self::overlap::{Overlap, Verdict};
use self::preamble::Scan;
use crate::llm::call::Continuation;

/// No overlap of the last words has more of them.
const LAST_WORDS: usize = 256;

/// Mends one splice.
#[derive(Debug)]
pub(crate) struct Splice {
    /// What the client has, without the white space at its end; this is what the upstream was given.
    prefix: String,
    /// That white space.
    space: String,
    instructed: bool,
    phase: Phase,
    /// Text of the continuation that no rule has decided about.
    held: String,
    /// An ellipsis before it, which is part of the text unless an overlap follows.
    ellipsis: String,
    /// A preamble was cut off: this upstream was instructed in words, whatever was meant.
    preamble: bool,
}

#[derive(Debug)]
enum Phase {
    Preamble,
    Overlap(Overlap),
    LostSpace(LostSpace),
    Mended,
}

impl Splice {
    /// A splice between `prefix`, which is all text that the client has, and the continuation.
    pub(crate) fn new(prefix: &str, continuation: Continuation) -> Self {
        let (prefix, space) = prefix.split_at(prefix.trim_end().len());
        let instructed = continuation == Continuation::Instruct;
        let phase = if prefix.is_empty() || continuation == Continuation::Fresh {
            Phase::LostSpace(LostSpace::new(space, Insert::Nothing))
        } else if preamble::begins(prefix) {
            Phase::Overlap(Overlap::new(prefix, !space.is_empty(), instructed, instructed))
        } else {
            Phase::Preamble
        };
        Self {
            prefix: prefix.to_owned(),
            space: space.to_owned(),
            instructed,
            phase,
            held: String::new(),
            ellipsis: String::new(),
            preamble: false,
        }
    }

    /// Takes a piece of the continuation; returns the text to add to what the client has.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        let mut out = String::new();
        let mut rest = piece.chars();
        while !self.is_mended()
            && let Some(next) = rest.next()
        {
            self.step(next, &mut out);
        }
        out.push_str(rest.as_str());
        out
    }

    /// The continuation is over; returns what was held back of it.
    pub(crate) fn finish(&mut self) -> String {
        let mut out = String::new();
        if let Phase::Preamble = self.phase {
            let scan = preamble::scan(&self.held, self.instructed, true);
            self.after_preamble(scan, &mut out);
        }
        if let Phase::Overlap(overlap) = &self.phase {
            let verdict = overlap.finish();
            self.after_echo(verdict, &mut out);
        }
        if let Phase::LostSpace(lost_space) = &mut self.phase {
            lost_space.finish(&mut out);
        }
        self.phase = Phase::Mended;
        out
    }

    /// Whether everything that comes from now on is taken as it is.
    pub(crate) const fn is_mended(&self) -> bool {
        matches!(self.phase, Phase::Mended)
    }

    /// Whether nothing is held back.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.ellipsis.is_empty()
    }

    fn step(&mut self, next: char, out: &mut String) {
        match &mut self.phase {
            Phase::Preamble => {
                self.held.push(next);
                let scan = preamble::scan(&self.held, self.instructed, false);
                self.after_preamble(scan, out);
            }
            Phase::Overlap(overlap) => {
                self.held.push(next);
                let verdict = overlap.step(next, &self.prefix);
                self.after_echo(verdict, out);
            }
            Phase::LostSpace(lost_space) => {
                if lost_space.step(next, &self.prefix, out) {
                    self.phase = Phase::Mended;
                }
            }
            Phase::Mended => out.push(next),
        }
    }

    fn after_preamble(&mut self, scan: Scan, out: &mut String) {
        let mut lenient = self.instructed;
        let rest = match scan {
            Scan::Undecided => return,
            Scan::None => std::mem::take(&mut self.held),
            // It may be the beginning of an overlap.
            Scan::Ellipsis(_) if has_ellipsis(&self.prefix) => std::mem::take(&mut self.held),
            Scan::Ellipsis(end) => {
                let rest = self.held.split_off(end);
                self.ellipsis = std::mem::take(&mut self.held);
                lenient = true;
                rest
            }
            Scan::Preamble(end) => {
                let rest = self.held.split_off(end);
                self.held.clear();
                self.preamble = true;
                lenient = true;
                rest
            }
        };
        self.phase = Phase::Overlap(Overlap::new(&self.prefix, !self.space.is_empty(), self.instructed, lenient));
        self.replay(&rest, out);
    }

    fn after_echo(&mut self, verdict: Verdict, out: &mut String) {
        let held = std::mem::take(&mut self.held);
        let ellipsis = std::mem::take(&mut self.ellipsis);
        let instructed = self.instructed || self.preamble;
        let (rest, insert) = match verdict {
            Verdict::Undecided => {
                (self.held, self.ellipsis) = (held, ellipsis);
                return;
            }
            Verdict::Overlap(end) => (held[end..].to_owned(), Insert::Nothing),
            Verdict::None if self.preamble || (self.instructed && !ellipsis.is_empty()) => {
                (held.trim_start().to_owned(), Insert::BetweenWords)
            }
            Verdict::None if instructed => (held, Insert::BetweenWords),
            Verdict::None => (ellipsis + &held, Insert::BetweenSentences),
        };
        self.phase = Phase::LostSpace(LostSpace::new(&self.space, insert));
        self.replay(&rest, out);
    }

    /// Takes again what another rule has not decided about.
    fn replay(&mut self, text: &str, out: &mut String) {
        for next in text.chars() {
            self.step(next, out);
        }
    }
}

/// Whether one of the last words of a text begins with an ellipsis.
fn has_ellipsis(text: &str) -> bool {
    text.split_whitespace().rev().take(LAST_WORDS).any(|word| word.starts_with(['.', '…']))
}

#[cfg(test)]
mod tests;
