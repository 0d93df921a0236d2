//! Which pieces of a stream belong to which function call. Servers number calls by index, by id, by position in the
//! chunk, or by nothing at all; some give every piece an id of its own, or a part of the name. Here they are counted in
//! order of appearance.
//!
//! A call is emitted as soon as its id and its name are certain, and its arguments once they are complete.

use std::sync::Arc;

use serde_json::Value;

use super::arguments::Arguments;
use super::chunk::ToolCall;
use super::decode::Asked;
use super::delta::{Delta, ToolCallDelta};
use super::provider_state;
use super::unread::{Piece, Unread};

mod name;

use name::Names;

/// The calls of one stream.
#[derive(Debug, Default)]
pub(super) struct Calls {
    names: Names,
    all: Vec<Open>,
    /// The one that a piece came for last.
    last: Option<usize>,
    /// How many calls were emitted.
    emitted: usize,
}

#[derive(Debug, Default)]
struct Open {
    /// The server's index.
    index: Option<u64>,
    /// The position in the chunk in which it began.
    position: usize,
    id: Option<String>,
    name: String,
    arguments: Arguments,
    provider_state: Option<Value>,
    /// Its number in the stream, once it was emitted.
    number: Option<usize>,
    stage: Stage,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Something came that was not looked at yet.
    #[default]
    Growing,
    /// What came so far is not whole.
    Partial,
    /// Its arguments were emitted.
    Emitted,
}

/// One fragment of a call, as the server sent it.
struct Fragment<'a> {
    index: Option<u64>,
    /// Its position in the chunk, and how many there are.
    position: (usize, usize),
    id: Option<&'a str>,
    name: Option<&'a str>,
    arguments: &'a str,
}

impl Calls {
    /// The calls of an answer to what was asked.
    pub(super) fn new(asked: &Asked) -> Self {
        Self { names: Names::of(asked.params.as_ref().map(Arc::clone), asked.forced.clone()), ..Self::default() }
    }

    /// Takes a piece of a call, at its position in the chunk. `whole`: the server sends its whole answer again. Returns
    /// the length of the piece, in bytes.
    pub(super) fn piece(
        &mut self,
        position: (usize, usize),
        piece: &ToolCall<'_>,
        whole: bool,
        unread: &mut Unread,
        sink: &mut impl FnMut(Delta),
    ) -> usize {
        let (arguments, has_halves) = piece.arguments().unwrap_or_else(|| {
            unread.note(Piece::Arguments);
            Default::default()
        });
        if has_halves {
            unread.found_halves();
        }
        let (id, name) = (piece.id.text(), piece.name());
        let fragment = Fragment { index: piece.index.0, position, id, name, arguments: &arguments };
        let found = if whole { self.find_again(&fragment) } else { self.find(&fragment) };
        let at = found.unwrap_or_else(|| {
            self.emit_complete(unread, sink);
            self.all.push(Open { index: fragment.index, position: position.0, ..Open::default() });
            self.all.len() - 1
        });
        self.last = Some(at);
        let call = &mut self.all[at];
        if let Some(provider_state) = piece.extra_content.and_then(|extra| provider_state::of("extra_content", extra)) {
            provider_state::join(&mut call.provider_state, provider_state);
        }
        call.take(&fragment, whole && found.is_some(), unread);
        let is_sure = call.id.is_some() && self.names.is_sure(&call.name, !call.arguments.is_empty());
        if call.number.is_none() && is_sure {
            let opened = call.open(&self.names, &mut self.emitted);
            sink(Delta::ToolCall(opened));
        }
        arguments.len() + name.map_or(0, str::len)
    }

    /// Takes a complete call from the text.
    pub(super) fn written(&mut self, name: String, arguments: &str, unread: &mut Unread, sink: &mut impl FnMut(Delta)) {
        self.emit_complete(unread, sink);
        let mut call = Open { name, arguments: Arguments::of(arguments), ..Open::default() };
        call.emit_arguments(&self.names, &mut self.emitted, unread, sink);
        self.all.push(call);
        self.last = None;
    }

