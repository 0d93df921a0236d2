//! What is a sentence, as a table; and that no way of cutting a text into tokens makes a difference.

use proptest::prelude::*;

use super::*;

fn sentences(text: &str) -> Vec<String> {
    let (mut cutter, mut out) = (Sentences::default(), Vec::new());
    cutter.push(text, &mut out);
    cutter.finish(&mut out);
    out
}

/// What is known before the text is over.
fn at_once(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    Sentences::default().push(text, &mut out);
    out
}

#[track_caller]
fn all(cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_eq!(sentences(text), *expected, "{text:?}");
    }
}

#[test]
fn english() {
    all(&[
        ("", &[]),
        ("Hello", &["Hello"]),
        ("Hello. How are you? Fine!", &["Hello.", "How are you?", "Fine!"]),
        ("It costs $29.99 today. Buy it.", &["It costs $29.99 today.", "Buy it."]),
        ("It costs $29. Next one.", &["It costs $29.", "Next one."]),
        ("Dr. Smith met Mr. J. Doe, e.g. at 5 p.m. in town.", &["Dr. Smith met Mr. J. Doe, e.g. at 5 p.m. in town."]),
        ("We left at 5 p.m. Then it rained.", &["We left at 5 p.m.", "Then it rained."]),
        ("Apples, pears, etc. are fruit. Yes.", &["Apples, pears, etc. are fruit.", "Yes."]),
        ("See No. 5 and fig. 3. Then go.", &["See No. 5 and fig. 3.", "Then go."]),
        ("I said no. Then I left.", &["I said no.", "Then I left."]),
        ("Well... maybe. Wait… What?", &["Well... maybe.", "Wait…", "What?"]),
        ("\"Really?\" he asked. \"Yes.\" She left.", &["\"Really?\" he asked.", "\"Yes.\"", "She left."]),
        ("(It was late.) They slept.", &["(It was late.)", "They slept."]),
        ("What?! No way!!! Ok.", &["What?!", "No way!!!", "Ok."]),
        ("hello there. how are you. fine.", &["hello there.", "how are you.", "fine."]),
        ("Version 2.5.1 of example.com is out. Good.", &["Version 2.5.1 of example.com is out.", "Good."]),
        ("So do I. Good.", &["So do I.", "Good."]),
        ("Great! 😀 Let's go 👩‍👩‍👧 now. 🎉", &["Great!", "Let's go now."]),
        ("😀 🎉 …", &[]),
        ("One\n\nTwo", &["One", "Two"]),
        ("One line\nand the next. End", &["One line and the next.", "End"]),
        ("Yes!\nNo", &["Yes!", "No"]),
        ("See https://www.example.com/a?b=c. Or not.", &["See example.com.", "Or not."]),
        ("Tom &amp; Ann ran.", &["Tom & Ann ran."]),
    ]);
}

#[test]
fn formulas_stay_as_they_are_written() {
    all(&[
        ("So $E = mc^2$ holds. Good.", &["So $E = mc^2$ holds.", "Good."]),
        (r"So \(a_1 * b_1 * c_{ij}\) holds.", &["So $a_1 * b_1 * c_{ij}$ holds."]),
        ("So\n$$\n\\frac{a}{b}\n= c\n$$\nholds.", &[r"So $\frac{a}{b} = c$ holds."]),
        ("So\n\\[\na_1 * b_1\n\\]\nholds.", &["So $a_1 * b_1$ holds."]),
        ("It costs $5 and $10, or *US$29.99*.", &["It costs $5 and $10, or US$29.99."]),
        ("Set $HOME and $PATH, *now*.", &["Set $HOME and $PATH, now."]),
        (r"An \(open **one** is none", &["An (open one is none"]),
        ("An $open **one** is none\nand goes on.", &["An $open one is none and goes on."]),
        ("In `$a_1$` it is code: $", &["In $a_1$ it is code: $"]),
    ]);
}

#[test]
fn german() {
    all(&[
        ("Am 3. Mai kam Dr. Meier. Es war kalt.", &["Am 3. Mai kam Dr. Meier.", "Es war kalt."]),
        (
            "Das gilt z. B. für Öl, d. h. bzw. ca. 5 Liter. Ja.",
            &["Das gilt z. B. für Öl, d. h. bzw. ca. 5 Liter.", "Ja."],
        ),
        ("Das war 2020. Dann kam 2021. Ende.", &["Das war 2020.", "Dann kam 2021.", "Ende."]),
        ("„Gut.“ Er ging. »Nein!« Sie blieb.", &["„Gut.“", "Er ging.", "»Nein!«", "Sie blieb."]),
        ("Äpfel usw. sind da. Über 1.000.000 Stück.", &["Äpfel usw. sind da.", "Über 1.000.000 Stück."]),
    ]);
}

#[test]
fn chinese_and_others() {
    all(&[
        ("你好。今天天气很好！你呢？很好", &["你好。", "今天天气很好！", "你呢？", "很好"]),
        ("他说：「好的。」然后走了。", &["他说：「好的。」", "然后走了。"]),
        ("价格是3.5元。再见。", &["价格是3.5元。", "再见。"]),
        ("नमस्ते। आप कैसे हैं?", &["नमस्ते।", "आप कैसे हैं?"]),
        ("مرحبا؟ نعم.", &["مرحبا؟", "نعم."]),
    ]);
}

