use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::overlap::is_word;
use super::*;
use crate::llm::call::Continuation::{Fresh, Instruct, Prefill};

/// What comes of a continuation that arrives in these pieces.
fn mend<'a>(prefix: &str, continuation: Continuation, pieces: impl IntoIterator<Item = &'a str>) -> String {
    let mut splice = Splice::new(prefix, continuation);
    let mut text: String = pieces.into_iter().map(|piece| splice.push(piece)).collect();
    text.push_str(&splice.finish());
    text
}

/// A text cut at a character boundary: what the client has, and how a polite upstream continues after the part of it
/// that it was given, which is without the white space at its end.
#[derive(Debug, Clone)]
struct Cut {
    text: String,
    at: usize,
}

impl Cut {
    fn prefix(&self) -> &str {
        &self.text[..self.at]
    }

    fn given(&self) -> &str {
        self.prefix().trim_end()
    }

    fn rest(&self) -> &str {
        &self.text[self.given().len()..]
    }

    /// The client has it in the middle of a word.
    fn in_word(&self) -> bool {
        let is_word = |char: Option<char>| char.is_some_and(char::is_alphanumeric);
        is_word(self.prefix().chars().next_back()) && is_word(self.text[self.at..].chars().next())
    }

    /// The last `count` words of what was given.
    fn last_words(&self, count: usize) -> &str {
        let given = self.given();
        let mut begins = given.char_indices().rev().filter(|(at, char)| {
            !char.is_whitespace() && given[..*at].chars().next_back().is_none_or(char::is_whitespace)
        });
        begins.nth(count - 1).map_or(given, |(at, _)| &given[at..])
    }
}

/// Prose in which no word comes twice.
fn prose() -> impl Strategy<Value = Cut> {
    cut(text())
}

fn text() -> impl Strategy<Value = String> {
    let word = "[a-z]{0,7}[A-Zéß0-9]?";
    let space = select(vec![" ", " ", " ", " ", ", ", ". ", "\n", "\n\n", ": \"", "\" (", ") - ", " **", "** "]);
    vec((word, space), 1..30).prop_map(|words| {
        let word = |(number, (word, space)): (usize, (String, &str))| {
            // The number makes it unique, and in letters, for digits have rules of their own.
            let unique: String = number.to_string().bytes().map(|digit| char::from(digit + 49)).collect();
            format!("{word}{unique}{space}")
        };
        words.into_iter().enumerate().map(word).collect::<String>()
    })
}

fn cut(text: impl Strategy<Value = String>) -> impl Strategy<Value = Cut> {
    cut_where(text, |_, _| true)
}

fn cut_where(text: impl Strategy<Value = String>, fits: fn(&str, &str) -> bool) -> impl Strategy<Value = Cut> {
    (text, any::<Index>()).prop_map(move |(text, index)| {
        let all = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        let cuts: Vec<usize> = all.filter(|at| fits(&text[..*at], &text[*at..])).collect();
        Cut { at: cuts[index.index(cuts.len())], text }
    })
}

/// Whether a text of this length and variety is an overlap beyond doubt.
fn is_significant(text: &str) -> bool {
    let text = collapsed(text);
    let different: std::collections::BTreeSet<char> = text.chars().collect();
    text.chars().count() >= 4 && different.len() >= 3
}

/// With one space for each run of white space: an echo may have any other in its place.
fn collapsed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn instructed() -> impl Strategy<Value = Continuation> {
    select(vec![Prefill, Instruct])
}

/// Any way to take a text apart.
fn pieces(text: &str, lengths: &[usize]) -> Vec<String> {
    let mut chars = text.chars().peekable();
    let mut lengths = lengths.iter().cycle();
    let mut pieces = Vec::new();
    while chars.peek().is_some() {
        pieces.push(chars.by_ref().take(*lengths.next().unwrap_or(&1)).collect());
    }
    pieces
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    vec(0..9_usize, 1..5).prop_filter("something moves", |lengths| lengths.iter().any(|length| *length > 0))
}

const PREAMBLES: &[&str] = &[
    "Sure, continuing:",
    "Sure, continuing: ",
    "Sure, here is the continuation:\n\n",
    "Certainly! Continuing from where I left off:\n",
    "Continuing:",
    "Of course. Here's the rest of the story:\n\n",
    "Okay, I'll continue right from that point:\n",
    "Apologies for that! Picking up where we left off...\n\n",
    "Here’s the continuation…\n",
    "**Continuing:**\n\n",
    "(continued)\n",
    "[Continuing from the previous message]\n",
    "Sure!\n\nContinuing from where I was cut off:\n",
    "Continuing from where I left off.\n\n",
];

