//! Statements that are the same for every database, in Postgres.

use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::{Arguments as _, Connection, FromRow, Postgres as Driver};

use super::Postgres;
use super::write::storable;
use crate::store::Error;
use crate::store::statement::{Statement, Value};

impl Postgres {
    /// The rows that a statement gives.
    pub(in crate::store) async fn rows<T>(&self, statement: Statement) -> Result<Vec<T>, Error>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        self.prepare().await?;
        self.ask(async {
            let mut connection = self.connections.take().await?;
            let query = sqlx::query_as_with(statement.sql, arguments(statement.values));
            let rows = query.persistent(connection.is_session()).fetch_all(&mut *connection).await?;
            connection.finish().await?;
            Ok(rows)
        })
        .await
    }

    /// Carries out statements, all or none. Gives how many rows each of them changed.
    pub(in crate::store) async fn execute(&self, statements: Vec<Statement>) -> Result<Vec<u64>, Error> {
        self.prepare().await?;
        self.ask(async {
            let mut connection = self.connections.take().await?;
            let changed = if connection.is_session() {
                let mut transaction = connection.begin().await?;
                let changed = execute(&mut transaction, statements, true).await?;
                transaction.commit().await?;
                changed
            } else {
                // It is in a transaction already.
                execute(&mut connection, statements, false).await?
            };
            connection.finish().await?;
            Ok(changed)
        })
        .await
    }
}

async fn execute(
    connection: &mut PgConnection,
    statements: Vec<Statement>,
    is_session: bool,
) -> Result<Vec<u64>, Error> {
    let mut changed = Vec::with_capacity(statements.len());
    for statement in statements {
        let query = sqlx::query_with::<Driver, _>(statement.sql, arguments(statement.values));
        changed.push(query.persistent(is_session).execute(&mut *connection).await?.rows_affected());
    }
    Ok(changed)
}

fn arguments(values: Vec<Value>) -> PgArguments {
    let mut arguments = PgArguments::default();
    for value in values {
        let added = match value {
            Value::Text(text) => arguments.add(text.as_deref().map(storable)),
            Value::Number(number) => arguments.add(number),
            Value::Truth(truth) => arguments.add(truth),
        };
        added.expect("texts and numbers can be encoded");
    }
    arguments
}
