//! Holds the promise against what clients saw, what the log stored and what model servers were asked. Shares no code with the
//! program: it reads JSON as it goes over the wire, and as it stands in the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use crate::model::answer_to;
use crate::records::Records;
use crate::rules::Rules;
use crate::trace::Trace;

/// See the module.
pub(crate) struct Checker {
    pub(crate) trace: Arc<Trace>,
    pub(crate) rules: Rules,
    pub(crate) state: Mutex<State>,
}

/// Letters of what is told of something wrong.
const LONGEST: usize = 2000;

#[derive(Default)]
pub(crate) struct State {
    /// Replies that were accepted, and when.
    pub(crate) begun: Vec<(Instant, String)>,
    violations: Vec<String>,
    replies: BTreeMap<String, Reply>,
    /// The events that anybody saw.
    events: BTreeMap<String, BTreeMap<u64, Value>>,
    /// Texts that somebody saw by other doors, by the number of their event.
    deltas: BTreeMap<String, BTreeMap<u64, String>>,
    /// Of whose end somebody was told by a webhook: under which id, and whether it was taken.
    notified: BTreeMap<String, (String, bool)>,
    /// The reply after which each prompt is to be answered.
    intended: BTreeMap<String, Option<String>>,
    /// Conversations of which their client does not know any more what is in them, and whether they are deleted.
    lost: BTreeMap<String, bool>,
    pub(crate) records: Records,
}

/// A reply, as clients know it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) prompt: String,
    /// The reply before it: the one that it names, or the last one of its conversation.
    pub(crate) before: Option<String>,
    pub(crate) conversation: Option<String>,
    /// Somebody was told that it is accepted.
    pub(crate) is_accepted: bool,
    /// The text, as far as anybody saw it.
    pub(crate) text: String,
    pub(crate) end: Option<u64>,
    pub(crate) deletion: Deletion,
    pub(crate) is_cancelled: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deletion {
    #[default]
    None,
    /// Somebody asked for it.
    Asked,
    /// Somebody was told that it is done.
    Done,
}

const TERMINAL: [&str; 3] = ["response.completed", "response.incomplete", "response.failed"];

impl Checker {
    pub(crate) fn new(trace: Arc<Trace>, rules: Rules) -> Arc<Self> {
        Arc::new(Self { trace, rules, state: Mutex::default() })
    }

    /// Something is wrong.
    pub(crate) fn violation(&self, what: impl Into<String>) {
        let mut what: String = what.into();
        if let Some((end, _)) = what.char_indices().nth(LONGEST) {
            what.truncate(end);
        }
        self.trace.note(format_args!("VIOLATION: {what}"));
        self.state.lock().violations.push(what);
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.state.lock().violations.clone()
    }

    /// A client is to ask, after this reply was said.
    pub(crate) fn intends(&self, prompt: &str, before: Option<&String>) {
        self.state.lock().intended.insert(prompt.to_owned(), before.cloned());
    }

    /// A client was told that its reply is accepted.
    pub(crate) fn accepted(&self, id: &str, prompt: &str, conversation: Option<&String>) {
        let mut state = self.state.lock();
        let before = state.intended.get(prompt).cloned().flatten();
        let reply = state.replies.entry(id.to_owned()).or_default();
        let is_other = !reply.prompt.is_empty() && reply.prompt != prompt;
        (reply.is_accepted, reply.prompt) = (true, prompt.to_owned());
        (reply.before, reply.conversation) = (before, conversation.cloned());
        drop(state);
        if is_other {
            self.violation(format!("{id} is the answer to two prompts"));
        }
    }

    /// A client saw an event of a reply; `last` is the one that it saw before.
    pub(crate) fn saw(&self, id: &str, event: &Value, last: Option<u64>) -> Option<u64> {
        let Some(number) = event["sequence_number"].as_u64() else {
            self.violation(format!("{id}: an event without a number: {event}"));
            return None;
        };
        let wrong = {
            let mut state = self.state.lock();
            let State { replies, events, deltas, .. } = &mut *state;
            let events = events.entry(id.to_owned()).or_default();
            let reply = replies.entry(id.to_owned()).or_default();
            let by_other_doors = deltas.get(id).and_then(|deltas| deltas.get(&number));
            let differs = by_other_doors.filter(|text| *text != delta(event) && reply.deletion == Deletion::None);
            let differs = differs.map(|text| format!("by another door event {number} says {text:?}, here {event}"));
            reply.take(events, number, event, last).or(differs)
        };
        if let Some(wrong) = wrong {
            self.violation(format!("{id}: {wrong}"));
        }
        Some(number)
    }

