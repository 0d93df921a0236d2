//! One reply from the message to its end: the message is sent, the reply followed, rejoined when the connection breaks,
//! and stopped when the person wants it.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::signal::unix::Signal;

use super::door::{Door, Source};
use super::screen::Screen;
use crate::cli::chain;
use crate::cli::event::{Ending, Event, Happened};
use crate::cli::server::{self, Error};

/// What came of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// `None` where the person gave up before the server named it.
    pub(crate) id: Option<String>,
    /// `None` where the person left before it had one.
    pub(crate) ending: Option<Ending>,
    /// What was shown of it.
    pub(crate) text: String,
}

/// Why a reply was not followed to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Server(#[from] Error),
    #[error("cannot write to the terminal")]
    Output(#[from] std::io::Error),
}

/// Follows a reply on behalf of a person.
pub(crate) struct Follower<'a, W, A> {
    door: &'a Door,
    /// The chat of `useChat` that it speaks in.
    chat: Option<&'a str>,
    screen: &'a mut Screen<W, A>,
    interrupts: &'a mut Signal,
    /// Whether the server was ever there: one that never was is not waited for.
    known: bool,
    id: Option<String>,
    last_sequence: Option<u64>,
    failing: Option<String>,
    text: String,
    stop: Stop,
}

/// How far the person's wish to stop has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    No,
    /// Wanted, and the server does not know yet.
    Wanted,
    Requested,
}

/// What reading a stream came to.
enum Read {
    Ended(Ending),
    Broke(Error),
    Left,
}

/// How long a server that is away is waited for.
const TIMEOUT: Duration = Duration::from_mins(2);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

impl<'a, W: Write, A: Write> Follower<'a, W, A> {
    pub(crate) fn new(
        door: &'a Door,
        chat: Option<&'a str>,
        screen: &'a mut Screen<W, A>,
        interrupts: &'a mut Signal,
        known: bool,
    ) -> Self {
        let (id, last_sequence, failing, text, stop) = (None, None, None, String::new(), Stop::No);
        Self { door, chat, screen, interrupts, known, id, last_sequence, failing, text, stop }
    }

    /// Sends a message and shows the reply.
    pub(crate) async fn send(mut self, body: &Value, idempotency_key: &str) -> Result<Reply, Failure> {
        let door = self.door;
        if body["stream"] != true {
            // It names itself only when it is complete: until then it cannot be stopped, just left.
            self.stop = Stop::Requested;
            return self.read_whole(body, idempotency_key).await;
        }
        match self.insist("waiting for the server", || door.send_message(body, idempotency_key)).await? {
            Some(source) => self.follow(source).await,
            None => self.leave(),
        }
    }

    /// Shows a reply that is already being generated, from its beginning.
    pub(crate) async fn join(mut self, reply: &str) -> Result<Reply, Failure> {
        let (door, chat) = (self.door, self.chat);
        self.id = Some(reply.to_owned());
        match self.insist("waiting for the server", || door.rejoin(reply, chat, None)).await? {
            Some(source) => self.follow(source).await,
            None => self.leave(),
        }
    }

    async fn follow(mut self, mut source: Source) -> Result<Reply, Failure> {
        self.known = true;
        loop {
            let why = match self.read(source).await? {
                Read::Ended(ending) => {
                    self.screen.show(&Happened::Ended(ending.clone()))?;
                    return Ok(Reply { id: self.id, ending: Some(ending), text: self.text });
                }
                Read::Left => return self.leave(),
                Read::Broke(why) => why,
            };
            // Without an id or a number there is no place to come back to; what was shown would come again.
            let (Some(id), Some(after)) = (self.id.clone(), self.last_sequence) else { return Err(why.into()) };
            self.screen.notice(&format!("⟲ {why}; rejoining"))?;
            let (door, chat) = (self.door, self.chat);
            let Some(again) = self.insist("still away", || door.rejoin(&id, chat, Some(after))).await? else {
                return self.leave();
            };
            self.screen.notice(&format!("⟲ rejoined after event {after}"))?;
            source = again;
        }
    }

    /// Reads a stream until it ends, one way or another. The server is asked to stop as soon as the id is known.
    async fn read(&mut self, mut source: Source) -> Result<Read, Failure> {
        self.id = self.id.take().or_else(|| source.reply());
        loop {
            if self.request_stop().await? {
                return Ok(Read::Left);
            }
            let events = tokio::select! {
                events = source.next() => events,
                _ = self.interrupts.recv() => {
                    if self.interrupted()? { return Ok(Read::Left) }
                    continue;
                }
            };
            let events = match events {
                Ok(Some(events)) => events,
                Ok(None) => {
                    return Ok(self
                        .failing
                        .take()
                        .map_or(Read::Broke(Error::EndedEarly), |why| Read::Ended(Ending::Failed(why))));
                }
                Err(error) if error.may_pass() => return Ok(Read::Broke(error)),
                Err(error) => return Err(error.into()),
            };
            for event in events {
                if let Some(ending) = self.take(event)? {
                    return Ok(Read::Ended(ending));
                }
            }
        }
    }

