//! One connection: reads requests, gives each to its lane, and sends what the lanes have to tell.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, Stream, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

use super::clock::{Clock, Due};
use super::held::HeldReplies;
use super::lane::{About, Asked, Lane, Told};
use super::meter::{Meter, Metered};
use crate::domain::caller::Caller;
use crate::http::Edge;
use crate::http::progress::Busy;
use crate::http::server::Upgrades;
use crate::offload::offload;
use crate::protocols::ApiError;
use crate::protocols::websocket::{self, ClientEvent, ClientMessage};

mod starting;

/// What requests over a WebSocket are called in metrics and traces.
const ROUTE: &str = "WS /v1/responses";

/// The most requests that wait on a connection.
const MOST_WAITING: usize = 64;

/// The most errors that wait for a client that reads nothing; then it is not read either.
const MOST_ERRORS: usize = 16;

/// The most pings and pongs of a client in a second.
const MOST_CONTROL: u32 = 200;

/// Bytes read at once. A message that is longer has room of its own.
const READ_BUFFER: usize = 4 << 10;

/// How long the other side has to close its half.
const CLOSING: Duration = Duration::from_secs(5);

type Socket = WebSocketStream<Metered<TokioIo<Upgraded>>>;

/// See the module.
pub(super) struct Session {
    edge: Edge,
    caller: Caller,
    socket: Socket,
    meter: Arc<Meter>,
    lanes: Vec<Lane>,
    /// Whose turn it is.
    turn: usize,
    held: HeldReplies,
    /// Messages that belong to no reply.
    errors: VecDeque<Bytes>,
    clock: Clock,
    flood: (Instant, u32),
    /// The connection counts as one, and as one that is in use.
    _busy: Busy,
    upgrades: Upgrades,
}

/// How a connection ends.
enum End {
    /// Nobody is there to be told.
    Gone,
    /// With a word.
    Closed { code: CloseCode, reason: &'static str, error: Option<ApiError> },
}

impl End {
    const fn closed(code: CloseCode, reason: &'static str) -> Self {
        Self::Closed { code, reason, error: None }
    }
}

impl Session {
    pub(super) async fn open(edge: Edge, caller: Caller, connection: Upgraded, upgrades: Upgrades) -> Self {
        let inner = &edge.inner;
        let most = inner.config.max_body_bytes;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .max_message_size(Some(most))
            .max_frame_size(Some(most));
        let (io, meter) = Meter::around(TokioIo::new(connection), &inner.budget);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let clock = Clock::start(inner.config.websocket_ping, inner.config.websocket_max_age, &upgrades);
        let (held, busy) = (HeldReplies::new(Arc::clone(&inner.budget)), Busy::new(upgrades.progress()));
        let (lanes, errors, flood) = (Vec::new(), VecDeque::new(), (Instant::now(), 0));
        Self { caller, socket, meter, lanes, turn: 0, held, errors, clock, flood, _busy: busy, upgrades, edge }
    }

