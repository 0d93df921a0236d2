//! The cookie of a session: read, set, and taken back (RFC 6265). Pure.

use hyper::header::{COOKIE, HeaderMap, HeaderValue};

const NAME: &str = "rejoinder_session";

/// The session that a browser sends along.
pub(super) fn session(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == NAME).map(|(_, value)| value)
}

/// Has a browser keep a session: no script reads it, and no other site's page sends it.
pub(in crate::http) fn keep(session: &str, seconds: i64, headers: &HeaderMap) -> Option<HeaderValue> {
    let secure = if is_behind_tls(headers) { "; Secure" } else { "" };
    let text = format!("{NAME}={session}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}", seconds.max(0));
    HeaderValue::from_str(&text).ok()
}

/// Has a browser forget its session.
pub(in crate::http) fn forget() -> HeaderValue {
    const { assert!(NAME.len() == "rejoinder_session".len()) };
    HeaderValue::from_static("rejoinder_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict")
}

/// Whether a proxy in front speaks TLS. (Whoever says so of themselves only makes their own cookie stricter.)
fn is_behind_tls(headers: &HeaderMap) -> bool {
    let is_https = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"https");
    let forwarded =
        |value: &HeaderValue| value.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains("proto=https"));
    headers.get("x-forwarded-proto").is_some_and(is_https) || headers.get("forwarded").is_some_and(forwarded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; rejoinder_session=x.y; b=2"));
        assert_eq!(session(&headers), Some("x.y"));
        headers.insert(COOKIE, HeaderValue::from_static("xrejoinder_session=x.y"));
        assert_eq!(session(&headers), None);
    }

    #[test]
    fn a_cookie_is_for_tls_alone_where_there_is_tls() {
        let mut headers = HeaderMap::new();
        let plain = keep("x.y", 60, &headers).unwrap();
        assert_eq!(plain, "rejoinder_session=x.y; Path=/; Max-Age=60; HttpOnly; SameSite=Strict");
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        assert!(keep("x.y", 60, &headers).unwrap().to_str().unwrap().ends_with("; Secure"));
    }
}
