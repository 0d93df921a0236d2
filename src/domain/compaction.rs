//! A summary in place of what it sums up: what a context begins with from there on.

use super::items::{Extra, Item, ItemStatus, Message, Part, Role};

/// What a model is asked for.
pub const PROMPT: &str = "Write a summary of this conversation so far, for yourself: you will go on from it \
    alone. Keep every fact, decision, name, number, file, command and open task that may still matter, what the user \
    wants and how, and what was done last. Be dense; no preamble, no remark on this request.";

/// The field of a message that marks it as a summary. Of one that a client sent it holds the sealed text.
pub const FIELD: &str = "rejoinder_compaction";

/// What a summary begins with, as a model reads it.
const HEADING: &str = "Summary of the conversation so far:\n\n";

impl Item {
    /// A summary of the conversation so far, for a model to continue from.
    pub fn summary(id: String, text: &str, mut extra: Extra) -> Self {
        extra.entry(FIELD).or_insert_with(|| true.into());
        let content = vec![Part::InputText { text: format!("{HEADING}{text}") }];
        Self::Message(Message { id, status: ItemStatus::Completed, role: Role::Developer, content, extra })
    }

    /// Whether an item of a reply's output is the summary that the reply begins with. Messages of its own are the
    /// assistant's.
    pub const fn is_compaction(&self) -> bool {
        matches!(self, Self::Message(Message { role: Role::Developer, .. }))
    }

    /// The request for a summary. Of a user: most servers want a person to have the last word.
    pub fn asks_for_summary() -> Self {
        let content = vec![Part::InputText { text: PROMPT.to_owned() }];
        let (id, status, role, extra) = (String::new(), ItemStatus::Completed, Role::User, Extra::new());
        Self::Message(Message { id, status, role, content, extra })
    }
}

/// A message that sums up what was said before it, as those read it who go on from there.
pub fn summary_of(item: &Item) -> Option<Item> {
    let Item::Message(message) = item else { return None };
    let text: String = message.content.iter().map(Part::text).collect();
    Some(Item::summary(message.id.clone(), &text, message.extra.clone()))
}

/// An item of a reply's output as the context of later replies has it: `None` of a summary that was broken off, which
/// stands for nothing.
pub fn retold(item: &Item) -> Option<Item> {
    if !item.is_compaction() {
        return Some(item.clone());
    }
    if item.status() == ItemStatus::Completed { summary_of(item) } else { None }
}

/// Which summaries a context begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// Those that replies begin with. What a client sends besides one of its own, it wants to be read.
    OwnSummary,
    /// Also those that a client sent back.
    AnySummary,
}

/// What of a context is read since its last summary: that, and what follows it. Where no user says anything there, the last
/// question before it stays, word for word: it is what is being answered.
pub fn since_summary<T>(context: &mut Vec<T>, since: Since, item: impl Fn(&T) -> &Item) {
    let is_summary = |entry: &T| match item(entry) {
        Item::Message(message) => match (message.extra.get(FIELD), since) {
            (Some(mark), Since::OwnSummary) => *mark == true,
            (mark, Since::AnySummary) => mark.is_some(),
            (None, Since::OwnSummary) => false,
        },
        _ => false,
    };
    let Some(summary) = context.iter().rposition(is_summary) else { return };
    let is_users = |entry: &T| matches!(item(entry), Item::Message(message) if message.role == Role::User);
    let is_answered = context[summary..].iter().any(is_users);
    let question = context[..summary].iter().rposition(is_users).filter(|_| !is_answered);
    let mut rest = context.split_off(summary);
    let question = question.map(|question| context.swap_remove(question));
    rest.splice(1..1, question);
    *context = rest;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn message(role: &str, text: &str) -> Item {
        serde_json::from_value(json!({"type": "message", "id": "", "status": "completed", "role": role,
            "content": [{"type": "input_text", "text": text}]}))
        .expect("an item")
    }

    fn texts(context: &[Item]) -> Vec<String> {
        let text = |item: &Item| match item {
            Item::Message(message) => message.content.iter().map(Part::text).collect(),
            _ => String::new(),
        };
        context.iter().map(text).collect()
    }

    #[test]
    fn a_context_begins_at_its_last_summary_with_the_question_before_it() {
        let sealed = Extra::from_iter([(FIELD.to_owned(), json!("sealed"))]);
        let (own, sent) = (Extra::new(), sealed);
        let context = |extra| {
            vec![
                message("user", "first"),
                message("user", "question"),
                message("assistant", "answer"),
                Item::summary(String::new(), "sum", extra),
                message("assistant", "after"),
            ]
        };
        let since = |extra, since| {
            let mut context: Vec<Item> = context(extra);
            since_summary(&mut context, since, |item| item);
            texts(&context)
        };
        let narrow = [&format!("{HEADING}sum"), "question", "after"].map(str::to_owned);
        assert_eq!(since(own.clone(), Since::OwnSummary), narrow);
        assert_eq!(since(own, Since::AnySummary), narrow);
        assert_eq!(since(sent.clone(), Since::AnySummary), narrow);
        assert_eq!(since(sent, Since::OwnSummary).len(), 5);
        let mut answered = context(Extra::new());
        answered.push(message("user", "next"));
        since_summary(&mut answered, Since::OwnSummary, |item| item);
        assert_eq!(texts(&answered)[1..], ["after", "next"]);
    }
}
