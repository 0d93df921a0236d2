//! Instruments of outside services: one of each for every service, told apart by its name.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

use super::instruments::Histogram;

/// One instrument for every service. A handle: cheap to clone.
#[derive(Debug)]
pub(crate) struct ByService<I> {
    instruments: Arc<RwLock<Vec<(Service, I)>>>,
    kind: MetricType,
}

/// Which service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    /// Its name.
    pub(crate) name: String,
    /// What it does: `text` or `speech`.
    pub(crate) capability: &'static str,
}

/// The instruments of one service, which cost no lock.
#[derive(Debug, Clone)]
pub(crate) struct ServiceMetrics {
    /// From a call to the answer's headers.
    pub(crate) headers: Histogram<Duration>,
    /// From a call to its first content.
    pub(crate) first_content: Histogram<Duration>,
    /// How long calls waited for room, of those that had to.
    pub(crate) queued: Histogram<Duration>,
}

impl<I: Clone> ByService<I> {
    pub(super) fn new(kind: MetricType) -> Self {
        Self { instruments: Arc::default(), kind }
    }

    /// The instrument of a service, made by `make` if it has none.
    pub(super) fn of(&self, service: &Service, make: impl FnOnce() -> I) -> I {
        let mut instruments = self.instruments.write();
        if let Some((_, known)) = instruments.iter().find(|(known, _)| known == service) {
            return known.clone();
        }
        let instrument = make();
        instruments.push((service.clone(), instrument.clone()));
        instrument
    }
}

impl<I> Clone for ByService<I> {
    fn clone(&self) -> Self {
        Self { instruments: Arc::clone(&self.instruments), kind: self.kind }
    }
}

impl<I: EncodeMetric + fmt::Debug> EncodeMetric for ByService<I> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for (service, instrument) in self.instruments.read().iter() {
            let labels = [("service", service.name.as_str()), ("capability", service.capability)];
            instrument.encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }
}
