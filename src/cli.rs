//! The command line: what a person types, and the code that the process ends with. Each command lives in its own module
//! and knows nothing of the others.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod bench;
mod duration;
mod serve;
mod sse;

/// What `rejoinder` was asked to do.
#[derive(Debug, Parser)]
#[command(name = "rejoinder", version, about = "A chat server for large language models whose replies are never lost.", after_help = EXAMPLES)]
pub struct Cli {
    /// The command; without one it serves.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// The commands. Without one, `rejoinder` serves.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Put load on a server and measure how it answers
    Bench(Box<bench::Args>),
}

const EXAMPLES: &str = "\
Examples:
  rejoinder bench http://127.0.0.1:8080 --clients 100 --for 10s

Exit codes:
  0  done
  1  it ran, and something is wrong (the output says what)
  2  the command line is wrong
  3  the server cannot be reached";

/// How a command ended, as scripts see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done: 0.
    Done,
    /// It ran, and what it was to find out is bad news: 1.
    Bad,
    /// The command line is wrong: 2.
    Usage,
    /// The server cannot be reached: 3.
    Unreachable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Bad => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
        })
    }
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    run(Cli::parse()).into()
}

fn run(cli: Cli) -> Exit {
    match cli.command {
        Some(Command::Bench(args)) => bench::run(&args),
        None => serve::run(),
    }
}

/// An error with its causes, on one line: `cannot connect to 127.0.0.1:1: Connection refused`.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors say their cause themselves.
        if !text.ends_with(&more) {
            text = text + ": " + &more;
        }
        cause = error.source();
    }
    text
}
