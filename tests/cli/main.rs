//! What the commands promise, tried on the real binary: as a script sees them, and in a terminal.

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the server's tests use more of it")]
mod support;

mod run;
mod terminal;

mod bench;
mod chat;
