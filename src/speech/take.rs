//! One take of a sentence: from what a voice sends to what is stored of it. Detects what is no speech (nothing,
//! silence, another format, something cut short), and leaves out what an earlier take has brought. Pure.

use super::resample::Resampler;
use super::wav::{self, Header, Sample, Spec};
use crate::domain::params::AudioFormat;

/// Below this nothing is audible: -54 dB of the loudest.
pub(super) const AUDIBLE: f32 = 0.002;

/// Silence at the beginning that is waited through, in samples: 10 s.
const LONGEST_SILENCE: usize = 10 * wav::RATE as usize;

/// Why a take is no speech.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Bad {
    #[error("it sent no audio")]
    Empty,
    #[error("it sent silence")]
    Silent,
    #[error("its audio is cut short")]
    Short,
    #[error("it sent {0}, no audio")]
    Type(String),
    #[error("it did not send {}", .0.as_str())]
    Format(AudioFormat),
    #[error("{0}")]
    Wav(#[from] wav::HeaderError),
}

/// A take.
pub(super) struct Take {
    format: AudioFormat,
    /// Bytes of the result that are there already.
    skip: u64,
    source: Source,
    /// Silence at the beginning, held until something is heard.
    held: Option<Vec<f32>>,
    /// Bytes that are not enough to go on with.
    rest: Vec<u8>,
    any: bool,
}

enum Source {
    /// It is not known yet.
    Unknown {
        raw: Option<Spec>,
    },
    Samples {
        spec: Spec,
        left: Option<u64>,
        resampler: Option<Box<Resampler>>,
    },
    /// Passed on as it is.
    Encoded,
}

impl Take {
    /// A take in this format, of which so many bytes are there already. `content_type` is what the voice calls it, if it
    /// does.
    pub(super) fn new(format: AudioFormat, skip: u64, content_type: Option<&str>) -> Result<Self, Bad> {
        let content_type = content_type.unwrap_or_default().to_ascii_lowercase();
        let media = content_type.split(';').next().unwrap_or_default().trim();
        if media.starts_with("text/")
            || media.ends_with("json")
            || media.ends_with("xml")
            || media.starts_with("image/")
        {
            return Err(Bad::Type(media.to_owned()));
        }
        let is_raw = matches!(media, "audio/pcm" | "audio/l16" | "audio/raw" | "audio/x-raw");
        let raw = is_raw.then(|| Spec { rate: rate_of(&content_type), channels: 1, sample: Sample::I16 });
        let held = Some(Vec::new());
        Ok(Self { format, skip, source: Source::Unknown { raw }, held, rest: Vec::new(), any: false })
    }

    /// The form of the audio.
    pub(super) const fn format(&self) -> AudioFormat {
        self.format
    }

    /// Takes what came; adds to `out` what is to be stored of it. Returns whether anything is heard by now.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<bool, Bad> {
        self.rest.extend_from_slice(bytes);
        self.any |= !bytes.is_empty();
        if let Source::Unknown { raw } = self.source {
            let Some(source) = self.recognise(raw)? else { return Ok(false) };
            self.source = source;
        }
        if matches!(self.source, Source::Encoded) {
            let rest = std::mem::take(&mut self.rest);
            self.add(&rest, out);
            return Ok(!rest.is_empty());
        }
        let samples = self.samples();
        self.hear(&samples, out)
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Bad> {
        if !self.any {
            return Err(Bad::Empty);
        }
        match &mut self.source {
            Source::Unknown { .. } => Err(Bad::Short),
            Source::Encoded => Ok(()),
            Source::Samples { left, resampler, .. } => {
                if left.is_some_and(|left| left > 0) {
                    return Err(Bad::Short);
                }
                let mut samples = Vec::new();
                if let Some(resampler) = resampler {
                    resampler.finish(&mut samples);
                }
                let heard = self.hear(&samples, out)?;
                match &self.held {
                    _ if heard => Ok(()),
                    Some(held) if held.is_empty() => Err(Bad::Empty),
                    _ => Err(Bad::Silent),
                }
            }
        }
    }

