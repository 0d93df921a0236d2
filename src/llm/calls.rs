//! Which pieces of a stream belong to which function call. Servers number calls by index, by id, by position in the
//! chunk, or by nothing at all; some give every piece an id of its own, or a part of the name. Here they are counted in
//! order of appearance.
//!
//! A call is told as soon as its id and its name are sure, and its arguments once they are whole.

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
    /// Calls that were told.
    told: usize,
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
    kept: Option<Value>,
    /// Its number in the stream, once it was told.
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
    /// Its arguments were told.
    Said,
}

/// What a piece says.
struct Said<'a> {
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

    /// Takes a piece of a call, at its position in the chunk. `whole`: the server says its whole answer again. Gives the
    /// length of the piece, in bytes.
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
        let said = Said { index: piece.index.0, position, id, name, arguments: &arguments };
        let found = if whole { self.find_again(&said) } else { self.find(&said) };
        let at = found.unwrap_or_else(|| {
            self.say_whole(unread, sink);
            self.all.push(Open { index: said.index, position: position.0, ..Open::default() });
            self.all.len() - 1
        });
        self.last = Some(at);
        let call = &mut self.all[at];
        if let Some(kept) = piece.extra_content.and_then(|extra| provider_state::of("extra_content", extra)) {
            provider_state::join(&mut call.kept, kept);
        }
        call.take(&said, whole && found.is_some(), unread);
        let is_sure = call.id.is_some() && self.names.is_sure(&call.name, !call.arguments.is_empty());
        if call.number.is_none() && is_sure {
            let told = call.open(&self.names, &mut self.told);
            sink(Delta::ToolCall(told));
        }
        arguments.len() + name.map_or(0, str::len)
    }

    /// Takes a call that stands as a whole in the text.
    pub(super) fn written(&mut self, name: String, arguments: &str, unread: &mut Unread, sink: &mut impl FnMut(Delta)) {
        self.say_whole(unread, sink);
        let mut call = Open { name, arguments: Arguments::of(arguments), ..Open::default() };
        call.say(&self.names, &mut self.told, unread, sink);
        self.all.push(call);
        self.last = None;
    }

    /// Whether there is such a function.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.names.knows(&self.names.clean(name))
    }

    /// Forgets the arguments that were not told: they will not become whole.
    pub(super) fn drop_partial(&mut self) {
        for call in self.all.iter_mut().filter(|call| call.stage != Stage::Said) {
            call.arguments = Arguments::default();
            call.stage = Stage::Said;
        }
    }

    /// Whether any piece of a call came.
    pub(super) const fn any(&self) -> bool {
        !self.all.is_empty()
    }

    /// Whether any call was told.
    pub(super) const fn any_told(&self) -> bool {
        self.told > 0
    }

    /// Something else begins: tells the calls whose arguments are whole. An empty object may be the beginning of one.
    pub(super) fn say_whole(&mut self, unread: &mut Unread, sink: &mut impl FnMut(Delta)) {
        for call in &mut self.all {
            if call.stage == Stage::Growing && !call.name.is_empty() {
                if call.arguments.are_whole() {
                    call.say(&self.names, &mut self.told, unread, sink);
                } else {
                    call.stage = Stage::Partial;
                }
            }
        }
    }

    /// Nothing more comes: tells what is left. `false`: there are arguments of which nobody knows the function.
    pub(super) fn say_all(&mut self, unread: &mut Unread, sink: &mut impl FnMut(Delta)) -> bool {
        let mut all_named = true;
        for at in 0..self.all.len() {
            if self.all[at].name.is_empty() {
                all_named &= self.find_name(at, unread);
            }
        }
        for call in &mut self.all {
            if !call.name.is_empty() && call.stage != Stage::Said {
                call.say(&self.names, &mut self.told, unread, sink);
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
        let owner = before.iter_mut().rfind(|call| call.stage != Stage::Said && !call.name.is_empty());
        let owner = owner.filter(|owner| owner.arguments.would_be_whole_with(&orphan.arguments));
        if let Some(owner) = owner {
            owner.arguments.append(&std::mem::take(&mut orphan.arguments));
            return true;
        }
        unread.note(Piece::Call);
        false
    }

    /// The call that a piece belongs to. `None`: it begins another.
    fn find(&self, said: &Said<'_>) -> Option<usize> {
        let of_id = || self.all.iter().rposition(|call| said.id.is_some() && call.id.as_deref() == said.id);
        let candidate = match said.index {
            Some(index) => self.all.iter().rposition(|call| call.index == Some(index)).or_else(|| {
                // An index that grows with each piece, or that comes late.
                let unnumbered = |at: &usize| self.all[*at].index.is_none() && said.name.is_none();
                of_id()
                    .filter(|at| said.name.is_none() || !self.all[*at].arguments.are_whole())
                    .or_else(|| self.last.filter(unnumbered))
            }),
            None => of_id().or_else(|| match said.position {
                (_, 1) => self.last,
                (position, _) => self.all.iter().rposition(|call| call.position == position),
            }),
        };
        candidate.filter(|at| self.all[*at].goes_on(said, &self.names))
    }

    /// The call that a whole answer tells again.
    fn find_again(&self, said: &Said<'_>) -> Option<usize> {
        let same_id = |call: &Open| said.id.is_some() && call.id.as_deref() == said.id;
        let same_name =
            |call: &Open| said.name.is_none_or(|name| self.names.clean(&call.name) == self.names.clean(name));
        self.all
            .iter()
            .position(same_id)
            .or_else(|| {
                self.all.iter().position(|call| said.index.is_some() && call.index == said.index && same_name(call))
            })
            .or_else(|| Some(said.position.0).filter(|at| self.all.get(*at).is_some_and(same_name)))
    }
}

impl Open {
    /// Whether a piece that would belong here by its place does so by what it says, too.
    fn goes_on(&self, said: &Said<'_>, names: &Names) -> bool {
        let same_id = self.id.is_some() && self.id.as_deref() == said.id;
        let other_id = !same_id && self.id.is_some() && said.id.is_some();
        let Some(name) = said.name else {
            // Only a name begins a call; without an index, an id does, too, where the one before is over.
            return !(other_id && said.index.is_none() && (self.stage == Stage::Said || self.arguments.are_whole()));
        };
        if self.name.is_empty() {
            return !(other_id && said.index.is_none());
        }
        if names.clean(&self.name) != names.clean(name) {
            return self.arguments.is_empty()
                && self.stage != Stage::Said
                && (!other_id || said.index.is_some())
                && names.may_go_on(&self.name, name, said.index.is_some() && !other_id);
        }
        let (empty, whole) = (self.arguments.are_empty_object(), self.arguments.are_whole());
        if !empty && !whole {
            return true;
        }
        // The same function again, after arguments that may be all: the rest of them, the same once more, or a call of
        // its own.
        let begins = !said.arguments.is_empty() && !self.arguments.are(said.arguments);
        match (same_id, said.index) {
            (true, Some(_)) => true,
            (true, None) => empty || !begins,
            _ if other_id => false,
            (_, Some(_)) => empty || !begins || self.id.is_some(),
            (_, None) if self.id.is_some() && !begins => true,
            (_, None) => {
                let may_be_rest = self.id.is_some() || empty;
                said.arguments.is_empty() || may_be_rest && !Arguments::of(said.arguments).is_object()
            }
        }
    }

    fn take(&mut self, said: &Said<'_>, again: bool, unread: &mut Unread) {
        self.id = self.id.take().or_else(|| said.id.map(str::to_owned));
        self.index = self.index.or(said.index);
        if let Some(name) = said.name.filter(|_| self.number.is_none()) {
            name::add(&mut self.name, name);
        }
        match (self.stage, again) {
            (Stage::Said, _) if said.arguments.is_empty() || self.arguments.are(said.arguments) || again => {}
            // They were told, and cannot be taken back.
            (Stage::Said, _) => unread.note(Piece::Arguments),
            (_, true) if Arguments::of(said.arguments).is_object() => {
                self.arguments.replace(said.arguments);
                self.stage = Stage::Growing;
            }
            (_, true) if !self.arguments.is_empty() => {}
            _ => {
                self.arguments.push(said.arguments);
                self.stage = Stage::Growing;
            }
        }
    }

    /// Tells the call, without its arguments.
    fn open(&mut self, names: &Names, told: &mut usize) -> ToolCallDelta {
        let call = *self.number.insert(*told);
        *told += 1;
        let (id, name) = (self.id.clone(), Some(names.clean(&self.name).into_owned()));
        ToolCallDelta { call, id, name, arguments: String::new(), kept: self.kept.take() }
    }

    /// Tells the arguments, and the call if it was not.
    fn say(&mut self, names: &Names, told: &mut usize, unread: &mut Unread, sink: &mut impl FnMut(Delta)) {
        self.stage = Stage::Said;
        let arguments = self.arguments.object(unread.has_halves()).unwrap_or_else(|as_it_came| {
            unread.note(Piece::Arguments);
            as_it_came
        });
        let delta = match self.number {
            Some(call) => ToolCallDelta { call, kept: self.kept.take(), ..ToolCallDelta::default() },
            None => self.open(names, told),
        };
        sink(Delta::ToolCall(ToolCallDelta { arguments, ..delta }));
    }
}
