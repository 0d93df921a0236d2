//! Query strings and path segments, percent-decoded and checked.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::error::{ApiError, Range};
use crate::domain::params::Metadata;

/// How a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListQuery {
    /// The most entries, 1 to 100.
    pub(crate) limit: usize,
    /// Which way.
    pub(crate) order: Order,
    /// The id of the last entry that the client has.
    pub(crate) after: Option<String>,
    /// What else to show.
    pub(crate) include: Vec<String>,
}

/// How conversations are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConversationsQuery {
    /// As any list.
    pub(crate) list: ListQuery,
    /// What their metadata have to say: `metadata[topic]=tea`.
    pub(crate) metadata: Metadata,
}

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// How a reply is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RetrieveQuery {
    /// Its events rather than its state.
    pub(crate) stream: bool,
    /// The sequence number of the last event that the client has.
    pub(crate) starting_after: Option<u64>,
    /// What else to show.
    pub(crate) include: Vec<String>,
}

impl Default for ListQuery {
    fn default() -> Self {
        Self { limit: 20, order: Order::Descending, after: None, include: Vec::new() }
    }
}

impl ListQuery {
    /// Reads the query of a list. What it does not know it ignores.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut list = Self::default();
        for pair in pairs(query) {
            let (name, value) = pair?;
            match name.as_ref() {
                "limit" => list.limit = usize::try_from(integer("limit", &value, 1, 100)?).unwrap_or(100),
                "order" => list.order = order(&value)?,
                "after" => list.after = Some(value.into_owned()).filter(|id| !id.is_empty()),
                name if is_include(name) => list.include.push(value.into_owned()),
                _ => {}
            }
        }
        Ok(list)
    }
}

impl ConversationsQuery {
    /// Reads the query of a list of conversations. What it does not know it ignores.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut metadata = Metadata::new();
        for pair in pairs(query) {
            let (name, value) = pair?;
            let Some(rest) = name.strip_prefix("metadata") else { continue };
            let key = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            let key = key.filter(|key| !key.contains(['[', ']']));
            match key {
                // Of two values both cannot be meant.
                Some(key) if metadata.insert(key.to_owned(), value.into_owned()).is_some() => {
                    return Err(ApiError::invalid_type(&name, "one string", "several"));
                }
                None if rest.is_empty() || rest.starts_with('[') => {
                    return Err(ApiError::invalid_type("metadata", "an object of strings", "something else"));
                }
                _ => {}
            }
        }
        Ok(Self { list: ListQuery::parse(query)?, metadata })
    }
}

impl RetrieveQuery {
    /// Reads the query of a reply. What it does not know it ignores; `include_obfuscation` too: there is none.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let mut retrieve = Self::default();
        for pair in pairs(query) {
            let (name, value) = pair?;
            match name.as_ref() {
                "stream" => retrieve.stream = boolean("stream", &value)?,
                "starting_after" => {
                    retrieve.starting_after = Some(integer("starting_after", &value, 0, u64::MAX)?);
                }
                name if is_include(name) => retrieve.include.push(value.into_owned()),
                _ => {}
            }
        }
        Ok(retrieve)
    }
}

/// Whether a parameter is there, and true.
///
/// # Errors
/// When it is neither true nor false.
pub(crate) fn flag(query: Option<&str>, wanted: &str) -> Result<bool, ApiError> {
    for pair in pairs(query) {
        let (name, value) = pair?;
        if name == wanted {
            return boolean(wanted, &value);
        }
    }
    Ok(false)
}

/// A segment of a path, decoded; `name` is what the API calls it.
///
/// # Errors
/// When it is not UTF-8.
pub(crate) fn segment<'a>(name: &str, raw: &'a str) -> Result<Cow<'a, str>, ApiError> {
    percent_decode_str(raw).decode_utf8().map_err(|_| ApiError::not_utf8(name))
}

/// `include=a`, `include[]=a` (the SDKs), `include[0]=a`.
/// A parameter as it stands in the query, if it is there; for what is read before anything else is.
pub(crate) fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

fn is_include(name: &str) -> bool {
    name == "include" || name.starts_with("include[")
}

pub(super) fn pairs(query: Option<&str>) -> impl Iterator<Item = Result<(Cow<'_, str>, Cow<'_, str>), ApiError>> {
    query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode("query", name)?;
        let value = decode(&name, value)?;
        Ok((name, value))
    })
}

/// Decodes after the URL standard's `application/x-www-form-urlencoded`, where `+` is a space.
fn decode<'a>(name: &str, raw: &'a str) -> Result<Cow<'a, str>, ApiError> {
    if raw.contains('+') {
        return segment(name, &raw.replace('+', " ")).map(|text| Cow::Owned(text.into_owned()));
    }
    segment(name, raw)
}

fn order(text: &str) -> Result<Order, ApiError> {
    match text {
        "asc" => Ok(Order::Ascending),
        "desc" => Ok(Order::Descending),
        other => Err(ApiError::invalid_value("order", other, &["asc", "desc"])),
    }
}

fn boolean(name: &str, text: &str) -> Result<bool, ApiError> {
    match text {
        "true" | "True" | "1" => Ok(true),
        "false" | "False" | "0" => Ok(false),
        _ => Err(ApiError::invalid_type(name, "a boolean", "a string")),
    }
}

fn integer(name: &str, text: &str, min: u64, max: u64) -> Result<u64, ApiError> {
    let range = Range { noun: "integer", min, max };
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || digits.bytes().any(|byte| !byte.is_ascii_digit()) {
        return Err(ApiError::invalid_type(name, "an integer", "a string"));
    }
    match text.parse::<u64>() {
        Ok(number) if number < min => Err(ApiError::below_minimum(name, range, number)),
        Ok(number) if number <= max => Ok(number),
        Err(_) if text.starts_with('-') => Err(ApiError::below_minimum(name, range, text)),
        _ => Err(ApiError::above_maximum(name, range, text)),
    }
}

#[cfg(test)]
mod tests;