#[test]
fn markdown_is_spoken_as_text() {
    all(&[
        ("# A title\nThe **bold** and *fine* text.", &["A title", "The bold and fine text."]),
        ("**Note.** It is `code.rs` here. _Yes._ Done", &["Note.", "It is code.rs here.", "Yes.", "Done"]),
        ("- one\n- two\n* three\n", &["one", "two", "three"]),
        ("1. First thing\n2. Second thing. More.\n", &["1. First thing", "2. Second thing.", "More."]),
        (
            "See [the page](https://example.com/x_(y)) now. ![A cat](cat.png) sits.",
            &["See the page now.", "A cat sits."],
        ),
        ("Look:\n```rust\nlet a = 1. Or. So.\n```\nDone.", &["Look:", "Done."]),
        ("~~~\n```\ncode\n~~~\nAfter", &["After"]),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n\nAfter the table.", &["After the table."]),
        ("Before\n\n---\n\nAfter", &["Before", "After"]),
        ("Title\n=====\nText", &["Title", "Text"]),
        ("> Quoted text.\n> More of it.", &["Quoted text.", "More of it."]),
        ("2 * 3 and 2*3 and snake_case and ~5.", &["2 * 3 and 2*3 and snake_case and ~5."]),
        ("~~gone~~ a < b and <b>big</b>.", &["gone a < b and big."]),
        ("Text[^1] with \\*stars\\*. Good", &["Text with *stars*.", "Good"]),
        ("Wow! [Link](x) here", &["Wow!", "Link here"]),
        ("-5 degrees. **", &["-5 degrees."]),
        ("```\nnever closed. at all", &[]),
    ]);
}

#[test]
fn marks_of_sources_are_not_read() {
    all(&[
        ("This is known.[1][2] And cited [^3]. Done.", &["This is known.", "And cited.", "Done."]),
        ("Known [1], and [2, 3] so [4-6] on[7]. Yes.", &["Known, and so on.", "Yes."]),
        ("See [1](https://a.example/x). Good [12]", &["See.", "Good"]),
        ("[1] The first source", &["1 The first source"]),
        ("The list [a, b] and [2 apples] stay.", &["The list a, b and 2 apples stay."]),
    ]);
}

#[test]
fn a_sentence_is_given_as_soon_as_it_is_one() {
    assert_eq!(at_once("Hello."), Vec::<String>::new(), "it could be hello.com");
    assert_eq!(at_once("Hello. N"), ["Hello."]);
    assert_eq!(at_once("Hello!\n"), ["Hello!"]);
    assert_eq!(at_once("你好。今"), ["你好。"]);
    assert_eq!(at_once("$29. "), Vec::<String>::new());
}

#[test]
fn a_long_sentence_is_cut_at_a_comma_or_a_space() {
    let words = "word ".repeat(40);
    let text = format!("{words}, and {words} more {words}.");
    let cut = sentences(&text);
    assert!(cut.iter().all(|sentence| sentence.chars().count() <= LONGEST), "{cut:?}");
    assert!(cut[0].ends_with(','), "{cut:?}");
    assert_eq!(cut.join(" ").split_whitespace().collect::<String>(), text.split_whitespace().collect::<String>());
    assert_eq!(sentences(&"x".repeat(1000)).concat(), "x".repeat(1000));
    assert!(sentences(&"好".repeat(1000)).iter().all(|sentence| sentence.chars().count() <= LONGEST + 1));
}

proptest! {
    #[test]
    fn no_way_of_cutting_it_into_tokens_changes_a_sentence(
        pieces in prop::collection::vec(prop_oneof![
            "[a-zA-Z]{1,6}", " ", "\n", "\\. ", "[.!?…。！？]", "[0-9]{1,3}", "[*_`#>|~-]{1,4}", "[\\[\\]()!<]",
            "[$(){}\\\\\\[\\]^_]{1,3}", Just("```\n".to_owned()), Just("Dr. ".to_owned()), Just("https://a.b/c ".to_owned()), "\\PC",
        ], 0..60),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let text = pieces.concat();
        let mut places: Vec<usize> = cuts.iter().map(|cut| text.floor_char_boundary(cut.index(text.len() + 1))).collect();
        places.extend([0, text.len()]);
        places.sort_unstable();
        let (mut cutter, mut out) = (Sentences::default(), Vec::new());
        for pair in places.windows(2) {
            cutter.push(&text[pair[0]..pair[1]], &mut out);
        }
        cutter.finish(&mut out);
        prop_assert_eq!(out, sentences(&text));
    }

    #[test]
    fn nothing_that_can_be_read_is_lost(text in "[a-zA-Z0-9äöü好。、 .,;:!?…\"'()\n]{0,500}") {
        let heard: String = sentences(&text).concat().chars().filter(|c| c.is_alphanumeric()).collect();
        let expected: String = text.chars().filter(|c| c.is_alphanumeric()).collect();
        prop_assert_eq!(heard, expected);
    }
}
