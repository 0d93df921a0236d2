//! How many files the process may have open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files for everything but clients: the log, the store, model servers.
const OTHERS: u64 = 512;

/// Raises the soft limit to so many files, or as far as the system lets it. Gives what it is then; `None`: there is none.
pub(crate) fn raise(wanted: u64) -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
        // Where that fails, the limit is as it was.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum });
    }
    getrlimit(Resource::Nofile).current
}

/// Raises the soft limit as far as the system lets it, and gives how many connections of at most `wanted` fit into it.
pub(super) fn connections(wanted: usize) -> usize {
    let hard = getrlimit(Resource::Nofile).maximum;
    let Some(allowed) = raise(hard.unwrap_or(u64::MAX)) else { return wanted };
    // A very low limit leaves half to the clients.
    let fit = usize::try_from(allowed.saturating_sub(OTHERS).max(allowed / 2)).unwrap_or(usize::MAX);
    if fit < wanted {
        tracing::warn!(allowed, connections = fit, wanted, "the limit of open files leaves room for fewer connections");
    }
    fit.min(wanted)
}
