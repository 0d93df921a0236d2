//! What every store keeps to. Each function takes an empty store; [`store_contract_tests!`] makes them tests of one.

use bytes::Bytes;
use rejoinder::domain::caller::Owner;
use rejoinder::domain::erase::ItemErasure;
use rejoinder::domain::ids::{ReplyId, ThreadId};
use rejoinder::domain::params::Metadata;
use rejoinder::domain::record::{Change, TranscriptRecord};
use rejoinder::domain::thread::Thread;
use rejoinder::store::{Applied, Blob, Error, Position, Record, Store, StoredThread};

use history::{at, batch, long_history};

mod history;
mod listing;
mod measure;
mod usage;
mod users;
mod webhooks;

pub(crate) use webhooks::{
    a_deleted_endpoint_takes_along_what_waits_for_it, an_endpoint_reads_back_as_it_was_and_of_two_changes_one_counts,
    deliveries_are_due_in_their_order_and_are_noted_once, how_an_endpoint_answered_adds_up,
    how_far_webhooks_read_a_shard_begins_once_and_only_rises, one_instance_has_the_lease_to_deliver,
    what_was_given_up_is_listed_sent_again_and_forgotten_in_time,
};

pub(crate) use users::{
    of_a_deleted_user_the_usage_is_left_under_the_tenants_name,
    the_threads_of_an_owner_are_listed_in_order_without_what_was_deleted,
    threads_without_activity_since_a_time_are_idle,
};

pub(crate) use history::{History, Projecting, message};
pub(crate) use listing::{
    a_list_shows_the_beginning_of_a_conversation_and_nothing_that_was_deleted, alices,
    conversations_are_listed_by_their_owner_and_their_last_activity,
    items_that_are_added_are_activity_and_metadata_are_none, project_conversations,
};
pub(crate) use measure::{Load, measure};
pub(crate) use usage::{
    usage_is_told_by_whose_it_is_by_day_and_by_model, what_replies_used_is_counted_once_whatever_becomes_of_them,
};

/// Makes each function of the contract a test, on stores from `$fresh() -> (Store, impl Drop)`.
#[macro_export]
macro_rules! store_contract_tests {
    ($fresh:path) => {
        $crate::store_contract_tests! { $fresh:
            a_shard_has_no_position_before_the_first_batch
            the_position_moves_by_compare_and_set
            of_two_projections_at_once_one_wins
            a_reply_reads_back_as_it_was
            a_reply_may_end_in_a_later_batch
            of_several_ends_the_first_counts
            an_end_without_an_acceptance_says_nothing
            a_thread_folds_from_the_store_as_from_the_log
            a_thread_of_many_pages_is_read_whole
            the_last_turns_of_a_thread_are_read_without_those_before
            projecting_again_changes_nothing
            hundreds_of_replies_fit_in_one_batch
            a_deleted_reply_is_gone_and_does_not_come_back
            a_deleted_conversation_keeps_its_replies_and_no_other_text
            a_deleted_item_loses_its_text_and_keeps_its_place
            a_deleted_item_of_a_reply_loses_its_text_and_the_rest_stays
            what_a_deletion_carries_stands_in_the_place_of_what_the_log_erased
            what_replies_used_is_counted_once_whatever_becomes_of_them
            usage_is_told_by_whose_it_is_by_day_and_by_model
            a_blob_is_kept_per_thread
            blobs_go_with_the_last_record_that_refers_to_them
            records_of_a_newer_version_are_kept_as_they_are
            an_unreadable_record_does_not_stop_the_others
            a_name_that_holds_a_zero_byte_does_not_stop_the_others
            conversations_are_listed_by_their_owner_and_their_last_activity
            items_that_are_added_are_activity_and_metadata_are_none
            a_list_shows_the_beginning_of_a_conversation_and_nothing_that_was_deleted
        }
    };
    (users: $fresh:path) => {
        $crate::store_contract_tests! { $fresh:
            the_threads_of_an_owner_are_listed_in_order_without_what_was_deleted
            threads_without_activity_since_a_time_are_idle
            of_a_deleted_user_the_usage_is_left_under_the_tenants_name
        }
    };
    (webhooks: $fresh:path) => {
        $crate::store_contract_tests! { $fresh:
            an_endpoint_reads_back_as_it_was_and_of_two_changes_one_counts
            a_deleted_endpoint_takes_along_what_waits_for_it
            deliveries_are_due_in_their_order_and_are_noted_once
            what_was_given_up_is_listed_sent_again_and_forgotten_in_time
            how_an_endpoint_answered_adds_up
            one_instance_has_the_lease_to_deliver
            how_far_webhooks_read_a_shard_begins_once_and_only_rises
        }
    };
    ($fresh:path: $($name:ident)*) => {$(
        #[tokio::test]
        async fn $name() {
            let (store, _kept) = $fresh().await;
            $crate::store_contract::$name(store).await;
        }
    )*};
}

