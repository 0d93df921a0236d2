//! The wire: requests, replies, events and errors of the Responses, Conversations and Chat Completions APIs and
//! of the AI SDK, as bytes.
//!
//! Parses what clients send into what [`crate::domain`] knows, and writes it back. Does no I/O, and does not
//! know what a request leads to.

pub(crate) mod browsers;
pub(crate) mod chat_completions;
pub(crate) mod compaction;
pub(crate) mod conversations;
pub(crate) mod error;
pub(crate) mod input_tokens;
pub(crate) mod lists;
pub(crate) mod models;
pub(crate) mod openapi;
pub(crate) mod query;
pub(crate) mod request;
pub(crate) mod seal;
pub(crate) mod stream;
pub(crate) mod transcriptions;
pub(crate) mod ui_messages;
pub(crate) mod usage;
#[cfg(test)]
mod fuzz;
pub(crate) mod webhooks;
pub(crate) mod websocket;
pub(crate) mod wire;

mod json;

pub(crate) use error::ApiError;
