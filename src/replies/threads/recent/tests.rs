//! Long conversations, of which the log has the end and the store the rest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;

use crate::domain::caller::{Caller, Owner, Scopes};
use crate::domain::event::{End, Outcome};
use crate::domain::ids::{InstanceId, ReplyId, ThreadId};
use crate::domain::items::Item;
use crate::domain::layout::OutputLayout;
use crate::domain::params::{Metadata, Params};
use crate::domain::record::{Accepted, Change, Ended, TranscriptRecord, VERSION};
use crate::domain::reply::Content;
use crate::log::{Subject, now_ms};
use crate::replies::command::{NewReply, Placement};
use crate::replies::testing::Instance;
use crate::store::{Batch, Position, Record};

/// A conversation with so many turns in the store, and some more in the log.
struct Long {
    instance: Instance,
    thread: ThreadId,
    records: Vec<TranscriptRecord>,
    replies: Vec<ReplyId>,
}

const IN_LOG: usize = 50;

fn message(role: &str, id: &str, text: &str) -> Item {
    let kind = if role == "user" { "input_text" } else { "output_text" };
    let content = json!([{"type": kind, "text": text, "annotations": [], "logprobs": []}]);
    let item = json!({"type": "message", "id": id, "status": "completed", "role": role, "content": content});
    serde_json::from_value(item).unwrap()
}

impl Long {
    async fn new(turns: usize) -> Self {
        let thread = ThreadId::random();
        let mut long = Self { instance: Instance::start().await, thread, records: Vec::new(), replies: Vec::new() };
        let items = vec![message("user", &ReplyId::random(thread).input_item("msg", 0), "welcome")];
        long.push(Change::ConversationCreated { metadata: Metadata::new(), items, owner: Owner::anonymous() });
        for turn in 0..turns {
            long.turn(turn);
        }
        long.project().await;
        for turn in turns..turns + IN_LOG {
            let known = long.records.len();
            long.turn(turn);
            for record in &long.records[known..] {
                long.append(record).await;
            }
        }
        long
    }

    fn push(&mut self, change: Change) {
        let ordinal = self.records.len() as u64 + 1;
        self.records.push(TranscriptRecord { v: VERSION, ordinal, at: now_ms(), change });
    }

    fn turn(&mut self, turn: usize) {
        let reply = ReplyId::random(self.thread);
        let text = format!("This is what is said in turn {turn}, at some length, as people and models do. ").repeat(5);
        self.push(Change::Accepted(Arc::new(Accepted {
            reply,
            in_conversation: true,
            chat: false,
            previous: None,
            created_at: now_ms() / 1000,
            owner: Owner::anonymous(),
            instance: InstanceId::random(),
            nonce: 1,
            digest: None,
            trace: None,
            input: vec![message("user", &reply.input_item("msg", 0), &text)],
            provider_state: std::collections::BTreeMap::new(),
            params: Arc::new(Params { model: "echo".to_owned(), store: true, ..Params::default() }),
        })));
        let output = vec![message("assistant", &reply.output_item("msg", 0), &text)];
        let end = Some(End { outcome: Outcome::Completed, usage: None });
        let content = Content { output, end, ended_at: Some(now_ms() / 1000), ..Content::default() };
        self.push(Change::Ended(Arc::new(Ended { reply, content, layout: OutputLayout::default(), speaking: false })));
        self.replies.push(reply);
        if turn.is_multiple_of(10) {
            let id = ReplyId::random(self.thread).input_item("msg", 0);
            self.push(Change::ItemsAdded { items: vec![message("user", &id, "by the way")] });
        }
    }

    async fn project(&self) {
        let mut expected = None;
        for (number, records) in self.records.chunks(500).enumerate() {
            let position =
                Position { identity: "test".to_owned(), position: number as u64 + 1, last_record: number.to_string() };
            let record =
                |record: &TranscriptRecord| Record { thread: self.thread, payload: Bytes::from(record.encode()) };
            let records = records.iter().map(record).collect();
            let batch = Batch { shard: 7, expected: expected.take(), position: position.clone(), records };
            self.instance.store.apply(&batch).await.unwrap();
            expected = Some(position);
        }
    }

    async fn append(&self, record: &TranscriptRecord) {
        let (subject, records) = (Subject::Transcript(self.thread), self.instance.log.records());
        let last = records.last(subject).await.unwrap().map_or(0, |last| last.sequence);
        records.append(subject, last, record.encode().into()).await.unwrap();
    }

