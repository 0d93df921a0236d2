//! The response object: what a reply is, all at once.

use super::{call, echo, item, json};
use crate::domain::event::{Event, Outcome, Usage};
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::items::{Item, ItemStatus, Message, Part};
use crate::domain::params::{GivenTool, Params, SealKey, ToolKind};
use crate::domain::record::Accepted;
use crate::domain::reply::{Reply, Status};
use crate::protocols::compaction::{self, CompactionItem};
use crate::protocols::seal;

/// What has to be known of a reply, besides what it says, to write it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// Its id.
    pub(crate) id: ReplyId,
    /// When it was accepted, in Unix seconds.
    pub(crate) created_at: u64,
    /// Its parameters.
    pub(crate) params: &'a Params,
    /// The reply that it continues.
    pub(crate) previous: Option<ReplyId>,
    /// The conversation in which it is generated.
    pub(crate) conversation: Option<ThreadId>,
}

/// What is the same in every response object of one reply, written once; writes its events and its state.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    /// `{"id":…,"object":"response","created_at":…,"status":"`
    head: Box<[u8]>,
    /// `"background":…` to the last `}`.
    tail: Box<[u8]>,
    background: bool,
    seals: Seals,
    /// The messages of a reply that is a summary are told as what they are sealed to.
    compaction: Option<SealKey>,
    /// So is the summary that a reply begins with.
    compacts_with: Option<SealKey>,
    /// What calls are told as that are no plain functions' calls, by the name that the model knows.
    given: Box<[(String, GivenTool)]>,
}

/// What is sealed into the items of the output.
#[derive(Debug, Clone, Copy)]
struct Seals {
    /// The thoughts, because the client asked for it.
    thoughts: bool,
    /// What else an upstream wants back, because it is stored nowhere else.
    all: bool,
}

impl Envelope {
    /// Of a reply that was accepted.
    pub(crate) fn of(accepted: &Accepted) -> Self {
        Self::new(&Facts {
            id: accepted.reply,
            created_at: accepted.created_at,
            params: &accepted.params,
            previous: accepted.previous,
            conversation: accepted.in_conversation.then(|| accepted.reply.thread()),
        })
    }

    /// Writes what stays the same.
    pub(crate) fn new(facts: &Facts<'_>) -> Self {
        let Facts { created_at, params, .. } = facts;
        let id = facts.id.to_string();
        let head = format!(r#"{{"id":"{id}","object":"response","created_at":{created_at},"status":""#);
        let thoughts = seal::is_asked_for(&params.include);
        let seals = Seals { thoughts, all: thoughts && !params.store };
        let tail = echo::tail(facts, &id).into_boxed_slice();
        Self {
            head: head.into_bytes().into_boxed_slice(),
            tail,
            background: params.background,
            seals,
            compaction: params.compaction.clone(),
            compacts_with: params.compacts_with().cloned(),
            given: given(params),
        }
    }

    /// The same, with what else a client asks to see.
    #[must_use]
    pub(crate) fn including(mut self, include: &[String]) -> Self {
        self.seals.thoughts |= seal::is_asked_for(include);
        self
    }

    /// Appends the response object.
    pub(crate) fn write_response(&self, out: &mut Vec<u8>, reply: &Reply) {
        self.write_response_as(out, reply, reply.status(), Within::Answer);
    }

    /// What a call is to its client, where that is no plain function's.
    pub(super) fn given(&self, item: &Item) -> Option<&GivenTool> {
        let Item::FunctionCall(call) = item else { return None };
        self.given.iter().find(|(name, _)| *name == call.name).map(|(_, given)| given)
    }

    /// Whether an event is told: a summary is not told piece by piece, nor is what has no pieces.
    pub(super) fn tells(&self, reply: &Reply, event: &Event) -> bool {
        let (Event::PartAdded { item, .. } | Event::Delta { item, .. } | Event::TextDone(item) | Event::PartDone(item)) =
            event
        else {
            return true;
        };
        let Some(item) = reply.output().get(*item as usize) else { return true };
        let has_pieces = |given: &GivenTool| matches!(given.kind, ToolKind::Function | ToolKind::Custom);
        self.given(item).is_none_or(has_pieces) && self.summary(item).is_none()
    }

    /// The summary that an item is, and what it is sealed with.
    fn summary<'a>(&'a self, item: &'a Item) -> Option<(&'a Message, &'a SealKey)> {
        let Item::Message(message) = item else { return None };
        let key = if item.is_compaction() { &self.compacts_with } else { &self.compaction };
        Some((message, key.as_ref()?))
    }

    /// Whether the reply runs in the background.
    pub(super) const fn background(&self) -> bool {
        self.background
    }

