//! rejoinder: a chat server for large language models whose replies are never lost.

pub mod conversation;
pub mod api;
pub mod log;
pub mod store;
pub mod upstream;
pub mod threads;
pub mod generation;
pub mod projection;
pub mod http;
pub mod health;
pub mod telemetry;
pub mod shutdown;
pub mod config;
pub mod app;
pub mod cli;
mod crash;
