//! Function calls that are open. Their arguments are held until they are complete, and then emitted at once, so that a
//! reply never has half of them.

use std::collections::HashSet;

use serde_json::Value;

use super::options::JsonForm;
use crate::domain::event::{Event, Opening};
use crate::domain::ids::ReplyId;
use crate::domain::items::Item;
use crate::domain::open::Stage;
use crate::domain::reply::Reply;
use crate::llm::delta::ToolCallDelta;

/// The calls of a reply.
#[derive(Debug)]
pub(super) struct Calls {
    reply: ReplyId,
    /// Opened and not closed, in order of their items.
    open: Vec<Call>,
    /// Begun by the upstream, still without a name.
    unnamed: Vec<Pieces>,
    /// The upstream's numbers of calls of which nothing more is taken.
    closed: HashSet<usize>,
    /// The `call_id`s of the reply.
    ids: HashSet<String>,
    any: bool,
}

/// A call that is open.
#[derive(Debug)]
struct Call {
    item: u32,
    name: String,
    arguments: Arguments,
}

/// How far the arguments of a call got.
#[derive(Debug)]
enum Arguments {
    /// An earlier attempt opened the call; this one is to make its arguments again.
    Awaited,
    /// They are coming.
    Held(Pieces),
    /// They were emitted, and the call was not closed; with `text_open` their completion was not emitted either.
    Emitted { text_open: bool, whole: bool },
}

/// What an upstream has sent of a call.
#[derive(Debug)]
pub(super) struct Pieces {
    call: usize,
    id: Option<String>,
    name: Option<String>,
    arguments: String,
    provider_state: Option<Value>,
}

/// How calls are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The upstream was done: as complete.
    Whole,
    /// It was stopped: as complete or incomplete, as the arguments are.
    Short,
    /// The reply was: as incomplete, and what is held is dropped.
    Abandoned,
}

impl Calls {
    /// The calls as earlier attempts left them.
    pub(super) fn taken_over(reply: &Reply) -> Self {
        let calls = reply.output().iter().filter_map(|item| match item {
            Item::FunctionCall(call) => Some(call.call_id.clone()),
            _ => None,
        });
        let ids: HashSet<String> = calls.collect();
        let open = reply.open_items().iter().filter_map(|open| {
            let Item::FunctionCall(call) = &reply.output()[open.item as usize] else { return None };
            let text_open = open.stage == Stage::Generating;
            let arguments = if text_open && call.arguments.is_empty() {
                Arguments::Awaited
            } else {
                Arguments::Emitted { text_open, whole: JsonForm::Object.matches(&call.arguments) }
            };
            Some(Call { item: open.item, name: call.name.clone(), arguments })
        });
        Self {
            reply: reply.id(),
            open: open.collect(),
            unnamed: Vec::new(),
            closed: HashSet::new(),
            any: !ids.is_empty(),
            ids,
        }
    }

    /// Whether the reply has any.
    pub(super) const fn any(&self) -> bool {
        self.any
    }

    /// Whether the arguments of a call of an earlier attempt have not begun to come.
    pub(super) fn waiting(&self) -> bool {
        self.open.iter().any(|call| matches!(call.arguments, Arguments::Awaited))
    }

    /// Whether no arguments are half there.
    pub(super) fn are_whole(&self) -> bool {
        !self.waiting()
            && self.open.iter().all(|call| match &call.arguments {
                Arguments::Held(pieces) => pieces.arguments.trim().is_empty() || pieces.are_whole(),
                Arguments::Awaited | Arguments::Emitted { .. } => true,
            })
    }

    /// Takes a piece of a call; returns the call when it can be [opened](Self::open).
    pub(super) fn push(&mut self, piece: ToolCallDelta) -> Option<Pieces> {
        if self.closed.contains(&piece.call) {
            return None;
        }
        if let Some(pieces) = self.held(piece.call) {
            pieces.add(piece);
            return None;
        }
        let position = self.unnamed.iter().position(|pieces| pieces.call == piece.call).unwrap_or_else(|| {
            self.unnamed.push(Pieces::new(piece.call));
            self.unnamed.len() - 1
        });
        self.unnamed[position].add(piece);
        self.unnamed[position].name.as_ref()?;
        let named = self.unnamed.swap_remove(position);
        if self.waiting() { self.adopt(named) } else { Some(named) }
    }

