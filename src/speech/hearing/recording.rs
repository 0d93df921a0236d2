//! A recording: its format by its first bytes, whatever its declared type, and whether there is sound in it, if that is
//! known.

use std::time::Duration;

use bytes::Bytes;

use crate::offload::offload;
use crate::speech::resample::Resampler;
use crate::speech::take::{AUDIBLE, as_bytes};
use crate::speech::wav::{self, Header, HeaderError};

/// The longest recording, in bytes: as with `OpenAI`.
pub(crate) const MOST_BYTES: usize = 25 * 1024 * 1024;

/// What a program of this machine is given: what speech recognition mostly wants.
const LOCAL_RATE: u32 = 16_000;

/// A recording. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recording {
    bytes: Bytes,
    format: Format,
    /// Of a WAV of a kind that is read here.
    samples: Option<Samples>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Samples {
    header: Header,
    /// The end of the last whole frame.
    end: usize,
    silent: bool,
}

/// What holds the audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Wav,
    Mp3,
    Flac,
    /// Opus or Vorbis.
    Ogg,
    /// Also called M4A.
    Mp4,
    Webm,
    /// In ADTS.
    Aac,
}

/// Bytes that are no recording. In words for a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// There is nothing.
    #[error("the audio is empty.")]
    Empty,
    /// It is something else.
    #[error("this is no audio of a known format: expected wav, mp3, flac, ogg, m4a, webm or aac.")]
    Unknown,
    /// It is called by a name that is not known.
    #[error("the format '{0}' is not known: expected wav, mp3, flac, ogg, m4a, webm or aac.")]
    Name(String),
    /// It is not what it is called.
    #[error("the audio is {found}, and not {declared} as declared.")]
    Other {
        /// As the client calls it.
        declared: String,
        /// What it is.
        found: &'static str,
    },
    /// It cannot be read.
    #[error("the WAV file is damaged: it has no samples.")]
    Damaged,
    /// It is longer than is taken.
    #[error("the audio is longer than {MOST_BYTES} bytes.")]
    TooLong,
}

const NAMES: &[(&str, Format)] = &[
    ("wav", Format::Wav),
    ("wave", Format::Wav),
    ("x-wav", Format::Wav),
    ("mp3", Format::Mp3),
    ("mpeg", Format::Mp3),
    ("mpga", Format::Mp3),
    ("flac", Format::Flac),
    ("ogg", Format::Ogg),
    ("oga", Format::Ogg),
    ("opus", Format::Ogg),
    ("m4a", Format::Mp4),
    ("mp4", Format::Mp4),
    ("webm", Format::Webm),
    ("aac", Format::Aac),
];

impl Recording {
    /// Looks at bytes; `declared` is what their sender calls the format, where that counts.
    pub(crate) fn read(bytes: Bytes, declared: Option<&str>) -> Result<Self, Unreadable> {
        let named = declared.map(|name| Format::named(name).ok_or_else(|| Unreadable::Name(name.to_owned())));
        let named = named.transpose()?;
        if bytes.is_empty() {
            return Err(Unreadable::Empty);
        }
        if bytes.len() > MOST_BYTES {
            return Err(Unreadable::TooLong);
        }
        let format = Format::of(&bytes).ok_or(Unreadable::Unknown)?;
        if named.is_some_and(|named| named != format) {
            let declared = declared.unwrap_or_default().to_owned();
            return Err(Unreadable::Other { declared, found: format.name() });
        }
        let samples = if format == Format::Wav { offload(bytes.len(), || Samples::read(&bytes))? } else { None };
        Ok(Self { bytes, format, samples })
    }

