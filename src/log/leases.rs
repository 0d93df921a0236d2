//! Which instance generates which reply, so that what a dead one leaves is found.

use super::{AppendError, Log, ReadError};
use crate::domain::ids::{InstanceId, ReplyId};

/// Which instance generates which reply, so that what a dead one leaves is found.
#[derive(Clone, Copy)]
pub struct Leases<'a>(pub(super) &'a Log);

impl Leases<'_> {
    /// Notes that `instance` generates `reply`.
    pub async fn acquire(self, instance: InstanceId, reply: ReplyId) -> Result<(), AppendError> {
        match self.0 {
            Log::Embedded(log) => log.hold(instance, reply).await,
            Log::JetStream(log) => log.hold(instance, reply).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.hold(instance, reply).await,
        }
    }

    /// Notes that no instance needs to generate `reply` any more. Lost when the process dies: then it is found again.
    pub fn release(self, reply: ReplyId) {
        match self.0 {
            Log::Embedded(log) => log.release(reply),
            Log::JetStream(log) => log.release(reply),
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.release(reply),
        }
    }

    /// Takes replies that were ended or taken up from the tickets of an instance that is dead.
    pub async fn retire(self, instance: InstanceId, replies: Vec<ReplyId>) -> Result<(), AppendError> {
        match self.0 {
            // The instance that takes a reply over writes its own ticket in the place of the other.
            Log::Embedded(_) => Ok(()),
            Log::JetStream(log) => log.retire(instance, replies).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.retire(instance, replies).await,
        }
    }

    /// The replies that instances generate, or generated when they died: of the instances that are `wanted`. The others'
    /// are not read.
    pub async fn of(self, wanted: impl Fn(InstanceId) -> bool) -> Result<Vec<(InstanceId, ReplyId)>, ReadError> {
        match self.0 {
            Log::Embedded(log) => Ok(log.tickets().into_iter().filter(|(instance, _)| wanted(*instance)).collect()),
            Log::JetStream(log) => log.tickets(wanted).await,
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => log.tickets(wanted).await,
        }
    }
}
