//! What is asked of an upstream.

use std::sync::Arc;

use serde_json::Value;

use crate::domain::items::Item;
use crate::domain::params::Params;

/// A call of an upstream: everything that it needs to say a reply, or to go on with one.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The parameters of the reply, with its instructions and the resolved model.
    pub(crate) params: Arc<Params>,
    /// What was said before, oldest first; ends with the reply's own input.
    pub(crate) context: Vec<ContextItem>,
    /// What the reply has said already; absent at its first start.
    pub(crate) prefix: Option<Prefix>,
    /// The most that is taken of the answer, in bytes of text, thoughts and arguments.
    pub(crate) max_bytes: usize,
}

/// An item of the context, with what the upstream wants back with it.
#[derive(Debug, Clone)]
pub(crate) struct ContextItem {
    /// The item.
    pub(crate) item: Item,
    /// See [`super::delta::Delta::Kept`] and [`super::delta::ToolCallDelta::kept`].
    pub(crate) kept: Option<Value>,
}

/// What a reply has said already, to be continued.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// The text of the message that is open, without trailing white space. May be empty (nothing or only thoughts
    /// were said): then the call is made as if for the first time.
    pub(crate) text: String,
    /// A function call that was opened and whose arguments are to be made again: its name, forced by `tool_choice`.
    pub(crate) call: Option<String>,
}

/// How a started call continues a prefix; tells how to mend the seam.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Continuation {
    /// There was nothing to continue.
    #[default]
    Fresh,
    /// The upstream goes on from a final assistant message: seam-free.
    Prefill,
    /// The upstream was told, in words, to go on, and to begin by repeating the last words.
    Instruct,
}

impl Call {
    /// About as many bytes as it is long, in text and images.
    pub(crate) fn text_bytes(&self) -> usize {
        self.context.iter().map(|entry| entry.item.text_bytes()).sum()
    }

    /// What it tells the model, as JSON.
    pub(crate) fn context_json(&self) -> String {
        let items: Vec<&Item> = self.context.iter().map(|entry| &entry.item).collect();
        serde_json::to_string(&items).unwrap_or_default()
    }

    /// Whether there is something to go on from.
    pub(crate) fn continues(&self) -> bool {
        self.prefix.as_ref().is_some_and(|prefix| !prefix.is_empty())
    }
}

impl Prefix {
    /// Whether nothing was said that could be gone on from.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.call.is_none()
    }
}
