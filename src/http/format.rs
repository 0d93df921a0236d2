//! How a stream is written: decided by `Accept`. Whether there is one is decided by `stream`. Pure.

use hyper::header::{ACCEPT, HeaderMap};

use crate::protocols::stream::Format;

/// What a client asks for. SDKs send `Accept: application/json` with `stream: true`, and mean SSE.
pub(super) fn wanted(headers: &HeaderMap) -> Format {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept
        .split(',')
        .map(|part| part.split(';').next().unwrap_or_default().trim())
        .find_map(|media| match media {
            "text/event-stream" => Some(Format::Sse),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Some(Format::Ndjson),
            "text/plain" => Some(Format::Text),
            _ => None,
        })
        .unwrap_or(Format::Sse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_says_how_and_sdks_mean_sse() {
        let of = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().expect("a header"));
            wanted(&headers)
        };
        assert_eq!(wanted(&HeaderMap::new()), Format::Sse);
        assert_eq!(of("application/json"), Format::Sse);
        assert_eq!(of("*/*"), Format::Sse);
        assert_eq!(of("application/x-ndjson"), Format::Ndjson);
        assert_eq!(of("text/plain;q=0.9, */*"), Format::Text);
    }
}
