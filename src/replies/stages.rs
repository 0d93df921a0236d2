//! Where the time of a takeover goes: for metrics, and in debug logs for one reply.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::domain::ids::ReplyId;
use crate::telemetry::{Metrics, TakeoverStage};

/// The stages of one takeover, each measured from the end of the one before.
#[derive(Debug)]
pub(super) struct Stages {
    metrics: Arc<Metrics>,
    reply: ReplyId,
    since: Instant,
}

impl Stages {
    /// A takeover begins; `silence`: the time since the last heartbeat of the reply's owner, if there was one.
    pub(super) fn begin(metrics: &Arc<Metrics>, reply: ReplyId, silence: Option<Duration>) -> Self {
        let stages = Self { metrics: Arc::clone(metrics), reply, since: Instant::now() };
        if let Some(silence) = silence {
            stages.note(TakeoverStage::Silence, silence);
        }
        stages
    }

    /// A stage is over.
    pub(super) fn ended(&mut self, stage: TakeoverStage) {
        let took = self.since.elapsed();
        self.since += took;
        self.note(stage, took);
    }

    fn note(&self, stage: TakeoverStage, took: Duration) {
        tracing::debug!(reply = %self.reply, stage = stage.name(), took_ms = took.as_millis(), "takeover stage");
        self.metrics.takeover_stages.of(stage).observe(took);
    }
}
