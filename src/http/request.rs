//! What is read of a request before a handler acts on it.

use bytes::{Bytes, BytesMut};
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap};
use sha2::{Digest, Sha256};

use super::Edge;
use crate::protocols::ApiError;
use crate::replies::command::IdempotencyKey;

/// The longest `Idempotency-Key`, in bytes.
const LONGEST_KEY: usize = 255;

/// Reads the whole body.
async fn body(request: Request<Incoming>, limit: usize) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::too_large(limit as u64);
    let mut incoming = request.into_body();
    if incoming.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut incoming).poll_frame(cx)).await {
        let frame = frame.map_err(|_| ApiError::client(400, "The request's body broke off."))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + all.len() + data.len() > limit {
            return Err(too_large());
        }
        // Most bodies come in one piece, which need not be copied.
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

impl Edge {
    /// Reads the body of a request that has to be JSON.
    pub(super) async fn json_body(&self, request: Request<Incoming>) -> Result<Bytes, ApiError> {
        check_content_type(request.headers())?;
        body(request, self.inner.config.max_body_bytes).await
    }
}

/// A request from a web page has to be JSON: then its browser asks first whether it may be sent.
fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    if !headers.contains_key(header::ORIGIN) {
        return Ok(());
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(ApiError::unsupported_media_type()) }
}

/// The `Idempotency-Key`, with a digest of what was sent under it.
pub(super) fn idempotency_key(headers: &HeaderMap, body: &[u8]) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let invalid = || {
        let message = format!("The header 'Idempotency-Key' has to be 1 to {LONGEST_KEY} visible ASCII characters.");
        ApiError::client(400, message).with_param("Idempotency-Key")
    };
    let key = value.to_str().map_err(|_| invalid())?;
    if key.is_empty() || key.len() > LONGEST_KEY {
        return Err(invalid());
    }
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(body));
    Ok(Some(IdempotencyKey { key: key.to_owned(), digest }))
}

/// The `Last-Event-ID` that an `EventSource` sends when it comes back; some clients cannot set headers and put it
/// into the query.
pub(super) fn last_event_id<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> Option<&'a str> {
    let header = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let from_query = || {
        let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(name, _)| matches!(*name, "last_event_id" | "lastEventId")).map(|(_, id)| id)
    };
    header.or_else(from_query).filter(|id| !id.is_empty())
}