    /// Appends the response object with a status of its own.
    pub(super) fn write_response_as(&self, out: &mut Vec<u8>, reply: &Reply, status: Status, within: Within) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(status.as_str().as_bytes());
        out.extend_from_slice(b"\",\"completed_at\":");
        let ended_at = reply.content().ended_at.filter(|_| status == Status::Completed);
        json(out, &ended_at);
        write_end(out, reply, within);
        out.extend_from_slice(b",\"output\":[");
        for (index, item) in reply.output().iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.write_item(out, reply, index, item);
        }
        out.extend_from_slice(b"],\"usage\":");
        match reply.usage() {
            None => out.extend_from_slice(b"null"),
            Some(usage) => write_usage(out, usage),
        }
        out.push(b',');
        match &reply.content().degraded {
            None => out.extend_from_slice(&self.tail),
            Some(degraded) => out.extend_from_slice(&echo::degraded_tail(&self.tail, degraded)),
        }
    }

    /// Appends an item of the output; where it is asked for, with what is to come back with it.
    pub(super) fn write_item(&self, out: &mut Vec<u8>, reply: &Reply, index: usize, what: &Item) {
        if let Some((message, key)) = self.summary(what) {
            let text = || message.content.iter().map(Part::text).collect::<String>();
            let sealed = match message.status {
                ItemStatus::InProgress => String::new(),
                // One that was broken off, and that a reply was to go on from, stands for nothing.
                ItemStatus::Incomplete if what.is_compaction() => compaction::seal(key, ""),
                ItemStatus::Incomplete | ItemStatus::Completed => compaction::seal(key, &text()),
            };
            return json(out, &CompactionItem::of(&message.id, &sealed));
        }
        match (what, self.given(what)) {
            (Item::FunctionCall(call), Some(given)) => call::write(out, call, given),
            _ => item::write(out, what),
        }
        if !self.seals.thoughts {
            return;
        }
        let kept = u32::try_from(index).ok().and_then(|index| reply.content().provider_state.get(&index));
        let sealed = match what {
            Item::Reasoning(_) if what.status() == ItemStatus::InProgress => None,
            Item::Reasoning(reasoning) => Some(seal::thoughts(reasoning, kept)),
            _ => kept.filter(|_| self.seals.all).map(seal::seal),
        };
        if let Some(sealed) = sealed {
            out.pop();
            out.extend_from_slice(b",\"");
            out.extend_from_slice(seal::FIELD.as_bytes());
            out.extend_from_slice(b"\":");
            json(out, &sealed);
            out.push(b'}');
        }
    }
}

fn given(params: &Params) -> Box<[(String, GivenTool)]> {
    let given = params.tools.iter().filter_map(|tool| Some((tool.name.clone(), (**tool.given.as_ref()?).clone())));
    // Of how it was given nothing is told with a call.
    given.map(|(name, given)| (name, GivenTool { value: None, ..given })).collect()
}

/// Where a response object stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// It is an answer by itself.
    Answer,
    /// It is part of an event.
    Event,
}

/// Appends `error` and `incomplete_details`. That a reply was cancelled is told by its status, and is no reason that the
/// API knows: strict SDKs refuse an object with it. A stream has no event for it but `response.incomplete`, which the AI SDK
/// takes for a normal end where no reason is given; so there it is.
fn write_end(out: &mut Vec<u8>, reply: &Reply, within: Within) {
    out.extend_from_slice(b",\"error\":");
    match reply.error() {
        None => out.extend_from_slice(b"null"),
        Some(error) => {
            out.extend_from_slice(b"{\"code\":\"");
            out.extend_from_slice(error.code.as_str().as_bytes());
            out.extend_from_slice(b"\",\"message\":");
            json(out, &error.message);
            out.push(b'}');
        }
    }
    let details: &[u8] = match reply.end().map(|end| &end.outcome) {
        Some(Outcome::MaxOutputTokens) => br#"{"reason":"max_output_tokens"}"#,
        Some(Outcome::ContentFilter) => br#"{"reason":"content_filter"}"#,
        Some(Outcome::Cancelled) if within == Within::Event => br#"{"reason":"cancelled"}"#,
        Some(Outcome::Completed | Outcome::Cancelled | Outcome::Failed(_)) | None => b"null",
    };
    out.extend_from_slice(b",\"incomplete_details\":");
    out.extend_from_slice(details);
}

/// Appends `usage`.
fn write_usage(out: &mut Vec<u8>, usage: &Usage) {
    let mut field = |name: &str, tokens: u64| {
        out.extend_from_slice(name.as_bytes());
        json(out, &tokens);
    };
    field("{\"input_tokens\":", usage.input);
    field(",\"input_tokens_details\":{\"cached_tokens\":", usage.cached);
    field(",\"cache_write_tokens\":", 0);
    field("},\"output_tokens\":", usage.output);
    field(",\"output_tokens_details\":{\"reasoning_tokens\":", usage.reasoning);
    field("},\"total_tokens\":", usage.total);
    out.push(b'}');
}
