//! From what was said to what an upstream is asked. Pure, but for the images that are put in again.

use std::sync::Arc;

use super::Generation;
use crate::conversation::ids::ThreadId;
use crate::conversation::params::Params;
use crate::conversation::thread::Told;
use crate::replies::{Error, Missing, Result};
use crate::upstream::ResolveError;
use crate::upstream::call::{Call, ContextItem, Prefix};

/// The context in the upstream's words.
pub(super) fn context_items(told: Vec<Told>) -> Vec<ContextItem> {
    told.into_iter().map(|(item, kept)| ContextItem { item, kept }).collect()
}

/// What a client is told when its model cannot be had.
pub(super) fn model_error(error: &ResolveError) -> Error {
    match error {
        ResolveError::Unknown { model } => Missing::Model(model.clone()).into(),
        ResolveError::Upstream(error) => {
            Error::Upstream { message: error.error.message.clone(), cause: error.cause.clone().into() }
        }
    }
}

impl Generation {
    /// The call that says a reply, or goes on with it.
    pub(super) async fn call(
        &self,
        thread: ThreadId,
        params: &Arc<Params>,
        context: &[ContextItem],
        prefix: Option<Prefix>,
    ) -> Result<Call> {
        let mut context = context.to_vec();
        for told in &mut context {
            self.inner.threads.attach(thread, std::slice::from_mut(&mut told.item)).await?;
        }
        Ok(Call { params: Arc::clone(params), context, prefix })
    }
}
