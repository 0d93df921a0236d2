//! `rejoinder completions`: lets a shell complete the command line.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::{Cli, Exit};

/// The shell to complete for.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell that is to know the commands
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  rejoinder completions bash > ~/.local/share/bash-completion/completions/rejoinder
  rejoinder completions zsh > ~/.zfunc/_rejoinder
  rejoinder completions fish > ~/.config/fish/completions/rejoinder.fish";

/// Prints the script.
pub(crate) fn run(args: &Args) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "rejoinder", &mut script);
    // A reader that has gone away has what it wanted.
    if std::io::stdout().write_all(&script).is_ok() { Exit::Done } else { Exit::Bad }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_learns_every_command() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "rejoinder", &mut script);
            let script = String::from_utf8(script).unwrap();
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }
}
