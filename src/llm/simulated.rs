//! A model server that is played by a simulation, which decides what it generates, how fast, and where it fails. Only
//! with the feature `simulation`.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::time::{Instant, sleep, timeout_at};

use super::call::{Call, Continuation};
use super::delta::{Delta, FinishReason, UpstreamError};
use super::failure;
use crate::domain::event::Usage;
use crate::simulation::Process;

/// Plays a model server.
pub trait Model: Send + Sync + 'static {
    /// The answer to a call.
    fn play(&self, asked: Asked) -> Play;
}

/// A call, as the model server gets it.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The context so far, oldest first; ends with the reply's own input. Items as records hold them.
    pub context: Vec<serde_json::Value>,
    /// What the reply has generated already.
    pub prefix: String,
}

/// What a model server does in answer to a call.
#[derive(Debug, Clone)]
pub struct Play {
    /// It follows its instruction and repeats the last words: then they are repeated in its first text.
    pub repeats: bool,
    /// What it does, in order. It ends well after the last.
    pub steps: VecDeque<Step>,
}

/// One thing that a model server does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, for a while.
    Wait(Duration),
    /// It generates a text of one token.
    Text(String),
    /// It thinks.
    Thought(String),
    /// It breaks off; as the very first step, it refuses the call.
    Break,
}

/// The model server of an instance.
#[derive(Clone)]
pub(super) struct Simulated {
    model: Arc<dyn Model>,
    process: Process,
}

impl std::fmt::Debug for Simulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulated").finish_non_exhaustive()
    }
}

/// Its output.
pub(super) type Deltas = Pin<Box<dyn Stream<Item = Result<Delta, UpstreamError>> + Send>>;

/// The output that is left.
struct Playing {
    steps: VecDeque<Step>,
    process: Process,
    deadline: Instant,
    tokens: u64,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Generating,
    TextDone,
    Over,
}

impl Simulated {
    pub(super) fn new(model: Arc<dyn Model>, process: Process) -> Self {
        Self { model, process }
    }

    /// Starts to generate, or refuses to.
    pub(super) async fn start(&self, call: &Call, deadline: Instant) -> Result<(Continuation, Deltas), UpstreamError> {
        self.process.turn().await;
        let items = call.context.iter().map(|entry| serde_json::to_value(&entry.item).unwrap_or_default());
        let prefix = call.prefix.as_ref().map_or("", |prefix| prefix.text.trim_end()).to_owned();
        let continuation = |repeats| match (prefix.is_empty(), repeats) {
            (true, _) => Continuation::Fresh,
            (false, false) => Continuation::Prefill,
            (false, true) => Continuation::Instruct,
        };
        let Play { repeats, steps } = self.model.play(Asked { context: items.collect(), prefix: prefix.clone() });
        if steps.front() == Some(&Step::Break) {
            return Err(broken());
        }
        let process = self.process.clone();
        let playing = Playing { steps, process, deadline, tokens: 0, stage: Stage::Generating };
        Ok((continuation(repeats), Box::pin(stream::unfold(playing, Playing::next))))
    }
}

impl Playing {
    async fn next(mut self) -> Option<(Result<Delta, UpstreamError>, Self)> {
        let step = if let Ok(step) = timeout_at(self.deadline, self.step()).await {
            step?
        } else {
            self.stage = Stage::Over;
            Err(failure::unreachable("The reply took too long.", "the deadline of the reply passed"))
        };
        self.process.turn().await;
        Some((step, self))
    }

    async fn step(&mut self) -> Option<Result<Delta, UpstreamError>> {
        while self.stage == Stage::Generating {
            let step = self.steps.pop_front();
            match step {
                Some(Step::Wait(wait)) => sleep(wait).await,
                Some(Step::Text(text)) => {
                    self.tokens += 1;
                    return Some(Ok(Delta::Content { text, logprobs: Vec::new() }));
                }
                Some(Step::Thought(thought)) => return Some(Ok(Delta::Reasoning(thought))),
                Some(Step::Break) => {
                    self.stage = Stage::Over;
                    return Some(Err(broken()));
                }
                None => self.stage = Stage::TextDone,
            }
            if self.stage == Stage::TextDone {
                let usage = Usage { output: self.tokens, total: self.tokens, ..Usage::default() };
                return Some(Ok(Delta::Usage(usage)));
            }
        }
        let is_last = std::mem::replace(&mut self.stage, Stage::Over) == Stage::TextDone;
        is_last.then_some(Ok(Delta::Finish(FinishReason::Stop)))
    }
}

fn broken() -> UpstreamError {
    failure::unreachable("The model server broke off.", "simulated")
}
