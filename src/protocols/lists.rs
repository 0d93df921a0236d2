//! Lists and their pages.

use std::collections::HashSet;

use serde::Serialize;

use super::error::ApiError;
use super::query::{ListQuery, Order};
use crate::domain::items::Item;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct List<T> {
    object: &'static str,
    data: Vec<T>,
    first_id: Option<String>,
    last_id: Option<String>,
    has_more: bool,
}

/// Something that is listed.
pub(crate) trait Listed {
    /// Its id, by which a client asks for what comes after it.
    fn id(&self) -> &str;
}

impl Listed for Item {
    fn id(&self) -> &str {
        Self::id(self)
    }
}

impl<T: Listed + ?Sized> Listed for &T {
    fn id(&self) -> &str {
        (**self).id()
    }
}

impl<T: Listed> List<T> {
    /// A page of these entries, which has a next one or not.
    pub(crate) fn new(data: Vec<T>, has_more: bool) -> Self {
        let first_id = data.first().map(|entry| entry.id().to_owned());
        let last_id = data.last().map(|entry| entry.id().to_owned());
        Self { object: "list", data, first_id, last_id, has_more }
    }

    /// Its entries, to be completed.
    pub(crate) fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// Its entries.
    #[cfg(test)]
    pub(crate) fn data(&self) -> &[T] {
        &self.data
    }

    /// Whether there are more after them.
    pub(crate) const fn has_more(&self) -> bool {
        self.has_more
    }
}

/// Refuses an `after` that names nothing of the list.
pub(crate) fn unknown_cursor(error: ApiError) -> ApiError {
    ApiError { status: 400, ..error }.with_param("after").with_code("invalid_value")
}

/// The page that a client asks for, of entries that stand oldest first.
///
/// # Errors
/// When `after` names none of them.
pub(crate) fn page<T: Listed>(mut entries: Vec<T>, query: &ListQuery) -> Result<List<T>, ApiError> {
    // A client may send an item again, under its id: it is the same one, and stands where it was first.
    let mut ids = HashSet::new();
    entries.retain(|entry| ids.insert(entry.id().to_owned()));
    let position = match &query.after {
        None => None,
        Some(after) => Some(
            entries
                .iter()
                .position(|entry| entry.id() == after)
                .ok_or_else(|| unknown_cursor(ApiError::item_not_found(after)))?,
        ),
    };
    match (query.order, position) {
        (_, None) => {}
        (Order::Ascending, Some(position)) => drop(entries.drain(..=position)),
        (Order::Descending, Some(position)) => entries.truncate(position),
    }
    if query.order == Order::Descending {
        entries.reverse();
    }
    let has_more = entries.len() > query.limit;
    entries.truncate(query.limit);
    Ok(List::new(entries, has_more))
}

#[cfg(test)]
mod tests;
