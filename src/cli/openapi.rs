//! `rejoinder openapi`: prints the `OpenAPI` document, as `GET /openapi.json` gives it.

use std::io::Write;

use crate::cli::Exit;

/// Nothing is asked for.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

const EXAMPLES: &str = "\
Examples:
  rejoinder openapi > openapi.json";

/// Prints the document.
pub(crate) fn run() -> Exit {
    let document = format!("{:#}\n", crate::http::document());
    // A reader that has gone away has what it wanted.
    if std::io::stdout().write_all(document.as_bytes()).is_ok() { Exit::Done } else { Exit::Bad }
}
