//! Ports that servers keep over a restart.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// The first port that the system gives to whoever asks for any; no connection of a client has one below.
const ANY: u16 = 32_768;
const FIRST: u16 = 10_000;

/// A free port that nobody else gets, also not while its server is away: in one process every call gives another one,
/// and processes begin at different places.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let span = u32::from(ANY - FIRST);
    let begin = std::process::id().wrapping_mul(211) % span;
    loop {
        let taken = u32::from(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + u16::try_from((begin + taken) % span).expect("less than the span");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
