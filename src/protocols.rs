//! The wire: requests, replies, events and errors of the Responses and Conversations APIs, as bytes.
//!
//! Parses what clients send into what [`crate::conversation`] knows, and writes it back. Does no I/O, and does not
//! know what a request leads to.

pub mod conversations;
pub mod error;
pub mod lists;
pub mod models;
pub mod openapi;
pub mod query;
pub mod request;
pub mod seal;
pub mod stream;
pub mod wire;

mod json;

pub use error::ApiError;