proptest! {
    #[test]
    fn a_polite_prefilled_continuation_is_taken_exactly(cut in prose(), lengths in lengths()) {
        let pieces = pieces(cut.rest(), &lengths);
        let mended = mend(cut.prefix(), Prefill, pieces.iter().map(String::as_str));
        prop_assert_eq!(cut.prefix().to_owned() + &mended, cut.text);
    }

    #[test]
    fn a_polite_prefilled_continuation_of_any_text_is_taken_exactly_unless_it_repeats(
        cut in cut(prop_oneof!["[abc \n]{0,40}", "(?s).{0,40}", "[我们的。哈]{0,20}", "[-=.*| ]{0,40}"]),
    ) {
        let mended = mend(cut.prefix(), Prefill, [cut.rest()]);
        // The one thing that cannot be distinguished from an overlap: the continuation begins, without a space, with at
        // least four characters that the text ends with, and that begin a word there; or with the one word that is all
        // of it.
        let given = cut.given();
        let rest = collapsed(cut.rest());
        let repeats = given.char_indices().any(|(at, _)| is_significant(&given[at..]) && rest.starts_with(&collapsed(&given[at..])));
        let repeats = repeats || (is_word(given) && rest.starts_with(given));
        prop_assert!(repeats || cut.prefix().to_owned() + &mended == cut.text, "{:?}", mended);
    }

    #[test]
    fn an_echo_of_the_last_words_is_cut_off(
        cut in prose(), count in 1..9_usize, mode in instructed(), collapse: bool, preamble in proptest::option::of(select(PREAMBLES)),
        lengths in lengths(),
    ) {
        let overlap = cut.last_words(count);
        prop_assume!(!overlap.is_empty());
        let instructed = mode == Instruct && (overlap.chars().count() > 1 || !cut.in_word());
        prop_assume!(is_significant(overlap) || instructed && overlap.contains(char::is_alphanumeric));
        let overlap = if collapse { overlap.split_whitespace().collect::<Vec<_>>().join(" ") } else { overlap.to_owned() };
        let continuation = preamble.unwrap_or_default().to_owned() + &overlap + cut.rest();
        let pieces = pieces(&continuation, &lengths);
        let mended = mend(cut.prefix(), mode, pieces.iter().map(String::as_str));
        prop_assert_eq!(cut.prefix().to_owned() + &mended, cut.text);
    }

    #[test]
    fn a_restart_from_the_beginning_is_cut_off(
        cut in prose(), mode in instructed(), preamble in proptest::option::of(select(PREAMBLES)), lengths in lengths(),
    ) {
        let given = cut.given();
        prop_assume!(is_significant(given));
        let continuation = preamble.unwrap_or_default().to_owned() + given + cut.rest();
        let pieces = pieces(&continuation, &lengths);
        let mended = mend(cut.prefix(), mode, pieces.iter().map(String::as_str));
        prop_assert_eq!(cut.prefix().to_owned() + &mended, cut.text);
    }

    #[test]
    fn a_space_that_the_client_has_may_come_again_or_not(
        cut in cut_where(text(), |before, after| {
            before.ends_with(char::is_whitespace) && !after.starts_with(char::is_whitespace)
        }),
        mode in instructed(), preamble in proptest::option::of(select(PREAMBLES)), lengths in lengths(),
    ) {
        let after = &cut.text[cut.at..];
        let continuation = preamble.unwrap_or_default().to_owned() + after;
        let pieces = pieces(&continuation, &lengths);
        let mended = mend(cut.prefix(), mode, pieces.iter().map(String::as_str));
        prop_assert_eq!(cut.prefix().to_owned() + &mended, cut.text.as_str());
    }

    #[test]
    fn an_instructed_upstream_that_drops_the_space_gets_one(
        words in vec("[a-z]{1,7}[.,;!?]?", 2..20), at in any::<Index>(), preamble in proptest::option::of(select(PREAMBLES)),
    ) {
        let words: Vec<String> = words.iter().enumerate().map(|(number, word)| format!("{number}{word}")).collect();
        let (before, after) = words.split_at(1 + at.index(words.len() - 1));
        let (prefix, rest) = (before.join(" "), after.join(" "));
        prop_assume!(prefix.ends_with(|last: char| !last.is_numeric()));
        let rest = format!("x{rest}");
        let continuation = preamble.unwrap_or_default().to_owned() + &rest;
        prop_assert_eq!(mend(&prefix, Instruct, [continuation.as_str()]), format!(" {rest}"));
    }

    #[test]
    fn it_does_not_matter_how_a_continuation_is_cut(
        prefix in proptest::string::string_regex("([a-c]{1,3}[ .,]|ha |\n){0,12}").expect("a pattern"),
        fragments in vec(select(vec![
            "Sure", ", ", "continuing", ":", "...", "…", "\n", " ", "ha ", "ha", "a", "b ", "ab c", "日本", "é", "**", "Here is the rest",
        ]), 0..12),
        overlap: bool, mode in select(vec![Fresh, Prefill, Instruct]), lengths in lengths(),
    ) {
        let continuation = if overlap { prefix.trim_end().to_owned() } else { String::new() } + &fragments.concat();
        let pieces = pieces(&continuation, &lengths);
        let whole = mend(&prefix, mode, [continuation.as_str()]);
        prop_assert_eq!(mend(&prefix, mode, pieces.iter().map(String::as_str)), whole);
    }

    #[test]
    fn no_text_is_held_longer_than_a_rule_may_apply(cut in prose(), mode in instructed()) {
        let mut splice = Splice::new(cut.prefix(), mode);
        let mut held = 0;
        for next in cut.rest().chars() {
            let given = splice.push(next.encode_utf8(&mut [0; 4]));
            held = if given.is_empty() { held + 1 } else { 0 };
            // Words of the vocabulary of preambles, or of the text: both have to come by chance here.
            prop_assert!(held < 24, "{} characters", held);
        }
    }
}

