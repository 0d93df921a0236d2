//! Speaks one reply: follows its text, cuts it into sentences, has each spoken, and writes the audio into the reply's log
//! beside the text. It never holds up the text: that goes on whatever happens here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::appender::{Appender, Stopped};
use super::feed::{BrokenOff, Heard, Listener};
use crate::domain::event::{Degraded, Event};
use crate::domain::layout::SpokenPart;
use crate::domain::params::{AudioFormat, AudioParams};
use crate::speech::aloud::Reader;
use crate::speech::sentences::{LONGEST, Sentences};
use crate::speech::server::Ask;
use crate::speech::{Speech, Unspoken, Utterance, wav};

/// Bytes of audio in one event: 64 KiB of base64.
const PIECE: usize = 48 * 1024;

/// While this much audio is ahead of the listener, sentences are spoken together.
const AHEAD: Duration = Duration::from_secs(5);

/// The most audio that one reply gets: 22 minutes of samples.
const MOST_AUDIO: u64 = 64 * 1024 * 1024;

/// A reply that is to be spoken.
struct Pipeline {
    voices: Speech,
    audio: AudioParams,
    appender: Arc<Appender>,
    wishes: watch::Receiver<Wish>,
    reader: Reader,
}

/// Speaks a reply while it is generated, from where its events end, through its own appender. Whatever happens,
/// this appends the end of the speech, unless it is to leave that to another instance.
pub(super) fn speak(voices: &Speech, audio: AudioParams, appender: Arc<Appender>) -> Speaking {
    let voices = voices.clone();
    Speaking::start(|wishes| {
        voices.tasks().clone().spawn(Pipeline { voices, audio, appender, wishes, reader: Reader::default() }.run())
    })
}

/// A reply that is being spoken. Dropped, it is left as it is.
#[derive(Debug)]
pub(super) struct Speaking {
    wish: watch::Sender<Wish>,
    task: Option<JoinHandle<()>>,
}

/// What becomes of a reply's speech.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// It goes on.
    GoOn,
    /// It ends now.
    Stop,
    /// It stops as it is: another instance continues it.
    Leave,
}

impl Speaking {
    /// Speech that `start` starts, as a task that does as it is wished.
    fn start(start: impl FnOnce(watch::Receiver<Wish>) -> JoinHandle<()>) -> Self {
        let (wish, wishes) = watch::channel(Wish::GoOn);
        Self { wish, task: Some(start(wishes)) }
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        self.task.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it is over. Can be dropped and called again.
    pub(super) async fn over(&mut self) {
        if let Some(task) = &mut self.task {
            // Its error was logged where it happened.
            let _ = task.await;
            self.task = None;
        }
    }

    /// Ends it, and waits until its end is stored.
    pub(super) async fn stop_speech(&mut self) {
        self.wish.send_replace(Wish::Stop);
        self.over().await;
    }

    /// Stops it, and waits until it is still.
    pub(super) async fn leave(&mut self) {
        self.wish.send_replace(Wish::Leave);
        self.over().await;
    }
}

impl Drop for Speaking {
    fn drop(&mut self) {
        self.wish.send_if_modified(|wish| std::mem::replace(wish, Wish::Leave) == Wish::GoOn);
    }
}

/// Why speech ends before it is over.
enum Ends {
    /// It is not wanted any more.
    Stopped,
    /// It is another's now, or cannot be stored.
    Left,
    /// It cannot go on.
    Degraded(String),
}

impl Pipeline {
    /// Speaks to the end, and appends the end.
    async fn run(mut self) {
        let degraded = match self.speak().await {
            Ok(()) | Err(Ends::Stopped) => None,
            Err(Ends::Left) => return,
            Err(Ends::Degraded(reason)) => {
                tracing::info!(reply = %self.appender.feed().id(), reason, "a reply continues as text only");
                Some(Arc::new(Degraded { capability: "speech".to_owned(), reason }))
            }
        };
        // Where this fails, another instance has the reply.
        let _ = self.appender.append(vec![Event::AudioDone(degraded), Event::TranscriptDone]).await;
    }

