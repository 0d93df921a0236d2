//! Blobs, in an object store.

use async_nats::jetstream::object_store::{DeleteErrorKind, GetErrorKind, ObjectStore};
use bytes::Bytes;
use tokio::io::AsyncReadExt;

use crate::log::{AppendError, ReadError};

pub(super) async fn put(store: &ObjectStore, name: &str, blob: Bytes) -> Result<(), AppendError> {
    let put = store.put(name, &mut &blob[..]).await;
    put.map(|_| ()).map_err(|error| AppendError::Unavailable(error.to_string()))
}

pub(super) async fn get(store: &ObjectStore, name: &str) -> Result<Option<Bytes>, ReadError> {
    let mut object = match store.get(name).await {
        Ok(object) => object,
        Err(error) if error.kind() == GetErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadError(error.to_string())),
    };
    let mut blob = Vec::with_capacity(object.info().size);
    object.read_to_end(&mut blob).await.map_err(|error| ReadError(error.to_string()))?;
    Ok(Some(blob.into()))
}

pub(super) async fn erase(store: &ObjectStore, name: &str) -> Result<(), AppendError> {
    match store.delete(name).await {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == DeleteErrorKind::NotFound => Ok(()),
        Err(error) => Err(AppendError::Unavailable(error.to_string())),
    }
}
