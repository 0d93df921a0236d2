//! JSON that was asked for, out of the code fence that a model puts around it. Pure, and the same however the text is
//! cut.

/// The most that is held back at the start, to see whether a fence comes.
const MAX_HELD: usize = 2048;

/// JSON that begins with a letter.
const LITERALS: [&str; 3] = ["true", "false", "null"];

/// The most that may stand behind an opening fence: the name of a language.
const MAX_INFO: usize = 64;

/// Takes the fence from a model's answer.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the states of a scanner, in any combination")]
pub(super) struct Fence {
    stage: Stage,
    /// What is not sure yet.
    held: String,
    /// A fence was opened; `fresh`: and nothing came after it yet.
    opened: bool,
    fresh: bool,
    /// Within a string of the JSON.
    in_string: bool,
    escaped: bool,
    /// Where the text begins in the middle of JSON, it is not known whether that is in a string.
    is_sure: bool,
    /// Something else than white space was cut off.
    cut: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// JSON was not asked for.
    #[default]
    Off,
    /// Nothing but white space, or words before a fence.
    Start,
    /// JSON, until so many of these.
    Json(char, usize),
    /// The fence was closed: what follows is not the answer.
    Over,
}

impl Fence {
    /// For an answer that has to be JSON; `continues`: its beginning was given out before.
    pub(super) fn around_json(continues: bool) -> Self {
        Self { stage: Stage::Start, is_sure: !continues, ..Self::default() }
    }

    /// Takes the next piece of text, and gives what is sure.
    pub(super) fn push(&mut self, text: String) -> String {
        match self.stage {
            Stage::Off => text,
            Stage::Start => {
                self.held += &text;
                self.start()
            }
            Stage::Json(..) => self.json(&text),
            Stage::Over => {
                self.cut |= !text.trim().is_empty();
                String::new()
            }
        }
    }

    /// The text is over: gives what was held back and is no fence.
    pub(super) fn finish(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        match self.stage {
            Stage::Json(..) if self.opened && held.trim().is_empty() => String::new(),
            _ => held,
        }
    }

    /// Whether something else than white space and fences was cut off, since this was asked.
    pub(super) fn take_cut(&mut self) -> bool {
        std::mem::take(&mut self.cut)
    }

    fn start(&mut self) -> String {
        let text = self.held.trim_start();
        let is_literal = |whole: &str| !text.is_empty() && (text.starts_with(whole) || whole.starts_with(text));
        match text.chars().next() {
            None => return String::new(),
            Some('{' | '[' | '"' | '-' | '0'..='9') => return self.begin(('`', 3), 0),
            Some('`' | '~') => {}
            Some(_) if !self.is_sure => return self.begin(('`', 3), 0),
            Some(_) => {
                if let Some(literal) = LITERALS.iter().find(|literal| is_literal(literal)) {
                    let is_whole = text.len() >= literal.len();
                    return if is_whole { self.begin(('`', 3), 0) } else { String::new() };
                }
            }
        }
        match opening(text) {
            Opening::At { words, json, fence } => {
                self.cut |= !text[..words].trim().is_empty();
                let skipped = self.held.len() - text.len() + json;
                (self.opened, self.fresh) = (true, true);
                self.begin(fence, skipped)
            }
            Opening::None if self.held.len() > MAX_HELD + MAX_INFO => self.begin(('`', 3), 0),
            Opening::None => String::new(),
        }
    }

    fn begin(&mut self, (mark, length): (char, usize), skip: usize) -> String {
        self.stage = Stage::Json(mark, length);
        let text = std::mem::take(&mut self.held);
        self.json(&text[skip..])
    }

    fn json(&mut self, text: &str) -> String {
        let Stage::Json(mark, length) = self.stage else { return String::new() };
        let mut sure = String::with_capacity(text.len());
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            if self.fresh && c.is_whitespace() {
                continue;
            }
            self.fresh = false;
            let is_outside = !self.in_string && (self.is_sure || self.held.contains('\n') || c == '\n');
            if is_outside && (c == mark || c.is_whitespace()) {
                self.held.push(c);
                if self.held.chars().rev().take_while(|held| *held == mark).count() >= length {
                    self.stage = Stage::Over;
                    self.held.clear();
                    self.cut |= !rest.as_str().trim_matches(mark).trim().is_empty();
                    return sure;
                }
                continue;
            }
            sure.push_str(&std::mem::take(&mut self.held));
            sure.push(c);
            match c {
                _ if self.escaped => self.escaped = false,
                '\\' if self.in_string => self.escaped = true,
                '"' if self.is_sure => self.in_string = !self.in_string,
                _ => {}
            }
        }
        sure
    }
}

