//! What replies used, in Postgres.

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgBindIterExt;

use super::Postgres;
use super::write::storable;
use crate::domain::usage::DailyUsage;
use crate::store::Error;
use crate::store::usage::{Raw, UsageQuery, numbers};

/// What is there grows. (A statement may not meet a row twice; those of a ledger are of different keys.)
pub(super) const ADD: &str = "ON CONFLICT (owner, day, model) DO UPDATE SET replies = usage.replies + excluded.replies, \
     input = usage.input + excluded.input, cached = usage.cached + excluded.cached, \
     output = usage.output + excluded.output, reasoning = usage.reasoning + excluded.reasoning";

impl Postgres {
    /// See [`crate::store::Store::usage`].
    pub(in crate::store) async fn usage(&self, query: &UsageQuery) -> Result<Vec<Raw>, Error> {
        let (texts, days) = query.parameters();
        let statement = query.statement(|number| format!("${number}"));
        self.ask(async {
            let mut connection = self.connections.take().await?;
            let mut asking = sqlx::query_as(AssertSqlSafe(statement)).persistent(connection.is_session());
            for text in &texts {
                asking = asking.bind(text);
            }
            for day in days {
                asking = asking.bind(day);
            }
            let rows = asking.fetch_all(&mut *connection).await?;
            connection.finish().await?;
            Ok(rows)
        })
        .await
    }

    /// See [`crate::store::Store::add_usage`].
    pub(in crate::store) async fn add_usage(&self, rows: &[DailyUsage]) -> Result<(), Error> {
        // Before the first record was projected they may not be there.
        self.prepare().await?;
        // In one order, so that two who add wait for each other and not in a circle.
        let mut rows: Vec<_> = rows.iter().collect();
        rows.sort_by_key(|row| (row.owner.as_str(), row.day, &row.model));
        let statement = format!(
            "INSERT INTO usage (owner, day, model, replies, input, cached, output, reasoning) \
             SELECT owner, day, model, sum(replies), sum(input), sum(cached), sum(output), sum(reasoning) \
             FROM UNNEST($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], \
                 $8::bigint[]) AS new (owner, day, model, replies, input, cached, output, reasoning) \
             GROUP BY owner, day, model ORDER BY owner, day, model {ADD}"
        );
        self.ask(async {
            let mut connection = self.connections.take().await?;
            let mut query = sqlx::query(AssertSqlSafe(statement))
                .bind(rows.iter().map(|row| storable(row.owner.as_str())).bind_iter())
                .bind(rows.iter().map(|row| i64::from(row.day.number())).bind_iter())
                .bind(rows.iter().map(|row| storable(&row.model)).bind_iter());
            for column in 0..5 {
                query = query.bind(rows.iter().map(move |row| numbers(&row.used)[column]).bind_iter());
            }
            query.persistent(connection.is_session()).execute(&mut *connection).await?;
            connection.finish().await?;
            Ok(())
        })
        .await
    }
}
