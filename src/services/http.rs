//! The HTTP client of one service: its own pool, its sockets, the certificates that it trusts.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Certificate, Client, Url};

const TCP_KEEPALIVE: Duration = Duration::from_secs(40);

/// Connections that are kept open with nothing to do.
const MAX_IDLE_CONNECTIONS: usize = 1024;

const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_mins(1);

/// A connection of HTTP/2 that does not answer a ping for so long is broken, and all that it carries.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests that share a connection of HTTP/2. Servers allow about a hundred streams on each, and what comes beyond waits
/// unseen: it goes to another connection.
const SHARING: usize = 64;

/// Connections of HTTP/2 at once.
const CONNECTIONS: usize = 16;

/// Clients with a pool each. Without TLS there is no HTTP/2, and one pool serves all.
#[derive(Debug)]
pub(super) struct Clients {
    pools: Box<[Pool]>,
    settings: Settings,
}

#[derive(Debug, Default)]
struct Pool {
    client: OnceLock<Client>,
    in_flight: Arc<AtomicUsize>,
}

/// A client for one request, until that is over.
#[derive(Debug)]
pub(super) struct Lease {
    /// The client.
    pub(super) client: Client,
    in_flight: Arc<AtomicUsize>,
}

/// What a client is made with.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// Where it calls.
    pub(super) base: Url,
    /// How long a connection may take.
    pub(super) connect: Duration,
    /// Certificates to be trusted beside the system's.
    pub(super) extra_roots: Vec<Certificate>,
}

impl Clients {
    /// Sets up the first client.
    pub(super) fn new(settings: Settings) -> reqwest::Result<Self> {
        let pools = if settings.base.scheme() == "https" { CONNECTIONS } else { 1 };
        let pools: Box<[Pool]> = (0..pools).map(|_| Pool::default()).collect();
        let _ = pools[0].client.set(client(&settings)?);
        Ok(Self { pools, settings })
    }

    /// The client for the next request: the first that has room, so that few requests share warm connections.
    pub(super) fn lease(&self) -> Lease {
        let load = |pool: &Pool| pool.in_flight.load(Ordering::Relaxed);
        let with_room = self.pools.iter().find(|pool| load(pool) < SHARING);
        let pool = with_room.or_else(|| self.pools.iter().min_by_key(|pool| load(pool))).unwrap_or(&self.pools[0]);
        // One was set up like this before, so that it does not fail now; and else there is the first.
        let client = pool.client.get_or_init(|| client(&self.settings).unwrap_or_else(|_| self.first().clone()));
        pool.in_flight.fetch_add(1, Ordering::Relaxed);
        Lease { client: client.clone(), in_flight: Arc::clone(&pool.in_flight) }
    }

    fn first(&self) -> &Client {
        self.pools[0].client.get().expect("it was set up with the rest")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn client(settings: &Settings) -> reqwest::Result<Client> {
    // Fails only where the process has chosen a provider before: that one serves as well.
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut builder = Client::builder()
        .user_agent(concat!("rejoinder/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
        .tcp_keepalive(TCP_KEEPALIVE)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .connect_timeout(settings.connect)
        .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
        .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT);
    if settings.base.scheme() == "http" {
        // Nothing is encrypted here: reading the system's certificates would only slow the start.
        builder = builder.http1_only().tls_certs_only([]);
    } else {
        builder = builder.tls_certs_merge(settings.extra_roots.iter().cloned());
    }
    if is_local(&settings.base) {
        builder = builder.no_proxy();
    }
    builder.build()
}

/// Whether an exchange failed before the server can have read it: it closed a connection that had idled, just when
/// that was used.
pub(super) fn died_before_answer(error: &reqwest::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let gone = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message);
        let reset = error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe));
        if gone || reset {
            return true;
        }
        source = error.source();
    }
    false
}

/// How long an answer asks to be left alone: `retry-after-ms`, `x-ms-retry-after-ms` (Azure), or `retry-after` in
/// seconds or as a date (RFC 9110, 10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let millis = ["retry-after-ms", "x-ms-retry-after-ms"].into_iter().find_map(|name| text(name)?.parse::<f64>().ok());
    if let Some(millis) = millis {
        return Duration::try_from_secs_f64(millis / 1000.0).ok();
    }
    let value = text(RETRY_AFTER.as_str())?;
    match value.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()),
    }
}

fn is_local(base: &Url) -> bool {
    match base.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn the_time_to_wait_is_read_from_any_header() {
        let headers = |name: &'static str, value| HeaderMap::from_iter([(HeaderName::from_static(name), value)]);
        let now = httpdate::parse_http_date("Wed, 21 Oct 2026 07:28:00 GMT").unwrap();
        for (name, value, wait) in [
            ("retry-after", "2", Some(Duration::from_secs(2))),
            ("retry-after", "0.5", Some(Duration::from_millis(500))),
            ("retry-after-ms", "250", Some(Duration::from_millis(250))),
            ("x-ms-retry-after-ms", "1500", Some(Duration::from_millis(1500))),
            ("retry-after", "Wed, 21 Oct 2026 07:28:07 GMT", Some(Duration::from_secs(7))),
            ("retry-after", "Wed, 21 Oct 2026 07:27:00 GMT", Some(Duration::ZERO)),
            ("retry-after", "soon", None),
            ("retry-after", "-1", None),
        ] {
            assert_eq!(retry_after(&headers(name, HeaderValue::from_static(value)), now), wait, "{value}");
        }
    }

    #[test]
    fn requests_with_tls_get_another_pool_when_one_is_full() {
        let clients = |base: &str| {
            let base = base.parse().unwrap();
            Clients::new(Settings { base, connect: Duration::from_secs(3), extra_roots: Vec::new() }).unwrap()
        };
        let used = |clients: &Clients| clients.pools.iter().filter(|pool| pool.client.get().is_some()).count();
        let (plain, secure) = (clients("http://127.0.0.1:1/v1"), clients("https://127.0.0.1:1/v1"));
        let leases: Vec<_> = (0..=SHARING).flat_map(|_| [plain.lease(), secure.lease()]).collect();
        assert_eq!((used(&plain), used(&secure)), (1, 2));
        drop(leases);
        assert!(secure.pools.iter().all(|pool| pool.in_flight.load(Ordering::Relaxed) == 0));
    }
}