    /// Serves the connection to its end.
    pub(super) async fn run(mut self) {
        let end = std::future::poll_fn(|cx| self.poll(cx)).await;
        // Replies that are not stored end with their client.
        self.lanes.clear();
        let End::Closed { code, reason, error } = end else { return };
        let closing = async {
            if let Some(error) = error {
                let text = Utf8Bytes::try_from(Bytes::from(websocket::error(&error))).unwrap_or_default();
                let _ = futures_util::SinkExt::send(&mut self.socket, Message::Text(text)).await;
            }
            let frame = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
            let _ = self.socket.close(Some(frame)).await;
            while let Some(Ok(_)) = self.socket.next().await {}
        };
        tokio::select! {
            _ = timeout(CLOSING, closing) => {}
            () = self.upgrades.stop.abort.cancelled() => {}
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if let Some(end) = self.poll_clock(cx) {
                return Poll::Ready(end);
            }
            match self.poll_write(cx) {
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                Poll::Pending if self.errors.len() >= MOST_ERRORS => return Poll::Pending,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            let read = ready!(Pin::new(&mut self.socket).poll_next(cx));
            if let Err(end) = self.read(read) {
                return Poll::Ready(end);
            }
        }
    }

    /// What time says.
    fn poll_clock(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let is_idle = self.errors.is_empty() && self.lanes.iter().all(Lane::is_idle);
        match self.clock.poll(cx, is_idle) {
            Poll::Pending => None,
            Poll::Ready(Due::Over) => Some(End::Gone),
            Poll::Ready(Due::Leave) => Some(End::closed(CloseCode::Away, "this instance is shutting down")),
            Poll::Ready(Due::Limit) => {
                let error = Some(self.limit_reached());
                Some(End::Closed { code: CloseCode::Normal, reason: "the connection has lasted long enough", error })
            }
            Poll::Ready(Due::Ping) => {
                let late =
                    self.meter.since().is_some_and(|since| since.elapsed() > self.edge.inner.config.body_timeout);
                if late {
                    return Some(End::closed(CloseCode::Policy, "the message came too slowly"));
                }
                // It is sent with what is sent next.
                let ping = Pin::new(&mut self.socket).start_send(Message::Ping(Bytes::new()));
                ping.is_err().then_some(End::Gone)
            }
        }
    }

    fn limit_reached(&self) -> ApiError {
        websocket::limit_reached(self.edge.inner.config.websocket_max_age.as_secs() / 60)
    }

    /// Sends what there is. Pending: the client does not take more.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        loop {
            if ready!(Pin::new(&mut self.socket).poll_ready(cx)).is_err() {
                return Poll::Ready(Err(End::Gone));
            }
            let message = match self.next_message(cx) {
                Poll::Ready(Ok(message)) => message,
                Poll::Ready(Err(end)) => return Poll::Ready(Err(end)),
                Poll::Pending => break,
            };
            // What is written here is text.
            let text = Utf8Bytes::try_from(message).unwrap_or_default();
            if Pin::new(&mut self.socket).start_send(Message::Text(text)).is_err() {
                return Poll::Ready(Err(End::Gone));
            }
            self.clock.moved();
        }
        Pin::new(&mut self.socket).poll_flush(cx).map(|flushed| flushed.map_err(|_| End::Gone))
    }

