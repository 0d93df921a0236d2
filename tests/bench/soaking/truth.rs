//! What is asked and therefore answered: `echo` gives it back. Known from a number, so that nothing has to be kept, and
//! different for every reply: a lost, doubled or foreign word is seen at once. Pure.

/// Rivers, with some letters of several bytes: a text that is cut inside one of them is noticed.
const RIVERS: [&str; 16] = [
    "amur",
    "brahmaputra",
    "congo",
    "donau",
    "elbe",
    "fraser",
    "गंगा",
    "huang",
    "indus",
    "jordan",
    "kızılırmak",
    "loire",
    "mekong",
    "نيل",
    "oder",
    "paraná",
];

/// One reply's text, by number and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Truth {
    pub(crate) number: u64,
    pub(crate) words: u16,
}

impl Truth {
    /// The text: no word of it appears twice, or in another reply.
    pub(crate) fn text(self) -> String {
        use std::fmt::Write;
        let mut text = String::with_capacity(usize::from(self.words) * 20);
        for word in 0..self.words {
            let space = if word == 0 { "" } else { " " };
            let river = RIVERS[usize::from(word.wrapping_mul(5)) % RIVERS.len()];
            let _ = write!(text, "{space}{river}{:x}.{word}", self.number);
        }
        text
    }
}

/// An image of so many bytes (as base64), which is not like that of another number.
pub(crate) fn image(number: u64, bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(number);
    let mut content = vec![0; bytes / 4 * 3];
    random.fill(&mut content);
    format!("data:image/png;base64,{}", data_encoding::BASE64.encode(&content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_word_is_said_twice_and_two_replies_share_none() {
        let texts = [1, 17].map(|number| Truth { number, words: 300 }.text());
        let words: HashSet<_> = texts.iter().flat_map(|text| text.split(' ')).collect();
        assert_eq!(words.len(), 600);
    }
}
