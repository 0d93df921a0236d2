//! A batch becomes rows, in one transaction.

use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Sqlite as Driver, Transaction};

use super::multi::Multi;
use super::{Sqlite, erase};
use crate::domain::ids::{ReplyId, ThreadId};
use crate::store::read::signed;
use crate::store::rows::{Activity, ChangeRow, EndRow, ReplyRow, Rows, UsageRow, text};
use crate::store::usage::numbers;
use crate::store::{Applied, Batch, Error};

type Query = sqlx::query::Query<'static, Driver, SqliteArguments>;

/// See [`crate::store::Store::apply`].
pub(super) async fn apply(store: &Sqlite, batch: &Batch) -> Result<Applied, Error> {
    let rows = Rows::of(&batch.records).await;
    let statements = &store.statements;
    let mut transaction = store.writer.begin_with("BEGIN IMMEDIATE").await?;
    move_position(&mut transaction, batch).await?;
    let ended = rows.usage();
    write(&mut transaction, &statements.used, &ended, bind_usage).await?;
    let written = write(&mut transaction, &statements.replies, &rows.replies, bind_reply).await?
        + write(&mut transaction, &statements.ends, &rows.ends, bind_end).await?;
    if written < rows.reply_count() as u64 {
        // Known already, or second to another: so that the thread counts as known up to them, those are noted.
        let places: Vec<_> = rows.places().collect();
        write(&mut transaction, &statements.superseded, &places, bind_place).await?;
    }
    write(&mut transaction, &statements.changes, &rows.changes, bind_change).await?;
    let (owned, others): (Vec<_>, Vec<_>) = rows.activities.iter().partition(|(_, activity)| activity.owner.is_some());
    write(&mut transaction, &statements.conversations, &owned, bind_conversation).await?;
    write(&mut transaction, &statements.touches, &others, bind_touch).await?;
    erase::apply(&mut transaction, &rows.erasures).await?;
    store.delay().await;
    transaction.commit().await?;
    store.maintenance.written(!rows.erasures.is_empty());
    Ok(Applied { replies: rows.reply_count(), changes: rows.changes.len(), unreadable: rows.unreadable })
}

/// Compare and set: the one point at which one of two projections wins.
async fn move_position(transaction: &mut Transaction<'_, Driver>, batch: &Batch) -> Result<(), Error> {
    let new = &batch.position;
    let query = match &batch.expected {
        None => sqlx::query(
            "INSERT INTO positions (identity, position, last_record, shard) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        ),
        Some(_) => sqlx::query(
            "UPDATE positions SET identity = ?, position = ?, last_record = ? \
             WHERE shard = ? AND identity = ? AND position = ? AND last_record = ?",
        ),
    };
    let mut query =
        query.bind(new.identity.clone()).bind(signed(new.position)).bind(new.last_record.clone()).bind(batch.shard);
    if let Some(old) = &batch.expected {
        query = query.bind(old.identity.clone()).bind(signed(old.position)).bind(old.last_record.clone());
    }
    match query.execute(&mut **transaction).await?.rows_affected() {
        1 => Ok(()),
        _ => Err(Error::Moved),
    }
}

async fn write<T>(
    transaction: &mut Transaction<'_, Driver>,
    statement: &Multi,
    rows: &[T],
    bind: fn(Query, &T) -> Query,
) -> Result<u64, Error> {
    let mut affected = 0;
    for (sql, group) in statement.groups(rows) {
        let query = group.iter().fold(sqlx::query(AssertSqlSafe(sql)), bind);
        affected += query.execute(&mut **transaction).await?.rows_affected();
    }
    Ok(affected)
}

fn bind_reply(query: Query, row: &ReplyRow) -> Query {
    let query = query
        .bind(row.id.to_string())
        .bind(row.id.thread().to_string())
        .bind(signed(row.ordinal))
        .bind(row.previous.map(|previous| previous.to_string()))
        .bind(row.in_conversation)
        .bind(signed(row.created_at))
        .bind(row.model.clone())
        .bind(text(&row.accepted).to_owned())
        .bind(row.owner.clone());
    match &row.end {
        None => query.bind(row.status).bind(None::<i64>).bind(None::<i64>).bind(None::<String>),
        Some(end) => bind_ending(query, end),
    }
}

fn bind_end(query: Query, row: &EndRow) -> Query {
    bind_ending(query.bind(row.id.to_string()), row)
}

fn bind_ending(query: Query, row: &EndRow) -> Query {
    query.bind(row.status).bind(signed(row.ordinal)).bind(row.ended_at.map(signed)).bind(text(&row.ended).to_owned())
}

fn bind_change(query: Query, row: &ChangeRow) -> Query {
    query
        .bind(row.thread.to_string())
        .bind(signed(row.ordinal))
        .bind(row.kind.clone().into_owned())
        .bind(text(&row.record).to_owned())
        .bind(row.owner.clone())
}

fn bind_usage(query: Query, row: &UsageRow<'_>) -> Query {
    let (owner, model) = row.accepted.unzip();
    let query = query
        .bind(row.id.to_string())
        .bind(owner.map(str::to_owned))
        .bind(model.map(str::to_owned))
        .bind(i64::from(row.day.number()));
    let [_, tokens @ ..] = numbers(&row.used);
    tokens.into_iter().fold(query, Query::bind)
}

fn bind_conversation(query: Query, (thread, activity): &(&ThreadId, &Activity)) -> Query {
    query
        .bind(thread.to_string())
        .bind(activity.owner.clone())
        .bind(signed(activity.at))
        .bind(activity.first_reply.map(|reply| reply.to_string()))
}

fn bind_touch(query: Query, (thread, activity): &(&ThreadId, &Activity)) -> Query {
    query.bind(thread.to_string()).bind(signed(activity.at))
}

fn bind_place(query: Query, (reply, ordinal): &(ReplyId, u64)) -> Query {
    query.bind(reply.thread().to_string()).bind(signed(*ordinal)).bind(reply.to_string())
}
