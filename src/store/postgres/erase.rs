//! Takes text out of rows that are there. Deletions are rare: each costs a few statements, which are not worth a name. (What
//! is deleted lingers in Postgres' own files until its vacuum comes by, as with everything that is deleted there.)

use sqlx::postgres::PgConnection;

use crate::domain::erase::ItemErasure;
use crate::domain::ids::ThreadId;
use crate::domain::record::TranscriptRecord;
use crate::store::Error;
use crate::store::erase::{all_text, encode, in_json, item_of_reply};
use crate::store::read::{decode, signed};
use crate::store::rows::Erasure;

/// What a conversation is called by, where what its first reply was asked with is gone: the next one.
const NEXT_REPLY: &str = "UPDATE conversations SET first_reply = (SELECT id FROM replies \
     WHERE id > 'resp_' || thread AND id < 'resp_' || thread || '~' AND in_conversation AND NOT deleted \
     AND ordinal > (SELECT ordinal FROM replies AS first WHERE first.id = conversations.first_reply) \
     ORDER BY ordinal LIMIT 1) WHERE thread = $1 AND strpos($2, substr(first_reply, 6) || 'i') > 0";

/// Applies the erasures in order.
pub(super) async fn apply(transaction: &mut PgConnection, erasures: &[Erasure]) -> Result<(), Error> {
    for erasure in erasures {
        match erasure {
            Erasure::Reply(reply) => {
                let sql = "UPDATE replies SET accepted = '', ended = NULL, deleted = TRUE WHERE id = $1";
                sqlx::query(sql).bind(reply.to_string()).persistent(false).execute(&mut *transaction).await?;
                let sql = "UPDATE conversations SET first_reply = (SELECT id FROM replies \
                           WHERE id > 'resp_' || thread AND id < 'resp_' || thread || '~' AND in_conversation \
                           AND NOT deleted ORDER BY ordinal LIMIT 1) \
                           WHERE thread = $1 AND first_reply = $2";
                let query = sqlx::query(sql).bind(reply.thread().to_string()).bind(reply.to_string());
                query.persistent(false).execute(&mut *transaction).await?;
            }
            Erasure::Conversation { thread, before } => {
                let sql = "UPDATE conversations SET deleted = TRUE WHERE thread = $1";
                sqlx::query(sql).bind(thread.to_string()).persistent(false).execute(&mut *transaction).await?;
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
                let query = sqlx::query(NEXT_REPLY).bind(thread.to_string()).bind(item);
                query.persistent(false).execute(&mut *transaction).await?;
            }
        }
        drop_unused_blobs(transaction, erasure.thread()).await?;
    }
    Ok(())
}

/// Rewrites the records of a thread that hold what clients wrote; `erase` tells whether it changed one.
async fn rewrite(
    transaction: &mut PgConnection,
    thread: ThreadId,
    before: u64,
    erase: impl Fn(&mut TranscriptRecord) -> bool,
) -> Result<(), Error> {
    let records: Vec<(i64, String)> = sqlx::query_as(
        "SELECT ordinal, record FROM changes WHERE thread = $1 AND ordinal < $2 \
         AND kind IN ('conversation_created', 'metadata_set', 'items_added', 'spoken')",
    )
    .bind(thread.to_string())
    .bind(signed(before))
    .persistent(false)
    .fetch_all(&mut *transaction)
    .await?;
    let (mut ordinals, mut texts) = (Vec::new(), Vec::new());
    for (ordinal, text) in records {
        let mut record = decode(thread, &text)?;
        if erase(&mut record) {
            ordinals.push(ordinal);
            texts.push(encode(&record));
        }
    }
    sqlx::query(
        "UPDATE changes SET record = new.record FROM UNNEST($2::bigint[], $3::text[]) AS new (ordinal, record) \
         WHERE thread = $1 AND changes.ordinal = new.ordinal",
    )
    .bind(thread.to_string())
    .bind(ordinals)
    .bind(texts)
    .persistent(false)
    .execute(transaction)
    .await?;
    Ok(())
}

/// Takes an item's text out of the replies that were asked with it, or generated it.
async fn rewrite_replies(transaction: &mut PgConnection, thread: ThreadId, item: &str) -> Result<(), Error> {
    let replies: Vec<(String, String, Option<String>)> = sqlx::query_as(
        "SELECT id, accepted, ended FROM replies WHERE id >= $1 AND id < $2 AND NOT deleted \
         AND (strpos(accepted, $3) > 0 OR strpos(ended, $3) > 0)",
    )
    .bind(format!("resp_{thread}"))
    .bind(format!("resp_{thread}~"))
    .bind(in_json(item))
    .fetch_all(&mut *transaction)
    .await?;
    let erasure = ItemErasure::of(item);
    for (id, accepted, ended) in replies {
        if let Some((accepted, ended)) = item_of_reply(thread, &erasure, &accepted, ended.as_deref())? {
            sqlx::query("UPDATE replies SET accepted = $1, ended = $2 WHERE id = $3")
                .bind(accepted)
                .bind(ended)
                .bind(id)
                .execute(&mut *transaction)
                .await?;
        }
    }
    Ok(())
}

/// Drops blobs of a thread that no record refers to any more.
async fn drop_unused_blobs(transaction: &mut PgConnection, thread: ThreadId) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM blobs WHERE thread = $1 \
         AND NOT EXISTS (SELECT FROM replies WHERE id >= $2 AND id < $3 \
             AND strpos(accepted, 'blob:' || encode(hash, 'hex')) > 0) \
         AND NOT EXISTS (SELECT FROM changes WHERE changes.thread = $1 \
             AND strpos(record, 'blob:' || encode(hash, 'hex')) > 0)",
    )
    .bind(thread.to_string())
    .bind(format!("resp_{thread}"))
    .bind(format!("resp_{thread}~"))
    .persistent(false)
    .execute(transaction)
    .await?;
    Ok(())
}
