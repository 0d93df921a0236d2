//! Thoughts in all tags, however the text is cut.

use proptest::prelude::*;

use super::*;

fn split_by(mut think: Think, chunks: &[&str]) -> (String, String) {
    let (mut thought, mut text) = (String::new(), String::new());
    let mut sink = |piece| match piece {
        Piece::Thought(piece) => thought += &piece,
        Piece::Text(piece) => text += &piece,
    };
    for chunk in chunks {
        think.push((*chunk).to_owned(), &mut sink);
    }
    think.finish(&mut sink);
    (thought, text)
}

fn split(chunks: &[&str]) -> (String, String) {
    split_by(Think::default(), chunks)
}

#[test]
fn a_thought_at_the_start_is_separated() {
    for (whole, thought, text) in [
        ("<think>\nhm </b></think>\n\nYes.", "hm </b>", "Yes."),
        ("\n<think>hm</think>Yes", "hm", "Yes"),
        ("\n\n <think>hm</think>Yes", "hm", "Yes"),
        ("<think></think>\n\nYes", "", "Yes"),
        ("<think>hm", "hm", ""),
        ("<think>hm</thi", "hm</thi", ""),
        ("<thin ice", "", "<thin ice"),
        ("<thi", "", "<thi"),
        (" ", "", " "),
        ("In HTML <think>x</think> is no tag", "", "In HTML <think>x</think> is no tag"),
        ("<Thinking>hm</think></THINKING> Yes", "hm</think>", "Yes"),
        ("<thought>hm</thought>Yes", "hm", "Yes"),
        ("<reasoning>hm</reasoning>Yes", "hm", "Yes"),
        ("[THINK]hm[/THINK]Yes", "hm", "Yes"),
        ("<seed:think>hm</seed:think>Yes", "hm", "Yes"),
        ("◁think▷hm◁/think▷Yes", "hm", "Yes"),
        ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Yes", "hm", "Yes"),
        ("<|channel|>final<|message|>Yes", "", "Yes"),
        ("<think>a</think>\n<think>b</think>Yes", "ab", "Yes"),
        ("</think>\n\nYes </think>", "", "Yes </think>"),
        ("\n[/THINK]Yes", "", "Yes"),
        ("[1] is a source", "", "[1] is a source"),
        ("<|other|>", "", "<|other|>"),
    ] {
        assert_eq!(split(&[whole]), (thought.to_owned(), text.to_owned()), "{whole}");
    }
}

#[test]
fn text_behind_an_open_thought_is_thought_until_a_tag() {
    for (whole, thought, text) in [
        ("The user asks.\n</think>\n\nFour.", "The user asks.\n", "Four."),
        ("<think>\nhm</think>Four.", "hm", "Four."),
        ("hm[/THINK]Four.", "hm", "Four."),
        ("</think>Four.", "", "Four."),
        ("\nhm", "hm", ""),
        ("<th", "<th", ""),
    ] {
        let found = split_by(Think::from_the_start(), &[whole]);
        assert_eq!(found, (thought.to_owned(), text.to_owned()), "{whole}");
    }
    let mut think = Think::from_the_start();
    think.mark_separate();
    assert_eq!(split_by(think, &["Four."]), (String::new(), "Four.".to_owned()));
}

#[test]
fn a_whole_text_needs_no_tag_that_opens() {
    for (whole, thought, text) in [
        ("hm\n</think>\n\nFour.", "hm\n", "Four."),
        ("hm</think>\nFour.", "hm", "Four."),
        ("Write `</think>` there.", "", "Write `</think>` there."),
        ("<think>a</think>b\n</think>", "a", "b\n</think>"),
    ] {
        let mut think = Think::default();
        think.whole(whole);
        assert_eq!(split_by(think, &[whole]), (thought.to_owned(), text.to_owned()), "{whole}");
    }
}

#[test]
fn nothing_is_held_that_cannot_open_a_thought() {
    let mut think = Think::default();
    let mut pieces = Vec::new();
    think.push("<".to_owned(), |piece| pieces.push(piece));
    assert!(pieces.is_empty());
    think.push("b".to_owned(), |piece| pieces.push(piece));
    assert_eq!(pieces, [Piece::Text("<b".to_owned())]);
    let mut think = Think::default();
    think.push(" ".repeat(MAX_SPACES + 1), |piece| pieces.push(piece));
    assert_eq!(pieces.len(), 2);
}

proptest! {
    #[test]
    fn any_chunking_splits_alike(
        parts in prop::collection::vec(
            "<think>|</think>|</think|<|\\[THINK\\]|\\[/THINK\\]|\\[|◁think▷|◁|<\\|channel\\|>|\n| |[a-z]{1,3}|ä", 0..8,
        ),
        size in 1usize..6,
        presumed in any::<bool>(),
    ) {
        let whole = parts.concat();
        let chars: Vec<char> = whole.chars().collect();
        let chunks: Vec<String> = chars.chunks(size).map(String::from_iter).collect();
        let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
        let think = || if presumed { Think::from_the_start() } else { Think::default() };
        prop_assert_eq!(split_by(think(), &chunks), split_by(think(), &[&whole]));
    }
}
