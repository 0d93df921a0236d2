//! Shows how a run is going while it goes: a bar with live figures, only on a terminal.

use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

use super::figures::Latencies;

/// Counts that the clients keep, and the bar shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Live(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    replies: AtomicU64,
    bad: AtomicU64,
    /// Latencies since the bar was last drawn; empty and untouched where there is no bar.
    recent: Option<Mutex<Latencies>>,
}

impl Live {
    /// Counts for a bar, if there is somebody to see it.
    pub(crate) fn new() -> Self {
        let recent = std::io::stderr().is_terminal().then(Mutex::default);
        Self(Arc::new(Counts { recent, ..Counts::default() }))
    }

    /// Counts a reply that has come, or failed to.
    pub(crate) fn replied(&self, whole: Option<Duration>, bad: bool) {
        self.0.replies.fetch_add(1, Relaxed);
        self.0.bad.fetch_add(u64::from(bad), Relaxed);
        if let (Some(recent), Some(whole)) = (&self.0.recent, whole) {
            recent.lock().record(whole);
        }
    }

    /// What happened since the last call, in words.
    fn line(&self, since: Duration, before: &mut u64) -> String {
        let replies = self.0.replies.load(Relaxed);
        let rate = (replies - std::mem::replace(before, replies)) as f64 / since.as_secs_f64().max(0.001);
        let mut line = format!("{replies} replies · {rate:.0}/s");
        if let Some(p) = self.0.recent.as_ref().and_then(|recent| take_percentiles(&mut recent.lock())) {
            let _ = write!(line, " · p50 {:.1} ms · p99 {:.1} ms", p.p50_ms, p.p99_ms);
        }
        match self.0.bad.load(Relaxed) {
            0 => line,
            bad => format!("{line} · {bad} bad"),
        }
    }
}

fn take_percentiles(recent: &mut Latencies) -> Option<super::figures::Percentiles> {
    let percentiles = recent.percentiles();
    recent.clear();
    percentiles
}

/// A bar that fills with time.
#[derive(Debug)]
pub(crate) struct Bar {
    drawing: ProgressBar,
    start: Instant,
    drawn: Instant,
    replies: u64,
    live: Live,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How often the bar is drawn: often enough to be read, seldom enough to cost nothing.
const REDRAW_EVERY: Duration = Duration::from_millis(500);

impl Bar {
    pub(crate) fn new(name: &str, lasting: Duration, live: Live) -> Self {
        let hidden = live.0.recent.is_none();
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(millis(lasting)), target);
        let style =
            ProgressStyle::with_template("{prefix} {bar:24} {percent:>3}%  {msg}").expect("the template is constant");
        bar.set_style(style);
        bar.set_prefix(name.to_owned());
        let now = Instant::now();
        Self { drawing: bar, start: now, drawn: now, replies: 0, live }
    }

    /// Draws until it is dropped.
    pub(crate) async fn run(mut self) -> std::convert::Infallible {
        if self.live.0.recent.is_none() {
            return std::future::pending().await;
        }
        let mut ticks = tokio::time::interval(REDRAW_EVERY);
        loop {
            ticks.tick().await;
            let now = Instant::now();
            let line = self.live.line(now - self.drawn, &mut self.replies);
            self.drawn = now;
            self.drawing.set_message(line);
            self.drawing.set_position(millis(now - self.start));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.drawing.finish_and_clear();
    }
}
