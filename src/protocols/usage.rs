//! What replies used, as a client asks for it and is told.

use serde::Serialize;
use serde_json::Value;

use super::error::ApiError;
use super::query::pairs;
use crate::domain::caller::{Caller, Scope};
use crate::domain::usage::Day;
use crate::store::{Grouping, UsageQuery, UsageRow, Whose};

/// So many days are told of where no beginning is named.
const DAYS: u32 = 30;

/// The most days that are told of at once.
const MOST_DAYS: u32 = 366;

/// What `GET /v1/usage` gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct UsageList {
    object: &'static str,
    from: String,
    to: String,
    data: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Entry {
    object: &'static str,
    /// Null: the tenant itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    replies: u64,
    input_tokens: u64,
    cached_tokens: u64,
    output_tokens: u64,
    reasoning_tokens: u64,
    total_tokens: u64,
}

/// Reads the query of a caller's usage, as of a day.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(caller: &Caller, query: Option<&str>, today: Day) -> Result<UsageQuery, ApiError> {
    let (mut from, mut to, mut by) = (None, today, Grouping::default());
    for pair in pairs(query) {
        let (name, value) = pair?;
        match name.as_ref() {
            "from" => from = Some(day("from", &value)?),
            "to" => to = day("to", &value)?,
            "group_by" => by = grouping(&value)?,
            _ => {}
        }
    }
    let from = from.unwrap_or_else(|| to.before(DAYS - 1));
    if to < from {
        return Err(ApiError::invalid("from", "it is after 'to'."));
    }
    if to.number() - from.number() >= MOST_DAYS {
        return Err(ApiError::invalid("from", &format!("at most {MOST_DAYS} days are told of at once.")));
    }
    let owner = caller.owner().clone();
    let whose = if caller.scopes().has(Scope::Tenant) { Whose::Tenant(owner) } else { Whose::Own(owner) };
    Ok(UsageQuery { whose, from, to, by })
}

fn day(name: &str, text: &str) -> Result<Day, ApiError> {
    text.parse().map_err(|_| ApiError::invalid(name, "expected a day of UTC, such as 2026-11-27."))
}

/// One of them, or several with commas between.
fn grouping(text: &str) -> Result<Grouping, ApiError> {
    let mut by = Grouping::default();
    for part in text.split(',').map(str::trim) {
        match part {
            "user" => by.owner = true,
            "day" => by.day = true,
            "model" => by.model = true,
            other => return Err(ApiError::invalid_value("group_by", other, &["user", "day", "model"])),
        }
    }
    Ok(by)
}

impl UsageList {
    /// These rows, as an answer to this query.
    pub(crate) fn new(query: &UsageQuery, rows: Vec<UsageRow>) -> Self {
        let data = rows.into_iter().map(Entry::from).collect();
        Self { object: "list", from: query.from.to_string(), to: query.to.to_string(), data }
    }
}

impl From<UsageRow> for Entry {
    fn from(row: UsageRow) -> Self {
        Self {
            object: "usage",
            user: row.owner.map(|owner| owner.user().into()),
            day: row.day.map(|day| day.to_string()),
            model: row.model,
            replies: row.used.replies,
            input_tokens: row.used.input,
            cached_tokens: row.used.cached,
            output_tokens: row.used.output,
            reasoning_tokens: row.used.reasoning,
            total_tokens: row.used.tokens(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::caller::{Owner, Scopes};
    use crate::domain::usage::Used;

    fn caller(scopes: Scopes) -> Caller {
        Caller::new(Owner::new("acme", Some("alice")), "k", scopes, Caller::DEFAULT_TIER)
    }

    const TODAY: Day = Day::from_number(20_784);

    #[test]
    fn a_query_says_which_days_and_what_is_told_apart() {
        let parse = |query| super::parse(&caller(Scopes::USE), query, TODAY);
        let default = parse(None).unwrap();
        assert_eq!(
            (default.from.to_string(), default.to.to_string()),
            ("2026-10-29".to_owned(), "2026-11-27".to_owned())
        );
        assert_eq!((default.by, default.whose), (Grouping::default(), Whose::Own(Owner::new("acme", Some("alice")))));
        let query = parse(Some("from=2026-01-01&to=2026-01-02&group_by=model,user&x=y")).unwrap();
        assert_eq!((query.from.to_string(), query.to.to_string()), ("2026-01-01".to_owned(), "2026-01-02".to_owned()));
        assert_eq!(query.by, Grouping { owner: true, day: false, model: true });
        for (wrong, param) in [
            ("from=yesterday", "from"),
            ("to=2026-02-30", "to"),
            ("group_by=tenant", "group_by"),
            ("from=2026-12-01", "from"),
            ("from=2024-12-01", "from"),
        ] {
            let error = parse(Some(wrong)).unwrap_err();
            assert_eq!((error.status, error.param.as_deref()), (400, Some(param)), "{wrong}");
        }
        let tenant = super::parse(&caller(Scopes::ALL), None, TODAY).unwrap();
        assert!(matches!(tenant.whose, Whose::Tenant(_)));
    }

    #[test]
    fn what_is_not_told_apart_is_not_named_and_the_tenant_is_no_user() {
        let used = Used { replies: 2, input: 3, cached: 1, output: 4, reasoning: 2 };
        let row = UsageRow { owner: Some(Owner::new("acme", None)), day: Some(TODAY), model: None, used };
        let query = super::parse(&caller(Scopes::USE), None, TODAY).unwrap();
        let list = serde_json::to_value(UsageList::new(&query, vec![row])).unwrap();
        assert_eq!(
            list["data"][0],
            serde_json::json!({"object": "usage", "user": null, "day": "2026-11-27", "replies": 2, "input_tokens": 3,
                "cached_tokens": 1, "output_tokens": 4, "reasoning_tokens": 2, "total_tokens": 7})
        );
    }
}
