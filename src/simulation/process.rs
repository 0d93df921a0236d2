//! A process that can be killed, stand still, and lose its connection. Everything that an instance hears or says passes here.
//!
//! Killed, it hears and says nothing any more: what is left of it in memory can do no harm and is of no use, as if it were
//! gone. Nothing of it is dropped, since a process that is killed drops nothing either.

use std::cell::Cell;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

thread_local! {
    /// How far the wall clock of the process that has its turn goes ahead, in milliseconds.
    static AHEAD: Cell<i64> = const { Cell::new(0) };
}

/// How far the wall clock of the process that had the last turn goes ahead of the true one, in milliseconds.
pub fn clock_ahead() -> i64 {
    AHEAD.get()
}

/// A handle: cheap to clone.
#[derive(Debug, Clone)]
pub struct Process {
    state: Arc<watch::Sender<State>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    life: Life,
    is_cut: bool,
    /// Since when it runs and is connected; while it is not, since when it is not.
    since: Instant,
    /// How far its wall clock goes ahead, in milliseconds.
    ahead: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    Frozen,
    Killed,
}

impl State {
    fn new() -> Self {
        Self { life: Life::Running, is_cut: false, since: Instant::now(), ahead: 0 }
    }
}

impl Process {
    /// One that runs and is connected.
    pub fn start() -> Self {
        Self { state: Arc::new(watch::Sender::new(State::new())) }
    }

    /// Waits until it runs: for ever, if it was killed.
    pub async fn turn(&self) {
        if self.is_running() {
            AHEAD.set(self.state.borrow().ahead);
            return;
        }
        let mut state = self.state.subscribe();
        // The sender lives in `self`.
        let _ = state.wait_for(|state| state.life == Life::Running).await;
        if !self.is_running() {
            std::future::pending::<()>().await;
        }
        AHEAD.set(self.state.borrow().ahead);
    }

    /// Has its wall clock leap by so many milliseconds.
    pub fn leap(&self, by: i64) {
        self.state.send_modify(|state| state.ahead += by);
    }

    /// Since when it runs and is connected. `None`: it is not.
    pub fn well_since(&self) -> Option<Instant> {
        let state = self.state.borrow();
        (state.life == Life::Running && !state.is_cut).then_some(state.since)
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.state.borrow().life == Life::Running
    }

    /// Whether it was killed.
    pub fn is_killed(&self) -> bool {
        self.state.borrow().life == Life::Killed
    }

    /// Whether what it says reaches others, and what others say reaches it.
    pub fn is_connected(&self) -> bool {
        !self.state.borrow().is_cut
    }

    /// Ends it, without a word.
    pub fn kill(&self) {
        self.state.send_modify(|state| (state.life, state.since) = (Life::Killed, Instant::now()));
    }

    /// Has it stand still.
    pub fn freeze(&self) {
        self.become_alive(Life::Running, Life::Frozen);
    }

    /// Has it go on.
    pub fn thaw(&self) {
        self.become_alive(Life::Frozen, Life::Running);
    }

    fn become_alive(&self, from: Life, to: Life) {
        self.state.send_if_modified(|state| {
            let changes = state.life == from;
            if changes {
                (state.life, state.since) = (to, Instant::now());
            }
            changes
        });
    }

    /// Cuts its connection, or mends it.
    pub fn cut(&self, is_cut: bool) {
        self.state.send_modify(|state| (state.is_cut, state.since) = (is_cut, Instant::now()));
    }

    /// Waits until it is killed.
    pub async fn killed(&self) {
        let mut state = self.state.subscribe();
        if state.wait_for(|state| state.life == Life::Killed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
