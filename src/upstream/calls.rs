//! Which pieces of a stream belong to which function call. Servers number calls by index, by id, by position in the
//! chunk, or by nothing at all; here they are counted in order of appearance.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::chunk::ToolCall;
use super::delta::{Delta, ToolCallDelta};
use super::kept;

/// The calls of one stream.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<Open>,
    /// Calls that were told; a call is told once it has a name.
    told: usize,
}

#[derive(Debug, Default)]
struct Open {
    /// The server's index, or the position in the chunk where it gives none.
    place: u64,
    id: Option<String>,
    name: Option<String>,
    /// What was said of the arguments.
    arguments: String,
    /// Its number in the stream, once it was told.
    number: Option<usize>,
}

impl Calls {
    /// Takes a piece of a call, the `position`-th of its chunk.
    pub(super) fn piece(&mut self, position: usize, piece: ToolCall<'_>, sink: &mut impl FnMut(Delta)) {
        let function = piece.function.unwrap_or_default();
        let arguments = function.arguments();
        let full = |text: Option<Cow<'_, str>>| text.filter(|text| !text.is_empty()).map(Cow::into_owned);
        let (id, name) = (full(piece.id), full(function.name));
        let index = piece.index.0;
        let known = match (&id, index) {
            (Some(id), None) => self.calls.iter().rposition(|call| call.id.as_ref() == Some(id)),
            _ => None,
        };
        let place = index.unwrap_or(position as u64);
        let known = known
            .or_else(|| self.calls.iter().rposition(|call| call.place == place))
            .filter(|call| !self.calls[*call].is_over(id.as_deref(), name.as_deref()));
        let call = known.unwrap_or_else(|| {
            self.calls.push(Open { place, ..Open::default() });
            self.calls.len() - 1
        });
        let kept = piece.extra_content.and_then(|extra| kept::of("extra_content", extra));
        let delta = self.calls[call].take(id, name, arguments, &mut self.told);
        if let Some(delta) = delta.filter(|delta| delta.name.is_some() || !delta.arguments.is_empty() || kept.is_some())
        {
            sink(Delta::ToolCall(ToolCallDelta { kept, ..delta }));
        }
    }

    /// Whether any call was told.
    pub(super) const fn any(&self) -> bool {
        self.told > 0
    }
}

impl Open {
    /// Whether a piece with this id and name is the beginning of another call at the same place.
    fn is_over(&self, id: Option<&str>, name: Option<&str>) -> bool {
        let (Some(own), Some(name)) = (self.name.as_deref(), name) else { return false };
        match (self.id.as_deref(), id) {
            (Some(own), Some(id)) if own != id => true,
            _ if own != name => true,
            // The same name again, and no id ever: another call if this one's arguments are complete.
            (None, None) => serde_json::from_str::<IgnoredAny>(&self.arguments).is_ok(),
            _ => false,
        }
    }

    fn take(
        &mut self,
        id: Option<String>,
        name: Option<String>,
        arguments: String,
        told: &mut usize,
    ) -> Option<ToolCallDelta> {
        self.arguments += &arguments;
        self.id = self.id.take().or(id);
        if let Some(call) = self.number {
            return Some(ToolCallDelta { call, arguments, ..ToolCallDelta::default() });
        }
        self.name = name;
        let name = self.name.clone()?;
        let call = *self.number.insert(*told);
        *told += 1;
        let (id, arguments) = (self.id.clone(), self.arguments.clone());
        Some(ToolCallDelta { call, id, name: Some(name), arguments, kept: None })
    }
}
