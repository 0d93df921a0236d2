//! `rejoinder migrate`: brings the store's tables, and the log's streams on NATS, up to date before a server does, and
//! tells what that means.

use std::io::Write;

use super::configured::configuration;
use super::{Exit, chain};
use crate::app::nats_config;
use crate::config::Config;
use crate::log::jetstream;
use crate::store::{History, Migration, OpenError, Store};

/// What to do with the store.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Tell what would be done, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

const EXAMPLES: &str = "\
The store is what DATABASE_URL names, or rejoinder.db in DATA_DIR. A file is made if it is not there. `rejoinder serve` \
does the same when it starts, unless MIGRATE=off: this is for those who want it done, or seen, before. Of several that do \
it at once on one Postgres, one does it, and the others wait. A SQLite file that an earlier version made is written anew, \
so that it gives space back: that takes a while and twice its size on the disk, and no server may have it open.

With NATS_URL the streams of the log are made, too, or changed to what is configured: so a user who may do that does it for \
servers that may not.

Examples:
  rejoinder migrate --dry-run
  rejoinder migrate
  DATABASE_URL=sqlite:/var/lib/rejoinder/rejoinder.db rejoinder migrate
  DATABASE_URL=postgres://rejoinder:secret@db:5432/rejoinder rejoinder migrate
  NATS_URL=nats://admin:secret@nats:4222 LOG_MAX_BYTES=10GiB rejoinder migrate

Exit codes: 0 done; 1 the store cannot be opened or changed, or the configuration is wrong; 2 the command line is wrong.";

/// Migrates, and prints what was done.
pub(crate) fn run(args: &Args) -> Exit {
    let Some(config) = configuration() else { return Exit::Bad };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let streams = match nats_config(&config).map(|nats| runtime.block_on(streams(&nats, args.dry_run))) {
        None => String::new(),
        Some(Ok(streams)) => streams,
        Some(Err(error)) => return fail(&error),
    };
    match runtime.block_on(migrate(&config, args.dry_run)) {
        Ok(before) => print(&(streams + &report(&config.store.url(), &before, args.dry_run))),
        Err(error) => fail(&error),
    }
}

/// Makes the log's streams, and tells which.
async fn streams(nats: &jetstream::Config, dry_run: bool) -> Result<String, jetstream::OpenError> {
    let before = jetstream::inspect(nats).await?;
    if !dry_run {
        jetstream::prepare(nats).await?;
    }
    let became = if dry_run { "to be made" } else { "made now" };
    let lines = before.missing.iter().map(|stream| format!("  {stream}  {became}")).collect::<Vec<_>>();
    let lines = if lines.is_empty() { "  all streams are there".to_owned() } else { lines.join("\n") };
    Ok(format!("{}\n{lines}\n", nats.shown()))
}

/// The store as it was found.
async fn migrate(config: &Config, dry_run: bool) -> Result<History, OpenError> {
    let before = Store::history(&config.store).await?;
    // Also where none is missing: it tells a store that cannot be written.
    if !dry_run {
        Store::migrate(&config.store).await?;
    }
    Ok(before)
}

fn report(store: &str, before: &History, dry_run: bool) -> String {
    let state = |migration: &Migration| match (migration.applied, dry_run) {
        (true, _) => "already applied",
        (false, true) => "to be applied",
        (false, false) => "applied now",
    };
    let migrations = &before.migrations;
    let width = migrations.iter().map(|migration| migration.description.chars().count()).max().unwrap_or(0);
    let lines = migrations.iter().map(|migration| {
        format!("  {:04}  {:width$}  {}\n", migration.version, migration.description, state(migration))
    });
    let file = match (before.is_old, dry_run) {
        (false, _) => "",
        (true, true) => "  its file, made by an earlier version, to be written anew\n",
        (true, false) => "  its file, made by an earlier version, written anew\n",
    };
    format!("{store}\n{}{file}", lines.collect::<String>())
}

fn print(report: &str) -> Exit {
    // A reader that has gone away has what it wanted.
    if std::io::stdout().write_all(report.as_bytes()).is_ok() { Exit::Done } else { Exit::Bad }
}

fn fail(error: &dyn std::error::Error) -> Exit {
    let _ = writeln!(std::io::stderr(), "rejoinder migrate: {}", chain(error));
    Exit::Bad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_migration_is_told_with_what_became_of_it() {
        let migration =
            |version, description: &str, applied| Migration { version, description: description.to_owned(), applied };
        let migrations = vec![migration(1, "transcripts", true), migration(2, "owners", false)];
        let found = History { server: None, migrations, is_old: false };
        let expected = "sqlite:x\n  0001  transcripts  already applied\n  0002  owners       ";
        assert_eq!(report("sqlite:x", &found, true), format!("{expected}to be applied\n"));
        assert_eq!(report("sqlite:x", &found, false), format!("{expected}applied now\n"));
        let old = History { is_old: true, ..found };
        let expected = format!("{expected}applied now\n  its file, made by an earlier version, written anew\n");
        assert_eq!(report("sqlite:x", &old, false), expected);
    }
}
