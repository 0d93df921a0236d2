//! What clients ask for: bodies, parsed and checked before anything acts on them.
//!
//! Fields that are not known are ignored at the top of a request (SDKs send new ones) and kept in items; everything
//! else that is not as it should be is refused by name. `null` is the same as not sent.

mod agents;
pub(super) mod audio;
mod conversation;
pub(super) mod file;
mod input;
mod metadata;
pub(super) mod params;
pub(super) mod parts;
pub(super) mod recording;
pub(super) mod passed;
pub(super) mod text;
pub(super) mod tools;

pub(crate) use audio::CreateSpeech;
pub(crate) use conversation::{CreateConversation, CreateItems, UpdateConversation};

use serde_json::{Map, Value};

use super::error::ApiError;
use super::json::{self, At, Read};
use crate::domain::ids::{ReplyId, ThreadId};
use crate::domain::items::InputItem;
use crate::domain::params::Params;

/// `POST /v1/responses`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CreateResponse {
    /// What is said to the model, in order. Empty only when there is something before it.
    pub(crate) input: Vec<InputItem>,
    /// The model as the client named it; `params.model` is empty until it is resolved.
    pub(crate) model: Option<String>,
    /// Everything else that it asks for.
    pub(crate) params: Params,
    /// Whether it wants the events as they come.
    pub(crate) stream: bool,
    /// The reply that is to be continued.
    pub(crate) previous_response_id: Option<ReplyId>,
    /// The conversation in which it is generated.
    pub(crate) conversation: Option<ThreadId>,
    /// Whether a summary of what was said is wanted, instead of a reply.
    pub(crate) compacts: bool,
    /// Tools that the input brings.
    brought: Vec<Value>,
    /// Whether it is to be spoken, too.
    modalities: audio::Modalities,
}

impl CreateResponse {
    /// Reads a request's body.
    ///
    /// # Errors
    /// What is wrong with it, with the path of the field that is to blame.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        Self::of(json::object(At::Body, json::parse(body)?)?)
    }

    /// A request of these fields.
    ///
    /// # Errors
    /// What is wrong with it, with the path of the field that is to blame.
    pub(crate) fn of(fields: Map<String, Value>) -> Result<Self, ApiError> {
        let params = Params { store: true, ..Params::default() };
        let (input, model, stream, previous_response_id, conversation) = (Vec::new(), None, false, None, None);
        let modalities = audio::Modalities::default();
        let mut request = Self {
            input,
            model,
            params,
            stream,
            previous_response_id,
            conversation,
            compacts: false,
            brought: Vec::new(),
            modalities,
        };
        for (name, value) in fields {
            if !value.is_null() {
                request.set(At::Body.field(&name), &name, value)?;
            }
        }
        request.bring_tools()?;
        request.check()?;
        request.find_trigger()?;
        audio::agree(request.modalities, &mut request.params)?;
        Ok(request)
    }

    fn set(&mut self, at: At, name: &str, value: Value) -> Read<()> {
        match name {
            "input" => {
                let mut value = value;
                self.brought = agents::take_tools(at, &mut value)?;
                self.input = input::input(at, value)?;
            }
            "model" => self.model = Some(json::short_string(at, value, 256)?),
            "stream" => self.stream = json::boolean(at, &value)?,
            "previous_response_id" => self.previous_response_id = Some(previous(at, value)?),
            "modalities" => self.modalities = audio::modalities(at, value)?,
            "conversation" => self.conversation = Some(conversation::id(at, value)?),
            _ => params::set(&mut self.params, at, name, value)?,
        }
        Ok(())
    }

    /// Adds the tools that the input brings to those that there are.
    fn bring_tools(&mut self) -> Read<()> {
        let brought = tools::given::tools(At::Body.field("input"), std::mem::take(&mut self.brought).into())?;
        for tool in brought.tools {
            if !self.params.tools.iter().any(|known| known.name == tool.name) {
                self.params.tools.push(tool);
            }
        }
        self.params.left_out.extend(brought.left_out);
        Ok(())
    }

    /// Whether the input ends with what wants a summary. Then there is nothing to call.
    fn find_trigger(&mut self) -> Read<()> {
        let at = |index: usize| format!("input[{index}]");
        match self.input.iter().position(input::is_trigger) {
            None => return Ok(()),
            Some(index) if index + 1 == self.input.len() => self.compacts = true,
            Some(index) => {
                return Err(ApiError::invalid(at(index), "a compaction_trigger is the last item of its input."));
            }
        }
        (self.params.tools, self.params.tool_choice) = (Vec::new(), None);
        (self.params.text, self.params.context_management) = (None, None);
        Ok(())
    }

    /// What no field can tell by itself.
    fn check(&self) -> Read<()> {
        if self.conversation.is_some() && self.previous_response_id.is_some() {
            return Err(ApiError::mutually_exclusive("previous_response_id", "conversation"));
        }
        if self.input.is_empty() && self.conversation.is_none() && self.previous_response_id.is_none() {
            return Err(ApiError::missing_parameter("input"));
        }
        if self.params.background && !self.params.store {
            return Err(ApiError::needs_store("background"));
        }
        tools::check_choice(&self.params)
    }
}

fn previous(at: At, value: Value) -> Read<ReplyId> {
    let id = json::string(at, value)?;
    if !id.starts_with("resp") {
        return Err(ApiError::invalid_id(at, &id, "resp"));
    }
    id.parse().map_err(|_| ApiError::previous_response_not_found(&id))
}

#[cfg(test)]
mod tests;
