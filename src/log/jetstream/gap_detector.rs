//! Finds out what a subscription missed when nothing came after it: about once a second, the last records of all
//! replies of which nothing was heard are asked for together. Those of threads, on most of which nothing happens, are asked
//! for less often; all of them after the connection was lost.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::connect::Asking;
use super::names::Names;
use super::wire;
use crate::log::Subject;

/// How often reply logs are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// Transcripts are looked at in each so many periods: about as often as their followers get heartbeats.
const IDLE_PERIODS: u32 = 15;

/// Subjects that one request asks for; servers take 1,024.
const AT_ONCE: usize = 512;

/// All that is followed here.
#[derive(Debug)]
pub(super) struct GapDetector {
    followed: Arc<Mutex<Followed>>,
    /// Gaps that were found.
    closed: Arc<AtomicU64>,
    names: Names,
    _looking: AbortOnDropHandle<()>,
}

type Followed = HashMap<u64, Arc<Watched>>;

/// What one subscription has heard.
#[derive(Debug)]
pub(super) struct Watched {
    id: u64,
    name: String,
    stream: String,
    is_reply_log: bool,
    /// The last sequence that it knows.
    pub(super) seen: AtomicU64,
    /// What `seen` was at the last look.
    looked: AtomicU64,
    /// Notified when there is more than it has seen.
    pub(super) behind: Notify,
}

/// Leaves when it is dropped.
#[derive(Debug)]
pub(super) struct Listening {
    followed: Weak<Mutex<Followed>>,
    pub(super) watched: Arc<Watched>,
}

impl GapDetector {
    /// Looks until it is dropped.
    pub(super) fn start(client: Asking, names: Names) -> Self {
        let followed = Arc::new(Mutex::new(Followed::new()));
        let (weak, closed) = (Arc::downgrade(&followed), Arc::<AtomicU64>::default());
        let counter = Arc::clone(&closed);
        let looking = tokio::spawn(async move {
            // Connections that were made, up to the last one after which everything was looked at.
            let mut connections = client.statistics().connects.load(Ordering::Relaxed);
            for period in 1_u32.. {
                tokio::time::sleep(PERIOD).await;
                let Some(followed) = weak.upgrade() else { return };
                let made = client.statistics().connects.load(Ordering::Relaxed);
                let (reconnected, idle_too) = (made != connections, period % IDLE_PERIODS == 0);
                let wanted = |watched: &&Arc<Watched>| {
                    reconnected || ((watched.is_reply_log || idle_too) && watched.is_silent())
                };
                let mut subjects: Vec<_> = followed.lock().values().filter(wanted).cloned().collect();
                drop(followed);
                subjects.sort_unstable_by(|one, other| one.stream.cmp(&other.stream));
                let mut answered = true;
                for subjects in subjects
                    .chunk_by(|one, next| one.stream == next.stream)
                    .flat_map(|subjects| subjects.chunks(AT_ONCE))
                {
                    answered &= look(&client, &subjects[0].stream, subjects, &counter).await;
                }
                if answered {
                    connections = made;
                }
            }
        });
        Self { followed, closed, names, _looking: AbortOnDropHandle::new(looking) }
    }

    /// How many gaps were found, and so closed.
    pub(super) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    /// Looks after a subscription from now on.
    pub(super) fn listen(&self, subject: Subject, seen: u64) -> Listening {
        let mut followed = self.followed.lock();
        let id = crate::domain::ids::random_u64();
        let watched = Arc::new(Watched {
            id,
            name: self.names.subject(subject),
            stream: self.names.stream(subject).to_owned(),
            is_reply_log: matches!(subject, Subject::ReplyLog(_)),
            seen: AtomicU64::new(seen),
            looked: AtomicU64::new(u64::MAX),
            behind: Notify::new(),
        });
        followed.insert(id, Arc::clone(&watched));
        Listening { followed: Arc::downgrade(&self.followed), watched }
    }
}

impl Watched {
    /// Whether nothing was heard since the last look.
    fn is_silent(&self) -> bool {
        let seen = self.seen.load(Ordering::Relaxed);
        self.looked.swap(seen, Ordering::Relaxed) == seen
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(followed) = self.followed.upgrade() {
            followed.lock().remove(&self.watched.id);
        }
    }
}

/// Notifies those that have missed something. `false`: it cannot be known now.
async fn look(client: &Asking, stream: &str, subjects: &[Arc<Watched>], closed: &AtomicU64) -> bool {
    let mut names: Vec<_> = subjects.iter().map(|watched| watched.name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    // A failure is not reported here: the next look is not far, and a connection that is lost is known.
    let Ok(lasts) = wire::lasts(client, stream, &names).await else { return false };
    let lasts: HashMap<_, _> = lasts.into_iter().map(|message| (message.subject, message.sequence)).collect();
    for watched in subjects {
        if lasts.get(&watched.name).is_some_and(|last| *last > watched.seen.load(Ordering::Relaxed)) {
            closed.fetch_add(1, Ordering::Relaxed);
            watched.behind.notify_one();
        }
    }
    true
}
