//! What stores keep of webhooks: endpoints, what waits for them, how they answered, and who delivers.

use rejoinder::domain::caller::Owner;
use rejoinder::domain::ids::{InstanceId, ReplyId, ThreadId};
use rejoinder::domain::webhook::{EventType, WebhookEvent, new_endpoint_id};
use rejoinder::store::webhooks::{Change, Counts, Delivery, Endpoint, EndpointState, ReadUpTo};
use rejoinder::store::{Store, Whose};
use rejoinder::values::Secret;

fn secret(text: &str) -> Secret {
    text.parse().expect("a secret")
}

fn endpoint(owner: &Owner) -> Endpoint {
    Endpoint {
        id: new_endpoint_id(),
        owner: owner.clone(),
        whole_tenant: true,
        created_at: 1_700_000_000_123,
        updated_at: 1_700_000_000_456,
        version: 1,
        name: "Ärger ' \" %".to_owned(),
        url: "https://hook.example/a?key=b".to_owned(),
        event_types: vec![EventType::Completed, EventType::Cancelled],
        secret: secret("rejoinder-webhook1.AAAA"),
        old_secret: Some((secret("whsec_old"), 1_700_000_086_400)),
    }
}

/// The delivery of an end at this time.
fn delivery(endpoint: &str, at: u64) -> Delivery {
    let event = WebhookEvent { event_type: EventType::Failed, reply: ReplyId::random(ThreadId::random()), at };
    Delivery {
        endpoint: endpoint.to_owned(),
        id: event.delivery_id(endpoint),
        event,
        queued_at: at,
        attempts: 1,
        next_at: at + 10,
        answer: Some("503".to_owned()),
        given_up: false,
    }
}

async fn save(store: &Store, deliveries: &[Delivery]) {
    let changes: Vec<_> = deliveries.iter().cloned().map(Change::Save).collect();
    store.note_webhook_deliveries(&changes).await.unwrap();
}

pub(crate) async fn an_endpoint_reads_back_as_it_was_and_of_two_changes_one_counts(store: Store) {
    let (alice, bob) = (Owner::new("acme", Some("alice")), Owner::new("acme", Some("bob")));
    let revision = async || store.webhook_control().await.unwrap().revision;
    let mut made = endpoint(&alice);
    let before = revision().await;
    assert!(store.insert_webhook_endpoint(&made, 2).await.unwrap());
    assert!(revision().await > before, "the instance that delivers is told of it");
    assert_eq!(store.webhook_endpoint(&made.id).await.unwrap().as_ref(), Some(&made));
    assert_eq!(store.webhook_endpoint("whe_other").await.unwrap(), None);

    (made.name, made.old_secret, made.event_types) = ("other".to_owned(), None, vec![EventType::Failed]);
    let before = revision().await;
    assert!(store.update_webhook_endpoint(&made).await.unwrap());
    assert!(!store.update_webhook_endpoint(&made).await.unwrap(), "somebody was quicker");
    assert!(revision().await > before);
    made.version += 1;
    assert_eq!(store.webhook_endpoint(&made.id).await.unwrap().as_ref(), Some(&made));

    let second = endpoint(&alice);
    assert!(store.insert_webhook_endpoint(&second, 2).await.unwrap());
    assert!(!store.insert_webhook_endpoint(&endpoint(&alice), 2).await.unwrap(), "there are as many as may be");
    let bobs = endpoint(&bob);
    assert!(store.insert_webhook_endpoint(&bobs, 2).await.unwrap());
    let stranger = endpoint(&Owner::new("acme2", Some("alice")));
    assert!(store.insert_webhook_endpoint(&stranger, 2).await.unwrap());
    let ids = async |whose: Whose| {
        let found = store.webhook_endpoints_of(&whose).await.unwrap();
        found.into_iter().map(|endpoint| endpoint.id).collect::<std::collections::BTreeSet<_>>()
    };
    let set = |of: &[&Endpoint]| of.iter().map(|endpoint| endpoint.id.clone()).collect();
    assert_eq!(ids(Whose::Own(alice.clone())).await, set(&[&made, &second]));
    assert_eq!(ids(Whose::Tenant(alice)).await, set(&[&made, &second, &bobs]));
    assert_eq!(store.webhook_endpoints().await.unwrap().len(), 4);
}

