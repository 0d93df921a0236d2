//! What is read of a request before a handler acts on it.

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};

use super::budget::{NoRoom, Share};
use super::format::wanted;
use super::upload::{self, Pace, Upload};
use super::{Edge, inflate};
use crate::domain::items::InputItem;
use crate::offload::offload;
use crate::protocols::ApiError;
use crate::protocols::stream::Format;
use crate::replies::command::IdempotencyKey;
use crate::replies::hearing;

/// The longest `Idempotency-Key`, in bytes.
const LONGEST_KEY: usize = 255;

impl Edge {
    /// Reads the body of a request that has to be JSON.
    pub(super) async fn json_body(&self, request: Request<Incoming>) -> Result<Upload, ApiError> {
        check_content_type(request.headers())?;
        self.body(request, self.inner.config.max_body_bytes).await
    }

    /// Reads the body of a request, of at most so many bytes.
    pub(super) async fn body(&self, request: Request<Incoming>, limit: usize) -> Result<Upload, ApiError> {
        let config = &self.inner.config;
        let codings = inflate::codings(request.headers())?;
        let pace = Pace { whole: config.body_timeout, least: config.body_min_rate };
        let mut upload = upload::read(request.into_body(), limit, pace, &self.inner.budget).await?;
        if codings.is_empty() {
            return Ok(upload);
        }
        let compressed = upload.bytes.len();
        upload.share.grow(limit).await.map_err(|NoRoom| ApiError::no_memory())?;
        // It may take as long as the limit is large.
        let inflated = tokio::task::spawn_blocking(move || {
            inflate::inflate(std::mem::take(&mut upload.bytes), &codings, limit).map(|bytes| (bytes, upload.share))
        });
        match inflated.await.map_err(|_| ApiError::internal())? {
            Ok((bytes, mut share)) => {
                share.shrink_to(bytes.len() + compressed);
                Ok(Upload { bytes, share })
            }
            Err(inflate::Error::TooLong) => Err(ApiError::too_large(limit as u64)),
            Err(inflate::Error::Damaged) => Err(ApiError::damaged_encoding()),
        }
    }
}

/// Has the share of a request also hold what transcribing its recordings takes.
pub(super) async fn hold_recordings(share: &mut Share, items: &[InputItem]) -> Result<(), ApiError> {
    match hearing::memory(items) {
        0 => Ok(()),
        bytes => share.grow(bytes).await.map_err(|NoRoom| ApiError::no_memory()),
    }
}

/// What a POST asks for, by whatever door.
pub(super) struct Asked<T> {
    /// The request.
    pub(super) parsed: T,
    /// Under which it is joined when it comes again.
    pub(super) key: Option<IdempotencyKey>,
    /// How its answer is written if it is a stream.
    pub(super) format: Format,
    /// Held until the request is stored, or refused.
    pub(super) share: Share,
}

impl Edge {
    /// Reads a request for a reply.
    pub(super) async fn asked<T>(
        &self,
        request: Request<Incoming>,
        parse: fn(&[u8]) -> Result<T, ApiError>,
    ) -> Result<Asked<T>, ApiError> {
        let (format, key) = (wanted(request.headers()), request.headers().get("idempotency-key").cloned());
        let Upload { bytes, share } = self.json_body(request).await?;
        let parsed = offload(bytes.len(), || parse(&bytes))?;
        let key = key.map(|key| offload(bytes.len(), || idempotency_key(&key, &bytes))).transpose()?;
        Ok(Asked { parsed, key, format, share })
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
fn idempotency_key(value: &HeaderValue, body: &[u8]) -> Result<IdempotencyKey, ApiError> {
    let invalid = || {
        let message = format!("The header 'Idempotency-Key' has to be 1 to {LONGEST_KEY} visible ASCII characters.");
        ApiError::client(400, message).with_param("Idempotency-Key")
    };
    let key = value.to_str().map_err(|_| invalid())?;
    if key.is_empty() || key.len() > LONGEST_KEY {
        return Err(invalid());
    }
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(body));
    Ok(IdempotencyKey { key: key.to_owned(), digest })
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
