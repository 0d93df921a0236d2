//! Long inputs (images) stand apart from the records that refer to them: `blob:<sha256 in hex>` in place of the
//! `data:` URL. A blob is kept before the record that refers to it.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::super::Result;
use super::Threads;
use crate::domain::ids::ThreadId;
use crate::domain::items::{Item, Part};
use crate::domain::record::Change;

/// An image's URL longer than this is kept as a blob.
const LONGEST_INLINE: usize = 64 * 1024;

const SCHEME: &str = "blob:";

/// Stands where an image was that nobody has any more: an item stays readable, and a model can be told.
const GONE: &str = "[An image that is no longer available]";

/// The hash of a blob's content.
pub(crate) type Hash = [u8; 32];

/// The blobs that a record refers to.
pub(crate) fn referenced(change: &Change) -> Vec<Hash> {
    match change {
        Change::Accepted(accepted) => accepted.input.iter().flat_map(of_item).collect(),
        Change::ConversationCreated { items, .. } | Change::ItemsAdded { items } => {
            items.iter().flat_map(of_item).collect()
        }
        // What a deletion carries.
        change => change.left().iter().flat_map(|record| referenced(&record.change)).collect(),
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

fn parts_mut(item: &mut Item) -> &mut [Part] {
    if let Item::Message(message) = item { message.content.as_mut_slice() } else { &mut [] }
}

fn images_mut(item: &mut Item) -> impl Iterator<Item = &mut String> {
    parts_mut(item).iter_mut().filter_map(|part| match part {
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

    /// Puts the images of items in again. One that neither log nor store has any more is shown as such.
    pub(crate) async fn attach(&self, thread: ThreadId, items: &mut [Item]) -> Result<()> {
        for part in items.iter_mut().flat_map(parts_mut) {
            let Part::InputImage { image_url, .. } = part else { continue };
            let Some(hash) = hash_of(image_url) else { continue };
            match self.blob(thread, hash).await? {
                Some(content) => *image_url = String::from_utf8_lossy(&content).into_owned(),
                None => *part = Part::InputText { text: GONE.to_owned() },
            }
        }
        Ok(())
    }

    /// A blob of a thread. `None`: it is certain that nobody has it.
    async fn blob(&self, thread: ThreadId, hash: Hash) -> Result<Option<Bytes>> {
        match self.log.blobs().get(thread, hash).await {
            Ok(Some(content)) => Ok(Some(content)),
            Ok(None) => self.store.blob(thread, hash).await,
            Err(error) => match self.store.blob(thread, hash).await? {
                Some(content) => Ok(Some(content)),
                None => Err(error.into()),
            },
        }
    }
}
