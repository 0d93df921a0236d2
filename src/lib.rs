//! rejoinder: a chat server for large language models whose replies are never lost.

pub mod api;
pub mod cli;
pub mod conversation;
mod crash;
pub mod log;
pub mod upstream;
