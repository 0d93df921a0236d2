//! The models that can be asked for.

use crate::http::Edge;
use crate::http::failure::Failure;
use crate::http::respond::{self, Answer};
use crate::llm;
use crate::protocols::ApiError;
use crate::protocols::models::{Model, Models};
use crate::replies::Error;

impl Edge {
    pub(in crate::http) async fn list_models(&self) -> Result<Answer, Failure> {
        let models = self.models().await?;
        let for_agents = models.iter().filter(|model| llm::chats(&model.id));
        let for_agents = for_agents.map(|model| (model.id.clone(), model.context_window)).collect();
        Ok(respond::json(&Models::new(models.into_iter().map(wire).collect(), for_agents)))
    }

    pub(in crate::http) async fn get_model(&self, name: &str) -> Result<Answer, Failure> {
        let mut models = self.models().await?;
        models.retain(|model| model.id == name);
        models.pop().map(|model| respond::json(&wire(model))).ok_or_else(|| ApiError::model_not_found(name).into())
    }

    async fn models(&self) -> Result<Vec<llm::Model>, Failure> {
        let upstream = |error: llm::delta::UpstreamError| Error::Upstream {
            message: error.error.message,
            cause: error.cause.into(),
        };
        Ok(self.inner.upstream.models().await.map_err(upstream)?)
    }
}

fn wire(model: llm::Model) -> Model {
    Model::new(model.id, model.created, model.owned_by)
}