    async fn recent(&self, until: Option<&str>) -> Option<Vec<Item>> {
        let recent = self.instance.replies.recent_items(&caller(), self.thread, until).await.unwrap();
        recent.map(|(items, is_whole)| {
            assert!(!is_whole, "the log has the last turns only");
            items
        })
    }

    async fn all(&self) -> Vec<Item> {
        self.instance.replies.items(&caller(), self.thread).await.unwrap()
    }
}

fn caller() -> Caller {
    Caller::anonymous(Scopes::USE)
}

fn ids(items: &[Item]) -> Vec<&str> {
    items.iter().map(Item::id).collect()
}

#[tokio::test]
async fn the_last_items_of_a_long_conversation_are_those_of_the_whole() {
    let long = Long::new(400).await;
    let all = long.all().await;
    assert_eq!(all.len(), 1 + 2 * 450 + 45);
    let recent = long.recent(None).await.unwrap();
    assert!((200..600).contains(&recent.len()), "{}", recent.len());
    assert_eq!(ids(&recent), ids(&all[all.len() - recent.len()..]));
    // Further back, from an item on.
    for place in [500, 350] {
        let until = all.iter().position(|item| item.id() == long.replies[place / 2].output_item("msg", 0)).unwrap();
        let recent = long.recent(Some(all[until].id())).await.unwrap();
        let at = recent.iter().position(|item| item.id() == all[until].id()).unwrap();
        assert!(at > 100, "{at}");
        assert_eq!(ids(&recent[..=at]), ids(&all[until - at..=until]));
    }
    // Its beginning is near, or nothing shows where an item stands.
    assert!(long.recent(Some(&long.replies[3].output_item("msg", 0))).await.is_none());
    assert!(long.recent(Some("msg_of_the_client")).await.is_none());
    let stranger = Caller::anonymous(Scopes::USE);
    assert!(long.instance.replies.recent_items(&stranger, ThreadId::random(), None).await.unwrap().is_none());
}

#[tokio::test]
async fn what_was_deleted_is_not_among_the_last_items_either() {
    let long = Long::new(400).await;
    let all = long.all().await;
    let (in_store, in_log) = (all[all.len() - 200].id().to_owned(), all[all.len() - 5].id().to_owned());
    for item in [&in_store, &in_log] {
        long.instance.replies.delete_item(&caller(), long.thread, item).await.unwrap();
    }
    let recent = long.recent(None).await.unwrap();
    assert!(recent.iter().all(|item| item.id() != in_store && item.id() != in_log));
    let all = long.all().await;
    assert_eq!(ids(&recent), ids(&all[all.len() - recent.len()..]));
}

#[tokio::test]
async fn an_item_that_is_sent_again_stands_where_it_was_first() {
    let mut long = Long::new(400).await;
    let known = long.records.len();
    long.turn(1000);
    let mut records = long.records[known..].to_vec();
    if let Change::Accepted(accepted) = &mut records[0].change {
        let older = message("user", &long.replies[0].input_item("msg", 0), "again");
        Arc::make_mut(accepted).input.push(older);
    }
    for record in &records {
        long.append(record).await;
    }
    assert!(long.recent(None).await.is_none(), "that takes the whole thread");
}

/// `cargo test --release --lib measure_a_long_conversation -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, of a release build"]
async fn measure_a_long_conversation() {
    let long = Long::new(20_000).await;
    let replies = &long.instance.replies;
    let middle = long.replies[10_000].output_item("msg", 0);
    let old = long.replies[7];
    let new = NewReply {
        model: None,
        input: Vec::new(),
        place: Placement::In(long.thread),
        params: Params { model: "echo".to_owned(), store: true, ..Params::default() },
        key: None,
        follows: None,
        chat: None,
    };
    let all = 1 + 2 * 20_050 + 2_005;
    median("GET of one response that only the store has", 50, async || {
        replies.get(&caller(), old).await.unwrap();
    })
    .await;
    median("the last items", 50, async || assert!(long.recent(None).await.unwrap().len() > 200)).await;
    median("items after one in the middle", 50, async || {
        assert!(long.recent(Some(&middle)).await.unwrap().len() > 200);
    })
    .await;
    median("all items", 5, async || assert_eq!(long.all().await.len(), all)).await;
    median("the context of the next reply", 5, async || {
        assert_eq!(replies.context(&caller(), &new).await.unwrap().len(), all);
    })
    .await;
}

#[expect(clippy::print_stdout, reason = "the figures are its result")]
async fn median(what: &str, times: usize, one: impl AsyncFn()) {
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..times {
        let begun = Instant::now();
        one().await;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    println!("{what}: p50 {:?}, max {:?}", took[times / 2], took[times - 1]);
}