pub(crate) async fn a_deleted_endpoint_takes_along_what_waits_for_it(store: Store) {
    let made = endpoint(&Owner::anonymous());
    store.insert_webhook_endpoint(&made, 9).await.unwrap();
    save(&store, &[delivery(&made.id, 1000), delivery("whe_other", 1000)]).await;
    let state = EndpointState { failing_since: Some(7), ..EndpointState::default() };
    store.note_webhook_deliveries(&[Change::State { endpoint: made.id.clone(), state, added: 3 }]).await.unwrap();
    assert!(store.delete_webhook_endpoint(&made.id).await.unwrap());
    assert!(!store.delete_webhook_endpoint(&made.id).await.unwrap());
    assert_eq!(store.webhook_endpoint(&made.id).await.unwrap(), None);
    assert_eq!(store.webhook_state(&made.id).await.unwrap(), EndpointState::default());
    assert_eq!(store.webhook_delivery_endpoints().await.unwrap(), ["whe_other"]);
}

pub(crate) async fn deliveries_are_due_in_their_order_and_are_noted_once(store: Store) {
    let [first, second, third] = [1000, 2000, 3000].map(|at| delivery("whe_a", at));
    save(&store, &[third.clone(), first.clone(), second.clone(), delivery("whe_b", 1)]).await;
    let due = async |now, most| store.due_webhook_deliveries("whe_a", now, most).await.unwrap();
    assert_eq!(due(1009, 9).await, []);
    assert_eq!(due(2010, 9).await, [first.clone(), second.clone()]);
    assert_eq!(due(9999, 1).await, std::slice::from_ref(&first));
    assert_eq!(store.next_webhook_delivery("whe_a").await.unwrap(), Some(1010));
    assert_eq!(store.next_webhook_delivery("whe_none").await.unwrap(), None);

    // A second try, noted twice: after a crash, say.
    let again = Delivery { attempts: 2, next_at: 5000, answer: Some("no answer within 15 s".to_owned()), ..first };
    save(&store, std::slice::from_ref(&again)).await;
    save(&store, std::slice::from_ref(&again)).await;
    assert_eq!(due(4999, 9).await, [second.clone(), third.clone()]);
    store.hurry_webhook_deliveries("whe_a", 4000).await.unwrap();
    assert_eq!(due(4000, 9).await.len(), 3);
    let remove = Change::Remove { endpoint: "whe_a".to_owned(), id: second.id.clone() };
    store.note_webhook_deliveries(&[remove.clone(), remove]).await.unwrap();
    let hurried = Delivery { next_at: 4000, ..again };
    assert_eq!(due(4000, 9).await, [third, hurried]);
    assert_eq!(store.count_webhook_deliveries("whe_a").await.unwrap(), Counts { pending: 2, given_up: 0 });
}

pub(crate) async fn what_was_given_up_is_listed_sent_again_and_forgotten_in_time(store: Store) {
    let [old, young] = [1000, 5000].map(|at| delivery("whe_a", at));
    let other = delivery("whe_b", 1000);
    save(&store, &[old.clone(), young.clone(), other.clone()]).await;
    assert_eq!(store.give_up_webhook_deliveries("whe_a", 5000).await.unwrap(), 1);
    assert_eq!(store.give_up_webhook_deliveries("whe_a", 5000).await.unwrap(), 0);
    assert_eq!(store.count_webhook_deliveries("whe_a").await.unwrap(), Counts { pending: 1, given_up: 1 });
    assert_eq!(store.next_webhook_delivery("whe_a").await.unwrap(), Some(5010), "the other is not tried any more");
    let given_up = Delivery { given_up: true, ..old.clone() };
    let list = async |after: Option<&str>, which| store.webhook_deliveries("whe_a", after, which, 9).await.unwrap();
    assert_eq!(list(None, None).await, [young.clone(), given_up.clone()], "the newest first");
    assert_eq!(list(Some(&young.id), None).await, std::slice::from_ref(&given_up));
    assert_eq!(list(None, Some(true)).await, [given_up]);
    assert_eq!(list(None, Some(false)).await, std::slice::from_ref(&young));

    let before = store.webhook_control().await.unwrap().revision;
    assert_eq!(store.resend_webhook_deliveries("whe_a", Some(&young.id), 9000).await.unwrap(), 0, "it still waits");
    assert_eq!(store.resend_webhook_deliveries("whe_a", Some(&old.id), 9000).await.unwrap(), 1);
    assert!(store.webhook_control().await.unwrap().revision > before, "the instance that delivers is told of it");
    let resent = Delivery { queued_at: 9000, next_at: 9000, attempts: 0, ..old };
    assert_eq!(store.due_webhook_deliveries("whe_a", 9000, 9).await.unwrap(), [young, resent]);

    assert_eq!(store.give_up_webhook_deliveries("whe_a", u64::MAX >> 1).await.unwrap(), 2);
    assert_eq!(store.forget_webhook_deliveries("whe_a", Some(9000)).await.unwrap(), 1);
    assert_eq!(store.resend_webhook_deliveries("whe_a", None, 9500).await.unwrap(), 1);
    assert_eq!(store.forget_webhook_deliveries("whe_a", Some(u64::MAX >> 1)).await.unwrap(), 0, "it is tried again");
    assert_eq!(store.forget_webhook_deliveries("whe_a", None).await.unwrap(), 1);
    assert_eq!(store.due_webhook_deliveries("whe_b", 9000, 9).await.unwrap(), [other]);
}

