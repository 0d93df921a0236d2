//! `rejoinder backup` and `rejoinder restore`: a copy of the embedded log and of the store's file, which a server can
//! start from.
//!
//! The store is copied before the log: so it never has what the log's copy lacks, and what it lacks itself is carried to it
//! from there. Deletions that come in between are in the log's copy, and done again.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::configured::configuration;
use super::{Exit, chain};
use crate::auth::secret;
use crate::config::Config;
use crate::health::disk::sync_directory;
use crate::log::embedded::{self, Copied, copy_file};
use crate::store::{self, OpenError, Store};

/// Where the copy goes.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The directory of the copy: not there yet, or empty
    pub(crate) directory: PathBuf,
}

/// Where the copy is.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = RESTORE_EXAMPLES)]
pub(crate) struct RestoreArgs {
    /// The directory of a copy that `rejoinder backup` made
    pub(crate) directory: PathBuf,
}

const EXAMPLES: &str = "\
Copies the log in DATA_DIR and the store's SQLite file while the server runs; it notices nothing. The copy is what a \
`kill -9` at that moment would have left: a server that starts on it goes on with the replies that ran. It has the secret of \
tickets and sessions in it, if the server made that itself: keep it as you keep the server's data. What is deleted \
afterwards stays in it.

With NATS_URL the log is copied by NATS (`nats stream backup`), a Postgres by `pg_dump`: before the log.

Examples:
  rejoinder backup /backups/$(date +%F)
  DATA_DIR=/var/lib/rejoinder rejoinder backup /backups/today

Exit codes: 0 done; 1 it could not be copied, or the log that was copied is damaged; 2 the command line is wrong.";

const RESTORE_EXAMPLES: &str = "\
DATA_DIR may hold no log, and the store's file may not be there: what is there is never overwritten. Clients that rejoin what \
came after the copy are told that it does not exist.

Examples:
  rejoinder restore /backups/today
  DATA_DIR=/var/lib/rejoinder rejoinder restore /backups/today

Exit codes: 0 done; 1 it could not be restored; 2 the command line is wrong.";

/// The store's file in a copy.
const STORE: &str = "rejoinder.db";

/// A copy of a log in which something was just being overwritten is made again, so often.
const TRIES: usize = 3;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
enum BackupError {
    #[error("{0}")]
    NotHere(&'static str),
    #[error("there is no log in {0} (DATA_DIR)")]
    NoLog(PathBuf),
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    #[error("{0} is there already; nothing was changed")]
    Exists(PathBuf),
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Log(#[from] embedded::OpenError),
}

/// What became of it.
struct Report {
    what: &'static str,
    directory: PathBuf,
    copied: Copied,
    store: bool,
    damaged: u64,
}

/// Copies, and tells how much.
pub(crate) fn run(args: &Args) -> Exit {
    report("backup", |config| backup(config, &args.directory))
}

/// Restores, and tells how much.
pub(crate) fn restore(args: &RestoreArgs) -> Exit {
    report("restore", |config| put_back(config, &args.directory))
}

fn report(command: &str, work: impl FnOnce(&Config) -> Result<Report, BackupError>) -> Exit {
    let Some(config) = configuration() else { return Exit::Bad };
    match work(&config) {
        Ok(report) => {
            let _ = writeln!(io::stdout(), "{report}");
            if report.damaged == 0 { Exit::Done } else { Exit::Bad }
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "rejoinder {command}: {}", chain(&error));
            Exit::Bad
        }
    }
}

fn backup(config: &Config, to: &Path) -> Result<Report, BackupError> {
    let store = files(config)?;
    let dir = &config.data_dir;
    if !embedded::inspect(dir)?.exists {
        return Err(BackupError::NoLog(dir.clone()));
    }
    if !is_empty(to)? {
        return Err(BackupError::NotEmpty(to.to_owned()));
    }
    // What has the right name is whole.
    let unfinished = unfinished(to);
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished).map_err(at(&unfinished))?;
    let made = copy(dir, store, &unfinished).and_then(|copied| {
        sync_directory(&unfinished).map_err(at(&unfinished))?;
        fs::rename(&unfinished, to).map_err(at(to))?;
        Ok(copied)
    });
    if made.is_err() {
        let _ = fs::remove_dir_all(&unfinished);
    }
    let (copied, damaged) = made?;
    let store = to.join(STORE).exists();
    Ok(Report { what: "copied to", directory: to.to_owned(), copied, store, damaged })
}

