//! A client that does not give up: it reads a reply to its end, over any number of cuts, each time from where it left off.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use hyper::{Method, StatusCode};

use crate::client::{Error, Header, Stream};
use crate::reading::Reading;
use crate::sse::Scanner;
use crate::tally::Check;
use crate::world::{Over, Step, World};

/// Where a follower listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// `GET /v1/responses/{id}?stream=true&starting_after=N`
    Responses,
    /// `GET /v1/responses/{id}/events` with `Last-Event-ID`, as a browser's `EventSource`.
    EventSource,
}

/// How far to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// The reply's end.
    End,
    /// So many events.
    Events(u64),
}

impl Until {
    fn is_reached(self, events: u64) -> bool {
        matches!(self, Self::Events(enough) if events >= enough)
    }
}

/// How a stream ended.
enum Ended {
    Enough(Stream),
    Clean,
    Cut(Error),
}

/// A reply that is being followed.
pub(crate) struct Follow<'a> {
    world: &'a World,
    pub(crate) id: String,
    place: Place,
    pub(crate) reading: Reading<'a>,
    stream: Option<Stream>,
    /// It was cut once, and rejoined.
    pub(crate) was_cut: bool,
}

impl<'a> Follow<'a> {
    /// Follows a reply from what was read of it, first on a stream that is open.
    pub(crate) fn new(world: &'a World, id: &str, place: Place, reading: Reading<'a>, stream: Option<Stream>) -> Self {
        Self { world, id: id.to_owned(), place, reading, stream, was_cut: false }
    }

    /// Reads on, whatever happens to connections and server.
    pub(crate) async fn read(&mut self, until: Until) -> Step<()> {
        loop {
            let stream = match self.stream.take() {
                Some(stream) => stream,
                // A reply may be shorter, in events, than what was to be read of it.
                None if self.is_done() => return Ok(()),
                None => self.rejoin().await?,
            };
            match self.read_stream(stream, until).await? {
                Ended::Enough(stream) => {
                    self.stream = Some(stream);
                    return Ok(());
                }
                Ended::Clean if self.reading.is_over() => return self.finish(),
                // Browsers come back.
                Ended::Clean if self.place == Place::EventSource && self.world.is_away() => self.was_cut = true,
                Ended::Clean => {
                    let what = format!("a clean end after {} events, without the reply's", self.reading.next);
                    return Err(self.fail(Check::Ending, &what));
                }
                // Nothing is left to come back for.
                Ended::Cut(_) if self.reading.is_over() && self.place == Place::EventSource => return self.finish(),
                Ended::Cut(_) if self.world.is_away() => self.was_cut = true,
                Ended::Cut(error) => {
                    let what = format!("cut after {} events: {error}", self.reading.next);
                    return Err(self.fail(Check::Streams, &what));
                }
            }
        }
    }

    /// Reads to the end, which has to be `completed`, with all of the text.
    pub(crate) async fn read_whole(&mut self) -> Step<()> {
        self.read(Until::End).await?;
        if self.reading.is_whole() {
            self.world.hold(Check::Text);
            return Ok(());
        }
        let check = if self.was_cut { Check::Continued } else { Check::Text };
        let text = self.reading.text().len();
        let what = format!("ended with {text} bytes of text as {:?}", self.reading.end);
        Err(self.fail(check, &what))
    }

    /// Reads the stream that is open to the reply's end. `false`: a restart cut it, or there is none.
    pub(crate) async fn read_on(&mut self) -> Step<bool> {
        let Some(stream) = self.stream.take() else { return Ok(false) };
        match self.read_stream(stream, Until::End).await? {
            Ended::Cut(_) if self.world.is_away() => Ok(false),
            Ended::Cut(error) => Err(self.fail(Check::Streams, &format!("cut after it was deleted: {error}"))),
            Ended::Clean | Ended::Enough(_) if self.reading.is_over() => self.finish().map(|()| true),
            Ended::Clean | Ended::Enough(_) => Err(self.fail(Check::Ending, "a clean end, without the reply's")),
        }
    }

