//! The model's output for each prompt: known beforehand, different for every prompt, and such that no word appears
//! twice, so that a lost, doubled or foreign word is seen at once. Pure.

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

/// A prompt that asks for `words` words; `about` is nobody else's.
pub(super) fn prompt(words: usize, about: &str) -> String {
    format!("Say {words} words about {about}.")
}

/// Whether a line is a prompt of ours, and not an instruction of the server's.
pub(super) fn is_prompt(line: &str) -> bool {
    line.starts_with("Say ") && line.contains(" words about ")
}

/// What is answered to a prompt.
pub(super) fn truth(prompt: &str) -> String {
    let words: usize = prompt.split(' ').nth(1).and_then(|words| words.parse().ok()).unwrap_or(12);
    let hash = hash(prompt);
    let start = usize::try_from(hash % 16).unwrap_or(0);
    // Also numbers of its own: a word of another reply fits nowhere in this one.
    let own = hash / 16 % 900 + 100;
    let word = |number: usize| format!("{}{own}{number:03}", RIVERS[(start + number * 5) % RIVERS.len()]);
    (1..=words).map(word).collect::<Vec<_>>().join(" ")
}

/// A number that a text always has (FNV-1a).
pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Where the words of a text begin, in bytes.
pub(super) fn word_starts(text: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut inside = false;
    for (at, letter) in text.char_indices() {
        if !letter.is_whitespace() && !inside {
            starts.push(at);
        }
        inside = !letter.is_whitespace();
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_word_is_generated_twice_and_two_prompts_share_none() {
        let texts = ["a", "b"].map(|about| truth(&prompt(300, about)));
        let words: HashSet<_> = texts.iter().flat_map(|text| text.split(' ')).collect();
        assert_eq!(words.len(), 600);
        assert_eq!(truth(&prompt(300, "a")), texts[0]);
    }

    #[test]
    fn a_prompt_is_known_from_other_lines() {
        assert!(is_prompt(&prompt(3, "x")));
        assert!(!is_prompt("Continue exactly where the text stops."));
    }
}
