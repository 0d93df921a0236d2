//! Bodies that are compressed (RFC 9110, 8.4): read as far as the limit of a body goes, and no further. Pure.

use std::io::Read;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use crate::protocols::ApiError;

/// The codings that are read, as `accept-encoding` names them.
pub(super) const CODINGS: &str = "gzip, deflate, zstd, br";

/// The largest window of zstd in HTTP (RFC 9659, 3).
const ZSTD_WINDOW: u64 = 8 * 1024 * 1024;

/// Bytes that are inflated at a time.
const CHUNK: usize = 64 * 1024;

/// A way in which a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
    Zstd,
    Brotli,
}

/// Why a body is not inflated.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It becomes longer than is read.
    #[error("it is too long")]
    TooLong,
    /// It is not what its coding says.
    #[error("it cannot be read")]
    Damaged,
}

impl From<std::io::Error> for Error {
    fn from(_: std::io::Error) -> Self {
        Self::Damaged
    }
}

/// What a body was compressed with, in the order in which that was done.
///
/// # Errors
/// When one of the codings is not known.
pub(super) fn codings(headers: &HeaderMap) -> Result<Vec<Coding>, ApiError> {
    let mut codings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let unknown = |name: &str| ApiError::unsupported_encoding(name, CODINGS);
        for name in value.to_str().map_err(|_| unknown("?"))?.split(',').map(str::trim) {
            match name.to_ascii_lowercase().as_str() {
                "" | "identity" => {}
                "gzip" | "x-gzip" => codings.push(Coding::Gzip),
                "deflate" => codings.push(Coding::Deflate),
                "zstd" => codings.push(Coding::Zstd),
                "br" => codings.push(Coding::Brotli),
                _ => return Err(unknown(name)),
            }
        }
    }
    Ok(codings)
}

/// The body as it was before it was compressed.
///
/// # Errors
/// When it is damaged, or longer than `limit` at any step.
pub(super) fn inflate(body: Bytes, codings: &[Coding], limit: usize) -> Result<Bytes, Error> {
    codings.iter().rev().try_fold(body, |body, coding| {
        let inflated = match coding {
            Coding::Gzip => read(flate2::read::MultiGzDecoder::new(&*body), limit),
            Coding::Deflate => deflated(&body, limit),
            Coding::Zstd => frames(&body, limit),
            Coding::Brotli => read(brotli_decompressor::Decompressor::new(&*body, CHUNK), limit),
        };
        Ok(inflated?.into())
    })
}

fn read(reader: impl Read, limit: usize) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    reader.take(limit as u64 + 1).read_to_end(&mut out)?;
    if out.len() > limit { Err(Error::TooLong) } else { Ok(out) }
}

/// Zstandard: frames, one after another (RFC 8878, 3).
fn frames(body: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(ZSTD_WINDOW);
    let (mut rest, mut out) = (body, Vec::new());
    while !rest.is_empty() || body.is_empty() {
        let frame = StreamingDecoder::new_with_decoder(&mut rest, &mut decoder).map_err(|_| Error::Damaged)?;
        out.extend(read(frame, limit - out.len())?);
    }
    Ok(out)
}

/// `deflate` is zlib's form of it, and of some clients the bare stream (RFC 9110, 8.4.1.2).
fn deflated(body: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    let zlib = match body {
        // The method is 8, and the head is a multiple of 31 (RFC 1950, 2.2).
        [first, second, ..] => first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31),
        _ => return Err(Error::Damaged),
    };
    let (mut state, mut out) = (Decompress::new(zlib), Vec::new());
    loop {
        out.reserve(CHUNK);
        let (read, written) = (state.total_in(), out.len());
        let rest = usize::try_from(read).ok().and_then(|read| body.get(read..)).unwrap_or_default();
        let status = state.decompress_vec(rest, &mut out, FlushDecompress::None).map_err(|_| Error::Damaged)?;
        if out.len() > limit {
            return Err(Error::TooLong);
        }
        let ended = state.total_in() == body.len() as u64;
        match status {
            Status::StreamEnd if ended => return Ok(out),
            Status::Ok | Status::BufError if state.total_in() > read || out.len() > written => {}
            // It has an end before the body has, or none.
            Status::StreamEnd | Status::Ok | Status::BufError => return Err(Error::Damaged),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Zstd, Coding::Brotli];

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_grow(bytes in prop::collection::vec(any::<u8>(), 0..400), magic in 0usize..4) {
            let heads: [&[u8]; 4] = [&[0x1f, 0x8b, 8, 0], &[0x78, 0x9c], &[0x28, 0xb5, 0x2f, 0xfd], &[0x1b]];
            let body = Bytes::from([heads[magic], &bytes].concat());
            for coding in ALL {
                if let Ok(inflated) = inflate(body.clone(), &[coding], 1000) {
                    prop_assert!(inflated.len() <= 1000);
                }
            }
        }
    }
}
