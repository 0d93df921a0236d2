//! The keys as they are now: those of the configuration, and those of a file that is read again when it changes.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

use super::keys::{self, InvalidKeys, KeyLine, KeyTable};
use crate::config;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The longest file that is read.
const LONGEST: u64 = 64 << 20;

/// Why the file is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    /// It is not there, or may not be read.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It holds something else than keys.
    #[error("{path}: {source}")]
    Invalid {
        /// Which.
        path: String,
        /// What.
        source: InvalidKeys,
    },
    /// Nothing is in it: somebody may be about to write it.
    #[error("{0} is empty (to have no key in it, put a line with # there)")]
    Empty(String),
    /// It is too large to be meant.
    #[error("{0} is larger than {LONGEST} bytes")]
    TooLarge(String),
}

/// The keys as they are now.
#[derive(Debug)]
pub(super) struct Keys {
    own: KeyTable,
    file: Option<PathBuf>,
    table: RwLock<Arc<KeyTable>>,
    /// The file that was read, or tried.
    seen: Mutex<Option<Version>>,
}

/// Tells a file from what it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    length: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl Keys {
    /// Reads the keys. At the start the file has to be there, and good.
    pub(super) fn open(config: &config::ApiKeys) -> Result<Self, KeyFileError> {
        let own = own_table(config)?;
        let (mut seen, mut table) = (None, own.clone());
        if let Some(path) = &config.file {
            seen = version(path);
            table = read(path)?.and(&own);
        }
        Ok(Self { own, file: config.file.clone(), table: RwLock::new(Arc::new(table)), seen: Mutex::new(seen) })
    }

    /// The keys.
    pub(super) fn table(&self) -> Arc<KeyTable> {
        Arc::clone(&self.table.read())
    }

    /// Reads the file again whenever it has changed, until `stop`. As long as what is there cannot be used, the keys from
    /// before stay good.
    pub(super) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        if self.file.is_none() {
            return;
        }
        let mut ticks = tokio::time::interval(LOOK);
        let mut before = *self.seen.lock();
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let keys = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || keys.look(before)).await;
            before = looked.unwrap_or(before);
        }
    }

    /// Reads the file if it has changed, and then stood still since it was looked at `before`: whoever writes it has ended.
    fn look(&self, before: Option<Version>) -> Option<Version> {
        let path = self.file.as_deref()?;
        let now = version(path);
        if now == *self.seen.lock() || now != before {
            return now;
        }
        *self.seen.lock() = now;
        match read(path) {
            Ok(table) => self.replace(table.and(&self.own)),
            Err(error) => {
                tracing::error!(target: super::AUDIT, %error, "the file of keys cannot be used; the keys from before stay good");
            }
        }
        now
    }

    fn replace(&self, table: KeyTable) {
        let before = std::mem::replace(&mut *self.table.write(), Arc::new(table));
        let table = self.table();
        let [added, changed, removed] = table.changes_since(&before);
        tracing::info!(target: super::AUDIT, ?added, ?changed, ?removed, keys = table.len(), "keys changed");
    }
}

/// All keys that are configured, line by line.
pub(crate) fn lines(config: &config::ApiKeys) -> Result<Vec<KeyLine>, KeyFileError> {
    let own = config.own.as_ref().map_or("", |own| own.expose());
    let file = config.file.as_deref().map(text).transpose()?.unwrap_or_default();
    own_table(config)?;
    if let Some(path) = &config.file {
        read(path)?;
    }
    let all = keys::lines(&file).chain(keys::lines(own));
    Ok(all.filter_map(|(_, line)| line.parse().ok()).collect())
}

/// The keys of the configuration itself.
fn own_table(config: &config::ApiKeys) -> Result<KeyTable, KeyFileError> {
    let text = config.own.as_ref().map_or("", |own| own.expose());
    KeyTable::parse(text).map_err(|source| KeyFileError::Invalid { path: "API_KEYS".to_owned(), source })
}

/// Reads a file of keys.
fn read(path: &Path) -> Result<KeyTable, KeyFileError> {
    let shown = path.display().to_string();
    KeyTable::parse(&text(path)?).map_err(|source| KeyFileError::Invalid { path: shown, source })
}

fn text(path: &Path) -> Result<String, KeyFileError> {
    let shown = path.display().to_string();
    let failed = |source| KeyFileError::Io { path: shown.clone(), source };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > LONGEST {
        return Err(KeyFileError::TooLarge(shown));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    if text.is_empty() {
        return Err(KeyFileError::Empty(shown));
    }
    Ok(text)
}

fn version(path: &Path) -> Option<Version> {
    use std::os::unix::fs::MetadataExt;
    let of = |data: Metadata| Version { length: data.len(), modified: data.modified().ok(), inode: data.ino() };
    std::fs::metadata(path).ok().map(of)
}
