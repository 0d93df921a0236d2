//! The way to an address, step by step: its name, and a connection.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::select_ok;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use url::{Host, Url};

use super::STEP;
use super::row::{Row, Status};
use crate::cli::chain;
use crate::config::variable;

/// How the steps are called, and what to change where one does not work.
pub(super) struct Names {
    pub(super) resolve: &'static str,
    pub(super) connect: &'static str,
    pub(super) change: &'static str,
}

/// How far one got.
pub(super) struct Reached {
    pub(super) rows: Vec<Row>,
    pub(super) connected: bool,
}

/// Looks up the name of an address, and connects.
pub(super) async fn reach(url: &Url, names: &Names) -> Reached {
    let mut rows = Vec::new();
    let Some(addresses) = resolve(url, names, &mut rows).await else { return Reached { rows, connected: false } };
    let begun = Instant::now();
    let row =
        |status, address: String, detail: &str| Row::new(status, names.connect, address, detail).took(begun.elapsed());
    let connected = match connect(&addresses).await {
        Ok(address) => {
            rows.push(row(Status::Ok, address.to_string(), "connected"));
            true
        }
        Err(error) => {
            let change = format!("{}{}", names.change, hint(url, &error));
            let row = row(Status::Fail, listed(&addresses), "cannot connect");
            rows.push(row.why(chain(&error)).change(change));
            false
        }
    };
    Reached { rows, connected }
}

/// The addresses of a name; `None` when there is a row that says why there are none. A number needs no row.
async fn resolve(url: &Url, names: &Names, rows: &mut Vec<Row>) -> Option<Vec<SocketAddr>> {
    let port = url.port_or_known_default().unwrap_or(80);
    let name = match url.host()? {
        Host::Ipv4(ip) => return Some(vec![(ip, port).into()]),
        Host::Ipv6(ip) => return Some(vec![(ip, port).into()]),
        Host::Domain(name) => name,
    };
    let begun = Instant::now();
    let found = timeout(STEP, lookup_host((name, port))).await.unwrap_or_else(|_| Err(late("no answer")));
    let row = |status, detail| Row::new(status, names.resolve, name, detail).took(begun.elapsed());
    let mut addresses: Vec<_> = match found {
        Ok(found) => found.collect(),
        Err(error) => {
            rows.push(row(Status::Fail, "no such name".to_owned()).why(chain(&error)).change(names.change));
            return None;
        }
    };
    addresses.sort();
    addresses.dedup();
    let ips: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
    rows.push(row(Status::Ok, ips.join(", ")));
    Some(addresses)
}

/// The first address that takes a connection. All are tried at once: one that is a black hole keeps nobody.
async fn connect(addresses: &[SocketAddr]) -> io::Result<SocketAddr> {
    let try_one = |address: SocketAddr| TcpStream::connect(address).map(move |result| result.map(|_| address)).boxed();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    let (address, _) = timeout(STEP, select_ok(addresses.iter().copied().map(try_one)))
        .await
        .unwrap_or_else(|_| Err(late("no answer: a firewall, or nobody has that address")))?;
    Ok(address)
}

fn late(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} within {} s", STEP.as_secs()))
}

fn listed(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What goes wrong most often.
fn hint(url: &Url, error: &io::Error) -> &'static str {
    let refused = error.kind() == io::ErrorKind::ConnectionRefused;
    if refused && is_loopback(url) && std::path::Path::new("/.dockerenv").exists() {
        return " (in a container, localhost is the container itself: try host.docker.internal)";
    }
    if refused { " (nothing listens there: is it running?)" } else { "" }
}

/// Whether an address is on this machine.
/// The variable of the environment that sends calls through a proxy. What is on this machine is always called directly.
pub(super) fn proxy(base: &Url) -> Option<&'static str> {
    let names: &[_] = match base.scheme() {
        _ if is_loopback(base) => &[],
        "https" => &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
        _ => &["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"],
    };
    names.iter().copied().find(|name| variable(name).is_some())
}

/// That a key which goes there can be read on its way, if it can. (With https a proxy only passes on what it cannot read.)
pub(super) fn in_clear(what: &'static str, base: &Url, name: &str) -> Option<Row> {
    if base.scheme() != "http" || is_loopback(base) {
        return None;
    }
    let why = match proxy(base) {
        Some(proxy) => format!("http:// to another machine, through the proxy of {proxy}, which reads all of it"),
        None => "http:// to another machine".to_owned(),
    };
    let row = Row::new(Status::Warn, what, shown(base), "the key travels in clear").why(why);
    Some(row.change(format!("{name}, to https:// if the server has it")))
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// An address as it may be shown: without what may be a key in it.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Neither can fail: the address has a host.
    let _ = (url.set_username(""), url.set_password(None));
    if url.query().is_some() {
        url.set_query(Some("…"));
    }
    percent_encoding::percent_decode_str(url.as_str().trim_end_matches('/')).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_what_may_be_secret() {
        let text = shown(&"https://me:pw@a.example/v1?key=secret".parse().unwrap());
        assert_eq!(text, "https://a.example/v1?…");
        assert_eq!(shown(&"http://localhost:1/".parse().unwrap()), "http://localhost:1");
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_told_with_its_cause() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let names = Names { resolve: "resolve", connect: "connect", change: "X" };
        let reached = reach(&format!("http://localhost:{}", free.port()).parse().unwrap(), &names).await;
        let [name, connection] = reached.rows.as_slice() else { panic!("{:?}", reached.rows) };
        assert!(name.status == Status::Ok && name.detail.contains("127.0.0.1"), "{name:?}");
        assert!(!reached.connected && connection.status == Status::Fail, "{connection:?}");
        assert!(connection.why.as_ref().is_some_and(|why| why.contains("refused")), "{connection:?}");
        let refusing = reach(&"http://name.invalid".parse().unwrap(), &names).await;
        assert!(refusing.rows[0].what == "resolve" && refusing.rows[0].status == Status::Fail);
    }
}
