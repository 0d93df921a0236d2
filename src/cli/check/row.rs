//! What a probe found: one thing that works or does not, and what to do about it.

use std::time::Duration;

use serde_json::json;

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// What was tried.
    pub(super) what: &'static str,
    /// Its address, or what else it is set to. Never a secret.
    pub(super) value: String,
    pub(super) status: Status,
    /// What was found.
    pub(super) detail: String,
    /// How long that took.
    pub(super) took: Option<Duration>,
    /// The cause, with its causes.
    pub(super) why: Option<String>,
    /// What to change: a variable, and an example.
    pub(super) change: Option<String>,
}

/// How good that is, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Status {
    Ok,
    /// It works, and is worth knowing.
    Note,
    /// It works, and may not do what was meant.
    Warn,
    Fail,
}

impl Row {
    pub(super) fn new(status: Status, what: &'static str, value: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { what, value: value.into(), status, detail: detail.into(), took: None, why: None, change: None }
    }

    pub(super) fn took(self, took: Duration) -> Self {
        Self { took: Some(took), ..self }
    }

    pub(super) fn why(self, why: impl Into<String>) -> Self {
        Self { why: Some(why.into()), ..self }
    }

    pub(super) fn change(self, change: impl Into<String>) -> Self {
        Self { change: Some(change.into()), ..self }
    }
}

/// The rows for a script.
pub(super) fn json(rows: &[Row]) -> String {
    let count = |status| rows.iter().filter(|row| row.status == status).count();
    let row = |row: &Row| {
        json!({
            "check": row.what,
            "value": row.value,
            "status": row.status.word().to_lowercase(),
            "detail": row.detail,
            "took_ms": row.took.map(|took| took.as_secs_f64() * 1000.0),
            "why": row.why,
            "change": row.change,
        })
    };
    let report = json!({
        "works": count(Status::Fail) == 0,
        "failures": count(Status::Fail),
        "warnings": count(Status::Warn),
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    });
    format!("{report:#}\n")
}

impl Status {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}
