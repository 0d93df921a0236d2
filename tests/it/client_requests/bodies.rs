//! Bodies that are compressed (RFC 9110, 8.4).

use std::io::Write as _;

use super::*;

/// `{"model":"truth","input":"hello compressed"}` by other people's programs.
const CODED: [(&str, &str); 5] = [
    (
        "gzip",
        "1f8b0800000000000203ab56cacd4f49cd51b2522a292a2dc950d251cacc2b282d01f233527372f21592f3730b8a528b8b5353946a01fa8c410a2c000000",
    ),
    (
        "zstd",
        "28b52ffd242c6101007b226d6f64656c223a227472757468222c22696e707574223a2268656c6c6f20636f6d70726573736564227d39ddcb2e",
    ),
    ("br", "1b2b00e01c09762ce237142f4ceab1b6b73da9c3d21722bd89249374b23da413ca06502382cd9dcc6b03"),
    (
        "deflate",
        "789cab56cacd4f49cd51b2522a292a2dc950d251cacc2b282d51b252ca48cdc9c95748cecf2d284a2d2e4e4d51aa0500541d0f8a",
    ),
    // Without the wrapping of zlib, as some clients have it.
    ("deflate", "ab56cacd4f49cd51b2522a292a2dc950d251cacc2b282d51b252ca48cdc9c95748cecf2d284a2d2e4e4d51aa0500"),
];

/// 64 MiB of spaces.
const BROTLI_SPACES: &str = "cbffff3ff82540e2b14020f7fe8fffff7ff04b00c4611180eefd1fffffffe0970088c30200ddfb3ffeffffc12f0110870500baf77ffcffff835f02200e0b0074effff8ffff07bf04401c1600e8defff1ffff0f7e0980382c00d0bdffcbffff3ffc1200715800a07bff07";

/// So many times 128 KiB of spaces, of four bytes each, with this window (RFC 8878, 3.1.1).
fn zstd_spaces(blocks: usize, window: u8) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, window];
    for block in 1..=blocks {
        frame.extend([if block == blocks { 0x03 } else { 0x02 }, 0x00, 0x10, b' ']);
    }
    frame
}

fn bytes(hex: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("hexadecimal digits")
}

fn coded(given: &Given, coding: &str) -> Api {
    given.api.clone().header("content-encoding", coding)
}

#[tokio::test]
async fn compressed_bodies_are_read() {
    let given = Given::new().await;
    for (number, (coding, hex)) in CODED.iter().enumerate() {
        let answer = coded(&given, coding).call(Method::POST, "/v1/responses", bytes(hex)).await;
        assert_eq!(answer.ok()["status"], "completed", "{coding}");
        assert_eq!(given.upstream.heard("hello compressed").len(), number + 1, "{coding}");
    }
    let gzip = bytes(CODED[0].1);
    for coding in ["GZIP", "x-gzip", "identity, gzip"] {
        coded(&given, coding).call(Method::POST, "/v1/responses", gzip.clone()).await.ok();
    }
    let mut twice = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    twice.write_all(&gzip).expect("written");
    let twice = twice.finish().expect("finished");
    coded(&given, "gzip, deflate").call(Method::POST, "/v1/responses", twice).await.ok();
    coded(&given, "identity").post("/v1/responses", whole("plain")).await.ok();
    coded(&given, "gzip").call(Method::POST, "/v1/conversations", gzip).await.ok();
}

#[tokio::test]
async fn a_coding_that_is_not_known_is_415_and_names_those_that_are() {
    let given = Given::new().await;
    for coding in ["compress", "gzip, lzma", "aws-chunked"] {
        let answer = coded(&given, coding).post("/v1/responses", whole("never")).await;
        answer.refused(415, "unsupported_content_encoding", "Content-Encoding");
        assert_eq!(answer.header("accept-encoding"), Some("gzip, deflate, zstd, br"), "RFC 9110, 12.5.3");
    }
    assert!(given.upstream.heard("never").is_empty());
}

#[tokio::test]
async fn a_compressed_body_that_is_damaged_is_refused() {
    let given = Given::new().await;
    for (coding, hex) in CODED {
        let whole = bytes(hex);
        for damaged in [&whole[..whole.len() / 2], b"{\"input\": \"never\"}".as_slice()] {
            let answer = coded(&given, coding).call(Method::POST, "/v1/responses", damaged.to_vec()).await;
            answer.refused(400, "invalid_content_encoding", "Content-Encoding");
        }
    }
}

#[tokio::test]
async fn a_small_body_that_inflates_over_the_limit_is_refused() {
    let given = Given::new().await;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..64 {
        gzip.write_all(&vec![b' '; 1024 * 1024]).expect("written");
    }
    let gzip = gzip.finish().expect("finished");
    assert!(gzip.len() < 100_000);
    coded(&given, "gzip").call(Method::POST, "/v1/responses", gzip).await.refused(
        413,
        "request_too_large",
        Value::Null,
    );
    for (coding, body) in [("zstd", zstd_spaces(512, 0x58)), ("br", bytes(BROTLI_SPACES))] {
        let answer = coded(&given, coding).call(Method::POST, "/v1/responses", body).await;
        answer.refused(413, "request_too_large", Value::Null);
    }
    // A window over 8 MiB is not for HTTP (RFC 9659, 3), and would be room for one request.
    let answer = coded(&given, "zstd").call(Method::POST, "/v1/responses", zstd_spaces(1, 0x80)).await;
    answer.refused(400, "invalid_content_encoding", "Content-Encoding");
    given.api.post("/v1/responses", whole("hello")).await.ok();
}
