//! `/v1/responses` as a WebSocket: replies are asked for in messages and followed in messages, one after the other, or
//! several at once in lanes. The same follower and the same events as over HTTP.

use hyper::Request;
use hyper::body::Incoming;

use super::Edge;
use super::respond::{self, Answer};
use super::server::Upgrades;
use crate::domain::caller::Caller;
use crate::protocols::ApiError;

mod clock;
mod handshake;
mod held;
mod lane;
mod meter;
mod session;

pub(super) use handshake::is_asked_for;

use session::Session;

impl Edge {
    /// Answers the handshake, and serves the connection from then on in a task of its own.
    pub(super) fn connect_responses(&self, caller: &Caller, mut request: Request<Incoming>) -> Answer {
        let answer = match handshake::answer(&request) {
            Ok(answer) => answer,
            Err(refusal) => return *refusal,
        };
        let Some(upgrades) = request.extensions_mut().remove::<Upgrades>() else {
            return respond::error(&ApiError::internal());
        };
        if upgrades.stop.drain.is_cancelled() {
            return respond::error(&ApiError::unavailable("This instance is shutting down; try again."));
        }
        let (edge, caller, connection) = (self.clone(), caller.clone(), hyper::upgrade::on(&mut request));
        let tasks = upgrades.tasks.clone();
        tasks.spawn(async move {
            // The connection broke off before it was one.
            let Ok(connection) = connection.await else { return };
            Session::open(edge, caller, connection, upgrades).await.run().await;
        });
        answer
    }
}
