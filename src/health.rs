//! Health: whether requests should come here, and a report of everything for people. Asks nobody: what it tells is
//! handed in, so that a slow store or upstream cannot make a healthy server look dead.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

pub(crate) mod disk;
pub(crate) mod startup;

/// A store that is behind by more than this is worth a look.
const NOTABLE_LAG: Duration = Duration::from_secs(10);

/// Endpoints of webhooks that take nothing for longer than this are worth a look.
const NOTABLE_FAILURE: Duration = Duration::from_mins(10);

/// A store that is behind by more than this share of what the log keeps is an alarm: what the log drops is lost to it.
const ALARMING_SHARE: f64 = 0.5;

/// What decides whether requests should come here. Each is thrown once and stays: a log that was reached and is lost
/// is answered with 503 by this server itself, and does not make all servers vanish.
#[derive(Debug, Default)]
pub(crate) struct Latches {
    log_reached: AtomicBool,
    draining: AtomicBool,
}

impl Latches {
    /// The log was reached.
    pub(crate) fn log_reached(&self) {
        self.log_reached.store(true, Ordering::Relaxed);
    }

    /// This server is about to go.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether this server is about to go.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// `None`: ready. Otherwise why not.
    pub(crate) fn unready(&self) -> Option<&'static str> {
        if self.is_draining() {
            return Some("draining");
        }
        (!self.log_reached.load(Ordering::Relaxed)).then_some("the log was not reached yet")
    }
}

/// What was found, to be made a [`Report`].
#[derive(Debug, Clone)]
pub(crate) struct Findings {
    /// The log.
    pub(crate) log: Log,
    /// The store.
    pub(crate) store: Store,
    /// Outside services.
    pub(crate) upstreams: Vec<Upstream>,
    /// The voice.
    pub(crate) speech: Speech,
    /// What transcribes speech.
    pub(crate) hearing: Speech,
    /// Webhooks.
    pub(crate) webhooks: Webhooks,
    /// Replies that were refused lately.
    pub(crate) refused: Option<Refused>,
    /// Replies being generated.
    pub(crate) replies_running: u64,
    /// Streams that are open.
    pub(crate) streams_open: u64,
    /// From an event's storage to a client's socket, since the start.
    pub(crate) delivery_lag: Quantiles,
    /// What has work to do and makes no progress.
    pub(crate) stalls: Vec<Stall>,
    /// Places of the log that were found damaged since the start.
    pub(crate) damaged: u64,
    /// Why requests should not come here.
    pub(crate) unready: Option<&'static str>,
    /// Since the start.
    pub(crate) uptime: Duration,
}

/// Everything, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    /// All in all.
    pub(crate) status: Status,
    /// Why it is not `ok`, in words.
    pub(crate) problems: Vec<String>,
    /// The version that runs.
    pub(crate) version: &'static str,
    /// Since the start, in seconds.
    pub(crate) uptime_s: u64,
    /// Whether requests should come here.
    pub(crate) ready: bool,
    /// The log.
    pub(crate) log: Log,
    /// The store.
    pub(crate) store: Store,
    /// Outside services.
    pub(crate) upstreams: Vec<Upstream>,
    /// The voice.
    pub(crate) speech: Speech,
    /// What transcribes speech.
    pub(crate) hearing: Speech,
    /// Webhooks.
    pub(crate) webhooks: Webhooks,
    /// What has work to do and makes no progress.
    pub(crate) stalls: Vec<Stall>,
    /// Replies that were refused lately; `null`: none were.
    pub(crate) refused: Option<Refused>,
    /// Replies being generated.
    pub(crate) replies_running: u64,
    /// Streams that are open.
    pub(crate) streams_open: u64,
    /// From an event's storage to a client's socket.
    pub(crate) delivery_lag: Quantiles,
}

/// How it is, all in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// Nothing is wrong.
    Ok,
    /// Replies are accepted and said; something else is wrong.
    Degraded,
    /// Replies are not accepted.
    Unavailable,
}

/// How the log is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Log {
    /// Which: `embedded`.
    pub(crate) kind: &'static str,
    /// Why it takes nothing new; `None`: it does.
    pub(crate) problem: Option<String>,
    /// The problem is not there for everything: some of what is new is taken.
    #[serde(skip)]
    pub(crate) takes_some: bool,
}

/// Replies that were refused lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Refused {
    /// Why the last one was.
    pub(crate) reason: String,
    /// How many were, since that began.
    pub(crate) count: u64,
}

/// Something that has work to do and makes no progress.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Stall {
    /// What: `log writer`, `log cleaner` or `store`.
    pub(crate) what: &'static str,
    /// Since so many seconds.
    pub(crate) for_s: f64,
}

