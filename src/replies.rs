//! The reply runtime: accepts replies, generates them, goes on with those that were left, follows and stops them.
//!
//! It knows neither a status, nor a header, nor a wire format.

mod accept;
mod admit;
mod adoptions;
pub mod appender;
mod batcher;
mod builder;
pub mod chain;
pub mod command;
mod error;
pub mod feed;
mod follow;
mod generation;
mod listen;
mod place;
mod prompt;
mod retry;
mod speech;
mod splice;
mod spoken;
mod stop;
mod takeover;
#[cfg(test)]
mod tests;
pub mod threads;
mod worker;

pub use error::{Busy, Cause, Error, Invalid, Missing, Result};
pub use generation::{Config, Generation};

use generation::Order;
