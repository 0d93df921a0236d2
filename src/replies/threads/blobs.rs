//! Long inputs (images, recordings) are stored apart from the records that refer to them: `blob:<sha256 in hex>` in
//! place of the `data:` URL, or of the base64 of a recording. A blob is stored before the record that refers to it.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::super::Result;
use super::Threads;
use crate::domain::ids::ThreadId;
use crate::domain::items::{Item, Part};
use crate::domain::record::Change;

/// An image or a recording that is longer than this is stored as a blob.
const LONGEST_INLINE: usize = 64 * 1024;

const SCHEME: &str = "blob:";

/// Replaces an image that is lost: an item stays readable, and a model can receive it.
const GONE: &str = "[An image that is no longer available]";

/// What is left of a part without its content: of a recording its transcript.
fn gone(part: &Part) -> String {
    match part {
        Part::InputAudio { transcript: Some(transcript), .. } => transcript.clone(),
        Part::InputAudio { .. } => "[A recording that is no longer available]".to_owned(),
        _ => GONE.to_owned(),
    }
}

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
    let parts = if let Item::Message(message) = item { message.content.as_slice() } else { &[] };
    let content = parts.iter().filter_map(|part| match part {
        Part::InputImage { image_url, .. } => Some(image_url),
        Part::InputAudio { input_audio, .. } => Some(&input_audio.data),
        _ => None,
    });
    content.filter_map(|content| hash_of(content)).collect()
}

fn parts_mut(item: &mut Item) -> &mut [Part] {
    if let Item::Message(message) = item { message.content.as_mut_slice() } else { &mut [] }
}

/// The image or the recording of a part.
fn content_mut(part: &mut Part) -> Option<&mut String> {
    match part {
        Part::InputImage { image_url, .. } => Some(image_url),
        Part::InputAudio { input_audio, .. } => Some(&mut input_audio.data),
        _ => None,
    }
}

fn hash_of(url: &str) -> Option<Hash> {
    let hex = url.strip_prefix(SCHEME)?;
    data_encoding::HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok()
}

impl Threads {
    /// Replaces the long images and recordings of items, and stores them for the thread.
    pub(crate) async fn detach(&self, thread: ThreadId, items: &mut [Item]) -> Result<()> {
        let content = items.iter_mut().flat_map(parts_mut).filter_map(content_mut);
        for content in content.filter(|content| content.len() > LONGEST_INLINE) {
            let hash: Hash = Sha256::digest(content.as_bytes()).into();
            let bytes = Bytes::from(std::mem::take(content));
            *content = format!("{SCHEME}{}", data_encoding::HEXLOWER.encode(&hash));
            self.log.blobs().put(thread, hash, bytes).await?;
        }
        Ok(())
    }

    /// Puts the images and recordings of items in again. One that neither log nor store has any more is shown as such.
    pub(crate) async fn attach(&self, thread: ThreadId, items: &mut [Item]) -> Result<()> {
        self.attach_to(thread, items.iter_mut().flat_map(parts_mut)).await
    }

    /// Restores what a model receives: of recordings it needs the transcript alone.
    pub(crate) async fn attach_images(&self, thread: ThreadId, items: &mut [Item]) -> Result<()> {
        let parts = items.iter_mut().flat_map(parts_mut);
        self.attach_to(thread, parts.filter(|part| !matches!(part, Part::InputAudio { .. }))).await
    }

    async fn attach_to(&self, thread: ThreadId, parts: impl Iterator<Item = &mut Part>) -> Result<()> {
        for part in parts {
            let Some(hash) = content_mut(part).and_then(|content| hash_of(content)) else { continue };
            let blob = self.blob(thread, hash).await?;
            match (blob, content_mut(part)) {
                (Some(bytes), Some(content)) => *content = String::from_utf8_lossy(&bytes).into_owned(),
                _ => *part = Part::InputText { text: gone(part) },
            }
        }
        Ok(())
    }

    /// A blob of a thread. `None`: it is certain that it does not exist.
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
