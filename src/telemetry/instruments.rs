//! Instruments that the hot path can afford: no lock, no allocation.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// How values are spread, over fixed bounds. A handle: cheap to clone. (That of `prometheus_client` takes a lock for
/// every value.)
pub(crate) struct Histogram<M> {
    inner: Arc<Inner>,
    measured: PhantomData<fn(M)>,
}

struct Inner {
    /// Upper bounds, in the units of [`Measured::units`]; one bucket more than bounds.
    bounds: Box<[u64]>,
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// What a histogram takes.
pub(crate) trait Measured {
    /// What one unit is worth in the exposition.
    const WORTH: f64;

    /// The value in whole units.
    fn units(self) -> u64;
}

impl Measured for Duration {
    const WORTH: f64 = 1e-9;

    fn units(self) -> u64 {
        u64::try_from(self.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Measured for u64 {
    const WORTH: f64 = 1.0;

    fn units(self) -> u64 {
        self
    }
}

impl<M: Measured> Histogram<M> {
    /// A histogram with these upper bounds, which rise.
    pub(crate) fn new(bounds: impl IntoIterator<Item = M>) -> Self {
        let bounds: Box<[u64]> = bounds.into_iter().map(M::units).collect();
        debug_assert!(bounds.is_sorted());
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { inner: Arc::new(Inner { bounds, buckets, sum: AtomicU64::new(0) }), measured: PhantomData }
    }

    /// Takes a value.
    pub(crate) fn observe(&self, value: M) {
        let units = value.units();
        let bucket = self.inner.bounds.partition_point(|bound| *bound < units);
        self.inner.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.inner.sum.fetch_add(units, Ordering::Relaxed);
    }

    /// How many values it took.
    pub(crate) fn count(&self) -> u64 {
        self.inner.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).sum()
    }

    /// The bound below which this share (0 to 1) of all values lie, in seconds or whole numbers. `None`: there were
    /// none, or they lie beyond the last bound.
    #[expect(clippy::cast_precision_loss, reason = "an estimate from buckets")]
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let wanted = (self.count() as f64 * share).max(1.0);
        let mut seen = 0;
        for (bound, bucket) in self.inner.bounds.iter().zip(&self.inner.buckets) {
            seen += bucket.load(Ordering::Relaxed);
            if seen as f64 >= wanted {
                return Some(*bound as f64 * M::WORTH);
            }
        }
        None
    }
}

impl Histogram<Duration> {
    /// A histogram of durations from 10 µs to 10 s, in steps of 1, 2.5 and 5.
    pub(crate) fn of_durations() -> Self {
        let decades = (0..6).flat_map(|power| [10, 25, 50].map(|step| Duration::from_micros(step * 10_u64.pow(power))));
        Self::new(decades.chain([Duration::from_secs(10)]))
    }
}

impl<M> Clone for Histogram<M> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), measured: PhantomData }
    }
}

impl<M> fmt::Debug for Histogram<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram").finish_non_exhaustive()
    }
}

impl<M: Measured> EncodeMetric for Histogram<M> {
    #[expect(clippy::cast_precision_loss, reason = "the exposition's numbers are floats")]
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let bounds = self.inner.bounds.iter().map(|bound| *bound as f64 * M::WORTH).chain([f64::INFINITY]);
        let counts = self.inner.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        // Counted from the same reading, so that the last bucket and the count agree.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.inner.sum.load(Ordering::Relaxed) as f64 * M::WORTH;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// The values that one label can have.
pub(crate) trait Label: Copy + fmt::Debug + Send + Sync + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// All values.
    const ALL: &'static [Self];

    /// The value as it is written.
    fn as_str(self) -> &'static str;
}

/// One instrument for every value of a label.
#[derive(Debug, Clone)]
pub(crate) struct Each<L, I> {
    instruments: Arc<[I]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label + PartialEq, I> Each<L, I> {
    /// Instruments made by `make`.
    pub(crate) fn new(make: impl Fn() -> I) -> Self {
        Self { instruments: L::ALL.iter().map(|_| make()).collect(), label: PhantomData }
    }

    /// The instrument of a value.
    pub(crate) fn of(&self, value: L) -> &I {
        let index = L::ALL.iter().position(|other| *other == value);
        &self.instruments[index.expect("a label lists all its values")]
    }

    /// All instruments.
    pub(crate) fn all(&self) -> impl Iterator<Item = (L, &I)> {
        L::ALL.iter().copied().zip(self.instruments.iter())
    }
}

impl<L: Label + PartialEq, I: EncodeMetric> EncodeMetric for Each<L, I> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for (value, instrument) in self.all() {
            instrument.encode(encoder.encode_family(&[(L::NAME, value.as_str())])?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.instruments[0].metric_type()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_into_the_bucket_that_bounds_them() {
        let histogram = Histogram::<u64>::new([0, 1, 10]);
        for value in [0, 1, 2, 10, 11, 1000] {
            histogram.observe(value);
        }
        let counts: Vec<u64> = histogram.inner.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        assert_eq!(counts, [1, 1, 2, 2]);
        assert_eq!(histogram.inner.sum.load(Ordering::Relaxed), 1024);
    }

    #[test]
    fn durations_are_bounded_from_10_us_to_10_s() {
        let histogram = Histogram::of_durations();
        assert_eq!(histogram.quantile(0.5), None);
        let bounds = &histogram.inner.bounds;
        assert_eq!((bounds[0], bounds[1], bounds[bounds.len() - 1]), (10_000, 25_000, 10_000_000_000));
        for micros in 1..=1000 {
            histogram.observe(Duration::from_micros(micros));
        }
        assert_eq!(histogram.quantile(0.5), Some(0.000_5));
        assert_eq!(histogram.quantile(0.99), Some(0.001));
        histogram.observe(Duration::from_mins(1));
        assert_eq!(histogram.quantile(1.0), None, "beyond the last bound");
    }

    /// `cargo test --release --lib measure_what_an_observation_costs -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement, of a release build"]
    #[expect(clippy::print_stdout, reason = "the figure is its result")]
    fn measure_what_an_observation_costs() {
        const TIMES: u32 = 10_000_000;
        let histogram = Histogram::of_durations();
        let started = std::time::Instant::now();
        for index in 0..TIMES {
            histogram.observe(std::hint::black_box(Duration::from_nanos(u64::from(index) * 7)));
        }
        println!("an observation: {:.1} ns", started.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES));
    }
}