/// A reply and a conversation of somebody's, which is deleted at the end.
pub(crate) async fn project_what_is_owned(store: &Store) {
    let mut told = History::new();
    told.owner = Owner::new("acme", Some("alice"));
    told.create_conversation("welcome");
    told.whole_reply("one", "1");
    told.push(Change::ConversationDeleted { erased: Vec::new(), left: vec![], owner: told.owner.clone() });
    Projecting::new(store).apply(&told.since(0)).await;
    let stored = store.thread(told.thread).await.unwrap();
    let owners = stored.records.iter().filter_map(|record| match &record.change {
        Change::Accepted(accepted) => Some(&accepted.owner),
        Change::ConversationCreated { owner, .. } | Change::ConversationDeleted { owner, .. } => Some(owner),
        _ => None,
    });
    assert_eq!(owners.collect::<Vec<_>>(), [&told.owner; 3]);
}

pub(crate) async fn a_shard_has_no_position_before_the_first_batch(store: Store) {
    store.ping().await.unwrap();
    assert_eq!(store.position(0).await.unwrap(), None);
    let thread = ThreadId::random();
    let stored = store.thread(thread).await.unwrap();
    assert_eq!((stored.watermark, stored.records.len()), (0, 0));
    assert!(store.projected_reply(ReplyId::random(thread)).await.unwrap().is_none());
}

pub(crate) async fn the_position_moves_by_compare_and_set(store: Store) {
    let mut told = History::new();
    let (reply, _) = told.whole_reply("hello", "hi");
    let first = batch(None, at("log", 2), told.since(0));
    store.apply(&first).await.unwrap();
    assert_eq!(store.position(0).await.unwrap(), Some(at("log", 2)));
    assert_eq!(store.position(1).await.unwrap(), None, "each shard has its own");

    let (late, _) = told.whole_reply("again", "no");
    for expected in
        [None, Some(at("log", 1)), Some(at("other", 2)), Some(Position { last_record: "x".into(), ..at("log", 2) })]
    {
        let refused = store.apply(&batch(expected, at("log", 4), told.since(2))).await;
        assert!(matches!(refused, Err(Error::Moved)), "{refused:?}");
    }
    assert_eq!(store.position(0).await.unwrap(), Some(at("log", 2)), "a refused batch moves nothing");
    assert!(store.projected_reply(late).await.unwrap().is_none(), "a refused batch writes nothing");
    assert!(store.projected_reply(reply).await.unwrap().is_some());

    let back = batch(Some(at("log", 2)), at("new log", 1), told.since(3));
    store.apply(&back).await.unwrap();
    assert_eq!(store.position(0).await.unwrap(), Some(at("new log", 1)), "a new log starts over");
}

pub(crate) async fn of_two_projections_at_once_one_wins(store: Store) {
    let mut told = History::new();
    told.whole_reply("hello", "hi");
    let same = batch(None, at("log", 2), told.since(0));
    let (one, other) = tokio::join!(store.apply(&same), store.apply(&same));
    let won = usize::from(one.is_ok()) + usize::from(other.is_ok());
    assert_eq!(won, 1, "{one:?} {other:?}");
}

pub(crate) async fn a_reply_reads_back_as_it_was(store: Store) {
    let mut told = History::new();
    let (reply, _) = told.whole_reply("What is ä?", "A letter: \u{1F600} \"quoted\"");
    let applied = store.apply(&batch(None, at("log", 2), told.since(0))).await.unwrap();
    assert_eq!(applied, Applied { replies: 1, changes: 0, unreadable: 0 });

    let thread = store.thread(told.thread).await.unwrap();
    assert_eq!(thread.watermark, 2);
    assert_eq!(thread.records, told.records());
    let stored = store.projected_reply(reply).await.unwrap().expect("the reply");
    assert_eq!(stored.ordinal, 1);
    let (accepted, ended) = stored.texts.expect("its texts");
    assert_eq!(Change::Accepted(accepted), told.records()[0].change);
    assert_eq!(ended.map(Change::Ended), Some(told.records()[1].change.clone()));
}

