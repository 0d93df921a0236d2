//! What belongs to a user, what nobody has used for long, and what is left once a user is deleted.

use rejoinder::domain::caller::Owner;
use rejoinder::domain::event::Usage;
use rejoinder::domain::ids::ThreadId;
use rejoinder::domain::record::Change;
use rejoinder::domain::usage::Day;
use rejoinder::store::{Store, UserDeletion};

use super::{History, Projecting};

/// When the histories of tests accept their replies, in milliseconds of Unix time.
const ACCEPTED: u64 = 1_700_000_000_000;

/// A thread of an owner with one reply.
fn history(owner: &Owner, in_conversation: bool) -> History {
    let mut history = History::new();
    history.owner = owner.clone();
    if in_conversation {
        history.create_conversation("welcome");
    }
    let reply = history.accept("one", in_conversation);
    history.end_with(reply, "1", Some(Usage { input: 1, output: 2, total: 3, ..Usage::default() }));
    history
}

fn sorted(threads: impl IntoIterator<Item = ThreadId>) -> Vec<ThreadId> {
    let mut threads: Vec<_> = threads.into_iter().collect();
    threads.sort_by_key(ToString::to_string);
    threads
}

pub(crate) async fn the_threads_of_an_owner_are_listed_in_order_without_what_was_deleted(store: Store) {
    let (alice, bob) = (Owner::new("acme", Some("alice")), Owner::new("acme", Some("bob")));
    let own = [history(&alice, true), history(&alice, false), history(&alice, false)];
    let mut gone = history(&alice, false);
    let reply = gone.replies()[0];
    gone.push(Change::ReplyDeleted { reply, erased: Vec::new(), left: vec![] });
    let mut projecting = Projecting::new(&store);
    for history in own.iter().chain([&gone, &history(&bob, true), &history(&bob, false)]) {
        projecting.apply(&history.since(0)).await;
    }
    let all = sorted(own.map(|history| history.thread));
    assert_eq!(store.threads_of(&alice, None, 10).await.unwrap(), all);
    assert_eq!(store.threads_of(&alice, None, 2).await.unwrap(), all[..2]);
    assert_eq!(store.threads_of(&alice, Some(all[0]), 10).await.unwrap(), all[1..]);
    assert_eq!(store.threads_of(&Owner::anonymous(), None, 10).await.unwrap(), []);
}

pub(crate) async fn threads_without_activity_since_a_time_are_idle(store: Store) {
    let (alice, bob) = (Owner::new("acme", Some("alice")), Owner::new("acme", Some("bob")));
    let own = [history(&alice, true), history(&alice, false)];
    let mut projecting = Projecting::new(&store);
    for history in own.iter().chain([&history(&bob, false)]) {
        projecting.apply(&history.since(0)).await;
    }
    let all = sorted(own.each_ref().map(|history| history.thread));
    let idle = async |before, after, limit| store.idle_threads(&alice, before, after, limit).await.unwrap();
    assert_eq!(idle(ACCEPTED + 60_000, None, 10).await, all);
    assert_eq!(idle(ACCEPTED + 60_000, Some(all[0]), 10).await, all[1..]);
    assert_eq!(idle(ACCEPTED + 60_000, None, 1).await, all[..1]);
    assert_eq!(idle(ACCEPTED - 60_000, None, 10).await, []);
    let mut owners = vec![store.next_owner(None).await.unwrap().expect("an owner")];
    while let Some(next) = store.next_owner(owners.last()).await.unwrap() {
        owners.push(next);
    }
    assert_eq!(owners, [alice, bob]);
}

pub(crate) async fn of_a_deleted_user_the_usage_is_left_under_the_tenants_name(store: Store) {
    let (alice, tenant) = (Owner::new("acme", Some("alice")), Owner::new("acme", None));
    let mut gone = history(&alice, false);
    let reply = gone.replies()[0];
    gone.push(Change::ReplyDeleted { reply, erased: Vec::new(), left: vec![] });
    Projecting::new(&store).apply(&gone.since(0)).await;

    let deletion = UserDeletion { owner: alice.clone(), asked_at: 1_000 };
    store.begin_user_deletion(&deletion).await.unwrap();
    assert_eq!(store.idle_user_deletions(999).await.unwrap(), [], "somebody has just begun");
    assert_eq!(store.idle_user_deletions(1_000).await.unwrap(), std::slice::from_ref(&deletion));
    assert!(store.claim_user_deletion(&deletion, 5_000, 1_000).await.unwrap());
    assert!(!store.claim_user_deletion(&deletion, 5_001, 1_000).await.unwrap(), "another works at it");

    store.forget_user(&deletion).await.unwrap();
    let day = Day::of(ACCEPTED / 1000);
    assert_eq!(store.tokens_of(&alice, day).await.unwrap(), 0);
    assert_eq!(store.tokens_of(&tenant, day).await.unwrap(), 3);

    let again = UserDeletion { asked_at: 2_000, ..deletion.clone() };
    store.begin_user_deletion(&again).await.unwrap();
    store.end_user_deletion(&deletion).await.unwrap();
    assert_eq!(
        store.idle_user_deletions(9_000).await.unwrap(),
        std::slice::from_ref(&again),
        "it was asked for once more"
    );
    store.end_user_deletion(&again).await.unwrap();
    assert_eq!(store.idle_user_deletions(9_000).await.unwrap(), []);
}
