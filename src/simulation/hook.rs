//! Who is told of the ends of replies.

use std::collections::HashMap;
use std::time::Duration;

/// Takes the calls of webhooks.
pub trait Hook: Send + Sync + 'static {
    /// A call, by its headers and its body: after which time there is an answer, and which. `None`: there is none.
    fn called(&self, headers: HashMap<&str, &str>, body: &[u8]) -> (Duration, Option<u16>);
}
