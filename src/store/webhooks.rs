//! Webhooks: where ends of replies are posted to, who does it, and what is still to be done.
//!
//! Unlike all else in the store this is not projected from the log. What is here holds ids, and no text of a reply.

use super::read::unsigned;
use super::statement::Statement;
use super::{Error, Store};
use crate::config::values::Secret;
use crate::domain::caller::Owner;

mod control;
mod deliveries;
mod endpoints;

pub use control::{Control, ReadUpTo};
pub use deliveries::{Change, Counts, Delivery, EndpointState};
pub use endpoints::Endpoint;

impl Store {
    /// The rows that a statement gives, whichever database it is.
    pub(super) async fn rows<T>(&self, statement: Statement) -> Result<Vec<T>, Error>
    where
        T: for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow>
            + for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow>
            + Send
            + Unpin,
    {
        match self {
            Self::Sqlite(store) => store.rows(statement).await,
            Self::Postgres(store) => store.rows(statement).await,
            #[cfg(feature = "simulation")]
            Self::Simulated(store) => store.rows(statement).await,
        }
    }

    /// Carries out statements, all or none. Gives how many rows each of them changed.
    pub(super) async fn execute(&self, statements: Vec<Statement>) -> Result<Vec<u64>, Error> {
        match self {
            Self::Sqlite(store) => store.execute(statements).await,
            Self::Postgres(store) => store.execute(statements).await,
            #[cfg(feature = "simulation")]
            Self::Simulated(store) => store.execute(statements).await,
        }
    }

    /// How many rows one statement changed.
    async fn execute_one(&self, statement: Statement) -> Result<u64, Error> {
        Ok(self.execute(vec![statement]).await?.into_iter().sum())
    }
}

fn secret(text: String) -> Secret {
    Secret::new(text)
}

fn owner(text: String) -> Owner {
    Owner::from_text(text)
}

fn time(number: Option<i64>) -> Option<u64> {
    number.map(unsigned)
}
