//! Admission: whether a reply can be taken on, before anything is written. It gets a slot with its upstream first, after
//! a wait in a queue that is bounded and fair; what cannot be taken on is refused, and never accepted.

use super::acceptor::Acceptor;
use super::command::{Joined, NewReply};
use super::{Busy, Error, Missing, Result};
use crate::conversation::params::Params;
use crate::conversation::record::Caller;
use crate::upstream::{NoSlot, ResolveError, Slot, Tried};

/// What may be done about a request for a reply.
pub(super) enum Admitted {
    /// It was accepted before, under the same key.
    Known(Joined),
    /// It may be accepted, to be said by this model.
    New { model: String, slot: Slot },
}

impl Acceptor {
    /// Refuses what cannot be taken on; finds the model, and waits for a slot to say the reply.
    pub(super) async fn admit(&self, caller: &Caller, new: &NewReply) -> Result<Admitted> {
        if self.workers.leave.is_cancelled() {
            return Err(Busy::ShuttingDown.into());
        }
        if self.workers.running.len() >= self.workers.config.max_running {
            return Err(Busy::Replies.into());
        }
        self.workers.threads.log().admits()?;
        let model = self.workers.upstream.resolve_model(new.model.as_deref()).await;
        let model = model.map_err(|error| model_error(&error))?;
        if let Some(slot) = self.workers.upstream.try_slot(&model) {
            return Ok(Admitted::New { model, slot });
        }
        // What runs already needs no slot.
        if let Some(joined) = self.join_known(caller, new).await? {
            return Ok(Admitted::Known(joined));
        }
        let slot = self.wait_for_slot(&model, caller, &new.params).await?;
        Ok(Admitted::New { model, slot })
    }

    /// A slot for a reply that was not accepted yet.
    pub(super) async fn wait_for_slot(&self, model: &str, caller: &Caller, params: &Params) -> Result<Slot> {
        let upstream = &self.workers.upstream;
        let (queue, patience) = (queue_of(caller, params), upstream.patience(model));
        let tried = Tried::default();
        let slot = tokio::select! {
            slot = upstream.slot(model, false, &tried, queue, patience) => slot,
            () = self.workers.leave.cancelled() => return Err(Busy::ShuttingDown.into()),
        };
        slot.map_err(|refused| match refused {
            NoSlot::Busy(refused) => {
                tracing::warn!(model, reason = %refused, "refused a reply: its model server is overloaded");
                Busy::ModelServer.into()
            }
            NoSlot::NoModel | NoSlot::NoContinuation => Missing::Model(model.to_owned()).into(),
        })
    }
}

/// Those who wait take turns by this: the end user, as far as the request tells, else its caller.
pub(super) fn queue_of<'a>(caller: &'a Caller, params: &'a Params) -> &'a str {
    let user = params.safety_identifier.as_deref().or(params.user.as_deref());
    user.unwrap_or_else(|| caller.as_str())
}

fn model_error(error: &ResolveError) -> Error {
    match error {
        ResolveError::Unknown { model } => Missing::Model(model.clone()).into(),
        ResolveError::Upstream(error) => {
            Error::Upstream { message: error.error.message.clone(), cause: error.cause.clone().into() }
        }
    }
}
