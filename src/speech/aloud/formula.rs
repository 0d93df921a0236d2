//! Formulas, between dollar signs: LaTeX in words. Not all of it: what is not known is read by its name, and nothing but
//! braces, spaces and parentheses is left out.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::language::Language;

mod words;

use words::{Kind, Word, command, sign};

/// Groups within groups beyond this are left out: no person could follow.
const DEEPEST: usize = 16;

/// What stands between dollar signs that touch it; an amount begins with a digit.
static PATTERN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\$([^\s\d$](?:[^$]*[^\s$])?)\$").expect("a pattern"));

/// The sentence with its formulas in words.
pub(super) fn read_all(sentence: &str, language: Language) -> String {
    let replaced = PATTERN.replace_all(sentence, |found: &Captures<'_>| {
        let end = found.get(0).map_or(0, |whole| whole.end());
        let goes_on = sentence[end..].starts_with(|c: char| c.is_ascii_alphanumeric());
        if goes_on { found[0].to_owned() } else { read(&found[1], language) }
    });
    replaced.into_owned()
}

fn read(formula: &str, language: Language) -> String {
    let mut reader = Reader { rest: formula, language, depth: 0 };
    let words = reader.group(None);
    reader.joined(&words)
}

struct Reader<'a> {
    rest: &'a str,
    language: Language,
    depth: usize,
}