#[test]
fn the_longest_overlap_counts() {
    assert_eq!(mend("a rose is a rose", Instruct, ["a rose is a rose is a rose"]), " is a rose");
    assert_eq!(mend("a rose is a rose", Instruct, ["rose is a rose is"]), " is");
    assert_eq!(mend("a rose is a rose", Instruct, ["a rose, by any name"]), ", by any name");
}

#[test]
fn a_word_is_not_taken_for_an_echo_of_a_part_of_it() {
    assert_eq!(mend("I saw a", Instruct, ["and"]), " and");
    assert_eq!(mend("I like to ", Instruct, ["tomorrow"]), "tomorrow");
    assert_eq!(mend("I saw an", Instruct, ["and he"]), "d he");
    assert_eq!(mend("The", Prefill, ["The lighthouse"]), " lighthouse");
    assert_eq!(mend("The", Prefill, ["Theory"]), "Theory");
    assert_eq!(mend("{", Prefill, ["{\"a\": 1}}"]), "{\"a\": 1}}");
    assert_eq!(mend("I got over ", Prefill, ["overt acts"]), "overt acts");
    assert_eq!(mend("It was the wor", Prefill, ["the world"]), "ld");
}

#[test]
fn blank_lines_make_no_echo_of_a_few_letters() {
    let prefix = "c\n  \n\nc";
    assert_eq!(mend(prefix, Prefill, ["c c "]), "c c ");
}

#[test]
fn brackets_in_a_row_are_no_echo() {
    assert_eq!(mend("f() {\n  if x {\n    y\n  }\n", Instruct, ["}\n"]), "}\n");
    assert_eq!(mend("[[[1], [2]],", Prefill, ["[[1]]]"]), "[[1]]]");
}

#[test]
fn a_repetition_that_diverges_is_text() {
    let prefix = "The quick brown fox jumps over the lazy dog";
    let other = "The quick brown fox jumps over a fence";
    assert_eq!(mend(prefix, Prefill, [other]), other);
    assert_eq!(mend(prefix, Prefill, ["The quick brown fox"]), "The quick brown fox");
}

#[test]
fn an_ellipsis_is_cut_off_before_an_overlap_and_where_an_upstream_was_instructed_to_overlap() {
    assert_eq!(mend("the quick brown", Prefill, ["…quick brown fox"]), " fox");
    assert_eq!(mend("the quick brown", Instruct, ["... quick brown fox"]), " fox");
    assert_eq!(mend("Wait", Prefill, ["... what?"]), "... what?");
    assert_eq!(mend("the quick", Instruct, ["… brown fox"]), " brown fox");
    assert_eq!(mend("Wait", Instruct, ["..."]), "...");
}

