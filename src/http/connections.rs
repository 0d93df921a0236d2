//! Which connections there are: how many there may be, in all and of one address, and which make no progress any more.
//!
//! A connection tells its [`Progress`] what it does; [`Connections::sweep`] looks at all of them once in a while, so that
//! none needs a timer of its own.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::progress::{Fault, Progress};

/// How often connections are looked at.
pub(super) const SWEEP: Duration = Duration::from_secs(1);

/// The most that there is of connections, and the times that they have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connections.
    pub(super) all: usize,
    /// Connections of one address.
    pub(super) per_address: usize,
    /// For the head of a request; also how long a client may take to say its first word.
    pub(super) handshake: Duration,
    /// After which a client that takes nothing is let go.
    pub(super) stall: Duration,
}

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// There are as many as there may be.
    All,
    /// This address has as many as it may have.
    Address,
}

/// All connections of a server.
pub(super) struct Connections {
    limits: Limits,
    begun: Instant,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    all: HashMap<u64, Arc<Progress>>,
    by_address: HashMap<IpAddr, usize>,
    /// What connections were ended for since the last look.
    faults: Vec<Fault>,
}

/// A connection, until it is dropped.
pub(super) struct Connection {
    connections: Arc<Connections>,
    id: u64,
    address: IpAddr,
    /// What it does.
    pub(super) progress: Arc<Progress>,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, begun: Instant::now(), open: Mutex::default() })
    }

    /// Takes a connection, if there may be one more.
    pub(super) fn open(self: &Arc<Self>, peer: SocketAddr) -> Result<Connection, Refused> {
        let address = network(peer.ip());
        let mut open = self.open.lock();
        if open.all.len() >= self.limits.all {
            return Err(Refused::All);
        }
        let of_address = open.by_address.entry(address).or_default();
        if *of_address >= self.limits.per_address {
            return Err(Refused::Address);
        }
        *of_address += 1;
        open.next += 1;
        let (id, progress) = (open.next, Arc::new(Progress::new(self.begun)));
        open.all.insert(id, Arc::clone(&progress));
        drop(open);
        Ok(Connection { connections: Arc::clone(self), id, address, progress })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.open.lock().all.len()
    }

    /// Ends the connections whose clients make no progress. Gives how many, by what was wrong.
    pub(super) fn sweep(&self) -> Vec<(Fault, usize)> {
        let mut ended: Vec<(Fault, usize)> = Vec::new();
        let mut open = self.open.lock();
        let before = std::mem::take(&mut open.faults);
        let now = open.all.values().filter_map(|progress| progress.sweep(self.limits.handshake, self.limits.stall));
        for fault in before.into_iter().chain(now) {
            match ended.iter_mut().find(|(known, _)| *known == fault) {
                Some((_, count)) => *count += 1,
                None => ended.push((fault, 1)),
            }
        }
        ended
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        open.all.remove(&self.id);
        open.faults.extend(self.progress.fault());
        if let Some(of_address) = open.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: of IPv6 the network, since a machine has all addresses of it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().expect("an address"), 1)
    }

    #[tokio::test]
    async fn there_is_a_most_in_all_and_of_an_address() {
        let (handshake, stall) = (Duration::from_secs(1), Duration::from_secs(1));
        let connections = Connections::new(Limits { all: 3, per_address: 2, handshake, stall });
        let open = |address| connections.open(peer(address));
        let first = open("fd00::1").expect("room");
        let _second = open("fd00::2").expect("room");
        assert_eq!(open("fd00::3").err(), Some(Refused::Address), "of one network");
        let _third = open("10.0.0.1").expect("room");
        assert_eq!(open("10.0.0.2").err(), Some(Refused::All));
        drop(first);
        assert!(open("::ffff:10.0.0.1").is_ok(), "another address of the first's network has gone");
        assert_eq!(connections.count(), 2);
    }
}
