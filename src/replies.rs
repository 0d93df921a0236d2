//! The reply runtime: what is asked of it, and why it refuses. It knows neither a status, nor a header, nor a wire format.

mod error;

pub use error::{Busy, Cause, Error, Invalid, Missing, Result};
