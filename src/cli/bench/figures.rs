//! What was measured: latencies, and how the replies came out. No I/O.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::reading::{Outcome, Wrong};

/// Latencies to the microsecond, with three digits of precision, up to an hour.
#[derive(Debug, Clone)]
pub(crate) struct Latencies(Histogram<u64>);

/// What is shown of a distribution, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, PartialEq)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) mean_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self(
            Histogram::new_with_bounds(1, 3_600_000_000, 3)
                .expect("the bounds are right: 1 ≤ low, 2 × low ≤ high, 3 ≤ 5 digits"),
        )
    }
}

impl Latencies {
    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    /// The latency in milliseconds that the given part (0 to 1) of all stay within.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e3
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// `None` where nothing was measured: no figure is better than a zero.
    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        (!self.0.is_empty()).then(|| Percentiles {
            count: self.0.len(),
            mean_ms: (self.0.mean()).round() / 1e3,
            p50_ms: self.quantile_ms(0.50),
            p90_ms: self.quantile_ms(0.90),
            p99_ms: self.quantile_ms(0.99),
            max_ms: self.0.max() as f64 / 1e3,
        })
    }
}

/// How many replies came out how.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Tally {
    pub(crate) ok: u64,
    pub(crate) lost: u64,
    pub(crate) cut: u64,
    pub(crate) refused: u64,
    pub(crate) wrong: u64,
    /// Of the complete ones: without a closing `[DONE]`.
    pub(crate) without_done: u64,
    pub(crate) reconnects: u64,
    pub(crate) events: u64,
    /// The first few things that went wrong, in words.
    pub(crate) problems: Vec<String>,
}

const MAX_PROBLEMS: usize = 5;

impl Tally {
    /// All replies that were to come.
    pub(crate) fn replies(&self) -> u64 {
        self.ok + self.bad()
    }

    /// All that did not come out right.
    pub(crate) fn bad(&self) -> u64 {
        self.lost + self.cut + self.refused + self.wrong
    }

    pub(crate) fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Lost => self.lost += 1,
            Outcome::Cut => self.cut += 1,
            Outcome::Wrong(_) => self.wrong += 1,
        }
        match outcome {
            Outcome::Ok => {}
            Outcome::Lost => self.note(|| "lost: the stream ended before its last event".into()),
            Outcome::Cut => self.note(|| "cut: the server ended a reply as failed or incomplete".into()),
            Outcome::Wrong(Wrong::Text) => self.note(|| "wrong: the text is not the expected one".into()),
            Outcome::Wrong(Wrong::Sequence) => {
                self.note(|| "wrong: sequence numbers with a gap, a repetition or a start other than 0".into());
            }
            Outcome::Wrong(Wrong::AfterEnd) => self.note(|| "wrong: an event after [DONE]".into()),
        }
    }

    /// Keeps a problem's words, once, while there are few.
    pub(crate) fn note(&mut self, problem: impl FnOnce() -> String) {
        if self.problems.len() < MAX_PROBLEMS {
            let problem = problem();
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.ok += other.ok;
        self.lost += other.lost;
        self.cut += other.cut;
        self.refused += other.refused;
        self.wrong += other.wrong;
        self.without_done += other.without_done;
        self.reconnects += other.reconnects;
        self.events += other.events;
        for problem in &other.problems {
            self.note(|| problem.clone());
        }
    }
}

/// Everything about the replies of one run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replies {
    pub(crate) tally: Tally,
    /// From due to sent: what the generator itself, or a connection still busy with the reply before, added.
    pub(crate) started: Latencies,
    pub(crate) first_event: Latencies,
    pub(crate) first_token: Latencies,
    pub(crate) whole: Latencies,
    /// Between two events of one reply.
    pub(crate) gap: Latencies,
}

impl Replies {
    pub(crate) fn add(&mut self, other: &Self) {
        self.tally.add(&other.tally);
        for (mine, theirs) in [
            (&mut self.started, &other.started),
            (&mut self.first_event, &other.first_event),
            (&mut self.first_token, &other.first_token),
            (&mut self.whole, &other.whole),
            (&mut self.gap, &other.gap),
        ] {
            mine.add(theirs);
        }
    }

    /// The distributions with their names, in the order in which they are shown.
    pub(crate) fn rows(&self) -> [(&'static str, &Latencies); 5] {
        [
            ("started", &self.started),
            ("first event", &self.first_event),
            ("first token", &self.first_token),
            ("whole reply", &self.whole),
            ("gap", &self.gap),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.percentiles(), None);
        for ms in 1..=100 {
            latencies.record(Duration::from_millis(ms));
        }
        let p = latencies.percentiles().unwrap();
        for (got, wanted) in
            [(p.p50_ms, 50.0), (p.p90_ms, 90.0), (p.p99_ms, 99.0), (p.max_ms, 100.0), (p.mean_ms, 50.5)]
        {
            assert!((got / wanted - 1.0).abs() < 0.002, "{got} for {wanted}");
        }
    }

    #[test]
    fn a_latency_beyond_the_scale_counts_as_its_end() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::from_secs(100_000));
        assert!(latencies.quantile_ms(1.0) >= 3_600_000.0);
    }

    #[test]
    fn added_replies_count_together_and_keep_each_problem_once() {
        let mut sum = Replies::default();
        for _ in 0..3 {
            let mut one = Replies::default();
            one.tally.count(Outcome::Ok);
            one.tally.count(Outcome::Lost);
            one.whole.record(Duration::from_millis(1));
            sum.add(&one);
        }
        assert_eq!((sum.tally.replies(), sum.tally.bad(), sum.tally.problems.len(), sum.whole.count()), (6, 3, 1, 3));
    }
}
