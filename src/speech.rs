//! Speech: speaks replies aloud while they are said, and single texts.
//!
//! ```text
//!  feed ──text──▶ sentences ──▶ voices: speech server → next → local voice ──audio──▶ take ──▶ the reply's chain
//! ```
//!
//! It follows a reply's feed and writes through the reply's own [`Appender`]; so audio is numbered, stored, fenced and
//! rejoined as text is. It has its own tasks, connections, processes and clocks: whatever becomes of them, the text goes on,
//! and the reply says what it had to do without. It does not know how the text is made, nor who listens.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::conversation::params::{AudioFormat, AudioParams};
use crate::log::appender::Appender;
use crate::telemetry::Metrics;
use crate::threads::command::{Speaker, Speaking, SpeechRequest, SpokenText, Unspoken};
use crate::upstream::service::Service;
use crate::upstream::speech::{Ask, SpeechServer};

mod local;
mod pipeline;
mod plain;
mod resample;
pub mod sentences;
mod take;
mod voices;
mod wav;
mod words;

pub use voices::{Mode, Timeouts};

use local::Local;
use pipeline::Pipeline;
use voices::{Utterance, Voices};

/// How speech is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// The program of this machine that speaks, and what it is called with. Empty: none.
    pub command: Vec<String>,
    /// How many of it run at once.
    pub processes: usize,
    /// Calls of all speech servers at once.
    pub connections: usize,
    /// How long is waited for what.
    pub timeouts: Timeouts,
}

/// Speaks. A handle: cheap to clone.
#[derive(Clone)]
pub struct Speech {
    voices: Arc<Voices>,
    tasks: TaskTracker,
}

impl Speech {
    /// Speech with these servers, the best first. Its tasks are spawned on `tasks`.
    pub fn new(config: Config, servers: Vec<SpeechServer>, metrics: Arc<Metrics>, tasks: TaskTracker) -> Self {
        let local = (!config.command.is_empty()).then(|| Local::new(config.command, config.processes));
        let voices = Voices::new(servers, local, config.timeouts, config.connections, metrics);
        Self { voices: Arc::new(voices), tasks }
    }

    /// Who speaks now.
    pub fn mode(&self) -> Mode {
        self.voices.mode()
    }

    /// The speech servers.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.voices.servers().iter().map(SpeechServer::service)
    }

    /// Looks after the servers until `stop`: at once, and again and again.
    pub async fn watch(self, stop: CancellationToken) {
        let watches = self.voices.servers().iter().map(|server| {
            let probe = || async {
                let answer = server.probe().await;
                // What the last look found is known by now.
                self.voices.mode();
                answer
            };
            server.service().watch(stop.clone(), probe)
        });
        futures_util::future::join_all(watches).await;
    }
}

impl Speaker for Speech {
    fn speak(&self, audio: AudioParams, appender: Arc<Appender>) -> Speaking {
        let voices = Arc::clone(&self.voices);
        Speaking::start(|wishes| self.tasks.spawn(Pipeline { voices, audio, appender, wishes }.run()))
    }

    fn synthesize(&self, request: SpeechRequest) -> BoxFuture<'static, Result<SpokenText, Unspoken>> {
        let SpeechRequest { caller, input, voice, format, speed, model, instructions } = request;
        let caller = serde_json::to_string(&caller).unwrap_or_default();
        let ask = Ask { text: input, voice, model, speed, instructions, caller };
        let utterance = self.voices.say(ask, format, 0);
        Box::pin(spoken(utterance))
    }
}

/// A text that is spoken, once its beginning is there.
async fn spoken(mut utterance: Utterance) -> Result<SpokenText, Unspoken> {
    let first = utterance.next().await?.unwrap_or_default();
    let format = utterance.format().unwrap_or(AudioFormat::Wav);
    let header = (format == AudioFormat::Wav).then(|| Bytes::copy_from_slice(&wav::header()));
    let begin = header.into_iter().chain([Bytes::from(first)]).map(Ok);
    let rest = stream::unfold(Some(utterance), |utterance| async move {
        let mut utterance = utterance?;
        match utterance.next().await {
            Ok(Some(bytes)) => Some((Ok(Bytes::from(bytes)), Some(utterance))),
            Ok(None) => None,
            // What is cut short has to look like it.
            Err(unspoken) => Some((Err(std::io::Error::other(unspoken)), None)),
        }
    });
    let audio = Box::pin(futures_util::StreamExt::chain(stream::iter(begin.collect::<Vec<_>>()), rest));
    Ok(SpokenText { format, audio })
}
