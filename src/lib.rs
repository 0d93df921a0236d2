//! rejoinder: a chat server for large language models whose replies are never lost.

pub mod config;
pub mod telemetry;

pub mod conversation;
pub mod store;
pub mod upstream;