    /// Whether there is such a function.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.names.knows(&self.names.clean(name))
    }

    /// Drops the arguments that were not emitted: they will not become complete.
    pub(super) fn drop_partial(&mut self) {
        for call in self.all.iter_mut().filter(|call| call.stage != Stage::Emitted) {
            call.arguments = Arguments::default();
            call.stage = Stage::Emitted;
        }
    }

    /// Whether any piece of a call came.
    pub(super) const fn any(&self) -> bool {
        !self.all.is_empty()
    }

    /// Whether any call was emitted.
    pub(super) const fn any_emitted(&self) -> bool {
        self.emitted > 0
    }

    /// Something else begins: emits the calls whose arguments are complete. An empty object may be the beginning of
    /// one.
    pub(super) fn emit_complete(&mut self, unread: &mut Unread, sink: &mut impl FnMut(Delta)) {
        for call in &mut self.all {
            if call.stage == Stage::Growing && !call.name.is_empty() {
                if call.arguments.are_whole() {
                    call.emit_arguments(&self.names, &mut self.emitted, unread, sink);
                } else {
                    call.stage = Stage::Partial;
                }
            }
        }
    }

    /// Nothing more comes: emits what is left. `false`: there are arguments whose function is not known.
    pub(super) fn emit_rest(&mut self, unread: &mut Unread, sink: &mut impl FnMut(Delta)) -> bool {
        let mut all_named = true;
        for at in 0..self.all.len() {
            if self.all[at].name.is_empty() {
                all_named &= self.find_name(at, unread);
            }
        }
        for call in &mut self.all {
            if !call.name.is_empty() && call.stage != Stage::Emitted {
                call.emit_arguments(&self.names, &mut self.emitted, unread, sink);
            }
        }
        all_named
    }

    /// A call that never got a name: it is the only function that there is, or a part of the call before it.
    fn find_name(&mut self, at: usize, unread: &mut Unread) -> bool {
        if self.all[at].arguments.is_empty() {
            unread.note(Piece::Call);
            return true;
        }
        if let Some(only) = self.names.only() {
            only.clone_into(&mut self.all[at].name);
            return true;
        }
        let (before, rest) = self.all.split_at_mut(at);
        let orphan = &mut rest[0];
        let owner = before.iter_mut().rfind(|call| call.stage != Stage::Emitted && !call.name.is_empty());
        let owner = owner.filter(|owner| owner.arguments.would_be_whole_with(&orphan.arguments));
        if let Some(owner) = owner {
            owner.arguments.append(&std::mem::take(&mut orphan.arguments));
            return true;
        }
        unread.note(Piece::Call);
        false
    }

    /// The call that a piece belongs to. `None`: it begins another.
    fn find(&self, fragment: &Fragment<'_>) -> Option<usize> {
        let of_id = || self.all.iter().rposition(|call| fragment.id.is_some() && call.id.as_deref() == fragment.id);
        let candidate = match fragment.index {
            Some(index) => self.all.iter().rposition(|call| call.index == Some(index)).or_else(|| {
                // An index that grows with each piece, or that comes late.
                let unnumbered = |at: &usize| self.all[*at].index.is_none() && fragment.name.is_none();
                of_id()
                    .filter(|at| fragment.name.is_none() || !self.all[*at].arguments.are_whole())
                    .or_else(|| self.last.filter(unnumbered))
            }),
            None => of_id().or_else(|| match fragment.position {
                (_, 1) => self.last,
                (position, _) => self.all.iter().rposition(|call| call.position == position),
            }),
        };
        candidate.filter(|at| self.all[*at].goes_on(fragment, &self.names))
    }

    /// The call that a whole answer repeats.
    fn find_again(&self, fragment: &Fragment<'_>) -> Option<usize> {
        let same_id = |call: &Open| fragment.id.is_some() && call.id.as_deref() == fragment.id;
        let same_name =
            |call: &Open| fragment.name.is_none_or(|name| self.names.clean(&call.name) == self.names.clean(name));
        self.all
            .iter()
            .position(same_id)
            .or_else(|| {
                self.all
                    .iter()
                    .position(|call| fragment.index.is_some() && call.index == fragment.index && same_name(call))
            })
            .or_else(|| Some(fragment.position.0).filter(|at| self.all.get(*at).is_some_and(same_name)))
    }
}

