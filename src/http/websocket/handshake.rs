//! The opening handshake of a WebSocket (RFC 6455, 4.2).

use data_encoding::BASE64;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Request, StatusCode, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::http::respond::{self, Answer};
use crate::protocols::ApiError;

/// The version of the protocol.
const VERSION: &str = "13";

/// Whether a client wants to go on with a WebSocket.
pub(in crate::http) fn is_asked_for(headers: &HeaderMap) -> bool {
    lists(headers, UPGRADE.as_str(), "websocket") && lists(headers, CONNECTION.as_str(), "upgrade")
}

/// The answer to the handshake, or the refusal of one that is not as it has to be.
pub(super) fn answer<B>(request: &Request<B>) -> Result<Answer, Box<Answer>> {
    let headers = request.headers();
    if request.version() != Version::HTTP_11 || !is_asked_for(headers) {
        return Err(Box::new(wanted()));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        let mut refusal = wanted();
        refusal.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
        return Err(Box::new(refusal));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes()));
    let Some(key) = key else {
        let error = ApiError::client(400, "The header 'Sec-WebSocket-Key' has to be 16 bytes in base64.");
        return Err(Box::new(respond::error(&error.with_param("Sec-WebSocket-Key"))));
    };
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| Box::new(wanted()))?;
    let mut answer = respond::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(answer)
}

/// That there is nothing here but for a WebSocket (RFC 9110, 15.5.22).
fn wanted() -> Answer {
    let message = "This address is for WebSockets (HTTP/1.1, version 13). Without one, use POST.";
    let mut answer = respond::error(&ApiError::client(426, message).with_code("upgrade_required"));
    answer.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answer
}

fn is_key(key: &[u8]) -> bool {
    BASE64.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// Whether a header lists a word.
fn lists(headers: &HeaderMap, name: &str, word: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|entry| entry.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(headers: &[(&str, &str)]) -> u16 {
        let start = Request::builder().uri("/v1/responses");
        let request = headers.iter().fold(start, |request, (name, value)| request.header(*name, *value));
        answer(&request.body(()).expect("a request")).unwrap_or_else(|refusal| *refusal).status().as_u16()
    }

    #[test]
    fn a_handshake_is_answered_as_the_standard_says() {
        let good = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let start = Request::builder().uri("/v1/responses");
        let request = good.iter().fold(start, |request, (name, value)| request.header(*name, *value));
        let answer = answer(&request.body(()).expect("a request")).unwrap_or_else(|refusal| *refusal);
        // The example of RFC 6455, 1.3.
        assert_eq!(answer.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let without = |name: &str| good.into_iter().filter(|(known, _)| *known != name).collect::<Vec<_>>();
        assert_eq!(status(&good), 101);
        assert_eq!(status(&without("upgrade")), 426);
        assert_eq!(status(&without("connection")), 426);
        assert_eq!(status(&without("sec-websocket-version")), 426);
        assert_eq!(status(&without("sec-websocket-key")), 400);
        let mut short = without("sec-websocket-key");
        short.push(("sec-websocket-key", "c2hvcnQ="));
        assert_eq!(status(&short), 400);
    }
}
