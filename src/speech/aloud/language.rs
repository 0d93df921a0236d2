//! Which language a sentence is in, as far as that matters here.

/// A language in which numbers and formulas are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    English,
    German,
    Chinese,
}

/// Words that the other language does not have.
const ENGLISH: &[&str] = &[
    "the", "and", "of", "to", "is", "are", "this", "that", "with", "for", "it", "you", "at", "on", "be", "as", "your",
    "by", "from", "have", "about", "not", "or", "we", "they", "but", "what", "which", "can",
];

const GERMAN: &[&str] = &[
    "der", "die", "das", "und", "ist", "sind", "nicht", "ein", "eine", "einen", "einem", "mit", "von", "zu", "den",
    "dem", "des", "im", "auf", "für", "es", "sie", "wir", "ich", "auch", "oder", "aber", "dass", "bei", "um", "wie",
    "sich", "uhr",
];

impl Language {
    /// The language of a sentence. `None`: it is another one, or the sentence is too short.
    pub(super) fn of(sentence: &str) -> Option<Self> {
        let (mut letters, mut han, mut kana) = (0, 0, 0);
        for c in sentence.chars().filter(|c| c.is_alphabetic()) {
            letters += 1;
            match u32::from(c) {
                0x3040..=0x30FF | 0xAC00..=0xD7AF => kana += 1,
                0x3400..=0x9FFF | 0x20000..=0x3FFFF => han += 1,
                _ => {}
            }
        }
        if kana > 0 {
            return None;
        }
        if han * 4 > letters {
            return Some(Self::Chinese);
        }
        let words = sentence.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty());
        let (mut english, mut german) = (0, 0);
        for word in words {
            let word = word.to_lowercase();
            english += usize::from(ENGLISH.contains(&word.as_str()));
            german += usize::from(GERMAN.contains(&word.as_str()));
        }
        match english.cmp(&german) {
            std::cmp::Ordering::Greater => Some(Self::English),
            std::cmp::Ordering::Less => Some(Self::German),
            std::cmp::Ordering::Equal => None,
        }
    }

    /// One of three, by the language.
    pub(super) const fn pick<T: Copy>(self, english: T, german: T, chinese: T) -> T {
        match self {
            Self::English => english,
            Self::German => german,
            Self::Chinese => chinese,
        }
    }

    /// Between the ends of a range.
    pub(super) const fn to(self) -> &'static str {
        self.pick(" to ", " bis ", "到")
    }
}
