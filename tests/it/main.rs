//! What the server promises, tried on the real binary from outside. One binary, so that it is linked once.

#[path = "../support/mod.rs"]
mod support;

mod asking;
mod bad_input;
mod conversations;
#[cfg(feature = "crash-points")]
mod crash_points;
mod dialects;
mod health;
mod idempotency;
mod kill;
mod rejoining;
mod responses_api;
#[cfg(feature = "crash-points")]
mod slow_store;
mod stop;
mod tool_calls;
mod transport;
mod upstream_faults;
