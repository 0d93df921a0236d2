//! What replies used that no record tells of: those that are not stored, that were deleted while they ran, or whose model
//! server does not say what they took. It is gathered here and written to the store every second; a crash costs that much.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::domain::caller::Owner;
use crate::domain::usage::{DailyUsage, Day, Used};
use crate::store::Store;

/// Between two writes.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest pause while the store is away.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long the last write may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Lines that wait at most, where the store is away: what is more counts for no model.
const MOST: usize = 10_000;

/// Rows of one write.
const ROWS: usize = 500;

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<HashMap<(Owner, Day, String), Used>>);

impl Ledger {
    /// Notes what somebody used.
    pub(super) fn add(&self, usage: DailyUsage) {
        let DailyUsage { owner, day, model, used } = usage;
        let mut lines = self.0.lock();
        if lines.len() >= MOST && !lines.contains_key(&(owner.clone(), day, model.clone())) {
            *lines.entry((owner, day, String::new())).or_default() += used;
            return;
        }
        *lines.entry((owner, day, model)).or_default() += used;
    }

    /// Writes it to the store, until `stop` and then once more.
    pub(super) async fn write_until(&self, store: &Store, stop: &CancellationToken) {
        let mut pause = PAUSE;
        while stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            let mut write = pin!(self.write(store));
            pause = match stop.run_until_cancelled(&mut write).await {
                Some(Ok(())) => PAUSE,
                Some(Err(_)) => LONGEST_PAUSE.min(pause * 2),
                // A store that hangs does not hold up the end.
                None => return end(write).await,
            };
        }
        end(self.write(store)).await;
    }

    async fn write(&self, store: &Store) -> Result<(), crate::store::Error> {
        loop {
            let rows = self.take();
            if rows.is_empty() {
                return Ok(());
            }
            if let Err(error) = store.add_usage(&rows).await {
                for row in rows {
                    self.add(row);
                }
                return Err(error);
            }
        }
    }

    fn take(&self) -> Vec<DailyUsage> {
        let mut lines = self.0.lock();
        let some: Vec<_> = lines.keys().take(ROWS).cloned().collect();
        let taken = some.into_iter().filter_map(|key| lines.remove_entry(&key));
        taken.map(|((owner, day, model), used)| DailyUsage { owner, day, model, used }).collect()
    }
}

/// The last write.
async fn end(write: impl Future<Output = Result<(), crate::store::Error>>) {
    if !matches!(tokio::time::timeout(FAREWELL, write).await, Ok(Ok(()))) {
        tracing::warn!("the store lacks what replies used that are not stored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Config, Tables};

    fn usage(user: &str, output: u64) -> DailyUsage {
        let one = Used { replies: 1, output, ..Used::default() };
        let owner = Owner::new("acme", Some(user));
        DailyUsage { owner, day: Day::from_number(20_000), model: "echo".to_owned(), used: one }
    }

    #[tokio::test]
    async fn what_was_used_is_written_once_also_after_the_store_was_away() {
        let directory = tempfile::tempdir().unwrap();
        let open = async || Store::open(&Config::in_dir(directory.path()), Tables::Migrate).await.unwrap();
        let (ledger, closed) = (Ledger::default(), open().await);
        closed.close().await;
        for _ in 0..3 {
            ledger.add(usage("alice", 5));
        }
        ledger.add(usage("bob", 7));
        assert!(ledger.write(&closed).await.is_err());
        let store = open().await;
        ledger.write(&store).await.unwrap();
        ledger.write(&store).await.unwrap();
        ledger.add(usage("alice", 1));
        ledger.write(&store).await.unwrap();
        for (user, tokens) in [("alice", 16), ("bob", 7)] {
            let owner = Owner::new("acme", Some(user));
            assert_eq!(store.tokens_of(&owner, Day::from_number(20_000)).await.unwrap(), tokens, "{user}");
        }
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let ledger = Ledger::default();
        for model in 0..MOST + 100 {
            ledger.add(DailyUsage { model: model.to_string(), ..usage("alice", 1) });
        }
        let lines = ledger.0.lock();
        assert_eq!(lines.len(), MOST + 1);
        assert_eq!(lines.values().map(|used| used.output).sum::<u64>(), MOST as u64 + 100);
    }
}
