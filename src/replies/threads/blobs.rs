//! Long inputs (images) stand apart from the records that refer to them: `blob:<sha256 in hex>` in place of the
//! `data:` URL. A blob is kept before the record that refers to it.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::super::{Error, Result};
use super::Threads;
use crate::domain::ids::ThreadId;
use crate::domain::items::{Item, Part};
use crate::domain::record::Change;

/// An image's URL longer than this is kept as a blob.
const LONGEST_INLINE: usize = 64 * 1024;

const SCHEME: &str = "blob:";

/// The hash of a blob's content.
pub(crate) type Hash = [u8; 32];

/// The blobs that a record refers to.
pub(crate) fn referenced(change: &Change) -> Vec<Hash> {
    match change {
        Change::Accepted(accepted) => accepted.input.iter().flat_map(of_item).collect(),
        Change::ConversationCreated { items, .. } | Change::ItemsAdded { items } => {
            items.iter().flat_map(of_item).collect()
        }
        _ => Vec::new(),
    }
}

/// The blobs that an item refers to.
pub(crate) fn of_item(item: &Item) -> Vec<Hash> {
    images(item).filter_map(|url| hash_of(url)).collect()
}

fn images(item: &Item) -> impl Iterator<Item = &String> {
    let parts = if let Item::Message(message) = item { message.content.as_slice() } else { &[] };
    parts.iter().filter_map(|part| match part {
        Part::InputImage { image_url, .. } => Some(image_url),
        _ => None,
    })
}

fn images_mut(item: &mut Item) -> impl Iterator<Item = &mut String> {
    let parts = if let Item::Message(message) = item { message.content.as_mut_slice() } else { &mut [] };
    parts.iter_mut().filter_map(|part| match part {
        Part::InputImage { image_url, .. } => Some(image_url),
        _ => None,
    })
}

fn hash_of(url: &str) -> Option<Hash> {
    let hex = url.strip_prefix(SCHEME)?;
    data_encoding::HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()
}

impl Threads {
    /// Puts the long images of items apart, kept for the thread.
    pub(crate) async fn detach(&self, thread: ThreadId, items: &mut [Item]) -> Result<()> {
        for url in items.iter_mut().flat_map(images_mut).filter(|url| url.len() > LONGEST_INLINE) {
            let hash: Hash = Sha256::digest(url.as_bytes()).into();
            let content = Bytes::from(std::mem::take(url));
            *url = format!("{SCHEME}{}", data_encoding::HEXLOWER.encode(&hash));
            self.log.blobs().put(thread, hash, content).await?;
        }
        Ok(())
    }

    /// Puts the images of items in again.
    pub(crate) async fn attach(&self, thread: ThreadId, items: &mut [Item]) -> Result<()> {
        for url in items.iter_mut().flat_map(images_mut) {
            let Some(hash) = hash_of(url) else { continue };
            let content = match self.log.blobs().get(thread, hash).await {
                Ok(Some(content)) => Some(content),
                _ => self.store.blob(thread, hash).await?,
            };
            let content = content.ok_or_else(|| Error::unavailable("an image of the thread is missing"))?;
            *url = String::from_utf8_lossy(&content).into_owned();
        }
        Ok(())
    }
}