impl Reader<'_> {
    /// What is read up to `end`, or to the end of all.
    fn group(&mut self, end: Option<char>) -> Vec<String> {
        self.depth += 1;
        let mut words = Vec::new();
        while let Some(c) = self.rest.chars().next() {
            if Some(c) == end {
                self.skip(c);
                break;
            }
            self.atom(c, &mut words);
        }
        self.depth -= 1;
        words
    }

    /// The next thing.
    fn atom(&mut self, c: char, words: &mut Vec<String>) {
        self.skip(c);
        match c {
            '\\' => self.command(words),
            '{' if self.depth < DEEPEST => words.extend(self.group(Some('}'))),
            '^' => {
                let power = self.argument();
                words.push(self.power(&power));
            }
            '_' => {
                let index = self.argument();
                words.push(self.with(self.language.pick("sub", "Index", "下标"), &index));
            }
            c if c.is_ascii_digit() => {
                let length = self
                    .rest
                    .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ',')))
                    .unwrap_or(self.rest.len());
                let digits = self.rest[..length].trim_end_matches(['.', ',']);
                words.push(format!("{c}{digits}"));
                self.rest = &self.rest[digits.len()..];
            }
            '{' | '}' | '(' | ')' | '[' | ']' | '|' | '&' | '~' | '$' => {}
            c if c.is_whitespace() => {}
            c => words.push(sign(c).map_or_else(|| c.to_string(), |word| self.pick(word).to_owned())),
        }
    }

    fn command(&mut self, words: &mut Vec<String>) {
        let length = self.rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.rest.len());
        if length == 0 {
            // `\,` and the like are spaces; `\%` is itself.
            if let Some(c) = self.rest.chars().next() {
                self.skip(c);
                if matches!(c, '%' | '#') {
                    words.push(c.to_string());
                }
            }
            return;
        }
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        let language = self.language;
        match command(name) {
            Some((Kind::Word, word)) => words.push(self.pick(word).to_owned()),
            Some((Kind::Nothing, _)) => {}
            Some((Kind::Fraction, word)) => {
                let (top, bottom) = (self.argument(), self.argument());
                let middle = self.pick(word);
                // The part of the whole is read after the whole.
                let (first, second) = if language == Language::Chinese { (bottom, top) } else { (top, bottom) };
                words.extend([first, middle.to_owned(), second]);
            }
            Some((Kind::Root, word)) => {
                let degree = if self.rest.starts_with('[') {
                    self.skip('[');
                    let degree = self.group(Some(']'));
                    Some(self.joined(&degree))
                } else {
                    None
                };
                let radicand = self.argument();
                let root = degree.map_or_else(
                    || self.pick(word).to_owned(),
                    |degree| match language {
                        Language::English => format!("the root of order {degree} of"),
                        Language::German => format!("{degree}. Wurzel aus"),
                        Language::Chinese => format!("{degree}次根号"),
                    },
                );
                words.extend([root, radicand]);
            }
            Some((Kind::Range, word)) => self.range(word, words),
            Some((Kind::Text, _)) => words.push(self.plain_argument()),
            None => words.push(name.to_owned()),
        }
    }

    /// A sum, an integral, a limit, with what stands below and above.
    fn range(&mut self, word: Word, words: &mut Vec<String>) {
        let (mut below, mut above) = (None, None);
        loop {
            self.rest = self.rest.trim_start();
            if below.is_none() && self.rest.starts_with('_') {
                self.skip('_');
                below = Some(self.argument());
            } else if above.is_none() && self.rest.starts_with('^') {
                self.skip('^');
                above = Some(self.argument());
            } else {
                break;
            }
        }
        let (name, language) = (self.pick(word), self.language);
        let bounds = match (below, above) {
            (None, _) => String::new(),
            (Some(below), None) => match language {
                Language::English => format!("over {below} "),
                Language::German => format!("für {below} "),
                Language::Chinese => format!("在{below}上的"),
            },
            (Some(below), Some(above)) => match language {
                Language::English => format!("from {below} to {above} "),
                Language::German => format!("von {below} bis {above} "),
                Language::Chinese => format!("从{below}到{above}的"),
            },
        };
        words.push(match language {
            Language::English => format!("the {name} {bounds}of"),
            Language::German => format!("{name} {bounds}über"),
            Language::Chinese => format!("{bounds}{name}"),
        });
    }

    /// What a command or a sign is about: a group, or the very next thing.
    fn argument(&mut self) -> String {
        self.rest = self.rest.trim_start();
        let Some(c) = self.rest.chars().next() else { return String::new() };
        let mut words = Vec::new();
        // `x^23` is x squared, and a 3.
        if c.is_ascii_digit() {
            self.skip(c);
            return c.to_string();
        }
        self.depth += 1;
        if self.depth < DEEPEST {
            self.atom(c, &mut words);
        } else {
            self.skip(c);
        }
        self.depth -= 1;
        self.joined(&words)
    }

    /// A group as it stands.
    fn plain_argument(&mut self) -> String {
        let Some(rest) = self.rest.trim_start().strip_prefix('{') else { return String::new() };
        let (text, rest) = rest.split_once('}').unwrap_or((rest, ""));
        self.rest = rest;
        text.trim().to_owned()
    }

    fn power(&self, power: &str) -> String {
        match (self.language, power) {
            (_, "′" | "prime" | "Strich") => power.to_owned(),
            (Language::English, "°") => "degrees".to_owned(),
            (Language::German, "°") => "Grad".to_owned(),
            (Language::Chinese, "°") => "度".to_owned(),
            (Language::English, "2") => "squared".to_owned(),
            (Language::English, "3") => "cubed".to_owned(),
            (Language::Chinese, "2") => "的平方".to_owned(),
            (Language::Chinese, "3") => "的立方".to_owned(),
            (Language::Chinese, power) => format!("的{power}次方"),
            (language, power) => self.with(language.pick("to the power of", "hoch", ""), power),
        }
    }

    fn with(&self, before: &str, what: &str) -> String {
        self.joined(&[before.to_owned(), what.to_owned()])
    }

    fn joined(&self, words: &[String]) -> String {
        let between = if self.language == Language::Chinese { "" } else { " " };
        words.iter().map(|word| word.trim()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(between)
    }

    const fn pick(&self, (english, german, chinese): Word) -> &'static str {
        self.language.pick(english, german, chinese)
    }

    fn skip(&mut self, c: char) {
        self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_read_in_words() {
        for (formula, english) in [
            (r"a_1 + b_{ij} - 3.5", "a sub 1 plus b sub i j minus 3.5"),
            (r"x^{n+1} \times y^3", "x to the power of n plus 1 times y cubed"),
            (r"\sum_{i=1}^{n} x_i", "the sum from i equals 1 to n of x sub i"),
            (r"\int_0^1 f(x)\,dx", "the integral from 0 to 1 of f x d x"),
            (r"\lim_{x \to 0} \sin x", "the limit over x to 0 of sine x"),
            (r"\sqrt[3]{8} \neq \pi", "the root of order 3 of 8 is not equal to pi"),
            (r"\text{if } a > b", "if a is greater than b"),
            (r"90^\circ", "90 degrees"),
            (r"\left( \frac{1}{2} \right)", "1 over 2"),
            (r"\foo{x} \in \mathbb{R}", "foo x in R"),
            (r"\frac{1}{", "1 over"),
            (r"\frac", "over"),
            (r"}}^", "to the power of"),
            (r"50\%", "50 %"),
        ] {
            assert_eq!(read(formula, Language::English), english, "{formula}");
        }
        assert_eq!(
            read(r"\sum_{i=1}^{n} i \leq n^2", Language::German),
            "die Summe von i gleich 1 bis n über i kleiner gleich n hoch 2"
        );
        assert_eq!(read(r"\sqrt{x} \geq \frac{a}{b}", Language::Chinese), "根号x大于等于b分之a");
    }

    #[test]
    fn no_depth_is_too_deep() {
        let deep = format!("{}x{}", "{".repeat(300_000), "}".repeat(300_000));
        assert_eq!(read(&deep, Language::English), "x");
        let roots = r"\sqrt".repeat(10_000);
        assert!(read(&roots, Language::English).starts_with("the square root of"));
    }
}
