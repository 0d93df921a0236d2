//! The models that can be asked for: as OpenAI lists them and, beside, as agents want them described.

mod agents;

use serde::Serialize;

use agents::AgentModel;

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
    #[serde(rename = "models")]
    for_agents: Vec<AgentModel>,
}

impl Model {
    /// A model that was made at `created`, in Unix seconds.
    pub(crate) fn new(id: impl Into<String>, created: u64, owned_by: impl Into<String>) -> Self {
        Self { id: id.into(), object: "model", created, owned_by: owned_by.into() }
    }
}

impl Models {
    /// All of these, and those that agents can use, with the tokens that they take, where that is known.
    pub(crate) fn new(data: Vec<Model>, for_agents: Vec<(String, Option<u64>)>) -> Self {
        let for_agents = for_agents.into_iter().enumerate();
        let for_agents = for_agents.map(|(place, (id, window))| AgentModel::new(id, place, window)).collect();
        Self { object: "list", data, for_agents }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_listed_as_openai_lists_them() {
        let models = Models::new(vec![Model::new("eliza", 1, "rejoinder")], Vec::new());
        assert_eq!(
            serde_json::to_string(&models).expect("JSON"),
            r#"{"object":"list","data":[{"id":"eliza","object":"model","created":1,"owned_by":"rejoinder"}],"models":[]}"#
        );
    }
}
