//! rejoinder: a chat server for large language models whose replies are never lost.

pub mod conversation;
pub mod generation;
pub mod upstream;
