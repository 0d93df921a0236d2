//! Takes text out of rows that are there. Deletions are rare: each costs a few statements.
//!
//! What is left of a row moves to the end of its table: `SQLite` joins pages when rows leave them, but not when rows that
//! stay become shorter, and a deleted reply would go on taking most of its room.

use sqlx::{Sqlite as Driver, Transaction};

use crate::domain::erase::ItemErasure;
use crate::domain::ids::ThreadId;
use crate::domain::record::TranscriptRecord;
use crate::store::Error;
use crate::store::erase::{all_text, encode, in_json, item_of_reply};
use crate::store::read::{decode, signed, unsigned};
use crate::store::rows::Erasure;

/// What a conversation is called by, where what its first reply was asked with is gone: the next one.
const NEXT_REPLY: &str = "UPDATE conversations SET first_reply = (SELECT id FROM replies \
     WHERE id > 'resp_' || thread AND id < 'resp_' || thread || '~' AND in_conversation AND NOT deleted \
     AND ordinal > (SELECT ordinal FROM replies AS first WHERE first.id = conversations.first_reply) \
     ORDER BY ordinal LIMIT 1) WHERE thread = ?1 AND instr(?2, substr(first_reply, 6) || 'i') > 0";

/// Applies the erasures in order.
pub(super) async fn apply(transaction: &mut Transaction<'_, Driver>, erasures: &[Erasure]) -> Result<(), Error> {
    for erasure in erasures {
        match erasure {
            Erasure::Reply(reply) => {
                let sql = "UPDATE replies SET rowid = (SELECT max(rowid) + 1 FROM replies), \
                           accepted = '', ended = NULL, deleted = 1 WHERE id = ? AND NOT deleted";
                sqlx::query(sql).bind(reply.to_string()).execute(&mut **transaction).await?;
                let sql = "UPDATE conversations SET first_reply = (SELECT id FROM replies \
                           WHERE id > 'resp_' || thread AND id < 'resp_' || thread || '~' AND in_conversation \
                           AND NOT deleted ORDER BY ordinal LIMIT 1) \
                           WHERE thread = ? AND first_reply = ?";
                let query = sqlx::query(sql).bind(reply.thread().to_string()).bind(reply.to_string());
                query.execute(&mut **transaction).await?;
            }
            Erasure::Conversation { thread, before } => {
                let sql = "UPDATE conversations SET deleted = 1 WHERE thread = ?";
                sqlx::query(sql).bind(thread.to_string()).execute(&mut **transaction).await?;
                rewrite(transaction, *thread, *before, |record| {
                    all_text(record);
                    true
                })
                .await?;
            }
            Erasure::Item { thread, before, item } => {
                let erasure = ItemErasure::of(item);
                rewrite(transaction, *thread, *before, |record| erasure.apply(record)).await?;
                rewrite_replies(transaction, *thread, item).await?;
                let query = sqlx::query(NEXT_REPLY).bind(thread.to_string()).bind(item.clone());
                query.execute(&mut **transaction).await?;
            }
        }
        drop_unused_blobs(transaction, erasure.thread()).await?;
    }
    Ok(())
}

/// Rewrites the records of a thread that hold what clients wrote; `erase` tells whether it changed one.
async fn rewrite(
    transaction: &mut Transaction<'_, Driver>,
    thread: ThreadId,
    before: u64,
    erase: impl Fn(&mut TranscriptRecord) -> bool,
) -> Result<(), Error> {
    let records: Vec<(i64, String)> = sqlx::query_as(
        "SELECT ordinal, record FROM changes WHERE thread = ? AND ordinal < ? \
         AND kind IN ('conversation_created', 'metadata_set', 'items_added', 'spoken')",
    )
    .bind(thread.to_string())
    .bind(signed(before))
    .fetch_all(&mut **transaction)
    .await?;
    for (ordinal, text) in records {
        let mut record = decode(thread, &text)?;
        debug_assert_eq!(record.ordinal, unsigned(ordinal));
        if erase(&mut record) {
            let text = encode(&record);
            let sql = "UPDATE changes SET rowid = (SELECT max(rowid) + 1 FROM changes), record = ? \
                       WHERE thread = ? AND ordinal = ?";
            sqlx::query(sql).bind(text).bind(thread.to_string()).bind(ordinal).execute(&mut **transaction).await?;
        }
    }
    Ok(())
}

/// Takes an item's text out of the replies that were asked with it, or generated it.
async fn rewrite_replies(transaction: &mut Transaction<'_, Driver>, thread: ThreadId, item: &str) -> Result<(), Error> {
    let replies: Vec<(String, String, Option<String>)> = sqlx::query_as(
        "SELECT id, accepted, ended FROM replies WHERE id >= ?1 AND id < ?2 AND NOT deleted \
         AND (instr(accepted, ?3) > 0 OR instr(ended, ?3) > 0)",
    )
    .bind(format!("resp_{thread}"))
    .bind(format!("resp_{thread}~"))
    .bind(in_json(item))
    .fetch_all(&mut **transaction)
    .await?;
    let erasure = ItemErasure::of(item);
    for (id, accepted, ended) in replies {
        if let Some((accepted, ended)) = item_of_reply(thread, &erasure, &accepted, ended.as_deref())? {
            let sql = "UPDATE replies SET rowid = (SELECT max(rowid) + 1 FROM replies), accepted = ?, ended = ? \
                       WHERE id = ?";
            sqlx::query(sql).bind(accepted).bind(ended).bind(id).execute(&mut **transaction).await?;
        }
    }
    Ok(())
}

/// Drops blobs of a thread that no record refers to any more.
async fn drop_unused_blobs(transaction: &mut Transaction<'_, Driver>, thread: ThreadId) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM blobs WHERE thread = ?1 \
         AND NOT EXISTS (SELECT 1 FROM replies WHERE id >= ?2 AND id < ?3 \
             AND instr(accepted, 'blob:' || lower(hex(hash))) > 0) \
         AND NOT EXISTS (SELECT 1 FROM changes WHERE changes.thread = ?1 \
             AND instr(record, 'blob:' || lower(hex(hash))) > 0)",
    )
    .bind(thread.to_string())
    .bind(format!("resp_{thread}"))
    .bind(format!("resp_{thread}~"))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