    /// All of it, as it came.
    pub(super) const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// A name for a file of it: servers look at the ending.
    pub(super) const fn file_name(&self) -> &'static str {
        match self.format {
            Format::Wav => "audio.wav",
            Format::Mp3 => "audio.mp3",
            Format::Flac => "audio.flac",
            Format::Ogg => "audio.ogg",
            Format::Mp4 => "audio.m4a",
            Format::Webm => "audio.webm",
            Format::Aac => "audio.aac",
        }
    }

    pub(super) const fn media_type(&self) -> &'static str {
        match self.format {
            Format::Wav => "audio/wav",
            Format::Mp3 => "audio/mpeg",
            Format::Flac => "audio/flac",
            Format::Ogg => "audio/ogg",
            Format::Mp4 => "audio/mp4",
            Format::Webm => "audio/webm",
            Format::Aac => "audio/aac",
        }
    }

    /// How long it is, if that is known.
    pub(super) fn duration(&self) -> Option<Duration> {
        let Samples { header, end, .. } = self.samples?;
        let frames = (end - header.start) / header.frame();
        Some(Duration::from_secs_f64(u32::try_from(frames).map_or(f64::MAX, f64::from) / f64::from(header.spec.rate)))
    }

    /// Whether it is known that nothing is to be heard in it.
    pub(super) fn is_silent(&self) -> bool {
        self.samples.is_some_and(|samples| samples.silent)
    }

    /// As 16 kHz, 16 bit, one channel, in a WAV. `None`: it is of a format that is not read here.
    pub(super) fn samples(&self) -> Option<Bytes> {
        let samples = self.samples?;
        offload(self.bytes.len(), || samples.at(LOCAL_RATE, &self.bytes))
    }
}

impl Samples {
    /// `None`: they are of a kind that is not read here, though a server may read it.
    fn read(bytes: &[u8]) -> Result<Option<Self>, Unreadable> {
        let header = match wav::read(bytes) {
            Ok(Some(header)) => header,
            Err(HeaderError::Unknown { .. }) => return Ok(None),
            Ok(None) | Err(HeaderError::NoWav | HeaderError::Endless) => return Err(Unreadable::Damaged),
        };
        let length = header.length.and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX);
        let most = (bytes.len() - header.start).min(length);
        let end = header.start + most / header.frame() * header.frame();
        if end == header.start {
            return Err(Unreadable::Damaged);
        }
        let sample = header.spec.sample;
        let mut all = bytes[header.start..end].chunks_exact(sample.bytes());
        let silent = all.all(|one| sample.read(one).abs() < AUDIBLE);
        Ok(Some(Self { header, end, silent }))
    }

    fn at(self, rate: u32, bytes: &[u8]) -> Option<Bytes> {
        let Header { spec, start, .. } = self.header;
        let channels = f32::from(spec.channels);
        let frames = bytes[start..self.end].chunks_exact(self.header.frame());
        let mono = frames.map(|frame| frame.chunks_exact(spec.sample.bytes()).map(|one| spec.sample.read(one)).sum());
        let mut samples: Vec<f32> = mono.map(|sum: f32| sum / channels).collect();
        if spec.rate != rate {
            let (mut resampler, mut out) = (Resampler::new(spec.rate, rate)?, Vec::new());
            resampler.push(&samples, &mut out);
            resampler.finish(&mut out);
            samples = out;
        }
        let samples = as_bytes(&samples);
        let header = wav::header_of(rate, u32::try_from(samples.len()).ok());
        Some([header.as_slice(), &samples].concat().into())
    }
}

