//! From where a request may come. Pure.
//!
//! A server that needs no credential on a person's own machine must not serve every page that this person visits. A page of
//! another site is told by its `Origin`; one that pointed its own name at this machine (DNS rebinding) by its `Host`.

use hyper::Request;
use hyper::header::{self, HeaderMap, HeaderValue};

use crate::config::{AllowedHosts, CorsOrigins};

/// Why a request is refused whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::http) enum Foreign {
    /// The server is not known by this name.
    #[error("host not allowed")]
    Host,
    /// The page is of another site.
    #[error("origin not allowed")]
    Origin,
}

impl AllowedHosts {
    /// Whether the server may be called by the names of this request. One that names none is none of a browser's.
    pub(super) fn admit<B>(&self, request: &Request<B>) -> bool {
        let Self::Only(names) = self else { return true };
        let hosts = request.headers().get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or_default());
        let mut hosts = hosts.chain(request.uri().authority().map(hyper::http::uri::Authority::as_str));
        hosts.all(|authority| {
            let name = host_of(authority).to_ascii_lowercase();
            is_own(&name) || names.contains(&name)
        })
    }
}

/// A name or address of this machine, which nobody else can point elsewhere.
fn is_own(name: &str) -> bool {
    let is_loopback = name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    is_loopback || name == "localhost" || name.ends_with(".localhost")
}

/// The name or address of an authority: without its port, and without the brackets of IPv6.
fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

/// Whether a request is one of the server's own pages, of a page that is listed, or of no page at all.
pub(super) fn is_welcome<B>(origins: &CorsOrigins, request: &Request<B>) -> bool {
    let Some(origin) = request.headers().get(header::ORIGIN) else { return true };
    origins.lists(origin) || is_same(origin, request)
}

/// Whether a browser that sends its cookie along means it: the request is of a page of ours, or of one that is listed.
/// `SameSite=Strict` keeps pages of other sites out; this also those of our own site that are not ours.
pub(super) fn is_meant<B>(origins: &CorsOrigins, request: &Request<B>) -> bool {
    let headers = request.headers();
    if let Some(origin) = headers.get(header::ORIGIN) {
        // Not for any page, whatever is set: the cookie is worth as much as a key.
        return is_same(origin, request) || matches!(origins, CorsOrigins::List(_)) && origins.lists(origin);
    }
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        Some(b"same-origin" | b"none") => true,
        Some(_) => false,
        // No browser of today: it may read, and change nothing.
        None => request.method().is_safe(),
    }
}

fn is_same<B>(origin: &HeaderValue, request: &Request<B>) -> bool {
    let Some(authority) = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest) else {
        return false;
    };
    own_authority(request.headers(), request).is_some_and(|own| own.eq_ignore_ascii_case(authority))
}

fn own_authority<'a, B>(headers: &'a HeaderMap, request: &'a Request<B>) -> Option<&'a str> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    host.or_else(|| request.uri().authority().map(hyper::http::uri::Authority::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, headers: &[(&str, &str)]) -> Request<()> {
        let start = Request::builder().method(method).uri("/v1/responses");
        headers.iter().fold(start, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
    }

    #[test]
    fn a_server_of_this_machine_is_called_by_its_own_names_and_those_that_are_listed() {
        let admits = |hosts: &AllowedHosts, host: &str| hosts.admit(&request("POST", &[("host", host)]));
        let only = AllowedHosts::Only(vec!["chat.example".to_owned()]);
        for own in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:80",
            "127.9.9.9",
            "[::1]:8080",
            "app.localhost",
            "chat.example:1",
        ] {
            assert!(admits(&only, own), "{own}");
        }
        for other in [
            "attacker.example",
            "attacker.example:8080",
            "10.0.0.1",
            "localhost.attacker.example",
            "127.0.0.1.nip.io",
            "",
            "chat.example.evil",
        ] {
            assert!(!admits(&only, other), "{other}");
        }
        assert!(admits(&AllowedHosts::Any, "attacker.example"));
        assert!(!only.admit(&request("GET", &[("host", "localhost"), ("host", "attacker.example")])));
        assert!(only.admit(&request("GET", &[])));
        let http2 = Request::builder().uri("http://attacker.example/v1/models").body(()).unwrap();
        assert!(!only.admit(&http2));
    }

    #[test]
    fn pages_of_other_sites_are_not_welcome() {
        let listed = CorsOrigins::List(vec!["https://app.example".to_owned()]);
        let welcome = |origins: &CorsOrigins, origin: &str| {
            is_welcome(origins, &request("POST", &[("host", "localhost:8080"), ("origin", origin)]))
        };
        for origin in ["http://localhost:8080", "https://localhost:8080", "https://app.example"] {
            assert!(welcome(&listed, origin), "{origin}");
        }
        for origin in ["null", "http://localhost:3000", "https://evil.example", "https://app.example.evil", ""] {
            assert!(!welcome(&listed, origin), "{origin}");
        }
        assert!(welcome(&CorsOrigins::Any, "https://evil.example") && welcome(&CorsOrigins::Any, "null"));
        assert!(is_welcome(&CorsOrigins::None, &request("POST", &[("host", "localhost")])));
    }

    #[test]
    fn a_cookie_counts_only_for_pages_that_are_ours() {
        let meant = |method: &str, headers: &[(&str, &str)], origins: &CorsOrigins| {
            is_meant(origins, &request(method, &[headers, &[("host", "chat.example")]].concat()))
        };
        let (none, any) = (CorsOrigins::None, CorsOrigins::Any);
        let listed = CorsOrigins::List(vec!["https://app.example".to_owned()]);
        assert!(meant("POST", &[("origin", "https://chat.example")], &none));
        assert!(meant("POST", &[("origin", "https://app.example")], &listed));
        assert!(meant("POST", &[("sec-fetch-site", "same-origin")], &none));
        assert!(meant("GET", &[], &none) && !meant("POST", &[], &none) && !meant("DELETE", &[], &none));
        assert!(!meant("GET", &[("sec-fetch-site", "cross-site")], &any));
        assert!(!meant("POST", &[("sec-fetch-site", "same-site")], &any));
        assert!(!meant("POST", &[("origin", "https://evil.example")], &any));
        assert!(!meant("POST", &[("origin", "null"), ("sec-fetch-site", "same-origin")], &listed));
    }
}