    /// Finds out what it is. `None`: more has to come first.
    fn recognise(&mut self, raw: Option<Spec>) -> Result<Option<Source>, Bad> {
        if !self.format.is_samples() {
            let Some(begin) = self.rest.get(..4) else { return Ok(None) };
            return if is(self.format, begin) { Ok(Some(Source::Encoded)) } else { Err(Bad::Format(self.format)) };
        }
        if let Some(spec) = raw.filter(|_| self.rest.len() >= 4 && !self.rest.starts_with(b"RIFF")) {
            return samples_of(spec, None).map(Some);
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let Some(Header { spec, start, length }) = wav::read(&self.rest)? else { return Ok(None) };
        self.rest.drain(..start);
        samples_of(spec, length).map(Some)
    }

    /// The whole samples that came, in our rate, one channel.
    fn samples(&mut self) -> Vec<f32> {
        let Source::Samples { spec, left, resampler } = &mut self.source else { return Vec::new() };
        let frame = spec.sample.bytes() * usize::from(spec.channels);
        let mut whole = self.rest.len() / frame * frame;
        if let Some(left) = left {
            // Bytes after the samples (tags, for example) are no audio.
            let most = usize::try_from(*left).unwrap_or(usize::MAX);
            whole = whole.min(most / frame * frame);
            *left -= whole as u64;
            if most - whole < frame {
                *left = 0;
            }
        }
        let channels = f32::from(spec.channels);
        let frames = self.rest[..whole].chunks_exact(frame);
        let samples: Vec<f32> = frames
            .map(|frame| {
                frame.chunks_exact(spec.sample.bytes()).map(|one| spec.sample.read(one)).sum::<f32>() / channels
            })
            .collect();
        self.rest.drain(..whole);
        if left.is_some_and(|left| left == 0) {
            self.rest.clear();
        }
        match resampler {
            None => samples,
            Some(resampler) => {
                let mut out = Vec::new();
                resampler.push(&samples, &mut out);
                out
            }
        }
    }

    /// Passes on samples as soon as one of them can be heard.
    fn hear(&mut self, samples: &[f32], out: &mut Vec<u8>) -> Result<bool, Bad> {
        if let Some(held) = &mut self.held {
            held.extend_from_slice(samples);
            if !samples.iter().any(|sample| sample.abs() >= AUDIBLE) {
                return if held.len() > LONGEST_SILENCE { Err(Bad::Silent) } else { Ok(false) };
            }
            let held = self.held.take().unwrap_or_default();
            self.add(&as_bytes(&held), out);
            return Ok(true);
        }
        self.add(&as_bytes(samples), out);
        Ok(true)
    }

    fn add(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let skip = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
        self.skip -= skip as u64;
        out.extend_from_slice(&bytes[skip..]);
    }
}

fn samples_of(spec: Spec, left: Option<u64>) -> Result<Source, Bad> {
    let resampler = match spec.rate {
        wav::RATE => None,
        rate => Some(Box::new(Resampler::new(rate, wav::RATE).ok_or(Bad::Format(AudioFormat::Wav))?)),
    };
    Ok(Source::Samples { spec, left, resampler })
}

/// `audio/pcm;rate=16000`
fn rate_of(content_type: &str) -> u32 {
    let rate = content_type.split(';').find_map(|part| part.trim().strip_prefix("rate=")?.parse().ok());
    rate.filter(|rate| (4_000..=384_000).contains(rate)).unwrap_or(wav::RATE)
}

#[expect(clippy::cast_possible_truncation, reason = "clamped before")]
pub(super) fn as_bytes(samples: &[f32]) -> Vec<u8> {
    let whole = samples.iter().map(|sample| (sample.clamp(-1.0, 1.0) * 32_767.0).round() as i16);
    whole.flat_map(i16::to_le_bytes).collect()
}

/// Whether audio of this format begins so.
fn is(format: AudioFormat, begin: &[u8]) -> bool {
    match format {
        AudioFormat::Wav => begin.starts_with(b"RIFF"),
        AudioFormat::Pcm => true,
        AudioFormat::Mp3 => begin.starts_with(b"ID3") || (begin[0] == 0xFF && begin[1] & 0xE0 == 0xE0),
        AudioFormat::Opus => begin.starts_with(b"OggS"),
        AudioFormat::Aac => begin.starts_with(b"ID3") || (begin[0] == 0xFF && begin[1] & 0xF6 == 0xF0),
        AudioFormat::Flac => begin.starts_with(b"fLaC"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAV: Option<&str> = Some("audio/wav");

    /// A WAV of so many samples of a square wave, in this rate.
    fn wav(rate: u32, samples: u16, loud: i16, length: Option<u32>) -> Vec<u8> {
        let mut bytes = wav::header().to_vec();
        bytes[24..28].copy_from_slice(&rate.to_le_bytes());
        bytes[40..44].copy_from_slice(&length.unwrap_or(u32::from(samples) * 2).to_le_bytes());
        bytes.extend((0..samples).flat_map(|at| if at / 20 % 2 == 0 { loud } else { -loud }.to_le_bytes()));
        bytes
    }

    /// What comes of a take, in pieces.
    fn taken(bytes: &[u8], piece: usize, skip: u64, content_type: Option<&str>) -> Result<Vec<u8>, Bad> {
        let (mut take, mut out) = (Take::new(AudioFormat::Wav, skip, content_type)?, Vec::new());
        for piece in bytes.chunks(piece) {
            take.push(piece, &mut out)?;
        }
        take.finish(&mut out)?;
        Ok(out)
    }

    #[test]
    fn samples_are_passed_on_whatever_the_pieces_and_skipped_where_they_are_there_already() {
        let bytes = wav(wav::RATE, 2400, 8000, None);
        let whole = taken(&bytes, 10_000, 0, WAV).unwrap();
        assert_eq!(whole.len(), 4800);
        for piece in [1, 3, 7, 1000] {
            assert_eq!(taken(&bytes, piece, 0, WAV), Ok(whole.clone()));
        }
        assert_eq!(taken(&bytes, 100, 1000, WAV).unwrap(), whole[1000..]);
        assert_eq!(taken(&bytes, 100, 9000, WAV), Ok(Vec::new()));
        assert_eq!(taken(&bytes[44..], 101, 0, Some("audio/pcm; rate=24000")), Ok(whole));
    }

    #[test]
    fn another_rate_and_more_channels_become_ours() {
        assert_eq!(taken(&wav(48_000, 4800, 8000, None), 999, 0, WAV).unwrap().len(), 4800);
        assert_eq!(taken(&wav(8_000, 800, 8000, None), 999, 0, WAV).unwrap().len(), 4800);
        let mut stereo = wav(wav::RATE, 4800, 8000, None);
        stereo[22] = 2;
        assert_eq!(taken(&stereo, 999, 0, WAV).unwrap().len(), 4800);
    }

    #[test]
    fn what_is_no_speech_is_found_out() {
        assert_eq!(taken(&[], 1, 0, WAV), Err(Bad::Empty));
        assert_eq!(taken(&wav(wav::RATE, 0, 0, Some(u32::MAX)), 10, 0, WAV), Err(Bad::Empty));
        assert_eq!(taken(&wav(wav::RATE, 2400, 20, None), 10, 0, WAV), Err(Bad::Silent));
        assert_eq!(taken(&wav(wav::RATE, 100, 8000, Some(4800)), 10, 0, WAV), Err(Bad::Short));
        assert_eq!(taken(&wav(wav::RATE, 100, 8000, None)[..20], 10, 0, WAV), Err(Bad::Short));
        assert_eq!(taken(b"{}", 1, 0, Some("application/json")), Err(Bad::Type("application/json".to_owned())));
        assert!(matches!(taken(b"<html></html>", 1, 0, None), Err(Bad::Wav(_))));
        let mut mp3 = Take::new(AudioFormat::Mp3, 0, WAV).unwrap();
        assert_eq!(mp3.push(&wav(wav::RATE, 100, 8000, None), &mut Vec::new()), Err(Bad::Format(AudioFormat::Mp3)));
    }

    #[test]
    fn silence_before_speech_is_held_until_it_is_speech() {
        let mut take = Take::new(AudioFormat::Pcm, 0, WAV).unwrap();
        let (mut out, quiet, loud) =
            (Vec::new(), wav(wav::RATE, 240, 0, Some(u32::MAX)), wav(wav::RATE, 240, 8000, None));
        assert_eq!(take.push(&quiet, &mut out), Ok(false));
        assert!(out.is_empty());
        assert_eq!(take.push(&loud[44..], &mut out), Ok(true));
        assert_eq!(out.len(), 960);
    }

    #[test]
    fn encoded_audio_is_passed_on_as_it_is() {
        let mut take = Take::new(AudioFormat::Opus, 2, Some("application/octet-stream")).unwrap();
        let mut out = Vec::new();
        assert_eq!(take.push(b"Og", &mut out), Ok(false));
        assert_eq!(take.push(b"gS and so on", &mut out), Ok(true));
        assert_eq!((take.finish(&mut out), out.as_slice()), (Ok(()), &b"gS and so on"[..]));
    }
}
