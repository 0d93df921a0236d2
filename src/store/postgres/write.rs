//! A batch becomes rows, in one statement: one way there and back, and all of it or nothing.

use std::sync::LazyLock;

use sqlx::postgres::{PgBindIterExt, PgConnection, Postgres as Driver};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection, Row};

use super::usage::ADD;
use super::{Postgres, erase};
use crate::store::read::signed;
use crate::store::rows::{EndRow, Rows, text};
use crate::store::usage::numbers;
use crate::store::{Applied, Batch, Blob, Error};

type Asking = Query<'static, Driver, <Driver as sqlx::Database>::Arguments>;

/// The statement of the first batch of a shard, and that of all others: they move the position differently.
///
/// Everything hangs on `moved`, which is empty if somebody else was first. All parts see the rows as they were before,
/// and what others of them wrote only by what those return.
static FIRST: LazyLock<String> = LazyLock::new(|| {
    statement(
        "INSERT INTO positions (shard, identity, position, last_record) VALUES ($1, $2, $3, $4) \
         ON CONFLICT DO NOTHING",
    )
});
static NEXT: LazyLock<String> = LazyLock::new(|| {
    statement(
        "UPDATE positions SET identity = $2, position = $3, last_record = $4 \
         WHERE shard = $1 AND identity = $41 AND position = $42 AND last_record = $43",
    )
});

/// `move_position` is the compare-and-set: the one point at which one of two projections wins.
fn statement(move_position: &str) -> String {
    format!(
        "WITH moved AS ({move_position} RETURNING 1), \
         accepted AS ( \
             INSERT INTO replies (id, ordinal, previous, in_conversation, created_at, model, accepted, \
                 status, ended_ordinal, ended_at, ended, owner) \
             SELECT * FROM UNNEST($5::text[], $6::bigint[], $7::text[], $8::bool[], $9::bigint[], $10::text[], \
                 $11::text[], $12::text[], $13::bigint[], $14::bigint[], $15::text[], $25::text[]) \
             WHERE EXISTS (SELECT FROM moved) \
             {UPSERT} \
             RETURNING id, ordinal, ended_ordinal), \
         ended AS ( \
             UPDATE replies SET status = new.status, ended_ordinal = new.ordinal, ended_at = new.at, ended = new.record \
             FROM UNNEST($16::text[], $17::text[], $18::bigint[], $19::bigint[], $20::text[]) \
                 AS new (id, status, ordinal, at, record) \
             WHERE replies.id = new.id AND replies.ended_ordinal IS NULL AND NOT replies.deleted \
                 AND EXISTS (SELECT FROM moved) \
             RETURNING replies.id, replies.ordinal, replies.ended_ordinal), \
         changed AS ( \
             INSERT INTO changes (thread, ordinal, kind, record, owner) \
             SELECT * FROM UNNEST($21::text[], $22::bigint[], $23::text[], $24::text[], $26::text[]) \
             WHERE EXISTS (SELECT FROM moved) \
             ON CONFLICT DO NOTHING), \
         conversed AS ( \
             INSERT INTO conversations (thread, owner, active_at, first_reply) \
             SELECT * FROM UNNEST($35::text[], $36::text[], $37::bigint[], $38::text[]) \
             WHERE EXISTS (SELECT FROM moved) \
             ON CONFLICT (thread) DO UPDATE SET \
                 active_at = greatest(conversations.active_at, excluded.active_at), \
                 first_reply = coalesce(conversations.first_reply, excluded.first_reply)), \
         touched AS ( \
             UPDATE conversations SET active_at = greatest(conversations.active_at, new.active_at) \
             FROM UNNEST($39::text[], $40::bigint[]) AS new (thread, active_at) \
             WHERE conversations.thread = new.thread AND EXISTS (SELECT FROM moved)), \
         superseded AS ({SUPERSEDED}), \
         used AS ({USED} {ADD}) \
         SELECT count(*) FROM moved"
    )
}

/// A reply that is there keeps what it has, and gains its end. One that was deleted stays so.
const UPSERT: &str = "ON CONFLICT (id) DO UPDATE SET ended_ordinal = excluded.ended_ordinal, \
     ended_at = excluded.ended_at, ended = excluded.ended, status = excluded.status \
     WHERE NOT replies.deleted AND replies.ended_ordinal IS NULL AND excluded.ended_ordinal IS NOT NULL";

