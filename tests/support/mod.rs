//! What the integration tests share: the real server as a child process, an upstream that can be told to
//! misbehave, a client with a strict reader of server-sent events, and the invariants of a reply's events.
//!
//! Nothing here uses the server's own code: what it says is judged from outside, by the published formats.

pub mod chat;
pub mod check;
pub mod cluster;
#[allow(dead_code, reason = "each of the binaries uses a part of it")]
pub mod ear;
pub mod fixture;
pub mod follower;
#[allow(dead_code, reason = "each of the binaries uses a part of it")]
pub mod gatherer;
pub mod hook;
pub mod http;
#[allow(dead_code, reason = "each of the binaries uses a part of it")]
pub mod issuer;
pub mod nats;
pub mod pages;
pub mod ports;
#[allow(dead_code, reason = "each of the binaries uses a part of it")]
pub mod postgres;
pub mod server;
pub mod sse;
pub mod truth;
pub mod upstream;
#[allow(dead_code, reason = "each of the binaries uses a part of it")]
pub mod valve;
#[allow(dead_code, reason = "each of the binaries uses a part of it")]
pub mod voice;
pub mod wait;
#[allow(dead_code, reason = "each of the binaries uses a part of it")]
pub mod websocket;

pub use check::{Reply, check_reply};
pub use cluster::Cluster;
pub use fixture::{Given, bodies, id_of, streamed, whole, with, with_image};
pub use http::{Answer, Api};
pub use pages::{conversation_items, ids};
pub use sse::{Event, Events};
pub use truth::{prompt, truth};
pub use upstream::{Behaviour, Upstream};
pub use wait::until;

pub use serde_json::{Value, json};
