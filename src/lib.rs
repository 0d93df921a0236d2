//! rejoinder: a chat server for large language models whose replies are never lost.

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod conversation;
mod crash;
pub mod generation;
pub mod health;
pub mod http;
pub mod log;
pub mod projection;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod threads;
pub mod upstream;
