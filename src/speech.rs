//! Speech: speaks replies aloud while they are said.

mod plain;
pub mod sentences;
mod words;
