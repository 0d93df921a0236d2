//! Looks into the store's tables, past the server: what was accepted is there once, and what was deleted is not.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Database, Executor, IntoArguments, Postgres, Sqlite};

use super::checker::{Fate, Fault};
use super::cluster::Reply;
use super::deployment::Store;
use crate::cli::event::Ending;

/// A reply's row.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) deleted: bool,
    pub(super) accepted: String,
    pub(super) ended: String,
}

/// All that is there.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    pub(super) replies: Vec<Row>,
    pub(super) changes: Vec<String>,
}

const REPLIES: &str = "SELECT id, status, deleted, accepted, coalesce(ended, '') AS ended FROM replies";
const CHANGES: &str = "SELECT record FROM changes";

/// Whether a Postgres answers.
pub(super) async fn answers(url: &str) -> bool {
    let connecting = tokio::time::timeout(Duration::from_secs(2), PgConnection::connect(url)).await;
    matches!(connecting, Ok(Ok(_)))
}

/// Reads the tables.
pub(super) async fn read(store: &Store) -> Result<Rows, sqlx::Error> {
    match store {
        Store::Postgres(url) => all::<Postgres>(&mut PgConnection::connect(url).await?).await,
        Store::Sqlite(path) => {
            let options = SqliteConnectOptions::new().filename(path).read_only(true);
            let mut connection: SqliteConnection = options.connect().await?;
            all::<Sqlite>(&mut connection).await
        }
    }
}

async fn all<D: Database>(connection: &mut D::Connection) -> Result<Rows, sqlx::Error>
where
    for<'a> &'a mut D::Connection: Executor<'a, Database = D>,
    for<'a> <D as Database>::Arguments: IntoArguments<D>,
    Row: for<'r> sqlx::FromRow<'r, D::Row>,
    (String,): for<'r> sqlx::FromRow<'r, D::Row>,
{
    let replies = sqlx::query_as::<D, Row>(AssertSqlSafe(REPLIES)).fetch_all(&mut *connection).await?;
    let changes = sqlx::query_as::<D, (String,)>(AssertSqlSafe(CHANGES)).fetch_all(&mut *connection).await?;
    Ok(Rows { replies, changes: changes.into_iter().map(|(record,)| record).collect() })
}

/// Whether everything has arrived that has to: the projection comes later than the clients.
pub(super) fn is_complete<'a>(rows: &Rows, replies: impl IntoIterator<Item = &'a Reply>) -> bool {
    let known: HashMap<_, _> = rows.replies.iter().map(|row| (row.id.as_str(), row)).collect();
    replies.into_iter().all(|reply| {
        let row = known.get(reply.id.as_str());
        // One that was deleted before the projection came to it may have no row at all.
        if reply.fate == Fate::Deleted {
            row.is_none_or(|row| row.deleted)
        } else {
            row.is_some_and(|row| !row.ended.is_empty())
        }
    })
}

/// What is wrong with a reply's row; `ending` is what clients saw.
pub(super) fn checker(rows: &Rows, reply: &Reply, ending: Option<&Ending>, text: &str) -> Vec<Fault> {
    let wrong = |how: String| Fault::Stored { how };
    let own: Vec<_> = rows.replies.iter().filter(|row| row.id == reply.id).collect();
    if own.is_empty() && reply.fate == Fate::Deleted {
        return Vec::new();
    }
    let [row] = own[..] else { return vec![wrong(format!("{} rows", own.len()))] };
    if reply.fate == Fate::Deleted {
        let mut faults = Vec::new();
        let texts = [&row.accepted, &row.ended].into_iter().chain(&rows.changes);
        let own_words = reply.truth.as_deref().and_then(|truth| truth.split(' ').next());
        if texts.clone().any(|text| text.contains(&reply.prompt) || own_words.is_some_and(|word| text.contains(word))) {
            faults.push(wrong("a deleted reply's text is there".to_owned()));
        }
        if !row.deleted {
            faults.push(wrong("it is not deleted".to_owned()));
        }
        return faults;
    }
    let expected = match ending {
        Some(Ending::Complete) => "completed",
        Some(Ending::Stopped) => "cancelled",
        Some(Ending::Cut(_)) => "incomplete",
        Some(Ending::Failed(_)) => "failed",
        None => "without an end",
    };
    let mut faults = Vec::new();
    if row.deleted || row.status != expected {
        let deleted = if row.deleted { ", deleted" } else { "" };
        faults.push(wrong(format!("it is {}{deleted}, and {expected} for its clients", row.status)));
    }
    if !row.ended.contains(text) {
        faults.push(wrong("its text is not what clients saw".to_owned()));
    }
    if !row.accepted.contains(&reply.prompt) {
        faults.push(wrong("its input is missing".to_owned()));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use tokio::sync::watch;

    fn reply(fate: Fate) -> Reply {
        Reply {
            id: "resp_1".to_owned(),
            prompt: "Say 2".to_owned(),
            truth: Some("one two".to_owned()),
            fate,
            before: Vec::new(),
            followings: Mutex::default(),
            progress: watch::Sender::new(0),
        }
    }

    fn rows(status: &str, deleted: bool, accepted: &str, ended: &str) -> Rows {
        let [id, status, accepted, ended] = ["resp_1", status, accepted, ended].map(str::to_owned);
        Rows { replies: vec![Row { id, status, deleted, accepted, ended }], changes: Vec::new() }
    }

    #[test]
    fn a_row_as_it_should_be_has_no_fault() {
        let (stored, complete) = (rows("completed", false, "Say 2", "one two"), Some(&Ending::Complete));
        assert_eq!(checker(&stored, &reply(Fate::Whole), complete, "one two"), []);
        assert!(is_complete(&stored, [&reply(Fate::Whole)]) && !is_complete(&stored, [&reply(Fate::Deleted)]));
        assert_eq!(checker(&Rows::default(), &reply(Fate::Deleted), None, ""), [], "the store never heard of it");
        assert_eq!(checker(&rows("in_progress", true, "", ""), &reply(Fate::Deleted), None, ""), []);
    }

    #[test]
    fn each_fault_of_a_row_is_found() {
        let complete = Some(&Ending::Complete);
        let twice = rows("completed", false, "Say 2", "one two");
        let twice = Rows { replies: [twice.replies.clone(), twice.replies].concat(), changes: Vec::new() };
        for (what, rows) in [
            ("none", Rows::default()),
            ("two", twice),
            ("another end", rows("cancelled", false, "Say 2", "one two")),
            ("other text", rows("completed", false, "Say 2", "one")),
            ("no input", rows("completed", false, "", "one two")),
            ("deleted", rows("completed", true, "Say 2", "one two")),
        ] {
            assert_eq!(checker(&rows, &reply(Fate::Whole), complete, "one two").len(), 1, "{what}");
        }
        for (what, rows) in [
            ("not deleted", rows("cancelled", false, "", "")),
            ("its input", rows("cancelled", true, "Say 2", "")),
            ("its text", rows("cancelled", true, "", "one")),
        ] {
            assert_eq!(checker(&rows, &reply(Fate::Deleted), None, "").len(), 1, "{what}");
        }
        let mut left = rows("cancelled", true, "", "");
        left.changes.push("one two".to_owned());
        assert_eq!(checker(&left, &reply(Fate::Deleted), None, "").len(), 1);
    }
}