    /// A client saw the text of an event by another door.
    pub(crate) fn saw_delta(&self, id: &str, number: u64, text: &str) {
        let wrong = {
            let mut state = self.state.lock();
            let State { replies, events, deltas, .. } = &mut *state;
            if replies.get(id).is_some_and(|reply| reply.deletion != Deletion::None) {
                return;
            }
            let known = events.get(id).and_then(|events| events.get(&number)).map(|event| delta(event).to_owned());
            let before = deltas.entry(id.to_owned()).or_default().insert(number, text.to_owned());
            known.or(before).filter(|known| known != text)
        };
        if let Some(known) = wrong {
            self.violation(format!("{id}: by another door event {number} says {text:?} instead of {known:?}"));
        }
    }

    pub(crate) fn is_terminal(event: &Value) -> bool {
        event["type"].as_str().is_some_and(|kind| TERMINAL.contains(&kind))
    }

    /// A client saw a reply as a whole; `known` is what was known of it when that was asked for.
    pub(crate) fn saw_whole(&self, id: &str, response: &Value, known: &Reply) {
        let status = response["status"].as_str().unwrap_or_default();
        let is_over = ["completed", "incomplete", "failed", "cancelled"].contains(&status);
        if known.end.is_some() && !is_over {
            self.violation(format!("{id} had ended and is {status}"));
        }
        let text = text_of_output(response);
        if is_over && !text.starts_with(&known.text) {
            self.violation(format!("{id}: {:?} was seen, and it says {text:?}", known.text));
        }
        if !answer_to(&known.prompt).starts_with(&text) && !known.prompt.is_empty() {
            self.violation(format!("{id} says {text:?} to {:?}", known.prompt));
        }
    }

    /// What is known of a reply.
    pub(crate) fn reply(&self, id: &str) -> Reply {
        self.state.lock().replies.get(id).cloned().unwrap_or_default()
    }

    /// How many of its events anybody saw.
    pub(crate) fn events(&self, id: &str) -> usize {
        self.state.lock().events.get(id).map_or(0, BTreeMap::len)
    }

    pub(crate) fn replies(&self) -> BTreeMap<String, Reply> {
        self.state.lock().replies.clone()
    }

    /// A deletion is asked for, or done.
    pub(crate) fn deletes(&self, id: &str, deletion: Deletion) {
        let mut state = self.state.lock();
        let known = &mut state.replies.entry(id.to_owned()).or_default().deletion;
        *known = deletion.max(*known);
    }

    /// A conversation is deleted, or others take turns in it as well.
    pub(crate) fn loses_conversation(&self, id: &str, is_deleted: bool) {
        *self.state.lock().lost.entry(id.to_owned()).or_default() |= is_deleted;
    }

    pub(crate) fn has_lost_conversation(&self, id: &str) -> bool {
        self.state.lock().lost.contains_key(id)
    }

    pub(crate) fn has_deleted_conversation(&self, id: &str) -> bool {
        self.state.lock().lost.get(id) == Some(&true)
    }

    /// A cancellation is asked for.
    pub(crate) fn cancels(&self, id: &str) {
        self.state.lock().replies.entry(id.to_owned()).or_default().is_cancelled = true;
    }

    /// A model server was asked.
    pub(crate) fn called(&self, prompt: &str, context: &[(String, String)], prefix: &str) {
        if !answer_to(prompt).starts_with(prefix) {
            self.violation(format!("{prompt:?} is to be gone on with from {prefix:?}"));
        }
        let wrong = self.state.lock().context_is_wrong(prompt, context);
        if let Some(wrong) = wrong {
            self.violation(format!("{prompt:?} was asked with a wrong context: {wrong}"));
        }
    }

