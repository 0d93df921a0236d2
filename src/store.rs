//! The store: what was said, for reading and for good. It knows the transcripts' records and nothing of how they come
//! to it; it is written by the projection only, in batches, and never on the way between a token and a client.
//!
//! - **Position.** How far the projection got stands in the store itself, and moves by compare-and-set in the same
//!   transaction as the rows: of two projections one goes on, and the other learns that the position [`Moved`].
//! - **Again is the same.** Applying records a second time, from any point on, changes nothing, and never brings back
//!   what was deleted.
//! - **As it was.** Records are kept as the log holds them, byte for byte: what a newer version wrote into one is
//!   there when a newer version reads it. Only what a deletion carries of records that the log erased stands in rows of
//!   its own.
//!
//! [`Store`] is an enum, chosen once at start; every implementation passes the contract tests in `tests/contract`.
//!
//! [`Moved`]: Error::Moved

use std::sync::Arc;

use bytes::Bytes;

use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::record::{Accepted, Ended, TranscriptRecord};

mod conversations;
mod erase;
mod migrations;
mod open;
mod pages;
mod read;
mod recent;
mod retention;
mod rows;
mod statement;
mod usage;
mod users;
pub mod webhooks;

pub mod postgres;
#[cfg(feature = "simulation")]
pub mod simulated;
pub mod sqlite;

pub use crate::config::database::{Config, InvalidUrl, Tables};
pub use conversations::{Beginnings, Listed, Listing};
pub use migrations::{History, Migration};
pub use open::OpenError;
pub use pages::ThreadPages;
pub use postgres::Postgres;
pub use recent::StoredRecent;
#[cfg(feature = "simulation")]
pub use simulated::Simulated;
pub use sqlite::Sqlite;
pub use usage::{Grouping, UsageQuery, UsageRow, Whose};
pub use users::UserDeletion;

/// Where the transcripts are kept for reading. A handle: cheap to clone.
#[derive(Debug, Clone)]
pub enum Store {
    /// A file, for one instance.
    Sqlite(Sqlite),
    /// A database server.
    Postgres(Postgres),
    /// In memory, for several instances that are simulated.
    #[cfg(feature = "simulation")]
    Simulated(Simulated),
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

/// Stands in a position's identity between that of the log and the time until which the log may lack what the store has.
pub(crate) const BEHIND: &str = " behind until ";

impl Position {
    /// The identity of the log.
    pub(crate) fn log(&self) -> &str {
        self.identity.split(BEHIND).next().unwrap_or_default()
    }
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
    /// [`ReplyDeleted`]: crate::domain::record::Change::ReplyDeleted
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
    /// Its tables are not ready, and could not be made so. Trying again later is safe and may help.
    #[error("the store is not ready")]
    NotReady(#[from] OpenError),
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

/// The same, asked of whichever it is.
macro_rules! each {
    ($self:ident, $store:ident => $answer:expr) => {
        match $self {
            Store::Sqlite($store) => $answer,
            Store::Postgres($store) => $answer,
            #[cfg(feature = "simulation")]
            Store::Simulated($store) => $answer,
        }
    };
}

impl Store {
    /// Opens the store, makes it if it is not there, and brings its tables up to date. A server that is away is no error:
    /// it is connected to as soon as it is back.
    pub async fn open(config: &Config, tables: Tables) -> Result<Self, OpenError> {
        match config {
            Config::Sqlite(path) => Ok(Self::Sqlite(Sqlite::open(path, tables).await?)),
            Config::Postgres(config) => Ok(Self::Postgres(Postgres::open(config, tables).await?)),
        }
    }

    /// Which it is, in a word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => "simulated",
        }
    }

    /// Whether other instances may use it, too.
    pub fn is_shared(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(_) => true,
            #[cfg(feature = "simulation")]
            Self::Simulated(store) => store.hook().is_some(),
        }
    }

    /// Where webhooks are sent in a simulation, and by whom.
    #[cfg(feature = "simulation")]
    pub(crate) fn hook(&self) -> Option<(crate::simulation::Process, std::sync::Arc<dyn crate::simulation::Hook>)> {
        match self {
            Self::Simulated(store) => store.hook(),
            _ => None,
        }
    }

    /// Whether it was there at the start, or since.
    pub fn was_reached(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(store) => store.is_prepared(),
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => true,
        }
    }

    /// How far the projection got in a shard. `None`: it never began.
    pub async fn position(&self, shard: u32) -> Result<Option<Position>, Error> {
        each!(self, store => store.position(shard).await)
    }

    /// Applies a batch, all of it or nothing.
    pub async fn apply(&self, batch: &Batch) -> Result<Applied, Error> {
        each!(self, store => store.apply(batch).await)
    }

    /// Keeps blobs. Those that are there already stay as they are.
    pub async fn put_blobs(&self, blobs: &[Blob]) -> Result<(), Error> {
        each!(self, store => store.put_blobs(blobs).await)
    }

    /// A blob of a thread.
    pub async fn blob(&self, thread: ThreadId, hash: [u8; 32]) -> Result<Option<Bytes>, Error> {
        each!(self, store => store.blob(thread, hash).await)
    }

    /// All that is known of a thread.
    pub async fn thread(&self, thread: ThreadId) -> Result<StoredThread, Error> {
        let mut pages = self.pages(thread);
        while self.read_page(&mut pages).await? {}
        Ok(pages.finish())
    }

    /// All that is known of a thread, to be read page by page.
    pub const fn pages(&self, thread: ThreadId) -> ThreadPages {
        ThreadPages::new(thread)
    }

    /// Reads the next page of a thread. `false`: there is none. Where this fails, it can be asked for again.
    pub async fn read_page(&self, pages: &mut ThreadPages) -> Result<bool, Error> {
        each!(self, store => store.read_page(pages).await?);
        Ok(!pages.is_over())
    }

    /// The last turns of a thread up to an ordinal, without those before.
    pub async fn recent(&self, thread: ThreadId, until: u64) -> Result<StoredRecent, Error> {
        each!(self, store => store.recent(thread, until).await)
    }

    /// One reply, without the rest of its thread. `None`: the store has not heard of it (yet).
    pub async fn projected_reply(&self, reply: ReplyId) -> Result<Option<StoredReply>, Error> {
        each!(self, store => store.projected_reply(reply).await)
    }

    /// Conversations of an owner, by when something last happened in them.
    pub async fn conversations(&self, listing: &Listing) -> Result<Vec<Listed>, Error> {
        each!(self, store => store.conversations(listing).await)
    }

    /// Which of these threads are conversations, and were not deleted.
    pub async fn listed(&self, threads: &[ThreadId]) -> Result<Vec<Listed>, Error> {
        each!(self, store => store.listed(threads).await)
    }

    /// The beginnings of conversations: as much of each as a list shows.
    pub async fn beginnings(&self, of: &[Listed]) -> Result<Beginnings, Error> {
        each!(self, store => store.beginnings(of).await)
    }

    /// Asks whether it answers.
    pub async fn ping(&self) -> Result<(), Error> {
        each!(self, store => store.ping().await)
    }

    /// Closes it, when what is under way has ended.
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => {}
        }
    }
}

impl Error {
    /// Whether the same may work later.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::NotReady(_))
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