    async fn speak(&mut self) -> Result<(), Ends> {
        let spoken = self.appender.spoken().await;
        if spoken.over {
            return Err(Ends::Left);
        }
        let needs_header = self.audio.format == AudioFormat::Wav && spoken.header == 0 && spoken.parts.is_empty();
        let mut out = Output::new(needs_header.then(|| wav::header().to_vec()), self.audio.format);
        out.total = spoken.header + spoken.parts.iter().map(|part| part.audio).sum::<u64>();
        let mut script = Script::new(Listener::new(Arc::clone(self.appender.feed())));
        if self.voices.is_none() {
            // Reported at once, and not only when there is text.
            return Err(Unspoken::Nobody("No voice is configured on this server.").into());
        }
        if let Some((last, before)) = spoken.parts.split_last() {
            for part in before {
                let passage = self.passage_of(&mut script, part).await?;
                self.reader.read(passage.trim_start());
            }
            let passage = self.passage_of(&mut script, last).await?;
            self.speak_passage(passage, last.audio, true, &mut out).await?;
        }
        while let Some(passage) = self.next_passage(&mut script, &out).await? {
            self.speak_passage(passage, 0, false, &mut out).await?;
        }
        Ok(())
    }

    /// The passage that was spoken before, recovered by its transcript's length.
    async fn passage_of(&mut self, script: &mut Script, part: &SpokenPart) -> Result<String, Ends> {
        let mut passage = String::new();
        while (passage.len() as u64) < part.transcript {
            match self.heeding(script.next()).await?? {
                Some(sentence) => join(&mut passage, &sentence, &mut script.any),
                None => break,
            }
        }
        Ok(passage)
    }

    /// The next sentence; several, if there is time.
    async fn next_passage(&mut self, script: &mut Script, out: &Output) -> Result<Option<String>, Ends> {
        let Some(sentence) = self.heeding(script.next()).await?? else { return Ok(None) };
        let mut passage = String::new();
        join(&mut passage, &sentence, &mut script.any);
        while out.ahead() >= AHEAD {
            let Some(more) = script.at_once() else { break };
            if passage.chars().count() + more.chars().count() >= LONGEST {
                script.put_back(more);
                break;
            }
            join(&mut passage, &more, &mut script.any);
        }
        Ok(Some(passage))
    }

    /// Speaks a passage, of which `skip` bytes are stored, as a person reads it aloud. Its transcript comes with its
    /// first audio.
    async fn speak_passage(
        &mut self,
        passage: String,
        skip: u64,
        mut has_transcript: bool,
        out: &mut Output,
    ) -> Result<(), Ends> {
        let ask = Ask {
            text: self.reader.read(passage.trim_start()),
            voice: self.audio.voice.clone(),
            model: None,
            speed: None,
            instructions: None,
            caller: self.appender.feed().id().to_string(),
        };
        let characters = ask.text.chars().count();
        let mut utterance = self.voices.speak(ask, Some(self.audio.format), skip);
        while let Some(mut bytes) = self.heeding(utterance.next()).await?? {
            bytes.extend(more(&mut utterance, bytes.len()));
            out.heard(bytes.len());
            // One piece at a time: text that comes meanwhile waits for no more than that.
            for piece in bytes.chunks(PIECE) {
                let mut events = Vec::new();
                if !std::mem::replace(&mut has_transcript, true) {
                    events.extend(out.header.take().map(|header| audio(&header)));
                    events.push(Event::Transcript(passage.as_str().into()));
                }
                events.push(audio(piece));
                self.appender.append(events).await?;
            }
            if out.total > MOST_AUDIO {
                return Err(Ends::Degraded("The reply is longer than what is spoken of one.".to_owned()));
            }
        }
        out.count_characters(characters);
        Ok(())
    }