#[test]
fn text_that_only_resembles_a_preamble_stays() {
    for (prefix, text) in [
        ("I asked him. ", "Sure, he said: no."),
        ("The plan.\n", "Continuing education is hard:\n"),
        ("while x:\n    ", "continue\n"),
        ("dis", "continuing: a list"),
        ("He said so.\n\n", "I will continue from there.\n"),
        ("And then?\n\n", "To be continued..."),
        ("", "Sure, continuing: it is yours."),
        ("Sure, here is the rest: a", "Here is the rest: b"),
    ] {
        assert_eq!(mend(prefix, Prefill, [text]), text);
    }
    assert_eq!(mend("while x:\n    ", Instruct, ["continue\n"]), "continue\n");
}

#[test]
fn a_prefilled_upstream_that_drops_the_space_gets_one_after_a_sentence_only() {
    assert_eq!(mend("That is all.", Prefill, ["Next, I"]), " Next, I");
    assert_eq!(mend("That is all,", Prefill, ["he said"]), " he said");
    for (prefix, text) in [
        ("Hel", "lo"),
        ("Use std:", ":vec"),
        ("See example.", "com"),
        ("In the U.", "S."),
        ("```cs\nthis is so;Console.", "WriteLine"),
        ("call the `foo bar baz,", "qux`"),
        ("it is 12:", "30"),
        ("System.", "Out"),
    ] {
        assert_eq!(mend(prefix, Prefill, [text]), text, "{prefix}");
    }
}

#[test]
fn white_space_is_joined_as_far_as_the_client_has_it() {
    for (prefix, text, added) in [
        ("a ", " b", "b"),
        ("a ", "b", "b"),
        ("a\n", "\n\nb", "\nb"),
        ("a \n", "\nb", "b"),
        ("a \n", " b", "b"),
        ("a ", "\nb", "\nb"),
        ("a\n\n", "\n", ""),
        ("\n\n", "\n\nb", "b"),
    ] {
        assert_eq!(mend(prefix, Prefill, [text]), added, "{prefix:?} {text:?}");
    }
    assert_eq!(mend(" \n", Fresh, ["\nb"]), "b");
}

#[test]
fn scripts_without_spaces_are_mended_without_spaces() {
    assert_eq!(mend("我们去了北京的长城", Instruct, ["北京的长城，很美"]), "，很美");
    assert_eq!(mend("我们去了北京的长城", Instruct, ["很美"]), "很美");
    assert_eq!(mend("我们去了北京的长城", Prefill, ["我们去了北京的长城，很美"]), "，很美");
}

/// Prose with repetition, a list, a table, code, JSON, and a script without spaces.
const SAMPLE: &str = r#"Yes, yes: it is very, very simple. That that is, is; that that is not, is not. "Is it?" -- It is (3.14 or so).

1. **First**, the list:
   - one, one, one
   - `std::mem::take`, see <https://example.com/a.b?c=d>
2. _Second_ -- ...and then, e.g., 1,000,000.

| a | b |
|---|---|
| 1 | 1 |

```rust
fn main() {
    for _ in 0..10 {
        for _ in 0..10 {
            println!("ha ha ha ha: {}", "ha".repeat(2));
        }
    }
}
```

{"a": [[1, 1], [1, 1]], "b": {"c": {"c": {}}}}

我们去了北京的长城，很美很美。哈哈哈哈！그래서 우리는 갔다. Et voilà: l'été, à côté — 'twas nice.
----------------------------------------
The end. The end of the end.
"#;

#[test]
fn every_cut_of_a_sample_is_mended() {
    for at in SAMPLE.char_indices().map(|(at, _)| at).skip(1) {
        let cut = Cut { text: SAMPLE.to_owned(), at };
        let assert_mended = |mode, before: &str| {
            let mended = mend(cut.prefix(), mode, [before, cut.rest()]);
            assert_eq!(cut.prefix().to_owned() + &mended, SAMPLE, "{mode:?}, cut at {:?}", cut.last_words(3));
        };
        assert_mended(Prefill, "");
        // The sample repeats itself, so that fewer words would be ambiguous.
        if at > 200 {
            assert_mended(Prefill, cut.last_words(6));
            assert_mended(Instruct, cut.last_words(6));
            assert_mended(Instruct, &(PREAMBLES[at % PREAMBLES.len()].to_owned() + cut.last_words(6)));
            assert_mended(Instruct, cut.given());
        }
    }
}
