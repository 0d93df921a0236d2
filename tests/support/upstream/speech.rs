//! What the upstream says: the truth from the start, or from where a prefix of it ends, in its manner.

use serde_json::{Value, json};

use super::behaviour::{Manner, Prefill, Step, Tokens};
use crate::support::truth::{truth, word_starts};

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    /// The last thing that the user said, instructions to go on aside.
    pub prompt: String,
    /// The text that the answer has to continue.
    pub prefix: Option<String>,
    /// Whether the last message is the assistant's, with nothing that tells what to do with it.
    bare_prefill: bool,
    ends_with_assistant: bool,
}

/// Why the upstream does not answer.
#[derive(Debug)]
pub enum Refusal {
    /// It would do so to any client, with this body.
    Politely(String),
    /// No correct server would have asked this.
    Complaint(String),
}

impl Asked {
    pub fn read(body: &Value) -> Self {
        let messages = body["messages"].as_array().cloned().unwrap_or_default();
        let said = |message: &Value| text_of(&message["content"]);
        let is = |message: &Value, role: &str| message["role"] == role;
        let tells = |message: &&Value| !is(message, "assistant") && said(message).to_lowercase().contains("continu");

        let ends_with_assistant = messages.last().is_some_and(|last| is(last, "assistant"));
        let told_at_the_end = messages.len() > 1
            && messages.last().is_some_and(|last| is(last, "user") && tells(&last))
            && is(&messages[messages.len() - 2], "assistant");
        let turns = &messages[..messages.len() - usize::from(told_at_the_end)];
        let prefix = turns.last().filter(|last| is(last, "assistant")).map(said);
        let last_said = turns.iter().rev().find(|message| is(message, "user")).map(said).unwrap_or_default();
        // Of user messages that were merged into one, the last.
        let prompt = last_said.lines().last().unwrap_or_default().to_owned();
        let told = messages.iter().any(|message| tells(&message));
        Self { prompt, prefix, bare_prefill: ends_with_assistant && !told, ends_with_assistant }
    }
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// The whole answer to `asked`, step by step.
pub fn say(asked: &Asked, body: &Value, manner: &Manner) -> Result<Vec<Step>, Refusal> {
    refuse(asked, body, manner)?;
    let text = match &asked.prefix {
        None => truth(&asked.prompt),
        Some(prefix) => proceed(&truth(&asked.prompt), prefix, manner)?,
    };
    let mut steps = vec![Step::Delta(json!({"role": "assistant", "content": ""}))];
    let tokens = cut(&text, manner.tokens);
    for (number, token) in tokens.iter().enumerate() {
        if manner.breaks.is_some_and(|(after, _)| after == number) {
            break;
        }
        steps.push(Step::Pause(manner.pace));
        steps.push(Step::text(token));
    }
    if let Some((_, how)) = manner.breaks {
        steps.push(Step::Break(how));
        return Ok(steps);
    }
    steps.extend(manner.finish.map(Step::Finish));
    if body["stream_options"]["include_usage"] == true {
        steps.push(Step::usage(7, tokens.len() as u64));
    }
    steps.extend(manner.done.then_some(Step::Done));
    Ok(steps)
}

fn refuse(asked: &Asked, body: &Value, manner: &Manner) -> Result<(), Refusal> {
    let refuse = |code: &str, message: &str| {
        let error = json!({"error": {"message": message, "type": "invalid_request_error", "code": code}});
        Err(Refusal::Politely(error.to_string()))
    };
    if body["stream"] != true {
        return Err(Refusal::Complaint(format!("not asked for a stream: {body}")));
    }
    if let Some(field) = manner.rejects.iter().find(|field| !body[**field].is_null()) {
        return refuse("unknown_parameter", &format!("Unknown parameter: '{field}'."));
    }
    if body["messages"].as_array().is_some_and(|messages| messages.len() > manner.most_messages) {
        let message = "This model's maximum context length is 4096 tokens, but you asked for more.";
        return refuse("context_length_exceeded", message);
    }
    match manner.prefill {
        Prefill::RefusedUnlessTold if asked.bare_prefill => {
            refuse("invalid_request", "Prefill is not supported by this model: it takes no final assistant message.")
        }
        Prefill::Refused if asked.ends_with_assistant => {
            refuse("invalid_request", "The conversation must end with a user message, not a final assistant message.")
        }
        _ => Ok(()),
    }
}

/// What is said after `prefix`, bad manners included.
fn proceed(truth: &str, prefix: &str, manner: &Manner) -> Result<String, Refusal> {
    let Some(rest) = truth.strip_prefix(prefix) else {
        return Err(Refusal::Complaint(format!("asked to go on from {prefix:?}, which I never said: {truth:?}")));
    };
    if prefix.ends_with(char::is_whitespace) {
        return Err(Refusal::Complaint(format!("the prefix ends in white space: {prefix:?}")));
    }
    let inside_a_word = !rest.is_empty() && !rest.starts_with(' ') && !prefix.is_empty();
    let starts = word_starts(prefix);
    if starts.is_empty() || (inside_a_word && starts.len() < 2) {
        // A single broken word is too little to tell an echo from new text.
        return Ok(rest.to_owned());
    }
    // One who chats first begins again at a whole word; two words at least, so that it can be recognised.
    let back = if inside_a_word && (manner.says_first.is_some() || manner.repeats > 0) {
        manner.repeats.max(2)
    } else {
        manner.repeats
    };
    let from = if back == 0 { prefix.len() } else { starts[starts.len() - back.min(starts.len())] };
    let mut text = &truth[from..];
    if manner.drops_space || manner.says_first.is_some() {
        text = text.trim_start();
    }
    Ok(match manner.says_first {
        Some(first) if first.ends_with('\n') => format!("{first}{text}"),
        Some(first) => format!("{first} {text}"),
        None => text.to_owned(),
    })
}

/// `text` in tokens.
fn cut(text: &str, tokens: Tokens) -> Vec<String> {
    let mut cut: Vec<String> = Vec::new();
    for (number, letter) in text.chars().enumerate() {
        let begins = match tokens {
            Tokens::SpaceFirst => letter == ' ',
            Tokens::SpaceLast => cut.last().is_some_and(|token| token.ends_with(' ')),
            Tokens::Letters(most) => number % most == 0,
        };
        match cut.last_mut() {
            Some(token) if !begins => token.push(letter),
            _ => cut.push(letter.to_string()),
        }
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::truth::prompt;

    #[test]
    fn a_continuation_in_any_manner_holds_the_rest_of_the_truth() {
        let truth = truth(&prompt(9, "continuations"));
        for manner in Manner::all_bad() {
            for cut in (1..truth.len()).filter(|cut| truth.is_char_boundary(*cut)) {
                let prefix = truth[..cut].trim_end();
                let said = proceed(&truth, prefix, &manner).expect("a fair request");
                assert!(said.ends_with(truth[cut..].trim_start()), "{said:?} after {prefix:?}");
            }
        }
    }

    #[test]
    fn tokens_of_any_kind_are_the_whole_text() {
        let truth = truth(&prompt(30, "tokens"));
        for tokens in [Tokens::SpaceFirst, Tokens::SpaceLast, Tokens::Letters(1), Tokens::Letters(7)] {
            assert_eq!(cut(&truth, tokens).concat(), truth);
        }
    }

    #[test]
    fn the_instruction_to_go_on_is_not_taken_for_the_prompt() {
        let told = json!({"messages": [
            {"role": "user", "content": "Say 3 words."},
            {"role": "assistant", "content": "alder001"},
            {"role": "user", "content": "Continue exactly where you stopped."},
        ]});
        let asked = Asked::read(&told);
        assert_eq!((asked.prompt.as_str(), asked.prefix.as_deref()), ("Say 3 words.", Some("alder001")));
    }
}
