//! Blobs, in an object store.

use std::time::Duration;

use async_nats::jetstream::object_store::{DeleteErrorKind, GetErrorKind, ObjectMetadata, ObjectStore};
use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::log::{AppendError, ReadError};

/// How long the object store may be silent: its client would wait for ever for a chunk that was lost.
const PATIENCE: Duration = Duration::from_secs(3);

/// Chunks have at most this many bytes, where the server takes that.
const CHUNK: usize = 128 << 10;

/// Bytes that are read at once.
const PART: usize = 256 << 10;

pub(super) async fn put(store: &ObjectStore, name: &str, blob: Bytes, longest: usize) -> Result<(), AppendError> {
    let metadata =
        ObjectMetadata { name: name.to_owned(), chunk_size: Some(CHUNK.min(longest)), ..ObjectMetadata::default() };
    // Each chunk may take its time.
    let patience = PATIENCE * u32::try_from(blob.len() / (1 << 20) + 1).unwrap_or(u32::MAX);
    let put = timeout(patience, store.put(metadata, &mut &blob[..])).await.map_err(|_| silent_append())?;
    put.map(|_| ()).map_err(|error| AppendError::Unavailable(error.to_string()))
}

pub(super) async fn get(store: &ObjectStore, name: &str) -> Result<Option<Bytes>, ReadError> {
    let mut object = match timeout(PATIENCE, store.get(name)).await.map_err(|_| silent_read())? {
        Ok(object) => object,
        Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadError(error.to_string())),
    };
    let mut blob = BytesMut::with_capacity(object.info().size);
    loop {
        blob.reserve(PART.min(object.info().size.saturating_sub(blob.len()).max(1)));
        let read = timeout(PATIENCE, object.read_buf(&mut blob)).await.map_err(|_| silent_read())?;
        if read.map_err(|error| ReadError(error.to_string()))? == 0 {
            return Ok(Some(blob.freeze()));
        }
    }
}

pub(super) async fn erase(store: &ObjectStore, name: &str) -> Result<(), AppendError> {
    match timeout(PATIENCE, store.delete(name)).await.map_err(|_| silent_append())? {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == DeleteErrorKind::NotFound => Ok(()),
        Err(error) => Err(AppendError::Unavailable(error.to_string())),
    }
}

fn silent_read() -> ReadError {
    ReadError("the object store does not answer".to_owned())
}

fn silent_append() -> AppendError {
    AppendError::Unavailable("the object store does not answer".to_owned())
}
