//! Clients of outside services: model servers that speak Chat Completions, and the built-in models.
//!
//! Knows how to call them, how long to wait, and how to read what they say, whatever their dialect. Does not know
//! what becomes of it: that is `generation`'s.

pub mod call;
pub mod delta;
