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
//!  upstream LLM ──▶ replies  ────────▶ │ numbered per reply    │ ──▶ speech ──▶ upstream TTS ─┐
//!                                      └───────────────────────┘ ◀────── audio events ────────┘
//! ```
//!
//! - **Log before send.** A client sees an event only after the log has stored it.
//! - **Fenced.** Every append names the sequence that it expects to be the last; of two writers one goes on.
//! - **A fold.** A reply is a fold over its events, a thread a fold over its transcript: whoever has the records can
//!   go on from exactly there.
//! - **One commit point.** A reply is accepted exactly when its `accepted` record is in the transcript.
//! - **Protocols meet in the reply.** [`replies`] knows domain events and one error. A protocol is three pure functions:
//!   request to command, event to frame, error to body. So a reply that was asked for in one is rejoined in any other: a chat
//!   completion has the id and the event numbers of the response that it is, and a turn of a chat of the AI SDK is a response
//!   in a thread whose id its caller's own name for the chat makes.
//! - **A thread has one owner.** Who asks is one value, a [`Caller`](domain::caller::Caller), made in one place at the edge
//!   from what [`auth`] finds a credential to be, and demanded by every method of [`replies`]. Records say whom they belong
//!   to; what is somebody else's is answered as what is not there.
//!
//! # One request's walk
//!
//! `POST /v1/responses` finds its row in the table of routes ([`http`]) and its caller, is parsed by [`protocols`] into a
//! [`NewReply`](replies::command::NewReply), and given with its caller to [`Replies::create`](replies::Replies::create).
//! The acceptor takes what the reply may use of its caller's [limits], reads the thread if there is one, and has the lease,
//! the `accepted` record and the call of the model server in flight at once. When the record is stored, the handler gets the reply's [`Feed`](replies::feed::Feed) and answers
//! with a stream that follows it. The reply's worker turns what the [model server](llm) generates into
//! [events](domain::event), appends them to the reply's log, and shows them in the feed when they are stored. The feed
//! holds domain events; the first follower in a protocol and format encodes each once for all others
//! ([`Rendition`](replies::feed::Rendition)), outside the feed's lock. At the end `done` is appended to the reply's log and
//! `ended` to the transcript; the [projection](consumers::projection) carries the transcript to the [`store`], which is a
//! file or a Postgres. No request waits for it there: a store that is slow, hangs or is away shows as lag. What the log
//! still holds is read from the log, and the rest from the store: page by page, so that a long thread takes long and
//! holds up nobody. A store that says nothing for a quarter of a second is not waited for.
//!
//! A reply that is to be spoken, too, is followed sentence by sentence; [`speech`] speaks each, and the audio goes through
//! the reply's one appender. The text ends first, in its own record and in the transcript; the reply's last event waits for
//! both. Text never waits for speech: where that fails, the reply says so.
//!
//! A recording in a request is [transcribed](speech::hearing) before the reply is accepted: both are kept, and the model is
//! told the text.
//!
//! After a `kill -9` the next start finds the reply's lease, folds its log, claims it, and asks the upstream to go on.
//! Where many instances share a log on NATS, another one does that within seconds: presence ([`log::peers`]) decides when,
//! the fenced claim decides who. A client rejoins with `GET …?stream=true&starting_after=N`: from the feed if the reply
//! runs, else from its output and its [layout](domain::layout).
//!
//! Whoever wants to be told of the ends of replies makes an endpoint; [webhooks](consumers::webhooks) follow the transcripts as
//! the projection does, and post each end, signed, to the endpoints of its owner: on one instance at a time, at least once.
//!
//! A list of conversations is read from both as well: what the log has that was not carried yet is looked through first, then
//! the store is asked for the rest ([`Replies::conversations`](replies::Replies::conversations)).
//!
//! A deletion is a record of the transcript first, which names what it erases; then the log overwrites that. Of a record that
//! holds more than what is deleted, the deletion carries [what is left](domain::remains): whoever reads the thread finds it
//! at its old place. A deletion that a crash broke off is completed before the projection passes its record.
//!
//! A user is deleted thread by thread, as the store lists them; that it is to be done stands in the store until it is.
//!
//! # The modules, from the top down
//!
//! Each imports only what stands below it in this list; modules on one line do not import each other. A test holds that.
//!
//! ```text
//! cli            serve, check, migrate, keys, chat, bench, torture, openapi
//! app            the composition root: build, run until stopped
//! http           the edge: server, routes, request and response bodies, the page for browsers
//! protocols      request to command, event to frame, error to body
//! consumers      readers of the transcript with a position of their own: projection, webhooks
//! replies        the reply runtime: create, follow, cancel, delete
//! speech  llm    voices and hearing (TTS, ASR), model servers
//! services       every outside HTTP service: pool, limits, breaker, fair queue, health checks
//! auth  limits   credentials to callers: API keys, tokens, tickets, sessions; how much callers may use
//! log  store     records, leases, snapshots, blobs, membership as bytes; read models
//! domain         ids, items, events, replies and threads as folds, records and what deletions leave of them. Pure
//! config         the environment, read in one place
//! telemetry  health  offload
//! simulation     dice and processes for the simulated log, store and servers; only with the feature of that name
//! ```

mod health;
mod offload;
#[cfg(feature = "simulation")]
pub mod simulation;
#[cfg(test)]
mod testing;
pub mod telemetry;
mod config;
pub mod domain;
pub mod log;
pub mod store;
mod auth;
mod limits;
mod services;
mod llm;
mod speech;
mod replies;
mod consumers;
mod protocols;
mod http;
mod app;
pub mod cli;

#[cfg(feature = "simulation")]
pub use app::simulated;
pub use config::values;
