//! One reply from the message to its end: it is said, followed, rejoined when the connection breaks, and stopped when the
//! person wants it.

use std::io::Write;
use std::time::{Duration, Instant};

use reqwest::Response;
use serde_json::Value;
use tokio::signal::unix::Signal;

use super::screen::Screen;
use crate::cli::chain;
use crate::cli::event::{Ending, Event, Happened, of_response};
use crate::cli::server::{self, Error, Server};
use crate::llm::sse;

/// What came of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// `None` where the person gave up before the server named it.
    pub(crate) id: Option<String>,
    /// `None` where the person left before it had one.
    pub(crate) ending: Option<Ending>,
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
    server: &'a Server,
    screen: &'a mut Screen<W, A>,
    interrupts: &'a mut Signal,
    /// Whether the server was ever there: one that never was is not waited for.
    known: bool,
    id: Option<String>,
    last_sequence: Option<u64>,
    failing: Option<String>,
    stop: Stop,
}

/// How far the person's wish to stop has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    No,
    /// Wanted, and the server does not know yet.
    Wanted,
    Told,
}

/// What reading a stream came to.
enum Read {
    Ended(Ending),
    Broke(Error),
    Left,
}

/// How long a server that is away is waited for.
const PATIENCE: Duration = Duration::from_mins(2);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const MAX_EVENT_BYTES: usize = 64 << 20;

impl<'a, W: Write, A: Write> Follower<'a, W, A> {
    pub(crate) fn new(
        server: &'a Server,
        screen: &'a mut Screen<W, A>,
        interrupts: &'a mut Signal,
        known: bool,
    ) -> Self {
        Self { server, screen, interrupts, known, id: None, last_sequence: None, failing: None, stop: Stop::No }
    }

    /// Says something and shows the reply.
    pub(crate) async fn say(mut self, body: &Value, idempotency_key: &str) -> Result<Reply, Failure> {
        let server = self.server;
        if body["stream"] != true {
            // It names itself only when it is complete: until then it cannot be stopped, just left.
            self.stop = Stop::Told;
        }
        let Some(response) = self.insist("waiting for the server", || server.say(body, idempotency_key)).await? else {
            return self.leave();
        };
        if body["stream"] == true {
            self.follow(response).await
        } else {
            self.read_whole(response, body, idempotency_key).await
        }
    }

    /// Shows a reply that is already being said, from its beginning.
    pub(crate) async fn join(mut self, reply: &str) -> Result<Reply, Failure> {
        let server = self.server;
        self.id = Some(reply.to_owned());
        match self.insist("waiting for the server", || server.rejoin(reply, None)).await? {
            Some(response) => self.follow(response).await,
            None => self.leave(),
        }
    }

    async fn follow(mut self, mut response: Response) -> Result<Reply, Failure> {
        self.known = true;
        loop {
            let why = match self.read(response).await? {
                Read::Ended(ending) => {
                    self.screen.show(&Happened::Ended(ending.clone()))?;
                    return Ok(Reply { id: self.id, ending: Some(ending) });
                }
                Read::Left => return self.leave(),
                Read::Broke(why) => why,
            };
            // Without an id or a number there is no place to come back to; what was shown would come again.
            let (Some(id), Some(after)) = (self.id.clone(), self.last_sequence) else { return Err(why.into()) };
            self.screen.notice(&format!("⟲ {why}; rejoining"))?;
            let server = self.server;
            let Some(again) = self.insist("still away", || server.rejoin(&id, Some(after))).await? else {
                return self.leave();
            };
            self.screen.notice(&format!("⟲ rejoined after event {after}"))?;
            response = again;
        }
    }

