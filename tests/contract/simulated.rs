//! The simulated log and store, kind for once: what they promise is what the real ones promise.

use std::sync::Arc;
use std::time::Duration;

use rejoinder::log::Log;
use rejoinder::log::simulated::Cluster;
use rejoinder::simulation::{Dice, Process};
use rejoinder::store::Store;
use rejoinder::store::simulated::Database;

#[expect(clippy::unused_async, reason = "other logs are opened over a network")]
async fn fresh_log() -> (Log, Cluster) {
    let day = Duration::from_hours(24);
    let cluster = Cluster::new(Arc::new(Dice::kind()), day, day);
    (cluster.log(Process::start()), cluster)
}

async fn fresh_store() -> (Store, Database) {
    let database = Database::new(Arc::new(Dice::kind()));
    (database.store(Process::start()), database)
}

log_contract_tests!(fresh_log);
log_contract_tests! { fresh_log:
    a_snapshot_that_is_sealed_is_not_written_again_by_who_was_late
}

mod store {
    use super::fresh_store;

    crate::store_contract_tests!(fresh_store);
}
