//! Function calls that a model writes into its text, in the form of its own template, because its server does not read
//! that form: separated from the text, where a function is named that may be called.
//!
//! Only at the start of a line, and not in a block of code: there the form is what the model talks about. What turns out to
//! be no call is text after all. Pure, and the same however the text is cut.

use serde_json::{Map, Value};

/// What opens calls, and what closes them; empty: the end of the text does.
const FORMS: &[(&str, &str)] =
    &[("<tool_call>", "</tool_call>"), ("<function=", "</function>"), ("<|python_tag|>", ""), ("[TOOL_CALLS]", "")];

/// The most that is held back, in bytes: no arguments are longer.
const MAX_HELD: usize = 1 << 20;

/// Splits a model's text into text and calls.
#[derive(Debug, Default)]
pub(super) struct Written {
    is_on: bool,
    /// What may be the beginning of a call, or is one that is not whole.
    held: String,
    /// How the call is closed that is held. `None`: none has begun for sure.
    form: Option<&'static str>,
    /// Something stands on the line already.
    in_line: bool,
    /// A block of code is open.
    in_code: bool,
    /// The line so far begins as the fence of a block does.
    ticks: usize,
}

/// A piece of what a model wrote.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text, never empty.
    Text(String),
    /// A call: the function, and its arguments as JSON.
    Call(String, String),
}

impl Written {
    /// For an answer that may call functions.
    pub(super) const fn looked_for(is_on: bool) -> Self {
        Self { is_on, held: String::new(), form: None, in_line: false, in_code: false, ticks: 0 }
    }

    /// Whether calls are looked for.
    pub(super) const fn is_on(&self) -> bool {
        self.is_on
    }

    /// Takes the next piece of text, and gives what is sure. `knows`: whether a function may be called.
    pub(super) fn push(&mut self, text: String, knows: impl Fn(&str) -> bool, mut sink: impl FnMut(Piece)) {
        if !self.is_on {
            sink(Piece::Text(text));
            return;
        }
        let mut rest = std::mem::take(&mut self.held) + &text;
        while !rest.is_empty() {
            rest = match self.form {
                Some(close) => match self.close(&rest, close, &knows, &mut sink) {
                    Some(rest) => rest,
                    None => return,
                },
                None => match self.open(rest, &mut sink) {
                    Some(rest) => rest,
                    None => return,
                },
            };
        }
    }

    /// Nothing more comes: gives what is held.
    pub(super) fn finish(&mut self, knows: impl Fn(&str) -> bool, mut sink: impl FnMut(Piece)) {
        let held = std::mem::take(&mut self.held);
        let calls =
            self.form.take().and_then(|_| calls(&held)).filter(|calls| calls.iter().all(|(name, _)| knows(name)));
        if let Some(calls) = calls {
            for (name, arguments) in calls {
                sink(Piece::Call(name, arguments));
            }
        } else if !held.is_empty() {
            sink(Piece::Text(held));
        }
    }

    /// Returns text up to what opens a call, or may. `None`: all of it is given or held.
    fn open(&mut self, text: String, sink: &mut impl FnMut(Piece)) -> Option<String> {
        let mut line = 0;
        loop {
            if !self.in_line && !self.in_code {
                let found = &text[line..];
                let start = found.trim_start();
                if let Some((_, close)) = FORMS.iter().find(|(open, _)| start.starts_with(open)) {
                    let shown = visible(&text[..line]);
                    if !shown.is_empty() {
                        sink(Piece::Text(shown.to_owned()));
                    }
                    self.form = Some(*close);
                    return Some(start.to_owned());
                }
                if FORMS.iter().any(|(open, _)| open.starts_with(start)) {
                    let given = visible(&text[..line]).len();
                    text[given..].clone_into(&mut self.held);
                    if given > 0 {
                        sink(Piece::Text(text[..given].to_owned()));
                    }
                    return None;
                }
            }
            let Some(end) = text[line..].find('\n') else {
                self.look_at(&text[line..]);
                sink(Piece::Text(text));
                return None;
            };
            self.look_at(&text[line..line + end]);
            (self.in_line, self.ticks) = (false, 0);
            line += end + 1;
        }
    }