pub(crate) async fn a_reply_may_end_in_a_later_batch(store: Store) {
    let mut told = History::new();
    let replies: Vec<_> = (0..3).map(|_| told.accept("hello", false)).collect();
    let mut projection = Projecting::new(&store);
    projection.apply(&told.since(0)).await;
    let running = store.projected_reply(replies[0]).await.unwrap().expect("the reply");
    assert_eq!(running.texts.expect("its texts").1, None);

    for reply in &replies {
        told.end(*reply, "hi");
    }
    projection.apply(&told.since(3)).await;
    assert_eq!(store.thread(told.thread).await.unwrap().records, told.records());
    for reply in replies {
        let stored = store.projected_reply(reply).await.unwrap().expect("the reply");
        assert!(stored.texts.expect("its texts").1.is_some());
    }
}

pub(crate) async fn a_thread_of_many_pages_is_read_whole(store: Store) {
    let mut told = History::new();
    told.create_conversation("welcome");
    let mut projection = Projecting::new(&store);
    for turn in 0..400 {
        told.whole_reply(&format!("{turn}"), "yes");
        told.push(Change::ItemsAdded { items: vec![message("by the way", told.item_id())] });
    }
    projection.apply(&told.since(0)).await;
    let stored = store.thread(told.thread).await.unwrap();
    assert_eq!(stored.watermark, told.len() as u64);
    assert!(stored.records == told.records(), "all of them, in order");

    // What comes while it is read belongs to the next reading.
    let mut pages = store.pages(told.thread);
    assert!(store.read_page(&mut pages).await.unwrap());
    let known = told.len();
    told.whole_reply("late", "yes");
    projection.apply(&told.since(known)).await;
    while store.read_page(&mut pages).await.unwrap() {}
    let stored = pages.finish();
    assert_eq!((stored.watermark, stored.records.len()), (known as u64, known));
}

pub(crate) async fn the_last_turns_of_a_thread_are_read_without_those_before(store: Store) {
    let mut told = History::new();
    told.create_conversation("welcome");
    for turn in 0..400 {
        told.whole_reply(&format!("{turn}"), "yes");
        told.push(Change::ItemsAdded { items: vec![message("by the way", told.item_id())] });
    }
    let mut projection = Projecting::new(&store);
    projection.apply(&told.since(0)).await;
    let all = told.records();
    let recent = store.recent(told.thread, u64::MAX).await.unwrap();
    assert_eq!(recent.last, all.len() as u64);
    let first = usize::try_from(recent.first).unwrap();
    assert!((300..900).contains(&first), "{first}");
    assert!(recent.records[0] == all[0], "whose conversation it is");
    assert!(recent.records[1..] == all[first - 1..], "the turns, and what was said between them");

    let until = 600;
    let before = store.recent(told.thread, until).await.unwrap();
    let turns = |records: &[TranscriptRecord], until: u64| {
        let accepted = records.iter().filter(|record| matches!(record.change, Change::Accepted(_)));
        accepted.map(|record| record.ordinal).filter(|ordinal| *ordinal <= until).collect::<Vec<_>>()
    };
    assert!(before.first < until && before.first > 1);
    assert_eq!(turns(&before.records, u64::MAX), turns(&all[usize::try_from(before.first).unwrap() - 1..], until));

    let mut short = History::new();
    short.create_conversation("welcome");
    short.whole_reply("one", "1");
    projection.apply(&short.since(0)).await;
    let whole = store.recent(short.thread, u64::MAX).await.unwrap();
    assert!((whole.first, &whole.records[..]) == (0, short.records()));
    let none = store.recent(ThreadId::random(), u64::MAX).await.unwrap();
    assert_eq!((none.last, none.records.len()), (0, 0));
}

