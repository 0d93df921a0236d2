//! The models that can be asked for.

use crate::api::ApiError;
use crate::api::models::{Model, Models};
use crate::http::Edge;
use crate::http::respond::{self, Answer};

impl Edge {
    pub(in crate::http) async fn list_models(&self) -> Result<Answer, ApiError> {
        Ok(respond::json(&Models::new(self.models().await?)))
    }

    pub(in crate::http) async fn get_model(&self, name: &str) -> Result<Answer, ApiError> {
        let models = self.models().await?;
        let model = models.iter().find(|model| model.id() == name);
        model.map(respond::json).ok_or_else(|| ApiError::model_not_found(name))
    }

    async fn models(&self) -> Result<Vec<Model>, ApiError> {
        let models = self.inner.upstream.models().await.map_err(|error| {
            tracing::warn!(cause = %error.cause, "the upstream does not list its models");
            ApiError::bad_gateway(error.error.message)
        })?;
        Ok(models.into_iter().map(|model| Model::new(model.id, model.created, model.owned_by)).collect())
    }
}
