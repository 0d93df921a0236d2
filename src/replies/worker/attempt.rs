//! One attempt of a reply: its turn at a model, the call, and what the call came to.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Instrument;

use super::{Attempt, Broken, Go, Interrupt, Over, Worker, interrupted};
use crate::domain::reply::Reply;
use crate::limits::Reservation;
use crate::llm::call::Call;
use crate::llm::{Failed, Served, Slot, Tried};
use crate::replies::appender::{Fence, Stopped};
use crate::replies::measured::Chunks;
use crate::telemetry::spans::{chat_content, chat_ended, chat_span, turn_span};
use crate::telemetry::{ModelCall, TakeoverStage};

/// What came of waiting for a turn at a model.
enum Turn {
    Slot(Slot),
    Refused(Failed),
    Interrupted(Interrupt),
}

impl Worker {
    /// Calls an upstream once, and emits its output.
    pub(super) async fn attempt(&mut self, call: Call, reply: &Reply, tried: &Tried) -> Result<Attempt, Stopped> {
        let deadline = self.deadline();
        let slot = match self.slot.take() {
            Some(slot) => slot,
            None => match self.turn(call.continues(), tried, deadline).instrument(turn_span()).await {
                Turn::Slot(slot) => slot,
                Turn::Refused(Failed { error, server }) => {
                    return Ok(Attempt::Broken(Broken { error, server, progressed: false, thought: false }));
                }
                Turn::Interrupted(interrupt) => return self.handle(interrupt, reply).await.map(Attempt::Over),
            },
        };
        if let Some(begins) = self.begins.take() {
            self.appender.begin(begins).await?;
            if let Some(stages) = &mut self.stages {
                stages.ended(TakeoverStage::Turn);
            }
        }
        self.observed(slot, call, reply).await
    }

    /// Makes a call, and takes note of what it took.
    async fn observed(&mut self, slot: Slot, call: Call, reply: &Reply) -> Result<Attempt, Stopped> {
        let Served { provider, address } = self.workers.upstream.served_by(&slot);
        let (model, before) = (self.accepted.params.model.clone(), self.usage.unwrap_or_default());
        let span = chat_span(&model, (&provider, address.as_deref()));
        self.chunks = Chunks::begin();
        let input = (self.workers.config.captures_content && !span.is_none()).then(|| call.context_json());
        let attempt = self.speak(slot, call, reply).instrument(span.clone()).await;
        let after = self.usage.unwrap_or_default();
        let tokens = [after.input.saturating_sub(before.input), after.output.saturating_sub(before.output)];
        let failure = match &attempt {
            Ok(Attempt::Broken(broken)) => Some(broken.error.fault().kind.as_str()),
            Err(_) => Some("log"),
            Ok(Attempt::Over(_) | Attempt::Compacted) => None,
        };
        self.workers.metrics.conventional.model_call(&ModelCall {
            model: &model,
            provider: &provider,
            failure,
            took: self.chunks.took(),
            first_chunk: self.chunks.first(),
            per_chunk: self.chunks.between(),
            tokens,
            trace: self.accepted.trace.as_deref(),
        });
        chat_ended(&span, failure, tokens);
        if let Some(input) = input {
            let output = serde_json::to_string(&self.appender.reply().await.content().output).unwrap_or_default();
            chat_content(&span, &input, &output);
        }
        attempt
    }

    /// Calls an upstream, and stores its output.
    async fn speak(&mut self, slot: Slot, call: Call, reply: &Reply) -> Result<Attempt, Stopped> {
        let (workers, deadline) = (Arc::clone(&self.workers), self.deadline());
        let mut starting = std::pin::pin!(workers.upstream.start(slot, call, deadline));
        let started = loop {
            tokio::select! {
                biased;
                opened = open(&mut self.gate, &mut self.fence, &mut self.reserved), if self.gate.is_some() => {
                    if !opened {
                        return Ok(Attempt::Over(Over::Abandoned));
                    }
                }
                interrupt = interrupted(&mut self.registration.commands, &self.workers.leave, &self.appender), if self.gate.is_none() => {
                    return self.handle(interrupt, reply).await.map(Attempt::Over);
                }
                started = &mut starting => break started,
            }
        };
        if !open(&mut self.gate, &mut self.fence, &mut self.reserved).await {
            return Ok(Attempt::Over(Over::Abandoned));
        }
        match started {
            Ok(started) => self.listen(started, reply).await,
            Err(Failed { error, server }) => {
                Ok(Attempt::Broken(Broken { error, server, progressed: false, thought: false }))
            }
        }
    }

    /// Waits for the reply's turn at a model; a suspect first until it is the only one here.
    async fn turn(&mut self, continues: bool, tried: &Tried, deadline: Instant) -> Turn {
        let (workers, accepted) = (Arc::clone(&self.workers), Arc::clone(&self.accepted));
        let is_suspect = self.begins.is_some_and(|begins| begins.alone);
        let quarantine = &mut self.quarantine;
        let turn = async {
            if is_suspect {
                *quarantine = Arc::clone(&workers.quarantine).acquire_owned().await.ok();
            }
            workers.slot_again(&accepted, continues, tried, deadline).await
        };
        tokio::select! {
            interrupt = interrupted(&mut self.registration.commands, &self.workers.leave, &self.appender) => {
                Turn::Interrupted(interrupt)
            }
            slot = turn => slot.map_or_else(Turn::Refused, Turn::Slot),
        }
    }
}

/// Waits for the gate. `false`: the reply was not accepted. An open gate is gone.
async fn open(
    gate: &mut Option<oneshot::Receiver<Go>>,
    fence: &mut Option<Fence>,
    reserved: &mut Option<Reservation>,
) -> bool {
    let Some(waiting) = gate else { return true };
    let opened = waiting.await;
    *gate = None;
    let Ok(go) = opened else { return false };
    (*fence, *reserved) = (Some(go.fence), Some(go.reserved));
    true
}