impl Format {
    fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, format)| *format)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Mp3 => "mp3",
            Self::Flac => "flac",
            Self::Ogg => "ogg",
            Self::Mp4 => "m4a",
            Self::Webm => "webm",
            Self::Aac => "aac",
        }
    }

    /// By the first bytes.
    fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Some(Self::Wav),
            [b'f', b'L', b'a', b'C', ..] => Some(Self::Flac),
            [b'O', b'g', b'g', b'S', ..] => Some(Self::Ogg),
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => Some(Self::Mp4),
            [0x1A, 0x45, 0xDF, 0xA3, ..] => Some(Self::Webm),
            [b'I', b'D', b'3', ..] => Some(Self::Mp3),
            // MPEG's sync word; ADTS is the one without a layer.
            [0xFF, second, _, _, ..] if second & 0xF6 == 0xF0 => Some(Self::Aac),
            [0xFF, second, _, _, ..] if second & 0xE0 == 0xE0 && second & 0x06 != 0 => Some(Self::Mp3),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A WAV of so many samples of a square wave.
    fn wav(rate: u32, samples: u16, loud: i16) -> Vec<u8> {
        let body = (0..samples).flat_map(|at| if at / 20 % 2 == 0 { loud } else { -loud }.to_le_bytes());
        wav::header_of(rate, Some(u32::from(samples) * 2)).into_iter().chain(body).collect()
    }

    fn read(bytes: &[u8], declared: Option<&str>) -> Result<Recording, Unreadable> {
        Recording::read(Bytes::copy_from_slice(bytes), declared)
    }

    #[test]
    fn a_format_is_recognised_by_its_first_bytes_and_has_to_be_the_declared_one() {
        let files: [(&[u8], &str); 8] = [
            (b"fLaC\0\0", "flac"),
            (b"OggS\0\x02", "opus"),
            (b"\0\0\0\x20ftypM4A ", "m4a"),
            (&[0x1A, 0x45, 0xDF, 0xA3, 1], "webm"),
            (b"ID3\x04\0", "mp3"),
            (&[0xFF, 0xFB, 0x90, 0], "MP3"),
            (&[0xFF, 0xF1, 0x50, 0x80], "aac"),
            (&wav(16_000, 100, 9000), "wav"),
        ];
        for (bytes, name) in files {
            assert!(read(bytes, Some(name)).is_ok() && read(bytes, None).is_ok(), "{name}");
        }
        let declared = "mp3".to_owned();
        assert_eq!(read(&wav(16_000, 100, 9000), Some("mp3")), Err(Unreadable::Other { declared, found: "wav" }));
        assert_eq!(read(b"fLaC", Some("mid")), Err(Unreadable::Name("mid".to_owned())));
    }

    #[test]
    fn what_is_no_recording_is_refused() {
        assert_eq!(read(b"", None), Err(Unreadable::Empty));
        assert_eq!(read(b"Good morning, this is a text.", None), Err(Unreadable::Unknown));
        assert_eq!(read(b"RIFF\0\0\0\0AVI LIST", None), Err(Unreadable::Unknown));
        let whole = wav(16_000, 100, 9000);
        assert_eq!(read(&whole[..40], None), Err(Unreadable::Damaged));
        assert_eq!(read(&whole[..45], None), Err(Unreadable::Damaged));
        assert!(read(&whole[..60], None).is_ok(), "what is cut off after some samples is heard as far as it goes");
        assert_eq!(Recording::read(vec![0; MOST_BYTES + 1].into(), None), Err(Unreadable::TooLong));
    }

    #[test]
    fn silence_and_length_are_recognised() {
        let quiet = read(&wav(16_000, 8_000, 10), None).unwrap();
        assert!(quiet.is_silent());
        assert_eq!(quiet.duration(), Some(Duration::from_millis(500)));
        assert!(!read(&wav(16_000, 8_000, 9000), None).unwrap().is_silent());
        assert!(!read(b"ID3\x04\0", None).unwrap().is_silent(), "it is unknown");
    }

    #[test]
    fn a_program_is_given_what_it_can_read() {
        for (rate, samples) in [(16_000, 8_000), (48_000, 24_000), (22_050, 11_025)] {
            let given = read(&wav(rate, samples, 9000), None).unwrap().samples().unwrap();
            let header = wav::read(&given).unwrap().unwrap();
            assert_eq!((header.spec.rate, header.spec.channels, header.length), (LOCAL_RATE, 1, Some(16_000)));
            assert_eq!(given.len(), 44 + 16_000, "{rate} Hz");
        }
        assert_eq!(read(b"fLaC\0\0", None).unwrap().samples(), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(at in 0usize..120, byte: u8, cut in 0usize..200) {
            let mut bytes = wav(22_050, 60, 9000);
            bytes[at] = byte;
            bytes.truncate(cut);
            if let Ok(recording) = read(&bytes, None) {
                let _ = (recording.duration(), recording.is_silent(), recording.samples());
            }
        }
    }
}