/// How the store is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Store {
    /// Which: `sqlite` or `postgres`.
    pub(crate) kind: &'static str,
    /// Whether it took what it was last given.
    pub(crate) up: bool,
    /// Whether requests ask it for what the log does not hold.
    pub(crate) breaker: Breaker,
    /// Records that it lacks.
    pub(crate) lag_records: u64,
    /// The age of the oldest of them, in seconds.
    pub(crate) lag_s: f64,
    /// How long the log keeps them, in seconds.
    pub(crate) retention_s: f64,
}

impl Store {
    /// Whether the log may soon drop what the store lacks.
    pub(crate) fn alarms(&self) -> bool {
        self.lag_s > self.retention_s * ALARMING_SHARE
    }
}

/// Whether something is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Breaker {
    /// It is.
    Closed,
    /// It did not answer lately, and is not asked until it does.
    Open,
}

/// How an outside service is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Upstream {
    /// Its name.
    pub(crate) name: String,
    /// What it does: `text` or `speech`.
    pub(crate) capability: &'static str,
    /// Where it is, without secrets.
    pub(crate) address: String,
    /// What is wrong with it; `None`: nothing that is known.
    pub(crate) problem: Option<String>,
    /// Whether it is asked.
    pub(crate) breaker: UpstreamBreaker,
    /// Calls that have not ended.
    pub(crate) in_flight: usize,
    /// Calls that wait for room.
    pub(crate) queued: usize,
    /// Calls that there may be at once now.
    pub(crate) limit: usize,
    /// … and where nothing is wrong.
    pub(crate) max_in_flight: usize,
    /// From a call to the answer's headers: the mean of the last calls, in milliseconds.
    pub(crate) answers_ms: Option<f64>,
    /// How long the last health check took that went well, in milliseconds.
    pub(crate) check_ms: Option<f64>,
    /// How long ago that was, in seconds.
    pub(crate) checked_ago_s: Option<f64>,
    /// How many models it lists, as far as is known.
    pub(crate) models: Option<usize>,
    /// What went wrong last.
    pub(crate) last_error: Option<UpstreamFault>,
}

/// Whether an outside service is asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct UpstreamBreaker {
    /// `closed`: it is; `half_open`: a request is to try it; `open`: only where nobody else can be.
    pub(crate) state: &'static str,
    /// Since so many seconds.
    pub(crate) for_s: f64,
    /// Why.
    pub(crate) reason: String,
}

/// What went wrong last with an outside service.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct UpstreamFault {
    /// With all causes.
    pub(crate) cause: String,
    /// How long ago, in seconds.
    pub(crate) ago_s: f64,
    /// Since when nothing has gone well, in seconds. `None`: it has since.
    pub(crate) failing_for_s: Option<f64>,
}

/// Who speaks replies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Speech {
    /// `server`, `local` (the voice of this machine), `off` (none can, though one should) or `none` (none is set).
    pub(crate) mode: &'static str,
    /// What is wrong with that; `None`: nothing.
    pub(crate) problem: Option<String>,
}

/// How deliveries of webhooks are.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Webhooks {
    /// Whether this instance delivers them: one of all does, and knows the rest.
    pub(crate) delivers: bool,
    /// Endpoints.
    pub(crate) endpoints: usize,
    /// Those of them that take nothing.
    pub(crate) failing: usize,
    /// For how long the one of them does that has failed longest, in seconds.
    pub(crate) failing_for_s: Option<f64>,
    /// Deliveries that wait for another try.
    pub(crate) pending: u64,
    /// For how long ends of replies cannot be read, or deliveries not be noted, in seconds. `null`: they can.
    pub(crate) waiting_for_s: Option<f64>,
    /// Why.
    pub(crate) cause: Option<String>,
}

impl Webhooks {
    fn problems(&self, retention_s: f64) -> impl Iterator<Item = String> {
        let waiting = self.waiting_for_s.filter(|waiting| *waiting > NOTABLE_LAG.as_secs_f64());
        let waiting = waiting.map(|waiting| {
            let kept = (retention_s - waiting).max(0.0);
            let cause = self.cause.as_deref().unwrap_or_default();
            format!(
                "webhooks: they have been waiting for {waiting:.0} s, and the log keeps what they are about for {kept:.0} s \
                 more (LOG_RETENTION): {cause}"
            )
        });
        let failing = self.failing_for_s.filter(|failing| *failing > NOTABLE_FAILURE.as_secs_f64());
        let failing = failing.map(|longest| {
            format!("webhooks: {} of {} endpoints take nothing, one for {longest:.0} s", self.failing, self.endpoints)
        });
        waiting.into_iter().chain(failing)
    }
}

