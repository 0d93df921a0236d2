//! Admission: whether a reply can be taken on, before anything is written. It gets a slot with its upstream first, after
//! a wait in a queue that is bounded and fair; what cannot be taken on is refused, and never accepted.

use super::Generation;
use super::prompt::model_error;
use crate::conversation::params::Params;
use crate::conversation::record::Caller;
use crate::replies::command::{Joined, NewReply};
use crate::replies::{Busy, Missing, Result};
use crate::upstream::{NoSlot, Slot, Tried};

/// What may be done about a request for a reply.
pub(super) enum Admitted {
    /// It was accepted before, under the same key.
    Known(Joined),
    /// It may be accepted, to be said by this model.
    New { model: String, slot: Slot },
}

impl Generation {
    /// Refuses what cannot be taken on; finds the model, and waits for a slot to say the reply.
    pub(super) async fn admit(&self, new: &NewReply) -> Result<Admitted> {
        if self.inner.leave.is_cancelled() {
            return Err(Busy::ShuttingDown.into());
        }
        if self.running() >= self.inner.config.max_running {
            return Err(Busy::Replies.into());
        }
        self.inner.threads.log().admits()?;
        let model = self.inner.upstream.resolve_model(new.model.as_deref()).await;
        let model = model.map_err(|error| model_error(&error))?;
        if let Some(slot) = self.inner.upstream.try_slot(&model) {
            return Ok(Admitted::New { model, slot });
        }
        // What runs already needs no slot.
        if let Some(joined) = self.join_known(new).await? {
            return Ok(Admitted::Known(joined));
        }
        let slot = self.wait_for_slot(&model, &new.caller, &new.params).await?;
        Ok(Admitted::New { model, slot })
    }

    /// A slot for a reply that was not accepted yet.
    pub(super) async fn wait_for_slot(&self, model: &str, caller: &Caller, params: &Params) -> Result<Slot> {
        let upstream = &self.inner.upstream;
        let (queue, patience) = (queue_of(caller, params), upstream.patience(model));
        let tried = Tried::default();
        let slot = tokio::select! {
            slot = upstream.slot(model, false, &tried, queue, patience) => slot,
            () = self.inner.leave.cancelled() => return Err(Busy::ShuttingDown.into()),
        };
        slot.map_err(|refused| match refused {
            NoSlot::Busy(refused) => {
                tracing::warn!(model, reason = %refused, "a reply was refused: its upstream has too much to do");
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
