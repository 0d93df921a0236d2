//! The address to listen on: whether it can be had, and if not, who has it.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::row::{Row, Status};
use super::{STEP, running};
use crate::app;
use crate::cli::chain;
use crate::config::Config;

/// The most that is read of what answers there.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

const WHAT: &str = "address";

pub(super) async fn probe(config: &Config) -> Vec<Row> {
    let address = SocketAddr::new(config.http.host, config.http.port);
    let row = |status, detail: &str| Row::new(status, WHAT, address.to_string(), detail);
    let error = match app::reserve(address) {
        Ok(_) if address.port() == 0 => return vec![row(Status::Ok, "any port that is free")],
        Ok(_) => return vec![row(Status::Ok, "free")],
        Err(error) => error,
    };
    let found = if error.kind() == ErrorKind::AddrInUse { ask(config, address).await } else { None };
    if let Some(health) = found {
        let change =
            format!("nothing, if that is the one that is meant; else PORT, for example PORT={}", next(address));
        let own = row(Status::Warn, "a rejoinder listens here: another one needs its own address").change(change);
        return std::iter::once(own).chain(running::rows(&health)).collect();
    }
    vec![match error.kind() {
        ErrorKind::AddrInUse => row(Status::Fail, "another program listens here")
            .why(chain(&error))
            .change(format!("PORT, for example PORT={}", next(address))),
        ErrorKind::AddrNotAvailable => row(Status::Fail, "not an address of this machine")
            .why(chain(&error))
            .change("HOST, for example HOST=127.0.0.1, or HOST=0.0.0.0 with AUTH for all that it has"),
        ErrorKind::PermissionDenied => row(Status::Fail, "this user may not listen here")
            .why(chain(&error))
            .change("PORT, for example PORT=8080: ports below 1024 are the administrator's"),
        _ => row(Status::Fail, "cannot listen here").why(chain(&error)).change("HOST and PORT, for example PORT=8080"),
    }]
}

const fn next(address: SocketAddr) -> u16 {
    if address.port() == u16::MAX { 8080 } else { address.port() + 1 }
}

/// The health of the rejoinder that answers there, if it is one; nothing of one that tells it to others only.
async fn ask(config: &Config, address: SocketAddr) -> Option<Value> {
    if let Some(admin) = config.http.admin
        && let Some(health) = health(admin).await
    {
        return Some(health);
    }
    health(address).await
}

async fn health(address: SocketAddr) -> Option<Value> {
    let ask = async {
        let mut socket = TcpStream::connect(reachable(address)).await.ok()?;
        socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        // One that does not close is judged by what it said so far.
        let _ = tokio::time::timeout(STEP / 2, socket.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)).await;
        if answer.contains(crate::http::REALM) {
            return Some(Value::Null);
        }
        let health: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        (health.get("replies_running").is_some() && health.get("streams_open").is_some()).then_some(health)
    };
    tokio::time::timeout(STEP, ask).await.ok().flatten()
}

/// Where one connects to what listens on all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
