//! What an upstream wants back with an item, sealed into the item: for replies that are not stored, and so have no
//! other place to keep it.
//!
//! Sealed is not secret: it holds what an upstream said to this client (signatures, its reasoning), and a client that
//! writes its own reaches nothing but the upstream's own check of it.

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::json;
use crate::domain::items::Item;

/// The field that carries it.
pub(crate) const FIELD: &str = "encrypted_content";

/// Marks what is sealed in this way.
const VERSION: &str = "rejoinder1.";

/// Seals what an upstream wants back.
pub(crate) fn seal(kept: &Value) -> String {
    let mut sealed = VERSION.to_owned();
    BASE64URL_NOPAD.encode_append(&serde_json::to_vec(kept).expect("a value is JSON"), &mut sealed);
    sealed
}

/// What was sealed; nothing when it was sealed elsewhere or is damaged.
pub(crate) fn unseal(sealed: &str) -> Option<Value> {
    let bytes = BASE64URL_NOPAD.decode(sealed.strip_prefix(VERSION)?.as_bytes()).ok()?;
    json::parse(&bytes).ok()
}

/// What an upstream wants back with an item that a client sent.
pub(crate) fn kept(item: &Item) -> Option<Value> {
    let extra = match item {
        Item::Reasoning(reasoning) => return unseal(reasoning.encrypted_content.as_deref()?),
        Item::Message(item) => &item.extra,
        Item::FunctionCall(item) => &item.extra,
        Item::FunctionCallOutput(item) => &item.extra,
    };
    unseal(extra.get(FIELD)?.as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_unsealed() {
        let kept = serde_json::json!({"reasoning_details": [{"signature": "a+/ü"}]});
        let sealed = seal(&kept);
        assert!(sealed.starts_with("rejoinder1."), "{sealed}");
        assert_eq!(unseal(&sealed), Some(kept));
    }

    #[test]
    fn what_others_sealed_is_left_alone() {
        for foreign in ["", "gAAAAABo", "rejoinder1.", "rejoinder1.!!", "rejoinder1.e30x", "rejoinder2.e30"] {
            assert_eq!(unseal(foreign), None, "{foreign}");
        }
    }
}
