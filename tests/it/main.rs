//! What the server promises, tried on the real binary from outside. One binary, so that it is linked once.

#[path = "../support/mod.rs"]
mod support;

mod rejoining;
