//! The store: what was said, for reading and for good. It knows the transcripts' records and nothing of how they come
//! to it; it is written by the projection only, in batches, and never on the way between a token and a client.
//!
//! - **Position.** How far the projection got stands in the store itself, and moves by compare-and-set in the same
//!   transaction as the rows: of two projections one goes on, and the other learns that the position [`Moved`].
//! - **Again is the same.** Applying records a second time, from any point on, changes nothing, and never brings back
//!   what was deleted.
//! - **As it was.** Records are kept as the log holds them, byte for byte: what a newer version wrote into one is
//!   there when a newer version reads it.
//!
//! [`Store`] is an enum, chosen once at start; every implementation passes the contract tests in `tests/contract`.
//!
//! [`Moved`]: Error::Moved

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::conversation::ids::{ReplyId, ThreadId};
use crate::conversation::record::{Accepted, Ended, TranscriptRecord};

mod erase;
mod rows;
pub mod sqlite;

pub use sqlite::Sqlite;

/// Where the transcripts are kept for reading. A handle: cheap to clone.
#[derive(Debug, Clone)]
pub enum Store {
    /// A file, for one instance.
    Sqlite(Sqlite),
}

/// Which store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Config {
    /// A `SQLite` database in this file.
    Sqlite(PathBuf),
}

/// How far the projection got in one shard of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Of the log in which the position means something.
    pub identity: String,
    /// The place of the last record that the store holds, in the order of all transcripts.
    pub position: u64,
    /// A digest of that record: tells whether the log still has the same one there.
    pub last_record: String,
}

/// Records of transcripts, in the log's order, and how far they bring the store.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The log's shard.
    pub shard: u32,
    /// The position that the store is thought to have. `None`: it has none yet.
    pub expected: Option<Position>,
    /// The position that it has afterwards.
    pub position: Position,
    /// The records.
    pub records: Vec<Record>,
}

/// A record of a thread's transcript, as the log holds it.
#[derive(Debug, Clone)]
pub struct Record {
    /// The thread.
    pub thread: ThreadId,
    /// A [`TranscriptRecord`] in its JSON form.
    pub payload: Bytes,
}

/// What a batch brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Replies that were accepted in it, ended in it, or both.
    pub replies: usize,
    /// Other changes.
    pub changes: usize,
    /// Records that say nothing that could be read, and were passed over. (Empty ones were erased: they do not count.)
    pub unreadable: usize,
}

/// A long input, kept once per thread.
#[derive(Debug, Clone)]
pub struct Blob {
    /// The thread.
    pub thread: ThreadId,
    /// SHA-256 of the content.
    pub hash: [u8; 32],
    /// The content.
    pub content: Bytes,
}

/// What the store knows of a thread.
#[derive(Debug, Clone, Default)]
pub struct StoredThread {
    /// Every record up to this ordinal is known. 0: the thread is not.
    pub watermark: u64,
    /// Those that still say something, in order. Ordinals are missing where a record was superseded (a second end of
    /// a reply) or erased: of a deleted reply only [`ReplyDeleted`] is left.
    ///
    /// [`ReplyDeleted`]: crate::conversation::record::Change::ReplyDeleted
    pub records: Vec<TranscriptRecord>,
}

/// What the store knows of one reply. What the log says of it is newer.
#[derive(Debug, Clone)]
pub struct StoredReply {
    /// The ordinal of its acceptance.
    pub ordinal: u64,
    /// Its texts; `None` once it was deleted.
    pub texts: Option<(Arc<Accepted>, Option<Arc<Ended>>)>,
}

