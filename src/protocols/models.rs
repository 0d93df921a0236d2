//! The models that can be asked for.

use serde::Serialize;

/// A model, as `GET /v1/models/{id}` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Model {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: String,
}

/// All models. This list has no pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Models {
    object: &'static str,
    data: Vec<Model>,
}

impl Model {
    /// A model that was made at `created`, in Unix seconds.
    pub(crate) fn new(id: impl Into<String>, created: u64, owned_by: impl Into<String>) -> Self {
        Self { id: id.into(), object: "model", created, owned_by: owned_by.into() }
    }
}

impl Models {
    /// All of these.
    pub(crate) const fn new(data: Vec<Model>) -> Self {
        Self { object: "list", data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_listed_as_openai_lists_them() {
        let models = Models::new(vec![Model::new("eliza", 1, "rejoinder")]);
        assert_eq!(
            serde_json::to_string(&models).expect("JSON"),
            r#"{"object":"list","data":[{"id":"eliza","object":"model","created":1,"owned_by":"rejoinder"}]}"#
        );
    }
}