    /// Takes note of what stands on a line.
    fn look_at(&mut self, line: &str) {
        for c in line.chars() {
            match c {
                '`' if self.ticks < 3 && !(self.in_line && self.ticks == 0) => {
                    self.ticks += 1;
                    self.in_code ^= self.ticks == 3;
                }
                c if c.is_whitespace() && !self.in_line => continue,
                _ => self.ticks = self.ticks.max(3),
            }
            self.in_line = true;
        }
    }

    /// Takes the call that has begun, if it is whole. `None`: all of it is held.
    fn close(
        &mut self,
        text: &str,
        close: &str,
        knows: impl Fn(&str) -> bool,
        sink: &mut impl FnMut(Piece),
    ) -> Option<String> {
        let end = text.find(close).filter(|_| !close.is_empty()).map(|at| at + close.len());
        let end = end.or_else(|| (text.len() > MAX_HELD).then_some(text.len()));
        let Some(end) = end else {
            text.clone_into(&mut self.held);
            return None;
        };
        self.form = None;
        let found = calls(&text[..end]).filter(|calls| calls.iter().all(|(name, _)| knows(name)));
        if let Some(calls) = found {
            for (name, arguments) in calls {
                sink(Piece::Call(name, arguments));
            }
            (self.in_line, self.ticks) = (false, 0);
        } else {
            sink(Piece::Text(text[..end].to_owned()));
            self.in_line = true;
        }
        Some(text[end..].to_owned())
    }
}

/// Text without the empty lines at its end: those before a call are none of the text.
fn visible(text: &str) -> &str {
    let words = text.trim_end().len();
    if words == 0 { "" } else { &text[..words + text[words..].find('\n').unwrap_or(text.len() - words)] }
}

/// The calls in a form, if they can be read.
fn calls(text: &str) -> Option<Vec<(String, String)>> {
    let text = text.trim();
    let calls = if let Some(rest) = text.strip_prefix("<tool_call>") {
        let inner = rest.strip_suffix("</tool_call>").unwrap_or(rest).trim();
        if inner.starts_with("<function=") { vec![of_tags(inner)?] } else { of_json(inner)? }
    } else if text.starts_with("<function=") {
        vec![of_tags(text)?]
    } else if let Some(rest) = text.strip_prefix("<|python_tag|>") {
        rest.split(';').map(of_json).collect::<Option<Vec<_>>>()?.concat()
    } else {
        of_mistral(text.strip_prefix("[TOOL_CALLS]")?)?
    };
    (!calls.is_empty()).then_some(calls)
}

/// An object with a name and arguments, or a list of them.
fn of_json(text: &str) -> Option<Vec<(String, String)>> {
    // Control tokens may follow.
    let text = text.trim().split("<|eo").next()?.trim().trim_end_matches("</s>");
    let call = |value: &Value| {
        let name = value.get("name")?.as_str()?.to_owned();
        let arguments = match value.get("arguments").or_else(|| value.get("parameters")) {
            None | Some(Value::Null) => "{}".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(object @ Value::Object(_)) => object.to_string(),
            Some(_) => return None,
        };
        Some((name, arguments))
    };
    match serde_json::from_str::<Value>(text).ok()? {
        Value::Array(list) => list.iter().map(call).collect(),
        value => Some(vec![call(&value)?]),
    }
}

/// `<function=NAME>` with its arguments as JSON, or each between `<parameter=NAME>` and `</parameter>`. A value that is JSON
/// is one, and else is text.
fn of_tags(text: &str) -> Option<(String, String)> {
    let (name, rest) = text.strip_prefix("<function=")?.split_once('>')?;
    let mut rest = rest.strip_suffix("</function>").unwrap_or(rest).trim();
    let mut arguments = Map::new();
    if rest.starts_with('{') {
        arguments = serde_json::from_str(rest).ok()?;
        rest = "";
    }
    while let Some(parameter) = rest.strip_prefix("<parameter=") {
        let (name, value) = parameter.split_once('>')?;
        let (value, after) = value.split_once("</parameter>")?;
        let value = value.strip_prefix('\n').unwrap_or(value);
        let value = value.strip_suffix('\n').unwrap_or(value);
        let read = serde_json::from_str(value.trim()).unwrap_or_else(|_| Value::from(value));
        arguments.insert(name.trim().trim_matches('"').to_owned(), read);
        rest = after.trim();
    }
    let name = name.trim().trim_matches('"').to_owned();
    rest.is_empty().then(|| (name, Value::Object(arguments).to_string()))
}

