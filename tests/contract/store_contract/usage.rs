//! What replies used, by whom, when, and of which model.

use rejoinder::domain::caller::Owner;
use rejoinder::domain::event::Usage;
use rejoinder::domain::record::Change;
use rejoinder::domain::usage::{DailyUsage, Day, Used};
use rejoinder::store::{Grouping, Store, UsageQuery, UsageRow, Whose};

use super::{History, Projecting};

/// When the histories of tests end their replies.
const ENDED: u64 = 1_700_000_001;

fn used(input: u64, output: u64) -> Usage {
    Usage { input, cached: 1, output, reasoning: 2, total: input + output }
}

fn query(whose: Whose, by: Grouping) -> UsageQuery {
    let day = Day::of(ENDED);
    UsageQuery { whose, from: day.before(1), to: day, by }
}

pub(crate) async fn what_replies_used_is_counted_once_whatever_becomes_of_them(store: Store) {
    let alice = Owner::new("acme", Some("alice"));
    let mut told = History::new();
    told.owner = alice.clone();
    let (first, second) = (told.accept("one", false), told.accept("two", false));
    told.end_with(first, "1", Some(used(10, 5)));
    // A second end does not count, nor does one that follows a deletion.
    told.end_with(first, "once more", Some(used(100, 100)));
    let all = told.len();
    told.push(Change::ReplyDeleted { reply: first, erased: Vec::new(), left: vec![] });
    let third = told.accept("three", false);
    told.push(Change::ReplyDeleted { reply: third, erased: Vec::new(), left: vec![] });
    told.end_with(second, "2", Some(used(3, 4)));
    told.end_with(third, "too late", Some(used(1000, 1000)));
    let fourth = told.accept("four", false);
    told.end(fourth, "its model server told nothing");

    let tokens = async || store.tokens_of(&alice, Day::of(ENDED)).await.unwrap();
    let mut projecting = Projecting::new(&store);
    projecting.apply(&told.since(0)[..all]).await;
    assert_eq!(tokens().await, 15);
    projecting.apply(&told.since(all)[..3]).await;
    projecting.apply(&told.since(all + 3)).await;
    assert_eq!(tokens().await, 22);
    // From the beginning, all at once: it is there.
    projecting.apply(&told.since(0)).await;
    assert_eq!(tokens().await, 22);
    let whole = store.usage(&query(Whose::Own(alice.clone()), Grouping::default())).await.unwrap();
    let sum = Used { replies: 3, input: 13, cached: 2, output: 9, reasoning: 4 };
    assert_eq!(whole, [UsageRow { owner: None, day: None, model: None, used: sum }]);
    assert_eq!(store.tokens_of(&alice, Day::of(ENDED).before(1)).await.unwrap(), 0);
    assert_eq!(store.usage(&query(Whose::Own(Owner::new("b", None)), Grouping::default())).await.unwrap(), []);
}

pub(crate) async fn usage_is_told_by_whose_it_is_by_day_and_by_model(store: Store) {
    let owner = |tenant: &str, user: Option<&str>| Owner::new(tenant, user);
    let line = |owner: &Owner, days_ago: u32, model: &str, output: u64| DailyUsage {
        owner: owner.clone(),
        day: Day::of(ENDED).before(days_ago),
        model: model.to_owned(),
        used: Used { replies: 1, output, ..Used::default() },
    };
    let (acme, alice, bob) = (owner("acme", None), owner("acme", Some("alice")), owner("acme", Some("bob")));
    // Names that are near those of the tenant and its users, and one that no text column takes as it is.
    let strangers = [owner("acme2", None), owner("acme.x", Some("alice")), owner("acm", Some("e")), Owner::anonymous()];
    let mut lines = vec![
        line(&alice, 0, "a", 1),
        line(&alice, 1, "a", 2),
        line(&alice, 1, "b\0", 4),
        line(&bob, 0, "a", 8),
        line(&acme, 0, "a", 16),
        line(&alice, 2, "a", 512),
    ];
    lines.extend(strangers.iter().map(|stranger| line(stranger, 0, "a", 1024)));
    store.add_usage(&lines).await.unwrap();
    store.add_usage(&[line(&bob, 0, "a", 32)]).await.unwrap();
    let told = async |whose: &Whose, owner: bool, day: bool, model: bool| {
        let rows = store.usage(&query(whose.clone(), Grouping { owner, day, model })).await.unwrap();
        rows.into_iter().map(|row| (row.owner, row.day, row.model, row.used.output)).collect::<Vec<_>>()
    };
    let today = Day::of(ENDED);
    let tenant = Whose::Tenant(bob.clone());
    assert_eq!(told(&tenant, false, false, false).await, [(None, None, None, 63)]);
    assert_eq!(
        told(&tenant, true, false, false).await,
        [(Some(acme), None, None, 16), (Some(alice.clone()), None, None, 7), (Some(bob.clone()), None, None, 40)]
    );
    let own = Whose::Own(alice);
    assert_eq!(
        told(&own, false, true, false).await,
        [(None, Some(today.before(1)), None, 6), (None, Some(today), None, 1)]
    );
    let by_model = told(&own, false, false, true).await;
    assert_eq!(by_model.iter().map(|row| row.3).collect::<Vec<_>>(), [3, 4], "{by_model:?}");
    assert_eq!(told(&Whose::Own(bob), true, true, true).await.len(), 1);
    assert_eq!(told(&Whose::Tenant(Owner::anonymous()), false, false, false).await, [(None, None, None, 1024)]);
}
