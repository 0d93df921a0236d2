//! Hearing: transcribes recordings of speech.
//!
//! ```text
//!  recording ──▶ first server that is well ──▶ next ──▶ program of this machine ──▶ transcript
//! ```
//!
//! Each has its own pool, timeouts and breaker, as voices have; if none can transcribe, the caller gets an error at
//! once. It does not know what becomes of a transcript.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::local::Local;
use super::server::{Refusal, given_up};
use super::voices::Mode;
use crate::services::fallback::{self, Choice};
use crate::services::{FaultKind, MaxWait, Service, Standing};
use crate::telemetry::{Metrics, Voice};

mod deltas;
mod events;
mod recording;
pub(crate) mod server;
mod transcript;

pub(crate) use recording::{MOST_BYTES, Recording};
pub(crate) use transcript::{Segment, Transcript, Word};

use deltas::Deltas;
use server::HearingServer;

/// The most that a program may write.
const LONGEST_OUTPUT: usize = 1024 * 1024;

/// How hearing is set up.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// The program of this machine that transcribes, and its arguments. Empty: none.
    pub(crate) command: Vec<String>,
    /// How many of it run at once.
    pub(crate) processes: usize,
    /// How long one server, or the program, may take for a whole transcript.
    pub(crate) timeout: Duration,
}

/// Transcribes. A handle: cheap to clone.
#[derive(Clone)]
pub(crate) struct Hearing {
    inner: Arc<Inner>,
}

struct Inner {
    servers: Vec<HearingServer>,
    local: Option<Local>,
    timeout: Duration,
    metrics: Arc<Metrics>,
    mode: Mutex<Mode>,
}

/// A recording that is to be transcribed, and what helps.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The recording.
    pub(crate) recording: Recording,
    /// The model; without one, the server's default.
    pub(crate) model: Option<String>,
    /// The spoken language, as ISO 639-1 code.
    pub(crate) language: Option<String>,
    /// Words that are likely.
    pub(crate) prompt: Option<String>,
    /// From 0 to 1.
    pub(crate) temperature: Option<f64>,
    /// What is wanted beside the text.
    pub(crate) detail: Detail,
    /// The caller: a key for the fair queue.
    pub(crate) caller: String,
}

/// What is wanted of a transcript beside its text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Nothing.
    #[default]
    Text,
    /// With the time of each part.
    Segments,
    /// With the time of each word, too.
    Words,
}

