//! Preambles: what chat models write before they continue, although nobody asked.
//!
//! A preamble stands at the very beginning of a message, has only words of a small vocabulary, one of them about
//! going on, and ends with a colon, an ellipsis, or its line:
//! "Sure, continuing:", "Certainly! Continuing from where I left off:", "Here is the rest of the story…".

/// What a text begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scan {
    /// It may become a preamble.
    Undecided,
    /// Text.
    None,
    /// A preamble, this many bytes long.
    Preamble(usize),
    /// An ellipsis, this many bytes long.
    Ellipsis(usize),
}

/// No preamble is longer.
const MAX_BYTES: usize = 120;

const OPENING_MARKS: [char; 4] = ['*', '_', '(', '['];
const CLOSING_MARKS: [char; 4] = ['*', '_', ')', ']'];

/// Polite words; a preamble may begin with them.
#[rustfmt::skip]
const OPENERS: &[&str] = &[
    "sure", "certainly", "of", "course", "ok", "okay", "alright", "absolutely", "yes", "understood", "got", "it",
    "no", "problem", "sorry", "apologies",
];

/// Words that begin a preamble which may end with its line.
const ANNOUNCERS: &[&str] = &["continuing", "continuation", "continued", "continue", "resuming", "picking"];

/// Words that begin a preamble which ends with a colon or an ellipsis.
const LEADS: &[&str] = &["here", "here's", "let", "i'll", "to"];

/// Words about going on.
#[rustfmt::skip]
const KEYS: &[&str] = &[
    "continuing", "continuation", "continued", "continue", "continues", "resuming", "resume", "picking", "pick",
    "rest", "remainder", "left",
];

/// Other words of a preamble.
#[rustfmt::skip]
const OTHERS: &[&str] = &[
    "a", "and", "answer", "as", "at", "code", "cut", "essay", "exactly", "for", "from", "here", "i", "i'll", "i'm",
    "interrupted", "is", "it", "last", "let", "list", "me", "message", "my", "now", "off", "on", "poem", "point",
    "previous", "reply", "requested", "response", "right", "so", "far", "story", "text", "that", "the", "there",
    "this", "to", "up", "us", "was", "we", "were", "where", "will", "with", "you", "your",
];

/// Whether `text` begins like a preamble itself: one in its continuation may then be a repetition.
pub(super) fn begins(text: &str) -> bool {
    let has_word = text.contains(|next: char| !next.is_alphabetic());
    has_word && scan(text, true, false) != Scan::None
}

/// Looks for a preamble at the beginning of `text`; `over` when no more of it comes. A model that was `instructed`
/// may write it after white space and in lower case. Otherwise it is taken for one only if it begins as messages do.
pub(super) fn scan(text: &str, instructed: bool, over: bool) -> Scan {
    let body = if instructed { text.trim_start() } else { text };
    let start = text.len() - body.len();
    let Some(first) = body.chars().next() else {
        return if over { Scan::None } else { Scan::Undecided };
    };
    if matches!(first, '.' | '…') {
        return ellipsis(body, start, over);
    }
    let marks = body.len() - body.trim_start_matches(OPENING_MARKS).len();
    let fresh = marks > 0 || first.is_uppercase();
    if marks > 3 || !(fresh || instructed) {
        return Scan::None;
    }
    match words(&body[marks..], fresh) {
        Words::Announcement(end) => closing_marks(&body[marks + end..], marks, start + marks + end, over),
        Words::Undecided if !over => Scan::Undecided,
        Words::Undecided | Words::Others => Scan::None,
    }
}

fn ellipsis(body: &str, start: usize, over: bool) -> Scan {
    let length = body.len() - body.trim_start_matches(['.', '…']).len();
    if length == body.len() {
        return if over { Scan::None } else { Scan::Undecided };
    }
    if body[..length].contains('…') || length >= 3 { Scan::Ellipsis(start + length) } else { Scan::None }
}

/// Takes the marks that close those before the preamble: `**Continuing:**`.
fn closing_marks(rest: &str, opening: usize, end: usize, over: bool) -> Scan {
    let closing = rest.len() - rest.trim_start_matches(CLOSING_MARKS).len();
    if closing < opening && closing == rest.len() && !over {
        return Scan::Undecided;
    }
    Scan::Preamble(end + closing.min(opening))
}

/// The verdict on the words of a text.
enum Words {
    /// A preamble, this many bytes long with its terminator.
    Announcement(usize),
    Undecided,
    Others,
}

fn words(text: &str, fresh: bool) -> Words {
    let mut seen: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut dots = 0;
    for (at, next) in text.char_indices() {
        if next.is_alphabetic() || matches!(next, '\'' | '’') {
            word.extend(next.to_lowercase().map(|char| if char == '’' { '\'' } else { char }));
            continue;
        }
        if !word.is_empty() {
            seen.push(std::mem::take(&mut word));
        }
        if at > MAX_BYTES || !can_be_preamble(&seen, true) {
            return Words::Others;
        }
        dots = if next == '.' { dots + 1 } else { 0 };
        match next {
            ':' | '…' | ')' | ']' | '.' if next != '.' || dots == 3 => {
                let announces = announces(&seen, fresh, true);
                return if announces { Words::Announcement(at + next.len_utf8()) } else { Words::Others };
            }
            '\n' if announces(&seen, fresh, false) => return Words::Announcement(at + 1),
            // "Sure!" on a line of its own: what follows decides.
            '\n' if !seen.iter().all(|word| OPENERS.contains(&word.as_str())) => return Words::Others,
            '\n' | ' ' | ',' | '!' | '.' | '-' | '–' | '—' | '*' | '_' => {}
            _ => return Words::Others,
        }
    }
    if !word.is_empty() {
        seen.push(word);
    }
    if can_be_preamble(&seen, false) { Words::Undecided } else { Words::Others }
}

/// Whether a preamble can have these words so far, the last of them `whole` or only begun.
fn can_be_preamble(words: &[String], whole: bool) -> bool {
    let Some((last, before)) = words.split_last() else { return true };
    let known = |known: &&str| if whole { *known == last } else { known.starts_with(last.as_str()) };
    let first = [OPENERS, ANNOUNCERS, LEADS].concat().iter().any(known);
    first || (!before.is_empty() && [KEYS, OTHERS].concat().iter().any(known))
}

/// Whether these words announce a continuation. The end of a line is a weak terminator: a story may have a line with
/// such words, too.
fn announces(words: &[String], fresh: bool, strong: bool) -> bool {
    let Some(first) = words.first().map(String::as_str) else { return false };
    let about = words.iter().any(|word| KEYS.contains(&word.as_str()));
    let polite = OPENERS.contains(&first);
    about && (polite || (fresh && (strong || ANNOUNCERS.contains(&first))))
}
