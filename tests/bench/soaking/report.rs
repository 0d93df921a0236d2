//! What came out, for people and for scripts: figures, what held and what did not, and a last line that counts both.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rejoinder::values::duration_text;

use crate::flat::{Course, GAUGES, Unit};
use crate::restart::How;
use crate::sampling::Sample;
use crate::tally::Check;
use crate::world::Run;

/// The share of the replies that were to be that have to be.
const LEAST_RATE: f64 = 0.9;

/// A restart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restart {
    /// Since the beginning.
    pub(crate) at: Duration,
    pub(crate) how: How,
    /// Replies that had not ended.
    pub(crate) running: u64,
    /// From the signal until it listened again.
    pub(crate) took: Duration,
    /// … of which the start took this.
    pub(crate) start: Duration,
}

/// What held and what did not.
#[derive(Debug, Default)]
struct Verdicts {
    text: String,
    passed: usize,
    failed: usize,
}

/// Prints everything; gives whether all held.
pub(crate) fn print(run: &Run) -> bool {
    let samples = run.world.samples.lock();
    if let Some(file) = &run.world.options.samples
        && let Err(error) = std::fs::write(file, table(&samples))
    {
        println!("{}: {error}", file.display());
    }
    println!("{}", figures(run, &samples));
    let mut verdicts = Verdicts::default();
    flat(run, &samples, &mut verdicts);
    checks(run, &mut verdicts);
    println!("{}", verdicts.text);
    println!("soak: {} passed, {} failed", verdicts.passed, verdicts.failed);
    verdicts.failed == 0
}

fn figures(run: &Run, samples: &[Sample]) -> String {
    let world = &run.world;
    let options = &world.options;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "\n{} replies/s for {} (seed {}); REPLAY_WINDOW={} LOG_RETENTION={} REPLY_DEADLINE={}",
        options.rate,
        duration_text(options.lasting),
        options.seed,
        duration_text(options.replay_window),
        duration_text(options.log_retention),
        duration_text(options.reply_deadline)
    );
    let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
    let (accepted, ended, unanswered) = (of(&world.accepted), of(&world.ended), of(&world.unanswered));
    let _ =
        writeln!(text, "{accepted} replies accepted, {ended} ended; {unanswered} requests not answered at a restart");
    let times = world.times.lock();
    let ms = |share| micros(times.value_at_quantile(share));
    let _ = writeln!(
        text,
        "unpaced replies, from request to end, in the second half: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        ms(0.5),
        ms(0.99),
        micros(times.max())
    );
    for restart in &run.restarts {
        let signal = if restart.how == How::Kill { "SIGKILL" } else { "SIGTERM" };
        let _ = writeln!(
            text,
            "restarted at {:.1} s by {signal}, {} replies running: back after {:.2} s, of which the start took {:.3} s",
            restart.at.as_secs_f64(),
            restart.running,
            restart.took.as_secs_f64(),
            restart.start.as_secs_f64()
        );
    }
    if let Some(costs) = costs(samples, options.lasting) {
        text += &costs;
    }
    text
}

#[expect(clippy::cast_precision_loss, reason = "far below what a float can tell apart")]
fn micros(value: u64) -> f64 {
    value as f64 / 1000.0
}

fn seconds(until: Duration, from: Duration) -> f64 {
    until.saturating_sub(from).as_secs_f64()
}

/// What a reply costs, by the samples of the second half under load.
#[expect(clippy::cast_precision_loss, reason = "far below what a float can tell apart")]
fn costs(samples: &[Sample], lasting: Duration) -> Option<String> {
    let newest = samples.iter().rev().find(|sample| sample.is_loaded)?;
    let first = samples.iter().find(|sample| sample.at >= lasting / 2 && sample.pid == newest.pid)?;
    let (replies, time) = ((newest.ended - first.ended) as f64, seconds(newest.at, first.at));
    if replies <= 0.0 || time <= 0.0 {
        return None;
    }
    let cpu = seconds(newest.process.cpu, first.process.cpu);
    let (store_before, store) = (first.disk.store + first.disk.wal, newest.disk.store + newest.disk.wal);
    let own = seconds(newest.own_cpu, first.own_cpu);
    Some(format!(
        "a reply of this mix: {:.0} µs of CPU, {:.1} KiB of the store; the server takes {:.0} % of a core, this program {:.0} % and {:.0} MiB\n",
        cpu / replies * 1e6,
        store.saturating_sub(store_before) as f64 / 1024.0 / replies,
        cpu / time * 100.0,
        own / time * 100.0,
        newest.own_memory as f64 / 1024.0 / 1024.0
    ))
}

