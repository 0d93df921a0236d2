//! The page for browsers: a chat over the API that everybody has, in files that are part of the program. They are compressed
//! once, when the first browser comes. No build step, nothing from elsewhere; `page/vendor` has others' work, with its
//! licences.

use std::io::Write as _;
use std::sync::LazyLock;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use super::format::accepts;
use super::respond::{self, Answer};

/// The page itself, with a word in it for whether there is a voice.
const INDEX: &str = include_str!("page/index.html");

/// What stands in it for that word, and for whether speech is understood.
const VOICE: &str = "{{voice}}";
const HEARING: &str = "{{hearing}}";

/// Scripts and styles are the server's own files and nothing else; what a model says runs nowhere, loads nothing, and is made
/// into elements by one library alone. Images are those that a person sends.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data: blob:; media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types dompurify";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Name, media type, content.
const FILES: &[(&str, &str, &[u8])] = &[
    ("api.js", SCRIPT, include_bytes!("page/api.js")),
    ("app.js", SCRIPT, include_bytes!("page/app.js")),
    ("composer.js", SCRIPT, include_bytes!("page/composer.js")),
    ("conversation.js", SCRIPT, include_bytes!("page/conversation.js")),
    ("markdown.js", SCRIPT, include_bytes!("page/markdown.js")),
    ("microphone.js", SCRIPT, include_bytes!("page/microphone.js")),
    ("messages.js", SCRIPT, include_bytes!("page/messages.js")),
    ("side.js", SCRIPT, include_bytes!("page/side.js")),
    ("page.css", "text/css; charset=utf-8", include_bytes!("page/page.css")),
    ("icon.svg", "image/svg+xml", include_bytes!("page/icon.svg")),
    ("highlight.js", SCRIPT, include_bytes!("page/vendor/highlight.js")),
    ("marked.js", SCRIPT, include_bytes!("page/vendor/marked.js")),
    ("purify.js", SCRIPT, include_bytes!("page/vendor/purify.js")),
];

/// A file, as it is sent.
struct File {
    name: &'static str,
    media: &'static str,
    plain: Bytes,
    gzip: Bytes,
    tag: HeaderValue,
}

/// By whether there is a voice, and whether speech is understood.
static PAGES: LazyLock<[[File; 2]; 2]> =
    LazyLock::new(|| [[index(false, false), index(false, true)], [index(true, false), index(true, true)]]);
static OTHERS: LazyLock<Vec<File>> = LazyLock::new(|| {
    FILES.iter().map(|(name, media, content)| File::new(name, media, Bytes::from_static(content))).collect()
});

/// Whether a client wants the page rather than text: a browser says so, `curl` takes anything.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    accepts(headers, "text/html")
}

/// The page.
pub(super) fn page(speaks: bool, hears: bool, headers: &HeaderMap) -> Answer {
    let mut answer = PAGES[usize::from(speaks)][usize::from(hears)].answer(headers);
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("cross-origin-opener-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=(self)"),
        ("vary", "accept, accept-encoding"),
    ] {
        answer.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    answer
}

/// A file of the page. `None`: there is no such file.
pub(super) fn file(name: &str, headers: &HeaderMap) -> Option<Answer> {
    OTHERS.iter().find(|file| file.name == name).map(|file| file.answer(headers))
}

fn index(speaks: bool, hears: bool) -> File {
    let word = |is: bool| if is { "on" } else { "off" };
    let text = INDEX.replace(VOICE, word(speaks)).replace(HEARING, word(hears));
    File::new("", "text/html; charset=utf-8", Bytes::from(text))
}

impl File {
    fn new(name: &'static str, media: &'static str, plain: Bytes) -> Self {
        let digest = HEXLOWER.encode(&Sha256::digest(&plain)[..8]);
        let tag = HeaderValue::from_str(&format!("\"{digest}\"")).expect("hexadecimal digits are ASCII");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let written = encoder.write_all(&plain).and_then(|()| encoder.finish());
        Self { name, media, gzip: written.expect("memory takes what is written").into(), plain, tag }
    }

    /// The file, or that the client has it already: it asks each time, since another version may run now.
    fn answer(&self, headers: &HeaderMap) -> Answer {
        let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_known = self.tag.to_str().is_ok_and(|tag| known.split(',').any(|known| known.trim().ends_with(tag)));
        let coding = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let takes_gzip = coding.split(',').any(|coding| coding.split(';').next().map(str::trim) == Some("gzip"));
        let mut answer = match (is_known, takes_gzip) {
            (true, _) => respond::empty(StatusCode::NOT_MODIFIED),
            (false, true) => respond::file(self.media, self.gzip.clone()),
            (false, false) => respond::file(self.media, self.plain.clone()),
        };
        let own = answer.headers_mut();
        if takes_gzip && !is_known {
            own.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        own.insert(header::ETAG, self.tag.clone());
        own.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        own.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_enough_and_asks_for_nothing_that_is_not_there() {
        let all: usize = OTHERS.iter().map(|file| file.gzip.len()).sum::<usize>() + PAGES[1][1].gzip.len();
        assert!(all <= 250 * 1024, "{all} bytes");
        let texts =
            FILES.iter().filter(|(_, media, _)| *media == SCRIPT).map(|file| std::str::from_utf8(file.2).unwrap());
        let own = texts.filter(|text| !text.contains("License")).chain([INDEX]);
        for text in own {
            for part in text.split("\"/page/").skip(1).chain(text.split("from './").skip(1)) {
                let name = part.split(['"', '\'']).next().unwrap();
                assert!(file(name, &HeaderMap::new()).is_some(), "{name}");
            }
        }
        assert!(
            !INDEX.contains("style=") && !INDEX.contains("onclick") && INDEX.contains(VOICE) && INDEX.contains(HEARING)
        );
    }

    #[test]
    fn a_file_is_sent_as_a_client_takes_it_and_once() {
        let with = |name: HeaderName, value: &HeaderValue| {
            let headers = HeaderMap::from_iter([(name, value.clone())]);
            file("app.js", &headers).unwrap()
        };
        let plain = file("app.js", &HeaderMap::new()).unwrap();
        assert_eq!((plain.status().as_u16(), plain.headers().get("content-encoding")), (200, None));
        let gzip = with(header::ACCEPT_ENCODING, &HeaderValue::from_static("br, gzip;q=0.8"));
        assert_eq!(gzip.headers()["content-encoding"], "gzip");
        assert_eq!(with(header::IF_NONE_MATCH, &plain.headers()["etag"]).status(), 304);
        assert!(file("app.css", &HeaderMap::new()).is_none());
    }
}