enum Opening {
    /// Behind so many bytes of words, with the JSON at that place.
    At {
        words: usize,
        json: usize,
        fence: (char, usize),
    },
    None,
}

/// A fence that opens at the start of a line.
fn opening(text: &str) -> Opening {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let words = start;
        let inner = line.trim_start_matches([' ', '\t']);
        let indent = line.len() - inner.len();
        start += line.len();
        let Some(mark @ ('`' | '~')) = inner.chars().next() else { continue };
        let length = inner.chars().take_while(|c| *c == mark).count();
        let info = &inner[length..];
        if words > MAX_HELD {
            break;
        }
        if length < 3 || info.len() > MAX_INFO && !info.contains(['{', '[']) {
            continue;
        }
        // The name of the language ends with the line, or where the JSON begins.
        let Some(end) = info.find(['\n', '{', '[', '"']) else { continue };
        return Opening::At { words, json: words + indent + length + end, fence: (mark, length) };
    }
    Opening::None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unfenced(chunks: &[&str]) -> String {
        let mut fence = Fence::around_json(false);
        let mut text: String = chunks.iter().map(|chunk| fence.push((*chunk).to_owned())).collect();
        text += &fence.finish();
        text
    }

    #[test]
    fn json_comes_out_of_its_fence() {
        for (whole, json) in [
            ("```json\n{\"a\": 1}\n```", "{\"a\": 1}"),
            ("```json\n{\"a\": 1}\n```\n", "{\"a\": 1}"),
            ("\n\n```JSON\r\n{\"a\": 1}\r\n```  ", "{\"a\": 1}"),
            ("```\n[1]\n```", "[1]"),
            ("```json{\"a\": 1}```", "{\"a\": 1}"),
            ("~~~~json\n{\"a\": 1}\n~~~~", "{\"a\": 1}"),
            ("```json\n{\"a\": 1}", "{\"a\": 1}"),
            ("```json\n{\"a\": \"```\\n\\\"\"}\n```", "{\"a\": \"```\\n\\\"\"}"),
            ("Here it is:\n```json\n{\"a\": 1}\n```\nAnything else?", "{\"a\": 1}"),
            ("{\"a\": 1}", "{\"a\": 1}"),
            ("{\"a\": 1}\n```", "{\"a\": 1}"),
            ("{\"a\": \"x\n```\"}", "{\"a\": \"x\n```\"}"),
            ("true", "true"),
            ("The tree is an alder.", "The tree is an alder."),
            ("`tick", "`tick"),
            ("", ""),
        ] {
            assert_eq!(unfenced(&[whole]), json, "{whole}");
        }
    }

    #[test]
    fn where_json_goes_on_only_a_line_can_close_its_fence() {
        let mut fence = Fence::around_json(true);
        let mut text = fence.push("b\": \"```\"}".to_owned());
        text += &fence.push("\n```".to_owned());
        text += &fence.finish();
        assert_eq!(text, "b\": \"```\"}");
    }

    #[test]
    fn nothing_else_is_touched() {
        let mut fence = Fence::default();
        assert_eq!(fence.push("```json\n{}\n```".to_owned()), "```json\n{}\n```");
        assert_eq!(fence.finish(), "");
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same(
            parts in prop::collection::vec("```json\n|```|`|~~~|\n| |\\{\"a\": 1\\}|\"|\\\\|[a-z]{1,3}|ä", 0..10),
            size in 1usize..6,
        ) {
            let whole = parts.concat();
            let chars: Vec<char> = whole.chars().collect();
            let chunks: Vec<String> = chars.chunks(size).map(String::from_iter).collect();
            let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
            prop_assert_eq!(unfenced(&chunks), unfenced(&[&whole]));
        }
    }
}
