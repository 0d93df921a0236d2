//! Readers of the transcript with a position of their own.

pub(crate) mod projection;
pub(crate) mod webhooks;
