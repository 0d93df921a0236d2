//! How many files the process may have open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files for everything but clients: the log, the store, model servers.
const OTHERS: u64 = 512;

/// Raises the soft limit as far as the system lets it, and gives how many connections of at most `wanted` fit into it.
pub(super) fn connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    let Some(allowed) = getrlimit(Resource::Nofile).current else { return wanted };
    // A very low limit leaves half to the clients.
    let fit = usize::try_from(allowed.saturating_sub(OTHERS).max(allowed / 2)).unwrap_or(usize::MAX);
    if fit < wanted {
        tracing::warn!(allowed, connections = fit, wanted, "the limit of open files leaves room for fewer connections");
    }
    fit.min(wanted)
}