/// Why a recording is not transcribed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unheard {
    /// The request is wrong: for example, the server does not take this audio. In words for a client.
    #[error("{0}")]
    Refused(String),
    /// What there is takes another format.
    #[error("Speech recognition of this server takes wav only (16 or 24 bit PCM, or the like).")]
    Format,
    /// A part was told, and the rest does not come. In words for a client.
    #[error("{0}")]
    BrokenOff(&'static str),
    /// Nobody can transcribe now. In words for a client; a retry is safe.
    #[error("{0}")]
    Nobody(&'static str),
}

impl Request {
    /// A recording of which only the text is wanted.
    pub(crate) fn plain(recording: Recording, caller: &str) -> Self {
        let (caller, detail) = (caller.to_owned(), Detail::Text);
        Self { recording, model: None, language: None, prompt: None, temperature: None, detail, caller }
    }
}

impl Hearing {
    /// Hearing with these servers, the best first.
    pub(crate) fn new(config: Config, servers: Vec<HearingServer>, metrics: Arc<Metrics>) -> Self {
        let local = (!config.command.is_empty()).then(|| Local::new(config.command, config.processes));
        let mode = Mutex::new(Mode::None);
        let hearing = Self { inner: Arc::new(Inner { servers, local, timeout: config.timeout, metrics, mode }) };
        *hearing.inner.mode.lock() = hearing.best();
        hearing
    }

    /// The servers.
    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        self.inner.servers.iter().map(HearingServer::service)
    }

    /// Looks after the servers until `stop`: at once, and again and again.
    pub(crate) async fn watch(self, stop: CancellationToken) {
        let watches = self.inner.servers.iter().map(|server| {
            let probe = || async {
                let answer = server.probe().await;
                // What the last look found is known by now.
                self.mode();
                answer
            };
            server.service().watch(stop.clone(), probe)
        });
        futures_util::future::join_all(watches).await;
    }

    fn best(&self) -> Mode {
        let mut services = self.services();
        let well = services.find(|service| service.standing() < Standing::Open);
        Mode::of(well, !self.inner.servers.is_empty(), self.inner.local.is_some())
    }

    /// What transcribes now. A change is logged once.
    pub(crate) fn mode(&self) -> Mode {
        let (now, mut mode) = (self.best(), self.inner.mode.lock());
        if *mode != now {
            self.inner.metrics.hearing_degraded.set(now.is_degraded().into());
            let (before, now_is) = (&*mode, &now);
            if now.is_degraded() {
                tracing::warn!(?before, now = ?now_is, "hearing is degraded");
            } else {
                tracing::info!(?before, now = ?now_is, "hearing has recovered");
            }
            *mode = now.clone();
        }
        now
    }

    /// Transcribes a recording. Silence is no speech, and no server is asked about it: models make up words for it.
    pub(crate) async fn transcribe(&self, request: &Request) -> Result<Transcript, Unheard> {
        self.transcribe_to(request, &mut Deltas::default()).await
    }

    /// The same, and gives its pieces as they come: as the server sends them, or one where it does not stream.
    pub(crate) async fn transcribe_in_pieces(
        &self,
        request: &Request,
        pieces: UnboundedSender<String>,
    ) -> Result<Transcript, Unheard> {
        self.transcribe_to(request, &mut Deltas::to(pieces)).await
    }

    async fn transcribe_to(&self, request: &Request, deltas: &mut Deltas) -> Result<Transcript, Unheard> {
        if self.inner.servers.is_empty() && self.inner.local.is_none() {
            return Err(Unheard::Nobody(
                "No speech recognition is configured on this server (ASR_BASE_URL, ASR_COMMAND): send the text.",
            ));
        }
        if request.recording.is_silent() {
            return Ok(Transcript::default().of(request));
        }
        let begun = Instant::now();
        let transcript = self.first_that_can(request, deltas).await?;
        deltas.finish(&transcript.text);
        self.inner.metrics.transcription.observe(begun.elapsed());
        Ok(transcript.of(request))
    }

    async fn first_that_can(&self, request: &Request, deltas: &mut Deltas) -> Result<Transcript, Unheard> {
        for server in &self.inner.servers {
            if server.service().standing() >= Standing::Open {
                continue;
            }
            let failed = match self.ask_server(server, request, deltas).await {
                Ok(transcript) => {
                    self.inner.metrics.transcriptions(Voice::Server, "transcribed");
                    return Ok(transcript);
                }
                Err(failed) => failed,
            };
            self.mode();
            if let Some(Refusal { fault, message }) = failed.filter(|refusal| refusal.fault.kind == FaultKind::Request)
            {
                tracing::info!(service = server.service().name(), cause = fault.cause, "a recording was refused");
                self.inner.metrics.transcriptions(Voice::Server, "refused");
                let message = message.unwrap_or_else(|| "The transcription server refused the audio.".to_owned());
                return Err(Unheard::Refused(message));
            }
            self.inner.metrics.transcriptions(Voice::Server, "failed");
            if deltas.have_begun() {
                // What was told is not taken back, and another server would use other words.
                return Err(Unheard::BrokenOff("The transcription broke off: what was sent is not all that was said."));
            }
        }
        self.ask_local(request).await
    }

    /// Asks a server. `None`: it had no room in time, or was found to be away.
    async fn ask_server(
        &self,
        server: &HearingServer,
        request: &Request,
        deltas: &mut Deltas,
    ) -> Result<Transcript, Option<Refusal>> {
        let late = Instant::now() + self.inner.timeout;
        let choices = [Choice { service: server.service(), failed: 0 }];
        let permit = tokio::select! {
            permit = fallback::permit(&choices, &request.caller, MaxWait::For(self.inner.timeout)) => permit,
            () = sleep_until(late) => return Err(None),
            () = given_up(server.service()) => return Err(None),
        };
        let (_, permit) = permit.map_err(|_| None)?;
        server.transcribe(permit, request, deltas, late).await.map_err(Some)
    }

    async fn ask_local(&self, request: &Request) -> Result<Transcript, Unheard> {
        let has_servers = !self.inner.servers.is_empty();
        let Some(local) = &self.inner.local else {
            return Err(Unheard::Nobody("The transcription server cannot be reached, or does not work."));
        };
        let Some(samples) = request.recording.samples() else {
            let only = "The only speech recognition left takes wav, and the audio is of another format.";
            // Without a server no wait makes it another.
            return Err(if has_servers { Unheard::Nobody(only) } else { Unheard::Format });
        };
        let late = Instant::now() + self.inner.timeout;
        let heard = timeout_at(late, output(local, samples)).await;
        let problem = match heard {
            Ok(Ok(text)) => {
                self.inner.metrics.transcriptions(Voice::Local, "transcribed");
                return Ok(Transcript::plain(&text));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it took too long".to_owned(),
        };
        self.inner.metrics.transcriptions(Voice::Local, "failed");
        tracing::warn!(problem, command = local.name(), "the local speech recognition failed");
        Err(Unheard::Nobody("No speech recognition can be reached now."))
    }
}

/// What a program makes of a recording.
async fn output(local: &Local, samples: bytes::Bytes) -> std::io::Result<String> {
    let (mut process, mut output) = (local.run(samples).await?, Vec::new());
    while let Some(bytes) = process.next().await? {
        output.extend_from_slice(&bytes);
        if output.len() > LONGEST_OUTPUT {
            return Err(std::io::Error::other("it writes without end"));
        }
    }
    Ok(String::from_utf8_lossy(&output).into_owned())
}
