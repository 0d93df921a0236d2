//! The simulated log and store, kind for once: what they promise is what the real ones promise.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rejoinder::domain::ids::{InstanceId, ReplyId, ThreadId};
use rejoinder::log::simulated::Cluster;
use rejoinder::log::{AppendError, Log, Subject};
use rejoinder::simulation::{Dice, Fault, Process};
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

/// Its first try was stored, and the answer to that lost; the second finds no space. It is not known to be refused.
#[tokio::test(start_paused = true)]
async fn an_acceptance_that_may_be_stored_is_not_refused_for_want_of_space() {
    let day = Duration::from_hours(24);
    let dice = Arc::new(Dice::new(1, &[(Fault::AnswerLost, 1.0)], BTreeSet::new()));
    let cluster = Cluster::new(Arc::clone(&dice), day, day);
    let log = cluster.log(Process::start());
    let (instance, reply) = (InstanceId::random(), ReplyId::random(ThreadId::random()));
    let accepting = tokio::spawn(async move { log.records().accept(instance, reply, None, "accepted".into()).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    dice.calm();
    cluster.fill(true);
    let accepted = accepting.await.unwrap();
    assert!(matches!(accepted, Err(AppendError::Unavailable(_))), "{accepted:?}");
    assert_eq!(cluster.look(Subject::Transcript(reply.thread())).len(), 1, "it was");
    cluster.fill(false);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.leases(), [(instance, reply)], "it is found again");
}

mod store {
    use super::fresh_store;

    crate::store_contract_tests!(fresh_store);
}
