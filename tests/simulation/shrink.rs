//! Makes a failing simulation small: leaves out faults and clients as long as it still fails. Each try is a process of its own,
//! in which nothing ran before.

use std::collections::BTreeSet;
use std::process::Command;

/// What is left out of a seed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Omitted {
    pub(crate) faults: BTreeSet<u64>,
    pub(crate) clients: BTreeSet<u64>,
}

/// Tries at most.
const TRIES: u32 = 400;

/// Makes it small: `struck` is how many faults there are, `clients` how many clients. Gives what can be left out.
pub(crate) fn shrink(seed: u64, struck: u64, clients: u64) -> Omitted {
    let mut omitted = Omitted::default();
    let mut tries = 0;
    let mut fails_without = |candidate: &Omitted| {
        tries += 1;
        tries <= TRIES && fails(seed, candidate)
    };
    for client in 0..clients {
        let mut candidate = omitted.clone();
        candidate.clients.insert(client);
        if fails_without(&candidate) {
            omitted = candidate;
        }
    }
    // Halves, then quarters, and so on. What is left out changes what comes after it: those at the end go first.
    let mut length = struck.max(1).next_power_of_two();
    while length > 0 {
        let mut end = struck + 1;
        while end > 1 {
            let begin = end.saturating_sub(length).max(1);
            let mut candidate = omitted.clone();
            candidate.faults.extend(begin..end);
            if candidate != omitted && fails_without(&candidate) {
                omitted = candidate;
            }
            end = begin;
        }
        length /= 2;
    }
    omitted
}

fn fails(seed: u64, omitted: &Omitted) -> bool {
    let Ok(program) = std::env::current_exe() else { return false };
    let tried = Command::new(program)
        .env("SIMULATION_FIRST_SEED", seed.to_string())
        .env("SIMULATION_SEEDS", "1")
        .env("SIMULATION_SHRINK", "0")
        .env("SIMULATION_WITHOUT", omitted.to_string())
        .output();
    tried.is_ok_and(|tried| !tried.status.success())
}

impl std::fmt::Display for Omitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |numbers: &BTreeSet<u64>| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        write!(f, "{}/{}", ranges(&self.faults), list(&self.clients))
    }
}

/// Numbers as `1-5,7`.
fn ranges(numbers: &BTreeSet<u64>) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect::<Vec<_>>().join(",")
}

impl std::str::FromStr for Omitted {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (faults, clients) = text.split_once('/').unwrap_or((text, ""));
        let mut omitted = Self::default();
        for range in faults.split(',').filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            omitted.faults.extend(first.parse::<u64>()?..=last.parse()?);
        }
        for client in clients.split(',').filter(|client| !client.is_empty()) {
            omitted.clients.insert(client.parse()?);
        }
        Ok(omitted)
    }
}