/// Why the store did not do what it was asked to. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else moved the position: read it again.
    #[error("the position in the store was moved by another")]
    Moved,
    /// The database cannot be reached, is busy, or is full. Trying again later is safe and may help.
    #[error("the store is away")]
    Unavailable(#[source] sqlx::Error),
    /// A row holds what cannot be read. Trying again does not help.
    #[error("the store holds a record that cannot be read ({place})")]
    Damaged {
        /// The thread.
        place: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The store cannot be opened: in words, for the operator.
#[derive(Debug, thiserror::Error)]
#[error("the store {url} cannot be opened: {reason}")]
pub struct OpenError {
    /// Which.
    pub url: String,
    /// Why.
    pub reason: String,
}

/// A `DATABASE_URL` that names no store of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct InvalidUrl(&'static str);

impl InvalidUrl {
    /// What was expected.
    pub const fn expected(&self) -> &'static str {
        self.0
    }
}

impl Config {
    /// The store when none is named: a file in the data directory.
    pub fn in_dir(data_dir: &Path) -> Self {
        Self::Sqlite(data_dir.join("rejoinder.db"))
    }

    /// Reads a `DATABASE_URL`: `sqlite:<path>` or `sqlite://<path>`.
    pub fn from_url(url: &str) -> Result<Self, InvalidUrl> {
        let (scheme, rest) = url.split_once(':').ok_or(InvalidUrl("sqlite:<path of a file>"))?;
        match scheme {
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                let path = path.split_once('?').map_or(path, |(path, _)| path);
                if path.is_empty() || path.contains(":memory:") {
                    return Err(InvalidUrl("sqlite:<path of a file> (a store in memory would forget)"));
                }
                Ok(Self::Sqlite(PathBuf::from(path)))
            }
            "postgres" | "postgresql" => Err(InvalidUrl("sqlite:<path of a file> (Postgres is not in this version)")),
            _ => Err(InvalidUrl("sqlite:<path of a file>")),
        }
    }

    /// The store's URL, without secrets.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
        }
    }
}

impl Store {
    /// Opens the store, makes it if it is not there, and brings its tables up to date.
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        match config {
            Config::Sqlite(path) => Ok(Self::Sqlite(Sqlite::open(path).await?)),
        }
    }

    /// How far the projection got in a shard. `None`: it never began.
    pub async fn position(&self, shard: u32) -> Result<Option<Position>, Error> {
        match self {
            Self::Sqlite(store) => store.position(shard).await,
        }
    }

    /// Applies a batch, all of it or nothing.
    pub async fn apply(&self, batch: &Batch) -> Result<Applied, Error> {
        match self {
            Self::Sqlite(store) => store.apply(batch).await,
        }
    }

    /// Keeps blobs. Those that are there already stay as they are.
    pub async fn put_blobs(&self, blobs: &[Blob]) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.put_blobs(blobs).await,
        }
    }

    /// A blob of a thread.
    pub async fn blob(&self, thread: ThreadId, hash: [u8; 32]) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Sqlite(store) => store.blob(thread, hash).await,
        }
    }

    /// All that is known of a thread.
    pub async fn thread(&self, thread: ThreadId) -> Result<StoredThread, Error> {
        match self {
            Self::Sqlite(store) => store.thread(thread).await,
        }
    }

    /// One reply, without the rest of its thread. `None`: the store has not heard of it (yet).
    pub async fn projected_reply(&self, reply: ReplyId) -> Result<Option<StoredReply>, Error> {
        match self {
            Self::Sqlite(store) => store.projected_reply(reply).await,
        }
    }

    /// Asks whether it answers.
    pub async fn ping(&self) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.ping().await,
        }
    }

    /// Closes it, when what is under way has ended.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
        }
    }
}

impl Error {
    /// Whether the same may work later.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    fn damaged(thread: ThreadId, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Damaged { place: format!("thread {thread}"), source: source.into() }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_file() {
        let file = |path: &str| Ok(Config::Sqlite(PathBuf::from(path)));
        assert_eq!(Config::from_url("sqlite:data/x.db"), file("data/x.db"));
        assert_eq!(Config::from_url("sqlite:///var/x.db?mode=rwc"), file("/var/x.db"));
        assert_eq!(Config::in_dir(Path::new("data")).url(), "sqlite:data/rejoinder.db");
    }

    #[test]
    fn other_urls_are_refused_in_words() {
        let refusal = |url| Config::from_url(url).unwrap_err().to_string();
        assert!(refusal("postgres://u:secret@db/x").contains("Postgres is not in this version"));
        assert!(!refusal("postgres://u:secret@db/x").contains("secret"));
        assert!(refusal("sqlite::memory:").contains("forget"));
        for url in ["", "sqlite:", "mysql://x", "data/x.db"] {
            assert!(Config::from_url(url).is_err(), "{url}");
        }
    }
}
