//! One text, spoken: by one voice, and where that fails by the next, which leaves out what was heard already.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::super::Unspoken;
use super::super::local::Process;
use super::super::take::Take;
use super::Voices;
use crate::domain::params::AudioFormat;
use crate::services::fallback::{self, Choice};
use crate::services::{Fault, FaultKind, MaxWait};
use crate::speech::server::{Ask, Audio, Refusal, SpeechServer};
use crate::telemetry::{Metrics, Voice};

/// What a text may take altogether, besides the wait for its beginning: speech takes about 70 ms a character.
const PER_CHARACTER: Duration = Duration::from_millis(200);

/// A voice that makes no pieces needs this long for the whole before the first.
const FIRST_PER_CHARACTER: Duration = Duration::from_millis(30);

/// Characters that are within the usual wait.
const USUAL: usize = 300;

/// A text that is being spoken.
pub(crate) struct Utterance {
    voices: Arc<Voices>,
    ask: Ask,
    format: Option<AudioFormat>,
    /// Bytes of audio that are there.
    delivered: u64,
    /// How often each server has failed.
    failed: Vec<u32>,
    local_failed: bool,
    speaking: Option<Speaking>,
    /// How long one voice may take to be heard, and how long altogether.
    waits: Duration,
    whole: Duration,
}

/// One voice at it.
struct Speaking {
    voice: Voice,
    source: Source,
    take: Take,
    begun: Instant,
    /// When something has to be heard, and when all of it.
    first: Instant,
    last: Instant,
    heard: bool,
    /// Everything was passed on.
    over: bool,
}

enum Source {
    Server { audio: Box<Audio>, server: Box<SpeechServer>, _room: OwnedSemaphorePermit },
    Local(Box<Process>),
}

impl Utterance {
    pub(super) fn new(voices: Arc<Voices>, ask: Ask, format: Option<AudioFormat>, skip: u64) -> Self {
        let length = ask.text.chars().count();
        let beyond = u32::try_from(length.saturating_sub(USUAL)).unwrap_or(u32::MAX);
        let all = u32::try_from(length).unwrap_or(u32::MAX);
        Self {
            ask,
            format,
            delivered: skip,
            failed: vec![0; voices.servers.len()],
            local_failed: false,
            speaking: None,
            waits: voices.timeouts.first + FIRST_PER_CHARACTER * beyond,
            whole: voices.timeouts.first + PER_CHARACTER * all,
            voices,
        }
    }

    /// The form of the audio; known once some of it is there.
    pub(crate) const fn format(&self) -> Option<AudioFormat> {
        self.format
    }