    /// Goes away: the reply does not mind.
    pub(crate) fn leave(&mut self) {
        self.stream = None;
        self.reading.rejoining = true;
    }

    /// Whether all was read that there will be: browsers get no `[DONE]`.
    fn is_done(&self) -> bool {
        self.reading.is_over() && (self.reading.done || self.place == Place::EventSource)
    }

    fn finish(&self) -> Step<()> {
        if !self.is_done() {
            return Err(self.fail(Check::Ending, "no [DONE] after its end"));
        }
        self.world.hold(Check::Numbers);
        self.world.hold(Check::Streams);
        if self.was_cut {
            self.world.hold(Check::Continued);
        }
        Ok(())
    }

    fn fail(&self, check: Check, what: &str) -> Over {
        self.world.fail(check, &self.id, &what)
    }

    async fn rejoin(&mut self) -> Step<Stream> {
        self.reading.rejoining = self.reading.next > 0;
        let last = self.reading.last();
        let stream = match self.place {
            Place::Responses => {
                let after = last.map_or_else(String::new, |last| format!("&starting_after={last}"));
                let path = format!("/v1/responses/{}?stream=true{after}", self.id);
                self.world.open(Method::GET, &path, Bytes::new(), Header::None).await?
            }
            Place::EventSource => {
                let last = last.map(|last| last.to_string());
                let header = last.as_deref().map_or(Header::None, Header::LastEventId);
                let path = format!("/v1/responses/{}/events", self.id);
                self.world.open(Method::GET, &path, Bytes::new(), header).await?
            }
        };
        if stream.status == StatusCode::NO_CONTENT {
            return Err(self.fail(Check::Rejoin, "it is said to be seen whole, and its end was not seen"));
        }
        Ok(stream)
    }

    async fn read_stream(&mut self, mut stream: Stream, until: Until) -> Step<Ended> {
        let mut scanner = Scanner::default();
        loop {
            let chunk = match stream.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(Ended::Clean),
                Err(error) => return Ok(Ended::Cut(error)),
            };
            let (mut fault, reading, world) = (None, &mut self.reading, self.world);
            let fed = scanner.feed(&chunk, |frame| {
                if fault.is_none() {
                    fault = reading.take(frame).err();
                    if fault.is_none() && std::mem::take(&mut reading.rejoining) {
                        world.hold(Check::Rejoin);
                    }
                }
            });
            if let Some((check, what)) = fault {
                return Err(self.fail(check, &what));
            }
            if let Err(what) = fed {
                return Err(self.fail(Check::Numbers, &what));
            }
            // What the scanner holds of the next event would be lost with it.
            if until.is_reached(self.reading.next) && scanner.is_empty() {
                return Ok(Ended::Enough(stream));
            }
        }
    }
}

/// Asks for a reply and follows its events. A request without a key is not repeated: nobody could tell whether it was
/// accepted.
pub(crate) async fn ask<'a>(world: &'a World, body: String, key: Option<&str>, text: &'a str) -> Step<Follow<'a>> {
    let stream = post(world, body, key).await?;
    let Some(id) = stream.reply.clone() else {
        return Err(world.fail(Check::Refusals, "POST /v1/responses", &"no x-response-id"));
    };
    world.accepted.fetch_add(1, Relaxed);
    Ok(Follow::new(world, &id, Place::Responses, Reading::new(text), Some(stream)))
}

async fn post(world: &World, body: String, key: Option<&str>) -> Step<Stream> {
    const PATH: &str = "/v1/responses";
    if let Some(key) = key {
        return world.open(Method::POST, PATH, body.into(), Header::IdempotencyKey(key)).await;
    }
    let stream = match world.client.open(Method::POST, PATH, body, Header::None).await {
        Ok(stream) => stream.ok().await,
        Err(error) => Err(error),
    };
    match stream {
        Ok(stream) => {
            world.hold(Check::Refusals);
            Ok(stream)
        }
        Err(_) if world.is_away() => {
            world.unanswered.fetch_add(1, Relaxed);
            Err(Over)
        }
        Err(error) => Err(world.fail(Check::Refusals, "POST /v1/responses", &error)),
    }
}
