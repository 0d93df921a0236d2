//! rejoinder: a chat server for large language models whose replies are never lost.
//!
//! > A reply, once accepted, is never lost. Any client can rejoin any reply at the exact event where it left off, also
//! > after the instance that was generating it was killed. What a client has seen is never taken back.
//!
//! # The one idea: everything meets in the log
//!
//! ```text
//!  client ──POST──▶ edge ──accepted──▶ ┌───────── log ─────────┐ ──▶ followers (SSE)
//!                                      │ ordered, fenced,      │ ──▶ projection ──▶ store
//!  upstream LLM ──▶ generation ──────▶ │ numbered per reply    │ ──▶ speech ──▶ upstream TTS ─┐
//!                                      └───────────────────────┘ ◀────── audio events ────────┘
//! ```
//!
//! - **Log before send.** A client sees an event only after the log has stored it.
//! - **Fenced.** Every append names the sequence that it expects to be the last; of two writers one goes on.
//! - **A fold.** A reply is a fold over its events, a thread a fold over its transcript: whoever has the records can
//!   go on from exactly there.
//! - **One commit point.** A reply is accepted exactly when its `accepted` record is in the transcript.
//!
//! # One request's walk
//!
//! `POST /v1/responses` is parsed by [`protocols::request`] in a handler of [`http`], which asks
//! [`Replies`](replies::Replies) to accept it. That reads the thread if there is one, and has
//! the ticket, the `accepted` record and the call of the upstream in flight at once. When the record is stored, the
//! handler gets the reply's [`Feed`](replies::feed::Feed) and answers with a stream that follows it. The reply's own task
//! turns what the [`upstream`] says into [events](conversation::event), appends them to the reply's chain through the
//! [`Appender`](replies::appender::Appender), and shows them in the feed when they are stored. At the end `done` is
//! appended to the chain and `ended` to the transcript; [`projection`](consumers::projection) carries the transcript to the [`store`], which is
//! a file or a Postgres. Nobody waits for it there: a store that is slow, hangs or is away shows as lag. What the log
//! still holds is read from the log, and the rest from the store, which has a quarter of a second to answer.
//!
//! A reply that is to be spoken, too, is given to [`speech`], which listens to its feed, has each sentence spoken, and
//! writes the audio through a clone of the reply's appender. The text ends first, in its own record of the chain and in the
//! transcript; the reply's last event waits for both. Text never waits for speech: where that fails, the reply says so.
//!
//! After a `kill -9` the next start finds the reply's ticket, folds the chain, claims it, and asks the upstream to go
//! on. Where many instances share a log on NATS, another one does that within seconds: presence
//! ([`log::peers`]) decides when, the fenced claim decides who. A client rejoins with `GET …?stream=true&starting_after=N`: from the feed if the reply runs, else told again
//! from its output and its [skeleton](conversation::skeleton).
//!
//! # The modules, from the ground up
//!
//! Each imports only what stands above it in this list, and a test holds that.

mod values;
pub mod conversation;
pub mod log;
pub mod store;
pub mod upstream;
mod speech;
mod replies;
mod protocols;
mod consumers;
mod http;
mod health;
mod telemetry;
mod shutdown;
mod config;
mod app;
pub mod cli;
mod causes;
mod crash;
mod disk;
