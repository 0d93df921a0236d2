//! What a run is reported as: a table for people, JSON for scripts, and beside a second server the ratios of the two.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::figures::{Latencies, Percentiles};

/// Bytes in a MiB.
pub(crate) const MIB: f64 = 1024.0 * 1024.0;

/// The outcome of a run (or of several turns) against one server.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) server: String,
    /// What was done, in a few words.
    pub(crate) about: String,
    pub(crate) counts: Vec<(&'static str, u64)>,
    pub(crate) latencies: Vec<(&'static str, Latencies)>,
    pub(crate) figures: Vec<Figure>,
    /// How many of what was counted are bad news.
    pub(crate) bad: u64,
    pub(crate) problems: Vec<String>,
}

/// A single measured number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    /// Its key in JSON.
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    of_turns: Turns,
}

/// What a figure is over several turns.
#[derive(Debug, Clone, Copy)]
enum Turns {
    Mean(u32),
    Max,
}

impl Figure {
    pub(crate) fn mean(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self { name, value, unit, of_turns: Turns::Mean(1) }
    }

    pub(crate) fn max(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self { name, value, unit, of_turns: Turns::Max }
    }

    fn add(&mut self, other: &Self) {
        match &mut self.of_turns {
            Turns::Max => self.value = self.value.max(other.value),
            Turns::Mean(turns) => {
                self.value = (self.value * f64::from(*turns) + other.value) / f64::from(*turns + 1);
                *turns += 1;
            }
        }
    }
}

impl Report {
    /// Takes another turn of the same run along.
    pub(crate) fn add(&mut self, turn: &Self) {
        for ((_, mine), (_, theirs)) in self.counts.iter_mut().zip(&turn.counts) {
            *mine += theirs;
        }
        for ((_, mine), (_, theirs)) in self.latencies.iter_mut().zip(&turn.latencies) {
            mine.add(theirs);
        }
        for mine in &mut self.figures {
            if let Some(theirs) = turn.figures.iter().find(|figure| figure.name == mine.name) {
                mine.add(theirs);
            }
        }
        self.bad += turn.bad;
        self.problems.extend_from_slice(&turn.problems);
        self.problems.dedup();
    }

    /// As a table.
    pub(crate) fn text(&self) -> String {
        let mut out = format!("{}\n{}\n\n", self.server, self.about);
        let counts: Vec<_> =
            self.counts.iter().filter(|(name, count)| *count > 0 || ALWAYS_SHOWN.contains(name)).collect();
        for (name, count) in counts {
            let _ = write!(out, "{} {}   ", grouped(*count), name.replace('_', " "));
        }
        let _ = writeln!(out, "\n\n{:<14}{:>11}{:>11}{:>11}{:>11}", "ms", "p50", "p90", "p99", "max");
        for (name, p) in self.measured() {
            let _ = writeln!(out, "{name:<14}{:>11.3}{:>11.3}{:>11.3}{:>11.3}", p.p50_ms, p.p90_ms, p.p99_ms, p.max_ms);
        }
        out.push('\n');
        for figure in &self.figures {
            let name = figure.name.replace('_', " ");
            let _ = writeln!(out, "{name:<28}{:>12.*} {}", decimals(figure.value), figure.value, figure.unit);
        }
        for problem in &self.problems {
            let _ = writeln!(out, "! {problem}");
        }
        out
    }

    /// As JSON; latencies in milliseconds.
    pub(crate) fn json(&self) -> Value {
        let counts: Map<_, _> = self.counts.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
        let latencies: Map<_, _> = self.measured().map(|(name, p)| (name.replace(' ', "_"), json!(p))).collect();
        let figures: Map<_, _> = self.figures.iter().map(|f| (f.name.to_owned(), json!(round(f.value)))).collect();
        json!({
            "server": self.server, "about": self.about, "bad": self.bad, "problems": self.problems,
            "counts": counts, "latency": latencies, "figures": figures,
        })
    }

    fn measured(&self) -> impl Iterator<Item = (&'static str, Percentiles)> {
        self.latencies.iter().filter_map(|(name, latencies)| Some((*name, latencies.percentiles()?)))
    }
}

/// How many times as much (or as long) the first is as the second.
pub(crate) fn ratios(first: &Report, second: &Report) -> Vec<(String, f64)> {
    let mut ratios = Vec::new();
    let mut push = |name: String, a: f64, b: f64| {
        if b > 0.0 {
            ratios.push((name, a / b));
        }
    };
    for (name, a) in first.measured() {
        let Some((_, b)) = second.measured().find(|(other, _)| *other == name) else { continue };
        for (quantile, a, b) in [
            ("p50", a.p50_ms, b.p50_ms),
            ("p90", a.p90_ms, b.p90_ms),
            ("p99", a.p99_ms, b.p99_ms),
            ("max", a.max_ms, b.max_ms),
        ] {
            push(format!("{name} {quantile}"), a, b);
        }
    }
    for a in &first.figures {
        if let Some(b) = second.figures.iter().find(|b| b.name == a.name) {
            push(a.name.replace('_', " "), a.value, b.value);
        }
    }
    ratios
}

const ALWAYS_SHOWN: [&str; 5] = ["ok", "lost", "cut", "refused", "wrong"];

fn decimals(value: f64) -> usize {
    match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    }
}

fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn report(ms: u64, cpu: f64) -> Report {
        let mut whole = Latencies::default();
        whole.record(Duration::from_millis(ms));
        Report {
            server: "http://s".into(),
            about: "a test".into(),
            counts: vec![("ok", 1), ("lost", 0), ("events", 1_234_567)],
            latencies: vec![("whole reply", whole), ("gap", Latencies::default())],
            figures: vec![Figure::mean("cpu_us", cpu, "µs"), Figure::max("peak_mib", cpu, "MiB")],
            bad: 0,
            problems: Vec::new(),
        }
    }

    #[test]
    fn numbers_are_grouped_by_threes() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn turns_add_counts_average_figures_and_keep_peaks() {
        let mut sum = report(10, 10.0);
        sum.add(&report(20, 20.0));
        sum.add(&report(30, 60.0));
        assert_eq!(sum.counts[0], ("ok", 3));
        assert_eq!(sum.figures.iter().map(|f| f.value).collect::<Vec<_>>(), [30.0, 60.0]);
        assert_eq!(sum.latencies[0].1.count(), 3);
    }

    #[test]
    fn ratios_are_first_over_second_and_only_of_what_both_have() {
        let ratios = ratios(&report(10, 30.0), &report(20, 10.0));
        assert!(ratios.iter().any(|(name, ratio)| name == "whole reply p50" && (ratio - 0.5).abs() < 0.01));
        assert!(ratios.iter().any(|(name, ratio)| name == "cpu us" && (ratio - 3.0).abs() < 0.01));
        assert!(!ratios.iter().any(|(name, _)| name.starts_with("gap")));
    }

    #[test]
    fn text_and_json_report_the_same() {
        let report = report(10, 12.345);
        let text = report.text();
        assert!(text.contains("1,234,567 events") && text.contains("0 lost") && text.contains("12.3 µs"), "{text}");
        let json = report.json();
        assert_eq!((&json["counts"]["ok"], &json["figures"]["cpu_us"]), (&json!(1), &json!(12.345)));
        assert!(json["latency"]["gap"].is_null() && json["latency"]["whole_reply"]["p99_ms"].is_number());
    }
}