    /// Shows an event, unless it was seen before. The caller shows the end.
    fn take(&mut self, event: Event) -> Result<Option<Ending>, Failure> {
        if event.sequence.is_some() && event.sequence <= self.last_sequence {
            return Ok(None);
        }
        self.last_sequence = event.sequence.or(self.last_sequence);
        match event.happened {
            Happened::Started(id) => self.id = self.id.take().or(Some(id)),
            Happened::Failing(why) => self.failing = Some(why),
            Happened::Ended(Ending::Failed(why)) => {
                return Ok(Some(Ending::Failed(self.failing.take().unwrap_or(why))));
            }
            Happened::Ended(ending) => return Ok(Some(ending)),
            happened => self.show(&happened)?,
        }
        Ok(None)
    }

    fn show(&mut self, happened: &Happened) -> Result<(), Failure> {
        if let Happened::Text(text) = happened {
            self.text.push_str(text);
        }
        Ok(self.screen.show(happened)?)
    }

    /// A reply that comes in one piece. When the connection breaks, the same key gets the same reply again.
    async fn read_whole(mut self, body: &Value, key: &str) -> Result<Reply, Failure> {
        let door = self.door;
        let Some(mut response) = self.insist("waiting for the server", || door.send_whole(body, key)).await? else {
            return self.leave();
        };
        self.known = true;
        let whole = loop {
            let read = tokio::select! {
                read = server::read_json(response) => read,
                _ = self.interrupts.recv() => return self.leave(),
            };
            match read {
                Ok(whole) => break whole,
                Err(why) if why.may_pass() => {}
                Err(why) => return Err(why.into()),
            }
            response = match self.insist("the connection broke; asking again", || door.send_whole(body, key)).await? {
                Some(response) => response,
                None => return self.leave(),
            };
        };
        let mut ending = Ending::Complete;
        for happened in door.of_whole(&whole) {
            self.show(&happened)?;
            match happened {
                Happened::Started(id) => self.id = Some(id),
                Happened::Ended(how) => ending = how,
                _ => {}
            }
        }
        Ok(Reply { id: self.id, ending: Some(ending), text: self.text })
    }

    /// Asks until the server is there; `None` when the person does not want to wait any longer.
    async fn insist<T, F>(&mut self, notice: &str, ask: impl Fn() -> F) -> Result<Option<T>, Failure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let give_up_at = Instant::now() + TIMEOUT;
        let (mut pause, mut reported) = (FIRST_PAUSE, false);
        let mut asking = Box::pin(ask());
        loop {
            let answer = tokio::select! {
                answer = &mut asking => answer,
                _ = self.interrupts.recv() => {
                    if self.interrupted()? { return Ok(None) }
                    continue;
                }
            };
            match answer {
                Ok(response) => return Ok(Some(response)),
                Err(error) if error.may_pass() && (self.known || error.was_there()) && Instant::now() < give_up_at => {
                    // While it starts again it takes no connections; it was there all the same.
                    self.known = true;
                    // A restart is over in less; only what takes longer is worth a word.
                    if pause > FIRST_PAUSE && !std::mem::replace(&mut reported, true) {
                        self.screen.notice(&format!("⟲ {notice} ({error})"))?;
                    }
                }
                Err(error) => return Err(error.into()),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = self.interrupts.recv() => return Ok(None),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            asking = Box::pin(ask());
        }
    }

    /// Ctrl-C once stops the reply; once more leaves it. Returns whether to leave.
    fn interrupted(&mut self) -> Result<bool, Failure> {
        if self.stop != Stop::No {
            return Ok(true);
        }
        self.stop = Stop::Wanted;
        self.screen.notice("(stopping; Ctrl-C again to leave it)")?;
        Ok(false)
    }

    /// Asks the server to stop, if that is wanted and was not done. Returns whether the person leaves instead.
    async fn request_stop(&mut self) -> Result<bool, Failure> {
        let (Stop::Wanted, Some(id)) = (self.stop, &self.id) else { return Ok(false) };
        let answer = tokio::select! {
            answer = self.door.stop(id, self.chat) => answer,
            // A server that does not answer keeps nobody here.
            _ = self.interrupts.recv() => return Ok(true),
        };
        match answer {
            Ok(()) => self.stop = Stop::Requested,
            // The stream is about to break too; the request is repeated when it is back.
            Err(error) if error.may_pass() => {}
            Err(error) => {
                self.stop = Stop::Requested;
                self.screen.problem(&format!("the server does not stop it: {}", chain(&error)))?;
            }
        }
        Ok(false)
    }

    fn leave(self) -> Result<Reply, Failure> {
        self.screen.notice("(left; the reply continues without you)")?;
        Ok(Reply { id: self.id, ending: None, text: self.text })
    }
}
