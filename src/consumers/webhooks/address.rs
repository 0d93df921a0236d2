//! Which addresses may be called for somebody else: those of the public internet, and no other.
//!
//! A name is looked up once for each connection, and the connection goes to the addresses that were looked at: between the
//! look and the connection there is nothing that a name server could change.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Gives the addresses of a name.
type LookUp = dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync;

/// Lets connections through, or not. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Guard {
    allows: fn(IpAddr) -> bool,
    allows_private: bool,
    look_up: Arc<LookUp>,
}

/// An address may not be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the address is not one of the public internet")]
pub(crate) struct Forbidden;

impl Guard {
    /// With `allows_private` everything is let through.
    pub(crate) fn new(allows_private: bool) -> Self {
        let look_up =
            |name: String| async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) }.boxed();
        let allows: fn(IpAddr) -> bool = if allows_private { |_| true } else { is_public };
        Self { allows, allows_private, look_up: Arc::new(look_up) }
    }

    /// Whether private addresses are called, too.
    pub(crate) const fn allows_private(&self) -> bool {
        self.allows_private
    }

    /// Whether an address is called.
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        (self.allows)(address)
    }

    /// Looks at a URL whose host is an address: no name is looked up for it.
    pub(crate) fn check(&self, url: &Url) -> Result<(), Forbidden> {
        // (Decimal, octal and hexadecimal forms are addresses to the URL standard, and are read as such.)
        let is_allowed = match url.host() {
            Some(Host::Ipv4(address)) => (self.allows)(address.into()),
            Some(Host::Ipv6(address)) => (self.allows)(address.into()),
            Some(Host::Domain(_)) => true,
            None => false,
        };
        if is_allowed { Ok(()) } else { Err(Forbidden) }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, allows) = ((self.look_up)(name.as_str().to_owned()), self.allows);
        Box::pin(async move {
            let mut addresses = found.await?;
            addresses.retain(|address| allows(address.ip()));
            if addresses.is_empty() {
                return Err(Forbidden.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is one of the public internet, on which nobody is trusted for where they are.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// What is not public: the [special-purpose registry](https://www.iana.org/assignments/iana-ipv4-special-registry), multicast,
/// and an address under which Azure answers machines on it.
fn is_public_v4(address: Ipv4Addr) -> bool {
    const RANGES: [([u8; 4], u32); 17] = [
        ([0, 0, 0, 0], 8),
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([127, 0, 0, 0], 8),
        // With 169.254.169.254, where clouds tell a machine its secrets.
        ([169, 254, 0, 0], 16),
        ([172, 16, 0, 0], 12),
        ([192, 0, 0, 0], 24),
        ([192, 0, 2, 0], 24),
        ([192, 31, 196, 0], 24),
        ([192, 88, 99, 0], 24),
        ([192, 168, 0, 0], 16),
        ([198, 18, 0, 0], 15),
        ([198, 51, 100, 0], 24),
        ([203, 0, 113, 0], 24),
        ([168, 63, 129, 16], 32),
        ([224, 0, 0, 0], 4),
        ([240, 0, 0, 0], 4),
    ];
    let number = address.to_bits();
    let is_in = |(range, bits): &([u8; 4], u32)| (number ^ u32::from_be_bytes(*range)) >> (32 - bits) == 0;
    !RANGES.iter().any(is_in)
}

/// Only global unicast (`2000::/3`) is public, and of it not what carries an address of IPv4, or is for tests and tunnels.
/// What stands for an address of IPv4 is what that is.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [.., high, low] = segments;
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    let carried = Ipv4Addr::new(a, b, c, d);
    match segments {
        // Mapped, and NAT64.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public_v4(carried),
        // Protocol assignments with Teredo, documentation, 6to4.
        [0x2001, second, ..] => second > 0x01ff && second != 0x0db8,
        [0x2002, ..] => false,
        [0x3fff, second, ..] => second > 0x0fff,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests;
