//! `tests/bench/run`: what it says of itself, and how it compares figures. Nothing is measured here.

use std::path::Path;
use std::process::Command;

use crate::support::{Value, json};

/// Runs it, and returns its exit code with all that it printed.
fn run(words: &[&str]) -> (i32, String) {
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/run"))
        .args(words)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("tests/bench/run");
    let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("UTF-8");
    (output.status.code().expect("no signal"), text)
}

/// A figure as it is kept: `of_bare` times what bare hyper took.
fn figure(name: &str, value: f64, of_bare: Option<f64>) -> Value {
    json!({
        "name": name, "value": value, "unit": "ms", "bare": of_bare.map(|times| value / times), "bare_unit": "ms",
        "ratio": of_bare, "goal": "", "slack": 1, "better": "lower",
    })
}

/// Compares two sets of figures.
fn compare(kept: &[Value], new: &[Value], more: &[&str]) -> (i32, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, figures: &[Value]| {
        let path = directory.path().join(name);
        std::fs::write(&path, json!({"taken": "2026-01-01", "figures": figures}).to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (kept, new) = (file("kept", kept), file("new", new));
    run(&[&["--compare", &kept, &new], more].concat())
}

fn with(mut figure: Value, field: &str, value: impl Into<Value>) -> Value {
    figure[field] = value.into();
    figure
}

#[test]
fn it_says_how_it_is_used() {
    let (code, help) = run(&["--help"]);
    assert!(code == 0 && help.contains("--quick") && help.contains("Exit codes"), "{help}");
    assert_eq!(run(&["--quack"]).0, 2);
    assert_eq!(run(&["--tolerance", "much"]).0, 2);
}

#[test]
fn a_slow_day_of_the_machine_is_no_regression() {
    // All takes three times as long, bare hyper too.
    let (code, text) = compare(&[figure("cpu", 100.0, Some(3.0))], &[figure("cpu", 300.0, Some(3.1))], &[]);
    assert!(code == 0 && text.contains("nothing is worse") && text.contains("1.03"), "{text}");
}

#[test]
fn what_got_worse_beside_bare_hyper_is_told() {
    let kept = [figure("cpu", 300.0, Some(3.0)), figure("start", 50.0, Some(5.0))];
    let new = [figure("cpu", 100.0, Some(4.0)), figure("start", 50.0, Some(5.0))];
    let (code, text) = compare(&kept, &new, &[]);
    let worse: Vec<_> = text.lines().filter(|line| line.contains("WORSE than 1.25")).collect();
    assert!(code == 1 && worse.len() == 1 && worse[0].starts_with("cpu"), "{text}");
    assert_eq!(compare(&kept, &new, &["--tolerance", "40"]).0, 0);
}

#[test]
fn what_bare_hyper_has_no_part_in_is_compared_as_it_is() {
    let size = |value| [figure("binary", value, None)];
    assert_eq!(compare(&size(20.0), &size(24.0), &[]).0, 0);
    assert_eq!(compare(&size(20.0), &size(26.0), &[]).0, 1);
}

#[test]
fn of_some_figures_more_is_better_and_some_are_judged_less_or_not_at_all() {
    let rate = |times| [with(figure("served", 1.0, Some(times)), "better", "higher")];
    assert_eq!((compare(&rate(1.0), &rate(0.7), &[]).0, compare(&rate(0.7), &rate(1.0), &[]).0), (1, 0));
    let tail = |times, slack: u64| [with(figure("p99", 1.0, Some(times)), "slack", slack)];
    assert_eq!((compare(&tail(1.0, 4), &tail(1.9, 4), &[]).0, compare(&tail(1.0, 4), &tail(2.1, 4), &[]).0), (0, 1));
    assert_eq!(compare(&tail(1.0, 4), &tail(9.0, 0), &[]).0, 0, "a server that does not keep up");
}

#[test]
fn a_lost_reply_is_always_worse_and_a_missing_figure_is_said() {
    let lost = |count: f64| with(figure("replies not ok", count, None), "goal", "0");
    assert_eq!((compare(&[lost(5.0)], &[lost(1.0)], &[]).0, compare(&[lost(5.0)], &[lost(0.0)], &[]).0), (1, 0));
    let (code, text) = compare(&[figure("old", 1.0, None)], &[figure("young", 1.0, None)], &[]);
    assert!(code == 0 && text.contains("was not measured") && text.contains("new"), "{text}");
}