pub(crate) async fn how_an_endpoint_answered_adds_up(store: Store) {
    let note = async |state: &EndpointState, added| {
        let change = Change::State { endpoint: "whe_a".to_owned(), state: state.clone(), added };
        store.note_webhook_deliveries(&[change]).await.unwrap();
    };
    assert_eq!(store.webhook_state("whe_a").await.unwrap(), EndpointState::default());
    let failing = EndpointState {
        delivered: 0,
        failing_since: Some(1_700_000_000_000),
        answered_at: Some(1_700_000_000_001),
        answer: Some("TLS: ü".to_owned()),
        ended_at: Some(1_700_000_000_002),
    };
    note(&failing, 5).await;
    assert_eq!(store.webhook_state("whe_a").await.unwrap(), EndpointState { delivered: 5, ..failing.clone() });
    let before = store.webhook_control().await.unwrap().revision;
    store.revive_webhook_endpoint("whe_a").await.unwrap();
    assert!(store.webhook_control().await.unwrap().revision > before);
    let revived = EndpointState { delivered: 5, ended_at: None, failing_since: None, ..failing };
    assert_eq!(store.webhook_state("whe_a").await.unwrap(), revived);
    note(&EndpointState { answer: Some("200".to_owned()), ..EndpointState::default() }, 2).await;
    let state = store.webhook_state("whe_a").await.unwrap();
    assert_eq!((state.delivered, state.answer.as_deref(), state.answered_at), (7, Some("200"), None));
}

pub(crate) async fn one_instance_has_the_lease_to_deliver(store: Store) {
    let seen = store.webhook_control().await.unwrap();
    assert_eq!((seen.carrier, seen.until), (None, 0));
    let (one, other) = (InstanceId::random(), InstanceId::random());
    assert!(store.take_webhook_lease(seen, Some(one), 1000).await.unwrap());
    assert!(!store.take_webhook_lease(seen, Some(other), 1000).await.unwrap(), "it was taken since");
    let taken = store.webhook_control().await.unwrap();
    assert_eq!((taken.carrier, taken.until), (Some(one), 1000));
    assert!(store.take_webhook_lease(taken, Some(one), 2000).await.unwrap());
    assert!(!store.take_webhook_lease(taken, None, 0).await.unwrap(), "it was renewed since");
    let renewed = store.webhook_control().await.unwrap();
    assert!(store.take_webhook_lease(renewed, None, 0).await.unwrap());
    assert_eq!(store.webhook_control().await.unwrap(), seen);
}

pub(crate) async fn how_far_webhooks_read_a_shard_begins_once_and_only_rises(store: Store) {
    let at = |identity: &str, position, at| ReadUpTo { identity: identity.to_owned(), position, at };
    assert_eq!(store.webhook_position(0).await.unwrap(), None);
    store.begin_webhook_position(0, &at("log", 7, 1)).await.unwrap();
    store.begin_webhook_position(0, &at("log", 9, 2)).await.unwrap();
    assert_eq!(store.webhook_position(0).await.unwrap(), Some(at("log", 7, 1)));
    store.move_webhook_position(0, &at("log", 20, 3)).await.unwrap();
    store.move_webhook_position(0, &at("log", 12, 4)).await.unwrap();
    assert_eq!(store.webhook_position(0).await.unwrap(), Some(at("log", 20, 3)), "who is late takes nothing back");
    store.move_webhook_position(0, &at("other", 2, 5)).await.unwrap();
    assert_eq!(store.webhook_position(0).await.unwrap(), Some(at("other", 2, 5)), "in another log");
    assert_eq!(store.webhook_position(1).await.unwrap(), None);
}
