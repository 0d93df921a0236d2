//! Times of day: `14:30`, and `14.30 Uhr`.

use std::fmt::Write as _;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::language::Language;

static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    // Its own stop is that of a sentence, too.
    let half = r"(?: ?([ap])\.?m\b(\.?))?";
    Regex::new(&format!(
        r"(?i)(\d{{1,2}}):(\d\d)(?::(\d\d))?{half}(?:( ?Uhr)\b)?(?: ?([–-]) ?(\d{{1,2}}):(\d\d){half}(?:( ?Uhr)\b)?)?|(\d{{1,2}})\.(\d\d) Uhr\b"
    ))
    .expect("a pattern")
});

/// A time of day.
#[derive(Clone, Copy)]
struct Time<'a> {
    hour: u8,
    minute: u8,
    second: Option<u8>,
    /// `a` or `p`.
    half: Option<&'a str>,
}

/// The sentence with times as they are read aloud.
pub(super) fn read(sentence: &str, language: Language) -> String {
    let replaced = PATTERN.replace_all(sentence, |found: &Captures<'_>| {
        let whole = found.get(0).expect("the whole");
        if !stands_alone(sentence, whole.start(), whole.end()) {
            return whole.as_str().to_owned();
        }
        in_words(found, language).unwrap_or_else(|| whole.as_str().to_owned())
    });
    replaced.into_owned()
}

fn in_words(found: &Captures<'_>, language: Language) -> Option<String> {
    let group = |index: usize| found.get(index).map(|group| group.as_str());
    if let (Some(hour), Some(minute)) = (group(13), group(14)) {
        return Some(Time::of(hour, minute, None, None)?.in_words(language));
    }
    let first = Time::of(group(1)?, group(2)?, group(3), group(4))?;
    if group(7).is_none() {
        return Some(first.in_words(language));
    }
    let last = Time::of(group(8)?, group(9)?, None, group(10))?;
    Some(format!("{}{}{}", first.in_words(language), language.to(), last.in_words(language)))
}

/// Whether no digit or sign makes it a part of something else.
fn stands_alone(sentence: &str, start: usize, end: usize) -> bool {
    let part = |c: char| c.is_ascii_digit() || matches!(c, ':' | '/' | '+');
    let before = sentence[..start].chars().next_back();
    let mut after = sentence[end..].chars();
    let (next, second) = (after.next(), after.next());
    let goes_on = next == Some('.') && second.is_some_and(|c| c.is_ascii_digit());
    !before.is_some_and(|c| part(c) || c == '.' || c == '-') && !next.is_some_and(part) && !goes_on
}

impl<'a> Time<'a> {
    /// `None`: it is none.
    fn of(hour: &str, minute: &str, second: Option<&str>, half: Option<&'a str>) -> Option<Self> {
        let number = |text: &str, most: u8| text.parse().ok().filter(|number: &u8| *number <= most);
        let second = match second {
            Some(text) => Some(number(text, 59)?),
            None => None,
        };
        Some(Self { hour: number(hour, 24)?, minute: number(minute, 59)?, second, half })
    }

    fn in_words(self, language: Language) -> String {
        let Self { hour, minute, second, half } = self;
        let mut words = match (language, minute) {
            (Language::English, 0) if half.is_some() => format!("{hour}"),
            (Language::English, 0) => format!("{hour} o'clock"),
            (Language::English, 1..=9) => format!("{hour} oh {minute}"),
            (Language::English, _) => format!("{hour} {minute}"),
            (Language::German, 0) => format!("{hour} Uhr"),
            (Language::German, _) => format!("{hour} Uhr {minute}"),
            (Language::Chinese, 0) => format!("{hour}点"),
            (Language::Chinese, 1..=9) => format!("{hour}点零{minute}分"),
            (Language::Chinese, _) => format!("{hour}点{minute}分"),
        };
        if let Some(half) = half {
            let _ = write!(words, " {}.m.", half.to_lowercase());
        }
        if let Some(second) = second {
            let _ = match language {
                Language::English => write!(words, " and {second} seconds"),
                Language::German => write!(words, " und {second} Sekunden"),
                Language::Chinese => write!(words, "{second}秒"),
            };
        }
        words
    }
}
