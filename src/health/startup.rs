//! What a start waits for, until the server is put together: what `/healthz` tells meanwhile.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

use super::Status;

/// A start. A handle: cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Startup {
    begun: Instant,
    awaited: Arc<Mutex<Vec<State>>>,
}

/// Something that is waited for. A handle: cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Awaited {
    what: &'static str,
    startup: Startup,
}

/// How it is with something that is waited for.
#[derive(Debug)]
struct State {
    what: &'static str,
    address: String,
    since: Instant,
    tries: u32,
    problem: Option<String>,
    change: Option<String>,
}

/// The same, for people.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    what: &'a str,
    address: &'a str,
    for_s: u64,
    /// Tries that failed.
    tries: u32,
    problem: Option<&'a str>,
    change: Option<&'a str>,
}

impl Startup {
    /// One that begins now.
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now(), awaited: Arc::default() }
    }

    /// From now on something is waited for: the `log`, say. `address` is shown: it holds no secret.
    pub(crate) fn wait_for(&self, what: &'static str, address: String) -> Awaited {
        let state = State { what, address, since: Instant::now(), tries: 0, problem: None, change: None };
        self.awaited.lock().push(state);
        Awaited { what, startup: self.clone() }
    }

    /// What is waited for, with the keys that every report of health has.
    pub(crate) fn report(&self) -> Value {
        let awaited = self.awaited.lock();
        let problem = |state: &State| {
            let why = state.problem.as_deref().unwrap_or("it has not answered yet");
            format!("the start waits for the {} at {}: {why}", state.what, state.address)
        };
        json!({
            "status": Status::Unavailable,
            "problems": awaited.iter().map(problem).collect::<Vec<_>>(),
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_s": self.begun.elapsed().as_secs(),
            "ready": false,
            "waiting_for": awaited.iter().map(State::shown).collect::<Vec<_>>(),
            "replies_running": 0,
            "streams_open": 0,
        })
    }
}

impl Awaited {
    /// It is not there yet: why not, and what could be changed.
    pub(crate) fn failed(&self, problem: String, change: String) {
        if let Some(state) = self.startup.awaited.lock().iter_mut().find(|state| state.what == self.what) {
            state.tries += 1;
            (state.problem, state.change) = (Some(problem), Some(change));
        }
    }

    /// It is there.
    pub(crate) fn reached(&self) {
        self.startup.awaited.lock().retain(|state| state.what != self.what);
    }
}

impl State {
    fn shown(&self) -> Shown<'_> {
        Shown {
            what: self.what,
            address: &self.address,
            for_s: self.since.elapsed().as_secs(),
            tries: self.tries,
            problem: self.problem.as_deref(),
            change: self.change.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for_is_told_until_it_is_there() {
        let startup = Startup::begin();
        let log = startup.wait_for("log", "nats://a:4222".to_owned());
        let store = startup.wait_for("store", "b:5432".to_owned());
        log.failed("connection refused".to_owned(), "NATS_URL".to_owned());
        let report = startup.report();
        assert_eq!((&report["status"], &report["ready"]), (&json!("unavailable"), &json!(false)));
        assert_eq!(report["problems"][0], "the start waits for the log at nats://a:4222: connection refused");
        let told = json!({"what": "log", "address": "nats://a:4222", "for_s": 0, "tries": 1,
                          "problem": "connection refused", "change": "NATS_URL"});
        assert_eq!(report["waiting_for"][0], told);
        assert_eq!(report["waiting_for"][1]["problem"], Value::Null);
        store.reached();
        log.reached();
        assert_eq!(startup.report()["waiting_for"], json!([]));
    }
}
