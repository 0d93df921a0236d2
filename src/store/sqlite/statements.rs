//! Statements that are the same for every database, in `SQLite`.

use sqlx::FromRow;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, Sqlite as Driver};

use super::Sqlite;
use crate::store::Error;
use crate::store::statement::{Statement, Value};

impl Sqlite {
    /// The rows that a statement gives.
    pub(in crate::store) async fn rows<T>(&self, statement: Statement) -> Result<Vec<T>, Error>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        let query = sqlx::query_as_with(statement.sql, arguments(statement.values));
        Ok(query.fetch_all(&self.readers).await?)
    }

    /// Carries out statements, all or none. Gives how many rows each of them changed.
    pub(in crate::store) async fn execute(&self, statements: Vec<Statement>) -> Result<Vec<u64>, Error> {
        let done = self.try_to_execute(statements).await;
        if done.is_err() {
            self.renew_writer().await;
        }
        done
    }

    async fn try_to_execute(&self, statements: Vec<Statement>) -> Result<Vec<u64>, Error> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut changed = Vec::with_capacity(statements.len());
        for statement in statements {
            let query = sqlx::query_with::<Driver, _>(statement.sql, arguments(statement.values));
            changed.push(query.execute(&mut *transaction).await?.rows_affected());
        }
        self.delay().await;
        transaction.commit().await?;
        self.maintenance.written(false);
        Ok(changed)
    }
}

pub(in crate::store) fn arguments(values: Vec<Value>) -> SqliteArguments {
    let mut arguments = SqliteArguments::default();
    for value in values {
        let added = match value {
            Value::Text(text) => arguments.add(text),
            Value::Number(number) => arguments.add(number),
            Value::Truth(truth) => arguments.add(truth),
        };
        added.expect("texts and numbers can be encoded");
    }
    arguments
}