pub(crate) async fn of_several_ends_the_first_counts(store: Store) {
    let mut told = History::new();
    let (reply, first) = told.whole_reply("hello", "the first");
    told.end(reply, "the second");
    let mut projection = Projecting::new(&store);
    projection.apply(&told.since(0)).await;
    told.end(reply, "the third");
    projection.apply(&told.since(3)).await;

    let stored = store.projected_reply(reply).await.unwrap().expect("the reply");
    assert_eq!(stored.texts.expect("its texts").1, Some(first));
    let thread = store.thread(told.thread).await.unwrap();
    assert_eq!(thread.watermark, 4, "a record that does not count is known all the same");
    assert_eq!(thread.records, told.records()[..2]);
}

pub(crate) async fn an_end_without_an_acceptance_says_nothing(store: Store) {
    let mut told = History::new();
    let (reply, _) = told.whole_reply("hello", "hi");
    Projecting::new(&store).apply(&told.since(1)).await;
    assert!(store.projected_reply(reply).await.unwrap().is_none());
    let thread = store.thread(told.thread).await.unwrap();
    assert_eq!((thread.watermark, thread.records.len()), (2, 0), "known, and of no consequence");
}

pub(crate) async fn a_thread_folds_from_the_store_as_from_the_log(store: Store) {
    let told = long_history();
    Projecting::new(&store).apply(&told.since(0)).await;
    let stored = store.thread(told.thread).await.unwrap();
    assert_eq!(stored.watermark, told.records().len() as u64);
    let ordinals: Vec<u64> = stored.records.iter().map(|record| record.ordinal).collect();
    assert!(ordinals.is_sorted_by(|a, b| a < b), "{ordinals:?}");

    // An item that was deleted is erased in the log, too.
    let mut logged = told.records().to_vec();
    let items: Vec<String> = logged.iter().filter_map(|record| deleted_item(&record.change)).collect();
    for item in &items {
        for record in &mut logged {
            ItemErasure::of(item).apply(record);
        }
    }
    let [from_store, from_log] = [&stored.records[..], &logged].map(|records| {
        let mut thread = Thread::new(told.thread);
        for record in records {
            thread.apply(record);
        }
        thread
    });
    assert_eq!(from_store.items(), from_log.items());
    assert_eq!(from_store.context(), from_log.context());
    let replies = |thread: &Thread| thread.replies().map(|reply| reply.accepted.reply).collect::<Vec<_>>();
    assert_eq!(replies(&from_store), replies(&from_log));
    for reply in told.replies() {
        let [one, other] =
            [&from_store, &from_log].map(|thread| thread.reply(reply).map(|r| (r.ordinal, r.ended.clone())));
        assert_eq!(one, other);
        assert_eq!(from_store.context_after(reply), from_log.context_after(reply));
    }
    let metadata = |thread: &Thread| thread.conversation().map(|c| (c.metadata.clone(), c.created_at));
    assert_eq!(metadata(&from_store), metadata(&from_log));
}

fn deleted_item(change: &Change) -> Option<String> {
    match change {
        Change::ItemDeleted { item, .. } => Some(item.clone()),
        _ => None,
    }
}

pub(crate) async fn projecting_again_changes_nothing(store: Store) {
    let told = long_history();
    let mut projection = Projecting::new(&store);
    projection.apply(&told.since(0)).await;
    let before = store.thread(told.thread).await.unwrap();
    for size in [1, 2, 3, 7, 100] {
        projection.position = Some(at("log", 0)); // a rewind is a batch like any other
        store.apply(&batch(store.position(0).await.unwrap(), at("log", 0), Vec::new())).await.unwrap();
        for records in told.since(0).chunks(size) {
            projection.apply(records).await;
        }
        let after = store.thread(told.thread).await.unwrap();
        assert_eq!(after.records, before.records, "in batches of {size}");
        assert_eq!(after.watermark, before.watermark);
    }
}

pub(crate) async fn hundreds_of_replies_fit_in_one_batch(store: Store) {
    let mut all: Vec<History> = (0..700).map(|_| History::new()).collect();
    let replies: Vec<ReplyId> = all.iter_mut().map(|told| told.whole_reply("hello", "hi").0).collect();
    let records: Vec<Record> = all.iter().flat_map(|told| told.since(0)).collect();
    let applied = store.apply(&batch(None, at("log", 1400), records)).await.unwrap();
    assert_eq!(applied.replies, 700);
    for reply in replies {
        let stored = store.projected_reply(reply).await.unwrap().expect("the reply");
        assert!(stored.texts.expect("its texts").1.is_some());
    }
}

