//! What replies used: what is asked of the store about it, the same for every database.

use super::read::{signed, unsigned};
use super::{Error, Store};
use crate::domain::caller::Owner;
use crate::domain::usage::{DailyUsage, Day, Used};

/// Groups that are given at most.
pub(super) const MOST: i64 = 10_000;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageQuery {
    /// Whose.
    pub whose: Whose,
    /// From this day …
    pub from: Day,
    /// … to this one, itself included.
    pub to: Day,
    /// What is told apart.
    pub by: Grouping,
}

/// Whose usage is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Of this tenant or user alone.
    Own(Owner),
    /// Of the tenant that this is of, with all of its users.
    Tenant(Owner),
}

/// What is told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grouping {
    /// Whom the replies belong to.
    pub owner: bool,
    /// When they ended.
    pub day: bool,
    /// What generated them.
    pub model: bool,
}

/// A group, and what it used. What is not told apart is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// Whom the replies belong to.
    pub owner: Option<Owner>,
    /// When they ended.
    pub day: Option<Day>,
    /// What generated them.
    pub model: Option<String>,
    /// How much.
    pub used: Used,
}

impl Store {
    /// Tokens of somebody's replies that ended on a day.
    pub async fn tokens_of(&self, owner: &Owner, day: Day) -> Result<u64, Error> {
        let whose = Whose::Own(owner.clone());
        let rows = self.usage(&UsageQuery { whose, from: day, to: day, by: Grouping::default() }).await?;
        Ok(rows.iter().map(|row| row.used.tokens()).sum())
    }

    /// What was used, by what is to be told apart, in that order.
    pub async fn usage(&self, query: &UsageQuery) -> Result<Vec<UsageRow>, Error> {
        let rows = match self {
            Self::Sqlite(store) => store.usage(query).await?,
            Self::Postgres(store) => store.usage(query).await?,
            #[cfg(feature = "simulation")]
            Self::Simulated(store) => store.usage(query).await?,
        };
        Ok(rows.into_iter().map(|row| query.by.row(row)).collect())
    }

    /// Adds what no record tells of. Not the same if it is done again.
    pub async fn add_usage(&self, rows: &[DailyUsage]) -> Result<(), Error> {
        match self {
            Self::Sqlite(store) => store.add_usage(rows).await,
            Self::Postgres(store) => store.add_usage(rows).await,
            #[cfg(feature = "simulation")]
            Self::Simulated(store) => store.add_usage(rows).await,
        }
    }
}

/// A row as the databases give it; what is not told apart is empty, or 0.
pub(super) type Raw = (String, i64, String, i64, i64, i64, i64, i64);

/// Numbers of [`Used`], as the databases take them.
pub(super) fn numbers(used: &Used) -> [i64; 5] {
    [used.replies, used.input, used.cached, used.output, used.reasoning].map(signed)
}

impl UsageQuery {
    /// The statement, for a database that writes its parameters so: the owner, the first and the last of what follows it
    /// among its users, the days. (Sums of many numbers are wider than these in Postgres.)
    pub(super) fn statement(&self, parameter: impl Fn(usize) -> String) -> String {
        let Grouping { owner, day, model } = self.by;
        let columns = [
            (owner, "owner", "CAST('' AS TEXT)"),
            (day, "day", "CAST(0 AS BIGINT)"),
            (model, "model", "CAST('' AS TEXT)"),
        ];
        let shown = columns.map(|(is_apart, column, otherwise)| if is_apart { column } else { otherwise });
        let apart: Vec<_> = columns.iter().filter(|(is_apart, ..)| *is_apart).map(|(_, column, _)| *column).collect();
        let grouped = if apart.is_empty() {
            "HAVING count(*) > 0".to_owned()
        } else {
            let apart = apart.join(", ");
            format!("GROUP BY {apart} ORDER BY {apart}")
        };
        let sum = |column| format!("CAST(sum({column}) AS BIGINT)");
        let sums = ["replies", "input", "cached", "output", "reasoning"].map(sum).join(", ");
        let [whose, first, last, from, to] = [1, 2, 3, 4, 5].map(parameter);
        format!(
            "SELECT {}, {sums} FROM usage WHERE (owner = {whose} OR owner >= {first} AND owner < {last}) \
             AND day BETWEEN {from} AND {to} {grouped} LIMIT {MOST}",
            shown.join(", ")
        )
    }

    /// Its parameters, in that order.
    pub(super) fn parameters(&self) -> ([String; 3], [i64; 2]) {
        (self.whose.owners(), [self.from, self.to].map(|day| i64::from(day.number())))
    }
}

impl Whose {
    /// The owner, and between which texts those of its users lie, where they count, too.
    pub(super) fn owners(&self) -> [String; 3] {
        match self {
            // Nothing comes between.
            Self::Own(owner) => [owner.as_str().to_owned(), String::new(), String::new()],
            Self::Tenant(owner) => {
                let [first, last] = owner.users_of_tenant();
                [owner.tenant_owner().as_str().to_owned(), first, last]
            }
        }
    }
}

impl Grouping {
    fn row(self, (owner, day, model, replies, input, cached, output, reasoning): Raw) -> UsageRow {
        let [replies, input, cached, output, reasoning] = [replies, input, cached, output, reasoning].map(unsigned);
        UsageRow {
            owner: self.owner.then(|| Owner::from_text(owner)),
            day: self.day.then(|| Day::from_number(u32::try_from(day).unwrap_or_default())),
            model: self.model.then_some(model),
            used: Used { replies, input, cached, output, reasoning },
        }
    }
}