    /// The next message; each lane has its turn.
    fn next_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        if let Some(error) = self.errors.pop_front() {
            return Poll::Ready(Ok(error));
        }
        let mut looked = 0;
        while looked < self.lanes.len() {
            let place = self.turn % self.lanes.len();
            let told = match self.lanes[place].poll(cx) {
                Poll::Ready(Told::Next(asked)) => {
                    let starting = self.starting(asked);
                    self.lanes[place].start(starting);
                    continue;
                }
                Poll::Ready(told) => told,
                Poll::Pending => {
                    (self.turn, looked) = (place + 1, looked + 1);
                    continue;
                }
            };
            self.turn = place + 1;
            if let Some(message) = self.told(place, told) {
                return Poll::Ready(message);
            }
        }
        Poll::Pending
    }

    fn told(&mut self, place: usize, told: Told) -> Option<Result<Bytes, End>> {
        let message = match told {
            Told::Message(message) => message,
            Told::Ended { message, failed, feed, about: About { follows, holds } } => {
                if let Some(follows) = follows.filter(|_| failed) {
                    self.held.forget(follows);
                }
                if let Some(line) = holds.filter(|_| !failed) {
                    self.held.hold(&feed, line);
                }
                message
            }
            Told::Refused { error, about } => {
                if let Some(follows) = about.follows {
                    self.held.forget(follows);
                }
                self.edge.inner.metrics.requests(ROUTE, error.told().status);
                error.note();
                let error = websocket::error(&error.told());
                self.lanes[place]
                    .name
                    .as_deref()
                    .map_or_else(|| error.clone(), |lane| websocket::in_lane(lane, &error))
                    .into()
            }
            Told::Broken => {
                return Some(Err(End::closed(CloseCode::Restart, "the reply goes on elsewhere: rejoin it")));
            }
            Told::Next(_) => return None,
        };
        if self.lanes[place].is_idle() {
            self.lanes.remove(place);
        }
        (!message.is_empty()).then_some(Ok(message))
    }

    /// Takes what was read.
    fn read(&mut self, read: Option<Result<Message, tungstenite::Error>>) -> Result<(), End> {
        let message = read.unwrap_or(Err(tungstenite::Error::ConnectionClosed)).map_err(|error| ended_by(&error))?;
        let share = self.meter.take();
        self.clock.moved();
        match message {
            Message::Text(text) => {
                let ClientMessage { lane, event } = offload(text.len(), || ClientMessage::parse(text.as_bytes()));
                let asked = match event {
                    Ok(ClientEvent::Create { mut request, generate }) => {
                        let opened = self.edge.unseal(&self.caller, &mut request);
                        opened.map(|()| Asked::Create { request, generate, share })
                    }
                    Ok(ClientEvent::Retrieve { reply, from }) => Ok(Asked::Retrieve { reply, from }),
                    Ok(ClientEvent::Steer(steer)) => {
                        self.errors.push_back(websocket::not_steered(steer).into());
                        return Ok(());
                    }
                    Err(error) => Err(error),
                };
                if let Err(error) = asked.and_then(|asked| self.queue(lane.clone(), asked)) {
                    self.refuse(lane.as_deref(), &error);
                }
            }
            Message::Binary(_) => self.refuse(None, &websocket::not_text()),
            Message::Ping(_) | Message::Pong(_) => {
                if matches!(message, Message::Pong(_)) {
                    self.clock.answered();
                }
                self.note_control()?;
            }
            // Its answer is sent by the socket itself.
            Message::Close(_) => return Err(End::closed(CloseCode::Normal, "")),
            Message::Frame(_) => {}
        }
        Ok(())
    }

    /// Who sends nothing but pings is not served for long.
    fn note_control(&mut self) -> Result<(), End> {
        let (since, count) = &mut self.flood;
        if since.elapsed() > Duration::from_secs(1) {
            (*since, *count) = (Instant::now(), 0);
        }
        *count += 1;
        if *count > MOST_CONTROL { Err(End::closed(CloseCode::Policy, "too many pings")) } else { Ok(()) }
    }

    fn refuse(&mut self, lane: Option<&str>, error: &ApiError) {
        self.edge.inner.metrics.requests(ROUTE, error.status);
        let message = websocket::error(error);
        self.errors.push_back(lane.map_or_else(|| message.clone(), |lane| websocket::in_lane(lane, &message)).into());
    }

    /// Has a request wait for its turn.
    fn queue(&mut self, name: Option<String>, asked: Asked) -> Result<(), ApiError> {
        if self.clock.is_over() {
            return Err(self.limit_reached());
        }
        if self.lanes.iter().map(Lane::waiting).sum::<usize>() >= MOST_WAITING {
            return Err(websocket::too_many("requests waiting", MOST_WAITING));
        }
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.name == name) {
            lane.push(asked);
            return Ok(());
        }
        let most = self.edge.inner.config.max_http2_streams as usize;
        if self.lanes.len() >= most {
            return Err(websocket::too_many("lanes in use", most));
        }
        let mut lane = Lane::new(name);
        lane.push(asked);
        self.lanes.push(lane);
        Ok(())
    }
}

/// What an error of the protocol comes to.
fn ended_by(error: &tungstenite::Error) -> End {
    use tungstenite::Error;
    match error {
        Error::Capacity(_) => End::closed(CloseCode::Size, "the message is too long"),
        Error::Utf8(_) => End::closed(CloseCode::Invalid, "the message is not UTF-8"),
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        Error::Protocol(_) => End::closed(CloseCode::Protocol, "not as RFC 6455 has it"),
        Error::Io(error) if error.kind() == io::ErrorKind::OutOfMemory => End::Closed {
            code: CloseCode::Again,
            reason: "there is no memory for the message",
            error: Some(ApiError::no_memory()),
        },
        _ => End::Gone,
    }
}