/// Records of replies that were known already, or are second to another: so that the thread counts as known up to them,
/// those are noted. Looked for only when fewer rows were written than there are replies.
const SUPERSEDED: &str = "INSERT INTO changes (thread, ordinal, kind, record) \
     SELECT substr(place.id, 6, 26), place.ordinal, 'superseded', '' \
     FROM (SELECT * FROM UNNEST($5::text[], $6::bigint[]) \
         UNION ALL SELECT * FROM UNNEST($5::text[], $13::bigint[]) \
         UNION ALL SELECT * FROM UNNEST($16::text[], $18::bigint[])) AS place (id, ordinal) \
     WHERE EXISTS (SELECT FROM moved) \
         AND (SELECT count(*) FROM accepted) + (SELECT count(*) FROM ended) < cardinality($5) + cardinality($16) \
         AND place.ordinal IS NOT NULL \
         AND NOT EXISTS (SELECT FROM (SELECT id, ordinal, ended_ordinal FROM accepted \
                 UNION ALL SELECT id, ordinal, ended_ordinal FROM ended \
                 UNION ALL SELECT id, ordinal, ended_ordinal FROM replies WHERE replies.id = place.id) AS known \
             WHERE known.id = place.id AND (known.ordinal = place.ordinal OR known.ended_ordinal = place.ordinal)) \
     ON CONFLICT DO NOTHING";

/// What the ends that count add to what was used: those of replies that, as of before, have none and are not deleted. In one
/// order, so that two who add wait for each other and not in a circle.
const USED: &str = "INSERT INTO usage (owner, day, model, replies, input, cached, output, reasoning) \
     SELECT coalesce(r.owner, new.owner) AS owner, new.day, coalesce(r.model, new.model) AS model, \
         count(*), sum(new.input), sum(new.cached), sum(new.output), sum(new.reasoning) \
     FROM UNNEST($27::text[], $28::text[], $29::text[], $30::bigint[], $31::bigint[], $32::bigint[], $33::bigint[], \
         $34::bigint[]) AS new (id, owner, model, day, input, cached, output, reasoning) \
     LEFT JOIN replies AS r ON r.id = new.id \
     WHERE EXISTS (SELECT FROM moved) AND coalesce(r.owner, new.owner) IS NOT NULL \
         AND (r.id IS NULL OR r.ended_ordinal IS NULL AND NOT r.deleted) \
     GROUP BY 1, 2, 3 ORDER BY 1, 2, 3";

/// See [`crate::store::Store::apply`].
pub(super) async fn apply(store: &Postgres, batch: &Batch) -> Result<Applied, Error> {
    let rows = Rows::of(&batch.records).await;
    store.ask(write(store, batch, &rows)).await?;
    Ok(Applied { replies: rows.reply_count(), changes: rows.changes.len(), unreadable: rows.unreadable })
}

async fn write(store: &Postgres, batch: &Batch, rows: &Rows) -> Result<(), Error> {
    let mut connection = store.connections.take().await?;
    let is_session = connection.is_session();
    if !is_session {
        // It is in a transaction already.
        insert(&mut connection, batch, rows, is_session).await?;
        erase::apply(&mut connection, &rows.erasures).await?;
    } else if rows.erasures.is_empty() {
        // A statement by itself is a transaction.
        insert(&mut connection, batch, rows, is_session).await?;
    } else {
        let mut transaction = connection.begin().await?;
        insert(&mut transaction, batch, rows, is_session).await?;
        erase::apply(&mut transaction, &rows.erasures).await?;
        transaction.commit().await?;
    }
    connection.finish().await?;
    Ok(())
}

async fn insert(connection: &mut PgConnection, batch: &Batch, rows: &Rows, is_session: bool) -> Result<(), Error> {
    let (new, old) = (&batch.position, &batch.expected);
    let query = sqlx::query(AssertSqlSafe(if old.is_some() { NEXT.as_str() } else { FIRST.as_str() }))
        .bind(i64::from(batch.shard))
        .bind(&new.identity)
        .bind(signed(new.position))
        .bind(&new.last_record);
    let query = bind_owners(bind_changes(bind_ends(bind_replies(query, rows), rows), rows), rows);
    let mut query = bind_activities(bind_usage(query, rows), rows);
    if let Some(old) = old {
        query = query.bind(&old.identity).bind(signed(old.position)).bind(&old.last_record);
    }
    let moved: i64 = query.persistent(is_session).fetch_one(connection).await?.try_get(0)?;
    if moved == 1 { Ok(()) } else { Err(Error::Moved) }
}

