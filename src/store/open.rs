//! Why a store cannot be opened.

/// The store cannot be opened: in words, for the operator.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store {url} cannot be opened: {reason}{}", .change.as_ref().map(|change| format!(" (to change: {change})")).unwrap_or_default())]
pub struct OpenError {
    /// Which, without secrets.
    pub url: String,
    /// Why, with all causes.
    pub reason: String,
    /// What to change, if more is known than that it is the URL.
    pub change: Option<String>,
    /// Nobody answers there: it may be opened later, and there is no other way to find out.
    pub away: bool,
}

impl OpenError {
    pub(super) fn new(url: String, reason: impl Into<String>) -> Self {
        Self { url, reason: reason.into(), change: None, away: false }
    }

    pub(super) fn change(self, change: impl Into<String>) -> Self {
        Self { change: Some(change.into()), ..self }
    }

    /// That so many migrations are missing, and stay so.
    pub(super) fn pending(url: String, count: usize) -> Self {
        let reason = format!("{count} of its migrations are pending, and MIGRATE=off leaves them");
        Self::new(url, reason).change("run rejoinder migrate, or set MIGRATE=on")
    }
}
