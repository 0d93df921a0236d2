//! The bodies of the Conversations API.

use serde_json::Value;

use super::input;
use super::metadata::metadata;
use crate::domain::ids::ThreadId;
use crate::domain::items::InputItem;
use crate::domain::params::Metadata;
use crate::protocols::error::ApiError;
use crate::protocols::json::{self, At, Read, object, required, string, wrong_type};

/// The most items that may be added at once.
const MAX_ITEMS: usize = 20;

/// `POST /v1/conversations`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CreateConversation {
    /// What it begins with.
    pub(crate) items: Vec<InputItem>,
    /// The client's own notes.
    pub(crate) metadata: Metadata,
}

/// `POST /v1/conversations/{id}`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UpdateConversation {
    /// The new notes, in place of the old.
    pub(crate) metadata: Metadata,
}

/// `POST /v1/conversations/{id}/items`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CreateItems {
    /// What is added.
    pub(crate) items: Vec<InputItem>,
}

impl CreateConversation {
    /// Reads a request's body, which may be empty.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let fields = Fields::parse(body)?;
        Ok(Self { items: fields.items.unwrap_or_default(), metadata: fields.metadata.unwrap_or_default() })
    }
}

impl UpdateConversation {
    /// Reads a request's body. `metadata: null` takes all notes away.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        Ok(Self { metadata: required(At::Body, "metadata", Fields::parse(body)?.metadata)? })
    }
}

impl CreateItems {
    /// Reads a request's body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let items = required(At::Body, "items", Fields::parse(body)?.items)?;
        if items.is_empty() { Err(ApiError::empty_array("items")) } else { Ok(Self { items }) }
    }
}

/// All that these bodies may hold.
#[derive(Default)]
struct Fields {
    items: Option<Vec<InputItem>>,
    metadata: Option<Metadata>,
}

impl Fields {
    fn parse(body: &[u8]) -> Read<Self> {
        let mut fields = Self::default();
        for (name, value) in object(At::Body, json::parse(body)?)? {
            let at = At::Body.field(&name);
            match (name.as_str(), value) {
                ("metadata", Value::Null) => fields.metadata = Some(Metadata::new()),
                ("metadata", value) => fields.metadata = Some(metadata(at, value)?),
                ("items", value) if !value.is_null() => fields.items = Some(few(at, value)?),
                _ => {}
            }
        }
        Ok(fields)
    }
}

fn few(at: At, value: Value) -> Read<Vec<InputItem>> {
    match &value {
        Value::Array(items) if items.len() > MAX_ITEMS => Err(ApiError::array_too_long(at, MAX_ITEMS, items.len())),
        _ => input::items(at, value),
    }
}

/// `conversation` of a request: an id, or an object with one.
pub(super) fn id(at: At, value: Value) -> Read<ThreadId> {
    match value {
        Value::String(id) => thread(at, &id),
        Value::Object(mut fields) => {
            let id = string(at.field("id"), required(at, "id", fields.remove("id"))?)?;
            thread(at.field("id"), &id)
        }
        other => Err(wrong_type(at, "one of a string or an object", &other)),
    }
}

fn thread(at: At, id: &str) -> Read<ThreadId> {
    if !id.starts_with("conv") {
        return Err(ApiError::invalid_id(at, id, "conv"));
    }
    ThreadId::from_conversation(id).map_err(|_| ApiError::conversation_not_found(id).with_param("conversation"))
}