fn bind_replies(query: Asking, rows: &Rows) -> Asking {
    let replies = || rows.replies.iter();
    let ends = || replies().map(|row| row.end.as_ref());
    let status = replies().map(|row| row.end.as_ref().map_or(row.status, |end| end.status));
    query
        .bind(replies().map(|row| row.id.to_string()).bind_iter())
        .bind(replies().map(|row| signed(row.ordinal)).bind_iter())
        .bind(replies().map(|row| row.previous.map(|previous| previous.to_string())).bind_iter())
        .bind(replies().map(|row| row.in_conversation).bind_iter())
        .bind(replies().map(|row| signed(row.created_at)).bind_iter())
        .bind(replies().map(|row| storable(&row.model)).bind_iter())
        .bind(replies().map(|row| text(&row.accepted)).bind_iter())
        .bind(status.bind_iter())
        .bind(ends().map(|end| end.map(|end| signed(end.ordinal))).bind_iter())
        .bind(ends().map(|end| end.and_then(ended_at)).bind_iter())
        .bind(ends().map(|end| end.map(|end| text(&end.ended))).bind_iter())
}

fn bind_ends(query: Asking, rows: &Rows) -> Asking {
    let ends = || rows.ends.iter();
    query
        .bind(ends().map(|row| row.id.to_string()).bind_iter())
        .bind(ends().map(|row| row.status).bind_iter())
        .bind(ends().map(|row| signed(row.ordinal)).bind_iter())
        .bind(ends().map(ended_at).bind_iter())
        .bind(ends().map(|row| text(&row.ended)).bind_iter())
}

fn bind_changes(query: Asking, rows: &Rows) -> Asking {
    let changes = || rows.changes.iter();
    query
        .bind(changes().map(|row| row.thread.to_string()).bind_iter())
        .bind(changes().map(|row| signed(row.ordinal)).bind_iter())
        .bind(changes().map(|row| storable(&row.kind)).bind_iter())
        .bind(changes().map(|row| text(&row.record)).bind_iter())
}

fn bind_owners(query: Asking, rows: &Rows) -> Asking {
    let replies = rows.replies.iter().map(|row| storable(&row.owner));
    query.bind(replies.bind_iter()).bind(rows.changes.iter().map(|row| storable(&row.owner)).bind_iter())
}

fn bind_usage(query: Asking, rows: &Rows) -> Asking {
    let ended = rows.usage();
    let mut query = query
        .bind(ended.iter().map(|row| row.id.to_string()).bind_iter())
        .bind(ended.iter().map(|row| row.accepted.map(|(owner, _)| storable(owner))).bind_iter())
        .bind(ended.iter().map(|row| row.accepted.map(|(_, model)| storable(model))).bind_iter())
        .bind(ended.iter().map(|row| i64::from(row.day.number())).bind_iter());
    for column in 1..5 {
        query = query.bind(ended.iter().map(move |row| numbers(&row.used)[column]).bind_iter());
    }
    query
}

fn bind_activities(query: Asking, rows: &Rows) -> Asking {
    let owned = || rows.activities.iter().filter_map(|(thread, one)| Some((thread, one.owner.as_ref()?, one)));
    let others = || rows.activities.iter().filter(|(_, activity)| activity.owner.is_none());
    query
        .bind(owned().map(|(thread, ..)| thread.to_string()).bind_iter())
        .bind(owned().map(|(_, owner, _)| storable(owner)).bind_iter())
        .bind(owned().map(|(.., activity)| signed(activity.at)).bind_iter())
        .bind(owned().map(|(.., activity)| activity.first_reply.map(|reply| reply.to_string())).bind_iter())
        .bind(others().map(|(thread, _)| thread.to_string()).bind_iter())
        .bind(others().map(|(_, activity)| signed(activity.at)).bind_iter())
}

fn ended_at(end: &EndRow) -> Option<i64> {
    end.ended_at.map(signed)
}

/// A text that was read from a record may hold a zero byte, which Postgres does not take. (The record itself cannot: in
/// JSON it is written in other letters.)
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// See [`crate::store::Store::put_blobs`].
pub(super) async fn put_blobs(store: &Postgres, blobs: &[Blob]) -> Result<(), Error> {
    let mut connection = store.connections.take().await?;
    sqlx::query(
        "INSERT INTO blobs (thread, hash, content) SELECT * FROM UNNEST($1::text[], $2::bytea[], $3::bytea[]) \
         ON CONFLICT DO NOTHING",
    )
    .bind(blobs.iter().map(|blob| blob.thread.to_string()).bind_iter())
    .bind(blobs.iter().map(|blob| &blob.hash[..]).bind_iter())
    .bind(blobs.iter().map(|blob| &blob.content[..]).bind_iter())
    .persistent(connection.is_session())
    .execute(&mut *connection)
    .await?;
    connection.finish().await?;
    Ok(())
}
