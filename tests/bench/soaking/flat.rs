//! Whether something grows: the last quarter of the load is compared with the third. Pure.

use std::time::Duration;

use crate::sampling::Sample;

/// Something that has to stay flat.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gauge {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    value: fn(&Sample) -> f64,
    /// How much more the last quarter may have: a share of the third quarter's, or so much, whichever is more.
    share: f64,
    amount: f64,
}

/// What a gauge counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Number,
}

/// What came out of one gauge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    /// Medians.
    pub(crate) third: f64,
    pub(crate) last: f64,
    pub(crate) most: f64,
    /// How much more the last may be than the third.
    pub(crate) tolerance: f64,
}

const MIB: f64 = 1024.0 * 1024.0;

/// A median of fewer samples says nothing.
const FEWEST: usize = 5;

/// What has to stay flat, and how flat.
pub(crate) const GAUGES: [Gauge; 7] = [
    // The allocator keeps what a busy moment took: in a minute it goes up and down by some 10 MiB.
    Gauge { name: "memory", unit: Unit::Bytes, value: |s| bytes(s.process.memory), share: 0.05, amount: 12.0 * MIB },
    Gauge { name: "open files", unit: Unit::Number, value: |s| bytes(s.process.files), share: 0.1, amount: 6.0 },
    // Those that clients do not know of. Both ends are not counted in the same moment.
    Gauge { name: "sockets beside clients'", unit: Unit::Number, value: leaked, share: 0.1, amount: 8.0 },
    Gauge { name: "threads", unit: Unit::Number, value: |s| bytes(s.process.threads), share: 0.1, amount: 3.0 },
    // Whole segments come and go: a saw of 64 MiB each.
    Gauge { name: "the log's disk", unit: Unit::Bytes, value: |s| bytes(s.disk.log), share: 0.2, amount: 64.0 * MIB },
    Gauge { name: "the log's files", unit: Unit::Number, value: |s| bytes(s.disk.files), share: 0.2, amount: 20.0 },
    Gauge { name: "the store's WAL", unit: Unit::Bytes, value: |s| bytes(s.disk.wal), share: 0.2, amount: 16.0 * MIB },
];

#[expect(clippy::cast_precision_loss, reason = "far below what a float can tell apart")]
fn bytes(number: u64) -> f64 {
    number as f64
}

fn leaked(sample: &Sample) -> f64 {
    bytes(sample.process.sockets.saturating_sub(sample.clients))
}

impl Gauge {
    /// How it went under load. Samples of a server younger than `warm` are left out: what the log keeps is still growing.
    /// `None`: there are too few.
    pub(crate) fn course(&self, samples: &[Sample], lasting: Duration, warm: Duration) -> Option<Course> {
        let between = |from: f64, to: f64| {
            let span = lasting.mul_f64(from)..lasting.mul_f64(to);
            let samples = samples.iter().filter(|sample| sample.is_loaded && sample.age >= warm);
            samples.filter(|sample| span.contains(&sample.at)).map(self.value).collect::<Vec<_>>()
        };
        let (third, last) = (median(between(0.5, 0.75))?, median(between(0.75, 1.0))?);
        let most = samples.iter().map(self.value).fold(0.0, f64::max);
        Some(Course { third, last, most, tolerance: (third * self.share).max(self.amount) })
    }
}

impl Course {
    pub(crate) fn is_flat(&self) -> bool {
        self.last <= self.third + self.tolerance
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    (values.len() >= FEWEST).then(|| values[values.len() / 2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gauges::{Disk, Process};

    /// A minute whose server takes so much memory and disk at a second.
    fn samples(memory: impl Fn(u64) -> u64, log: impl Fn(u64) -> u64) -> Vec<Sample> {
        let sample = |second| Sample {
            at: Duration::from_secs(second),
            age: Duration::from_secs(second),
            pid: 1,
            is_loaded: true,
            process: Process { memory: memory(second), ..Process::default() },
            disk: Disk { log: log(second), ..Disk::default() },
            clients: 0,
            own_cpu: Duration::ZERO,
            own_memory: 0,
            ended: 0,
        };
        (0..60).map(sample).collect()
    }

    fn is_flat(name: &str, samples: &[Sample]) -> Option<bool> {
        let gauge = GAUGES.iter().find(|gauge| gauge.name == name)?;
        let course = gauge.course(samples, Duration::from_mins(1), Duration::from_secs(10))?;
        Some(course.is_flat())
    }

    #[test]
    fn what_grows_is_not_flat() {
        let (mib, level) = (1 << 20, |_| 100 << 20);
        assert_eq!(is_flat("memory", &samples(level, level)), Some(true));
        assert_eq!(is_flat("memory", &samples(|second| (80 + second) * mib, level)), Some(false), "1 MiB/s");
        assert_eq!(is_flat("the log's disk", &samples(level, |second| second * 6 * mib)), Some(false), "6 MiB/s");
    }

    #[test]
    fn a_start_a_peak_and_a_saw_are_no_growth() {
        let mib = 1 << 20;
        let start = samples(|second| second.min(20) * mib, |_| 0);
        assert_eq!(is_flat("memory", &start), Some(true), "it grew until it was warm");
        let peak = samples(|second| if second == 55 { 900 * mib } else { 90 * mib }, |_| 0);
        assert_eq!(is_flat("memory", &peak), Some(true), "one moment");
        let saw = samples(|_| 0, |second| (64 + second % 9 * 8) * mib);
        assert_eq!(is_flat("the log's disk", &saw), Some(true), "segments come and go");
    }

    #[test]
    fn too_few_samples_say_nothing() {
        assert_eq!(is_flat("memory", &samples(|_| 1, |_| 1)[..40]), None);
        let young: Vec<_> = samples(|_| 1, |_| 1).into_iter().map(|s| Sample { age: Duration::ZERO, ..s }).collect();
        assert_eq!(is_flat("memory", &young), None);
    }
}