/// Copies everything. Also tells how much of the log is damaged.
fn copy(dir: &Path, store: &Path, to: &Path) -> Result<(Copied, u64), BackupError> {
    if store.exists() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(at(to))?;
        runtime.block_on(Store::backup(store, &to.join(STORE)))?;
        fs::File::open(to.join(STORE)).and_then(|file| file.sync_all()).map_err(at(to))?;
    }
    let (mut copied, mut damaged) = (Copied::default(), 0);
    for _ in 0..TRIES {
        let _ = fs::remove_dir_all(to.join("log"));
        copied = embedded::copy(dir, to).map_err(at(dir))?;
        damaged = embedded::verify(to, false, None).map_err(at(to))?.damaged;
        if damaged == 0 {
            break;
        }
    }
    copy_secret(dir, to)?;
    Ok((copied, damaged))
}

fn put_back(config: &Config, from: &Path) -> Result<Report, BackupError> {
    let store = files(config)?;
    let dir = &config.data_dir;
    if !embedded::inspect(from)?.exists && !from.join("log").is_dir() {
        return Err(BackupError::NoLog(from.to_owned()));
    }
    let log = dir.join("log");
    if let Some(there) = [log.as_path(), store].into_iter().find(|path| path.exists()) {
        return Err(BackupError::Exists(there.to_owned()));
    }
    fs::create_dir_all(dir).map_err(at(dir))?;
    // The log under its name last: a server that starts meanwhile, or after a crash, must not take half of it for the whole.
    let unfinished = dir.join("restoring");
    let _ = fs::remove_dir_all(&unfinished);
    let copied = embedded::copy(from, &unfinished).map_err(at(from))?;
    let has_store = from.join(STORE).exists();
    if has_store {
        copy_file(&from.join(STORE), store).map_err(at(store))?;
    }
    copy_secret(from, dir)?;
    fs::rename(unfinished.join("log"), &log).map_err(at(&log))?;
    fs::remove_dir(&unfinished).map_err(at(&unfinished))?;
    sync_directory(dir).map_err(at(dir))?;
    let damaged = embedded::verify(dir, false, None).map_err(at(dir))?.damaged;
    Ok(Report { what: "restored to", directory: dir.clone(), copied, store: has_store, damaged })
}

/// The store's file, where log and store are files.
fn files(config: &Config) -> Result<&Path, BackupError> {
    if config.log.nats.is_some() {
        return Err(BackupError::NotHere("the log is on NATS: back its streams up with `nats stream backup`"));
    }
    match &config.store {
        store::Config::Sqlite(path) => Ok(path),
        store::Config::Postgres(_) => Err(BackupError::NotHere(
            "the store is a Postgres: back it up with pg_dump, and then the log: DATABASE_URL= rejoinder backup",
        )),
    }
}

fn copy_secret(from: &Path, to: &Path) -> Result<(), BackupError> {
    let (secret, copy) = (from.join(secret::NAME), to.join(secret::NAME));
    if !secret.exists() || copy.exists() {
        return Ok(());
    }
    copy_file(&secret, &copy).map(drop).map_err(at(&secret))
}

fn is_empty(dir: &Path) -> Result<bool, BackupError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(at(dir)(error)),
    }
}

fn unfinished(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".unfinished");
    name.into()
}

fn at(path: &Path) -> impl Fn(io::Error) -> BackupError {
    move |source| BackupError::Io { path: path.to_owned(), source }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, directory, copied: Copied { segments, blobs, bytes }, store, damaged } = self;
        let store = if *store { "the store" } else { "no store, which is not there" };
        write!(
            f,
            "{what} {}: {segments} segments of the log, {blobs} long inputs, {bytes} bytes; {store}",
            directory.display()
        )?;
        if *damaged > 0 {
            write!(f, "\nthe log is damaged in {damaged} places, and so is the copy: rejoinder check says where")?;
        }
        Ok(())
    }
}
