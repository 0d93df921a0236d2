//! The tables of webhooks, which are reached by SQL: in an `SQLite` in memory. A statement is run to its end while nothing
//! else happens, so that its own thread takes no simulated time.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread::{Thread, park};

use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, Connection, FromRow, Sqlite as Driver, SqliteConnection};

use super::super::Error;
use super::super::sqlite::statements::arguments;
use super::super::statement::Statement;

/// The tables.
pub(super) struct Sql(SqliteConnection);

impl Sql {
    /// Empty ones.
    pub(super) fn open() -> Result<Self, Error> {
        blocking(async {
            let mut connection = SqliteConnectOptions::new().in_memory(true).connect().await?;
            sqlx::raw_sql(include_str!("../../../migrations/sqlite/0006_webhooks.sql"))
                .execute(&mut connection)
                .await?;
            Ok(Self(connection))
        })
    }

    pub(super) fn rows<T>(&mut self, statement: Statement) -> Result<Vec<T>, Error>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        let query = sqlx::query_as_with(statement.sql, arguments(statement.values));
        Ok(blocking(query.fetch_all(&mut self.0))?)
    }

    pub(super) fn execute(&mut self, statements: Vec<Statement>) -> Result<Vec<u64>, Error> {
        blocking(async {
            let mut transaction = self.0.begin().await?;
            let mut changed = Vec::with_capacity(statements.len());
            for statement in statements {
                let query = sqlx::query_with::<Driver, _>(statement.sql, arguments(statement.values));
                changed.push(query.execute(&mut *transaction).await?.rows_affected());
            }
            transaction.commit().await?;
            Ok(changed)
        })
    }
}

struct Waker(Thread);

impl Wake for Waker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread, which does nothing else meanwhile.
fn blocking<F: Future>(future: F) -> F::Output {
    let waker = Arc::new(Waker(std::thread::current())).into();
    let mut future = pin!(tokio::task::unconstrained(future));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => park(),
        }
    }
}
