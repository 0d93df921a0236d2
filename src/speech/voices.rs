//! The voices, the best first: speech servers in order, then a voice of this machine, then none. Each text is spoken by
//! the best that can; one that fails in the middle is replaced by the next, which leaves out what was heard already.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::local::Local;
use crate::domain::params::AudioFormat;
use crate::services::{Service, Standing};
use crate::speech::server::{Ask, SpeechServer};
use crate::telemetry::Metrics;

mod utterance;

pub(crate) use utterance::Utterance;

/// How long is waited for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// For the first audible audio, counted from when a text is to be spoken.
    pub(crate) first: Duration,
    /// Between two pieces of it.
    pub(crate) between: Duration,
}

/// All voices.
pub(super) struct Voices {
    servers: Vec<SpeechServer>,
    local: Option<Local>,
    timeouts: Timeouts,
    metrics: Arc<Metrics>,
    /// Calls of all servers at once.
    room: Arc<Semaphore>,
    mode: Mutex<Mode>,
}

/// What speaks or transcribes, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A server, of this name.
    Server(String),
    /// A program of this machine, though there is a server; or because there is none.
    Local {
        /// Whether a server should speak in its place.
        instead: bool,
    },
    /// Nothing can, though speech is configured.
    Off,
    /// Nobody was ever meant to.
    None,
}

impl Voices {
    pub(super) fn new(
        servers: Vec<SpeechServer>,
        local: Option<Local>,
        timeouts: Timeouts,
        connections: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        let mode = Mutex::new(Mode::None);
        let voices = Self { servers, local, timeouts, metrics, room: Arc::new(Semaphore::new(connections)), mode };
        *voices.mode.lock() = voices.best();
        voices
    }

    /// Whether speech was never configured.
    pub(super) const fn is_none(&self) -> bool {
        self.servers.is_empty() && self.local.is_none()
    }

    pub(super) fn servers(&self) -> &[SpeechServer] {
        &self.servers
    }

    /// What would speak now.
    fn best(&self) -> Mode {
        let well = self.servers.iter().find(|server| server.service().standing() < Standing::Open);
        Mode::of(well.map(SpeechServer::service), !self.servers.is_empty(), self.local.is_some())
    }

    /// What speaks now. A change is logged once.
    pub(super) fn mode(&self) -> Mode {
        let (now, mut mode) = (self.best(), self.mode.lock());
        if *mode != now {
            self.metrics.speech_degraded.set(now.is_degraded().into());
            let (before, now_is) = (&*mode, &now);
            if now.is_degraded() {
                tracing::warn!(?before, now = ?now_is, "speech is degraded");
            } else {
                tracing::info!(?before, now = ?now_is, "speech has recovered");
            }
            *mode = now.clone();
        }
        now
    }

    /// Speaks a text in this format, or, without one, in the first voice's own; the first `skip` bytes of it are
    /// there already.
    pub(super) fn speak(self: &Arc<Self>, ask: Ask, format: Option<AudioFormat>, skip: u64) -> Utterance {
        Utterance::new(Arc::clone(self), ask, format, skip)
    }

    /// The server to ask next: one that is well and has not failed in this matter.
    fn next_server(&self, failed: &[u32]) -> Option<usize> {
        let fit = |index: &usize| failed[*index] == 0 && self.servers[*index].service().standing() < Standing::Open;
        (0..self.servers.len()).find(fit)
    }
}

impl Mode {
    /// What does it: the first server that is healthy, if there are any; else a program of this machine, if there is
    /// one.
    pub(super) fn of(well: Option<&Service>, has_servers: bool, has_local: bool) -> Self {
        match well {
            Some(service) => Self::Server(service.name().to_owned()),
            None if has_local => Self::Local { instead: has_servers },
            None if has_servers => Self::Off,
            None => Self::None,
        }
    }

    /// Whether it is less than it should be.
    pub(crate) const fn is_degraded(&self) -> bool {
        matches!(self, Self::Off | Self::Local { instead: true })
    }
}