/// A list of objects, or `NAME[ARGS]{…}` for each.
fn of_mistral(text: &str) -> Option<Vec<(String, String)>> {
    if !text.contains("[ARGS]") {
        return of_json(text);
    }
    let one = |text: &str| {
        let (name, arguments) = text.split_once("[ARGS]")?;
        let name = name.split("[CALL_ID]").next()?.trim();
        let arguments: Map<String, Value> = serde_json::from_str(arguments.trim().trim_end_matches("</s>")).ok()?;
        Some((name.to_owned(), Value::Object(arguments).to_string()))
    };
    text.split("[TOOL_CALLS]").map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is made of a text that comes in pieces of so many characters.
    fn read(text: &str, size: usize) -> (String, Vec<(String, String)>) {
        let (mut written, mut output, mut calls) = (Written::looked_for(true), String::new(), Vec::new());
        let mut take = |piece| match piece {
            Piece::Text(text) => output += &text,
            Piece::Call(name, arguments) => calls.push((name, arguments)),
        };
        let knows = |name: &str| matches!(name, "weather" | "time");
        let characters: Vec<char> = text.chars().collect();
        for piece in characters.chunks(size) {
            written.push(piece.iter().collect(), knows, &mut take);
        }
        written.finish(knows, &mut take);
        (output, calls)
    }

    #[test]
    fn calls_are_read_in_the_forms_of_many_templates_however_the_text_is_cut() {
        let weather = ("weather", r#"{"city":"Oslo"}"#);
        for (text, output, calls) in [
            (
                "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>",
                "",
                vec![weather],
            ),
            (
                "Let me see.\n\n<tool_call>{\"name\":\"weather\",\"arguments\":{\"city\":\"Oslo\"}}</tool_call>\n<tool_call>{\"name\":\"time\"}</tool_call>",
                "Let me see.",
                vec![weather, ("time", "{}")],
            ),
            (
                "<tool_call>\n<function=weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>",
                "",
                vec![weather],
            ),
            ("<function=weather>{\"city\": \"Oslo\"}</function>", "", vec![weather]),
            (
                "<|python_tag|>{\"name\": \"weather\", \"parameters\": {\"city\": \"Oslo\"}}<|eom_id|>",
                "",
                vec![weather],
            ),
            ("[TOOL_CALLS][{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}]", "", vec![weather]),
            (
                "[TOOL_CALLS]weather[ARGS]{\"city\": \"Oslo\"}[TOOL_CALLS]time[ARGS]{}",
                "",
                vec![weather, ("time", "{}")],
            ),
            ("<tool_call>{\"name\":\"weather\",\"arguments\":{\"city\":\"Oslo\"}}", "", vec![weather]),
        ] {
            for size in [1, 2, 7, 1000] {
                let calls =
                    calls.iter().map(|(name, arguments)| ((*name).to_owned(), (*arguments).to_owned())).collect();
                let (found, made) = read(text, size);
                assert_eq!((found.trim_end(), made), (output, calls), "{text} in {size}");
            }
        }
    }

    #[test]
    fn what_is_no_call_stays_as_it_is() {
        for text in [
            "Nothing of the kind.\nTwo <lines> here.\n",
            "Write <tool_call>{\"name\":\"weather\"}</tool_call> like this.",
            "```\n<tool_call>{\"name\":\"weather\"}</tool_call>\n```\nso",
            "<tool_call>{\"name\":\"unknown\",\"arguments\":{}}</tool_call> and on",
            "<tool_call>no JSON</tool_call>\nand on",
            "<tool_call>{\"name\":\"weather\"",
            "  <tool",
            "<",
            "\n\n",
        ] {
            for size in [1, 3, 1000] {
                assert_eq!(read(text, size), (text.to_owned(), Vec::new()), "{text} in {size}");
            }
        }
        let mut written = Written::looked_for(false);
        written.push(
            "<tool_call>".to_owned(),
            |_| true,
            |piece| assert_eq!(piece, Piece::Text("<tool_call>".to_owned())),
        );
    }
}
