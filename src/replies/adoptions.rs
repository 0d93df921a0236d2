//! Turns to look at a reply that nobody generates: one at a time for each reply, so that it is taken over once, and for
//! all replies at once, so that one that takes long holds up no other.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::domain::ids::ReplyId;

type Turn = tokio::sync::Mutex<()>;

/// The replies that are looked at.
#[derive(Default)]
pub(super) struct Adoptions {
    turns: Mutex<HashMap<ReplyId, Weak<Turn>>>,
}

/// The right to take over a reply.
pub(super) struct Alone<'a> {
    adoptions: &'a Adoptions,
    reply: ReplyId,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Adoptions {
    /// How many are looked at.
    #[cfg(feature = "simulation")]
    pub(super) fn len(&self) -> usize {
        self.turns.lock().len()
    }

    /// Waits until no other task here looks at this reply.
    pub(super) async fn of(&self, reply: ReplyId) -> Alone<'_> {
        let turn = {
            let mut turns = self.turns.lock();
            let known = turns.get(&reply).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turn = Arc::new(Turn::default());
                turns.insert(reply, Arc::downgrade(&turn));
                turn
            })
        };
        Alone { adoptions: self, reply, guard: Some(turn.lock_owned().await) }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        let mut turns = self.adoptions.turns.lock();
        self.guard = None;
        // A waiting task holds the turn, too, and a new one waits for the table.
        if turns.get(&self.reply).is_some_and(|turn| turn.strong_count() == 0) {
            turns.remove(&self.reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::ThreadId;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn one_reply_is_looked_at_once_and_others_meanwhile() {
        let (adoptions, one) = (Adoptions::default(), ReplyId::random(ThreadId::random()));
        let first = adoptions.of(one).await;
        assert!(adoptions.of(ReplyId::random(ThreadId::random())).now_or_never().is_some());
        let mut second = Box::pin(adoptions.of(one));
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        drop(second.now_or_never().expect("its turn"));
        assert!(adoptions.turns.lock().is_empty(), "nothing is left");
    }

    #[tokio::test]
    async fn one_that_gave_up_waiting_leaves_nothing() {
        let (adoptions, one) = (Adoptions::default(), ReplyId::random(ThreadId::random()));
        let first = adoptions.of(one).await;
        assert!(adoptions.of(one).now_or_never().is_none());
        drop(first);
        assert!(adoptions.turns.lock().is_empty());
    }
}