impl Open {
    /// Whether a fragment that would belong here by its position also does so by its content.
    fn goes_on(&self, fragment: &Fragment<'_>, names: &Names) -> bool {
        let same_id = self.id.is_some() && self.id.as_deref() == fragment.id;
        let other_id = !same_id && self.id.is_some() && fragment.id.is_some();
        let Some(name) = fragment.name else {
            // Only a name begins a call; without an index, an id does, too, where the one before is over.
            return !(other_id
                && fragment.index.is_none()
                && (self.stage == Stage::Emitted || self.arguments.are_whole()));
        };
        if self.name.is_empty() {
            return !(other_id && fragment.index.is_none());
        }
        if names.clean(&self.name) != names.clean(name) {
            return self.arguments.is_empty()
                && self.stage != Stage::Emitted
                && (!other_id || fragment.index.is_some())
                && names.may_go_on(&self.name, name, fragment.index.is_some() && !other_id);
        }
        let (empty, whole) = (self.arguments.are_empty_object(), self.arguments.are_whole());
        if !empty && !whole {
            return true;
        }
        // The same function again, after arguments that may be all: the rest of them, the same once more, or a call of
        // its own.
        let begins = !fragment.arguments.is_empty() && !self.arguments.are(fragment.arguments);
        match (same_id, fragment.index) {
            (true, Some(_)) => true,
            (true, None) => empty || !begins,
            _ if other_id => false,
            (_, Some(_)) => empty || !begins || self.id.is_some(),
            (_, None) if self.id.is_some() && !begins => true,
            (_, None) => {
                let may_be_rest = self.id.is_some() || empty;
                fragment.arguments.is_empty() || may_be_rest && !Arguments::of(fragment.arguments).is_object()
            }
        }
    }

    fn take(&mut self, fragment: &Fragment<'_>, again: bool, unread: &mut Unread) {
        self.id = self.id.take().or_else(|| fragment.id.map(str::to_owned));
        self.index = self.index.or(fragment.index);
        if let Some(name) = fragment.name.filter(|_| self.number.is_none()) {
            name::add(&mut self.name, name);
        }
        match (self.stage, again) {
            (Stage::Emitted, _) if fragment.arguments.is_empty() || self.arguments.are(fragment.arguments) || again => {
            }
            // They were emitted, and cannot be taken back.
            (Stage::Emitted, _) => unread.note(Piece::Arguments),
            (_, true) if Arguments::of(fragment.arguments).is_object() => {
                self.arguments.replace(fragment.arguments);
                self.stage = Stage::Growing;
            }
            (_, true) if !self.arguments.is_empty() => {}
            _ => {
                self.arguments.push(fragment.arguments);
                self.stage = Stage::Growing;
            }
        }
    }

    /// Emits the call, without its arguments.
    fn open(&mut self, names: &Names, emitted: &mut usize) -> ToolCallDelta {
        let call = *self.number.insert(*emitted);
        *emitted += 1;
        let (id, name) = (self.id.clone(), Some(names.clean(&self.name).into_owned()));
        ToolCallDelta { call, id, name, arguments: String::new(), provider_state: self.provider_state.take() }
    }

    /// Emits the arguments, and the call if that has not happened yet.
    fn emit_arguments(
        &mut self,
        names: &Names,
        emitted: &mut usize,
        unread: &mut Unread,
        sink: &mut impl FnMut(Delta),
    ) {
        self.stage = Stage::Emitted;
        let arguments = self.arguments.object(unread.has_halves()).unwrap_or_else(|as_it_came| {
            unread.note(Piece::Arguments);
            as_it_came
        });
        let delta = match self.number {
            Some(call) => {
                ToolCallDelta { call, provider_state: self.provider_state.take(), ..ToolCallDelta::default() }
            }
            None => self.open(names, emitted),
        };
        sink(Delta::ToolCall(ToolCallDelta { arguments, ..delta }));
    }
}
