//! Which request is which: a closed enum, decided before anything acts. Pure.

use hyper::Method;

use crate::api::ApiError;
use crate::api::query::segment;

/// A request that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Root,
    Live,
    Ready,
    Health,
    Metrics,
    ListModels,
    GetModel(String),
    CreateResponse,
    GetResponse(String),
    DeleteResponse(String),
    CancelResponse(String),
    ResponseInputItems(String),
    ResponseEvents(String),
    ResponseAudio(String),
    CreateSpeech,
    CreateConversation,
    GetConversation(String),
    UpdateConversation(String),
    DeleteConversation(String),
    ConversationEvents(String),
    CreateItems(String),
    ListItems(String),
    GetItem(String, String),
    DeleteItem(String, String),
}

impl Route {
    /// The route of a request.
    pub(super) fn parse(method: &Method, path: &str) -> Result<Self, ApiError> {
        let mut raw = path.strip_prefix('/').unwrap_or(path).split('/').collect::<Vec<_>>();
        // `/v1/responses/` is `/v1/responses`.
        if raw.len() > 1 && raw.last() == Some(&"") {
            raw.pop();
        }
        let known = Self::of(method, &raw)?;
        known.ok_or_else(|| {
            let is_path = METHODS.iter().any(|method| matches!(Self::of(method, &raw), Ok(Some(_))));
            if is_path {
                ApiError::method_not_allowed(method.as_str(), path)
            } else {
                ApiError::unknown_url(method.as_str(), path)
            }
        })
    }

    fn of(method: &Method, path: &[&str]) -> Result<Option<Self>, ApiError> {
        const GET: &str = "GET";
        const POST: &str = "POST";
        const DELETE: &str = "DELETE";
        // HEAD is GET without the body, which hyper leaves out.
        let method = if method == Method::HEAD { GET } else { method.as_str() };
        let id = |name, raw| segment(name, raw).map(std::borrow::Cow::into_owned);
        Ok(Some(match (method, path) {
            (GET, [""]) => Self::Root,
            (GET, ["livez"]) => Self::Live,
            (GET, ["readyz"]) => Self::Ready,
            (GET, ["healthz"]) => Self::Health,
            (GET, ["metrics"]) => Self::Metrics,
            (GET, ["v1", "models"]) => Self::ListModels,
            // Names of models may hold slashes.
            (GET, ["v1", "models", name @ ..]) => Self::GetModel(id("model", &name.join("/"))?),
            (POST, ["v1", "responses"]) => Self::CreateResponse,
            (GET, ["v1", "responses", reply]) => Self::GetResponse(id("response_id", reply)?),
            (DELETE, ["v1", "responses", reply]) => Self::DeleteResponse(id("response_id", reply)?),
            (POST, ["v1", "responses", reply, "cancel"]) => Self::CancelResponse(id("response_id", reply)?),
            (GET, ["v1", "responses", reply, "input_items"]) => Self::ResponseInputItems(id("response_id", reply)?),
            (GET, ["v1", "responses", reply, "events"]) => Self::ResponseEvents(id("response_id", reply)?),
            (GET, ["v1", "responses", reply, "audio"]) => Self::ResponseAudio(id("response_id", reply)?),
            (POST, ["v1", "audio", "speech"]) => Self::CreateSpeech,
            (POST, ["v1", "conversations"]) => Self::CreateConversation,
            (GET, ["v1", "conversations", thread]) => Self::GetConversation(id("conversation_id", thread)?),
            (POST, ["v1", "conversations", thread]) => Self::UpdateConversation(id("conversation_id", thread)?),
            (DELETE, ["v1", "conversations", thread]) => Self::DeleteConversation(id("conversation_id", thread)?),
            (GET, ["v1", "conversations", thread, "events"]) => {
                Self::ConversationEvents(id("conversation_id", thread)?)
            }
            (POST, ["v1", "conversations", thread, "items"]) => Self::CreateItems(id("conversation_id", thread)?),
            (GET, ["v1", "conversations", thread, "items"]) => Self::ListItems(id("conversation_id", thread)?),
            (GET, ["v1", "conversations", thread, "items", item]) => {
                Self::GetItem(id("conversation_id", thread)?, id("item_id", item)?)
            }
            (DELETE, ["v1", "conversations", thread, "items", item]) => {
                Self::DeleteItem(id("conversation_id", thread)?, id("item_id", item)?)
            }
            _ => return Ok(None),
        }))
    }

    /// The route's name in metrics and traces: the path with its variables left open.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Root => "/",
            Self::Live => "/livez",
            Self::Ready => "/readyz",
            Self::Health => "/healthz",
            Self::Metrics => "/metrics",
            Self::ListModels => "/v1/models",
            Self::GetModel(_) => "/v1/models/{model}",
            Self::CreateResponse => "POST /v1/responses",
            Self::GetResponse(_) => "GET /v1/responses/{id}",
            Self::DeleteResponse(_) => "DELETE /v1/responses/{id}",
            Self::CancelResponse(_) => "/v1/responses/{id}/cancel",
            Self::ResponseInputItems(_) => "/v1/responses/{id}/input_items",
            Self::ResponseEvents(_) => "/v1/responses/{id}/events",
            Self::ResponseAudio(_) => "/v1/responses/{id}/audio",
            Self::CreateSpeech => "/v1/audio/speech",
            Self::CreateConversation => "POST /v1/conversations",
            Self::GetConversation(_) => "GET /v1/conversations/{id}",
            Self::UpdateConversation(_) => "POST /v1/conversations/{id}",
            Self::DeleteConversation(_) => "DELETE /v1/conversations/{id}",
            Self::ConversationEvents(_) => "/v1/conversations/{id}/events",
            Self::CreateItems(_) => "POST /v1/conversations/{id}/items",
            Self::ListItems(_) => "GET /v1/conversations/{id}/items",
            Self::GetItem(..) => "GET /v1/conversations/{id}/items/{item}",
            Self::DeleteItem(..) => "DELETE /v1/conversations/{id}/items/{item}",
        }
    }
}

/// What a known path takes, for the `allow` header (RFC 9110, 10.2.1).
pub(super) fn allowed(path: &str) -> String {
    let taken = METHODS.iter().filter(|method| Route::parse(method, path).is_ok()).map(Method::as_str);
    taken.chain(["OPTIONS"]).collect::<Vec<_>>().join(", ")
}

const METHODS: [Method; 3] = [Method::GET, Method::POST, Method::DELETE];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_path_with_another_method_is_405_and_an_unknown_one_404() {
        assert_eq!(Route::parse(&Method::POST, "/v1/responses").ok(), Some(Route::CreateResponse));
        assert_eq!(Route::parse(&Method::HEAD, "/livez").ok(), Some(Route::Live));
        assert_eq!(Route::parse(&Method::GET, "/v1/models/a/b").ok(), Some(Route::GetModel("a/b".to_owned())));
        assert_eq!(Route::parse(&Method::GET, "/v1/responses").unwrap_err().status, 405);
        assert_eq!(Route::parse(&Method::GET, "/v1/nothing").unwrap_err().status, 404);
        assert_eq!(Route::parse(&Method::GET, "/v1/responses/%ff").unwrap_err().status, 400);
    }
}
