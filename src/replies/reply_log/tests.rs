//! Reply logs of which a part has expired.

use tempfile::TempDir;

use super::*;
use crate::domain::caller::Owner;
use crate::domain::ids::ThreadId;
use crate::domain::record::VERSION;
use crate::log::{Embedded, embedded};

fn open(directory: &TempDir) -> Log {
    let dir = directory.path().to_owned();
    let config = embedded::Config { dir, sync_always: false, min_free_disk: 0, segment_bytes: embedded::SEGMENT_BYTES };
    Log::Embedded(Embedded::open(config).expect("a log"))
}

fn accepted() -> Accepted {
    Accepted {
        reply: ReplyId::random(ThreadId::random()),
        in_conversation: false,
        chat: false,
        previous: None,
        created_at: 7,
        owner: Owner::anonymous(),
        instance: InstanceId::random(),
        nonce: 1,
        digest: None,
        trace: None,
        input: Vec::new(),
        provider_state: BTreeMap::new(),
        params: Arc::default(),
    }
}

#[tokio::test]
async fn a_snapshot_of_an_expired_chain_expects_an_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    let (log, accepted) = (open(&directory), accepted());
    let opened = ReplyLog::opened(&accepted, false);
    let snapshot = Snapshot {
        v: VERSION,
        chain_sequence: 77,
        epoch: 3,
        claimant: None,
        content: opened.reply.content().clone(),
        layout: opened.layout,
    };
    log.snapshots().put(accepted.reply, 0, snapshot.encode().into()).await.unwrap();
    let reply_log = ReplyLog::read(&log, &accepted).await.unwrap();
    assert_eq!((reply_log.epoch, reply_log.last), (3, 0));
    log.records().append(Subject::ReplyLog(accepted.reply), reply_log.last, "claim".into()).await.unwrap();
}

#[tokio::test]
async fn a_reply_log_whose_beginning_has_expired_gives_no_text_with_a_hole() {
    let directory = tempfile::tempdir().unwrap();
    let (log, accepted) = (open(&directory), accepted());
    let mut last = 0;
    for first in [40, 41] {
        let events = vec![Event::Delta { item: 0, text: "the rest".to_owned(), logprobs: Vec::new() }];
        let entry = ReplyLogEntry::Events { first, events, begins: None };
        let record = ReplyLogRecord { v: VERSION, epoch: 1, nonce: 1, entry };
        last = log.records().append(Subject::ReplyLog(accepted.reply), last, record.encode().into()).await.unwrap();
    }
    let error = ReplyLog::read(&log, &accepted).await.expect_err("something is missing");
    let ReplyLogError::Damaged { readable, .. } = error else { panic!("{error:?}") };
    assert_eq!(
        (readable.last, readable.reply.content().output.len()),
        (last, 0),
        "the fence is known, the text is not"
    );
}