    /// Reads a stream until it ends, one way or another. The server is told to stop as soon as it is known what.
    async fn read(&mut self, mut response: Response) -> Result<Read, Failure> {
        let mut decoder = sse::Decoder::with_limit(MAX_EVENT_BYTES);
        let named = response.headers().get("x-response-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
        self.id = self.id.take().or(named);
        loop {
            if self.tell_to_stop().await? {
                return Ok(Read::Left);
            }
            let chunk = tokio::select! {
                chunk = response.chunk() => chunk,
                _ = self.interrupts.recv() => {
                    if self.interrupted()? { return Ok(Read::Left) }
                    continue;
                }
            };
            let mut events = Vec::new();
            let fed = match chunk {
                Ok(Some(bytes)) => decoder.feed(&bytes, |frame| events.extend(Event::parse(frame.data))),
                Ok(None) => {
                    return Ok(self
                        .failing
                        .take()
                        .map_or(Read::Broke(Error::EndedEarly), |why| Read::Ended(Ending::Failed(why))));
                }
                Err(error) => return Ok(Read::Broke(Error::Broken(error.without_url()))),
            };
            for event in events {
                if let Some(ending) = self.take(event)? {
                    return Ok(Read::Ended(ending));
                }
            }
            fed.map_err(|_| Error::TooLong)?;
        }
    }

    /// Shows an event, unless it was seen before. The end is shown by whoever asked.
    fn take(&mut self, event: Event) -> Result<Option<Ending>, Failure> {
        if event.sequence.is_some() && event.sequence <= self.last_sequence {
            return Ok(None);
        }
        self.last_sequence = event.sequence.or(self.last_sequence);
        match event.happened {
            Happened::Started(id) => self.id = Some(id),
            Happened::Failing(why) => self.failing = Some(why),
            Happened::Ended(ending) => return Ok(Some(ending)),
            happened => self.screen.show(&happened)?,
        }
        Ok(None)
    }

    /// A reply that comes in one piece. When the connection breaks, the same key gets the same reply again.
    async fn read_whole(mut self, mut response: Response, body: &Value, key: &str) -> Result<Reply, Failure> {
        self.known = true;
        let server = self.server;
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
            response = match self.insist("the connection broke; asking again", || server.say(body, key)).await? {
                Some(response) => response,
                None => return self.leave(),
            };
        };
        let mut ending = Ending::Complete;
        for happened in of_response(&whole) {
            self.screen.show(&happened)?;
            match happened {
                Happened::Started(id) => self.id = Some(id),
                Happened::Ended(how) => ending = how,
                _ => {}
            }
        }
        Ok(Reply { id: self.id, ending: Some(ending) })
    }

    /// Asks until the server is there; `None` when the person does not want to wait any longer.
    async fn insist<F>(&mut self, notice: &str, ask: impl Fn() -> F) -> Result<Option<Response>, Failure>
    where
        F: Future<Output = Result<Response, Error>>,
    {
        let give_up_at = Instant::now() + PATIENCE;
        let (mut pause, mut told) = (FIRST_PAUSE, false);
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
                    if pause > FIRST_PAUSE && !std::mem::replace(&mut told, true) {
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

    /// Tells the server, if that is wanted and was not done. Returns whether the person leaves instead.
    async fn tell_to_stop(&mut self) -> Result<bool, Failure> {
        let (Stop::Wanted, Some(id)) = (self.stop, &self.id) else { return Ok(false) };
        let told = tokio::select! {
            told = self.server.cancel(id) => told,
            // A server that does not answer keeps nobody here.
            _ = self.interrupts.recv() => return Ok(true),
        };
        match told {
            Ok(()) => self.stop = Stop::Told,
            // The stream is about to break too; the wish is kept until it is back.
            Err(error) if error.may_pass() => {}
            Err(error) => {
                self.stop = Stop::Told;
                self.screen.problem(&format!("the server does not stop it: {}", chain(&error)))?;
            }
        }
        Ok(false)
    }

    fn leave(self) -> Result<Reply, Failure> {
        self.screen.notice("(left; it goes on without you)")?;
        Ok(Reply { id: self.id, ending: None })
    }
}
