//! Memory for what passes through: bodies of requests, and answers and events that wait for their client ([`Budget`]).
//!
//! There is one budget for all clients. Long bodies and answers get three quarters of it, so that short ones always find
//! room. When there is none, the upload that has stood still for the longest time gives way: uploads that stall hold up
//! nobody. Knows nothing of HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What is no longer than this is short.
const SHORT: usize = 64 << 10;

/// An upload that has sent something within this time does not give way.
pub(super) const STILL: Duration = Duration::from_secs(1);

/// How long room is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two looks, if nobody gave room back.
const LOOK: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Debug)]
pub(super) struct Budget {
    most: usize,
    used: AtomicUsize,
    freed: Notify,
    uploads: AtomicU64,
    /// Uploads that wait for their clients, by the time since which they do.
    waiting: Mutex<BTreeMap<(Instant, u64), Arc<Notify>>>,
}

/// A part of a budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

/// An upload that waits for its client, until it is dropped.
pub(super) struct Waiting<'a> {
    budget: &'a Budget,
    place: (Instant, u64),
    gives_way: Arc<Notify>,
}

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Budget {
    /// A budget of so many bytes.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            used: AtomicUsize::new(0),
            freed: Notify::new(),
            uploads: AtomicU64::new(0),
            waiting: Mutex::default(),
        })
    }

    /// Bytes that are in use.
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// A part of it that holds nothing yet.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), bytes: 0 }
    }

    /// An upload waits for its client.
    pub(super) fn wait(&self) -> Waiting<'_> {
        let place = (Instant::now(), self.uploads.fetch_add(1, Ordering::Relaxed));
        let gives_way = Arc::new(Notify::new());
        self.waiting.lock().insert(place, Arc::clone(&gives_way));
        Waiting { budget: self, place, gives_way }
    }

    /// Has the upload give way that has stood still for the longest time, if there is one.
    fn make_room(&self) {
        let mut waiting = self.waiting.lock();
        if let Some(first) = waiting.first_entry()
            && first.key().0.elapsed() >= STILL
        {
            first.remove().notify_one();
        }
    }
}

impl Share {
    /// The budget that it is a part of.
    pub(super) const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// What it holds.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes so many bytes more, if there is room.
    pub(super) fn try_grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let most = self.budget.most;
        let most = if self.bytes + bytes > SHORT { most - most / 4 } else { most };
        let grow = |used: usize| used.checked_add(bytes).filter(|used| *used <= most);
        match self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow) {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(_) => Err(NoRoom),
        }
    }

    /// As [`Self::try_grow`]; waits a little for room, which uploads that stand still have to give.
    pub(super) async fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let until = Instant::now() + PATIENCE;
        loop {
            if self.try_grow(bytes).is_ok() {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(NoRoom);
            }
            self.budget.make_room();
            let _ = tokio::time::timeout(LOOK, self.budget.freed.notified()).await;
        }
    }

    /// Has it hold at least so many bytes; waits for room as [`Self::grow`] does.
    pub(super) async fn grow_to(&mut self, bytes: usize) -> Result<(), NoRoom> {
        match bytes.checked_sub(self.bytes) {
            None | Some(0) => Ok(()),
            Some(more) => self.grow(more).await,
        }
    }

    /// Gives back what it has beyond so many bytes.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let given = self.bytes.saturating_sub(bytes);
        self.bytes -= given;
        self.budget.used.fetch_sub(given, Ordering::Relaxed);
        self.budget.freed.notify_waiters();
    }

    /// The same bytes, which hold their part of the budget until the last of them is dropped.
    pub(super) fn around(self, bytes: Bytes) -> Bytes {
        struct Counted {
            bytes: Bytes,
            _share: Share,
        }
        impl AsRef<[u8]> for Counted {
            fn as_ref(&self) -> &[u8] {
                &self.bytes
            }
        }
        Bytes::from_owner(Counted { bytes, _share: self })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

impl Waiting<'_> {
    /// Ready when this upload has to give way.
    pub(super) async fn gives_way(&self) {
        self.gives_way.notified().await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.budget.waiting.lock().remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ones_leave_room_for_short_ones() {
        let budget = Budget::new(400 << 10);
        let (mut long, mut short) = (budget.share(), budget.share());
        assert_eq!(long.try_grow(300 << 10), Ok(()));
        assert_eq!(long.try_grow(1), Err(NoRoom));
        assert_eq!(short.try_grow(SHORT), Ok(()));
        assert_eq!(budget.used(), 364 << 10);
        drop(long);
        assert_eq!(budget.used(), SHORT);
    }

    #[test]
    fn bytes_hold_their_part_until_the_last_of_them_goes() {
        let budget = Budget::new(1000);
        let mut share = budget.share();
        share.try_grow(10).expect("room");
        let bytes = share.around(Bytes::from_static(b"0123456789"));
        let part = bytes.slice(2..4);
        drop(bytes);
        assert_eq!((budget.used(), &part[..]), (10, &b"23"[..]));
        drop(part);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn an_upload_that_stands_still_gives_way() {
        let budget = Budget::new(1000);
        let mut held = budget.share();
        held.try_grow(1000).expect("room");
        let stalled = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move {
                budget.wait().gives_way().await;
                drop(held);
            }
        });
        let mut other = budget.share();
        // It has to stand still for a second first, and as long is waited.
        while other.grow(10).await.is_err() {}
        stalled.await.expect("it ends");
        assert_eq!(budget.used(), 10);
    }
}
