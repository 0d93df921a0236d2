//! What is done for each route.

pub(super) mod audio;
pub(super) mod browsers;
pub(super) mod chat_completions;
mod conversations;
pub(super) mod health;
pub(super) mod models;
pub(in crate::http) mod responses;
mod transcriptions;
mod ui_messages;
mod usage;
mod users;
mod webhooks;
