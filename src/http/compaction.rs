//! What is sealed for its owner: opened before a request is taken on, and given its key.

use super::Edge;
use crate::domain::caller::Caller;
use crate::domain::params::Params;
use crate::offload::offload;
use crate::protocols::ApiError;
use crate::protocols::compaction::open_input;
use crate::protocols::request::CreateResponse;

impl Edge {
    /// Opens the summaries in an input, and gives a request for one the key that it is sealed with.
    pub(super) fn unseal(&self, caller: &Caller, request: &mut CreateResponse) -> Result<(), ApiError> {
        let (auth, owner) = (&self.inner.auth, caller.owner());
        let size = request.input.iter().map(crate::domain::items::InputItem::text_bytes).sum();
        offload(size, || open_input(&mut request.input, |salt| auth.seal_keys(owner, salt)))?;
        if request.compacts {
            request.params.compaction = Some(auth.seal_key(owner).ok_or_else(no_secret)?);
        }
        self.seal_with(caller, &mut request.params)
    }

    /// Gives a reply that may begin with a summary the key that this is sealed with.
    pub(super) fn seal_with(&self, caller: &Caller, params: &mut Params) -> Result<(), ApiError> {
        if let Some(management) = &mut params.context_management {
            management.key = Some(self.inner.auth.seal_key(caller.owner()).ok_or_else(no_secret)?);
        }
        Ok(())
    }
}

fn no_secret() -> ApiError {
    ApiError::unavailable("Summaries are sealed with SECRET_KEY, which is not set on this server.")
}