fn flat(run: &Run, samples: &[Sample], verdicts: &mut Verdicts) {
    let options = &run.world.options;
    println!("{:<24} {:>14} {:>14} {:>14} {:>14}", "", "third quarter", "last quarter", "most", "may grow by");
    for gauge in GAUGES {
        let claim = format!("{} flat", gauge.name);
        let Some(course) = gauge.course(samples, options.lasting, options.expired()) else {
            verdicts.tell(false, &claim, "too few samples of a server that was warm");
            continue;
        };
        let Course { third, last, most, tolerance } = course;
        let [third, last, most, tolerance] = [third, last, most, tolerance].map(|value| amount(value, gauge.unit));
        println!("{:<24} {third:>14} {last:>14} {most:>14} {tolerance:>14}", gauge.name);
        verdicts.tell(course.is_flat(), &claim, &format!("{third} in the third quarter, {last} in the last"));
    }
    println!();
}

fn amount(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => format!("{:.1} MiB", value / 1024.0 / 1024.0),
        Unit::Number => format!("{value:.0}"),
    }
}

fn checks(run: &Run, verdicts: &mut Verdicts) {
    let world = &run.world;
    let (rate, wanted) = (rate(run), f64::from(world.options.rate));
    verdicts.tell(
        rate >= wanted * LEAST_RATE,
        "the load was put on it",
        &format!("{rate:.0} replies/s of {wanted:.0}"),
    );
    let (accepted, ended) = (world.accepted.load(Relaxed), world.ended.load(Relaxed));
    verdicts.tell(accepted == ended, "nothing accepted is lost", &format!("{accepted} accepted, {ended} seen to end"));
    for check in Check::ALL {
        let count = world.tally.count(check);
        let is_good = count.broken == 0 && count.held > 0;
        let seen = match (count.broken, count.held) {
            (0, 0) => "it was never looked at".to_owned(),
            (0, held) => format!("{held} times"),
            (broken, held) => format!("{broken} times not, {held} times so"),
        };
        verdicts.tell(is_good, check.claim(), &seen);
        for example in &count.examples {
            let _ = writeln!(verdicts.text, "       {example}");
        }
    }
    let log = run.server.log();
    verdicts.tell(
        log.errors == 0,
        "the server logs no error",
        &format!("{} errors, {} warnings", log.errors, log.warnings),
    );
    for line in &log.first {
        let _ = writeln!(verdicts.text, "       {line}");
    }
    if let Some(why) = &*world.hopeless.lock() {
        verdicts.tell(false, "the server runs and restarts", why);
        for line in &log.last {
            let _ = writeln!(verdicts.text, "       {line}");
        }
    }
}

/// Replies that ended a second, while the server was there.
#[expect(clippy::cast_precision_loss, reason = "far below what a float can tell apart")]
fn rate(run: &Run) -> f64 {
    let (until, ended) = run.loaded;
    let away: Duration = run.restarts.iter().filter(|restart| restart.at < until).map(|restart| restart.took).sum();
    ended as f64 / until.saturating_sub(away).as_secs_f64().max(0.001)
}

impl Verdicts {
    fn tell(&mut self, is_good: bool, claim: &str, seen: &str) {
        *(if is_good { &mut self.passed } else { &mut self.failed }) += 1;
        let _ = writeln!(self.text, "{} {claim}: {seen}", if is_good { "PASS" } else { "FAIL" });
    }
}

/// All samples, as tab-separated values.
fn table(samples: &[Sample]) -> String {
    let mut text =
        "s\tpid\tloaded\tended\tmemory\tfiles\tsockets\tclients\tthreads\tlog\tlog_files\tstore\twal\n".to_owned();
    for Sample { at, pid, is_loaded, ended, process, disk, clients, .. } in samples {
        let _ = writeln!(
            text,
            "{:.1}\t{pid}\t{is_loaded}\t{ended}\t{}\t{}\t{}\t{clients}\t{}\t{}\t{}\t{}\t{}",
            at.as_secs_f64(),
            process.memory,
            process.files,
            process.sockets,
            process.threads,
            disk.log,
            disk.files,
            disk.store,
            disk.wal
        );
    }
    text
}
