//! Simulates several instances with all that can go wrong, seed by seed, and holds the promise against what happened.
//!
//! `SIMULATION_SEEDS` seeds from `SIMULATION_FIRST_SEED` on, for `SIMULATION_MINUTES` at most. `SIMULATION_TRACE=1` tells what happens in them, and
//! `SIMULATION_LOG` (as `RUST_LOG`) what the program says of it. A seed that fails is made small, unless `SIMULATION_SHRINK=0`.

mod checker;
mod client;
mod doors;
mod fate;
mod final_look;
mod fleet;
mod following;
mod hook;
mod http;
mod model;
mod plan;
mod records;
mod regressions;
mod rules;
mod run;
mod shrink;
mod trace;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use plan::Plan;
use regressions::REGRESSIONS;
use rejoinder::simulation::{Fault, KINDS};
use run::{Outcome, simulate, warm_up};
use shrink::{Omitted, shrink};

/// Seeds that are simulated if nobody says how many.
const SEEDS: u64 = 300;

/// Seeds after which one that runs for long tells how far it is.
const TOLD: u64 = 1000;

/// Failing seeds that are made small.
const SHRUNK: u64 = 1;

#[expect(clippy::print_stdout, reason = "it is a runner of tests")]
fn main() -> ExitCode {
    // As other tests, it is not run where only those of another name are wanted.
    let mut wanted = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    if wanted.peek().is_some() && !wanted.any(|name| "simulation".contains(&name)) {
        return ExitCode::SUCCESS;
    }
    let first = number("SIMULATION_FIRST_SEED").unwrap_or(1);
    let count = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let omitted: Omitted = text("SIMULATION_WITHOUT").and_then(|text| text.parse().ok()).unwrap_or_default();
    let mut seeds: Vec<u64> = (first..first + count).collect();
    if number("SIMULATION_FIRST_SEED").is_none() {
        seeds.extend(REGRESSIONS.iter().map(|(seed, _)| *seed));
        seeds.sort_unstable();
        seeds.dedup();
    }
    let begun = Instant::now();
    let mut sum = Sum::default();
    warm_up();
    for seed in &seeds {
        let plan = Plan { spared: omitted.faults.clone(), absent: omitted.clients.clone(), ..Plan::of(*seed) };
        let outcome = simulate(plan.clone());
        if !outcome.violations.is_empty() {
            tell(*seed, &outcome, &omitted);
            if sum.failed < SHRUNK && number("SIMULATION_SHRINK") != Some(0) {
                let small = shrink(*seed, outcome.struck, plan.clients);
                println!("  small: SIMULATION_FIRST_SEED={seed} SIMULATION_SEEDS=1 SIMULATION_WITHOUT={small}");
            }
        }
        sum.add(&outcome);
        if sum.seeds % TOLD == 0 && number("SIMULATION_MINUTES").is_some() {
            println!("{sum}, in {:.0} s", begun.elapsed().as_secs_f64());
        }
        if sum.failed > 0 && number("SIMULATION_STOP") == Some(1) || is_late(begun) {
            break;
        }
    }
    println!("{sum}, in {:.1} s ({:x})", begun.elapsed().as_secs_f64(), sum.digest);
    if number("SIMULATION_MINUTES").is_some() {
        let made = Fault::ALL.iter().zip(sum.faults).map(|(fault, count)| format!("{fault:?} {count}"));
        println!("{}", made.collect::<Vec<_>>().join(", "));
    }
    let Sum { failed, seeds: count, .. } = sum;
    let (result, passed) = (if failed == 0 { "ok" } else { "FAILED" }, count - failed);
    println!("test result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn text(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

fn number(variable: &str) -> Option<u64> {
    text(variable)?.parse().ok()
}

/// Whether it runs for as many minutes as it may.
fn is_late(begun: Instant) -> bool {
    number("SIMULATION_MINUTES").is_some_and(|minutes| begun.elapsed().as_secs() >= minutes * 60)
}

/// What came of all seeds.
#[derive(Default)]
struct Sum {
    seeds: u64,
    failed: u64,
    faults: [u64; KINDS],
    replies: usize,
    simulated: Duration,
    digest: u64,
}

impl Sum {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.failed += u64::from(!outcome.violations.is_empty());
        self.faults.iter_mut().zip(outcome.faults).for_each(|(sum, count)| *sum += count);
        self.replies += outcome.replies;
        self.simulated += outcome.simulated;
        self.digest = self.digest.rotate_left(1) ^ outcome.digest;
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (hours, faults) = (self.simulated.as_secs_f64() / 3600.0, self.faults.iter().sum::<u64>());
        let Self { seeds, failed, replies, .. } = self;
        write!(f, "{seeds} seeds ({failed} failed), {hours:.1} simulated hours, {replies} replies, {faults} faults")
    }
}

/// Tells what is wrong with a seed.
#[expect(clippy::print_stdout, reason = "it is a runner of tests")]
fn tell(seed: u64, outcome: &Outcome, omitted: &Omitted) {
    let name = REGRESSIONS.iter().find(|(known, _)| *known == seed).map_or("", |(_, name)| *name);
    println!(
        "seed {seed} {name} failed after {} faults (SIMULATION_WITHOUT={omitted}):",
        outcome.faults.iter().sum::<u64>()
    );
    for violation in outcome.violations.iter().take(5) {
        println!("  {violation}");
    }
}
