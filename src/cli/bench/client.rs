//! One client of the load: it sends its messages when they are due, reads each reply to its end, and counts every
//! latency from the moment the message was due. A server that stalls makes the next messages late, and that shows.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use super::alarm::{Alarm, Schedule};
use super::figures::Replies;
use super::load::Plan;
use super::message::Message;
use super::progress::Live;
use super::reading::{Api, Outcome, Reading, Step};
use super::socket::Socket;
use super::target::{self, Connection};
use crate::llm::sse::{Decoder, Frame};

/// A client with its connection.
#[derive(Debug)]
pub(crate) struct Client {
    index: usize,
    plan: Rc<Plan>,
    link: Option<Link>,
    decoder: Decoder,
    replies: Rc<RefCell<Replies>>,
    live: Live,
}

/// How it is connected.
#[derive(Debug)]
enum Link {
    Http(Box<Connection>),
    Socket(Box<Socket>),
}

/// When what happened in one reply.
#[derive(Debug)]
struct Timeline {
    due: Instant,
    sent: Instant,
    has_token: bool,
    last_event: Option<Instant>,
}

impl Client {
    /// Connects; the first message finds the connection open.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub(crate) async fn connect(
        index: usize,
        plan: Rc<Plan>,
        replies: Rc<RefCell<Replies>>,
        live: Live,
    ) -> Result<Self, target::Error> {
        let link = Some(Link::open(&plan).await?);
        Ok(Self { index, plan, link, decoder: Decoder::default(), replies, live })
    }

    /// Sends all messages of the schedule.
    pub(crate) async fn run(mut self, schedule: Schedule) {
        let alarm = match Alarm::new() {
            Ok(alarm) => alarm,
            Err(error) => return self.give_up(&schedule, 0, &format!("no timer: {error}")),
        };
        let give_up_at = schedule.start + schedule.lasting + self.plan.timeout;
        for nth in 0.. {
            let Some(due) = schedule.due(self.index, nth) else { return };
            if let Err(error) = alarm.until(due).await {
                return self.give_up(&schedule, nth, &format!("no timer: {error}"));
            }
            if Instant::now() > give_up_at {
                return self.give_up(&schedule, nth, "never sent: the replies before took too long");
            }
            self.send(nth, due).await;
        }
    }

    /// Counts the messages that were due and cannot be sent any more: they are lost.
    fn give_up(&self, schedule: &Schedule, sent: u32, why: &str) {
        let left = schedule.messages_of(self.index).saturating_sub(u64::from(sent));
        let mut replies = self.replies.borrow_mut();
        replies.tally.lost += left;
        replies.tally.note(|| format!("lost: {why}"));
    }

    async fn send(&mut self, nth: u32, due: Instant) {
        let message = self.plan.messages.message(self.index, nth);
        let mut timeline = Timeline { due, sent: Instant::now(), has_token: false, last_event: None };
        let result = tokio::time::timeout(self.plan.timeout, self.exchange(&message, &mut timeline)).await;
        let mut replies = self.replies.borrow_mut();
        replies.started.record(timeline.sent - due);
        let bad = match result {
            Ok(Ok(outcome)) => {
                replies.tally.count(outcome);
                outcome != Outcome::Ok
            }
            Ok(Err(target::Error::Refused { path, status, body })) => {
                replies.tally.refused += 1;
                replies.tally.note(|| format!("refused: {path} answered {status}: {body}"));
                true
            }
            Ok(Err(error)) => {
                replies.tally.lost += 1;
                replies.tally.note(|| format!("lost: {}", crate::cli::chain(&error)));
                true
            }
            Err(_elapsed) => {
                replies.tally.lost += 1;
                replies.tally.note(|| format!("lost: not complete after {:?}", self.plan.timeout));
                true
            }
        };
        drop(replies);
        self.live.replied(timeline.last_event.map(|end| end - due), bad);
    }

    async fn exchange(&mut self, message: &Message, timeline: &mut Timeline) -> Result<Outcome, target::Error> {
        let mut link = self.connected().await?;
        let mut reading = Reading::new(self.plan.api, message.expected());
        let read = match &mut link {
            Link::Http(connection) => self.ask(connection, message, &mut reading, timeline).await,
            Link::Socket(socket) => self.converse(socket, message, &mut reading, timeline).await,
        };
        // A refusal leaves its connection open, and a broken one shows; a WebSocket that failed does not.
        if read.is_ok() || matches!(link, Link::Http(_)) {
            self.link = Some(link);
        }
        read?;
        Ok(self.judge(&reading, timeline))
    }

    async fn connected(&mut self) -> Result<Link, target::Error> {
        if let Some(mut link) = self.link.take()
            && link.is_open().await
        {
            return Ok(link);
        }
        self.replies.borrow_mut().tally.reconnects += 1;
        Link::open(&self.plan).await
    }

    async fn ask(
        &mut self,
        connection: &mut Connection,
        message: &Message,
        reading: &mut Reading<'_>,
        timeline: &mut Timeline,
    ) -> Result<(), target::Error> {
        let request = self.plan.target.post(self.plan.uri.clone(), message.body.clone());
        let response = connection.send(request).await?;
        let mut body = connection.accepted(self.plan.uri.path(), response).await?;
        self.decoder.reset();
        while let Some(chunk) = connection.chunk(&mut body).await? {
            let now = Instant::now();
            let mut replies = self.replies.borrow_mut();
            let fed = self.decoder.feed(&chunk, |event| timeline.take(event, reading, now, &mut replies));
            if fed.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn converse(
        &self,
        socket: &mut Socket,
        message: &Message,
        reading: &mut Reading<'_>,
        timeline: &mut Timeline,
    ) -> Result<(), target::Error> {
        socket.send(message.body.clone()).await?;
        while !reading.done {
            let Some(data) = socket.next().await? else { break };
            let event = Frame { event: b"", data: &data, id: b"" };
            timeline.take(event, reading, Instant::now(), &mut self.replies.borrow_mut());
        }
        Ok(())
    }

    fn judge(&self, reading: &Reading<'_>, timeline: &Timeline) -> Outcome {
        let outcome = reading.outcome();
        let mut replies = self.replies.borrow_mut();
        replies.tally.events += reading.events;
        if let (Some(end), true) = (timeline.last_event, outcome != Outcome::Lost) {
            replies.whole.record(end - timeline.due);
            replies.tally.without_done += u64::from(!reading.done);
        }
        outcome
    }
}

impl Link {
    async fn open(plan: &Plan) -> Result<Self, target::Error> {
        Ok(match plan.api {
            Api::Websocket => Self::Socket(Box::new(plan.target.socket(plan.api.path()).await?)),
            Api::Responses | Api::Chat | Api::Ui => Self::Http(Box::new(plan.target.connect().await?)),
        })
    }

    /// Whether something can be sent. Of a WebSocket that shows when it is.
    async fn is_open(&mut self) -> bool {
        match self {
            Self::Http(connection) => connection.is_open().await,
            Self::Socket(_) => true,
        }
    }
}

impl Timeline {
    fn take(&mut self, event: Frame<'_>, reading: &mut Reading<'_>, now: Instant, replies: &mut Replies) {
        let step = reading.take(event);
        if let Some(previous) = self.last_event.replace(now) {
            replies.gap.record(now - previous);
        } else {
            replies.first_event.record(now - self.due);
        }
        if step == Step::Token && !self.has_token {
            self.has_token = true;
            replies.first_token.record(now - self.due);
        }
    }
}
