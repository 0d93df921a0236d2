//! What the commands promise, tried on the real binary: as a script sees them, and in a terminal.

#![expect(unreachable_pub, reason = "the support modules read better as the library that they are to the tests")]
#![expect(clippy::print_stdout, reason = "a failing test shows the server's output")]

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, clippy::needless_pass_by_value, reason = "the server's tests use more of it")]
mod support;

mod markdown;
mod run;
mod several;
mod shell;
mod standin;
mod terminal;
mod tls;

mod bench;
mod chat;
mod chat_doors;
mod chat_elsewhere;
mod check;
mod figures;
mod migrate;
mod readme;
mod torture;
