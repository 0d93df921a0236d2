//! The client's own notes on a reply or a conversation.

use serde_json::Value;

use crate::domain::params::Metadata;
use crate::protocols::error::ApiError;
use crate::protocols::json::{At, Read, at_most, object, string};

const MAX_KEYS: usize = 16;
const MAX_KEY: usize = 64;
const MAX_VALUE: usize = 512;

pub(super) fn metadata(at: At, value: Value) -> Read<Metadata> {
    let fields = object(at, value)?;
    if fields.len() > MAX_KEYS {
        return Err(ApiError::too_many_properties(at, MAX_KEYS, fields.len()));
    }
    let mut metadata = Metadata::new();
    for (key, value) in fields {
        if key.chars().count() > MAX_KEY {
            let problem = format!(
                "property name too long. Expected property names with maximum length {MAX_KEY}, \
                 but got one with length {} instead.",
                key.chars().count()
            );
            return Err(ApiError::invalid(at, &problem).with_code("property_name_above_max_length"));
        }
        let value = at_most(at.field(&key), string(at.field(&key), value)?, MAX_VALUE)?;
        metadata.insert(key, value);
    }
    Ok(metadata)
}
