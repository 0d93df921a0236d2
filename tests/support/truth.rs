//! The text that the upstream of the tests says: known beforehand, different for every prompt, and such that no
//! word appears twice, so that a lost, doubled or foreign word is seen at once.

/// Trees, with a few names that are several bytes a letter: a text cut inside one of them must not be noticed.
const TREES: [&str; 24] = [
    "alder",
    "birch",
    "cedar",
    "durian",
    "elder",
    "feijoa",
    "ginkgo",
    "hazel",
    "illawarra",
    "juniper",
    "kapok",
    "larch",
    "mélèze",
    "nutmeg",
    "olive",
    "poplar",
    "quince",
    "rowan",
    "spruce",
    "чинар",
    "umbrella",
    "viburnum",
    "willow",
    "पीपल",
];

/// A prompt that asks for `words` words; `about` makes it, and so the truth, different from others.
pub fn prompt(words: usize, about: &str) -> String {
    format!("Say {words} words about {about}.")
}

/// What a faithful upstream answers to `prompt`: as many words as it asks for, else twelve.
pub fn truth(prompt: &str) -> String {
    let start = prompt.bytes().fold(7_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    (1..=asked_for(prompt))
        .map(|number| format!("{}{number:03}", TREES[start.wrapping_add(number * 5) % TREES.len()]))
        .collect::<Vec<_>>()
        .join(" ")
}

fn asked_for(prompt: &str) -> usize {
    let words: Vec<_> = prompt.split_whitespace().collect();
    words.windows(2).filter(|pair| pair[1].starts_with("word")).find_map(|pair| pair[0].parse().ok()).unwrap_or(12)
}

/// The bounds of the words of `text`, in bytes.
pub fn word_starts(text: &str) -> Vec<usize> {
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
