//! Instruments with labels whose values come up while the server runs: one of each for every combination, up to a number.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

/// What tells one instrument from another.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// Combinations that are told apart. What comes beyond is counted with all others: names of models are chosen by clients
/// where a server does not list its own.
const MOST: usize = 200;

/// The value of every label of what comes beyond.
const OTHER: &str = "_OTHER";

/// One instrument for every combination of labels. A handle: cheap to clone.
#[derive(Debug)]
pub(crate) struct Labelled<I> {
    instruments: Arc<RwLock<Vec<(Labels, I)>>>,
    make: fn() -> I,
    kind: MetricType,
}

impl<I: Clone> Labelled<I> {
    pub(super) fn new(kind: MetricType, make: fn() -> I) -> Self {
        Self { instruments: Arc::default(), make, kind }
    }

    /// The instrument with these labels.
    pub(crate) fn of(&self, labels: &[(&'static str, &str)]) -> I {
        if let Some(known) = find(&self.instruments.read(), labels) {
            return known.clone();
        }
        let mut instruments = self.instruments.write();
        let other: Vec<_> = labels.iter().map(|(name, _)| (*name, OTHER)).collect();
        let labels = if instruments.len() < MOST { labels } else { &other };
        if let Some(known) = find(&instruments, labels) {
            return known.clone();
        }
        let instrument = (self.make)();
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        instruments.push((labels, instrument.clone()));
        instrument
    }
}

fn find<'a, I>(instruments: &'a [(Labels, I)], labels: &[(&'static str, &str)]) -> Option<&'a I> {
    let is_it = |known: &Labels| known.iter().map(|(name, value)| (*name, value.as_str())).eq(labels.iter().copied());
    instruments.iter().find(|(known, _)| is_it(known)).map(|(_, instrument)| instrument)
}

impl<I> Clone for Labelled<I> {
    fn clone(&self) -> Self {
        Self { instruments: Arc::clone(&self.instruments), make: self.make, kind: self.kind }
    }
}

impl<I: EncodeMetric + fmt::Debug> EncodeMetric for Labelled<I> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for (labels, instrument) in self.instruments.read().iter() {
            instrument.encode(encoder.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;

    #[test]
    fn what_comes_beyond_a_number_is_counted_together() {
        let counters = Labelled::<Counter>::new(MetricType::Counter, Counter::default);
        for number in 0..MOST + 50 {
            counters.of(&[("model", &format!("m{number}"))]).inc();
        }
        assert_eq!(counters.of(&[("model", "m7")]).get(), 1);
        assert_eq!(counters.of(&[("model", OTHER)]).get(), 50);
        assert_eq!(counters.of(&[("model", "unheard of")]).get(), 50);
        assert_eq!(counters.instruments.read().len(), MOST + 1);
    }
}