    /// A record was stored.
    pub(crate) fn stored(&self, subject: &str, is_reply_log: bool, record: &[u8]) {
        let taken = if is_reply_log { self.state.lock().records.taken(subject, record) } else { None };
        if let Some(taken) = taken {
            self.look_at_takeover(&taken);
        }
        let wrong = self.state.lock().records.take(subject, is_reply_log, record);
        for wrong in wrong {
            self.violation(wrong);
        }
        if let Some((reply, _)) = Records::accepts(record).filter(|_| !is_reply_log) {
            self.count(reply);
        }
    }

    /// Somebody is told of the end of a reply.
    pub(crate) fn notified(&self, reply: &str, id: &str, is_taken: bool) {
        let other = {
            let mut state = self.state.lock();
            let known = state.notified.entry(reply.to_owned()).or_insert_with(|| (id.to_owned(), false));
            known.1 |= is_taken;
            (known.0 != id).then(|| known.0.clone())
        };
        if let Some(other) = other {
            self.violation(format!("the end of {reply} is told as {id}, and was as {other}"));
        }
    }

    /// Replies that ended, are there, and of whose ends nobody was told.
    pub(crate) fn not_notified(&self) -> Vec<String> {
        let state = self.state.lock();
        let is_there = |id: &String| state.replies.get(id).is_none_or(|reply| reply.deletion == Deletion::None);
        let is_told = |id: &String| state.notified.get(id).is_some_and(|(_, is_taken)| *is_taken);
        state.records.accepted().into_iter().filter(|id| is_there(id) && !is_told(id)).collect()
    }

    /// Replies that were accepted, and have no end in the transcript.
    pub(crate) fn open(&self) -> Vec<String> {
        self.state.lock().records.open()
    }

    /// Replies that the log accepted, whether a client knows of them or not.
    pub(crate) fn accepted_in_log(&self) -> Vec<String> {
        self.state.lock().records.accepted()
    }
}

impl State {
    /// What a model server is asked with has to be what was said before: each reply after its parent, with the parent's whole
    /// text as its clients saw it. Threads of which something was deleted are not looked at.
    fn context_is_wrong(&self, prompt: &str, context: &[(String, String)]) -> Option<String> {
        let mut before = self.intended.get(prompt)?.clone();
        let mut expected = vec![("user".to_owned(), prompt.to_owned())];
        while let Some(id) = &before {
            let reply = self.replies.get(id)?;
            if reply.deletion != Deletion::None || reply.end.is_none() {
                return None;
            }
            if !reply.text.is_empty() {
                expected.push(("assistant".to_owned(), reply.text.clone()));
            }
            expected.push(("user".to_owned(), reply.prompt.clone()));
            before.clone_from(&reply.before);
        }
        expected.reverse();
        (expected != context).then(|| format!("{context:?} instead of {expected:?}"))
    }
}

impl Reply {
    /// Takes in an event, beside those that were seen. Gives what is wrong with it.
    fn take(
        &mut self,
        events: &mut BTreeMap<u64, Value>,
        number: u64,
        event: &Value,
        last: Option<u64>,
    ) -> Option<String> {
        if let Some(last) = last
            && number != last + 1
        {
            return Some(format!("event {number} came after {last}"));
        }
        // What is deleted is ended for each follower where it was for them: the records between are erased.
        if self.deletion != Deletion::None {
            return None;
        }
        if let Some(known) = events.get(&number) {
            return (known != event).then(|| format!("event {number} was {known} and is {event}"));
        }
        if self.end.is_some_and(|end| number > end) {
            return Some(format!("event {number} comes after the end: {event}"));
        }
        let is_next = events.last_key_value().is_none_or(|(last, _)| *last < number);
        events.insert(number, event.clone());
        if Checker::is_terminal(event) {
            if !is_next {
                return Some(format!("the end {number} comes before events that were seen"));
            }
            self.end = Some(number);
        }
        if is_next {
            self.text += delta(event);
        } else {
            self.text = events.values().map(delta).collect();
        }
        None
    }
}

/// The text that an event adds.
fn delta(event: &Value) -> &str {
    let is_text = event["type"] == "response.output_text.delta";
    event["delta"].as_str().filter(|_| is_text).unwrap_or_default()
}

/// The text of a response.
pub(crate) fn text_of_output(response: &Value) -> String {
    let items = response["output"].as_array().into_iter().flatten();
    let parts = items.filter(|item| item["type"] == "message").filter_map(|item| item["content"].as_array()).flatten();
    parts.filter_map(|part| part["text"].as_str()).collect()
}
