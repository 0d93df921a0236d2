//! What is asked of an upstream.

use std::sync::Arc;

use serde_json::Value;

use crate::domain::items::Item;
use crate::domain::params::Params;

/// A call of an upstream: everything that it needs to generate a reply, or to continue one.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The parameters of the reply, with its instructions and the resolved model.
    pub(crate) params: Arc<Params>,
    /// The context so far, oldest first; ends with the reply's own input.
    pub(crate) context: Vec<ContextItem>,
    /// What the reply has generated already; absent at its first start.
    pub(crate) prefix: Option<Prefix>,
    /// The most that is taken of the answer, in bytes of text, thoughts and arguments.
    pub(crate) max_bytes: usize,
}

/// An item of the context, with what the upstream wants back with it.
#[derive(Debug, Clone)]
pub(crate) struct ContextItem {
    /// The item.
    pub(crate) item: Item,
    /// See [`super::delta::Delta::ProviderState`] and [`super::delta::ToolCallDelta::provider_state`].
    pub(crate) provider_state: Option<Value>,
}

/// The output that a reply has already generated, to be continued.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// The text of the message that is open, without trailing white space. May be empty (nothing or only thoughts
    /// were generated): then the call is made as if for the first time.
    pub(crate) text: String,
    /// A function call that was opened and whose arguments are to be made again: its name, forced by `tool_choice`.
    pub(crate) call: Option<String>,
}

/// How a started call continues a prefix; determines how its output is spliced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Continuation {
    /// There was nothing to continue.
    #[default]
    Fresh,
    /// The upstream continues a final assistant message: no overlap.
    Prefill,
    /// The upstream was instructed, in words, to continue, and to begin by repeating the last words.
    Instruct,
}

impl Call {
    /// About as many bytes as it is long, in text and images.
    pub(crate) fn text_bytes(&self) -> usize {
        self.context.iter().map(|entry| entry.item.text_bytes()).sum()
    }

    /// The context, as JSON.
    pub(crate) fn context_json(&self) -> String {
        let items: Vec<&Item> = self.context.iter().map(|entry| &entry.item).collect();
        serde_json::to_string(&items).unwrap_or_default()
    }

    /// Whether there is a prefix to continue.
    pub(crate) fn continues(&self) -> bool {
        self.prefix.as_ref().is_some_and(|prefix| !prefix.is_empty())
    }
}

impl Prefix {
    /// Whether nothing was generated that could be continued.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.call.is_none()
    }
}
