//! Any bytes in the log are a record or are not, and any records can be folded. `PROPTEST_CASES` sets how
//! much is tried.

use proptest::collection::vec;
use proptest::prelude::*;

use super::caller::Owner;
use super::erase::ItemErasure;
use super::ids::{InstanceId, ReplyId, ThreadId};
use super::record::{ReplyLogEntry, ReplyLogRecord, Snapshot, TranscriptRecord};
use super::reply::Reply;
use super::thread::Thread;
use crate::testing::{near, word};

const TRANSCRIPT: &[&str] = &[
    r#"{"v":1,"ordinal":1,"at":1,"change":{"accepted":{"reply":"resp_00000000000000000000000000g0000000000000000000000000","in_conversation":true,"created_at":1,"caller":"acme/alice","instance":"00000000000000aa","nonce":7,"digest":"d","input":[{"type":"message","id":"msg_1","status":"completed","role":"user","content":[{"type":"input_text","text":"x"}]}],"kept":{"0":{}},"params":{"model":"m","store":true}}}}"#,
    r#"{"v":1,"ordinal":2,"at":1,"change":{"ended":{"reply":"resp_00000000000000000000000000g0000000000000000000000000","said":{"output":[{"type":"message","id":"msg_2","status":"completed","role":"assistant","content":[{"type":"output_text","text":"y"}]},{"type":"function_call","id":"fc_1","status":"completed","call_id":"c","name":"f","arguments":"{}"}],"end":{"outcome":"completed","usage":{"input":1,"output":2,"total":3}},"ended_at":5},"layout":{},"speaking":true}}}"#,
    r#"{"v":1,"ordinal":3,"at":1,"change":{"conversation_created":{"metadata":{"a":"b"},"items":[],"caller":""}}}"#,
    r#"{"v":1,"ordinal":4,"at":1,"change":{"items_added":{"items":[{"type":"function_call_output","id":"fco_1","status":"completed","call_id":"c","output":"z"}]}}}"#,
    r#"{"v":1,"ordinal":5,"at":1,"change":{"item_deleted":{"item":"msg_1","left":[{"v":1,"ordinal":1,"at":1,"change":{"metadata_set":{"metadata":{}}}}]}}}"#,
    r#"{"v":1,"ordinal":6,"at":1,"change":{"reply_deleted":{"reply":"resp_00000000000000000000000000g0000000000000000000000000","erased":[1,2]}}}"#,
    r#"{"v":1,"ordinal":7,"at":1,"change":{"conversation_deleted":{"erased":[18446744073709551615]}}}"#,
];

const CHAIN: &[&str] = &[
    r#"{"v":1,"epoch":1,"nonce":1,"entry":{"events":{"first":0,"events":["created","in_progress",{"item":"message"},{"part":{"i":0,"k":"text"}},{"d":{"i":0,"t":"x","l":[]}},{"td":0},{"pd":0},{"id":{"i":0,"u":{}}},{"end":{"outcome":"completed"}}]}}}"#,
    r#"{"v":1,"epoch":2,"nonce":1,"entry":{"events":{"first":4294967296,"events":[{"item":{"function_call":{"call_id":"c","name":"f"}}},{"d":{"i":4294967295,"t":"{"}},{"a":"AAAA"},{"at":"t"},{"ad":null},"atd",{"error":{"code":"server_error","message":"m"}}],"begins":{"alone":true}}}}"#,
    r#"{"v":1,"epoch":1,"nonce":1,"entry":{"claim":{"instance":"00000000000000aa"}}}"#,
    r#"{"v":1,"epoch":1,"nonce":1,"entry":"handed_over"}"#,
];

const SNAPSHOT: &[&str] = &[
    r#"{"v":1,"chain_sequence":3,"epoch":1,"claimant":"00000000000000aa","said":{"output":[],"kept":{}},"layout":{}}"#,
];

proptest! {
    #![proptest_config(crate::testing::cases())]

    #[test]
    fn any_transcript_is_folded_and_read_back_as_it_was_written(records in vec(near(TRANSCRIPT), 0..8), id in word()) {
        let thread: ThreadId = "00000000000000000000000000".parse().expect("an id");
        let (mut folded, mut read) = (Thread::new(thread), Vec::new());
        for bytes in records {
            if let Ok(record) = TranscriptRecord::decode(&bytes) {
                prop_assert_eq!(&TranscriptRecord::decode(&record.encode()).expect("our own"), &record);
                folded.apply(&record);
                read.push(record);
            }
        }
        let _ = (folded.items(), folded.context(), folded.droppable_calls(), folded.context_entry(&id), folded.running().is_some());
        for reply in folded.replies().map(|entry| entry.accepted.reply) {
            let _ = (folded.context_after(reply), folded.context_before(reply), folded.was_deleted(reply));
        }
        let mut erased = read;
        for record in &mut erased {
            ItemErasure::of(&id).apply(record);
        }
    }

    #[test]
    fn any_chain_is_folded_as_far_as_it_can_be(records in vec(near(CHAIN), 0..6)) {
        let reply: ReplyId = "resp_00000000000000000000000000g0000000000000000000000000".parse().expect("an id");
        let mut folded = Reply::new(reply);
        for bytes in records {
            let Ok(record) = ReplyLogRecord::decode(&bytes) else { continue };
            if let ReplyLogEntry::Events { events, .. } = &record.entry {
                for event in events {
                    if folded.apply(event).is_err() {
                        break;
                    }
                }
            }
        }
        let _ = (folded.text(), folded.open_items().len());
    }

    #[test]
    fn any_snapshot_is_read_or_is_none(bytes in near(SNAPSHOT), any in vec(any::<u8>(), 0..60)) {
        if let Ok(snapshot) = Snapshot::decode(&bytes) {
            prop_assert_eq!(Snapshot::decode(&snapshot.encode()).expect("our own"), snapshot);
        }
        let _ = (Snapshot::decode(&any).is_ok(), TranscriptRecord::decode(&any).is_ok(), ReplyLogRecord::decode(&any).is_ok());
    }

    #[test]
    fn any_text_is_an_id_or_is_none(text in "(resp_|conv_|msg_)?[0-9a-v\u{e9}]{20,60}", any in any::<String>()) {
        for text in [&text, &any] {
            if let Ok(reply) = text.parse::<ReplyId>() {
                prop_assert_eq!(&reply.to_string(), text);
            }
            let _ = (text.parse::<ThreadId>(), text.parse::<InstanceId>(), ThreadId::from_conversation(text));
            let owner = Owner::from_text(text.clone());
            let _ = (owner.tenant().len(), owner.user().map(str::len), owner.users_of_tenant());
        }
    }
}