pub(crate) async fn a_deleted_reply_is_gone_and_does_not_come_back(store: Store) {
    let mut told = History::new();
    let (reply, _) = told.whole_reply("secret", "secret");
    let running = told.accept("secret", false);
    let mut projection = Projecting::new(&store);
    projection.apply(&told.since(0)).await;
    told.push(Change::ReplyDeleted { reply, erased: Vec::new(), left: Vec::new() });
    told.push(Change::ReplyDeleted { reply: running, erased: Vec::new(), left: Vec::new() });
    told.end(running, "secret");
    let (_, at_once) = (told.whole_reply("secret", "secret"), told.len());
    let last = told.replies()[2];
    told.push(Change::ReplyDeleted { reply: last, erased: Vec::new(), left: Vec::new() });
    projection.apply(&told.since(3)).await;
    projection.apply(&told.since(0)).await;
    projection.apply(&told.since(1)).await;
    assert_eq!(at_once, 8);

    for reply in told.replies() {
        let stored = store.projected_reply(reply).await.unwrap().expect("its tombstone");
        assert!(stored.texts.is_none());
    }
    let thread = store.thread(told.thread).await.unwrap();
    assert_eq!(thread.watermark, 9);
    let deleted = |record: &TranscriptRecord| matches!(record.change, Change::ReplyDeleted { .. });
    assert_eq!(thread.records.len(), 3);
    assert!(thread.records.iter().all(deleted), "{:?}", thread.records);
}

pub(crate) async fn a_deleted_conversation_keeps_its_replies_and_no_other_text(store: Store) {
    let mut told = History::new();
    told.create_conversation("secret");
    let (reply, ended) = told.whole_reply("question", "answer");
    told.push(Change::ItemsAdded { items: vec![message("secret", told.item_id())] });
    told.push(Change::MetadataSet { metadata: Metadata::from([("k".into(), "secret".into())]) });
    let mut projection = Projecting::new(&store);
    projection.apply(&told.since(0)).await;
    assert!(format!("{:?}", store.thread(told.thread).await.unwrap()).contains("secret"));

    told.push(Change::ConversationDeleted { erased: vec![1, 4, 5], left: vec![], owner: Owner::anonymous() });
    projection.apply(&told.since(5)).await;
    projection.apply(&told.since(0)).await;
    let thread = store.thread(told.thread).await.unwrap();
    assert!(!format!("{thread:?}").contains("secret"), "{thread:?}");
    assert_eq!(
        thread.records.last().map(|record| &record.change),
        Some(&Change::ConversationDeleted { erased: vec![1, 4, 5], left: vec![], owner: Owner::anonymous() })
    );
    let stored = store.projected_reply(reply).await.unwrap().expect("the reply");
    assert_eq!(stored.texts.expect("its texts").1, Some(ended));
}

pub(crate) async fn a_deleted_item_loses_its_text_and_keeps_its_place(store: Store) {
    let mut told = History::new();
    told.create_conversation("stays");
    let item = told.item_id();
    told.push(Change::ItemsAdded {
        items: vec![message("secret", item.clone()), message("stays too", told.item_id())],
    });
    told.push(Change::ItemDeleted { item: item.clone(), left: vec![] });
    Projecting::new(&store).apply(&told.since(0)).await;
    let thread = store.thread(told.thread).await.unwrap();
    assert_eq!(thread.records.len(), 3);
    let text = format!("{thread:?}");
    assert!(!text.contains("secret") && text.contains("stays") && text.contains("stays too"), "{text}");
    let Change::ItemsAdded { items } = &thread.records[1].change else { panic!("{:?}", thread.records[1]) };
    assert_eq!((items.len(), items[0].id()), (2, &*item));
}