/// How long something takes, in milliseconds: at most the half, and all but one in a hundred. `None`: there is
/// nothing to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Quantiles {
    /// The median.
    pub(crate) p50_ms: Option<f64>,
    /// The 99th percentile.
    pub(crate) p99_ms: Option<f64>,
}

impl Report {
    /// Puts what was found together.
    pub(crate) fn new(findings: Findings) -> Self {
        let problems = problems(&findings);
        let status = match (&findings.log.problem, problems.is_empty()) {
            (Some(_), _) if !findings.log.takes_some => Status::Unavailable,
            (None, true) => Status::Ok,
            _ => Status::Degraded,
        };
        Self {
            status,
            problems,
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: findings.uptime.as_secs(),
            ready: findings.unready.is_none(),
            log: findings.log,
            store: findings.store,
            upstreams: findings.upstreams,
            speech: findings.speech,
            hearing: findings.hearing,
            webhooks: findings.webhooks,
            stalls: findings.stalls,
            refused: findings.refused,
            replies_running: findings.replies_running,
            streams_open: findings.streams_open,
            delivery_lag: findings.delivery_lag,
        }
    }
}

fn problems(findings: &Findings) -> Vec<String> {
    let log = findings.log.problem.as_ref().map(|problem| format!("log: {problem}"));
    let store = &findings.store;
    let store = if store.alarms() {
        Some(format!(
            "store: it lacks {} records, and the log keeps the oldest for only {:.0} s more (LOG_RETENTION)",
            store.lag_records,
            (store.retention_s - store.lag_s).max(0.0)
        ))
    } else if !store.up {
        Some("store: it is away; finished replies are kept in the log meanwhile".to_owned())
    } else if store.breaker == Breaker::Open {
        Some("store: it does not answer in time; what the log does not hold any more cannot be read".to_owned())
    } else if store.lag_s > NOTABLE_LAG.as_secs_f64() {
        Some(format!("store: it is {:.0} s behind the log", store.lag_s))
    } else {
        None
    };
    let upstreams = findings.upstreams.iter().filter_map(|upstream| {
        let problem = upstream.problem.as_ref()?;
        Some(format!("{}: {problem}", upstream.name))
    });
    let speech = findings.speech.problem.as_ref().map(|problem| format!("speech: {problem}"));
    let hearing = findings.hearing.problem.as_ref().map(|problem| format!("hearing: {problem}"));
    let stalls = findings
        .stalls
        .iter()
        .map(|stall| format!("{}: it has work to do and has made no progress for {:.0} s", stall.what, stall.for_s));
    let damaged = (findings.damaged > 0).then(|| {
        format!("log: {} places are damaged; what the store has is read there (see: rejoinder check)", findings.damaged)
    });
    let refused = findings.refused.as_ref().map(|it| format!("replies: {} were refused: {}", it.count, it.reason));
    log.into_iter()
        .chain(refused)
        .chain(damaged)
        .chain(store)
        .chain(stalls)
        .chain(upstreams)
        .chain(speech)
        .chain(hearing)
        .chain(findings.webhooks.problems(findings.store.retention_s))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fine() -> Findings {
        Findings {
            log: Log { kind: "embedded", problem: None, takes_some: false },
            refused: None,
            store: Store {
                kind: "sqlite",
                up: true,
                breaker: Breaker::Closed,
                lag_records: 3,
                lag_s: 0.02,
                retention_s: 86_400.0,
            },
            upstreams: vec![Upstream {
                name: "gpu".to_owned(),
                capability: "text",
                address: "http://localhost:11434/v1".to_owned(),
                problem: None,
                breaker: UpstreamBreaker { state: "closed", for_s: 7.0, reason: String::new() },
                in_flight: 2,
                queued: 0,
                limit: 64,
                max_in_flight: 64,
                answers_ms: Some(12.5),
                check_ms: Some(1.5),
                checked_ago_s: Some(3.0),
                models: Some(2),
                last_error: None,
            }],
            speech: Speech { mode: "server", problem: None },
            hearing: Speech { mode: "server", problem: None },
            webhooks: Webhooks::default(),
            replies_running: 2,
            streams_open: 5,
            delivery_lag: Quantiles { p50_ms: Some(0.05), p99_ms: None },
            stalls: Vec::new(),
            damaged: 0,
            unready: None,
            uptime: Duration::from_secs(7),
        }
    }

    #[test]
    fn a_server_is_ready_from_the_log_on_until_it_drains() {
        let latches = Latches::default();
        assert!(latches.unready().is_some());
        latches.log_reached();
        assert_eq!(latches.unready(), None);
        latches.drain();
        assert_eq!(latches.unready(), Some("draining"));
    }

    #[test]
    fn a_fine_server_says_so() {
        let report = serde_json::to_value(Report::new(fine())).unwrap();
        assert_eq!(report["status"], "ok");
        assert_eq!(report["problems"], serde_json::json!([]));
        assert_eq!(report["store"]["lag_records"], 3);
        assert_eq!(report["delivery_lag"], serde_json::json!({"p50_ms": 0.05, "p99_ms": null}));
    }

    #[test]
    fn a_store_or_an_upstream_that_is_away_degrades_and_no_more() {
        let mut findings = fine();
        findings.store.up = false;
        findings.upstreams[0].problem = Some("connection refused".to_owned());
        let report = Report::new(findings);
        assert_eq!((report.status, report.ready), (Status::Degraded, true));
        assert_eq!(report.problems[1], "gpu: connection refused");

        let mut findings = fine();
        findings.store.breaker = Breaker::Open;
        assert!(Report::new(findings).problems[0].contains("does not answer in time"));

        let mut findings = fine();
        findings.speech = Speech { mode: "off", problem: Some("nobody speaks".to_owned()) };
        findings.hearing = Speech { mode: "off", problem: Some("nobody hears".to_owned()) };
        assert_eq!(Report::new(findings).problems, ["speech: nobody speaks", "hearing: nobody hears"]);

        let mut findings = fine();
        findings.store.lag_s = 60.0;
        assert_eq!(Report::new(findings).problems, ["store: it is 60 s behind the log"]);

        let mut findings = fine();
        (findings.store.up, findings.store.lag_s) = (false, 50_000.0);
        let problem = &Report::new(findings).problems[0];
        assert!(problem.contains("for only 36400 s more (LOG_RETENTION)"), "{problem}");
    }

    #[test]
    fn webhooks_that_wait_or_are_not_taken_for_long_degrade_and_no_more() {
        let problems = |webhooks: Webhooks| {
            let report = Report::new(Findings { webhooks, ..fine() });
            assert!(report.ready);
            (report.status, report.problems)
        };
        let failing =
            |seconds| Webhooks { endpoints: 3, failing: 1, failing_for_s: Some(seconds), ..Webhooks::default() };
        assert_eq!(problems(failing(599.0)), (Status::Ok, Vec::new()), "that passes");
        let told = ["webhooks: 1 of 3 endpoints take nothing, one for 601 s".to_owned()];
        assert_eq!(problems(failing(601.0)), (Status::Degraded, told.into()));
        let cause = Some("the database is away".to_owned());
        let waiting = |seconds| Webhooks { waiting_for_s: Some(seconds), cause: cause.clone(), ..Webhooks::default() };
        assert_eq!(problems(waiting(9.0)), (Status::Ok, Vec::new()));
        let (status, told) = problems(waiting(400.0));
        assert_eq!(status, Status::Degraded);
        assert!(told[0].ends_with("for 86000 s more (LOG_RETENTION): the database is away"), "{told:?}");
    }

    #[test]
    fn what_makes_no_progress_and_what_is_damaged_is_told() {
        let mut findings = fine();
        findings.stalls = vec![Stall { what: "log writer", for_s: 12.4 }];
        findings.damaged = 3;
        let report = Report::new(findings);
        assert_eq!(report.status, Status::Degraded);
        assert!(report.problems[0].starts_with("log: 3 places are damaged"), "{:?}", report.problems);
        assert_eq!(report.problems[1], "log writer: it has work to do and has made no progress for 12 s");
    }

    #[test]
    fn what_refuses_replies_degrades_and_says_why() {
        let mut findings = fine();
        findings.log = Log { kind: "jetstream", problem: Some("no space left".to_owned()), takes_some: true };
        findings.refused = Some(Refused { reason: "the log has no space left".to_owned(), count: 3 });
        let report = Report::new(findings);
        assert_eq!((report.status, report.ready), (Status::Degraded, true));
        assert_eq!(report.problems, ["log: no space left", "replies: 3 were refused: the log has no space left"]);
    }

    #[test]
    fn a_log_that_takes_nothing_is_what_makes_a_server_unavailable() {
        let mut findings = fine();
        findings.log.problem = Some("the disk is nearly full".to_owned());
        findings.store.up = false;
        let report = Report::new(findings);
        assert_eq!(report.status, Status::Unavailable);
        assert_eq!(report.problems[0], "log: the disk is nearly full");
    }
}
