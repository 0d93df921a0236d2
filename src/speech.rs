//! Speech: speaks replies aloud while they are generated, and single texts; and transcribes what is spoken ([`hearing`]).
//!
//! ```text
//!  feed ──text──▶ sentences ──▶ voices: speech server → next → local voice ──audio──▶ take ──▶ the reply's log
//! ```
//!
//! It follows a reply's feed and writes through the reply's own appender; so audio is numbered, stored, fenced and
//! rejoined as text is. It has its own tasks, connections, processes and timeouts: whatever becomes of them, the text
//! goes on, and the reply reports what is missing. It does not know how the text is made, nor who listens.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domain::caller::Caller;
use crate::domain::params::AudioFormat;
use crate::services::Service;
use crate::speech::server::{Ask, SpeechServer};
use crate::telemetry::Metrics;

pub(crate) mod aloud;
pub(crate) mod hearing;
mod local;
mod plain;
mod resample;
pub(crate) mod server;
pub(crate) mod sentences;
mod take;
mod voices;
pub(crate) mod wav;
mod words;

pub(crate) use voices::{Mode, Timeouts};

use local::Local;
pub(crate) use voices::Utterance;
use voices::Voices;

/// How speech is set up.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The program of this machine that speaks, and its arguments. Empty: none.
    pub(crate) command: Vec<String>,
    /// How many of it run at once.
    pub(crate) processes: usize,
    /// Calls of all speech servers at once.
    pub(crate) connections: usize,
    /// The timeouts.
    pub(crate) timeouts: Timeouts,
}

/// Speaks. A handle: cheap to clone.
#[derive(Clone)]
pub(crate) struct Speech {
    voices: Arc<Voices>,
    tasks: TaskTracker,
}

/// A text that is to be spoken by itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SpeechRequest {
    /// The caller.
    pub(crate) caller: Caller,
    /// The text.
    pub(crate) input: String,
    /// The voice; without one, the server's default.
    pub(crate) voice: Option<String>,
    /// The form of the audio; without one, what there is.
    pub(crate) format: Option<AudioFormat>,
    /// How fast, 1 being the voice's own pace.
    pub(crate) speed: Option<f64>,
    /// The model; without one, the server's default.
    pub(crate) model: Option<String>,
    /// Instructions for the voice, for models that take them.
    pub(crate) instructions: Option<String>,
}

/// Why a text is not spoken, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unspoken {
    /// The request is wrong: for example, it names a voice that does not exist. In words for a client.
    #[error("{0}")]
    Refused(String),
    /// No voice that is configured gives this format.
    #[error("The only voice of this server speaks as wav and pcm.")]
    Format,
    /// No voice can speak now. In words for a client; a retry is safe.
    #[error("{0}")]
    Nobody(&'static str),
}

/// A text that is spoken.
pub(crate) struct SpokenText {
    /// The form of the audio.
    pub(crate) format: AudioFormat,
    /// The audio, as it comes. It ends with an error if it is cut short.
    pub(crate) audio: BoxStream<'static, Result<Bytes, std::io::Error>>,
}

impl Speech {
    /// Speech with these servers, the best first. Its tasks are spawned on `tasks`.
    pub(crate) fn new(config: Config, servers: Vec<SpeechServer>, metrics: Arc<Metrics>, tasks: TaskTracker) -> Self {
        let local = (!config.command.is_empty()).then(|| Local::new(config.command, config.processes));
        let voices = Voices::new(servers, local, config.timeouts, config.connections, metrics);
        Self { voices: Arc::new(voices), tasks }
    }

    /// What speaks now. A change is logged once.
    pub(crate) fn mode(&self) -> Mode {
        self.voices.mode()
    }

    /// The speech servers.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        self.voices.servers().iter().map(SpeechServer::service)
    }

    /// Checks the health of the servers until `stop`: at once, and again and again.
    pub(crate) async fn watch(self, stop: CancellationToken) {
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

impl Speech {
    /// The tasks of speech.
    pub(crate) const fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Whether speech was never configured.
    pub(crate) fn is_none(&self) -> bool {
        self.voices.is_none()
    }

    /// Speaks a text in this format, or, without one, in the first voice's own; the first `skip` bytes of it are
    /// there already.
    pub(crate) fn speak(&self, ask: Ask, format: Option<AudioFormat>, skip: u64) -> Utterance {
        self.voices.speak(ask, format, skip)
    }

    /// Speaks a text. Returns the audio once its beginning is there.
    pub(crate) async fn synthesize(&self, request: SpeechRequest) -> Result<SpokenText, Unspoken> {
        let SpeechRequest { caller, input, voice, format, speed, model, instructions } = request;
        let caller = caller.owner().as_str().to_owned();
        let ask = Ask { text: input, voice, model, speed, instructions, caller };
        spoken(self.speak(ask, format, 0)).await
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
