//! Conversations in a list.

use rejoinder::domain::caller::Owner;
use rejoinder::domain::ids::ThreadId;
use rejoinder::domain::params::Metadata;
use rejoinder::domain::record::Change;
use rejoinder::domain::thread::Thread;
use rejoinder::store::{Listed, Listing, Store};

use super::history::{History, Projecting, message};

fn of(owner: &Owner) -> Listing {
    Listing { owner: owner.as_str().to_owned(), after: None, ascending: false, limit: 100 }
}

/// A conversation of an owner, in which something happened last at this ordinal.
fn history(owner: &Owner, until: usize) -> History {
    let mut told = History::new();
    told.owner = owner.clone();
    told.create_conversation("welcome");
    while told.len() < until {
        let reply = told.accept("more", true);
        if told.len() < until {
            told.end(reply, "of it");
        }
    }
    told
}

fn threads(listed: &[Listed]) -> Vec<ThreadId> {
    listed.iter().map(|listed| listed.thread).collect()
}

pub(crate) async fn conversations_are_listed_by_their_owner_and_their_last_activity(store: Store) {
    let (alice, bob) = (Owner::new("acme", Some("alice")), Owner::new("acme", Some("bob")));
    // Their last records: created, accepted, accepted.
    let told = [history(&alice, 1), history(&alice, 4), history(&alice, 2), history(&bob, 6)];
    let mut projecting = Projecting::new(&store);
    for told in &told {
        projecting.apply(&told.since(0)).await;
    }
    let latest_first = [told[1].thread, told[2].thread, told[0].thread];
    let listed = store.conversations(&of(&alice)).await.unwrap();
    assert_eq!(threads(&listed), latest_first);
    assert_eq!(listed[0].active_at, 1_700_000_000_004);
    assert_eq!(listed[0].first_reply, Some(told[1].replies()[0].to_string()));
    assert_eq!(threads(&store.conversations(&of(&bob)).await.unwrap()), [told[3].thread]);
    assert_eq!(store.conversations(&of(&Owner::new("acme", None))).await.unwrap(), []);

    // One by one, both ways.
    for ascending in [false, true] {
        let (mut one_by_one, mut after) = (Vec::new(), None);
        loop {
            let listing = Listing { after, ascending, limit: 1, ..of(&alice) };
            let Some(next) = store.conversations(&listing).await.unwrap().pop() else { break };
            after = Some((next.active_at, next.thread));
            one_by_one.push(next.thread);
        }
        if ascending {
            one_by_one.reverse();
        }
        assert_eq!(one_by_one, latest_first, "ascending: {ascending}");
    }

    let mut some = store.listed(&[told[3].thread, told[0].thread, ThreadId::random()]).await.unwrap();
    some.sort_by_key(|listed| listed.active_at);
    assert_eq!(threads(&some), [told[0].thread, told[3].thread]);
    assert_eq!(some[1].owner, bob.as_str());
}

pub(crate) async fn items_that_are_added_are_activity_and_metadata_are_none(store: Store) {
    let owner = Owner::anonymous();
    let (mut idle, mut told) = (history(&owner, 1), history(&owner, 1));
    told.push(Change::MetadataSet { metadata: Metadata::from([("title".to_owned(), "Tea".to_owned())]) });
    let mut projecting = Projecting::new(&store);
    projecting.apply(&idle.since(0)).await;
    projecting.apply(&told.since(0)).await;
    let at = async |thread: ThreadId| store.listed(&[thread]).await.unwrap().pop().unwrap().active_at;
    assert_eq!(at(told.thread).await, 1_700_000_000_001);
    let known = idle.len();
    idle.push(Change::ItemsAdded { items: vec![message("added", idle.item_id())] });
    projecting.apply(&idle.since(known)).await;
    assert_eq!(at(idle.thread).await, 1_700_000_000_002);
    assert_eq!(threads(&store.conversations(&of(&owner)).await.unwrap())[0], idle.thread);
}

pub(crate) async fn a_list_shows_the_beginning_of_a_conversation_and_nothing_that_was_deleted(store: Store) {
    let mut told = History::new();
    told.push(Change::ConversationCreated { metadata: Metadata::new(), items: vec![], owner: told.owner.clone() });
    let (first, _) = told.whole_reply("the first words", "1");
    told.push(Change::ItemsAdded { items: vec![message("added later", told.item_id())] });
    let (second, _) = told.whole_reply("the second words", "2");
    let mut projecting = Projecting::new(&store);
    projecting.apply(&told.since(0)).await;
    let titled = async |told: &History| {
        let listed = store.conversations(&of(&told.owner)).await.unwrap();
        let records = store.beginnings(&listed).await.unwrap().remove(&told.thread).unwrap();
        let mut thread = Thread::new(told.thread);
        for record in &records {
            thread.apply(record);
        }
        thread.title()
    };
    assert_eq!(titled(&told).await.as_deref(), Some("the first words"));
    let mut known = told.len();
    let mut project = async |told: &mut History, change: Change| {
        told.push(change);
        projecting.apply(&told.since(known)).await;
        known = told.len();
    };
    let delete = |reply| Change::ReplyDeleted { reply, erased: Vec::new(), left: vec![] };
    project(&mut told, delete(first)).await;
    assert_eq!(titled(&told).await.as_deref(), Some("added later"));
    assert_eq!(store.conversations(&of(&told.owner)).await.unwrap()[0].first_reply, Some(second.to_string()));
    // What it was asked with goes, and it stays: the next one tells.
    let added = told.records().iter().find_map(|record| match &record.change {
        Change::ItemsAdded { items } => Some(items[0].id().to_owned()),
        _ => None,
    });
    project(&mut told, Change::ItemDeleted { item: added.unwrap(), left: vec![] }).await;
    assert_eq!(titled(&told).await.as_deref(), Some("the second words"));
    let (third, _) = told.whole_reply("the third words", "3");
    project(&mut told, Change::ItemDeleted { item: second.input_item("msg", 0), left: vec![] }).await;
    assert_eq!(titled(&told).await.as_deref(), Some("the third words"));
    assert_eq!(store.conversations(&of(&told.owner)).await.unwrap()[0].first_reply, Some(third.to_string()));
    let named = Metadata::from([("title".to_owned(), "Set".to_owned())]);
    project(&mut told, Change::MetadataSet { metadata: named }).await;
    assert_eq!(titled(&told).await.as_deref(), Some("Set"));

    let gone = Change::ConversationDeleted { erased: Vec::new(), left: vec![], owner: told.owner.clone() };
    project(&mut told, gone).await;
    assert_eq!(store.conversations(&of(&told.owner)).await.unwrap(), []);
    assert_eq!(store.listed(&[told.thread]).await.unwrap(), []);
    // Also where it is projected once more.
    projecting.apply(&told.since(0)).await;
    assert_eq!(store.conversations(&of(&told.owner)).await.unwrap(), []);
}

/// Conversations from before there was a list of them.
pub(crate) async fn project_conversations(store: &Store) -> Vec<Listed> {
    let owner = Owner::new("acme", Some("alice"));
    let mut projecting = Projecting::new(store);
    let mut gone = history(&owner, 3);
    gone.push(Change::ConversationDeleted { erased: Vec::new(), left: vec![], owner: owner.clone() });
    for told in [history(&owner, 1), history(&owner, 4), gone] {
        projecting.apply(&told.since(0)).await;
    }
    alices(store).await
}

/// Those of [`project_conversations`] that are listed.
pub(crate) async fn alices(store: &Store) -> Vec<Listed> {
    store.conversations(&of(&Owner::new("acme", Some("alice")))).await.unwrap()
}
