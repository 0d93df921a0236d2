//! Whatever stands in a header is understood or passed over. `PROPTEST_CASES` says how much is tried.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{format, host, inflate, request, routes};
use crate::replies::Start;

const ACCEPT: &[&str] = &[
    "",
    "*/*",
    "*",
    "text/*;q=0.5",
    "application/json",
    "application/x-ndjson",
    "text/plain;q=1.000",
    ";q=",
    "q=0.0001",
    "\"",
    "\\\"",
    ",",
    ", ,",
    ";;",
    "/",
    "text/plain; charset=\"a,b;c\"; q=0,5",
    "\t",
    "a/b;q=1.",
];

fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let part = prop_oneof![3 => select(ACCEPT).prop_map(|text| text.as_bytes().to_vec()), 1 => vec(any::<u8>(), 0..12)];
    vec(vec(part, 0..5).prop_map(|parts| parts.join(&b","[..])), 0..3)
}

fn headers(name: &'static str, lines: &[Vec<u8>]) -> HeaderMap {
    let values = lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok());
    values.map(|value| (HeaderName::from_static(name), value)).collect()
}

proptest! {
    #![proptest_config(crate::testing::cases())]

    #[test]
    fn any_accept_asks_for_some_format(lines in lines()) {
        let _ = format::wanted(&headers("accept", &lines));
    }

    #[test]
    fn any_last_event_id_is_a_place_or_none(lines in lines(), query in "(last_event_id|lastEventId|a)?=?[0-9.%&=\\-]{0,24}") {
        let headers = headers("last-event-id", &lines);
        if let Some(last) = request::last_event_id(&headers, Some(&query)) {
            let _ = (last.parse::<Start>(), last.parse::<u64>());
        }
    }

    #[test]
    fn any_place_in_a_conversation_is_read_or_refused(text in "[0-9.+\\- a-z]{0,30}", any in any::<String>()) {
        let _ = (text.parse::<Start>(), any.parse::<Start>());
    }

    #[test]
    fn any_host_and_coding_is_taken_or_refused(lines in lines()) {
        for name in ["host", "content-encoding"] {
            let mut request = Request::new(());
            *request.headers_mut() = headers(name, &lines);
            let _ = (host::check(&request), inflate::codings(request.headers()));
        }
    }

    #[test]
    fn any_path_has_a_route_or_none(path in "(/|v1|responses|conversations|items|chat|completions|models|%2F|%ff|resp_|\\.\\.|[a-z%/]{0,6}){0,9}") {
        for method in [Method::GET, Method::POST, Method::DELETE, Method::HEAD, Method::OPTIONS] {
            let _ = routes::find(&method, &path);
        }
    }

    #[test]
    fn any_body_is_inflated_or_found_damaged(body in vec(any::<u8>(), 0..300), cut in any::<prop::sample::Index>()) {
        let compressed = {
            use std::io::Write as _;
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&body).expect("memory");
            encoder.finish().expect("memory")
        };
        let mut broken = compressed.clone();
        let at = cut.index(broken.len());
        broken[at] ^= 0x55;
        for coding in ["gzip", "deflate", "zstd", "br"] {
            let headers = HeaderMap::from_iter([(hyper::header::CONTENT_ENCODING, HeaderValue::from_static(coding))]);
            let codings = inflate::codings(&headers).expect("known");
            for bytes in [&body, &compressed, &broken, &compressed[..at].to_vec()] {
                let _ = inflate::inflate(bytes.clone().into(), &codings, 1000);
            }
        }
    }
}