    /// Assigns a call of this attempt to the item of an earlier one. Any other call is one that came before, or
    /// was not asked for: while an item waits, none is opened.
    fn adopt(&mut self, named: Pieces) -> Option<Pieces> {
        let awaited = |call: &&mut Call| {
            matches!(call.arguments, Arguments::Awaited) && named.name.as_deref() == Some(&call.name)
        };
        match self.open.iter_mut().find(awaited) {
            Some(call) => call.arguments = Arguments::Held(named),
            None => drop(self.closed.insert(named.call)),
        }
        None
    }

    /// Opens the item of a call.
    pub(super) fn open(&mut self, mut pieces: Pieces, item: u32, out: &mut Vec<Event>) {
        let name = pieces.name.take().unwrap_or_default();
        let given = pieces.id.take().filter(|id| !self.ids.contains(id));
        let call_id = given.unwrap_or_else(|| self.reply.output_item("call", item as usize));
        self.ids.insert(call_id.clone());
        self.any = true;
        out.push(Event::ItemAdded(Opening::FunctionCall { call_id, name: name.clone() }));
        self.open.push(Call { item, name, arguments: Arguments::Held(pieces) });
    }

    /// Attaches the provider state to the last open call, if there is no other item for it.
    pub(super) fn keep(&mut self, provider_state: &mut Option<Value>) {
        if let Some(Call { arguments: Arguments::Held(pieces), .. }) = self.open.last_mut() {
            pieces.keep(provider_state.take());
        }
    }

    /// Closes the calls whose arguments are whole, because something else begins.
    pub(super) fn complete_whole(&mut self, out: &mut Vec<Event>) {
        self.complete_where(out, |call| match &call.arguments {
            Arguments::Held(pieces) => pieces.are_whole(),
            Arguments::Emitted { whole, .. } => *whole,
            Arguments::Awaited => false,
        });
    }

    /// Closes the calls that this attempt made, because it is done.
    pub(super) fn complete_heard(&mut self, out: &mut Vec<Event>) {
        self.complete_where(out, |call| !matches!(call.arguments, Arguments::Awaited));
    }

    fn complete_where(&mut self, out: &mut Vec<Event>, is_complete: fn(&mut Call) -> bool) {
        let complete: Vec<Call> = self.open.extract_if(.., is_complete).collect();
        for call in complete {
            self.close_one(call, Ending::Whole, out);
        }
    }

    /// Closes all calls. Those that never got a name never were.
    pub(super) fn close(&mut self, ending: Ending, out: &mut Vec<Event>) {
        for call in std::mem::take(&mut self.open) {
            self.close_one(call, ending, out);
        }
    }

    fn close_one(&mut self, call: Call, ending: Ending, out: &mut Vec<Event>) {
        let Call { item, arguments, .. } = call;
        let (whole, text_open, provider_state) = match arguments {
            Arguments::Awaited => (false, true, None),
            Arguments::Emitted { text_open, whole } => (whole, text_open, None),
            Arguments::Held(pieces) => {
                self.closed.insert(pieces.call);
                let whole = ending != Ending::Abandoned && (ending == Ending::Whole || pieces.are_whole());
                let text = if whole { pieces.complete_arguments() } else { pieces.arguments.as_str() };
                if ending != Ending::Abandoned && !text.is_empty() {
                    out.push(Event::Delta { item, text: text.to_owned(), logprobs: Vec::new() });
                }
                (whole, true, pieces.provider_state)
            }
        };
        if text_open {
            out.push(Event::TextDone(item));
        }
        out.push(Event::ItemDone { item, incomplete: !whole, provider_state });
    }

    fn held(&mut self, number: usize) -> Option<&mut Pieces> {
        self.open.iter_mut().find_map(|call| match &mut call.arguments {
            Arguments::Held(pieces) if pieces.call == number => Some(pieces),
            _ => None,
        })
    }
}

impl Pieces {
    const fn new(call: usize) -> Self {
        Self { call, id: None, name: None, arguments: String::new(), provider_state: None }
    }

    fn add(&mut self, piece: ToolCallDelta) {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        self.id = self.id.take().or(given(piece.id));
        self.name = self.name.take().or(given(piece.name));
        self.arguments.push_str(&piece.arguments);
        self.keep(piece.provider_state);
    }

    /// Adds to what the upstream wants back with the call.
    pub(super) fn keep(&mut self, provider_state: Option<Value>) {
        if let Some(provider_state) = provider_state {
            crate::llm::provider_state::join(&mut self.provider_state, provider_state);
        }
    }

    fn are_whole(&self) -> bool {
        JsonForm::Object.matches(&self.arguments)
    }

    /// The arguments; a function that takes none is called with an empty object, which clients can parse.
    fn complete_arguments(&self) -> &str {
        if self.arguments.trim().is_empty() { "{}" } else { &self.arguments }
    }
}
