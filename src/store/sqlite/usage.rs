//! What replies used, in `SQLite`.

use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Sqlite as Driver};

use super::Sqlite;
use crate::domain::usage::DailyUsage;
use crate::store::Error;
use crate::store::usage::{Raw, UsageQuery, numbers};

type Query = sqlx::query::Query<'static, Driver, SqliteArguments>;

impl Sqlite {
    /// See [`crate::store::Store::usage`].
    pub(in crate::store) async fn usage(&self, query: &UsageQuery) -> Result<Vec<Raw>, Error> {
        let (texts, days) = query.parameters();
        let statement = query.statement(|number| format!("?{number}"));
        let mut asking = sqlx::query_as(AssertSqlSafe(statement));
        for text in texts {
            asking = asking.bind(text);
        }
        for day in days {
            asking = asking.bind(day);
        }
        Ok(asking.fetch_all(&self.readers).await?)
    }

    /// See [`crate::store::Store::add_usage`].
    pub(in crate::store) async fn add_usage(&self, rows: &[DailyUsage]) -> Result<(), Error> {
        let added = self.try_to_add_usage(rows).await;
        if added.is_err() {
            self.renew_writer().await;
        }
        added
    }

    async fn try_to_add_usage(&self, rows: &[DailyUsage]) -> Result<(), Error> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for (sql, group) in self.statements.unrecorded.groups(rows) {
            let query = group.iter().fold(sqlx::query(AssertSqlSafe(sql)), bind);
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        self.maintenance.written(false);
        Ok(())
    }
}

fn bind(query: Query, row: &DailyUsage) -> Query {
    let query = query.bind(row.owner.as_str().to_owned()).bind(i64::from(row.day.number())).bind(row.model.clone());
    numbers(&row.used).into_iter().fold(query, Query::bind)
}