pub(crate) async fn a_deleted_item_of_a_reply_loses_its_text_and_the_rest_stays(store: Store) {
    let mut told = History::new();
    told.create_conversation("welcome");
    let (first, _) = told.whole_reply("question", "secret");
    let (second, ended) = told.whole_reply("secret", "answer");
    let mut projection = Projecting::new(&store);
    projection.apply(&told.since(0)).await;
    let said = |thread: StoredThread| format!("{:?}", thread.records);
    assert!(said(store.thread(told.thread).await.unwrap()).contains("secret"));

    told.push(Change::ItemDeleted { item: first.output_item("msg", 0), left: vec![] });
    told.push(Change::ItemDeleted { item: second.input_item("msg", 0), left: vec![] });
    for known in [5, 0] {
        projection.apply(&told.since(known)).await;
        let thread = store.thread(told.thread).await.unwrap();
        assert_eq!(thread.records.len(), 7);
        let text = said(thread);
        assert!(!text.contains("secret") && text.contains("question") && text.contains("answer"), "{text}");
    }
    assert_eq!(store.projected_reply(second).await.unwrap().unwrap().texts.unwrap().1, Some(ended));
}

pub(crate) async fn what_a_deletion_carries_stands_in_the_place_of_what_the_log_erased(store: Store) {
    let mut told = History::new();
    told.create_conversation("welcome");
    let item = told.item_id();
    told.push(Change::ItemsAdded { items: vec![message("secret", item.clone()), message("stays", told.item_id())] });
    let (reply, ended) = told.whole_reply("question", "answer");
    let hash = [0xa1; 32];
    store.put_blobs(&[Blob { thread: told.thread, hash, content: Bytes::from_static(b"image") }]).await.unwrap();
    let image = message(&format!("blob:{}", "a1".repeat(32)), told.item_id());
    told.push(Change::ItemsAdded { items: vec![image] });
    // As a first deletion left them, and a second one, which carries it.
    let mut left = told.records()[1..].to_vec();
    assert!(ItemErasure::of(&item).apply(&mut left[0]));
    told.push(Change::ItemDeleted { item, left: vec![] });
    left.push(told.records()[5].clone());
    told.push(Change::ItemDeleted { item: reply.output_item("msg", 7), left });
    let all = told.since(0);
    let mut projection = Projecting::new(&store);
    projection.apply(&[all[0].clone(), all[6].clone()]).await;
    let expect = async || {
        let thread = store.thread(told.thread).await.unwrap();
        assert_eq!(thread.watermark, 7);
        assert_eq!(thread.records.iter().map(|record| record.ordinal).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
        let text = format!("{:?}", thread.records);
        assert!(!text.contains("secret") && text.contains("stays"), "{text}");
        assert!(thread.records.iter().all(|record| record.change.left().is_empty()), "they stand in their places");
        let stored = store.projected_reply(reply).await.unwrap().expect("the reply");
        assert_eq!(stored.texts.expect("its texts").1.as_ref(), Some(&ended));
        assert!(store.blob(told.thread, hash).await.unwrap().is_some());
    };
    expect().await;
    // Also where the records came before, all at once or before it.
    projection.apply(&all).await;
    expect().await;
}

pub(crate) async fn a_blob_is_kept_per_thread(store: Store) {
    let (thread, other) = (ThreadId::random(), ThreadId::random());
    let blob = Blob { thread, hash: [7; 32], content: Bytes::from_static(b"\x00\xffimage") };
    store.put_blobs(std::slice::from_ref(&blob)).await.unwrap();
    store.put_blobs(&[blob.clone(), blob.clone()]).await.unwrap();
    assert_eq!(store.blob(thread, [7; 32]).await.unwrap(), Some(blob.content));
    assert_eq!(store.blob(other, [7; 32]).await.unwrap(), None);
    assert_eq!(store.blob(thread, [8; 32]).await.unwrap(), None);
}

pub(crate) async fn blobs_go_with_the_last_record_that_refers_to_them(store: Store) {
    let mut told = History::new();
    told.create_conversation("hello");
    let thread = told.thread;
    let blob = |byte| Blob { thread, hash: [byte; 32], content: Bytes::from(vec![byte; 100]) };
    store.put_blobs(&[blob(0xa1), blob(0xb2), blob(0xc3)]).await.unwrap();
    let first = told.accept(&format!("blob:{}", "a1".repeat(32)), true);
    let second = told.accept(&format!("blob:{} blob:{}", "a1".repeat(32), "b2".repeat(32)), true);
    let items = vec![message(&format!("blob:{}", "c3".repeat(32)), told.item_id())];
    told.push(Change::ItemsAdded { items });
    let mut projection = Projecting::new(&store);
    projection.apply(&told.since(0)).await;

    let kept = async || {
        let mut kept = Vec::new();
        for byte in [0xa1, 0xb2, 0xc3] {
            kept.push(store.blob(thread, [byte; 32]).await.unwrap().is_some());
        }
        kept
    };
    told.push(Change::ReplyDeleted { reply: first, erased: Vec::new(), left: Vec::new() });
    projection.apply(&told.since(4)).await;
    assert_eq!(kept().await, [true, true, true], "another reply refers to it");
    told.push(Change::ReplyDeleted { reply: second, erased: Vec::new(), left: Vec::new() });
    projection.apply(&told.since(5)).await;
    assert_eq!(kept().await, [false, false, true]);
    told.push(Change::ConversationDeleted { erased: vec![1, 4, 5], left: vec![], owner: Owner::anonymous() });
    projection.apply(&told.since(6)).await;
    assert_eq!(kept().await, [false, false, false]);
}

pub(crate) async fn records_of_a_newer_version_are_kept_as_they_are(store: Store) {
    let mut told = History::new();
    let (reply, _) = told.whole_reply("hello", "hi");
    let records: Vec<Record> = told
        .since(0)
        .into_iter()
        .map(|record| {
            let newer =
                String::from_utf8(record.payload.to_vec()).unwrap().replacen(r#"{"v":1"#, r#"{"v":2,"new":[1]"#, 1);
            Record { payload: Bytes::from(newer), ..record }
        })
        .collect();
    Projecting::new(&store).apply(&records).await;
    assert!(store.projected_reply(reply).await.unwrap().expect("the reply").texts.is_some());

    let other = ThreadId::random();
    let unknown = r#"{"v":9,"ordinal":1,"at":0,"change":{"mind_changed":{"to":"x"}}}"#;
    let record = Record { thread: other, payload: Bytes::from_static(unknown.as_bytes()) };
    let applied = store.apply(&batch(store.position(0).await.unwrap(), at("log", 3), vec![record])).await.unwrap();
    assert_eq!(applied, Applied { replies: 0, changes: 1, unreadable: 0 });
    let thread = store.thread(other).await;
    assert!(matches!(thread, Err(Error::Damaged { .. })), "never a silently short thread: {thread:?}");
}

pub(crate) async fn an_unreadable_record_does_not_stop_the_others(store: Store) {
    let mut told = History::new();
    let (reply, _) = told.whole_reply("hello", "hi");
    let mut records = told.since(0);
    for bad in ["{", "\u{0}", "[]", r#"{"ordinal":1}"#, r#"{"ordinal":1,"change":7}"#] {
        records.insert(1, Record { thread: told.thread, payload: Bytes::from(bad) });
    }
    records.insert(1, Record { thread: told.thread, payload: Bytes::from_static(b"\xff\xfe") });
    records.insert(1, Record { thread: told.thread, payload: Bytes::new() });
    // A record that claims a reply of another thread.
    records.insert(1, Record { thread: ThreadId::random(), payload: records[0].payload.clone() });
    let applied = store.apply(&batch(None, at("log", 9), records)).await.unwrap();
    assert_eq!(applied, Applied { replies: 1, changes: 0, unreadable: 7 });
    assert!(store.projected_reply(reply).await.unwrap().expect("the reply").texts.expect("its texts").1.is_some());
}

pub(crate) async fn a_name_that_holds_a_zero_byte_does_not_stop_the_others(store: Store) {
    let mut told = History::new();
    let (reply, ended) = told.whole_reply("hello", "hi \u{0} there");
    let mut records = told.since(0);
    let model = String::from_utf8(records[0].payload.to_vec()).unwrap();
    assert!(model.contains(r#""model":"echo""#), "{model}");
    records[0].payload = Bytes::from(model.replace(r#""model":"echo""#, r#""model":"e\u0000o""#));
    let unknown = r#"{"v":9,"ordinal":1,"at":0,"change":"mind\u0000changed"}"#;
    records.push(Record { thread: ThreadId::random(), payload: Bytes::from_static(unknown.as_bytes()) });
    Projecting::new(&store).apply(&records).await;
    let (accepted, stored) = store.projected_reply(reply).await.unwrap().expect("the reply").texts.expect("its texts");
    assert_eq!((accepted.params.model.as_str(), stored), ("e\0o", Some(ended)));
}