    /// Waits for something, unless it is wished otherwise.
    async fn heeding<T>(&mut self, wait: impl Future<Output = T>) -> Result<T, Ends> {
        let wish = async {
            match self.wishes.wait_for(|wish| *wish != Wish::GoOn).await.map(|wish| *wish) {
                Ok(Wish::Stop) => Ends::Stopped,
                Ok(Wish::Leave | Wish::GoOn) | Err(_) => Ends::Left,
            }
        };
        tokio::select! {
            biased;
            ends = wish => Err(ends),
            done = wait => Ok(done),
        }
    }
}

/// What is there already after so many bytes, to make an event fuller without making it later.
fn more(utterance: &mut Utterance, have: usize) -> Vec<u8> {
    utterance.at_once(PIECE.saturating_sub(have))
}

fn audio(bytes: &[u8]) -> Event {
    Event::Audio(BASE64.encode(bytes).into())
}

/// Adds a sentence to a passage that is spoken together: with a space between, if they are written with spaces. A
/// reply's first has none before it.
fn join(passage: &mut String, sentence: &str, any: &mut bool) {
    let wide =
        |c: char| matches!(u32::from(c), 0x2E80..=0x9FFF | 0xF900..=0xFAFF | 0xFF00..=0xFFEF | 0x20000..=0x3FFFF);
    if std::mem::replace(any, true) && !sentence.starts_with(wide) {
        passage.push(' ');
    }
    passage.push_str(sentence);
}

/// A reply's sentences, as they come.
struct Script {
    listener: Listener,
    sentences: Sentences,
    ready: VecDeque<String>,
    over: bool,
    /// Whether any was taken.
    any: bool,
}

impl Script {
    fn new(listener: Listener) -> Self {
        Self { listener, sentences: Sentences::default(), ready: VecDeque::new(), over: false, any: false }
    }

    /// The next sentence. `None`: there are no more. Nothing is lost when the future is dropped before it is ready.
    async fn next(&mut self) -> Result<Option<String>, Ends> {
        while self.ready.is_empty() && !self.over {
            let heard = self.listener.next().await;
            self.take(heard)?;
        }
        Ok(self.ready.pop_front())
    }

    /// The next sentence, if there is one already.
    fn at_once(&mut self) -> Option<String> {
        self.next().now_or_never().and_then(Result::ok).flatten()
    }

    fn put_back(&mut self, sentence: String) {
        self.ready.push_front(sentence);
    }

    fn take(&mut self, heard: Result<Heard, BrokenOff>) -> Result<(), Ends> {
        let mut out = Vec::new();
        match heard.map_err(|BrokenOff| Ends::Left)? {
            Heard::Text(text) => self.sentences.push(&text, &mut out),
            Heard::Close => self.sentences.finish(&mut out),
            Heard::End => {
                self.sentences.finish(&mut out);
                self.over = true;
            }
        }
        self.ready.extend(out);
        Ok(())
    }
}

/// What has gone out.
struct Output {
    /// Goes before everything.
    header: Option<Vec<u8>>,
    format: AudioFormat,
    /// Bytes of audio.
    total: u64,
    begun: Option<Instant>,
    /// How long it takes to hear what came since.
    length: Duration,
}

impl Output {
    const fn new(header: Option<Vec<u8>>, format: AudioFormat) -> Self {
        Self { header, format, total: 0, begun: None, length: Duration::ZERO }
    }

    fn heard(&mut self, bytes: usize) {
        self.begun.get_or_insert_with(Instant::now);
        self.total += bytes as u64;
        if self.format.is_samples() {
            let micros = bytes as u64 * 1_000_000 / (2 * u64::from(wav::RATE));
            self.length += Duration::from_micros(micros);
        }
    }

    /// Notes that a text of so many characters was spoken: if the format has no samples, nothing else gives the length.
    fn count_characters(&mut self, characters: usize) {
        const A_CHARACTER: Duration = Duration::from_millis(65);
        if !self.format.is_samples() {
            self.length += A_CHARACTER * u32::try_from(characters).unwrap_or(u32::MAX);
        }
    }

    /// How much is there that nobody can have heard yet.
    fn ahead(&self) -> Duration {
        self.begun.map_or(Duration::ZERO, |begun| self.length.saturating_sub(begun.elapsed()))
    }
}

impl From<Unspoken> for Ends {
    fn from(unspoken: Unspoken) -> Self {
        Self::Degraded(unspoken.to_string())
    }
}

impl From<Stopped> for Ends {
    fn from(_: Stopped) -> Self {
        Self::Left
    }
}
