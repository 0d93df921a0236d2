//! Blobs, in an object store.

use std::time::Duration;

use async_nats::jetstream::object_store::{
    DeleteErrorKind, GetErrorKind, InfoErrorKind, ObjectInfo, ObjectMetadata, ObjectStore,
};
use bytes::{Bytes, BytesMut};
use time::OffsetDateTime;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::connect::Connections;
use super::names::BLOBS;
use super::wire;
use crate::log::{AppendError, ReadError};
use crate::telemetry::causes::chain;

/// How long the object store may take to answer: its client would wait for ever for a chunk that was lost.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Chunks have at most this many bytes, where the server takes that.
const CHUNK: usize = 128 << 10;

/// Bytes that are read at once.
const PART: usize = 256 << 10;

/// The server's words when the bucket, the account or the disk has no more space. The client library passes on only
/// those.
const NO_SPACE: [&str; 4] =
    ["maximum bytes exceeded", "insufficient resources", "resource limits exceeded", "insufficient storage resources"];

/// Keeps a blob in chunks of at most `longest` bytes. One that is there and younger than `young` stays as it is.
pub(super) async fn put(
    store: &ObjectStore,
    name: &str,
    blob: Bytes,
    (longest, young): (usize, Duration),
) -> Result<(), AppendError> {
    let known = info(store, name).await.map_err(|error| AppendError::Unavailable(error.to_string()))?;
    let modified = known.and_then(|info| info.modified);
    if modified.is_some_and(|modified| OffsetDateTime::now_utc() - modified < young) {
        return Ok(());
    }
    let metadata =
        ObjectMetadata { name: name.to_owned(), chunk_size: Some(CHUNK.min(longest)), ..ObjectMetadata::default() };
    // Each chunk may take its time.
    let limit = TIMEOUT * u32::try_from(blob.len() / (1 << 20) + 1).unwrap_or(u32::MAX);
    let put = timeout(limit, store.put(metadata, &mut &blob[..])).await.map_err(|_| append_timed_out())?;
    put.map(|_| ()).map_err(|error| match chain(&error) {
        text if NO_SPACE.iter().any(|words| text.contains(words)) => AppendError::Full,
        text => AppendError::Unavailable(text),
    })
}

pub(super) async fn get(store: &ObjectStore, name: &str) -> Result<Option<Bytes>, ReadError> {
    let mut object = match timeout(TIMEOUT, store.get(name)).await.map_err(|_| read_timed_out())? {
        Ok(object) => object,
        Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadError(error.to_string())),
    };
    let mut blob = BytesMut::with_capacity(object.info().size);
    loop {
        blob.reserve(PART.min(object.info().size.saturating_sub(blob.len()).max(1)));
        let read = timeout(TIMEOUT, object.read_buf(&mut blob)).await.map_err(|_| read_timed_out())?;
        if read.map_err(|error| ReadError(error.to_string()))? == 0 {
            return Ok(Some(blob.freeze()));
        }
    }
}

/// Erases a blob, so that it cannot be read from the disk either. (The client's own deletion purges the chunks, which leaves
/// their bytes where they are until the server needs the place.)
pub(super) async fn erase(store: &ObjectStore, name: &str, connections: &Connections) -> Result<(), AppendError> {
    let unavailable = |error: ReadError| AppendError::Unavailable(error.to_string());
    let Some(info) = info(store, name).await.map_err(unavailable)? else { return Ok(()) };
    let (stream, chunks) = (format!("OBJ_{BLOBS}"), format!("$O.{BLOBS}.C.{}", info.nuid));
    let mut from = 1;
    while let Some(chunk) =
        wire::next_at_leader(&connections.read, &stream, &chunks, from).await.map_err(unavailable)?
    {
        from = chunk.sequence + 1;
        wire::erase(&connections.append, &stream, chunk.sequence).await?;
    }
    match timeout(TIMEOUT, store.delete(name)).await.map_err(|_| append_timed_out())? {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == DeleteErrorKind::NotFound => Ok(()),
        Err(error) => Err(AppendError::Unavailable(error.to_string())),
    }
}

/// What is known of a blob. `None`: it is not there.
async fn info(store: &ObjectStore, name: &str) -> Result<Option<ObjectInfo>, ReadError> {
    match timeout(TIMEOUT, store.info(name)).await.map_err(|_| read_timed_out())? {
        Ok(info) => Ok(Some(info).filter(|info| !info.deleted)),
        Err(error) if error.kind() == InfoErrorKind::NotFound => Ok(None),
        Err(error) => Err(ReadError(error.to_string())),
    }
}

fn read_timed_out() -> ReadError {
    ReadError("the object store does not answer".to_owned())
}

fn append_timed_out() -> AppendError {
    AppendError::Unavailable("the object store does not answer".to_owned())
}
