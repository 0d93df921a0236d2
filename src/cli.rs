//! The command line: what a person types, and the code that the process ends with. Each command lives in its own module
//! and knows nothing of the others.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub(crate) mod backup;
pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod keys;
pub(crate) mod migrate;
pub(crate) mod openapi;
pub(crate) mod serve;
pub(crate) mod torture;

pub(crate) use crate::telemetry::causes::chain;

mod colour;
mod configured;
mod event;
mod server;

/// What `rejoinder` was asked to do.
#[derive(Debug, Parser)]
#[command(name = "rejoinder", version, about = "A chat server for large language models whose replies are never lost.", after_help = EXAMPLES)]
pub struct Cli {
    /// The command; without one it serves.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// The commands. Without one, `rejoinder` serves.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve, as without a word
    Serve(serve::Args),
    /// Try everything that is configured, and say what will not work and why
    Check(check::Args),
    /// Bring the store's tables up to date, as the server does when it starts
    Migrate(migrate::Args),
    /// Copy log and store, while the server runs
    Backup(backup::Args),
    /// Put a copy where log and store are configured to be
    Restore(backup::RestoreArgs),
    /// Make API keys, and show which there are
    Keys(keys::Args),
    /// Talk with a model, in a terminal or from a script
    Chat(Box<chat::Args>),
    /// Put load on a server and measure how it answers
    Bench(Box<bench::Args>),
    /// Kill, freeze and restart servers under load, and check that they keep every promise
    Torture(Box<torture::Args>),
    /// Print the `OpenAPI` document of the server
    Openapi(openapi::Args),
    /// Print a script that lets a shell complete these commands
    Completions(completions::Args),
}

const EXAMPLES: &str = "\
Examples:
  LLM_BASE_URL=http://localhost:11434/v1 rejoinder
  rejoinder check
  rejoinder migrate --dry-run
  rejoinder backup /backups/today
  rejoinder keys new --tenant acme
  rejoinder chat http://127.0.0.1:8080
  rejoinder bench http://127.0.0.1:8080 --clients 100 --for 10s
  rejoinder torture --for 60s
  rejoinder completions bash

Exit codes:
  0    done
  1    it ran, and something is wrong (the output says what)
  2    the command line is wrong
  3    the server cannot be reached
  130  stopped with Ctrl-C";

/// How a command ended, as scripts see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done: 0.
    Done,
    /// It ran, and what it was to find out is bad news: 1.
    Bad,
    /// The command line is wrong: 2.
    Usage,
    /// The server cannot be reached: 3.
    Unreachable,
    /// Stopped with Ctrl-C: 130, as shells have it.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Bad => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::Interrupted => 130,
        })
    }
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    run(Cli::parse()).into()
}

fn run(cli: Cli) -> Exit {
    match cli.command {
        Some(Command::Chat(args)) => chat::run(&args),
        Some(Command::Bench(args)) => bench::run(&args),
        Some(Command::Torture(args)) => torture::run(&args),
        Some(Command::Openapi(_)) => openapi::run(),
        Some(Command::Completions(args)) => completions::run(&args),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Migrate(args)) => migrate::run(&args),
        Some(Command::Backup(args)) => backup::run(&args),
        Some(Command::Restore(args)) => backup::restore(&args),
        Some(Command::Keys(args)) => keys::run(&args),
        Some(Command::Serve(_)) | None => serve::run(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        for mut command in Cli::command().get_subcommands().cloned() {
            assert!(command.render_long_help().to_string().contains("Examples:"), "{}", command.get_name());
        }
    }

    #[test]
    fn what_cannot_go_together_is_refused() {
        let parses = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(parses("rejoinder bench http://x --clients 3 --every 50ms --for 1m --words 5"));
        for line in [
            "bench",
            "bench x --clients 0",
            "bench x --for 2h",
            "bench x --every 5",
            "bench x --idle 3 --fanout 3",
            "bench x --idle-shared",
            "bench x --compare-pid 1",
        ] {
            assert!(!parses(&format!("rejoinder {line}")), "{line}");
        }
    }
}
