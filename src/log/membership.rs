//! The instances that share the log.

use super::{Log, Peers, jetstream};
use crate::domain::ids::InstanceId;

/// The instances that share the log.
#[derive(Clone, Copy)]
pub struct Membership<'a>(pub(super) &'a Log);

impl Membership<'_> {
    /// Makes this instance known to the others that share the log.
    pub async fn join(self, instance: InstanceId) -> Result<Peers, jetstream::OpenError> {
        match self.0 {
            Log::Embedded(_) => Ok(Peers::Alone(instance)),
            Log::JetStream(log) => log.join(instance).await.map(Peers::Nats),
            #[cfg(feature = "simulation")]
            Log::Simulated(log) => Ok(Peers::Simulated(log.join(instance).await)),
        }
    }
}
