//! How a stream is written: decided by `Accept` (RFC 9110, 12.5.1). Whether there is one is decided by `stream`. Pure.

use hyper::header::{ACCEPT, HeaderMap};

use crate::protocols::stream::Format;

/// What can be given, by the media types that ask for it; the default first, which wins a tie. SDKs send
/// `Accept: application/json` with `stream: true`, and mean SSE.
const OFFERS: &[(Format, &[&str])] = &[
    (Format::Sse, &["application/json", "text/event-stream"]),
    (Format::Ndjson, &["application/x-ndjson", "application/ndjson", "application/jsonl"]),
    (Format::Text, &["text/plain"]),
];

/// The highest quality, in thousandths.
const MOST: u16 = 1000;

/// What a client prefers. HTTP libraries list `application/json, text/plain, */*`: what they like as much as the default
/// is no wish for anything else. If nothing acceptable can be given, the default is.
pub(super) fn wanted(headers: &HeaderMap) -> Format {
    let lines = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<Range> = lines.flat_map(|line| split(line, ',')).filter_map(Range::parse).collect();
    let quality = |types: &[&str]| types.iter().map(|media| quality(&ranges, media)).max().unwrap_or(0);
    let (mut best, mut highest) = (Format::Sse, 0);
    for (format, types) in OFFERS {
        let quality = quality(types);
        if quality > highest {
            (best, highest) = (*format, quality);
        }
    }
    best
}

/// Whether a client names a media type among those that it takes: a range that has it is not enough.
pub(super) fn accepts(headers: &HeaderMap, media: &str) -> bool {
    let mut lines = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    lines.any(|line| {
        let mut ranges = split(line, ',').filter_map(Range::parse);
        ranges.any(|range| range.quality > 0 && range.precision(media) == Some(2))
    })
}

/// An entry of `Accept`. Parameters other than `q` say nothing about what is offered here.
struct Range<'a> {
    media: &'a str,
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(entry: &'a str) -> Option<Self> {
        let mut parts = split(entry, ';');
        let media = parts.next().filter(|media| !media.is_empty())?;
        let q = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
        Some(Self { media, quality: q.map_or(MOST, |(_, value)| thousandths(value.trim())) })
    }

    /// How exactly it names a media type; `None`: it does not.
    fn precision(&self, media: &str) -> Option<u8> {
        let kind = media.split('/').next().unwrap_or_default();
        match self.media {
            // Some clients of Java's own library write the single star.
            "*/*" | "*" => Some(0),
            range if range.strip_suffix("/*").is_some_and(|range| range.eq_ignore_ascii_case(kind)) => Some(1),
            range => range.eq_ignore_ascii_case(media).then_some(2),
        }
    }
}

/// How much a client likes a media type: what the entry says that names it most exactly.
fn quality(ranges: &[Range], media: &str) -> u16 {
    let fitting = ranges.iter().filter_map(|range| Some((range.precision(media)?, range.quality)));
    fitting.max().map_or(0, |(_, quality)| quality)
}

/// A weight: 0 to 1, with up to three digits. One that is none counts as not given.
fn thousandths(value: &str) -> u16 {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) || !matches!(whole, "0" | "1" | "") {
        return MOST;
    }
    let digits = fraction.bytes().chain([b'0'; 3]).take(3);
    let below = digits.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    if whole == "1" { MOST } else { below }
}

/// The trimmed parts of a header between separators that are not within quotes (RFC 9110, 5.6.4).
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(move |char| {
        quoted ^= char == '"' && !escaped;
        escaped = quoted && !escaped && char == '\\';
        char == separator && !quoted
    });
    parts.map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str) -> Format {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().expect("a header"));
        wanted(&headers)
    }

    #[test]
    fn the_defaults_of_http_libraries_get_the_default_format() {
        assert_eq!(wanted(&HeaderMap::new()), Format::Sse);
        for accept in [
            "",
            "*/*",
            "application/json",
            // axios, Angular
            "application/json, text/plain, */*",
            // Spring's RestTemplate and RestClient
            "text/plain, application/json, application/*+json, */*",
            "text/plain, */*",
            // Java's URLConnection
            "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
            // a browser
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
            "text/*",
            "application/*",
            "text/event-stream",
            "text/event-stream, text/plain",
            "image/png",
        ] {
            assert_eq!(of(accept), Format::Sse, "{accept}");
        }
    }

    #[test]
    fn what_is_preferred_to_the_default_is_given() {
        for (accept, format) in [
            ("application/x-ndjson", Format::Ndjson),
            ("Application/X-NDJSON; charset=utf-8", Format::Ndjson),
            ("application/json;q=0.9, application/jsonl", Format::Ndjson),
            ("application/x-ndjson, */*;q=0.1", Format::Ndjson),
            ("application/x-ndjson;q=0.8, text/plain;q=0.81", Format::Text),
            ("text/plain", Format::Text),
            ("text/plain;format=flowed;q=0.2, image/png", Format::Text),
            ("text/plain, application/json;q=0.999", Format::Text),
            // The default is liked less than what only a star names.
            ("text/event-stream;q=0.1, application/json;q=0.1, text/plain;q=0.2, */*;q=0.05", Format::Text),
        ] {
            assert_eq!(of(accept), format, "{accept}");
        }
    }

    #[test]
    fn weights_decide_and_not_the_order() {
        for (accept, format) in [
            ("application/x-ndjson;q=0.1, application/json", Format::Sse),
            ("text/plain;q=0.9, */*", Format::Sse),
            ("text/plain;Q=0.5, application/json;q=0.5", Format::Sse),
            ("text/plain;q=0, */*;q=0", Format::Sse),
            ("text/plain ; q=0.001 , text/event-stream ; q=0.002", Format::Sse),
            ("text/plain; x=\"a, application/x-ndjson;q=1\"; q=0.3, application/json;q=0.4", Format::Sse),
            ("text/plain;q=much", Format::Text),
            ("text/plain;q=0.5x, application/json;q=0.9", Format::Text),
        ] {
            assert_eq!(of(accept), format, "{accept}");
        }
    }

    #[test]
    fn lines_of_a_header_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(ACCEPT, "text/plain;q=0.5".parse().expect("a header"));
        headers.append(ACCEPT, "application/x-ndjson".parse().expect("a header"));
        assert_eq!(wanted(&headers), Format::Ndjson);
    }
}
