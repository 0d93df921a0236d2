//! `Host`, as RFC 9112 (3.2) demands it: what it names decides later whether a request is answered. Pure.

use hyper::header::HOST;
use hyper::http::uri::Authority;
use hyper::{Request, Version};

use crate::protocols::ApiError;

/// That a request names its host once, and as hosts are written.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), ApiError> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, more) = (hosts.next(), hosts.next().is_some());
    if more {
        return Err(ApiError::invalid_host("is there more than once"));
    }
    let Some(host) = host else {
        // HTTP/2 has `:authority` for it, HTTP/1.0 needs none.
        let named = request.uri().authority().is_some();
        let needed = request.version() == Version::HTTP_11 || request.version() == Version::HTTP_2 && !named;
        return if needed { Err(ApiError::invalid_host("is missing")) } else { Ok(()) };
    };
    let authority = Authority::try_from(host.as_bytes()).ok();
    let is_host = authority.is_some_and(|authority| !authority.host().is_empty() && !host.as_bytes().contains(&b'@'));
    if is_host { Ok(()) } else { Err(ApiError::invalid_host("is no name or address with a port")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_host_once_and_well() {
        let code = |version, hosts: &[&str]| {
            let mut request = Request::builder().version(version).uri("/");
            for host in hosts {
                request = request.header(HOST, *host);
            }
            check(&request.body(()).expect("a request")).map_err(|error| error.status)
        };
        for host in ["localhost", "127.0.0.1:8080", "[::1]:8080", "a.example:1"] {
            assert_eq!(code(Version::HTTP_11, &[host]), Ok(()), "{host}");
        }
        for hosts in [&[][..], &["a", "a"], &[""], &["a b"], &["user@a"], &["a/b"], &["[::1"], &[":80"]] {
            assert_eq!(code(Version::HTTP_11, hosts), Err(400), "{hosts:?}");
        }
        assert_eq!(code(Version::HTTP_10, &[]), Ok(()));
        assert_eq!(code(Version::HTTP_2, &[]), Err(400));
    }
}
