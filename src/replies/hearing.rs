//! Transcribes the recordings of a request before anything of it is accepted: a model receives their words.

use bytes::Bytes;
use data_encoding::BASE64;
use futures_util::future::try_join_all;

use super::acceptor::Acceptor;
use super::command::NewReply;
use super::{Error, Invalid, Result};
use crate::domain::caller::Caller;
use crate::domain::items::{AudioData, InputItem, Item, Part};
use crate::offload::offload;
use crate::speech::hearing::{Recording, Request, Unheard};

/// A recording without a transcript: which item, which part of it.
type Place = (usize, usize);

/// Memory that transcribing what of these items was not transcribed yet takes beside them: each recording is decoded, and sent
/// in a copy.
pub(crate) fn memory(items: &[InputItem]) -> usize {
    unheard(items).map(|(_, audio)| audio.data.len() / 4 * 3 * 2).sum()
}

impl NewReply {
    /// Whether there is a recording that has to be transcribed.
    pub(super) fn has_unheard(&self) -> bool {
        unheard(&self.input).next().is_some()
    }
}

impl Acceptor {
    /// Transcribes all recordings among items, at once. What has a transcript already keeps it.
    pub(super) async fn hear(&self, caller: &Caller, items: &mut [InputItem]) -> Result<()> {
        let transcripts = unheard(items).map(|(place, audio)| self.transcribe(caller, place, audio));
        let transcripts = try_join_all(transcripts.collect::<Vec<_>>()).await?;
        let mut transcripts = transcripts.into_iter();
        let messages = items.iter_mut().filter_map(|item| match item {
            InputItem::Item(Item::Message(message), _) => Some(message),
            _ => None,
        });
        for part in messages.flat_map(|message| &mut message.content) {
            if let Part::InputAudio { transcript: transcript @ None, .. } = part {
                *transcript = transcripts.next();
            }
        }
        Ok(())
    }

    async fn transcribe(&self, caller: &Caller, (item, part): Place, audio: &AudioData) -> Result<String> {
        let invalid = |reason: String| Error::Invalid(Invalid::Audio { item, part, reason });
        let bytes = offload(audio.data.len(), || BASE64.decode(audio.data.as_bytes()));
        let bytes = bytes.map_err(|_| invalid("expected base64.".to_owned()))?;
        let recording = Recording::read(Bytes::from(bytes), Some(&audio.format));
        let recording = recording.map_err(|unreadable| invalid(unreadable.to_string()))?;
        let request = Request::plain(recording, caller.owner().as_str());
        match self.workers.hearing.transcribe(&request).await {
            Ok(transcript) if transcript.text.is_empty() => Err(invalid("no speech is heard in it.".to_owned())),
            Ok(transcript) => Ok(transcript.text),
            Err(Unheard::Nobody(reason) | Unheard::BrokenOff(reason)) => Err(Error::Unheard(reason)),
            Err(unheard @ (Unheard::Refused(_) | Unheard::Format)) => Err(invalid(unheard.to_string())),
        }
    }
}

fn unheard(items: &[InputItem]) -> impl Iterator<Item = (Place, &AudioData)> {
    let messages = items.iter().enumerate().filter_map(|(index, item)| match item {
        InputItem::Item(Item::Message(message), _) => Some((index, message)),
        _ => None,
    });
    messages.flat_map(|(index, message)| {
        message.content.iter().enumerate().filter_map(move |(place, part)| match part {
            Part::InputAudio { input_audio, transcript: None } => Some(((index, place), input_audio)),
            _ => None,
        })
    })
}
