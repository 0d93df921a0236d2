//! What a process costs: its CPU time and memory, read from `/proc`. Linux only; elsewhere there is nothing to report.

use std::time::{Duration, Instant};

use crate::app::open_files;

/// A process's CPU time and memory at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    /// User and system time, of all threads, in steps of a clock tick (10 ms as a rule).
    pub(crate) cpu: Duration,
    pub(crate) resident_bytes: u64,
    /// The most that was ever resident (`VmHWM`).
    pub(crate) peak_bytes: u64,
}

/// Looks at a process; `None` where it is gone or there is no `/proc`.
pub(crate) fn sample(pid: u32) -> Option<Sample> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let cpu = Duration::from_secs_f64(cpu_ticks(&stat)? as f64 / ticks_per_second());
    Some(Sample {
        at: Instant::now(),
        cpu,
        resident_bytes: status_bytes(&status, "VmRSS:")?,
        peak_bytes: status_bytes(&status, "VmHWM:")?,
    })
}

/// Looks at this process.
pub(crate) fn sample_self() -> Option<Sample> {
    sample(std::process::id())
}

#[cfg(target_os = "linux")]
fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

#[cfg(not(target_os = "linux"))]
fn ticks_per_second() -> f64 {
    100.0
}

/// Raises this process's limit of open files to what a run needs, as far as the system lets it.
///
/// # Errors
/// When the hard limit is lower.
pub(crate) fn allow_open_files(wanted: usize) -> Result<(), TooManyFiles> {
    let wanted = wanted as u64;
    match open_files::raise(wanted) {
        Some(allowed) if allowed < wanted => Err(TooManyFiles { wanted, allowed }),
        _ => Ok(()),
    }
}

/// More connections were asked for than this process may open.
#[derive(Debug, thiserror::Error)]
#[error("{wanted} open files are needed and {allowed} allowed; raise it with `ulimit -n {wanted}`")]
pub(crate) struct TooManyFiles {
    wanted: u64,
    allowed: u64,
}

/// `utime` and `stime`, fields 14 and 15 of proc(5). The name in field 2 may hold blanks and brackets, so the counting
/// starts behind its last bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn status_bytes(status: &str, name: &str) -> Option<u64> {
    let kib: u64 =
        status.lines().find_map(|line| line.strip_prefix(name))?.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_move_the_fields() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 700 30 0 0 20";
        assert_eq!(cpu_ticks(stat), Some(730));
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(status_bytes("Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t 1 kB\n", "VmHWM:"), Some(2 * 1024 * 1024));
        assert_eq!(status_bytes("Name:\tx\n", "VmHWM:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_can_be_seen() {
        let sample = sample_self().unwrap();
        assert!(sample.peak_bytes >= sample.resident_bytes && sample.resident_bytes > 0);
    }
}
