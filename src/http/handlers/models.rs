//! The models that can be asked for.

use crate::api::ApiError;
use crate::api::models::{Model, Models};
use crate::http::Edge;
use crate::http::respond::{self, Answer};
use crate::upstream;

impl Edge {
    pub(in crate::http) async fn list_models(&self) -> Result<Answer, ApiError> {
        Ok(respond::json(&Models::new(self.models().await?.into_iter().map(wire).collect())))
    }

    pub(in crate::http) async fn get_model(&self, name: &str) -> Result<Answer, ApiError> {
        let mut models = self.models().await?;
        models.retain(|model| model.id == name);
        models.pop().map(|model| respond::json(&wire(model))).ok_or_else(|| ApiError::model_not_found(name))
    }

    async fn models(&self) -> Result<Vec<upstream::Model>, ApiError> {
        self.inner.upstream.models().await.map_err(|error| {
            tracing::warn!(cause = %error.cause, "the upstream does not list its models");
            ApiError::bad_gateway(error.error.message)
        })
    }
}

fn wire(model: upstream::Model) -> Model {
    Model::new(model.id, model.created, model.owned_by)
}