    /// More of the audio. `None`: that was all.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Unspoken> {
        let mut out = Vec::new();
        loop {
            let Some(speaking) = &mut self.speaking else {
                self.speaking = Some(self.begin().await?);
                continue;
            };
            if speaking.over {
                self.voices.metrics.speech_texts(speaking.voice, "spoken");
                return Ok(None);
            }
            let read = speaking.read(self.voices.timeouts.between).await;
            let read = read.and_then(|bytes| speaking.digest(bytes.as_ref(), &mut out, &self.voices.metrics));
            match read {
                Ok(()) if out.is_empty() => {}
                Ok(()) => return Ok(Some(self.deliver(out))),
                Err(problem) => self.fail(&problem),
            }
        }
    }

    /// What is there already, without waiting for it.
    pub(crate) fn at_once(&mut self, most: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(speaking) = self.speaking.as_mut().filter(|speaking| !speaking.over && out.len() < most) {
            let Some(read) = speaking.source.next().now_or_never() else { break };
            if let Err(problem) = read.and_then(|bytes| speaking.digest(bytes.as_ref(), &mut out, &self.voices.metrics))
            {
                self.fail(&problem);
                break;
            }
        }
        self.deliver(out)
    }

    fn deliver(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        self.delivered += bytes.len() as u64;
        self.format = self.speaking.as_ref().map(|speaking| speaking.take.format()).or(self.format);
        bytes
    }

    /// Notes that the voice that was speaking failed.
    fn fail(&mut self, problem: &str) {
        let Some(mut speaking) = self.speaking.take() else { return };
        self.voices.metrics.speech_texts(speaking.voice, "failed");
        match &mut speaking.source {
            Source::Server { audio, .. } => audio.failed(&Fault::unavailable(problem)),
            Source::Local(_) => {
                self.local_failed = true;
                tracing::warn!(problem, "the local voice failed");
            }
        }
        self.voices.mode();
    }

    /// Finds the next voice.
    async fn begin(&mut self) -> Result<Speaking, Unspoken> {
        while let Some(index) = self.voices.next_server(&self.failed) {
            self.failed[index] += 1;
            if let Some(speaking) = self.ask_server(index).await? {
                return Ok(speaking);
            }
            self.voices.metrics.speech_texts(Voice::Server, "failed");
            self.voices.mode();
        }
        self.ask_local().await
    }

    /// Asks a server. `None`: it does not speak.
    async fn ask_server(&mut self, index: usize) -> Result<Option<Speaking>, Unspoken> {
        let server = self.voices.servers[index].clone();
        let format = self.format.unwrap_or(AudioFormat::Mp3);
        let begun = Instant::now();
        let late = begun + self.waits;
        let choices = [Choice { service: server.service(), failed: 0 }];
        // Another voice is better than a long wait.
        let permit = async {
            let room = Arc::clone(&self.voices.room).acquire_owned().await.ok()?;
            let permit = fallback::permit(&choices, &self.ask.caller, MaxWait::For(self.waits)).await;
            permit.ok().map(|(_, permit)| (room, permit))
        };
        let permit = tokio::select! {
            permit = permit => permit,
            () = sleep_until(late) => None,
            () = server.given_up() => None,
        };
        let Some((room, permit)) = permit else { return Ok(None) };
        let mut audio = match server.speak(permit, &self.ask, format, Instant::now() + self.waits).await {
            Ok(audio) => audio,
            Err(Refusal { fault, message }) if fault.kind == FaultKind::Request => {
                self.voices.metrics.speech_texts(Voice::Server, "refused");
                let message = message.unwrap_or_else(|| "The speech server refused the request.".to_owned());
                return Err(Unspoken::Refused(message));
            }
            Err(_) => return Ok(None),
        };
        match Take::new(format, self.delivered, audio.content_type()) {
            Ok(take) => {
                let source = Source::Server { audio: Box::new(audio), server: Box::new(server), _room: room };
                Ok(Some(self.speaking(Voice::Server, source, take, begun)))
            }
            Err(bad) => {
                audio.failed(&Fault::unavailable(bad.to_string()));
                Ok(None)
            }
        }
    }

    async fn ask_local(&mut self) -> Result<Speaking, Unspoken> {
        let voices = Arc::clone(&self.voices);
        let nobody = match (&voices.local, voices.servers.is_empty()) {
            (None, true) => "No voice is configured on this server.",
            (None, false) => "The speech server cannot be reached, or does not speak.",
            (Some(_), _) => "No voice can speak now.",
        };
        let format = self.format.unwrap_or(AudioFormat::Wav);
        let Some(local) = voices.local.as_ref().filter(|_| !self.local_failed) else {
            return Err(Unspoken::Nobody(nobody));
        };
        if !format.is_samples() {
            let only = "The only voice left speaks as wav and pcm, and another format was asked for.";
            // Without a server no wait makes it another.
            return Err(if voices.servers.is_empty() { Unspoken::Format } else { Unspoken::Nobody(only) });
        }
        let begun = Instant::now();
        let process = timeout_at(begun + self.waits, local.speak(&self.ask.text, self.ask.voice.as_deref())).await;
        let problem = match process {
            Ok(Ok(process)) => {
                let take = Take::new(format, self.delivered, None).map_err(|_| Unspoken::Nobody(nobody))?;
                return Ok(self.speaking(Voice::Local, Source::Local(Box::new(process)), take, begun));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it is busy".to_owned(),
        };
        self.local_failed = true;
        voices.metrics.speech_texts(Voice::Local, "failed");
        tracing::warn!(problem, command = local.name(), "cannot start the local voice");
        Err(Unspoken::Nobody(nobody))
    }

    fn speaking(&self, voice: Voice, source: Source, take: Take, begun: Instant) -> Speaking {
        let now = Instant::now();
        let (first, last) = (now + self.waits, now + self.whole);
        Speaking { voice, source, take, begun, first, last, heard: false, over: false }
    }
}

impl Speaking {
    /// The next audio. Errors are words for the person on call.
    async fn read(&mut self, between: Duration) -> Result<Option<Bytes>, String> {
        let (heard, late) = (self.heard, if self.heard { Instant::now() + between } else { self.first });
        let server = match &self.source {
            Source::Server { server, .. } if !heard => Some(server.clone()),
            _ => None,
        };
        let given_up = async {
            match server {
                Some(server) => server.given_up().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            bytes = self.source.next() => bytes,
            () = sleep_until(late.min(self.last)) => Err(match (Instant::now() >= self.last, heard) {
                (true, _) => "it took too long".to_owned(),
                (false, true) => format!("nothing came for {} s", between.as_secs_f64()),
                (false, false) => "nothing was heard in time".to_owned(),
            }),
            () = given_up => Err("it does not answer health checks".to_owned()),
        }
    }

    /// Takes what came; adds to `out` what is to be passed on.
    fn digest(&mut self, bytes: Option<&Bytes>, out: &mut Vec<u8>, metrics: &Metrics) -> Result<(), String> {
        let heard = if let Some(bytes) = bytes {
            self.take.push(bytes, out).map_err(|bad| bad.to_string())?
        } else {
            self.take.finish(out).map_err(|bad| bad.to_string())?;
            self.over = true;
            true
        };
        if heard && !self.heard {
            self.heard = true;
            metrics.speech_first_audio.observe(self.begun.elapsed());
        }
        if let Source::Server { audio, .. } = &mut self.source {
            match (self.over, self.heard) {
                (true, _) => audio.succeeded(),
                (false, true) => audio.spoke(),
                (false, false) => {}
            }
        }
        Ok(())
    }
}

impl Source {
    /// What comes next. Nothing is lost when the future is dropped before it is ready.
    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        match self {
            Self::Server { audio, .. } => audio.next().await.map_err(|fault| fault.cause),
            Self::Local(process) => process.next().await.map_err(|error| error.to_string()),
        }
    }
}
